import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Literal, cast, get_args
from unittest import mock

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.image import deep_image_structure_and_texture_similarity, dists

from lightning_codec.errors import UserError
from lightning_codec.images import to_uint8
from lightning_codec.metrics.ms_ssim import MS_SSIM_PROTOCOL, ms_ssim
from lightning_codec.metrics.psnr import PSNR_PROTOCOL, psnr
from lightning_codec.metrics.suite import ImageMetric, ImageMetricName, image_suite
from lightning_codec.perceptual import PerceptualDistance, PerceptualName
from lightning_codec.pretrained import building
from tests.trunks import random_trunk, use_weights

lpips = pytest.importorskip("lpips", reason="the extra `perceptual` is not installed")
pytest.importorskip("stlpips_pytorch", reason="the extra `perceptual` is not installed")

NAMES: tuple[ImageMetricName, ...] = get_args(ImageMetricName)
SMALLEST_SIDES = {"lpips_alex": 31, "lpips_vgg": 16, "stlpips_alex": 21, "stlpips_vgg": 18, "dists": 16}
Trunk = Literal["alex", "vgg"]


@pytest.fixture(scope="module")
def trunks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, torch.nn.Sequential]]:
    """Random trunks by the metrics' names for them; while the module runs they are where weights are searched for."""
    folder = tmp_path_factory.mktemp("weights")
    found = {"alex": random_trunk("alexnet", folder), "vgg": random_trunk("vgg16", folder)}
    monkeypatch = pytest.MonkeyPatch()
    use_weights(monkeypatch, folder)
    yield found
    monkeypatch.undo()


@pytest.fixture(scope="module")
def metrics(trunks) -> dict[str, ImageMetric]:
    suite = image_suite(NAMES)
    assert suite.absent == {}
    return {metric.name: metric for metric in suite.metrics}


def pair(height: int = 64, width: int = 48) -> tuple[Tensor, Tensor]:
    """A picture with structures that is 8 bit already, and a noisy version of it, both in [0, 1]."""
    generator = torch.Generator().manual_seed(2)
    x = F.interpolate(torch.rand(1, 3, 6, 6, generator=generator), (height, width), mode="bicubic").clamp(0, 1)
    x = to_uint8(x.mul(0.98)).float() / 255  # leaves room for an error below a rounding
    return (x + 0.1 * torch.randn(x.shape, generator=generator)).clamp(0, 1), x


def value_of(metric: ImageMetric, x_hat: Tensor, x: Tensor) -> float:
    value, reason = metric(x_hat, x)
    assert reason is None
    assert value is not None
    return value


def test_the_suite_is_in_the_order_of_the_names_and_describes_each(metrics: dict[str, ImageMetric]) -> None:
    assert tuple(metrics) == NAMES
    assert [metric.name for metric in image_suite(["ms_ssim", "psnr"]).metrics] == ["ms_ssim", "psnr"]
    assert {name for name, metric in metrics.items() if metric.higher_is_better} == {"psnr", "ms_ssim"}
    assert metrics["psnr"].protocol == PSNR_PROTOCOL
    assert metrics["ms_ssim"].protocol == MS_SSIM_PROTOCOL
    assert metrics["stlpips_vgg"].protocol.key.startswith("stlpips-vgg-v1@")
    assert metrics["lpips_alex"].label == "LPIPS (AlexNet)"
    hashes = [metric.protocol.weights for name, metric in metrics.items() if name not in ("psnr", "ms_ssim")]
    assert len(set(hashes)) == 5
    assert all(digits is not None and len(digits) == 12 for digits in hashes)


