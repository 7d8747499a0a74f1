"""Learned perceptual distances: parity with the package, frozen weights, one clear line where they cannot be had."""

import sys
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from lightning_codec import perceptual
from lightning_codec.errors import UserError
from lightning_codec.perceptual import PerceptualDistance, PerceptualName
from lightning_codec.weights import WeightsName
from tests.trunks import random_trunk, use_weights


def images(size: int = 32) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    x = torch.rand(2, 3, size, size)
    return (x + 0.2 * torch.randn_like(x)).clamp(0, 1), x


@pytest.fixture(scope="module")
def alex() -> PerceptualDistance:
    pytest.importorskip("stlpips_pytorch", reason="stlpips-pytorch is not installed")
    return PerceptualDistance("stlpips-alex")


def test_equal_images_are_at_distance_zero_and_others_are_not(alex: PerceptualDistance) -> None:
    x_hat, x = images()
    assert alex(x, x).tolist() == [0.0, 0.0]
    distance = alex(x_hat, x)
    assert distance.shape == (2,)
    assert bool((distance > 1e-3).all())
    assert torch.allclose(distance, alex(x, x_hat), rtol=1e-5, atol=0)
    assert bool((alex((x + 3 * (x_hat - x)).clamp(0, 1), x) > distance).all())
    assert torch.allclose(alex(x_hat[1:], x[1:]), distance[1:], rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", ["stlpips-alex", "stlpips-vgg"])
def test_it_is_the_packages_own_distance(name: PerceptualName) -> None:
    package = pytest.importorskip("stlpips_pytorch.stlpips", reason="stlpips-pytorch is not installed")
    x_hat, x = images()
    direct = package.LPIPS(net=name.removeprefix("stlpips-"), variant="shift_tolerant", verbose=False)
    expected = direct(x_hat, x, normalize=True).flatten()
    assert torch.allclose(PerceptualDistance(name)(x_hat, x), expected, rtol=1e-4, atol=0)


def test_the_gradient_reaches_the_image_and_no_weight(alex: PerceptualDistance) -> None:
    x_hat, x = images()
    x_hat.requires_grad_()
    alex(x_hat, x).sum().backward()
    assert x_hat.grad is not None
    assert bool((x_hat.grad.flatten(1).norm(dim=1) > 1e-4).all())
    assert all(p.grad is None and not p.requires_grad for p in alex._network.parameters())
    with torch.no_grad():  # a step against the gradient brings the images together
        nearer = x_hat - 1.0 * x_hat.grad
    assert bool((alex(nearer, x) < alex(x_hat, x)).all())


def test_a_module_that_holds_one_registers_nothing(alex: PerceptualDistance) -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.own = nn.Linear(1, 1)
            self.distance = alex

    holder = Holder()
    assert set(holder.state_dict()) == {"own.weight", "own.bias"}
    assert len(list(holder.parameters())) == 2
    assert len(list(holder.modules())) == 2


def test_it_stays_in_evaluation_mode_and_out_of_autocast(alex: PerceptualDistance) -> None:
    x_hat, x = images()
    expected = alex(x_hat, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(alex(x_hat, x), expected)
    assert torch.equal(alex(x_hat, x), expected)  # no dropout


def test_an_original_is_seen_once_by_a_metric(alex: PerceptualDistance, monkeypatch: pytest.MonkeyPatch) -> None:
    x_hat, x = images()
    fresh = PerceptualDistance("stlpips-alex")
    recall, seen = cast("Any", fresh._network.net).forward, []
    trunk = recall._forward

    def watched(picture: Tensor) -> object:
        seen.append(picture)
        return trunk(picture)

    monkeypatch.setattr(recall, "_forward", watched)
    others = [(x_hat * share).clamp(0, 1) for share in (1.0, 0.9, 0.8)]
    with torch.no_grad():
        distances = [fresh(other, x) for other in others]
    assert len(seen) == 4  # three pictures and one original
    expected = [alex(other, x) for other in others]  # with gradients nothing is remembered
    assert torch.equal(torch.stack(distances), torch.stack(expected))
    with torch.no_grad():
        assert torch.equal(fresh(x, others[2]), fresh(others[2], x))
        assert len(seen) == 4
    fresh(x_hat, x)
    assert len(seen) == 6
    monkeypatch.setattr(perceptual, "LARGEST_REMEMBERED", 100)
    with torch.no_grad():
        fresh(x_hat, x)
    assert len(seen) == 8


def test_a_loss_may_follow_autocast_and_stays_near(alex: PerceptualDistance) -> None:
    x_hat, x = images(64)
    loss = PerceptualDistance("stlpips-alex", as_loss=True)
    exact = alex(x_hat, x)
    assert torch.equal(loss(x_hat, x), exact)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = loss(x_hat, x)
    assert mixed.dtype == torch.float32
    assert not torch.equal(mixed, exact)
    assert torch.allclose(mixed, exact, rtol=0.05, atol=0)


@pytest.mark.parametrize(("name", "trunk"), [("lpips-alex", "alexnet"), ("lpips-vgg", "vgg16")])
def test_lpips_stands_on_the_trunk_that_was_fetched(
    name: PerceptualName, trunk: WeightsName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lpips", reason="lpips is not installed")
    use_weights(monkeypatch, tmp_path)
    with pytest.raises(UserError, match=rf"^perceptual network {name}: .*weights fetch {trunk}$"):
        PerceptualDistance(name)
    features = random_trunk(trunk, tmp_path)
    distance = PerceptualDistance(name)
    last = [module for module in features if isinstance(module, nn.Conv2d)][-1]
    slices = cast(nn.Module, distance._network.net)
    assert torch.equal(list(slices.parameters())[-2], last.weight)
    x_hat, x = images()
    assert bool((distance(x_hat, x) > 1e-3).all())
    assert distance(x, x).tolist() == [0.0, 0.0]


def test_the_hash_is_of_the_weights_and_loading_prints_and_draws_nothing(
    alex: PerceptualDistance, capsys: pytest.CaptureFixture[str]
) -> None:
    before = torch.get_rng_state()
    again = PerceptualDistance("stlpips-alex")
    assert torch.equal(torch.get_rng_state(), before)
    assert capsys.readouterr().out == ""
    assert again.weights == alex.weights
    assert again.weights != PerceptualDistance("stlpips-vgg").weights


def test_a_package_without_its_own_weights_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    package = pytest.importorskip("stlpips_pytorch.stlpips", reason="stlpips-pytorch is not installed")

    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError("no vgg_shift_tolerant.pth\nin the wheel")

    monkeypatch.setattr(package, "LPIPS", missing)
    with pytest.raises(
        UserError, match=r"^perceptual network stlpips-vgg: its weights .* \(no vgg_.*pth in the wheel\)$"
    ):
        PerceptualDistance("stlpips-vgg")


@pytest.mark.parametrize(("name", "package"), [("lpips-alex", "lpips"), ("stlpips-vgg", "stlpips_pytorch")])
def test_a_missing_package_says_how_to_install_it(
    name: PerceptualName, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"{name}: .*{package}.*; install it with pip install '.*'$") as caught:
        PerceptualDistance(name)
    assert "\n" not in str(caught.value)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="'vmaf': it must be one of lpips-alex, lpips-vgg, stlpips-alex, stlpips-vgg"):
        PerceptualDistance("vmaf")  # type: ignore[arg-type]
