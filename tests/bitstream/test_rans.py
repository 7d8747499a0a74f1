import math
import random
import subprocess
import sys
from bisect import bisect
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lightning_codec.bitstream.errors import CorruptError, TruncatedError
from lightning_codec.bitstream.rans import SymbolDecoder, SymbolEncoder
from lightning_codec.bitstream.tables import CdfTables, build_tables

SIGMAS = (0.11, 1.0, 9.0, 64.0)


def gaussian_pmf(sigma: float, reach: int) -> npt.NDArray[np.float64]:
    cdf = [0.5 * (1 + math.erf((k - 0.5) / sigma / 2**0.5)) for k in range(-reach, reach + 2)]
    return np.diff(cdf)


def gaussian_tables() -> CdfTables:
    reaches = [math.ceil(6 * sigma) for sigma in SIGMAS]
    pmfs = [gaussian_pmf(sigma, reach) for sigma, reach in zip(SIGMAS, reaches, strict=True)]
    return build_tables(pmfs, [max(1 - pmf.sum(), 1e-9) for pmf in pmfs], [-reach for reach in reaches])


TABLES = gaussian_tables()


def gaussian_symbols(n: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    indexes = torch.randint(len(SIGMAS), (n,), generator=generator, dtype=torch.int32)
    noise = torch.randn(n, generator=generator, dtype=torch.float64)
    return (noise * torch.tensor(SIGMAS)[indexes.long()]).round().to(torch.int32), indexes


def int32(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int32)


def encode(*parts: tuple[Tensor, Tensor], tables: CdfTables = TABLES) -> bytes:
    encoder = SymbolEncoder()
    for symbols, indexes in parts:
        encoder.put(symbols, indexes, tables)
    return encoder.finish()


def test_symbols_of_several_calls_come_back_and_calls_are_counted() -> None:
    parts = [gaussian_symbols(n, seed) for seed, n in enumerate((1000, 1, 0, 300))]
    decoder = SymbolDecoder(encode(*parts), 1301)
    for symbols, indexes in parts:
        assert torch.equal(decoder.get(indexes, TABLES), symbols)
    assert decoder.rounds == 4


@given(st.lists(st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(0, 3)), max_size=20))
def test_any_int32_comes_back(pairs: list[tuple[int, int]]) -> None:
    symbols, indexes = int32(*(p[0] for p in pairs)), int32(*(p[1] for p in pairs))
    assert torch.equal(SymbolDecoder(encode((symbols, indexes)), len(pairs)).get(indexes, TABLES), symbols)


