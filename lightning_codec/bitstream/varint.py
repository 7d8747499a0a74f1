"""Unsigned integers of variable length (LEB128): seven bits a byte, lowest first, top bit: more follow."""

from lightning_codec.bitstream.errors import CorruptError, TruncatedError

MAX_VALUE = 2**32 - 1
MAX_BYTES = 5


def write_varint(value: int) -> bytes:
    """The shortest encoding of `value`: 1 byte below 2^7, 2 below 2^14, ..., 5 at most.

    Raises:
        ValueError: `value` is not in [0, 2^32).
    """
    if not 0 <= value <= MAX_VALUE:
        raise ValueError(f"a varint holds 0 to {MAX_VALUE}, not {value}")
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Read one integer in [0, 2^32) at byte `at`; returns it and the position after it.

    Only the encoding that `write_varint` gives is accepted, so that equal headers are equal bytes.

    Raises:
        TruncatedError: the data ends inside the integer.
        CorruptError: the encoding is longer than needed, or the value does not fit 32 bits.
    """
    value = 0
    for count in range(MAX_BYTES):
        if at + count >= len(data):
            raise TruncatedError(f"the file ends at byte {len(data)}, inside a number of its header: get it again")
        byte = data[at + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            if (byte == 0 and count > 0) or value > MAX_VALUE:
                break
            return value, at + count + 1
    raise CorruptError(f"the number at byte {at} of the header is not a canonical 32-bit varint: get the file again")
