"""The U-Net: what it computes where a closed form exists, what reaches what, and how it starts."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_codec.diffusion.denoiser import Denoiser, DenoiserConfig, smooth
from lightning_codec.diffusion.parameterization import Prediction, predicted_x
from lightning_codec.diffusion.process import diffuse
from lightning_codec.diffusion.schedule import BlurSchedule
from lightning_codec.diffusion.unet import (
    Block,
    ChannelNorm,
    LinearAttention,
    TimeEmbedding,
    TimeUnit,
    UNet,
    UNetConfig,
)
from lightning_codec.errors import UserError

LADDER = (2, 3, 4)
FULL = UNetConfig(channels=(4, 5, 6, 7, 8, 9), units=1)
CONFIGS = {
    "full": FULL,
    "patch": replace(FULL, channels=(4, 5, 6, 7), patch=2),
    "head": replace(FULL, channels=(4, 5, 6, 7), patch=2, head_channels=4),
    "local": replace(FULL, attention=False),
    "shallow": replace(FULL, channels=(4, 5, 6, 7), units=2),
    "uneven": replace(FULL, channels=(4, 5, 6, 7), units=(1, 3, 2, 1)),
}
CASES = [pytest.param(config, id=name) for name, config in CONFIGS.items()]


def random_weights(module: nn.Module) -> None:
    """For those weights too that start at zero, so that every input counts."""
    torch.manual_seed(1)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(torch.randn_like(p), alpha=0.3)


def unet(config: UNetConfig) -> UNet:
    torch.manual_seed(0)
    network = UNet(config, LADDER)
    random_weights(network)
    return network


def inputs(height: int, width: int, batch: int = 2) -> tuple[Tensor, Tensor, list[Tensor]]:
    """z, t, (c_0 .. c_3)."""
    generator = torch.Generator().manual_seed(2)
    z = torch.randn(batch, 3, height, width, generator=generator)
    ladder = [
        torch.randn(batch, c, height >> level, width >> level, generator=generator)
        for level, c in enumerate((3, *LADDER))
    ]
    return z, torch.linspace(0.2, 0.7, batch), ladder


@pytest.mark.parametrize("config", CASES)
def test_the_output_has_the_shape_of_the_input(config: UNetConfig) -> None:
    for height, width in ((32, 64), (64, 32)):
        z, t, ladder = inputs(height, width)
        assert unet(config)(z, t, ladder).shape == z.shape


@pytest.mark.parametrize("config", CASES)
def test_every_resolution_has_a_skip_and_each_reaches_its_own_up_block(config: UNetConfig) -> None:
    network = unet(config)
    pushed: list[Tensor] = []
    popped: list[Tensor] = []
    assert len(network.ups) == len(network.downs) == len(config.channels)
    for down, up, width in zip(network.downs, reversed(network.ups), config.channels, strict=True):
        down.register_forward_hook(lambda _, __, output: pushed.append(output))
        up.register_forward_pre_hook(lambda _, args, width=width: popped.insert(0, args[0][:, width:]))
    z, t, ladder = inputs(32, 64)
    network(z, t, ladder)
    for level, (features, skip) in enumerate(zip(pushed, popped, strict=True)):
        assert features.shape[-1] == 64 // config.patch >> level
        assert torch.equal(features, skip)


@pytest.mark.parametrize("config", CASES)
def test_z_the_time_and_every_rung_change_the_output(config: UNetConfig) -> None:
    network = unet(config)
    z, t, ladder = inputs(32, 32)
    out = network(z, t, ladder)
    moved = {"z": network(z + 0.1, t, ladder), "t": network(z, t + 0.01, ladder)}
    for i in range(4):
        rungs = [rung + 0.1 * (j == i) for j, rung in enumerate(ladder)]
        moved[f"c_{i}"] = network(z, t, rungs)
    for name, other in moved.items():
        assert (other - out).abs().amax(dim=(1, 2, 3)).min() > 1e-4, name


@pytest.mark.parametrize("config", CASES)
def test_images_of_a_batch_do_not_meet(config: UNetConfig) -> None:
    network = unet(config)
    z, t, ladder = inputs(32, 32)
    both = network(z, t, ladder)
    for i in range(2):
        alone = network(z[i : i + 1], t[i : i + 1], [rung[i : i + 1] for rung in ladder])
        assert torch.allclose(both[i : i + 1], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("config", CASES)
def test_no_parameter_is_without_gradient(config: UNetConfig) -> None:
    network = unet(config)
    z, t, ladder = inputs(32, 32)
    network(z, t, ladder).square().sum().backward()
    dead = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


@pytest.mark.parametrize("patch", [1, 2])
def test_without_attention_nothing_comes_from_far_away(patch: int) -> None:
    """Tiles equal the whole: the gradient of the first columns is exactly 0 beyond the convolutions' reach."""
    reach = 48 * patch
    for attention in (False, True):
        network = unet(UNetConfig(channels=(4, 5, 6), units=1, attention=attention, patch=patch)).double()
        z, t, ladder = inputs(8, 64 * patch, batch=1)
        z, ladder = z.double().requires_grad_(), [rung.double() for rung in ladder]
        ladder[0].requires_grad_()
        of_z, of_c = torch.autograd.grad(network(z, t.double(), ladder)[..., :2].sum(), [z, ladder[0]])
        for gradient in (of_z, of_c):
            assert bool((gradient[..., : reach // 4].abs().amax(dim=(0, 1, 2)) > 0).all())
            assert bool(gradient[..., reach:].any()) == attention


def test_the_norm_is_one_of_every_pixel() -> None:
    x = torch.randn(2, 6, 5, 4, generator=torch.Generator().manual_seed(0)) * 3 + 1
    normalized = ChannelNorm(6)(x)
    assert torch.allclose(normalized.mean(dim=1), torch.zeros(2, 5, 4), atol=1e-6)
    assert torch.allclose(normalized.var(dim=1, correction=0), torch.ones(2, 5, 4), atol=1e-4)


def test_attention_is_softmax_over_positions_of_keys_times_values() -> None:
    torch.manual_seed(0)
    attention = LinearAttention(5).double()
    random_weights(attention)
    x = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    q, k, v = F.conv2d(attention.norm(x), attention.qkv.weight).flatten(2).chunk(3, dim=1)
    weight = k.exp() / k.exp().sum(dim=2, keepdim=True)
    context = torch.einsum("bcn,bdn->bcd", weight, v)
    attended = torch.einsum("bcd,bcn->bdn", context, q / 5**0.5).reshape(2, 5, 3, 4)
    expected = x + F.conv2d(attended, attention.project.weight, attention.project.bias)
    assert torch.allclose(attention(x), expected, rtol=0, atol=1e-12)


def test_attention_does_not_grow_with_the_picture() -> None:
    """A mean over positions: a picture laid out twice in both directions gives the same features twice."""
    torch.manual_seed(0)
    attention = LinearAttention(5).double()
    random_weights(attention)
    x = torch.randn(1, 5, 3, 4, dtype=torch.float64)
    assert torch.allclose(attention(x.repeat(1, 1, 2, 2)), attention(x).repeat(1, 1, 2, 2), rtol=0, atol=1e-12)


def test_units_and_attention_start_as_the_identity() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 5, 6, 4)
    assert torch.equal(TimeUnit(5, 8)(x, torch.randn(2, 8)), x)
    assert torch.equal(LinearAttention(5)(x), x)


def test_the_time_scales_and_shifts_the_features_of_a_unit() -> None:
    """With kernels that pass everything through: x + SiLU((1 + scale) SiLU(norm(x)) + shift)."""
    unit, x = TimeUnit(3, 2), torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in unit.parameters():
            parameter.zero_()
        unit.norm.norm.weight.fill_(1.0)
        for conv in (unit.expand, unit.project):
            nn.init.dirac_(conv.weight)
        unit.modulation.weight[:3, 0], unit.modulation.weight[3:, 1] = 1.0, 1.0
    scale, shift = torch.tensor([0.5, -2.0]), torch.tensor([0.25, 1.0])
    out = unit(x, torch.stack([scale, shift], dim=1))
    expected = x + F.silu((1 + scale[:, None, None, None]) * F.silu(unit.norm(x)) + shift[:, None, None, None])
    assert torch.allclose(out, expected, atol=1e-6)


def test_the_time_becomes_sines_and_cosines_of_one_to_a_thousand_radians() -> None:
    embedding, t = TimeEmbedding(8), torch.tensor([0.0, 0.3, 1.0])
    embedding.layers = nn.Sequential()
    sines, cosines = embedding(t).chunk(2, dim=1)
    assert torch.allclose(sines[:, [0, -1]], torch.stack([t.sin(), (1000 * t).sin()], dim=1), atol=1e-4)
    assert torch.allclose(cosines[:, [0, -1]], torch.stack([t.cos(), (1000 * t).cos()], dim=1), atol=1e-4)


def test_the_head_lets_no_pattern_of_the_patch_through() -> None:
    """Equal features in every patch give equal pixels, though each of a patch's four has its own weights."""
    spread = {}
    for name in ("patch", "head"):
        head = unet(CONFIGS[name]).head
        features, image = torch.ones(1, 4, 8, 8) * torch.arange(4.0)[:, None, None], torch.full((1, 6, 16, 16), 0.3)
        inner = head(features, image)[..., 3:-3, 3:-3]
        spread[name] = float(inner.detach().std(dim=(2, 3)).max())
    assert spread["head"] < 1e-5
    assert spread["patch"] > 1e-2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patch": 3}, "patch is 3: it must be 1 or 2"),
        ({"patch": 1, "head_channels": 8}, "head_channels is for patch 2 only"),
        ({"channels": (8,)}, r"at least two resolutions of one channel, not \(8,\)"),
        ({"channels": (8, 0)}, "at least two resolutions"),
        ({"units": 0}, "units is 0: at least one, or a number for each of 6 resolutions"),
        ({"units": (1, 2)}, r"units is \(1, 2\): at least one"),
        ({"units": (1, 1, 1, 1, 1, 0)}, "at least one"),
    ],
)
def test_impossible_sizes_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(UNetConfig(), **settings)  # type: ignore[arg-type]


