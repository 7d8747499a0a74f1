"""Damaged files end in a typed error or the exact image: no crash, no hang, no memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_codec.codec import Codec
from tests.test_codec import picture
from tests.tiny import tiny_compression_model

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(("count", "valid_checksums"), [(2000, False), (500, True)])
def test_mutated_files_end_in_typed_errors(tmp_path: Path, count: int, valid_checksums: bool) -> None:
    codec = Codec(tiny_compression_model())
    for number, size in enumerate([(64, 64), (120, 200), (1, 1)]):
        (tmp_path / f"{number}.lcb").write_bytes(codec.compress(picture(*size, seed=number)))
    command = [sys.executable, "-m", "tests.fuzz_child", "tiny", str(tmp_path), str(count), str(int(valid_checksums))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-2000:]  # a signal is a negative code
    result = json.loads(done.stdout)
    ends = result["ends"]
    assert sum(ends.values()) == count
    assert "WRONG IMAGE" not in ends
    if not valid_checksums:  # every kind of damage that a mutation can do has its own error
        assert {"CorruptError", "TruncatedError", "NotACodecFileError", "UnknownVersionError"} <= set(ends)
    assert result["after_mib"] <= 2 * result["before_mib"]
