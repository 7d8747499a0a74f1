import subprocess
import sys
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_codec.bitstream.container import Container, damaged_segments, pack, read_header, unpack
from lightning_codec.bitstream.errors import (
    CodecError,
    CorruptError,
    ImplausibleSizeError,
    NotACodecFileError,
    TruncatedError,
    UnknownVersionError,
)

SMALL = Container(b"\x01\x23\x45\x67", 512, 768, 0x89ABCDEF, (b"side", b"information", b""))

containers = st.builds(
    Container,
    fingerprint=st.binary(min_size=4, max_size=4),
    height=st.integers(1, 2**14),
    width=st.integers(1, 2**14),
    latents_crc=st.integers(0, 2**32 - 1),
    segments=st.lists(st.binary(max_size=200), min_size=1, max_size=255).map(tuple),
)


@given(containers)
def test_what_is_packed_is_unpacked(container: Container) -> None:
    assert unpack(pack(container)) == container


def test_the_format_is_frozen_byte_by_byte() -> None:
    """Files written once must stay readable: a change of these bytes needs a new format version."""
    head = "4c4342 01 01234567 8004 8006 03 040b00 efcdab89"
    crcs = "55f62a2b a0304042 bc890a25"
    assert pack(SMALL) == bytes.fromhex(head + crcs) + b"sideinformation"
    checked = bytes.fromhex(head) + b"information"
    assert zlib.crc32(checked).to_bytes(4, "little").hex() == "a0304042"


def test_the_header_of_a_kodak_image_in_two_segments_takes_29_bytes() -> None:
    kodak = Container(b"abcd", 512, 768, 0, (bytes(16383), bytes(16383)))
    assert len(pack(kodak)) - 2 * 16383 == 29
    assert read_header(pack(kodak)).header_bytes == 29


def test_every_strict_prefix_is_truncated() -> None:
    data = pack(SMALL)
    for length in range(len(data)):
        with pytest.raises(TruncatedError):
            unpack(data[:length])


def test_every_flipped_bit_is_noticed() -> None:
    data = pack(SMALL)
    kinds = set()
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CodecError) as error:
            unpack(bytes(damaged))
        kinds.add(error.type)
        assert "\n" not in str(error.value)
    assert kinds == {
        NotACodecFileError,
        UnknownVersionError,
        ImplausibleSizeError,
        TruncatedError,
        CorruptError,
    }


def test_every_inserted_and_every_lost_byte_is_noticed() -> None:
    data = pack(SMALL)
    for at in range(len(data)):
        for inserted in (b"\0", b"\xff", data[at : at + 1]):
            with pytest.raises(CodecError):
                unpack(data[:at] + inserted + data[at:])
        with pytest.raises(CodecError):
            unpack(data[:at] + data[at + 1 :])


def test_trailing_bytes_are_corrupt() -> None:
    with pytest.raises(CorruptError, match=f"{len(pack(SMALL)) + 1} bytes"):
        unpack(pack(SMALL) + b"\0")


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", TruncatedError),
        (b"LC", TruncatedError),
        (b"\x89PNG\r\n\x1a\n", NotACodecFileError),
        (b"X", NotACodecFileError),
        (b"LCB\x02", UnknownVersionError),
    ],
)
def test_the_first_bytes_decide_what_a_file_is(data: bytes, error: type[CodecError]) -> None:
    with pytest.raises(error):
        unpack(data)


def header(height: str, width: str, rest: str) -> bytes:
    return b"LCB\x01abcd" + bytes.fromhex(height + width + rest)


@pytest.mark.parametrize(
    ("height", "width"),
    [("00", "01"), ("01", "00"), ("808001", "818001"), ("ffffffff0f", "ffffffff0f")],
)
def test_an_implausible_size_is_refused_before_anything_else_is_read(height: str, width: str) -> None:
    with pytest.raises(ImplausibleSizeError):
        unpack(header(height, width, ""))


def test_the_limit_of_pixels_is_the_callers() -> None:
    assert unpack(pack(SMALL), max_pixels=512 * 768) == SMALL
    with pytest.raises(ImplausibleSizeError, match="768 x 512 pixels, not 1 to 393215"):
        unpack(pack(SMALL), max_pixels=512 * 768 - 1)


def test_no_segments_are_corrupt_and_absurd_lengths_are_truncated() -> None:
    with pytest.raises(CorruptError, match="0 segments"):
        unpack(header("01", "01", "00" + "00" * 8))
    with pytest.raises(TruncatedError):
        unpack(header("01", "01", "02" + "ffffffff0f" * 2 + "00" * 12))


def test_damage_in_one_segment_is_told_from_damage_in_the_header() -> None:
    data = bytearray(pack(SMALL))
    data[-1] ^= 1  # the last byte of the second segment
    assert damaged_segments(bytes(data), read_header(bytes(data))) == (1,)
    data[4] ^= 1  # the fingerprint
    assert damaged_segments(bytes(data), read_header(bytes(data))) == (0, 1, 2)


@pytest.mark.parametrize(
    ("field", "value"),
    [("fingerprint", b"abc"), ("height", 0), ("width", 2**32), ("segments", ()), ("segments", (b"",) * 256)],
)
def test_what_cannot_be_written_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"\d"):
        pack(SMALL._replace(**{field: value}))  # type: ignore[arg-type]


def test_reading_a_header_needs_neither_torch_nor_numpy() -> None:
    code = "import sys, lightning_codec.bitstream; print({'torch', 'numpy', 'compressai'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "set()"