def test_every_resolution_has_its_number_of_units() -> None:
    network = UNet(replace(FULL, channels=(4, 5, 6), units=(1, 3, 2)), LADDER)
    found = [
        sum(isinstance(m, TimeUnit) for m in block.modules()) for block in network.modules() if type(block) is Block
    ]
    assert found == [*(1, 3, 2), 2, *(2, 3, 1)]  # down, middle, up
    same = replace(FULL, units=(2,) * 6)
    assert UNet(same, LADDER).state_dict().keys() == UNet(replace(FULL, units=2), LADDER).state_dict().keys()


def test_the_stride_is_that_of_the_coarsest_level() -> None:
    assert UNetConfig().stride == 32
    assert UNetConfig(channels=(4, 8, 8), patch=2).stride == 8


def test_an_untrained_denoiser_of_x_says_the_smoothed_ladder() -> None:
    torch.manual_seed(0)
    denoiser = Denoiser(DenoiserConfig(CONFIGS["head"]), LADDER)
    z, t, ladder = inputs(32, 32)
    assert torch.equal(denoiser(z, t, ladder).x_hat, smooth(ladder[0]))


def test_smoothing_removes_period_two_and_keeps_means_and_slopes() -> None:
    checkerboard = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(4, 4)[None, None]
    assert float(smooth(checkerboard)[..., 1:-1, 1:-1].abs().max()) == 0.0
    stripes = torch.tensor([1.0, -1.0]).repeat(4).expand(1, 1, 8, 8)
    assert float(smooth(stripes)[..., 1:-1].abs().max()) == 0.0
    slope = torch.arange(8.0).expand(1, 1, 8, 8)
    assert torch.equal(smooth(slope)[..., 1:-1], slope[..., 1:-1])
    impulse = torch.zeros(1, 1, 5, 5)
    impulse[..., 2, 2] = 16.0
    assert torch.equal(smooth(impulse)[0, 0, 2], torch.tensor([0.0, 2.0, 4.0, 2.0, 0.0]))


