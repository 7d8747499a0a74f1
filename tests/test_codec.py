"""Pictures to bytes and back: exact latents, honest sizes, typed errors."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lightning_codec.bitstream import (
    CodecError,
    Container,
    CorruptError,
    ImplausibleSizeError,
    WrongModelError,
    pack,
    unpack,
)
from lightning_codec.codec import Codec
from lightning_codec.diffusion.texture_map import texture_levels
from lightning_codec.errors import UserError
from lightning_codec.modules.entropy_model import estimated_bits
from lightning_codec.transforms import pad_to_multiple
from tests.tiny import tiny_compression_model


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec(tiny_compression_model())


def picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """A smooth random picture [3, H, W]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 2 + height // 16, 2 + width // 16, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")[0].clamp(0, 1)


@pytest.mark.parametrize("size", [(256, 256), (512, 768), (1, 1), (17, 333), (64, 64), (200, 3)])
def test_decoded_latents_are_the_encoders_bit_for_bit(codec: Codec, size: tuple[int, int]) -> None:
    encoded = codec.encode(picture(*size))
    decoded = codec.decode(encoded.data)
    assert torch.equal(decoded.y_hat, encoded.y_hat)
    assert encoded.y_hat.abs().max() >= 1  # not a file of zeros
    assert codec.decompress(encoded.data).shape == (3, *size)


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (320, 128)])
def test_the_number_of_coding_rounds_does_not_depend_on_the_image(codec: Codec, size: tuple[int, int]) -> None:
    passes = 2 * len(codec.model.entropy.widths)
    assert codec.decode(codec.compress(picture(*size))).rounds == 1 + passes


def test_real_bytes_are_the_estimate(codec: Codec) -> None:
    for seed in range(20):
        height, width = 96 + 16 * seed, 300 - 9 * seed
        image = picture(height, width, seed)
        with torch.no_grad():
            bits = float(estimated_bits(codec.model(image[None])))
        data = codec.compress(image)
        header = len(data) - sum(len(s) for s in unpack(data).segments)
        assert header <= 30
        assert abs(8 * len(data) - bits) <= 0.005 * bits + 8 * (header + 8 * 2)


def test_hyper_latents_cost_what_their_prior_says(codec: Codec) -> None:
    image = picture(1024, 1536)
    with torch.no_grad():
        bits = float(-codec.model(image[None]).z_likelihoods.log2().sum())
    assert len(unpack(codec.compress(image)).segments[0]) <= 1.01 * bits / 8 + 8 + 4  # the stream is whole words


def test_a_batch_coded_together_would_be_the_images_coded_alone(codec: Codec) -> None:
    images = [picture(64, 80, seed) for seed in range(4)]
    data = [codec.compress(image) for image in images]
    for image, stream in zip(reversed(images), reversed(data), strict=True):
        assert codec.compress(image) == stream


def test_the_picture_is_that_of_the_forward_pass(codec: Codec) -> None:
    image = picture(70, 90)
    with torch.no_grad():
        expected = codec.model(image[None]).x_hat[0].clamp(0, 1)
    assert torch.allclose(codec.decompress(codec.compress(image)), expected, atol=1e-5)


def test_a_texture_map_is_one_more_segment_that_tells_what_the_picture_lacks(codec: Codec) -> None:
    image = (picture(70, 90) + 0.2 * torch.randn(3, 70, 90)).clamp(0, 1)
    plain, told = codec.encode(image).data, codec.encode(image, texture_map=True).data
    assert unpack(told).segments[:2] == unpack(plain).segments
    assert torch.equal(codec.decompress(told), codec.decompress(plain))
    assert codec.decode(plain).texture is None
    with torch.no_grad():
        x = pad_to_multiple(image[None])
        expected = texture_levels(2 * x - 1, 2 * codec.model(x).x_hat - 1)
    found = codec.decode(told).texture
    assert found is not None
    assert found.shape == (1, 4, 4)
    assert torch.equal(found, expected)
    assert int(found.max()) > 0
    assert Codec(codec.model, texture_map=True).compress(image) == told


