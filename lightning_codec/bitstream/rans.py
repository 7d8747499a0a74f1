"""Integer symbols to bytes and back: compressai's rANS coder behind checks that make it safe on any input.

The C++ decoder trusts its input: it reads on behind the end of the stream, follows any table index, and its
own code for symbols outside a table (a length, then as many 4-bit digits) has no bound, so that a damaged
stream can kill the process. Here, therefore:

- the tail of a table is an ordinary entry, the coder's own escape is never reached (it is given an entry of
  probability zero behind the tail), and what lies in the tail is coded as 4-bit digits with a table of ours;
- table indexes are checked before every call;
- the stream is followed by enough zero bytes for everything that can be asked of it. The state x of the coder
  is in [2^31, 2^63), which is checked at the start and then kept: decoding a symbol of frequency f / 2^16
  leaves x' >= f floor(x / 2^16) >= 2^15, and if x' < 2^31, a word is read and x'' >= 2^15 2^32 = 2^47, so
  that the next symbol leaves at least 2^31 and reads nothing. At most every second symbol reads a word,
  which makes 2 bytes a symbol.
"""

import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import PathFinder
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_codec.bitstream.errors import CorruptError, TruncatedError
from lightning_codec.bitstream.tables import TOTAL, CdfTables, build_tables

__all__ = ["CdfTables", "SymbolDecoder", "SymbolEncoder", "build_tables"]

_Array = npt.NDArray[np.int64]

STATE_BYTES = 8
"""A stream begins with the state of the coder; an empty stream is this long."""
_STATE_MIN, _STATE_END = 2**31, 2**63
_DIGIT_BITS = 4
_MAX_DIGITS = 9  # an int32 symbol less an offset below 2^30, sign folded in, stays below 2^36
_SHIFTS = _DIGIT_BITS * np.arange(_MAX_DIGITS, dtype=np.int64)
_DIGITS = [[*range(0, TOTAL + 1, TOTAL >> _DIGIT_BITS)]]  # 16 equally probable values
_NEARLY_FREE = [[0, TOTAL - 1, TOTAL]]
_INT32 = np.iinfo(np.int32)


class SymbolEncoder:
    """Codes symbols of many `put` calls into one stream, which `SymbolDecoder` reads in the same order."""

    def __init__(self) -> None:
        self._coder = _coders().BufferedRansEncoder()

    def put(self, symbols: Tensor, indexes: Tensor, tables: CdfTables) -> None:
        """Append symbols to the stream.

        Args:
            symbols: int32 [n], any values: one outside its table costs the tail's bits and 4 to 40 more.
            indexes: int32 [n], the table of each symbol, in [0, number of tables).
            tables: the tables that the decoder will also have.

        Raises:
            ValueError: wrong dtype or shape, or an index out of range.
        """
        index = _checked_indexes(indexes, tables)
        if symbols.dtype != torch.int32 or symbols.shape != indexes.shape:
            raise ValueError(f"symbols are {symbols.dtype} {list(symbols.shape)}, not int32 {list(indexes.shape)}")
        entries = symbols.cpu().numpy() - tables.first_symbols[index]
        tail = tables.tail_entries[index]
        outside = (entries < 0) | (entries >= tail)
        beyond, tail = entries[outside], tail[outside]
        entries[outside] = tail
        self._encode(entries, index, tables.cdfs)
        if beyond.size:
            folded = np.where(beyond < 0, -2 * beyond - 1, 2 * (beyond - tail))[:, None] >> _SHIFTS
            used = folded != 0
            self._encode(used.sum(1), np.zeros(len(used), dtype=np.int64), _DIGITS)
            digits = folded[used] & 15
            self._encode(digits, np.zeros_like(digits), _DIGITS)

    def finish(self) -> bytes:
        """The stream, a multiple of 4 bytes and at least 8; the encoder is then empty again."""
        # The C++ coder allots one word a symbol and then also writes its state, two words: with fewer than
        # three symbols it would write before its buffer. Three that cost 7e-5 bits together make room.
        self._encode(np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64), _NEARLY_FREE)
        stream: bytes = self._coder.flush()
        return stream

    def _encode(self, entries: _Array, index: _Array, cdfs: Sequence[list[int]]) -> None:
        if entries.size:
            self._coder.encode_with_indexes(entries.tolist(), *_native(index, cdfs))


