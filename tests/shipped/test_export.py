"""From a checkpoint to the model that ships, and from its name to the same bytes and pictures."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lightning_codec.bitstream.container import read_header, unpack
from lightning_codec.checkpoint import weights_digest
from lightning_codec.codec import Codec
from lightning_codec.diffusion_decoder import DecodeOptions, DiffusionDecoder
from lightning_codec.errors import UserError
from lightning_codec.shipped.catalogue import Catalogue
from lightning_codec.shipped.export import Order, export_codec, export_decoder
from lightning_codec.shipped.verification import faults
from tests.shipped.fleet import FACTS, SAMPLING, fleet, order, ships
from tests.test_codec import picture
from tests.tiny import (
    seeing_denoiser,
    tiny_compression_model,
    tiny_denoiser,
    write_codec_checkpoint,
    write_diffusion_checkpoint,
)

__all__ = ["fleet", "ships"]  # fixtures


def rounded(network: torch.nn.Module) -> None:
    """Round the weights in place, without anything of the package."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.half().float())


@pytest.mark.parametrize("size", [(70, 90), (1, 1), (128, 192)])
def test_a_shipped_codec_is_the_network_with_rounded_weights(size: tuple[int, int], ships: Path) -> None:
    model = tiny_compression_model(1)
    whole = Codec(model)
    rounded(model)
    expected, codec = Codec(model), Codec.load("middle")
    assert codec.fingerprint == expected.fingerprint != whole.fingerprint
    data = codec.compress(picture(*size))
    assert data == expected.compress(picture(*size))
    assert torch.equal(codec.decompress(data), expected.decompress(data))


def test_a_shipped_decoder_is_the_averaged_network_with_rounded_weights_and_its_codec(ships: Path) -> None:
    model, denoiser = tiny_compression_model(1), tiny_denoiser()
    rounded(model)
    whole = DiffusionDecoder(Codec(model), denoiser, SAMPLING)
    rounded(denoiser)
    expected = DiffusionDecoder(Codec(model), denoiser, SAMPLING)
    data = Codec.load("middle").compress(picture(70, 90))
    for name in ("real", "middle"):
        decoder = DiffusionDecoder.load(name)
        assert decoder.sampling == SAMPLING
        for options in (DecodeOptions(), DecodeOptions(seed=3, perception=0.5)):
            assert torch.equal(decoder.decompress(data, options), expected.decompress(data, options))
    assert not torch.equal(whole.decompress(data), expected.decompress(data))
    assert Codec.load("real").fingerprint == Codec.load("middle").fingerprint == expected.fingerprint


def test_the_card_says_what_was_exported(ships: Path) -> None:
    trained = tiny_compression_model(1)
    model = Catalogue(ships).model("middle")
    codec, card = Codec.load("middle"), model.card
    assert (card.name, card.kind, card.quality, card.codec, card.facts) == (
        "middle",
        "entropy codec",
        2,
        "middle",
        FACTS,
    )
    assert card.fingerprint == codec.fingerprint.hex() == card.weights_sha256[:8]
    assert card.weights_sha256 == weights_digest(codec.model.config, codec.model).hex()
    assert card.trained_sha256 == weights_digest(trained.config, trained).hex() != card.weights_sha256
    assert card.parameters == sum(p.numel() for p in trained.parameters())
    assert card.init_args["lmbda"] == 0.01
    assert read_header(model.sample.read_bytes()).fingerprint == codec.fingerprint
    decoder = Catalogue(ships).model("real").card
    assert (decoder.kind, decoder.quality, decoder.codec, decoder.fingerprint) == (
        "diffusion decoder",
        2,
        "middle",
        card.fingerprint,
    )
    assert decoder.parameters == sum(p.numel() for p in tiny_denoiser().parameters())


