"""What only a GPU can show: coding, decoding, training and measuring there, against the same on the CPU."""

from collections.abc import Callable
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_codec.codec import Codec
from lightning_codec.diffusion.noise import noise_key
from lightning_codec.diffusion.sampling import SamplingConfig
from lightning_codec.diffusion_decoder import DecodeOptions, DiffusionDecoder
from lightning_codec.metrics.ms_ssim import ms_ssim
from lightning_codec.metrics.psnr import psnr
from lightning_codec.modules import DiffusionDecoderModule, EntropyModelModule, OptimizerConfig
from lightning_codec.modules.noise import BatchNoise
from lightning_codec.perceptual import PerceptualDistance
from tests.modules.test_diffusion_decoder_module import NO_PERCEPTUAL
from tests.modules.test_entropy_model_module import crops
from tests.test_codec import picture
from tests.tiny import TINY_DENOISER, TINY_NETWORK, tiny_compression_model, tiny_denoiser

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: pytest tests/test_gpu.py")


def gpu_codec() -> Codec:
    return Codec(tiny_compression_model().cuda())


@pytest.mark.parametrize("seed", range(4))
def test_a_file_has_the_same_latents_on_a_gpu_and_on_the_cpu(seed: int) -> None:
    gpu, cpu, image = gpu_codec(), Codec(tiny_compression_model()), picture(170, 290, seed)
    assert gpu.fingerprint == cpu.fingerprint
    there, here = gpu.encode(image), cpu.encode(image)
    assert there.y_hat.device.type == "cuda"
    for codec in (gpu, cpu):
        for encoded in (there, here):
            assert torch.equal(codec.decode(encoded.data).y_hat.cpu(), encoded.y_hat.cpu())
    x_hat = gpu.decompress(there.data)
    assert x_hat.device.type == "cuda"
    assert (cpu.decompress(there.data) - x_hat.cpu()).abs().max() < 0.02


def test_the_same_latents_and_seed_give_the_same_picture_on_a_gpu_and_on_the_cpu() -> None:
    data = gpu_codec().compress(picture(70, 90))
    pictures = []
    for device in ("cuda", "cpu"):
        codec = Codec(tiny_compression_model().to(device))
        decoder = DiffusionDecoder(codec, tiny_denoiser().to(device), SamplingConfig(steps=2))
        decoded = gpu_codec().decode(data)
        decoded = decoded._replace(y_hat=decoded.y_hat.to(device), psi=decoded.psi.to(device))
        pictures.append(decoder.decode(decoded, noise_key(data, 0), DecodeOptions()).cpu())
    assert pictures[1].std() > 0.0
    assert (pictures[0] - pictures[1]).abs().max() < 0.02


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: EntropyModelModule(network=TINY_NETWORK, lmbda=0.01),
        lambda: DiffusionDecoderModule(
            network=TINY_NETWORK,
            decoder=TINY_DENOISER,
            loss=NO_PERCEPTUAL,
            train_codec=True,
            optimizer=OptimizerConfig(lr=1e-3, warmup_steps=0),
        ),
    ],
    ids=["codec", "decoder"],
)
def test_a_resumed_training_is_that_which_was_not_interrupted(
    make: Callable[[], pl.LightningModule], precision: str, tmp_path: Path
) -> None:
    def trained(begin: Path | None = None) -> pl.LightningModule:
        torch.manual_seed(0)
        module = make()
        run = pl.Trainer(
            max_steps=4,
            accelerator="gpu",
            devices=1,
            precision=precision,  # type: ignore[arg-type]
            gradient_clip_val=1.0,
            callbacks=[ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, every_n_train_steps=2)],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        # Epochs of one batch, so that a resumed training finds what is left.
        run.fit(module, crops(1), ckpt_path=begin, weights_only=True)
        return module.cpu()

    whole = dict(trained().named_parameters())
    resumed = dict(trained(tmp_path / "step=2.ckpt").named_parameters())
    begun = dict(make().named_parameters())
    assert all(bool(value.isfinite().all()) for value in whole.values())
    assert any(float((begun[name] - value).abs().max()) > 1e-4 for name, value in whole.items())
    apart = max(float((resumed[name] - value).abs().max()) for name, value in whole.items())
    assert apart < 1e-5


def test_the_checkpoint_of_a_gpu_is_used_without_one(tmp_path: Path) -> None:
    module = EntropyModelModule(network=TINY_NETWORK, lmbda=0.01)
    run = pl.Trainer(
        max_steps=1,
        accelerator="gpu",
        devices=1,
        precision="bf16-mixed",
        logger=False,
        enable_progress_bar=False,
        default_root_dir=tmp_path,
    )
    run.fit(module, crops(1))
    run.save_checkpoint(tmp_path / "a.ckpt")
    cpu, gpu = Codec.load(tmp_path / "a.ckpt"), Codec.load(tmp_path / "a.ckpt", "cuda")
    assert cpu.fingerprint == gpu.fingerprint == Codec(module.model).fingerprint
    image = picture(40, 50)
    assert cpu.decompress(cpu.compress(image)).shape == gpu.decompress(gpu.compress(image)).shape == image.shape


def test_training_noise_on_a_gpu_is_that_of_its_address() -> None:
    gpu = torch.device("cuda")
    whole = BatchNoise(3, 1, 0, 4, device=gpu).normal((4, 3, 8, 8))
    assert whole.device.type == "cuda"
    halves = [BatchNoise(3, 1, 0, 2, rank, 2, device=gpu).normal((2, 3, 8, 8)) for rank in (0, 1)]
    assert torch.equal(torch.stack(halves, dim=1).flatten(0, 1), whole)
    assert not torch.equal(BatchNoise(3, 1, 1, 4, device=gpu).normal((4, 3, 8, 8)), whole)


def test_metrics_on_a_gpu_are_those_on_the_cpu() -> None:
    x = picture(200, 210)[None]
    x_hat = (x + 0.05 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    for metric, tolerance in ((psnr, 0.0), (ms_ssim, 1e-5)):
        here, there = metric(x_hat, x), metric(x_hat.cuda(), x.cuda())
        assert here is not None
        assert there is not None
        assert float(there) == pytest.approx(float(here), abs=tolerance)


def test_a_perceptual_distance_follows_its_images_to_a_gpu() -> None:
    distance = PerceptualDistance("stlpips-alex")
    x = picture(128, 128)[None]
    x_hat = (x + 0.1).clamp(0, 1)
    there, back = (float(distance(x_hat.to(device), x.to(device))) for device in ("cuda", "cpu"))
    assert there == pytest.approx(back, rel=1e-2)
    assert back > 0
