"""Learned perceptual distances: parity with the package, frozen weights, one clear line where they cannot be had."""

import sys
from types import ModuleType
from urllib.error import URLError

import pytest
import torch
from torch import Tensor, nn

from lightning_codec.errors import UserError
from lightning_codec.perceptual import PerceptualDistance, PerceptualName


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


def fake_lpips(monkeypatch: pytest.MonkeyPatch, network: type[nn.Module]) -> None:
    module = ModuleType("lpips")
    module.LPIPS = network  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lpips", module)


class Seen(nn.Module):
    """In the place of `lpips.LPIPS`: the mean squared difference, and what it was given."""

    def __init__(self, net: str, verbose: bool) -> None:
        super().__init__()
        print("Setting up perceptual loss")
        self.net, self.verbose = net, verbose
        self.weight = nn.Parameter(torch.ones(1))
        self.arguments: list[Tensor] = []

    def forward(self, in0: Tensor, in1: Tensor) -> Tensor:
        self.arguments = [in0, in1]
        return self.weight * (in0 - in1).square().mean(dim=(1, 2, 3), keepdim=True)


@pytest.mark.parametrize("trunk", ["alex", "vgg"])
def test_lpips_is_given_images_in_minus_one_to_one_estimate_first(
    trunk: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_lpips(monkeypatch, Seen)
    name: PerceptualName = "lpips-alex" if trunk == "alex" else "lpips-vgg"
    distance = PerceptualDistance(name)
    x_hat, x = images(8)
    x_hat[0], x[0] = 0.0, 1.0
    assert distance(x_hat, x)[0] == pytest.approx(4.0)
    seen = distance._network
    assert isinstance(seen, Seen)
    assert (seen.net, seen.verbose) == (trunk, False)
    assert torch.equal(seen.arguments[0], 2 * x_hat - 1)
    assert torch.equal(seen.arguments[1], 2 * x - 1)
    assert capsys.readouterr().out == ""


def test_weights_that_cannot_be_downloaded_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Offline(nn.Module):
        def __init__(self, net: str, verbose: bool) -> None:
            raise URLError("Name or service not known")

    fake_lpips(monkeypatch, Offline)
    with pytest.raises(UserError, match=r"^perceptual network lpips-vgg: its weights cannot be had .*not known"):
        PerceptualDistance("lpips-vgg")


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
