"""Models that share the weights of one training for several rates."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lightning_codec.checkpoint import RECORD_KEY, CheckpointError, make_record, to_plain
from lightning_codec.codec import Codec
from lightning_codec.errors import UserError
from lightning_codec.modules import EntropyModelModule, MultiRateModule
from lightning_codec.multirate import MultiRateNetwork
from lightning_codec.networks import load_rates
from lightning_codec.shipped import catalogue
from lightning_codec.shipped.catalogue import Catalogue
from lightning_codec.shipped.export import Order, export_codec
from lightning_codec.shipped.tensors import round_weights
from lightning_codec.shipped.verification import faults
from tests.shipped.fleet import FACTS
from tests.test_codec import picture
from tests.tiny import TINY_NETWORK, tiny_compression_model, write_codec_checkpoint

NETWORK = replace(TINY_NETWORK, latent_residual_prediction=False)
LMBDAS = [0.001, 0.01, 0.1]


def networks(seed: int = 0) -> MultiRateNetwork:
    torch.manual_seed(seed)
    network = MultiRateNetwork(NETWORK, LMBDAS)
    with torch.no_grad():
        for parameter in network.rates.parameters():
            parameter.mul_(1.0 + 0.2 * torch.rand(parameter.shape))
    return network


def write_rates_checkpoint(path: Path, network: MultiRateNetwork) -> Path:
    init_args = {"network": to_plain(NETWORK), "lmbdas": LMBDAS, "rate": None}
    torch.save({"state_dict": network.state_dict(), RECORD_KEY: make_record(MultiRateModule, init_args)}, path)
    return path


def orders(checkpoint: Path) -> list[Order]:
    return [Order(checkpoint, f"photo-{k + 1}", k + 1, FACTS, k, "photo") for k in range(3)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rates")
    for order in orders(write_rates_checkpoint(folder / "rates.ckpt", networks())):
        export_codec(order, Catalogue(folder / "models"))
    return folder


@pytest.fixture
def shared(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    models = tmp_path / "models"
    shutil.copytree(exported / "models", models)
    monkeypatch.setattr(catalogue, "FOLDER", models)
    return models


def test_all_rates_share_one_file_and_each_is_the_codec_of_its_rate(shared: Path) -> None:
    assert sorted(path.name for path in shared.iterdir()) == sorted(
        ["photo.safetensors", *(f"photo-{k}.{suffix}" for k in (1, 2, 3) for suffix in ("json", "lcb", "png"))]
    )
    rounded = networks()
    round_weights(rounded)
    image = picture(64, 64)
    files = []
    for k in range(3):
        codec = Codec.load(f"photo-{k + 1}")
        expected = Codec(rounded.network(k))
        assert codec.fingerprint == expected.fingerprint
        files.append(codec.compress(image))
        assert torch.equal(expected.decompress(files[-1]), codec.decompress(files[-1]))
        assert faults(f"photo-{k + 1}", Catalogue(shared)) == []
    assert len(set(files)) == 3


def test_a_change_of_what_one_rate_has_for_itself_is_a_fault_of_that_one_alone(shared: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(shared / "photo.safetensors")
    tensors["rates.y_hat_scales"][1, 0] *= 1.5
    save_file(tensors, shared / "photo.safetensors")
    found = [faults(f"photo-{k}", Catalogue(shared)) for k in (1, 2, 3)]
    assert found[0] == found[2] == []
    assert "its tensors are not those of the card" in found[1][0]


def test_a_training_goes_on_from_what_ships(shared: Path) -> None:
    rounded = networks()
    round_weights(rounded)
    module = MultiRateModule(network=NETWORK, lmbdas=LMBDAS, start_from="photo-2")
    for name, value in rounded.state_dict().items():
        assert torch.equal(module.state_dict()[name], value), name
    single = EntropyModelModule(network=NETWORK, lmbda=0.02, start_from="photo-3")
    for name, value in rounded.network(2).state_dict().items():
        assert torch.equal(single.model.state_dict()[name], value), name
    assert shared.is_dir()


def test_one_rate_is_no_start_for_several(tmp_path: Path) -> None:
    write_codec_checkpoint(tmp_path / "one.ckpt", tiny_compression_model())
    with pytest.raises(CheckpointError, match=r"one\.ckpt: is of one rate, not of several"):
        load_rates(tmp_path / "one.ckpt")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate": 3}, r"rate 3: .*rates\.ckpt has 3, counted from 0"),
        ({"rate": -1}, r"rate -1: "),
        ({"weights": "../photo"}, r"name '\.\./photo': give lower-case"),
        (
            {"checkpoint": "other.ckpt"},
            r"photo\.safetensors: belongs to photo-1, photo-2, photo-3 and has other",
        ),
    ],
)
def test_what_cannot_be_shared_is_refused_and_nothing_is_written(
    changes: dict[str, object], message: str, exported: Path, shared: Path
) -> None:
    write_rates_checkpoint(exported / "other.ckpt", networks(1))
    before = {path.name: path.read_bytes() for path in shared.iterdir()}
    order = orders(exported / "rates.ckpt")[0]._replace(name="photo-4", quality=4)
    if "checkpoint" in changes:
        changes = {"checkpoint": exported / str(changes["checkpoint"])}
    with pytest.raises(UserError, match=message):
        export_codec(order._replace(**changes), Catalogue(shared))  # type: ignore[arg-type]
    assert {path.name: path.read_bytes() for path in shared.iterdir()} == before
