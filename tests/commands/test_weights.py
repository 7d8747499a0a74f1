import hashlib
from pathlib import Path

import pytest

from lightning_codec.cli import main
from lightning_codec.commands.weights import run
from lightning_codec.errors import UserError
from lightning_codec.weights import FOLDER_VARIABLE, WeightFile
from tests.trunks import use_weights


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[WeightFile]:
    """Two small files that a file URL serves; they are fetched to `tmp_path / "weights"`."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "weights"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    served = []
    for name in ("first", "second"):
        content = f"weights of {name}".encode()
        path = tmp_path / f"{name}-{hashlib.sha256(content).hexdigest()[:8]}.pth"
        path.write_bytes(content)
        served.append(WeightFile(name, path.as_uri(), 1, f"metric_{name}", "BSD"))
    return served


def fetched(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "weights").iterdir())


def test_fetch_without_names_fetches_all_and_with_names_those(files, tmp_path: Path, capsys) -> None:
    assert run("weights", ["fetch", "second"], files) == 0
    assert fetched(tmp_path) == [files[1].file]
    assert run("weights", ["fetch"], files) == 0
    assert fetched(tmp_path) == [files[0].file, files[1].file]
    folder = tmp_path / "weights"
    assert capsys.readouterr().out.splitlines() == [
        f"second: {folder / files[1].file}",
        f"first: {folder / files[0].file}",
        f"second: already there, {folder / files[1].file}",
    ]


def test_list_says_what_each_is_for_its_licence_and_where_it_is(files, tmp_path: Path, capsys) -> None:
    run("weights", ["fetch", "second"], files)
    capsys.readouterr()
    assert run("weights", ["list"], files) == 0
    assert capsys.readouterr().out.splitlines() == [
        "first",
        f"  file      {files[0].file}, 1 MiB",
        "  used for  metric_first",
        "  licence   BSD",
        "  where     absent",
        "second",
        f"  file      {files[1].file}, 1 MiB",
        "  used for  metric_second",
        "  licence   BSD",
        f"  where     {tmp_path / 'weights' / files[1].file}",
        f"fetch writes to {tmp_path / 'weights'}",
    ]


def test_verify_finds_a_damaged_file_and_fetch_mends_it(files, tmp_path: Path, capsys) -> None:
    run("weights", ["fetch"], files)
    damaged = tmp_path / "weights" / files[0].file
    damaged.write_bytes(b"weights of fIrst")
    capsys.readouterr()
    with pytest.raises(UserError, match=r"^not correct: first; mend it with: lightning-codec weights fetch first$"):
        run("weights", ["verify"], files)
    assert capsys.readouterr().out.splitlines() == [
        f"first: damaged, {damaged}",
        f"second: correct, {tmp_path / 'weights' / files[1].file}",
    ]
    assert run("weights", ["fetch"], files) == 0
    assert run("weights", ["verify"], files) == 0


def test_an_absent_file_fails_verify_only_where_it_was_named(files, capsys) -> None:
    assert run("weights", ["verify"], files) == 0
    assert capsys.readouterr().out.splitlines() == ["first: absent", "second: absent"]
    with pytest.raises(UserError, match="not correct: second;"):
        run("weights", ["verify", "second"], files)


def test_the_command_knows_the_published_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_weights(monkeypatch, tmp_path)
    assert main(["weights", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith(" ")][:3] == ["alexnet", "vgg16", "inception"]
    assert sum("absent" in line for line in lines) == 3
    assert max(map(len, lines[:-1])) <= 100
    (tmp_path / "alexnet-owt-7be5be79.pth").write_bytes(b"not it")
    assert main(["weights", "verify"]) == 2
    assert capsys.readouterr().err.startswith("lightning-codec: error: not correct: alexnet; ")
    assert main(["weights", "fetch", "alexnett"]) == 2
    assert "'alexnett': the known ones are alexnet, vgg16, inception" in capsys.readouterr().err
