"""The measurements of an evaluation that was never made, with everything that can go wrong in one."""

from pathlib import Path

from lightning_codec.evaluation.engine import CodedImage, Measured, SetDistance
from lightning_codec.evaluation.measures import MetricFacts
from lightning_codec.evaluation.records import Record
from lightning_codec.evaluation.results import Origin
from lightning_codec.evaluation.units import SourceImage
from lightning_codec.metrics.protocol import Protocol
from lightning_codec.provenance import Provenance
from tests.evaluation.fakes import coarse

PSNR = MetricFacts("psnr", "PSNR (dB)", Protocol("psnr-v1", "decibels"), True, False)
FID = MetricFacts("fid256", "FID/256", Protocol("fid-v1", "a distance", "0123456789ab"), False, True)
ORIGIN = Origin("lightning-codec evaluate", Provenance({"torch": "1"}, "abc", "cpu"), 1, {"jxl:50": "not there"})


def record(codec: str, setting: str, image: str, bpp: float, psnr: float | None) -> Record:
    shape = (codec, setting, "set", image, 8, 8, 1, bpp, {"psnr": psnr}, 0.5, 0.25)
    return Record(*shape, 1, "cpu", {"torch": "1"}, "abc", {"psnr": "psnr-v1"})


def made_up(tmp_path: Path) -> Measured:
    """A codec and one that needs half of its bytes for the same PSNR, on two images; the fifth setting lacks one."""
    coded: list[CodedImage] = []
    distances: dict[tuple[str, str], dict[str, SetDistance]] = {}
    for codec, factor in (("ours", 0.5), ("jpeg", 1.0)):
        for level in range(5):
            for image in ("a.jpg", "sub/b.png"):
                if (codec, level, image) == ("ours", 4, "a.jpg"):
                    continue
                picture = tmp_path / "work" / f"{len(coded)}.png"
                picture.parent.mkdir(exist_ok=True)
                picture.write_text(f"{codec} {level} {image}")
                value = None if (level, image) == (0, "a.jpg") else 28.0 + 2 * level
                reasons = {"psnr": "infinite"} if value is None else {}
                row = record(codec, str(10 * (level + 1)), image, factor * 0.1 * 2**level, value)
                coded.append(CodedImage(row, reasons, picture))
            name = (codec, str(10 * (level + 1)))
            distance = None if level == 4 else 10.0 / (level + 1)
            distances[name] = {"fid256": SetDistance(distance, None, None if distance else "too few", 3, 4)}
    images = [SourceImage(name, tmp_path / name, "", 64) for name in ("a.jpg", "sub/b.png")]
    settings = [coarse(tmp_path / "log", 10 * (i + 1), codec=codec) for codec in ("jpeg", "ours") for i in range(5)]
    absent = {"dists": "no network"}
    originals = {image.name: image.path for image in images}
    failures = [("ours 50 a.jpg", "broken")]
    return Measured("set", images, settings, [PSNR, FID], absent, coded, distances, originals, failures)
