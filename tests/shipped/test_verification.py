import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lightning_codec.codec import Codec
from lightning_codec.images import read_image, to_uint8, write_png
from lightning_codec.shipped.catalogue import Catalogue
from lightning_codec.shipped.sample import decode_sample, encode_sample, pixels_digest, sample_picture
from lightning_codec.shipped.verification import faults
from tests.shipped.fleet import fleet, ships
from tests.shipped.test_loading import edit
from tests.tiny import tiny_compression_model

__all__ = ["fleet", "ships"]  # fixtures


def test_models_as_they_were_exported_have_no_faults(ships: Path) -> None:
    models = Catalogue(ships)
    assert {name: faults(name, models) for name in models.names()} == {
        "high": [],
        "low": [],
        "middle": [],
        "real": [],
    }


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def repaint(stem: Callable[[str], Path], levels: int) -> None:
    """As if the model had been exported where one value of the picture comes out higher."""
    pixels = to_uint8(read_image(stem("png")))
    pixels[0, 5, 7] = pixels[0, 5, 7] + levels if pixels[0, 5, 7] < 128 else pixels[0, 5, 7] - levels
    write_png(pixels / 255, stem("png"))
    edit(stem("json"), lambda card: card.update(pixels_sha256=pixels_digest(pixels)))


@pytest.mark.parametrize("name", ["middle", "real"])
def test_a_processor_that_rounds_to_the_other_side_is_no_fault(name: str, ships: Path) -> None:
    repaint(lambda suffix: ships / f"{name}.{suffix}", 1)
    assert faults(name, Catalogue(ships)) == []


@pytest.mark.parametrize("name", ["middle", "real"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda stem: flip(stem("safetensors"), -2), r"\.safetensors: its tensors are not those of the card"),
        (
            lambda stem: stem("safetensors").write_bytes(stem("safetensors").read_bytes()[:-9]),
            r"\.safetensors: damaged",
        ),
        (lambda stem: stem("safetensors").unlink(), r"\.safetensors: No such file or directory"),
        (lambda stem: flip(stem("lcb"), -3), r"\.lcb: the checksum of segment 2 of 2 does not match"),
        (lambda stem: stem("png").unlink(), r"\.png: .*no such file"),
        (lambda stem: stem("png").write_bytes(b"x"), r"\.png: "),
        (
            lambda stem: repaint(stem, 2),
            r"\.lcb: decodes to another picture than \w+\.png, by more than 1 of 255",
        ),
        (lambda stem: stem("lcb").unlink(), r"\.lcb: No such file or directory"),
        (
            lambda stem: stem("lcb").write_bytes(encode_sample(Codec(tiny_compression_model(5)))),
            r"\.lcb: coded with model",
        ),
        (
            lambda stem: edit(stem("json"), lambda card: card.update(pixels_sha256="ab" * 32)),
            r"\.png: is not the picture of the card \(SHA-256 \w{8}, not abababab\)",
        ),
        (lambda stem: stem("json").write_bytes(b"{"), r"\.json: not JSON"),
    ],
)
def test_each_damage_is_one_line(
    damage: Callable[[Callable[[str], Path]], object], message: str, name: str, ships: Path
) -> None:
    damage(lambda suffix: ships / f"{name}.{suffix}")
    (fault,) = faults(name, Catalogue(ships))
    assert fault.startswith(str(ships / name))
    assert "\n" not in fault
    assert re.search(message, fault)
    assert faults("low", Catalogue(ships)) == []


def test_two_faults_are_two_lines(ships: Path) -> None:
    edit(ships / "low.json", lambda card: card.update(fingerprint="00000000", pixels_sha256="00"))
    first, second = faults("low", Catalogue(ships))
    assert first.endswith("the card says 00000000")
    assert "is not the picture of the card" in second


def test_an_unknown_name_is_a_fault(ships: Path) -> None:
    assert faults("none", Catalogue(ships)) == ["none: no model of this name; there are high, low, middle, real"]


def test_the_number_of_threads_does_not_count_and_stays(ships: Path) -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        data = encode_sample(Codec.load("low"))
        assert data == (ships / "low.lcb").read_bytes()
        assert pixels_digest(decode_sample(Codec.load("low"), data)) == Catalogue(ships).model("low").card.pixels_sha256
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)


def test_the_sample_is_a_picture_in_which_there_is_something_to_see() -> None:
    image = sample_picture()
    assert image.shape == (3, 128, 128)
    assert torch.equal(image, sample_picture())
    assert image.std() > 0.1
