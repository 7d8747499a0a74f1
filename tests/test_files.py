import json
import math
import os

import numpy as np
import pytest

from lightning_codec.files import sha256_of, sweep, write_array, write_atomically, write_csv, write_json


def test_a_file_is_written_with_its_folder_and_replaced(tmp_path):
    path = tmp_path / "new" / "folder" / "a.bin"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(path.parent) == ["a.bin"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    write_atomically(path, b"one")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"two")
    assert path.read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_table_keeps_every_digit_quotes_and_leaves_absent_values_empty(tmp_path):
    path = tmp_path / "a.csv"
    write_csv(path, ("name", "x"), [("a, b", 1 / 3), ('"', None), ("c", math.inf)])
    assert path.read_bytes() == b'name,x\n"a, b",0.3333333333333333\n"""",\nc,inf\n'


def test_json_is_of_finite_numbers_and_the_old_file_stays_where_it_is_not(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"x": 0.1, "y": [None, "é"]})
    assert json.loads(path.read_bytes()) == {"x": 0.1, "y": [None, "é"]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"x": math.nan})
    assert json.loads(path.read_bytes())["x"] == 0.1


def test_an_array_comes_back_and_objects_are_refused(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_array(tmp_path / "a.npy", array)
    back = np.load(tmp_path / "a.npy", allow_pickle=False)
    assert back.dtype == np.float32
    assert (back == array).all()
    with pytest.raises(ValueError, match="Object arrays"):
        write_array(tmp_path / "b.npy", np.array([{}], dtype=object))


def test_the_hash_of_a_file_is_the_standards(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert sha256_of(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_what_a_killed_writer_has_left_is_swept_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", lambda *_: os._exit(0))
    child = os.fork()
    if not child:
        write_atomically(tmp_path / "sub" / "a.bin", b"one")
    os.waitpid(child, 0)
    for name in (".tmp", ".mine.tmp", "a.tmp"):
        (tmp_path / name).touch()
    assert len(os.listdir(tmp_path / "sub")) == 1
    sweep(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".mine.tmp", ".tmp", "a.tmp", "sub"]
    assert os.listdir(tmp_path / "sub") == []
