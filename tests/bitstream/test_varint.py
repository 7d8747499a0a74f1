import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_codec.bitstream.errors import CorruptError, TruncatedError
from lightning_codec.bitstream.varint import read_varint, write_varint


@given(st.integers(0, 2**32 - 1), st.binary(max_size=3), st.binary(max_size=3))
def test_what_is_written_is_read_wherever_it_stands(value: int, before: bytes, after: bytes) -> None:
    coded = write_varint(value)
    assert read_varint(before + coded + after, len(before)) == (value, len(before) + len(coded))


@pytest.mark.parametrize(
    ("value", "coded"),
    [
        (0, "00"),
        (127, "7f"),
        (128, "8001"),
        (768, "8006"),
        (16383, "ff7f"),
        (16384, "808001"),
        (2**32 - 1, "ffffffff0f"),
    ],
)
def test_bytes_are_those_of_leb128(value: int, coded: str) -> None:
    assert write_varint(value).hex() == coded


@pytest.mark.parametrize("value", [-1, 2**32])
def test_a_value_outside_32_bits_is_not_written(value: int) -> None:
    with pytest.raises(ValueError, match=str(value)):
        write_varint(value)


@pytest.mark.parametrize("coded", ["8000", "ff8000", "8080808000", "ffffffff10", "808080808000", "ffffffffff01"])
def test_a_longer_encoding_than_needed_or_than_32_bits_is_refused(coded: str) -> None:
    with pytest.raises(CorruptError, match="byte 0"):
        read_varint(bytes.fromhex(coded), 0)


@pytest.mark.parametrize("coded", ["", "80", "ffffffff"])
def test_an_integer_that_is_cut_is_truncated(coded: str) -> None:
    with pytest.raises(TruncatedError):
        read_varint(bytes.fromhex(coded), 0)
