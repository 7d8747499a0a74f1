import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from lightning_codec.checkpoint import CheckpointError
from lightning_codec.codec import Codec
from lightning_codec.diffusion_decoder import DiffusionDecoder
from lightning_codec.modules import DiffusionDecoderModule
from lightning_codec.shipped import tensors
from lightning_codec.shipped.catalogue import Catalogue
from lightning_codec.shipped.loading import AtMost, find_model
from tests.shipped.fleet import fleet, nothing_ships, ships
from tests.tiny import TINY_DENOISER

__all__ = ["fleet", "nothing_ships", "ships"]  # fixtures


def edit(card: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads(card.read_text())
    change(document)
    card.write_text(json.dumps(document))


def test_a_file_that_exists_is_a_checkpoint_whatever_its_name(fleet: Path, ships: Path) -> None:
    shutil.copy(fleet / "checkpoints/high.ckpt", "low")
    assert find_model("low") == Path("low")
    assert Codec.load("low").fingerprint == Codec.load(fleet / "checkpoints/high.ckpt").fingerprint
    Path("low").unlink()
    Path("low").mkdir()  # no checkpoint
    assert Codec.load("low").fingerprint.hex() == Catalogue(ships).model("low").card.fingerprint


@pytest.mark.usefixtures("ships")
@pytest.mark.parametrize("source", ["real", "middle"])
def test_the_training_of_a_decoder_goes_on_from_the_one_that_ships(source: str) -> None:
    module = DiffusionDecoderModule(codec="low", decoder=TINY_DENOISER, start_from=source)
    expected = DiffusionDecoder.load("real").denoiser.state_dict()
    for network in (module.decoder, module.ema.module):
        for name, value in network.state_dict().items():
            assert torch.equal(value, expected[name]), name


def test_the_codec_of_a_decoder_is_the_model_and_not_a_file_of_its_name(fleet: Path, ships: Path) -> None:
    shutil.copy(fleet / "checkpoints/high.ckpt", "middle")
    expected = Catalogue(ships).model("middle").card.fingerprint
    assert DiffusionDecoder.load("real").fingerprint.hex() == Codec.load("real").fingerprint.hex() == expected


@pytest.mark.parametrize("load", [Codec.load, DiffusionDecoder.load])
def test_what_is_neither_file_nor_model_is_one_line_that_lists_the_models(
    load: Callable[[str], object], ships: Path
) -> None:
    with pytest.raises(CheckpointError) as caught:
        load("mid")
    assert str(caught.value) == (
        "mid: no such checkpoint file, and no model of this name; there are high, low, middle, real"
    )


@pytest.mark.usefixtures("nothing_ships")
def test_where_nothing_ships_it_says_so() -> None:
    with pytest.raises(CheckpointError, match=r"^a\.ckpt: no such checkpoint file, and no model of this name: none sh"):
        Codec.load("a.ckpt")


def test_a_codec_without_a_decoder_says_so(ships: Path) -> None:
    with pytest.raises(CheckpointError, match=r"^low: no diffusion decoder of it ships: decode with --decoder mse$"):
        DiffusionDecoder.load("low")


def test_a_decoder_is_trained_on_a_model_by_its_name(ships: Path) -> None:
    module = DiffusionDecoderModule(codec="low", decoder=TINY_DENOISER)
    assert module.codec().fingerprint == Codec.load("low").fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card: card.update(weights_sha256="0" * 64), r"low\.safetensors: its tensors are not those of the card"),
        (
            lambda card: card["init_args"]["network"].update(channels=[4, 6, 9]),
            r"low\.safetensors: tensor \S+ is .*, its card needs ",
        ),
        (
            lambda card: card["init_args"]["network"].update(channels=[4, 6, 10**7]),
            r"low\.json: its init_args make no network \(ValueError: more than the \d+ weights that the file of its te",
        ),
        (
            lambda card: card["init_args"]["network"]["entropy"].update(blocks=10**7),
            r"low\.json: .* more than the \d+ weights",
        ),
        (
            lambda card: card["init_args"]["network"].update(channels=[4, 6, 10**30]),
            r"low\.json: its init_args make no network \(\w+: .*\): install the package again",
        ),
        (lambda card: card["init_args"].clear(), r"low\.json: its init_args make no network \(KeyError: 'network'\)"),
        (
            lambda card: card["init_args"]["network"].update(channels="x"),
            r"low\.json: its init_args make no network",
        ),
        (
            lambda card: card["init_args"]["network"].update(colour=1),
            r"low\.json: its init_args make no network \(CheckpointError: NetworkConfig of another version",
        ),
        (lambda card: card["init_args"]["network"]["entropy"].update(window=5), r"low\.json: .* window is 5"),
        (lambda card: card["init_args"]["network"]["entropy"].update(window=34), r"window is 34: .* at most 32"),
    ],
)
def test_a_card_that_does_not_fit_its_tensors_is_refused_before_any_is_read(
    change: Callable[[dict[str, Any]], object], message: str, ships: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(ships / "low.json", change)
    if "not those of the card" not in message:
        monkeypatch.setattr(tensors, "load_file", lambda _: pytest.fail("read"))
    with pytest.raises(CheckpointError, match=message) as caught:
        Codec.load("low")
    assert "\n" not in str(caught.value)


def test_weights_that_are_too_many_are_refused_before_their_memory_is_taken() -> None:
    made = []

    class Watch(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: object, args: Any = (), kwargs: Any = None) -> Any:
            if func in AtMost.MAKERS and (kwargs or {}).get("device") != "meta":
                made.append(args)
            return func(*args, **(kwargs or {}))

    with Watch(), AtMost(40):
        nn.Linear(3, 9)  # 36 weights
        with pytest.raises(ValueError, match=r"^more than the 40 weights that the file of its tensors may have$"):
            nn.Linear(5, 1)
        assert len(made) == 2
    with AtMost(10), pytest.raises(ValueError, match="more than the 10 weights"):
        torch.full((11,), 1.0)
    for make in (torch.zeros, torch.ones, torch.empty):
        with AtMost(10), pytest.raises(ValueError, match="more than the 10 weights"):
            make(3, 4)


@pytest.mark.parametrize("name", ["decoder", "sampling"])
def test_a_decoders_card_without_its_configuration_is_refused(name: str, ships: Path) -> None:
    edit(ships / "real.json", lambda card: card["init_args"].pop(name))
    with pytest.raises(CheckpointError, match=rf"real\.json: its init_args make no network \(KeyError: '{name}'\)"):
        DiffusionDecoder.load("real")


def test_a_network_that_was_read_is_an_ordinary_one(ships: Path) -> None:
    """In float32, on the CPU, with the constants that no file has."""
    decoder = DiffusionDecoder.load("real")
    for network in (decoder.codec.model, decoder.denoiser):
        values = [*network.parameters(), *network.buffers()]
        assert {value.device.type for value in values} == {"cpu"}
        assert {value.dtype for value in values if value.is_floating_point()} == {torch.float32}
        assert all(value.isfinite().all() for value in values)
