import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from lightning_codec.errors import UserError
from lightning_codec.pretrained import building, check_filled, load_trunk, network_hash
from tests.trunks import random_trunk, use_weights


class Network(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv = nn.Conv2d(3, 4, 3)
        self.scale = nn.Parameter(torch.rand(5))


def test_the_hash_sees_names_shapes_dtypes_and_bytes_and_nothing_else() -> None:
    first = Network(0)
    digits = network_hash(first)
    assert digits == network_hash(Network(0))
    assert digits == network_hash(Network(0).to(memory_format=torch.channels_last).eval())
    assert len(digits) == 12
    assert int(digits, 16) >= 0
    renamed, more = nn.ModuleDict({"network": Network(0)}), Network(0)
    more.relu = nn.ReLU()  # has no tensors
    assert network_hash(more) == digits
    reshaped, nudged = Network(0), Network(0)
    reshaped.conv.weight = nn.Parameter(first.conv.weight.detach().reshape(3, 4, 3, 3))
    nudged.scale.data[2] += 1e-7
    hashes = [network_hash(other) for other in (Network(1), renamed, Network(0).double(), reshaped, nudged)]
    assert len({*hashes, digits}) == 6


def test_the_hash_does_not_depend_on_the_order_of_registration() -> None:
    a, b = nn.Linear(2, 2), nn.Linear(2, 3)
    assert network_hash(nn.ModuleDict({"a": a, "b": b})) == network_hash(nn.ModuleDict({"b": b, "a": a}))


def test_building_draws_prints_and_warns_nothing_and_unfilled_weights_are_found(
    capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    before = torch.get_rng_state()
    with building():
        first, second = nn.Linear(3, 3), nn.Linear(3, 3)
        nn.init.kaiming_normal_(second.weight)
        torch.randn(3)
        print("Setting up")
        warnings.warn("old arguments", stacklevel=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert capsys.readouterr().out == ""
    assert len(recwarn) == 0
    built = nn.Sequential(first, second)
    first.load_state_dict({"weight": torch.eye(3), "bias": torch.zeros(3)})
    with pytest.raises(UserError, match=r"^LPIPS: 1\.weight is in no file of weights"):
        check_filled(built, "LPIPS")
    second.load_state_dict({"weight": torch.eye(3), "bias": torch.zeros(3)})
    checked = check_filled(built.train(), "LPIPS")
    assert not checked.training
    assert not any(parameter.requires_grad for parameter in checked.parameters())
    assert bool(torch.nn.Linear(2, 2).weight.isfinite().all())  # afterwards networks begin as always


def test_a_trunk_is_loaded_strictly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_weights(monkeypatch, tmp_path)
    written = random_trunk("alexnet", tmp_path)
    loaded = load_trunk("alexnet", "LPIPS")
    assert network_hash(loaded) == network_hash(written)
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(loaded(x), written(x))
    path = next(tmp_path.iterdir())
    state = torch.load(path, weights_only=True)
    del state["features.3.bias"]
    torch.save(state, path)
    with pytest.raises(UserError, match=r"^LPIPS: the weights are not those of alexnet \(.*Missing.*3\.bias") as caught:
        load_trunk("alexnet", "LPIPS")
    assert "\n" not in str(caught.value)