def test_a_decoder_is_stored_without_its_codec(ships: Path) -> None:
    assert load_file(ships / "real.safetensors").keys() == tiny_denoiser().state_dict().keys()
    assert (ships / "real.lcb").read_bytes() == (ships / "middle.lcb").read_bytes()
    # half of what the checkpoint's float32 takes, and the header
    weights = (ships / "middle.safetensors").stat().st_size
    header = int.from_bytes((ships / "middle.safetensors").read_bytes()[:8], "little")
    assert weights - header < 2.2 * Catalogue(ships).model("middle").card.parameters


def test_four_files_and_no_others_are_written(ships: Path) -> None:
    assert sorted(path.name for path in ships.iterdir()) == sorted(
        f"{name}.{suffix}"
        for name in ("low", "middle", "high", "real")
        for suffix in ("json", "lcb", "png", "safetensors")
    )


def test_a_decoder_that_was_trained_on_the_model_that_ships_is_its_decoder_too(ships: Path, tmp_path: Path) -> None:
    write_diffusion_checkpoint(tmp_path / "d.ckpt", Codec.load("high").model, tiny_denoiser(), SAMPLING)
    model = export_decoder(order(tmp_path / "d.ckpt", "real-3", 3), "high", Catalogue(ships))
    data = Codec.load("high").compress(picture(64, 64))
    assert DiffusionDecoder.load(model).decompress(data).shape == (3, 64, 64)


def test_a_decoder_ships_with_the_number_of_steps_that_it_is_given(ships: Path, tmp_path: Path) -> None:
    write_diffusion_checkpoint(tmp_path / "d.ckpt", Codec.load("high").model, tiny_denoiser(), SAMPLING)
    model = export_decoder(order(tmp_path / "d.ckpt", "real-3", 3)._replace(steps=3), "high", Catalogue(ships))
    trained, exported = DiffusionDecoder.load(tmp_path / "d.ckpt"), DiffusionDecoder.load(model)
    assert exported.sampling == replace(SAMPLING, steps=3) != trained.sampling
    data = exported.compress(picture(64, 64))
    assert not torch.equal(exported.decompress(data), trained.decompress(data))
    assert faults("real-3", Catalogue(ships)) == []


def test_where_the_decoder_that_ships_looks_at_a_texture_map_the_codecs_files_have_one(
    ships: Path, tmp_path: Path
) -> None:
    image = picture(64, 64)
    before = Codec.load("high").compress(image)
    write_diffusion_checkpoint(tmp_path / "d.ckpt", Codec.load("high").model, seeing_denoiser(), SAMPLING)
    model = export_decoder(order(tmp_path / "d.ckpt", "real-3", 3), "high", Catalogue(ships))
    assert len(unpack(model.sample.read_bytes()).segments) == 3  # so that verification looks at one
    assert faults("real-3", Catalogue(ships)) == []
    data = Codec.load("high").compress(image)
    assert data == DiffusionDecoder.load("high").compress(image)
    assert unpack(data).segments[:2] == unpack(before).segments
    assert len(unpack(data).segments) == 3
    assert len(unpack(Codec.load("middle").compress(image)).segments) == 2
    model.sample.with_suffix(".json").write_text("{")  # which is no fault of the codec
    assert Codec.load("high").compress(image) == before


