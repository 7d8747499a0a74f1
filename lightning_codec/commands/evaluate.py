"""`lightning-codec evaluate`: codecs on a set of images, measured in parallel, with a report."""

import argparse
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_codec.commands.parser import CommandParser, fraction, positive, seed
from lightning_codec.commands.reporting import EXIT_ERROR, PROGRAM, report
from lightning_codec.errors import UserError

if TYPE_CHECKING:
    from lightning_codec.evaluation.engine import Measured, Watcher
    from lightning_codec.evaluation.results import Results
    from lightning_codec.evaluation.settings import BaselineRequest, ModelRequest
    from lightning_codec.evaluation.units import Unit
    from lightning_codec.evaluation.workers import Outcome

DEFAULT_METRICS = (
    "psnr",
    "ms_ssim",
    "stlpips_alex",
    "stlpips_vgg",
    "lpips_alex",
    "dists",
    "frechet_vgg64",
    "fid256",
    "kid256",
)
CODEC_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
SAMPLING_OPTIONS: dict[str, Callable[[str], Any]] = {"steps": positive, "sampler": str, "t_start": float}
DECODING_OPTIONS: dict[str, Callable[[str], Any]] = {"seed": seed, "perception": fraction}


def run(name: str, arguments: list[str]) -> int:
    """Evaluate codecs; returns the exit code."""
    options = _parser(name).parse_args(arguments)
    if not options.model and not options.baseline:
        raise UserError("nothing to evaluate: give --model CKPT or --baseline NAME:QUALITY,... at least once")
    models = [parse_model(text) for text in options.model]
    baselines = [parse_baseline(text) for text in options.baseline]

    from lightning_codec.data.named_sets import evaluation_set
    from lightning_codec.evaluation.curves import read_published
    from lightning_codec.evaluation.engine import Workplace, evaluate
    from lightning_codec.evaluation.measures import Measures
    from lightning_codec.evaluation.output import write_output
    from lightning_codec.evaluation.plan import source_images
    from lightning_codec.evaluation.results import Origin, choose_anchor, summarize
    from lightning_codec.evaluation.settings import resolve
    from lightning_codec.evaluation.store import Store
    from lightning_codec.provenance import provenance

    measures = Measures.named(options.metrics)
    published = read_published(options.reference) if options.reference else []
    entry = evaluation_set(options.data, options.data_root)
    images = source_images(entry, options.limit, options.output / "originals")
    whole = len(images) == len(entry.images)  # type: ignore[arg-type]  # a Dataset need not have a length; these do
    dataset = entry.name if whole else f"{entry.name}-first{len(images)}"
    resolved = resolve(baselines, models)
    if not resolved.settings:
        codec, reason = next(iter(resolved.absent.items()))
        raise UserError(f"no codec can be evaluated: {codec}: {reason}")
    anchor = choose_anchor([setting.codec for setting in resolved.settings], options.anchor)
    place = Workplace(Store(options.output / "work"), options.processes, options.threads_per_process, provenance())
    with _watcher() as watcher:
        measured = evaluate(dataset, images, resolved.settings, measures, place, watcher)
    results = summarize(measured, anchor, published)
    command = shlex.join([PROGRAM, name, *arguments])
    origin = Origin(command, place.provenance, place.threads, resolved.absent)
    write_output(options.output, measured, results, origin)
    print(_table(measured, results))
    for what, reason in {**resolved.absent, **measured.absent}.items():
        print(f"{what}: absent, {reason}")
    print(f"results.csv, summary.json, bd_rates.csv, plots and report.html are in {options.output}")
    return EXIT_ERROR if measured.failures else 0


