"""The file format `.lcb` and the entropy coding of integer symbols.

`container` lays bytes out and checks them, `rans` turns integer symbols into bytes and back with the
distributions of `tables`, `errors` holds what can go wrong. Reading a header needs neither torch nor
compressai: what does is imported when it is first asked for.
"""

import importlib
from typing import TYPE_CHECKING

from lightning_codec.bitstream.container import Container, Header, damaged_segments, pack, read_header, unpack
from lightning_codec.bitstream.errors import (
    CodecError,
    CorruptError,
    ImplausibleSizeError,
    NotACodecFileError,
    TruncatedError,
    UnknownVersionError,
    WrongModelError,
)

if TYPE_CHECKING:
    from lightning_codec.bitstream.rans import SymbolDecoder, SymbolEncoder
    from lightning_codec.bitstream.tables import CdfTables, build_tables

__all__ = [
    "CdfTables",
    "CodecError",
    "Container",
    "CorruptError",
    "Header",
    "ImplausibleSizeError",
    "NotACodecFileError",
    "SymbolDecoder",
    "SymbolEncoder",
    "TruncatedError",
    "UnknownVersionError",
    "WrongModelError",
    "build_tables",
    "damaged_segments",
    "pack",
    "read_header",
    "unpack",
]

_LATE = {"SymbolDecoder": "rans", "SymbolEncoder": "rans", "CdfTables": "tables", "build_tables": "tables"}


def __getattr__(name: str) -> object:
    if name in _LATE:
        return getattr(importlib.import_module(f"{__name__}.{_LATE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
