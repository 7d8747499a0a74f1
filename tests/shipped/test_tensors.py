"""What is rounded, and that a file of tensors is believed only if it is exactly what was expected."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import nn

from lightning_codec.checkpoint import CheckpointError
from lightning_codec.model import CompressionModel
from lightning_codec.shipped import tensors
from lightning_codec.shipped.tensors import read_tensors, round_weights, stored_form
from tests.tiny import TINY_NETWORK, tiny_compression_model, tiny_denoiser


class WithRules(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0 / 3.0, 2.0]))
        self.register_buffer("bound", torch.tensor(1e-9))  # float16 would make it 0
        self.register_buffer("lengths", torch.tensor([70_000], dtype=torch.int32))


def test_weights_are_rounded_and_rules_are_not() -> None:
    stored = stored_form(WithRules())
    assert {name: value.dtype for name, value in stored.items()} == {
        "weight": torch.float16,
        "bound": torch.float32,
        "lengths": torch.int32,
    }
    assert stored["weight"].tolist() == [float(np.float16(1.0 / 3.0)), 2.0]
    assert float(stored["bound"]) == float(torch.tensor(1e-9)) > 0
    assert stored["lengths"].tolist() == [70_000]


@pytest.mark.parametrize("build", [tiny_compression_model, tiny_denoiser])
def test_the_stored_form_has_every_weight_of_a_network(build: Callable[[], nn.Module]) -> None:
    network = build()
    stored = stored_form(network)
    assert {name: value.shape for name, value in stored.items()} == {
        name: p.shape for name, p in network.named_parameters()
    }
    assert all(torch.equal(stored[name], p.half()) for name, p in network.named_parameters())


@pytest.mark.parametrize("build", [tiny_compression_model, tiny_denoiser])
def test_a_rounded_network_survives_its_file_to_the_bit(build: Callable[[], nn.Module], tmp_path: Path) -> None:
    network = build()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    (tmp_path / "a.safetensors").write_bytes(save(round_weights(network)))
    after = network.state_dict()
    moved = [name for name, value in after.items() if not torch.equal(value, before[name])]
    assert len(moved) > len(after) / 2
    assert all(value.dtype == before[name].dtype for name, value in after.items())
    assert all(torch.allclose(value, before[name], rtol=2.0**-11, atol=2.0**-25) for name, value in after.items())
    other = build()
    other.load_state_dict(read_tensors(tmp_path / "a.safetensors", stored_form(other)))
    assert all(torch.equal(value, after[name]) for name, value in other.state_dict().items())
    round_weights(other)
    assert all(torch.equal(value, after[name]) for name, value in other.state_dict().items())


@pytest.mark.parametrize("value", [7e4, float("nan"), float("inf")])
def test_weights_that_float16_cannot_hold_are_refused_and_stay(value: float) -> None:
    model = tiny_compression_model()
    with torch.no_grad():
        model.get_parameter("g_s.rungs.0.1.bias")[0] = value
    first = model.get_parameter("g_a.body.0.weight").clone()
    with pytest.raises(ValueError, match=r"^g_s\.rungs\.0\.1\.bias has values that are not finite in float16$"):
        round_weights(model)
    assert torch.equal(model.get_parameter("g_a.body.0.weight"), first)


@pytest.fixture
def expected() -> dict[str, torch.Tensor]:
    return stored_form(CompressionModel(TINY_NETWORK))


@pytest.fixture
def whole() -> bytes:
    return save(stored_form(tiny_compression_model()))


def test_a_whole_file_is_read_whatever_the_weights_of_what_is_expected(
    expected: dict[str, torch.Tensor], whole: bytes, tmp_path: Path
) -> None:
    (tmp_path / "a.safetensors").write_bytes(whole)
    read = read_tensors(tmp_path / "a.safetensors", expected)
    stored = stored_form(tiny_compression_model())
    assert read.keys() == stored.keys()
    assert all(torch.equal(value, stored[name]) for name, value in read.items())


def with_header(whole: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + whole[8 + length :]


def set_entry(field: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda header: header["g_a.body.0.weight"].update({field: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_entry("shape", [400_000, 3, 5, 5]), r"tensor g_a\.body\.0\.weight is F16 \[400000, 3, 5, 5\], its card"),
        (set_entry("dtype", "F64"), r"is F64 \[4, 3, 5, 5\], its card needs F16 \[4, 3, 5, 5\]"),
        (lambda header: header.pop("g_a.body.0.weight"), r"g_a\.body\.0\.weight is absent, its card needs F16"),
        (lambda header: header.update(more=header["g_a.body.0.bias"]), r"tensor more is F16 \[4\], its card needs abs"),
        (lambda header: header.update(__metadata__={"a": "b"}), r"damaged or cut"),
        (set_entry("shape", 4), r"damaged or cut"),
        (lambda header: header.update(more="text"), r"damaged or cut"),
        (set_entry("data_offsets", [0, 1]), r"damaged or cut"),
    ],
)
def test_a_header_that_is_not_the_expected_one_is_refused(
    change: Callable[[dict[str, Any]], object],
    message: str,
    whole: bytes,
    expected: dict[str, torch.Tensor],
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(with_header(whole, change))
    with pytest.raises(CheckpointError, match=message) as caught:
        read_tensors(path, expected)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_sizes_are_compared_before_any_tensor_is_read(
    whole: bytes, expected: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensors, "load_file", lambda _: pytest.fail("read"))
    path = tmp_path / "a.safetensors"
    path.write_bytes(with_header(whole, set_entry("shape", [2**40])))
    with pytest.raises(CheckpointError):
        read_tensors(path, expected)
    path.write_bytes((2**50).to_bytes(8, "little") + whole[8:])
    with pytest.raises(CheckpointError, match="a header of 1125899906842624 bytes"):
        read_tensors(path, expected)


def test_a_file_that_was_cut_or_overwritten_is_refused(
    whole: bytes, expected: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    header = 8 + int.from_bytes(whole[:8], "little")
    for content in (
        *(whole[:size] for size in (0, 5, 8, 100, header - 1, header, header + 1, len(whole) - 1)),
        whole + b"x",
        bytes(len(whole)),
        (2**18).to_bytes(8, "little") + b"[" * 2**18,
    ):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"a\.safetensors: damaged or cut \(.+\): install the package again$"):
            read_tensors(path, expected)
