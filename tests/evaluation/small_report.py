"""A small report with everything that a report can have, names that are meant to break it among it."""

from pathlib import Path

from torch import Tensor

from lightning_codec.evaluation.bd_rate import BDRow
from lightning_codec.evaluation.curves import Curve, Point
from lightning_codec.evaluation.measures import MetricFacts
from lightning_codec.evaluation.report import DecodedPicture, PictureSet, ReportContent, SetRow, TableRow
from lightning_codec.images import write_png
from lightning_codec.metrics.protocol import Protocol
from lightning_codec.metrics.suite import Value
from lightning_codec.provenance import Provenance
from tests.evaluation.pictures import picture

HOSTILE = """<b>&"'.png"""
HOSTILE_REASON = "</script><script>document.title = 'broken'</script>"
TOO_FEW = "too few samples: 9 patches for 512 dimensions"
PSNR = MetricFacts("psnr", "PSNR (dB)", Protocol("psnr-v1", "decibels"), True, False)
LPIPS = MetricFacts("lpips_alex", "LPIPS (AlexNet)", Protocol("lpips-v1", "a network's", "0123456789ab"), False, False)
KID = MetricFacts("kid256", "KID/256", Protocol("kid-v1", "a kernel's", "ba9876543210"), False, True)
CODECS = ("jpeg", "ours")
QUALITIES = (9, 50, 90)
RATES = {"jpeg": (0.2, 0.5, 1.3), "ours": (0.1, 0.45, 1.1)}


def small_report(folder: Path) -> ReportContent:
    """Two codecs of three settings on two images of 48 x 64; ours at 90 lacks an image, jpeg at 9 its KID."""
    curves = []
    rows = []
    for codec in CODECS:
        points = [Point(bpp, 28.0 + 3 * i, str(QUALITIES[i])) for i, bpp in enumerate(RATES[codec])]
        curves.append(Curve(codec, "set", "psnr", PSNR.protocol.key, tuple(points)))
        lower = [point._replace(value=0.5 - point.value / 100) for point in points]
        curves.append(Curve(codec, "set", "lpips_alex", LPIPS.protocol.key, tuple(lower)))
        rows += [_row(codec, point) for point in points]
    published = Curve("<i>HiFiC</i>", "set", "psnr", "published", (Point(0.2, 30.0, ""), Point(0.9, 33.0, "")), "a & b")
    return ReportContent(
        title="A <small> report",
        dataset="set",
        images=2,
        command="lightning-codec evaluate --data 'a & b'",
        provenance=Provenance({"lightning_codec": "0.1.0", "torch": "2"}, "0123456789abcdef0123-dirty", "cpu (x)"),
        threads=1,
        codecs={"jpeg": "Pillow", "ours": HOSTILE_REASON},
        metrics=[PSNR, LPIPS, KID],
        rows=rows,
        set_rows=[_set_row(codec, quality) for codec in CODECS for quality in QUALITIES],
        curves=[*curves, published],
        bd_rates=[
            BDRow("set", "psnr", "ours", "jpeg", "akima", -21.25, 28.0, 34.0, None),
            BDRow("set", "lpips_alex", "ours", "jpeg", "akima", None, None, None, "the curves do not overlap"),
        ],
        absent={"dists": HOSTILE_REASON},
        failures=[(f"ours 90 {HOSTILE}", "out of order")],
        pictures=[_pictures(folder, "plain.png", 0), _pictures(folder, HOSTILE, 1)],
    )


def _row(codec: str, point: Point) -> TableRow:
    is_complete = (codec, point.setting) != ("ours", "90")
    has_kid = (codec, point.setting) != ("jpeg", "9")
    values = {
        "psnr": Value(point.value, None),
        "lpips_alex": Value(0.05, None),
        "kid256": Value(0.001, None) if has_kid else Value(None, TOO_FEW),
    }
    counts = {"psnr": 1, "lpips_alex": 2 if is_complete else 1}
    return TableRow(codec, point.setting, 2 if is_complete else 1, is_complete, point.bpp, values, counts, 0.5, 0.25)


def _set_row(codec: str, quality: int) -> SetRow:
    if (codec, quality) == ("jpeg", 9):
        return SetRow(codec, "9", "kid256", None, None, TOO_FEW, 9, 9)
    return SetRow(codec, str(quality), "kid256", 0.001, 0.0002, None, 900, 901)


def _pictures(folder: Path, name: str, seed: int) -> PictureSet:
    """The original, and decoded pictures that tell codec and setting by their brightness."""
    folder.mkdir(parents=True, exist_ok=True)
    original = folder / f"{seed}.png"
    write_png(picture(seed), original)
    decoded = []
    for codec in CODECS:
        for quality, bpp in zip(QUALITIES, RATES[codec], strict=True):
            path = folder / f"{seed}_{codec}_{quality}.png"
            write_png(_darker(picture(seed), 0.5 + quality / 200), path)
            values = {"psnr": 20.0 + quality / 10, "lpips_alex": None}
            decoded.append(DecodedPicture(codec, str(quality), bpp + 0.01 * seed, path, values))
    return PictureSet(name, original, decoded)


def _darker(image: Tensor, factor: float) -> Tensor:
    return image * factor
