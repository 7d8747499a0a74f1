"""Tiny models that ship: three codecs, and a diffusion decoder of the second."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from lightning_codec.diffusion.sampling import SamplingConfig
from lightning_codec.shipped import catalogue
from lightning_codec.shipped.card import Facts
from lightning_codec.shipped.catalogue import Catalogue
from lightning_codec.shipped.export import Order, export_codec, export_decoder
from tests.tiny import tiny_compression_model, tiny_denoiser, write_codec_checkpoint, write_diffusion_checkpoint

FACTS = Facts(
    data="200 photographs",
    command="lightning-codec fit --config a.yaml",
    seed=0,
    steps=9000,
    hours=1.5,
    results={"kodak": {"bpp": 0.2008, "psnr": 27.63}},
    licence="MIT",
    not_for="medical images",
)
SAMPLING = SamplingConfig(steps=2, sampler="ddim")
CODECS = ("low", "middle", "high")
DECODER = "real"


def order(checkpoint: Path, name: str, quality: int, facts: Facts = FACTS) -> Order:
    return Order(checkpoint, name, quality, facts)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """checkpoints/{low,middle,high,real}.ckpt of seeds 0, 1, 2 and 1, and models/, what was exported of them."""
    folder = tmp_path_factory.mktemp("fleet")
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir()
    models = Catalogue(folder / "models")
    for seed, name in enumerate(CODECS):
        write_codec_checkpoint(checkpoints / f"{name}.ckpt", tiny_compression_model(seed))
        export_codec(order(checkpoints / f"{name}.ckpt", name, seed + 1), models)
    checkpoint = checkpoints / f"{DECODER}.ckpt"
    write_diffusion_checkpoint(checkpoint, tiny_compression_model(1), tiny_denoiser(), SAMPLING)
    export_decoder(order(checkpoint, DECODER, 2, replace(FACTS, results={})), "middle", models)
    return folder


@pytest.fixture
def ships(fleet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of these models, from which the package's are taken; the working folder is empty, no model is named."""
    models = tmp_path / "models"
    shutil.copytree(fleet / "models", models)
    monkeypatch.setattr(catalogue, "FOLDER", models)
    monkeypatch.delenv("LIGHTNING_CODEC_MODEL", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return models


@pytest.fixture
def nothing_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "FOLDER", tmp_path / "no_models")
    monkeypatch.delenv("LIGHTNING_CODEC_MODEL", raising=False)
