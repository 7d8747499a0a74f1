"""Coding in evaluation steps: one file, one decoded picture, full precision, and a map of the bits that adds up."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lightning_codec.codec import Codec
from lightning_codec.data import NamedImage
from lightning_codec.entropy import EntropyModel
from lightning_codec.modules import DiffusionDecoderModule, DiffusionLossConfig, EntropyModelModule
from lightning_codec.modules.coding import FileCoder, bits_map, difference_8bit
from lightning_codec.modules.entropy_model import estimated_bits
from tests.tiny import TINY_DENOISER, TINY_NETWORK, tiny_compression_model

IMAGE = torch.rand(1, 3, 50, 150, generator=torch.Generator().manual_seed(0))


def entropy_module() -> EntropyModelModule:
    module = EntropyModelModule(network=TINY_NETWORK, lmbda=0.01).eval()
    module.model.load_state_dict(tiny_compression_model().state_dict())
    return module


def diffusion_module() -> DiffusionDecoderModule:
    loss = DiffusionLossConfig(rho=0.0, perceptual="none")
    module = DiffusionDecoderModule(network=TINY_NETWORK, decoder=TINY_DENOISER, loss=loss, train_codec=True).eval()
    module.model.load_state_dict(tiny_compression_model().state_dict())
    return module


class CountingCodec:
    """Halves the picture; counts."""

    fingerprint = b"\x07"

    def __init__(self) -> None:
        self.calls: list[str] = []

    def compress(self, image: Tensor) -> bytes:
        self.calls.append("compress")
        self.image = image
        return b"file"

    def decompress(self, data: bytes) -> Tensor:
        self.calls.append("decompress")
        assert not torch.is_autocast_enabled("cpu")
        return self.image / 2


def test_each_image_is_coded_once_and_a_codecs_first_one_once_more_where_times_are_taken() -> None:
    coder, codec = FileCoder(), CountingCodec()
    x_hat, file = coder(codec, IMAGE, timed=False)
    assert torch.equal(x_hat, IMAGE / 2)
    assert file == (b"file", b"\x07", None, None)
    assert codec.calls == ["compress", "decompress"]
    with torch.autocast("cpu", torch.bfloat16):
        _, file = coder(codec, IMAGE, timed=True)
    assert file.encode_seconds is not None
    assert file.decode_seconds is not None
    assert codec.calls == ["compress", "decompress"] * 3
    coder(codec, IMAGE, timed=True)
    assert codec.calls == ["compress", "decompress"] * 4
    coder(other := CountingCodec(), IMAGE, timed=True)
    assert other.calls == ["compress", "decompress"] * 2


@pytest.mark.parametrize("make", [entropy_module, diffusion_module])
def test_a_trainer_of_half_precision_writes_the_files_of_the_checkpoint(
    make: type[EntropyModelModule] | type[DiffusionDecoderModule],
) -> None:
    module = make()  # type: ignore[call-arg]
    expected = Codec(module.model).compress(IMAGE[0])
    batch = NamedImage(IMAGE, "a")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        tested, predicted = module.test_step(batch, 0), module.predict_step(batch, 0)
        validated = module.validation_step(batch, 0)
    assert tested.file is not None
    assert tested.file.data == predicted == expected
    picture = module.codec().decompress(expected)
    assert torch.equal(tested.x_hat[0], picture)
    if isinstance(module, DiffusionDecoderModule):
        assert torch.equal(validated.x_hat[0], picture)


def test_the_entropy_modules_test_step_compares_its_two_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    module = entropy_module()
    with torch.no_grad():
        step = module.test_step(NamedImage(IMAGE, "a"), 0)
    assert step.difference is not None
    assert step.difference <= 1
    codec = module.codec()
    decompress = codec.decompress
    monkeypatch.setattr(codec, "decompress", lambda data: (decompress(data) - 0.2).clamp(0, 1))
    with torch.no_grad():
        step = module.test_step(NamedImage(IMAGE, "a"), 0)
    assert step.difference is not None
    assert step.difference > 20


def test_differences_are_in_8_bit_levels_and_only_between_pictures() -> None:
    assert difference_8bit(IMAGE, IMAGE) == 0
    changed = IMAGE.clone()
    changed[0, 1, 2, 3] = IMAGE[0, 1, 2, 3].sub(0.5).abs()
    assert difference_8bit(changed, IMAGE) == pytest.approx(255 * float((changed - IMAGE).abs().max()), abs=1)
    assert difference_8bit(IMAGE * torch.nan, IMAGE) is None
    assert difference_8bit(IMAGE[..., 1:], IMAGE) is None


def test_the_bits_of_all_positions_add_up_and_lie_where_they_are_spent() -> None:
    model = tiny_compression_model()
    assert isinstance(model.entropy, EntropyModel)
    with torch.no_grad():
        output = model(IMAGE)
    bits = bits_map(output)
    assert bits.shape == output.y_hat.shape[-2:]
    assert float(bits.sum()) == pytest.approx(float(estimated_bits(output)), rel=1e-5)
    # one symbol of y and one of z made more expensive, by 3 and by 16 bits
    y, z = output.y_likelihoods.clone(), output.z_likelihoods.clone()
    y[0, 5, 2, 7] /= 8
    z[0, 1, 0, 2] /= 2**16
    more = bits_map(output._replace(y_likelihoods=y, z_likelihoods=z)) - bits
    expected = torch.zeros_like(bits)
    expected[2, 7] += 3
    expected[0:4, 8:12] += 1
    assert torch.allclose(more, expected, atol=1e-3)


def test_a_validation_of_the_entropy_codec_codes_nothing(tmp_path: Path) -> None:
    module = entropy_module()
    with torch.no_grad():
        step = module.validation_step(NamedImage(IMAGE, "a"), 0)
    assert step.file is None
    assert step.difference is None
    assert module._codec is None
