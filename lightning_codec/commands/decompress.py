"""`lightning-codec decompress`: .lcb files to images."""

import time
from pathlib import Path

from lightning_codec.commands.parser import CommandParser, add_conversion_arguments, model_path
from lightning_codec.commands.plan import Job, make_folders, plan
from lightning_codec.errors import UserError


def run(name: str, arguments: list[str]) -> int:
    """Decompress files; returns the exit code."""
    parser = CommandParser(
        name,
        "Decompress .lcb files to PNG images, with the checkpoint that they were made with. For each, prints "
        "its size in pixels, the bytes of the file, bits per pixel and the time of decoding. A file that "
        "fails is reported, the others go on, and the exit code is 2.",
        "lightning-codec decompress coded/ -o images/ --model runs/version_0/checkpoints/last.ckpt",
    )
    add_conversion_arguments(parser, "FILE", ".lcb files")
    options = parser.parse_args(arguments)
    checkpoint = model_path(options.model)
    jobs = plan(options.inputs, options.output, ".png", _find, options.force)
    misnamed = [job.target for job in jobs if job.target.suffix.lower() != ".png"]
    if misnamed:
        raise UserError(f"{misnamed[0]}: pictures are written as PNG; give a name that ends in .png, or a folder")
    make_folders(jobs)

    import torch

    from lightning_codec.codec import Codec
    from lightning_codec.commands.conversion import Coded, convert
    from lightning_codec.images import write_png

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    codec = Codec.load(checkpoint)

    def work(job: Job) -> Coded:
        data = job.source.read_bytes()
        start = time.perf_counter()
        image = codec.decompress(data)
        seconds = time.perf_counter() - start
        write_png(image, job.target)
        return Coded(image.shape[2], image.shape[1], len(data), seconds)

    return convert(jobs, work)


def _find(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".lcb" and path.is_file())
