"""The committed comparisons of the ablations are those of the committed images."""

import csv
from pathlib import Path
from statistics import fmean

import pytest

from lightning_codec.cluster.changes import write_changes
from lightning_codec.cluster.grid import Axis
from lightning_codec.cluster.images import write_images
from lightning_codec.cluster.pairing import SEED, pairs
from lightning_codec.cluster.savings import write_savings
from lightning_codec.cluster.sweep import Sweep

ABLATION = Path(__file__).resolve().parents[2] / "configs" / "experiment" / "ablation"
SEEDS = sorted(ABLATION.glob("entropy_seed*.csv"))
NETWORK = "model.init_args.network"
DECODER = "model.init_args.decoder"
README = ABLATION.parents[2] / "README.md"
METRICS = ("psnr", "stlpips_alex", "stlpips_vgg")  # columns of decoder_steps.csv and of README


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def check_same(written: list[dict[str, str]], committed: list[dict[str, str]]) -> None:
    """Compare tables, numbers but for the last digits of means, which depend on the processor."""
    assert len(written) == len(committed)
    for line, expected in zip(written, committed, strict=True):
        for column, text in expected.items():
            value = number(text)
            close = value if isinstance(value, str) else pytest.approx(value, rel=1e-9, abs=1e-9)
            assert number(line[column]) == close, column


def test_savings_are_those_of_the_images(tmp_path: Path) -> None:
    seeds = [path.stem.removeprefix("entropy_seed") for path in SEEDS]
    networks = Axis(NETWORK, tuple(sorted({row[NETWORK] for path in SEEDS for row in rows(path)})))
    sweep = Sweep(tmp_path, (), (Axis(SEED, tuple(seeds)), networks))
    _, images = write_images(sweep, SEEDS)
    written = rows(write_savings(tmp_path, pairs(sweep, images, networks)))
    assert len(written) >= len(networks.values)
    check_same(written, rows(ABLATION / "entropy_savings.csv"))


def test_readme_has_the_savings_of_every_part() -> None:
    """The order of the parts is README's own: each row is one more part, or one part against another."""
    savings = {
        (Path(row[NETWORK]).stem, Path(row["against"]).stem, row["dataset"]): row
        for row in rows(ABLATION / "entropy_savings.csv")
    }
    laplacian = "global_laplacian"
    parts = [(laplacian, "hyperprior"), ("even", "hyperprior"), ("uneven", "even"), ("local", "uneven")]
    parts += [(biased, "local") for biased in (laplacian, "global_none", "global_learned")]
    parts += [(laplacian, other) for other in ("global_none", "global_learned", "global_shared")]
    parts += [("window_8", laplacian)]
    lines = README.read_text().split("| bytes saved | Kodak", 1)[1].splitlines()[2:]
    for (part, against), line in zip(parts, lines[: len(parts)], strict=True):
        cells = [cell.strip() for cell in line.strip("|").split("|")][1:]
        for dataset, cell in zip(("kodak", "test"), cells, strict=True):
            row = savings[part, against, dataset]
            saved, low, high, seeds = (float(row[key]) for key in ("saved_percent", "low", "high", "between_seeds"))
            assert cell == f"{round(saved, 1) + 0.0:.1f} % ({low:.1f} to {high:.1f}), ± {seeds:.1f}", line
    assert not lines[len(parts)].startswith("|")


def test_changes_are_those_of_the_images(tmp_path: Path) -> None:
    table = ABLATION / "decoder_images.csv"
    decoders = tuple(dict.fromkeys(row[DECODER] for row in rows(table)))
    against = tuple(value for value in decoders if Path(value).stem in ("isotropic", "blur_4"))
    sweep = Sweep(tmp_path, (), (Axis(DECODER, decoders),))
    _, images = write_images(sweep, [table])
    written = rows(write_changes(tmp_path, pairs(sweep, images, Axis(DECODER, against))))
    check_same(written, rows(ABLATION / "decoder_changes.csv"))


