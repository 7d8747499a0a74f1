"""The committed comparisons of the ablation are those of the committed images."""

import csv
from pathlib import Path
from statistics import fmean

import pytest

from lightning_codec.cluster.grid import Axis
from lightning_codec.cluster.images import write_images
from lightning_codec.cluster.pairing import SEED, pairs
from lightning_codec.cluster.savings import write_savings
from lightning_codec.cluster.sweep import Sweep

ABLATION = Path(__file__).resolve().parents[2] / "configs" / "experiment" / "ablation"
SEEDS = sorted(ABLATION.glob("entropy_seed*.csv"))
NETWORK = "model.init_args.network"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def test_savings_are_those_of_the_images(tmp_path: Path) -> None:
    seeds = [path.stem.removeprefix("entropy_seed") for path in SEEDS]
    networks = sorted({row[NETWORK] for path in SEEDS for row in rows(path)})
    sweep = Sweep(tmp_path, (), (Axis(SEED, tuple(seeds)), Axis(NETWORK, tuple(networks))))
    _, images = write_images(sweep, SEEDS)
    written = rows(write_savings(tmp_path, pairs(sweep, images, Axis(NETWORK, tuple(networks)))))
    committed = rows(ABLATION / "entropy_savings.csv")
    assert len(written) == len(committed) >= len(networks)
    for line, expected in zip(written, committed, strict=True):
        for column, text in expected.items():  # the last digits of a mean depend on the processor
            value = number(text)
            close = value if isinstance(value, str) else pytest.approx(value, rel=1e-9, abs=1e-9)
            assert number(line[column]) == close, column


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
