"""Files to realistic pictures: what decides a picture, and what must not."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from lightning_codec import diffusion_decoder
from lightning_codec.bitstream import WrongModelError
from lightning_codec.checkpoint import CheckpointError
from lightning_codec.codec import Codec
from lightning_codec.diffusion.denoiser import Denoiser, DenoiserConfig, Estimate, smooth
from lightning_codec.diffusion.noise import noise_key
from lightning_codec.diffusion.samplers import start
from lightning_codec.diffusion.sampling import SamplingConfig
from lightning_codec.diffusion.schedule import BlurSchedule
from lightning_codec.diffusion.unet import UNetConfig
from lightning_codec.diffusion_decoder import DecodeOptions, DiffusionDecoder, MiB
from lightning_codec.errors import UserError
from lightning_codec.modules import EntropyModelModule
from lightning_codec.tiling import smallest_tile
from tests.test_codec import picture
from tests.tiny import (
    TINY_NETWORK,
    tiny_compression_model,
    tiny_denoiser,
    write_diffusion_checkpoint,
)


@pytest.fixture(scope="module")
def decoder() -> DiffusionDecoder:
    return DiffusionDecoder(Codec(tiny_compression_model()), tiny_denoiser(), SamplingConfig(steps=2))


@pytest.fixture(scope="module")
def data(decoder: DiffusionDecoder) -> bytes:
    return decoder.compress(picture(70, 90))


def resampled(decoder: DiffusionDecoder, **changes: object) -> DiffusionDecoder:
    return DiffusionDecoder(decoder.codec, decoder.denoiser, replace(decoder.sampling, **changes))  # type: ignore[arg-type]


def count_evaluations(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    seen: list[Tensor] = []
    forward = Denoiser.forward

    def counted(self: Denoiser, z: Tensor, t: Tensor, ladder: list[Tensor]) -> object:
        seen.append(t)
        return forward(self, z, t, ladder)

    monkeypatch.setattr(Denoiser, "forward", counted)
    return seen


def test_file_and_seed_decide_the_picture(decoder: DiffusionDecoder, data: bytes) -> None:
    first = decoder.decompress(data)
    assert first.shape == (3, 70, 90)
    assert 0 <= first.min() < first.max() <= 1
    torch.manual_seed(99)
    assert torch.equal(decoder.decompress(data), first)
    assert (decoder.decompress(data, DecodeOptions(seed=1)) - first).abs().max() > 1 / 255
    for seed in (0, 1):  # the noise is that of the file
        expected = decoder.decode(decoder.codec.decode(data), noise_key(data, seed), DecodeOptions())
        assert torch.equal(decoder.decompress(data, DecodeOptions(seed=seed)), expected)


def test_without_noise_the_seed_does_not_matter(decoder: DiffusionDecoder, data: bytes) -> None:
    quiet = resampled(decoder, gamma=0.0)
    assert torch.equal(quiet.decompress(data), quiet.decompress(data, DecodeOptions(seed=1)))


def test_perception_goes_from_the_mse_picture_to_the_samplers(
    decoder: DiffusionDecoder, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = count_evaluations(monkeypatch)
    x_c = decoder.codec.decompress(data)
    assert torch.equal(decoder.decompress(data, DecodeOptions(perception=0.0)), x_c)
    assert seen == []
    distances = [
        float((decoder.decompress(data, DecodeOptions(perception=p)) - x_c).square().mean()) for p in (0.01, 0.5, 1.0)
    ]
    assert distances[0] < 1e-3 * distances[2]
    assert 0.05 * distances[2] < distances[1] < 0.5 * distances[2]
    with pytest.raises(UserError, match="perception"):
        DecodeOptions(perception=1.5)


def test_the_knob_scales_the_noise_of_the_start_and_not_its_colour(
    decoder: DiffusionDecoder, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    scales: list[float] = []

    def recorded(schedule: BlurSchedule, x_c: Tensor, t: float, gamma: float, noise: Tensor, colour: float) -> Tensor:
        scales.extend([gamma, colour])
        return start(schedule, x_c, t, gamma, noise, colour)

    monkeypatch.setattr(diffusion_decoder, "start", recorded)
    strong = resampled(decoder, gamma=0.8, colour=0.3)
    for p in (0.5, 1.0):
        strong.decompress(data, DecodeOptions(perception=p))
    assert scales == pytest.approx([0.4, 0.3, 0.8, 0.3])


def test_without_chroma_the_colours_are_those_of_the_mse_picture(decoder: DiffusionDecoder, data: bytes) -> None:
    x_c, x_d = decoder.codec.decompress(data), decoder.decompress(data)
    grey = resampled(decoder, chroma=0.0).decompress(data)
    inside = torch.stack([x_c, x_d, grey]).sub(0.5).abs().amax(dim=(0, 1)) < 0.5  # nothing was clamped
    assert int(inside.sum()) > 100
    luma = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    expected = x_c + (luma * (x_d - x_c)).sum(0)
    assert torch.allclose(grey[:, inside], expected[:, inside], atol=1e-5)
    assert float((x_d - grey)[:, inside].abs().max()) > 1 / 255


@pytest.mark.parametrize(("sampler", "evaluations"), [("ddim", 3), ("2m", 3), ("ancestral", 3), ("heun", 5)])
def test_every_evaluation_is_at_its_time_and_reported(
    decoder: DiffusionDecoder, data: bytes, sampler: str, evaluations: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = count_evaluations(monkeypatch)
    reports: list[tuple[int, int]] = []
    settings = resampled(decoder, steps=3, sampler=sampler, t_start=0.36, power=2.0)
    settings.decompress(data, progress=lambda done, total: reports.append((done, total)))
    assert reports == [(i + 1, evaluations) for i in range(evaluations)]
    assert sorted({round(float(t), 6) for t in seen}, reverse=True) == [0.36, 0.16, 0.04]


class Halving(Denoiser):
    """Estimates half of c_0, whatever z is: a picture that only the ladder can tell."""

    def forward(self, z: Tensor, t: Tensor, ladder: Sequence[Tensor]) -> Estimate:
        return Estimate(z, 0.5 * ladder[0])


@pytest.mark.parametrize("size", [(70, 90), (1, 1), (64, 200)])
def test_the_last_estimate_is_what_comes_out(decoder: DiffusionDecoder, size: tuple[int, int]) -> None:
    halving = DiffusionDecoder(decoder.codec, Halving(decoder.denoiser.config, TINY_NETWORK.channels), decoder.sampling)
    data = decoder.compress(picture(*size))
    decoded = decoder.codec.decode(data)
    c_0 = decoder.codec.model.synthesize(decoded.psi, decoded.y_hat).c0[0, :, : size[0], : size[1]]
    assert torch.allclose(halving.decompress(data), 0.5 + 0.5 * (c_0 - 0.5), atol=1e-6)


def test_the_start_is_warm_or_cold(decoder: DiffusionDecoder, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[Tensor] = []
    forward = Denoiser.forward

    def spy(self: Denoiser, z: Tensor, t: Tensor, ladder: list[Tensor]) -> object:
        starts.append(z - ladder[0])
        return forward(self, z, t, ladder)

    monkeypatch.setattr(Denoiser, "forward", spy)
    for warm in (True, False):
        resampled(decoder, steps=1, warm_start=warm, gamma=0.0, t_start=1e-6).decompress(data)
    assert starts[0].abs().max() < 0.01  # at t = 0 nothing is blurred
    decoded = decoder.codec.decode(data)
    c_0 = decoder.codec.model.synthesize(decoded.psi, decoded.y_hat).c0
    assert torch.allclose(starts[1], 1 - 2 * c_0, atol=1e-6)


def tiled(decoder: DiffusionDecoder, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes, DecodeOptions], Tensor]:
    """The same decoder with the smallest tiles."""
    monkeypatch.setattr(diffusion_decoder, "TILE_BYTES", smallest_tile(128) * decoder.bytes_per_pixel)
    return decoder.decompress


@pytest.mark.parametrize("sampler", ["2m", "ancestral"])
def test_tiles_are_the_whole_picture_within_a_tenth_of_a_level(
    decoder: DiffusionDecoder, sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = resampled(decoder, steps=4, sampler=sampler)
    data = decoder.compress(picture(300, 900))
    whole = decoder.decompress(data)
    assert len(decoder.plan(300, 900, None)) == 1
    options = DecodeOptions()
    pieces = tiled(decoder, monkeypatch)(data, options)
    starts = sorted({tile.columns.start for tile in decoder.plan(300, 900, None)})
    assert starts == list(range(0, 900 - 128, 128))
    error = 255 * (pieces - whole)
    assert 0 < error.abs().max() < 0.1
    assert whole.std() > 0.03  # a picture, where one could see something
    # Neither where a tile begins or ends, nor where it begins to count, is there a jump.
    jumps = error.diff(dim=-1).abs().amax(dim=(0, 1))
    cuts = torch.tensor([at + shift for at in starts[1:] for shift in (-1, 31, 95, 127)])
    elsewhere = torch.ones(len(jumps), dtype=torch.bool)
    elsewhere[cuts] = False
    assert jumps[cuts].max() <= jumps[elsewhere].max()


def test_the_perceptions_between_are_tiled_too(decoder: DiffusionDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    data = decoder.compress(picture(64, 1500))
    options = DecodeOptions(seed=3, perception=0.5)
    whole = decoder.decompress(data, options)
    pieces = tiled(decoder, monkeypatch)(data, options)
    assert len(decoder.plan(64, 1500, None)) == 2
    assert 0 < 255 * (pieces - whole).abs().max() < 0.1


def test_progress_counts_over_all_tiles(decoder: DiffusionDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    data = decoder.compress(picture(64, 1500))
    tiled(decoder, monkeypatch)
    reports: list[tuple[int, int]] = []
    decoder.decompress(data, progress=lambda done, total: reports.append((done, total)))
    assert reports == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_stride_beyond_the_codecs_is_padded(decoder: DiffusionDecoder) -> None:
    unet = UNetConfig(channels=(2,) * 7, units=1, attention=False, patch=2, head_channels=2)
    assert unet.stride == 128
    deep = DiffusionDecoder(
        decoder.codec, Denoiser(DenoiserConfig(unet), TINY_NETWORK.channels), resampled(decoder, steps=1).sampling
    )
    data = decoder.compress(picture(70, 190))
    # An untrained network says c_0, smoothed; at the edges with what lies beyond them in the padded picture.
    expected = smooth(decoder.codec.decompress(data)[None])[0]
    assert torch.allclose(deep.decompress(data)[:, :-1, :-1], expected[:, :-1, :-1], atol=1e-5)
    assert {tile.columns.start % 128 for tile in deep.plan(64, 4000, 1200 * MiB)} == {0}


@pytest.mark.parametrize(("height", "width"), [(512, 768), (3000, 4000)])
@pytest.mark.parametrize("limit", [2048, 4096])
def test_a_plan_keeps_to_its_memory(decoder: DiffusionDecoder, height: int, width: int, limit: int) -> None:
    plan = decoder.plan(height, width, limit * MiB)
    largest = max(len(tile.rows) * len(tile.columns) for tile in plan)
    assert largest * decoder.bytes_per_pixel + height * width * 48 + 1024 * MiB <= limit * MiB


@pytest.mark.parametrize(
    "unet",
    [
        UNetConfig(channels=(48, 64, 96), units=1, attention=False, patch=2, head_channels=16),
        UNetConfig(channels=(8, 16), units=1, attention=False, patch=2, head_channels=32),
        UNetConfig(channels=(32, 32), units=1),
        UNetConfig(channels=(32, 32), units=1, attention=False),
    ],
)
@pytest.mark.parametrize("texture_map", [False, True])
def test_bytes_per_pixel_hold_all_tensors_that_live_at_once(
    decoder: DiffusionDecoder, unet: UNetConfig, texture_map: bool
) -> None:
    network = Denoiser(DenoiserConfig(unet, texture_map=texture_map), TINY_NETWORK.channels)
    measured = DiffusionDecoder(decoder.codec, network, SamplingConfig(steps=3))
    decoded = decoder.codec.decode(measured.compress(picture(128, 192)))
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as run:
        measured.decode(decoded, bytes(16), DecodeOptions())
    changes = [event for event in run.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes.sort(key=lambda event: event.start_ns())
    peak = max(accumulate(event.nbytes() for event in changes)) / (128 * 192)
    # The rest is what the allocator keeps: up to as much again, on pictures of less than a megapixel.
    assert 0.4 * measured.bytes_per_pixel < peak < 0.9 * measured.bytes_per_pixel


def test_a_limit_too_small_for_the_smallest_tile_says_what_is_enough(decoder: DiffusionDecoder) -> None:
    with pytest.raises(UserError, match=r"^memory limit 512 MiB: .* take (\d+) MiB: raise the limit$") as error:
        decoder.plan(512, 768, 512 * MiB)
    enough = int(str(error.value).split(" take ")[1].split()[0])
    assert len(decoder.plan(512, 768, enough * MiB)) > 1
    with pytest.raises(UserError, match="raise the limit"):
        decoder.plan(512, 768, (enough - 1) * MiB)


def test_the_limit_is_checked_before_the_file_is_decoded(
    decoder: DiffusionDecoder, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Codec, "decode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(UserError, match="raise the limit"):
        decoder.decompress(data, DecodeOptions(memory_limit=MiB))


def test_a_decoder_is_a_snapshot_and_leaves_the_network_alone(decoder: DiffusionDecoder, data: bytes) -> None:
    network = tiny_denoiser().train()
    mine = DiffusionDecoder(decoder.codec, network, decoder.sampling)
    before = mine.decompress(data)
    with torch.no_grad():
        for p in network.parameters():
            assert p.requires_grad
            p.add_(0.1)
    assert network.training
    assert torch.equal(mine.decompress(data), before)
    assert torch.equal(before, decoder.decompress(data))
    owner = DiffusionDecoder(decoder.codec, network, decoder.sampling, owned=True)
    assert owner.denoiser is network
    assert not network.training


def test_a_checkpoint_gives_the_averaged_weights_and_its_sampling(
    decoder: DiffusionDecoder, data: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "decoder.ckpt"
    write_diffusion_checkpoint(path, decoder.codec.model, decoder.denoiser, decoder.sampling)
    loaded = DiffusionDecoder.load(path)
    assert loaded.sampling == decoder.sampling
    assert loaded.fingerprint == decoder.fingerprint == Codec.load(path).fingerprint
    assert torch.equal(loaded.decompress(data), decoder.decompress(data))


def test_a_checkpoint_without_a_diffusion_decoder_is_refused(tmp_path: Path) -> None:
    module = EntropyModelModule(TINY_NETWORK, lmbda=0.01)
    checkpoint: dict[str, object] = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "codec.ckpt")
    with pytest.raises(CheckpointError, match=r"codec\.ckpt: has no diffusion decoder"):
        DiffusionDecoder.load(tmp_path / "codec.ckpt")


def test_another_codecs_file_is_refused(decoder: DiffusionDecoder) -> None:
    other = Codec(tiny_compression_model(seed=1))
    with pytest.raises(WrongModelError, match=decoder.fingerprint.hex()):
        decoder.decompress(other.compress(picture(64, 64)))


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"sampler": "euler"}, "sampler is 'euler': it must be one of ancestral, ddim, 2m, heun"),
        ({"t_start": 0.0}, "t_start"),
        ({"t_start": 1.1}, "t_start"),
        ({"power": 0.0}, "power"),
        ({"gamma": -0.1}, "gamma"),
        ({"colour": -0.1}, "colour is -0.1: it must be 0 or more"),
        ({"chroma": 1.1}, r"chroma is 1.1: it must lie in \[0, 1\]"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(setting: dict[str, object], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        SamplingConfig(**setting)  # type: ignore[arg-type]