@pytest.mark.parametrize("offset", [-(2**30), -5, 2**30])
def test_symbols_beside_and_far_from_their_table_come_back(offset: int) -> None:
    tables = build_tables([np.full(11, 0.09)], [0.01], [offset])
    near = [offset + k for k in (-2, -1, 0, 1, 9, 10, 11, 12)]
    symbols = int32(*near, -(10**6), 10**6, -(2**31), 2**31 - 1)
    indexes = torch.zeros(len(symbols), dtype=torch.int32)
    decoder = SymbolDecoder(encode((symbols, indexes), tables=tables), len(symbols))
    assert torch.equal(decoder.get(indexes, tables), symbols)


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_streams_of_few_symbols_are_sound(n: int) -> None:
    """The C++ coder alone writes before its buffer here; the costliest symbols use most words."""
    tables = build_tables([np.array([0.0, 1.0])], [0.0], [0])
    symbols = indexes = torch.zeros(n, dtype=torch.int32)
    stream = encode((symbols, indexes), tables=tables)
    assert len(stream) == 8 + 4 * (n // 2)
    assert torch.equal(SymbolDecoder(stream, n).get(indexes, tables), symbols)


@pytest.mark.parametrize("index", range(len(SIGMAS)))
def test_coded_size_is_the_cross_entropy(index: int) -> None:
    symbols, indexes = gaussian_symbols(40_000, seed=1)
    symbols = symbols[indexes == index]
    reach = math.ceil(6 * SIGMAS[index])
    bits = -np.log2(gaussian_pmf(SIGMAS[index], reach)[symbols.numpy() + reach]).sum()
    size = len(encode((symbols, torch.full_like(symbols, index))))
    assert size == pytest.approx(bits / 8, rel=0.005, abs=10)


def test_a_symbol_outside_its_table_costs_the_tail_and_its_digits() -> None:
    """1000 symbols at one past a table: log2(100) bits of tail, a digit count and one digit each."""
    tables = build_tables([np.full(9, 0.11)], [0.01], [0])
    stream = encode((torch.full((1000,), 10, dtype=torch.int32), torch.zeros(1000, dtype=torch.int32)), tables=tables)
    assert len(stream) == pytest.approx(1000 * (math.log2(100) + 8) / 8, rel=0.005)


def test_the_encoder_is_empty_after_finish() -> None:
    encoder = SymbolEncoder()
    encoder.put(*gaussian_symbols(100, 0), TABLES)
    encoder.finish()
    assert encoder.finish() == encode()


@pytest.mark.parametrize(
    ("symbols", "indexes"),
    [
        (int32(0), int32(4)),
        (int32(0), int32(-1)),
        (int32(0), int32(0, 1)),
        (int32(0).long(), int32(0)),
        (int32(0), int32(0).float()),
        (int32(0)[None], int32(0)[None]),
    ],
)
def test_what_the_coder_would_misread_is_refused(symbols: Tensor, indexes: Tensor) -> None:
    with pytest.raises(ValueError, match=r"int32|not in"):
        SymbolEncoder().put(symbols, indexes, TABLES)


def test_table_indexes_are_checked_before_decoding_too() -> None:
    decoder = SymbolDecoder(encode(gaussian_symbols(10, 0)), 10)
    with pytest.raises(ValueError, match=r"from 0 to 4 are not in \[0, 4\)"):
        decoder.get(int32(0, 4), TABLES)
    with pytest.raises(ValueError, match="11 symbols asked for, 10"):
        decoder.get(torch.zeros(11, dtype=torch.int32), TABLES)


def reference_decode(stream: bytes, indexes: Tensor, tables: CdfTables) -> list[int]:
    """rANS as published (Duda 2013), with zeros behind the end; tail entries are not followed by digits."""
    state, at, symbols = int.from_bytes(stream[:8], "little"), 8, []
    for index in indexes.tolist():
        cdf, slot = tables.cdfs[index], state & 0xFFFF
        entry = bisect(cdf, slot) - 1
        state = (cdf[entry + 1] - cdf[entry]) * (state >> 16) + slot - cdf[entry]
        if state < 2**31:
            state, at = state << 32 | int.from_bytes(stream[at : at + 4], "little"), at + 4
        symbols.append(entry + tables.offsets[index])
    return symbols


@pytest.mark.parametrize("extra", [0, 8, 400])
def test_any_bytes_decode_as_published_with_zeros_behind_them(extra: int) -> None:
    """A decoder that reads on behind its buffer finds other words there."""
    _, indexes = gaussian_symbols(2000, seed=3)
    stream = random.Random(4).randbytes(7) + b"\x01" + random.Random(5).randbytes(extra)
    expected = reference_decode(stream, indexes, TABLES)
    assert torch.equal(SymbolDecoder(stream, 2000).get(indexes, TABLES), int32(*expected))


@pytest.mark.parametrize("stream", [b"", bytes(7)])
def test_a_stream_shorter_than_a_state_is_truncated(stream: bytes) -> None:
    with pytest.raises(TruncatedError):
        SymbolDecoder(stream, 1)


@pytest.mark.parametrize("stream", [bytes(8), b"\xff" * 8, b"\xff\xff\xff\x7f\0\0\0\0", bytes(5) + b"\x01" * 6])
def test_a_stream_that_no_encoder_writes_is_corrupt(stream: bytes) -> None:
    with pytest.raises(CorruptError):
        SymbolDecoder(stream, 1)


MOSTLY_TAIL = build_tables([np.array([0.0])], [1.0], [0])


def test_damaged_digits_are_corrupt() -> None:
    """Tables that disagree make the decoder see tails, then digit counts that no encoder writes."""
    stream = b"\xff" * 7 + b"\x7f" + b"\xff" * 40
    with pytest.raises(CorruptError, match="too many digits"):
        SymbolDecoder(stream, 1).get(int32(0), MOSTLY_TAIL)
    with pytest.raises(CorruptError, match="more digits than bits"):
        SymbolDecoder(stream, 500).get(torch.zeros(500, dtype=torch.int32), MOSTLY_TAIL)


def test_a_symbol_beyond_int32_is_corrupt_not_wrapped() -> None:
    here, there = (build_tables([np.array([0.5])], [0.5], [offset]) for offset in (0, 1))
    stream = encode((int32(2**31 - 1), int32(0)), tables=here)
    with pytest.raises(CorruptError, match="32 bits"):
        SymbolDecoder(stream, 1).get(int32(0), there)


MUTATIONS = """
import random, sys
import torch
from lightning_codec.bitstream.errors import CodecError
from lightning_codec.bitstream.rans import SymbolDecoder
from tests.bitstream.test_rans import TABLES, encode, gaussian_symbols

symbols, indexes = gaussian_symbols(2000, seed=7)
symbols[::50] *= 1000
stream = encode((symbols, indexes))
rng = random.Random(5)
ends = {"decoded": 0, "refused": 0}
for trial in range(500):
    data = bytearray(stream)
    kind = trial % 4
    at = rng.randrange(len(data))
    if kind == 0:
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del data[at:]
    elif kind == 2:
        data[at:at] = rng.randbytes(rng.choice((1, 4, 8)))
    else:
        data[at : at + 64] = rng.choice((b"\\xff", b"\\0")) * 64
    try:
        decoder = SymbolDecoder(bytes(data), 20_000)
        for _ in range(10):
            assert decoder.get(indexes, TABLES).shape == indexes.shape
        ends["decoded"] += 1
    except CodecError:
        ends["refused"] += 1
print(ends["decoded"], ends["refused"])
"""


def test_damaged_streams_neither_crash_nor_hang() -> None:
    root = Path(__file__).parents[2]
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MUTATIONS],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    decoded, refused = map(int, result.stdout.split())
    assert decoded + refused == 500
    assert min(decoded, refused) >= 20


@pytest.mark.parametrize("first", ["codec", "compressai"])
def test_the_coder_does_without_its_package_and_gets_on_with_it(first: str) -> None:
    code = """
import sys
if sys.argv[1] == "compressai":
    import compressai.ans
import lightning_codec.codec
from lightning_codec.bitstream.rans import SymbolDecoder, SymbolEncoder, _coders
coder, coders = SymbolDecoder(SymbolEncoder().finish(), 0)._coder, _coders()
print("compressai" in sys.modules)
from compressai import ans
print(isinstance(coder, ans.RansDecoder), ans is coders)
"""
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", code, first], capture_output=True, text=True)
    assert result.stdout.split() == [str(first == "compressai"), "True", "True"], result.stderr
