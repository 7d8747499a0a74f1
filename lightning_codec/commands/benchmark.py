"""`lightning-codec benchmark`: speed and memory as ratios measured in one run."""

import json
import os
import platform
from typing import Any

from lightning_codec.commands.parser import CommandParser, positive


def run(name: str, arguments: list[str]) -> int:
    """Run a benchmark and print its table; returns the exit code."""
    parser = CommandParser(
        name,
        "Measure speed and memory. Everything that is compared takes turns in one process, so the ratios hold where "
        "absolute times drift. Leave the machine to it.",
        "lightning-codec benchmark entropy --threads 2",
    )
    parser.add_argument("what", choices=["entropy"], help="entropy: latent coding and training of the entropy codec")
    parser.add_argument("--repeats", type=positive, default=5, metavar="N", help="counted rounds (default: 5)")
    parser.add_argument(
        "--threads", type=positive, default=os.cpu_count() or 1, metavar="N", help="CPU threads (default: all)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    options = parser.parse_args(arguments)
    result = _entropy(options.repeats, options.threads)
    print(json.dumps(result, indent=2) if options.json else _table(result))
    return 0


def _entropy(repeats: int, threads: int) -> dict[str, Any]:
    import torch

    from lightning_codec.benchmark.entropy import decoding_times, growth_exponent, scaling, training_step_times

    torch.set_num_threads(threads)
    # For the processes of `scaling`: they import compressai anew, whose warnings no user could mend.
    os.environ.setdefault("PYTHONWARNINGS", "ignore::FutureWarning")
    decoding = decoding_times(repeats)
    rows = scaling((256, 512, 1024, 2048), threads)
    step = training_step_times(repeats)
    return {
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "capability": torch.backends.cpu.get_cpu_capability(),
            "threads": threads,
            "torch": torch.__version__,
        },
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


def _table(result: dict[str, Any]) -> str:
    lines = []
    for title, values in result.items():
        lines.append(title)
        for key, value in values.items():
            lines.append(f"  {key:<34}{value:.4f}" if isinstance(value, float) else f"  {key:<34}{value}")
    return "\n".join(lines)
