from pathlib import Path

import pytest

from lightning_codec.errors import UserError
from lightning_codec.runs.manifest import Manifest, differences, read_manifest


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    manifest = Manifest({"a": {"b": [1, None]}}, "/x/manifest.json", {"train": {}}, [{"step": 3}], {"step": 5})
    manifest.write(tmp_path)
    assert read_manifest(tmp_path / "manifest.json") == manifest


def test_differences_are_named_one_a_line() -> None:
    old = {"model": {"lr": 0.1, "name": "x", "gone": 1}, "same": [1], "resume": True, "empty": {}}
    new = {"model": {"lr": 1e-05, "name": None, "new": {"k": True}}, "same": (1,), "resume": False, "empty": {}}
    assert differences(old, new) == [
        "model.lr: 0.1 -> 1e-05",
        'model.name: "x" -> null',
        "model.gone: 1 -> -",
        "model.new.k: - -> true",
    ]
    assert differences(old, old) == []
    assert not Manifest(old).same_run(Manifest(new))
    assert Manifest(old).same_run(Manifest({**old, "resume": False}))
    assert not Manifest(old).same_run(Manifest(old, repeats="m"))


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"format": 1}', '{"format": 1, "command": "fit", "other": 1}'])
def test_what_is_no_manifest_is_one_line(content: str, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"manifest\.json: not the manifest of a run") as caught:
        read_manifest(path)
    assert "\n" not in str(caught.value)
    path.write_text('{"format": 2}')
    with pytest.raises(UserError, match="another version"):
        read_manifest(path)
    with pytest.raises(UserError, match="no such file"):
        read_manifest(tmp_path / "none.json")