def changed(order: Order, **fields: object) -> Order:
    return order._replace(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "Photo 1"}, r"^name 'Photo 1': give lower-case letters"),
        ({"name": "../photo"}, r"^name '\.\./photo': give lower-case"),
        ({"name": "low"}, r"low\.json: exists already"),
        ({"quality": 2}, r"^quality 2 is that of middle"),
        ({"quality": 0}, r"^quality is 0"),
        ({"checkpoint": "real.ckpt"}, r"real\.ckpt: a diffusion decoder: say with --codec NAME"),
        ({"checkpoint": "none.ckpt"}, r"none\.ckpt: no such checkpoint"),
        ({"checkpoint": "huge.ckpt"}, r"huge\.ckpt: cannot be stored: g_a\.body\.0\.bias has values that are not fin"),
    ],
)
def test_a_codec_that_cannot_ship_is_refused_and_nothing_is_written(
    fields: dict[str, object], message: str, fleet: Path, ships: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(fleet / "checkpoints")
    model = tiny_compression_model()
    with torch.no_grad():
        model.get_parameter("g_a.body.0.bias")[0] = 1e5
    write_codec_checkpoint(Path("huge.ckpt"), model)
    before = sorted(ships.iterdir())
    asked = changed(order(Path("low.ckpt"), "new", 4), **fields)
    with pytest.raises(UserError, match=message):
        export_codec(asked._replace(checkpoint=Path(asked.checkpoint)), Catalogue(ships))
    assert sorted(ships.iterdir()) == before


@pytest.mark.parametrize(
    ("fields", "codec", "message"),
    [
        ({}, "middle", r"^middle has a diffusion decoder already, real: delete that first"),
        (
            {},
            "low",
            r"real\.ckpt: was trained for a codec of other weights \(\w{8}\) than low \(\w{8} before rounding\)",
        ),
        ({}, "real", r"^real: a diffusion decoder: name the entropy codec"),
        ({}, "none", r"^none: no model of this name; there are high, low, middle, real"),
        ({"quality": 3}, "middle", r"^quality is 3: that of middle, 2, is the decoder's too"),
        ({"name": "real"}, "middle", r"real\.json: exists already"),
        ({"checkpoint": Path("middle.ckpt")}, "middle", r"middle\.ckpt: has no diffusion decoder"),
    ],
)
def test_a_decoder_that_cannot_ship_is_refused_and_nothing_is_written(
    fields: dict[str, object], codec: str, message: str, fleet: Path, ships: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(fleet / "checkpoints")
    before = sorted(ships.iterdir())
    with pytest.raises(UserError, match=message):
        export_decoder(changed(order(Path("real.ckpt"), "new", 2), **fields), codec, Catalogue(ships))
    assert sorted(ships.iterdir()) == before


def test_a_codec_that_differs_by_less_than_the_rounding_is_another(ships: Path, tmp_path: Path) -> None:
    near = tiny_compression_model(2)
    with torch.no_grad():
        weight = near.get_parameter("g_s.rungs.0.1.weight")
        weight.view(-1)[0].mul_(1 + 2.0**-20)
    assert torch.equal(weight.half(), tiny_compression_model(2).get_parameter("g_s.rungs.0.1.weight").half())
    write_diffusion_checkpoint(tmp_path / "d.ckpt", near, tiny_denoiser(), SAMPLING)
    with pytest.raises(UserError, match="was trained for a codec of other weights"):
        export_decoder(order(tmp_path / "d.ckpt", "new", 3), "high", Catalogue(ships))


def test_a_model_is_there_only_once_its_card_is(fleet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    models = Catalogue(tmp_path / "models")
    asked = order(fleet / "checkpoints/low.ckpt", "low", 1)
    with monkeypatch.context() as patch:
        patch.setattr("lightning_codec.shipped.export.write_json", full)
        with pytest.raises(OSError, match="No space"):
            export_codec(asked, models)
    assert models.names() == []
    assert not list(models.folder.glob(".*"))
    export_codec(asked, models)
    assert models.names() == ["low"]


def test_what_is_exported_is_the_same_on_every_day(fleet: Path, tmp_path: Path) -> None:
    export_codec(order(fleet / "checkpoints/low.ckpt", "low", 1), Catalogue(tmp_path))
    for suffix in ("json", "lcb", "safetensors"):
        assert (tmp_path / f"low.{suffix}").read_bytes() == (fleet / f"models/low.{suffix}").read_bytes()


def test_tensors_of_another_model_are_refused_by_name(ships: Path) -> None:
    save_file(load_file(ships / "low.safetensors"), ships / "high.safetensors")
    with pytest.raises(
        UserError, match=r"high\.safetensors: its tensors are not those of the card \(SHA-256 \w{8}, not"
    ):
        Codec.load("high")