def test_another_models_file_is_refused(codec: Codec) -> None:
    other = Codec(tiny_compression_model(seed=1))
    assert other.fingerprint != codec.fingerprint
    with pytest.raises(WrongModelError, match=codec.fingerprint.hex()):
        other.decompress(codec.compress(picture(64, 64)))


def test_the_fingerprint_sees_a_single_weight() -> None:
    model = tiny_compression_model()
    before = Codec(model).fingerprint
    with torch.no_grad():
        next(model.g_s.parameters()).view(-1)[0].add_(1e-4)
    assert Codec(model).fingerprint != before
    assert Codec(tiny_compression_model()).fingerprint == before


def test_a_size_that_the_bytes_cannot_hold_is_refused(codec: Codec) -> None:
    container = unpack(codec.compress(picture(64, 64)))
    with pytest.raises(ImplausibleSizeError):
        codec.decompress(pack(container._replace(height=16000, width=16000)))


def test_wrong_latents_are_noticed_behind_valid_checksums(codec: Codec) -> None:
    container = unpack(codec.compress(picture(128, 128)))
    swapped = container._replace(
        segments=(container.segments[0], unpack(codec.compress(picture(128, 128, 5))).segments[1])
    )
    for bad in (
        swapped,
        container._replace(width=64),
        container._replace(latents_crc=container.latents_crc ^ 1),
    ):
        with pytest.raises(CodecError):
            codec.decompress(pack(bad))
    with pytest.raises(CorruptError, match="segments"):
        codec.decompress(pack(Container(codec.fingerprint, 64, 64, 0, container.segments[:1])))
    with pytest.raises(CorruptError, match="segments"):
        codec.decompress(pack(container._replace(segments=container.segments * 2)))


def test_a_texture_map_that_does_not_fit_the_picture_is_refused(codec: Codec) -> None:
    container = unpack(codec.encode(picture(128, 128), texture_map=True).data)
    for bad in (b"", b"abc", b"\0" * 8):
        with pytest.raises(CodecError):
            codec.decompress(pack(container._replace(segments=(*container.segments[:2], bad))))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (torch.rand(1, 3, 8, 8), "one image"),
        (torch.rand(1, 8, 8), "must be RGB"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), "floating point"),
        (2 * torch.rand(3, 8, 8) - 1, r"values in \[0, 1\]"),
        (255 * torch.rand(3, 8, 8), r"values in \[0, 1\]"),
        (torch.full((3, 8, 8), math.nan), r"values in \[0, 1\]"),
    ],
)
def test_what_is_not_an_image_is_refused(codec: Codec, bad: torch.Tensor, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        codec.compress(bad)


def test_a_diverged_network_is_reported() -> None:
    model = tiny_compression_model()
    with torch.no_grad():
        next(model.g_a.parameters()).fill_(math.nan)
    with pytest.raises(UserError, match="diverged"):
        Codec(model).compress(picture(64, 64))


def test_extreme_latents_survive_by_escape_coding() -> None:
    codec = Codec(tiny_compression_model(spread=3e4))
    encoded = codec.encode(picture(64, 64))
    assert encoded.y_hat.abs().max() > 2000
    assert torch.equal(codec.decode(encoded.data).y_hat, encoded.y_hat)


def test_a_codec_is_a_snapshot_of_its_model() -> None:
    model = tiny_compression_model()
    codec = Codec(model)
    data = codec.compress(picture(64, 64))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1)
    assert codec.compress(picture(64, 64)) == data
    assert Codec(model, owned=True).model is model


def test_latents_are_exact_in_a_new_process(codec: Codec, tmp_path: Path) -> None:
    encoded = codec.encode(picture(120, 200))
    (tmp_path / "a.lcb").write_bytes(encoded.data)
    script = (
        "import sys, torch; from tests.tiny import tiny_compression_model\n"
        "from lightning_codec.codec import Codec\n"
        "d = Codec(tiny_compression_model()).decode(open(sys.argv[1], 'rb').read())\n"
        "torch.save(d.y_hat, sys.argv[2])"
    )
    root = Path(__file__).resolve().parent.parent
    subprocess.run([sys.executable, "-c", script, tmp_path / "a.lcb", tmp_path / "y.pt"], check=True, cwd=root)
    assert torch.equal(torch.load(tmp_path / "y.pt", weights_only=True), encoded.y_hat)