class SymbolDecoder:
    """Reads the symbols of one stream, in the order in which they were put.

    Args:
        data: the stream.
        max_symbols: upper bound of the number of symbols that all `get` calls together will ask for. Memory
            of 2 bytes a symbol and 6 a byte of the stream is taken at once.

    Whatever the bytes are, decoding ends and gives int32 symbols or one of these errors:

    Raises:
        TruncatedError: the stream is shorter than its 8 bytes of state.
        CorruptError: no encoder writes such a stream.
    """

    rounds: int
    """Number of `get` calls so far: the sequential steps of the decoder."""

    def __init__(self, data: bytes, max_symbols: int) -> None:
        if len(data) < STATE_BYTES:
            raise TruncatedError(f"a coded segment has {len(data)} bytes, at least {STATE_BYTES} are needed")
        if len(data) % 4:
            raise CorruptError(f"a coded segment has {len(data)} bytes, not a multiple of 4: the file is damaged")
        if not _STATE_MIN <= int.from_bytes(data[:STATE_BYTES], "little") < _STATE_END:
            raise CorruptError("a coded segment does not begin with a state of the coder: the file is damaged")
        self.rounds = 0
        self._symbols_left = max_symbols
        # A digit costs 4 bits to within 1e-5, so L bytes hold fewer than 3 L of them: more is damage.
        self._digits_left = 3 * len(data)
        reads = STATE_BYTES + 2 * (max_symbols + self._digits_left) + 4
        self._coder = _coders().RansDecoder()
        self._coder.set_stream(data.ljust(reads, b"\0"))  # copied by the coder

    def get(self, indexes: Tensor, tables: CdfTables) -> Tensor:
        """Read the next symbols.

        Args:
            indexes: int32 [n], the table of each symbol, in [0, number of tables).
            tables: the tables that the encoder had.

        Returns:
            int32 [n] on the CPU.

        Raises:
            CorruptError: see the class.
            ValueError: wrong dtype or shape, an index out of range, or more than `max_symbols` in all.
        """
        index = _checked_indexes(indexes, tables)
        if index.size > self._symbols_left:
            raise ValueError(f"{index.size} symbols asked for, {self._symbols_left} of max_symbols are left")
        self._symbols_left -= index.size
        self.rounds += 1
        entries = self._decode(index, tables.cdfs)
        tail = tables.tail_entries[index]
        outside = entries == tail
        if outside.any():
            entries[outside] = self._beyond(tail[outside])
        symbols = entries + tables.first_symbols[index]
        if symbols.size and not _INT32.min <= symbols.min() <= symbols.max() <= _INT32.max:
            raise CorruptError("a coded symbol does not fit 32 bits: the file is damaged or not of this model")
        return torch.from_numpy(symbols.astype(np.int32))

    def _beyond(self, tail: _Array) -> _Array:
        """Entries [e] outside their tables, whose tail entries are given, from the digits that follow."""
        counts = self._decode_digits(len(tail))
        if counts.max() > _MAX_DIGITS:
            raise CorruptError("a coded symbol has too many digits: the file is damaged or not of this model")
        folded = np.zeros((len(tail), _MAX_DIGITS), dtype=np.int64)
        folded[np.arange(_MAX_DIGITS) < counts[:, None]] = self._decode_digits(int(counts.sum()))
        value = (folded << _SHIFTS).sum(1)
        beyond: _Array = np.where(value & 1, -(value + 1) // 2, value // 2 + tail)
        return beyond

    def _decode_digits(self, count: int) -> _Array:
        if count > self._digits_left:
            raise CorruptError("a coded segment holds more digits than bits: the file is damaged or not of this model")
        self._digits_left -= count
        return self._decode(np.zeros(count, dtype=np.int64), _DIGITS)

    def _decode(self, index: _Array, cdfs: Sequence[list[int]]) -> _Array:
        if not index.size:
            return index
        return np.array(self._coder.decode_stream(*_native(index, cdfs)), dtype=np.int64)


def _coders() -> Any:  # noqa: ANN401 - a compiled module without types
    """The compiled module `compressai.ans`, without the three seconds that importing its package takes.

    Raises:
        ImportError: compressai is not installed, or lacks it.
    """
    name = "compressai.ans"
    if name not in sys.modules:
        package = importlib.util.find_spec("compressai")
        spec = package and PathFinder.find_spec(name, package.submodule_search_locations)
        if spec is None or spec.loader is None:
            raise ImportError(f"{name}: not found; install compressai", name=name)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[name] = module  # where the package finds it: not every build can be loaded twice
    return sys.modules[name]


def _checked_indexes(indexes: Tensor, tables: CdfTables) -> _Array:
    if indexes.dtype != torch.int32 or indexes.dim() != 1:
        raise ValueError(f"indexes are {indexes.dtype} {list(indexes.shape)}, not int32 [n]")
    index: _Array = indexes.cpu().numpy().astype(np.int64)
    if index.size and not 0 <= index.min() <= index.max() < len(tables.cdfs):
        raise ValueError(f"table indexes from {index.min()} to {index.max()} are not in [0, {len(tables.cdfs)})")
    return index


def _native(index: _Array, cdfs: Sequence[list[int]]) -> tuple[list[int], list[list[int]], list[int], list[int]]:
    """Arguments of the C++ calls: indexes, cdfs, their sizes, their offsets (zeros: it codes entries).

    Only the tables in use are passed, as each call copies them; each gets the entry of probability zero in
    place of the escape that the coder puts last.
    """
    used = np.flatnonzero(np.bincount(index, minlength=len(cdfs)))
    position = np.zeros(len(cdfs), dtype=np.int64)
    position[used] = np.arange(len(used))
    chosen = [[*cdfs[table], TOTAL] for table in used]
    return position[index].tolist(), chosen, [len(cdf) for cdf in chosen], [0] * len(chosen)