def _parser(name: str) -> CommandParser:
    parser = CommandParser(
        name,
        "Code every image of a set with every codec, decode the files, measure the pictures, and write tables, plots "
        "and a report that opens in a browser. What an interrupted run has finished is not done again: start it "
        "anew with the same -o. An image that fails is reported, the others go on, and the exit code is 2.",
        "lightning-codec evaluate --data kodak --data-root data -o out/ \\\n"
        "    --model runs/version_0/checkpoints/last.ckpt --baseline jpeg:10,20,30,50,70",
    )
    parser.add_argument("--data", metavar="SET", required=True, help="kodak, clic2020, dead_leaves, or a folder")
    parser.add_argument(
        "--data-root", metavar="DIR", type=Path, default=Path("data"), help="folder of the named sets (default: data)"
    )
    parser.add_argument("-o", "--output", metavar="OUT", type=Path, required=True, help="folder, made if needed")
    parser.add_argument(
        "--model",
        metavar="CKPT[:OPTIONS]",
        action="append",
        default=[],
        help="a checkpoint or the name of a model that ships; options as in "
        "last.ckpt:decoder=diffusion,steps=4,sampler=ddim,t_start=0.25,seed=0,perception=1,name=ours; models of "
        "one name are points of one curve; may be repeated",
    )
    parser.add_argument(
        "--baseline",
        metavar="NAME:Q1,Q2,...",
        action="append",
        default=[],
        help="jpeg, webp, jpeg2000 (quality in dB), avif, jxl, or a model of CompressAI as mbt2018-mean, at these "
        "qualities; may be repeated",
    )
    parser.add_argument(
        "--metrics",
        metavar="M1,M2,...",
        type=_names,
        default=DEFAULT_METRICS,
        help=f"default: {', '.join(DEFAULT_METRICS)}; lpips_vgg too. Those whose network is not there are absent, "
        "with the reason",
    )
    parser.add_argument(
        "--processes", metavar="N", type=positive, default=_cores(), help="that work in parallel (default: all cores)"
    )
    parser.add_argument(
        "--threads-per-process", metavar="N", type=positive, default=1, help="CPU threads of each (default: 1)"
    )
    parser.add_argument("--anchor", metavar="CODEC", help="of the BD-rates (default: jpeg, or the first codec)")
    parser.add_argument(
        "--reference",
        metavar="FILE.csv",
        type=Path,
        help="published points to draw beside ours, with the columns codec,dataset,metric,bpp,value,source",
    )
    parser.add_argument("--limit", metavar="N", type=positive, help="only the first N images, sorted by name")
    return parser


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parse_baseline(text: str) -> "BaselineRequest":
    """Read NAME:Q1,Q2,...

    Raises:
        UserError: another form, or a quality that is given twice.
    """
    from lightning_codec.evaluation.settings import BaselineRequest

    name, colon, list_ = text.partition(":")
    parts = list_.split(",") if colon else []
    if not parts or not all(re.fullmatch(r"\d+", part) for part in parts):
        raise UserError(f"--baseline {text}: give whole-number qualities after the name, as in jpeg:10,30,50")
    return BaselineRequest(name, tuple(map(int, parts)))


def parse_model(text: str) -> "ModelRequest":
    """Read CKPT or CKPT:OPTION=VALUE,...

    Raises:
        UserError: an unknown option, a value that it cannot have, or an option of the other decoder.
    """
    from lightning_codec.evaluation.settings import ModelRequest

    path, colon, tail = text.rpartition(":")
    if not colon or "=" not in tail:
        return ModelRequest(Path(text))
    given = dict(_option(text, part) for part in tail.split(","))
    decoder = given.pop("decoder", "mse")
    name = given.pop("name", None)
    if decoder == "mse" and given:
        raise UserError(f"--model {text}: {next(iter(given))} is for decoder=diffusion: add that, or leave it out")
    sampling = {option: value for option, value in given.items() if option in SAMPLING_OPTIONS}
    decoding = {option: value for option, value in given.items() if option in DECODING_OPTIONS}
    return ModelRequest(Path(path), name, decoder, sampling, **decoding)


def _option(text: str, part: str) -> tuple[str, Any]:
    """One OPTION=VALUE."""
    option, _, value = part.partition("=")
    readers: dict[str, Callable[[str], Any]] = {"decoder": _decoder, "name": _codec_name}
    readers.update(SAMPLING_OPTIONS)
    readers.update(DECODING_OPTIONS)
    if option not in readers:
        raise UserError(f"--model {text}: option {option!r}: it must be one of {', '.join(readers)}")
    try:
        return option, readers[option](value)
    except (ValueError, argparse.ArgumentTypeError) as error:
        reason = f" ({error})" if isinstance(error, argparse.ArgumentTypeError) else ""
        raise UserError(f"--model {text}: {option} cannot be {value!r}{reason}") from None


def _decoder(value: str) -> str:
    if value not in ("mse", "diffusion"):
        raise argparse.ArgumentTypeError("it must be mse or diffusion")
    return value


def _codec_name(value: str) -> str:
    if not CODEC_NAME.fullmatch(value):
        raise argparse.ArgumentTypeError("letters, digits and . _ + - only")
    return value


@contextmanager
def _watcher() -> "Iterator[Watcher]":
    """A progress bar on stderr where that is a terminal; failures as lines there in any case."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:

        class Bar:
            def begin(self, units: int, reused: int) -> None:
                print(f"{units} units of work, {reused} of them finished before", file=sys.stderr, flush=True)
                self.task = progress.add_task(f"evaluate ({reused} reused)", total=units, completed=reused)

            def done(self, outcome: "Outcome[Unit]") -> None:
                progress.advance(self.task)
                if outcome.error is not None:
                    report(UserError(f"{outcome.unit.label}: {outcome.error}"))

        yield Bar()


def _table(measured: "Measured", results: "Results") -> str:
    """The means of every setting; a dash stands for a value that could not be had."""
    metrics = [fact.name for fact in measured.metrics]
    rows: list[Sequence[str]] = [("codec", "setting", "images", "bpp", *metrics, "enc. s", "dec. s")]
    for row in results.means:
        values = (row.values.get(metric) for metric in metrics)
        cells = ("-" if value is None else f"{value:.4f}" for value in values)
        seconds = (f"{row.encode_seconds:.2f}", f"{row.decode_seconds:.2f}")
        rows.append((row.codec, row.setting, str(row.images), f"{row.bpp:.4f}", *cells, *seconds))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(_cells(row, widths)) for row in rows)


def _cells(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    for index, (cell, width) in enumerate(zip(row, widths, strict=True)):
        yield cell.ljust(width) if index < 2 else cell.rjust(width)
