"""`lightning-codec compress`: images to .lcb files."""

import time

from lightning_codec.commands.model_choice import model_to_compress
from lightning_codec.commands.parser import CommandParser, add_conversion_arguments, positive
from lightning_codec.commands.plan import Job, make_folders, plan


def run(name: str, arguments: list[str]) -> int:
    """Compress images; returns the exit code."""
    parser = CommandParser(
        name,
        "Compress images of any format and size to .lcb files. For each, prints its size in pixels, the bytes "
        "of the file, bits per pixel and the time of coding. An image that fails is reported, the others go "
        "on, and the exit code is 2.",
        "lightning-codec compress photo.png holiday/ -o coded/ --model runs/version_0/checkpoints/last.ckpt",
    )
    add_conversion_arguments(parser, "IMAGE", "images", "the model of middle quality that ships")
    parser.add_argument(
        "--quality",
        metavar="N",
        type=positive,
        help="of the models that ship: 1 for the smallest files, more for better pictures (see models list)",
    )
    options = parser.parse_args(arguments)
    model = model_to_compress(options.model, options.quality)

    import torch

    from lightning_codec.commands.conversion import Coded, Steps, convert
    from lightning_codec.files import write_atomically
    from lightning_codec.images import find_images, read_image

    jobs = plan(options.inputs, options.output, ".lcb", find_images, options.force)
    make_folders(jobs)
    if options.threads is not None:
        torch.set_num_threads(options.threads)

    from lightning_codec.codec import Codec

    codec = Codec.load(model)

    def work(job: Job, _: Steps) -> Coded:
        image = read_image(job.source)
        start = time.perf_counter()
        data = codec.compress(image)
        seconds = time.perf_counter() - start
        write_atomically(job.target, data)
        return Coded(image.shape[2], image.shape[1], len(data), seconds)

    return convert(jobs, work)
