import json
from pathlib import Path

import pytest

from lightning_codec.bitstream import Container, pack
from lightning_codec.cli import main

FILE = Container(b"\x01\x23\x45\x67", 512, 768, 0x0BCDEF12, (bytes(1000), bytes(11259)))


@pytest.fixture
def coded(tmp_path: Path) -> Path:
    path = tmp_path / "photo.lcb"
    path.write_bytes(pack(FILE))
    return path


def test_json_holds_everything_that_the_header_says(coded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(coded), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "file": str(coded),
        "format_version": 1,
        "fingerprint": "01234567",
        "shipped_model": None,
        "height": 512,
        "width": 768,
        "file_bytes": 12288,
        "header_bytes": 29,
        "segment_bytes": [1000, 11259],
        "bpp": 0.25,
        "latents_crc32": "0bcdef12",
        "damaged_segments": [],
    }


def test_the_table_says_the_same(coded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(coded)]) == 0
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows == {
        "file": str(coded),
        "image": "768 x 512 pixels",
        "size": "12288 bytes, 0.2500 bits per pixel",
        "header": "29 bytes",
        "segments": "1000 + 11259 bytes",
        "model": "01234567",
        "format": "version 1",
        "latents": "CRC32 0bcdef12",
        "checksums": "correct",
    }


def test_a_damaged_file_is_described_and_is_an_error(coded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray(coded.read_bytes())
    data[-1] ^= 1
    coded.write_bytes(data)
    assert main(["info", str(coded), "--json"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["damaged_segments"] == [2]
    assert err == f"lightning-codec: error: {coded}: damaged, wrong checksum of segment 2 of 2\n"


def test_what_is_no_such_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "x.png"
    other.write_bytes(b"\x89PNG")
    assert main(["info", str(other)]) == 2
    assert main(["info", str(tmp_path / "none")]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"lightning-codec: error: {other}: the file begins with 89 50 4e")
    assert second == f"lightning-codec: error: {tmp_path / 'none'}: No such file or directory"