def test_no_grid_of_the_ladder_gets_into_the_estimate() -> None:
    config = DenoiserConfig(UNetConfig(channels=(4, 5), units=1, attention=False, patch=2))
    denoiser = Denoiser(config, LADDER)
    random_weights(denoiser)
    z, t, ladder = inputs(96, 96)
    grid = torch.tensor([1.0, -1.0]).repeat(48)
    for pattern in (grid, grid[:, None], grid * grid[:, None]):
        x_hat = denoiser(z, t, [ladder[0] + 0.1 * pattern, *ladder[1:]]).x_hat
        change = (x_hat - denoiser(z, t, ladder).x_hat).abs()
        assert float(change[..., 44:52, 44:52].max()) < 1e-4  # far from the border, where a grid has no partner
        assert float(change.max()) > 1e-2


@pytest.mark.parametrize("prediction", ["x", "epsilon", "v", "scalar_v"])
def test_the_estimate_follows_from_the_output(prediction: Prediction) -> None:
    schedule = BlurSchedule()
    denoiser = Denoiser(DenoiserConfig(CONFIGS["patch"], schedule, prediction), LADDER)
    random_weights(denoiser)
    noise, t, ladder = inputs(32, 32)
    z = diffuse(schedule, ladder[0].clamp(-1, 1), t, noise)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, x_hat = denoiser(z, t, ladder)
    assert output.dtype == x_hat.dtype == torch.float32
    assert torch.equal(x_hat, predicted_x(prediction, output, z, t, schedule))
    base = smooth(ladder[0])
    expected = denoiser.unet(z, t, [base, *ladder[1:]]) + (base if prediction == "x" else 0.0)
    assert (output - expected).abs().mean() < 0.05 * expected.abs().mean()  # the network ran in half precision