def test_other_weights_are_another_protocol(
    metrics: dict[str, ImageMetric], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_weights(monkeypatch, tmp_path)
    random_trunk("alexnet", tmp_path)
    (again,) = image_suite(["lpips_alex"]).metrics
    assert again.protocol == metrics["lpips_alex"].protocol
    path = next(tmp_path.glob("alexnet-*.pth"))
    state = torch.load(path, weights_only=True)
    state["features.10.bias"][0] += 1e-6
    torch.save(state, path)
    (other,) = image_suite(["lpips_alex"]).metrics
    assert other.protocol.id == again.protocol.id
    assert other.protocol.key != again.protocol.key


def test_psnr_and_ms_ssim_are_the_functions_and_equal_pictures_have_no_psnr(metrics: dict[str, ImageMetric]) -> None:
    x_hat, x = pair(176, 170)
    assert value_of(metrics["psnr"], x_hat, x) == psnr(x_hat, x).item()
    expected = ms_ssim(x_hat, x)
    assert expected is not None
    assert value_of(metrics["ms_ssim"], x_hat, x) == expected.item()
    assert metrics["psnr"](x, x) == (None, "infinite: no 8-bit value differs")
    value, reason = metrics["ms_ssim"](*pair(160, 400))
    assert value is None
    assert reason is not None
    assert "160 x 400" in reason


@pytest.mark.parametrize("trunk", get_args(Trunk))
def test_lpips_on_zero_to_one_is_the_packages_on_minus_one_to_one(trunk: Trunk, trunks, metrics) -> None:
    """The same random trunk on both sides; the reference is filled weight by weight."""
    x_hat, x = pair()
    ours = value_of(metrics[f"lpips_{trunk}"], x_hat, x)
    with building():  # spares the time of a random start
        reference = lpips.LPIPS(net=trunk, pnet_rand=True, verbose=False)
    for name, parameter in reference.net.named_parameters():  # "slice3.10.weight" is "features.10.weight"
        parameter.data.copy_(trunks[trunk].get_parameter(name.split(".", 1)[1]))
    with torch.no_grad():
        expected = float(reference(2 * to_uint8(x_hat).float() / 255 - 1, 2 * x - 1))
        wrong_range = float(reference(to_uint8(x_hat).float() / 255, x))
    assert ours == pytest.approx(expected, rel=1e-4)
    assert abs(wrong_range / expected - 1) > 0.05


def test_dists_is_torchmetrics_own(trunks, metrics) -> None:
    x_hat, x = pair()
    trunk = SimpleNamespace(features=trunks["vgg"])
    with torch.no_grad(), mock.patch.object(dists, "vgg16", return_value=trunk):
        expected = float(deep_image_structure_and_texture_similarity(to_uint8(x_hat).float() / 255, x))
    assert expected > 1e-3
    assert value_of(metrics["dists"], x_hat, x) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", SMALLEST_SIDES)
def test_a_distance_is_of_8_bit_pictures_and_zero_for_equal_ones(name: str, metrics: dict[str, ImageMetric]) -> None:
    x_hat, x = pair()
    distance = value_of(metrics[name], x_hat, x)
    assert distance > 1e-3
    assert value_of(metrics[name], x + 0.3 / 255, x) == pytest.approx(0.0, abs=1e-6)
    assert value_of(metrics[name], x, x + 0.3 / 255) == pytest.approx(0.0, abs=1e-6)
    assert value_of(metrics[name], x_hat[0], x[0]) == distance
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert value_of(metrics[name], x_hat, x) == distance


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_refuses_another_range_and_several_pictures(name: str, metrics: dict[str, ImageMetric]) -> None:
    x_hat, x = pair(176, 176)
    for wrong in (2 * x - 1, 255 * x, to_uint8(x), torch.full_like(x, math.nan)):
        with pytest.raises(ValueError, match=r"x_hat must (have values|be floating point)"):
            metrics[name](wrong, x)
        with pytest.raises(ValueError, match=r"x must (have values|be floating point)"):
            metrics[name](x_hat, wrong)
    with pytest.raises(ValueError, match="one picture"):
        metrics[name](torch.cat([x_hat, x]), torch.cat([x, x]))


@pytest.mark.parametrize(("name", "side"), SMALLEST_SIDES.items())
def test_a_picture_too_small_for_the_network_has_a_reason(name: str, side: int, metrics) -> None:
    for shape in ((side, 64), (64, side)):
        assert value_of(metrics[name], *pair(*shape)) > 0
    for shape in ((side - 1, 64), (64, side - 1), (1, 1)):
        value, reason = metrics[name](*pair(*shape))
        assert value is None
        assert reason == (
            f"not applicable: both sides must have at least {side} pixels, the image is {shape[0]} x {shape[1]}"
        )


@pytest.mark.parametrize("name", [name for name in SMALLEST_SIDES if name != "dists"])
def test_below_the_smallest_side_the_network_itself_fails(name: str, metrics: dict[str, ImageMetric]) -> None:
    with pytest.raises(RuntimeError):
        PerceptualDistance(cast(PerceptualName, name.replace("_", "-")))(*pair(SMALLEST_SIDES[name] - 1, 64))


def test_without_weights_or_network_a_metric_is_absent_with_the_command_that_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_weights(monkeypatch, tmp_path)
    suite = image_suite(["lpips_alex", "psnr", "lpips_vgg", "stlpips_alex", "dists"])
    assert [metric.name for metric in suite.metrics] == ["psnr", "stlpips_alex"]
    assert set(suite.absent) == {"lpips_alex", "lpips_vgg", "dists"}
    assert suite.absent["lpips_alex"].endswith("with: lightning-codec weights fetch alexnet")
    assert str(tmp_path) in suite.absent["lpips_alex"]
    for name in ("lpips_vgg", "dists"):
        assert suite.absent[name].endswith("lightning-codec weights fetch vgg16")


def test_damaged_or_foreign_weights_are_an_absence_of_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_weights(monkeypatch, tmp_path)
    random_trunk("alexnet", tmp_path)
    path = next(tmp_path.glob("alexnet-*.pth"))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "vgg16-397923af.pth")
    suite = image_suite(["lpips_alex", "lpips_vgg", "dists"])
    assert suite.metrics == []
    assert "damaged" in suite.absent["lpips_alex"]
    assert "weights verify alexnet" in suite.absent["lpips_alex"]
    assert all("Missing key" in suite.absent[name] for name in ("lpips_vgg", "dists"))
    assert not any("\n" in reason for reason in suite.absent.values())


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="'vmaf': it must be one of psnr, ms_ssim, lpips_alex"):
        image_suite(["vmaf"])  # type: ignore[list-item]


def test_loading_draws_nothing_from_the_global_generator(trunks) -> None:
    before = torch.get_rng_state()
    assert image_suite(NAMES).absent == {}
    assert torch.equal(torch.get_rng_state(), before)
