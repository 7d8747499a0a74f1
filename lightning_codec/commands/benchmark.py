"""`lightning-codec benchmark`: speed and memory as ratios measured in one run."""

import json
import os
import platform
from typing import Any

from lightning_codec.commands.parser import CommandParser, positive
from lightning_codec.errors import UserError


def run(name: str, arguments: list[str]) -> int:
    """Run a benchmark and print its table; returns the exit code."""
    parser = CommandParser(
        name,
        "Measure speed and memory. Everything that is compared takes turns in one process, so the ratios hold where "
        "absolute times drift. Leave the machine to it.",
        "lightning-codec benchmark entropy --threads 2",
    )
    parser.add_argument(
        "what",
        choices=["entropy", "diffusion", "evaluation", "scaling"],
        help="entropy: latent coding and training of the entropy codec; diffusion: decoding and training of the "
        "diffusion decoder; evaluation: the metrics in parallel processes; scaling: data-parallel training in "
        "processes of one thread each",
    )
    parser.add_argument(
        "--repeats", type=positive, default=5, metavar="N", help="counted rounds; five images each of an evaluation (5)"
    )
    parser.add_argument(
        "--threads",
        type=positive,
        default=os.cpu_count() or 1,
        metavar="N",
        help="CPU threads; of an evaluation and of scaling the processes (default: all)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    options = parser.parse_args(arguments)
    import torch

    torch.set_num_threads(options.threads)
    # For processes that a benchmark starts: they import compressai anew, whose warnings no user could mend.
    os.environ.setdefault("PYTHONWARNINGS", "ignore::FutureWarning")
    machine = {
        "processor": platform.processor() or platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": options.threads,
        "torch": torch.__version__,
    }
    measure = {"entropy": _entropy, "diffusion": _diffusion, "evaluation": _evaluation, "scaling": _scaling}[
        options.what
    ]
    result = {"machine": machine, **measure(options.repeats)}
    print(json.dumps(result, indent=2) if options.json else _table(result))
    return 0


def _entropy(repeats: int) -> dict[str, Any]:
    import torch

    from lightning_codec.benchmark.entropy import decoding_times, growth_exponent, scaling, training_step_times

    decoding = decoding_times(repeats)
    rows = scaling((256, 512, 1024, 2048), torch.get_num_threads())
    step = training_step_times(repeats)
    return {
        "decoding 768x512, paper size": {
            **{f"{key} (s)": value for key, value in decoding._asdict().items()},
            "ours / elic": decoding.ours / decoding.elic,
            "autoregressive / ours": decoding.autoregressive / decoding.ours,
            "arithmetic share of ours": decoding.arithmetic / decoding.ours,
        },
        "decoding by size, paper size": {
            **{
                f"{row.side}x{row.side}": f"{row.seconds:.3f} s, {row.rounds} rounds, peak {row.peak_mib:.0f} MiB"
                for row in rows
            },
            "time ~ pixels to the power of": growth_exponent(rows),
        },
        "training step, small preset, 8 x 128x128": {
            **{f"{key} (s)": value for key, value in step._asdict().items()},
            "float32 / bf16 channels_last": step.float32 / step.bf16_channels_last,
            "float32 / float32 channels_last": step.float32 / step.float32_channels_last,
        },
    }


def _diffusion(repeats: int) -> dict[str, Any]:
    from lightning_codec.benchmark.diffusion import (
        PAPER_STEPS,
        decoding_times,
        evaluation_time,
        memory,
        training_times,
    )

    sizes = {"768x512": memory((512, 768)), "4000x3000": memory((3000, 4000))}
    decoding = decoding_times(repeats)
    training = training_times(repeats)
    evaluation = evaluation_time(repeats)
    parts = {**decoding._asdict(), "network": decoding.network}
    names = {
        "network": "4 evaluations of the U-Net",
        "arithmetic": "DCT, schedule, sampler",
        "noise": "noise",
        "latents": "entropy decoding",
        "ladder": "ladder",
    }
    return {
        "decoding 768x512, tiny preset, 4 evaluations": {
            "whole (s)": decoding.whole,
            **{f"{text} (s)": parts[key] for key, text in names.items()},
            **{f"{text}, share": parts[key] / decoding.whole for key, text in names.items()},
        },
        "the same in a process of its own, first call": {
            size: f"{row.seconds:.2f} s, {row.tiles} tile(s), peak {row.peak_mib:.0f} MiB"
            for size, row in sizes.items()
        },
        "training step, tiny preset, 8 x 128x128": {
            **{f"{key} (s)": value for key, value in training._asdict().items()},
            "noising, share": training.noising / training.step,
            "blur's part of it, share": training.blur_share,
        },
        "U-Net of the paper preset, 768x512, float32": {
            "one evaluation (s)": evaluation,
            f"{PAPER_STEPS} steps (s)": PAPER_STEPS * evaluation,
        },
    }


def _evaluation(repeats: int) -> dict[str, Any]:
    import torch

    from lightning_codec.benchmark.evaluation import METRICS, SIDE, SMALL_SIDE, memory, times

    processes = torch.get_num_threads()
    measured = times(5 * repeats, processes)
    growth = memory(100 * repeats)
    return {
        f"{5 * repeats} images of {SIDE}x{SIDE}, JPEG, {', '.join(METRICS)}": {
            f"{processes} processes (s)": measured.parallel,
            f"one process, {processes} threads (s)": measured.in_one_process,
            "one / parallel": measured.in_one_process / measured.parallel,
            "cores busy, share": measured.busy,
        },
        f"images of {SMALL_SIDE}x{SMALL_SIDE} one after another": {
            "peak after 50 (MiB)": growth.early,
            f"peak after {100 * repeats} (MiB)": growth.late,
            "growth": growth.late / growth.early - 1,
        },
    }


def _scaling(repeats: int) -> dict[str, Any]:
    import torch

    from lightning_codec.benchmark.diffusion import CROPS
    from lightning_codec.benchmark.scaling import Scaling, What, scaling

    def rows(measured: Scaling) -> dict[str, Any]:
        n, images = measured.processes, measured.images
        return {
            "images/s of one process": images / measured.alone,
            f"images/s of {n} processes": n * images / measured.together,
            f"{n} / one": measured.speedup,
            "communication, share of a step": measured.communication,
            "gradients, bytes a step": measured.gradient_bytes,
            "step of one alone (s)": measured.alone,
            "step of all, nothing exchanged (s)": measured.apart,
            "step of all (s)": measured.together,
        }

    processes = torch.get_num_threads()
    if processes < 2:
        raise UserError("benchmark scaling: needs at least two processes: --threads 2")
    shape = f"{CROPS[0]} x {CROPS[2]}x{CROPS[3]} in each process"
    parts: dict[What, str] = {"codec": "small preset", "decoder": "tiny preset"}
    return {f"{what}, {preset}, {shape}": rows(scaling(what, processes, repeats)) for what, preset in parts.items()}


def _table(result: dict[str, Any]) -> str:
    lines = []
    for title, values in result.items():
        lines.append(title)
        for key, value in values.items():
            lines.append(f"  {key:<34}{value:.4f}" if isinstance(value, float) else f"  {key:<34}{value}")
    return "\n".join(lines)
