"""From a file's texture map to the picture: whole, in tiles, and without a map."""

import pytest
import torch

from lightning_codec.diffusion.noise import noise_key
from lightning_codec.diffusion_decoder import DecodeOptions, DiffusionDecoder
from tests.test_codec import picture
from tests.test_diffusion_decoder import decoder, tiled
from tests.tiny import seeing_denoiser

__all__ = ["decoder"]  # fixture


def test_a_network_that_looks_at_a_texture_map_has_it_in_its_files(
    decoder: DiffusionDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file has it, the picture depends on it, tiles see their own part, and a file without one is decoded too."""
    seeing = DiffusionDecoder(decoder.codec, seeing_denoiser(), decoder.sampling)
    torch.manual_seed(3)
    image = picture(200, 900)
    image[:, :, 600:] += 0.3 * torch.randn(3, 200, 300)
    data = seeing.compress(image.clamp(0, 1))
    decoded = decoder.codec.decode(data)
    assert decoded.texture is not None
    key = noise_key(data, 0)
    whole = seeing.decode(decoded, key, DecodeOptions())
    assert torch.equal(whole, seeing.decompress(data))
    unlike = seeing.decode(decoded._replace(texture=None), key, DecodeOptions())
    assert (whole - unlike).abs().max() > 1 / 255
    moved = seeing.decode(decoded._replace(texture=decoded.texture.roll(1, 2)), key, DecodeOptions())
    assert (whole - moved).abs().max() > 1 / 255
    pieces = tiled(seeing, monkeypatch)(data, DecodeOptions())
    assert len(seeing.plan(200, 900, None)) > 4
    assert 255 * (pieces - whole).abs().max() < 0.1
