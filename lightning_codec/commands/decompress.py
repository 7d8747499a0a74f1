"""`lightning-codec decompress`: .lcb files to images."""

import argparse
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_codec.bitstream.container import read_header
from lightning_codec.commands.model_choice import model_of_file, named_model, shipped_or_refused
from lightning_codec.commands.parser import (
    CommandParser,
    add_conversion_arguments,
    fraction,
    memory_size,
    positive,
    seed,
)
from lightning_codec.commands.plan import Job, make_folders, plan
from lightning_codec.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_codec.commands.conversion import Coded, Steps
    from lightning_codec.shipped.loading import ModelSource

    Decompress = Callable[[bytes, Steps], Tensor]

SAMPLERS = ("ancestral", "ddim", "2m", "heun")
SAMPLING_OPTIONS = ("steps", "sampler")
DECODE_OPTIONS = ("seed", "perception", "memory_limit")


def run(name: str, arguments: list[str]) -> int:
    """Decompress files; returns the exit code."""
    options = _parser(name).parse_args(arguments)
    given = _given(options, SAMPLING_OPTIONS + DECODE_OPTIONS)
    if given and options.decoder != "diffusion":
        raise UserError(
            f"--{next(iter(given)).replace('_', '-')} is for --decoder diffusion: add that, or leave it out"
        )
    model = named_model(options.model)
    if model is None:
        shipped_or_refused()
    jobs = plan(options.inputs, options.output, ".png", _find, options.force)
    misnamed = [job.target for job in jobs if job.target.suffix.lower() != ".png"]
    if misnamed:
        raise UserError(f"{misnamed[0]}: pictures are written as PNG; give a name that ends in .png, or a folder")
    make_folders(jobs)

    import torch

    from lightning_codec.commands.conversion import Coded, convert
    from lightning_codec.images import write_png

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    decoder_of = _decoders(model, options)

    def work(job: Job, steps: "Steps") -> "Coded":
        data = job.source.read_bytes()
        decompress = decoder_of(data)
        start = time.perf_counter()
        image = decompress(data, steps)
        seconds = time.perf_counter() - start
        write_png(image, job.target)
        return Coded(image.shape[2], image.shape[1], len(data), seconds)

    return convert(jobs, work)


def _decoders(model: Path | None, options: argparse.Namespace) -> "Callable[[bytes], Decompress]":
    """What finds the decoder of a file's bytes: that of `model`, or else that of the model which the file names."""
    if model is not None:
        decompress = _decoder(model, options)
        return lambda _: decompress

    @cache
    def shipped_decoder(fingerprint: str) -> "Decompress":
        return _decoder(model_of_file(fingerprint), options)

    return lambda data: shipped_decoder(read_header(data).fingerprint.hex())


def _decoder(model: "ModelSource", options: argparse.Namespace) -> "Decompress":
    """What makes the picture of a file's bytes."""
    if options.decoder == "mse":
        from lightning_codec.codec import Codec

        codec = Codec.load(model)
        return lambda data, _: codec.decompress(data)

    from lightning_codec.diffusion_decoder import DecodeOptions, DiffusionDecoder

    decoder = DiffusionDecoder.load(model)
    decoder.sampling = replace(decoder.sampling, **_given(options, SAMPLING_OPTIONS))
    how = replace(DecodeOptions(), **_given(options, DECODE_OPTIONS))
    decoder.plan(1, 1, how.memory_limit)  # a limit that no picture fits in is refused before any is tried
    return lambda data, steps: decoder.decompress(data, how, steps)


def _given(options: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Those of the named options that were given."""
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def _parser(name: str) -> CommandParser:
    parser = CommandParser(
        name,
        "Decompress .lcb files to PNG images, with the model that they were made with. For each, prints "
        "its size in pixels, the bytes of the file, bits per pixel and the time of decoding. A file that "
        "fails is reported, the others go on, and the exit code is 2.",
        "lightning-codec decompress coded/ -o images/ --model runs/version_0/checkpoints/last.ckpt",
    )
    add_conversion_arguments(parser, "FILE", ".lcb files", "the model that ships and that the file names")
    parser.add_argument(
        "--decoder",
        choices=("mse", "diffusion"),
        default="mse",
        help="mse: least distortion, at once (default); diffusion: realistic texture, by a model that has that decoder",
    )
    group = parser.add_argument_group("with --decoder diffusion")
    group.add_argument("--steps", metavar="N", type=positive, help="of the sampler (default: the model's)")
    group.add_argument("--sampler", choices=SAMPLERS, help="default: the model's")
    group.add_argument("--seed", metavar="S", type=seed, help="same file, same seed, same picture (default: 0)")
    group.add_argument(
        "--perception",
        metavar="P",
        type=fraction,
        help="from 0, the picture of --decoder mse, to 1, the most realistic one (default: 1)",
    )
    group.add_argument(
        "--memory-limit",
        metavar="SIZE",
        type=memory_size,
        help="of the whole program, such as 1500MiB or 4GiB; large pictures are decoded in tiles "
        "(default: 2GiB for a tile, beside the program and the picture)",
    )
    return parser


def _find(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".lcb" and path.is_file())