def test_every_decoder_has_every_image_of_the_same_files_and_a_frechet_distance() -> None:
    images = rows(ABLATION / "decoder_images.csv")
    sets = {row["decoder"]: row for row in rows(ABLATION / "decoder_frechet.csv")}
    assert sets.keys() == {path.stem for path in (ABLATION / "decoder").glob("*.yaml")}
    files = {row["name"]: row["bytes"] for row in images}
    assert len(files) == 24
    for decoder, measured in sets.items():
        own = [row for row in images if Path(row[DECODER]).stem == decoder]
        assert len(own) == int(measured["images"]) == 24
        assert {row["name"]: row["bytes"] for row in own} == files
        # Coded and decoded a second time, by another command.
        assert fmean(float(row["bpp"]) for row in own) == pytest.approx(float(measured["bpp"]), rel=1e-9)
        assert fmean(float(row["psnr"]) for row in own) == pytest.approx(float(measured["psnr"]), abs=0.001)
        assert float(measured["frechet_vgg64"]) > 0


def test_every_number_of_steps_has_every_image_of_the_same_files_from_either_start() -> None:
    settings: dict[tuple[float, int], list[dict[str, str]]] = {}
    for row in rows(ABLATION / "decoder_steps.csv"):
        settings.setdefault((float(row["t_start"]), int(row["steps"])), []).append(row)
    assert settings.keys() == {(start, 2**k) for start in (0.25, 1.0) for k in range(7)}
    files = {row["image"]: row["bytes"] for row in settings[0.25, 1]}
    assert len(files) == 48  # two pieces of every picture
    frechet = {(float(row["t_start"]), int(row["steps"])): row for row in rows(ABLATION / "decoder_steps_frechet.csv")}
    assert frechet.keys() == settings.keys()
    assert {(row["images"], row["patches"]) for row in frechet.values()} == {("48", "1200")}
    for measured in settings.values():
        assert len(measured) == len(files)
        assert {row["image"]: row["bytes"] for row in measured} == files
    # What README says: from eight steps on nothing changes, whatever the start.
    for metric, tolerance in zip(METRICS, (0.01, 0.001, 0.0005), strict=True):
        means = [fmean(float(row[metric]) for row in of) for (_, steps), of in settings.items() if steps >= 8]
        assert means == pytest.approx([fmean(means)] * 8, abs=tolerance), metric
    seconds = [fmean(float(row["decode_seconds"]) for row in settings[1.0, steps]) for steps in (1, 4, 16, 64)]
    assert seconds == sorted(seconds)
    readme = README.read_text()
    for steps in (2**k for k in range(7)):
        line = f"| {steps} |"
        for start in (0.25, 1.0):
            psnr, alex, vgg = (fmean(float(row[name]) for row in settings[start, steps]) for name in METRICS)
            distance = float(frechet[start, steps]["frechet_vgg64"])
            line += f" {psnr:.2f} dB | {alex:.4f} | {vgg:.4f} | {distance:.0f} |"
        assert line in readme


@pytest.mark.parametrize("path", SEEDS, ids=lambda path: path.stem)
def test_a_seed_has_every_image_of_every_network_at_one_distortion(path: Path) -> None:
    images = rows(path)
    assert {row[SEED] for row in images} == {path.stem.removeprefix("entropy_seed")}
    by_network: dict[str, dict[tuple[str, str], float]] = {}
    for row in images:
        by_network.setdefault(row[NETWORK], {})[row["dataset"], row["name"]] = float(row["psnr"])
    reference = next(iter(by_network.values()))
    assert len(reference) == 24 + 200
    for network, psnr in by_network.items():
        assert Path(network).name in {member.name for member in (ABLATION / "entropy").glob("*.yaml")}
        assert psnr.keys() == reference.keys()
        assert fmean(psnr.values()) == pytest.approx(fmean(reference.values()), abs=0.01), network
        for image, value in psnr.items():  # latents are rounded around other means
            assert value == pytest.approx(reference[image], abs=0.2), (network, image)
