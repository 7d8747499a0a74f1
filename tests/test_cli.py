import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from lightning_codec import __version__, cli
from lightning_codec.cli import COMMANDS, main
from lightning_codec.errors import UserError


def test_help_lists_every_command_and_each_has_its_module(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for command in COMMANDS:
        assert any(line.split() == [command.name, *command.summary.split()] for line in lines)
        assert find_spec(f"lightning_codec.commands.{command.module}")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"lightning-codec {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no command given; see lightning-codec --help"),
        (["comprss", "x"], "unknown command 'comprss'; the commands are fit, validate, "),
        (["info"], "the following arguments are required: FILE; see lightning-codec info --help"),
        (["info", "x", "--jsn"], "unrecognized arguments: --jsn; see lightning-codec info --help"),
        (["compress", "x", "-o", "y", "--forc"], "unrecognized arguments: --forc; see "),
    ],
)
def test_a_wrong_call_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"lightning-codec: error: {message}")
    assert err.count("\n") == 1


OURS = [
    "compress",
    "decompress",
    "info",
    "models",
    "weights",
    "wandb-sync",
    "evaluate",
    "compare",
    "preflight",
    "slurm",
    "sweep",
]


@pytest.mark.parametrize("command", OURS)
def test_every_command_of_ours_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"example:\n  lightning-codec {command} " in out
    assert max(map(len, out.split("example:")[0].splitlines())) <= 80


def interrupted_and_tidied_up() -> None:
    """What Lightning does after Ctrl-C."""
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        sys.exit(1)


def fail(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("action", "code", "message"),
    [
        (lambda: fail(KeyboardInterrupt()), 130, ""),
        (interrupted_and_tidied_up, 130, ""),
        (lambda: fail(SystemExit(0)), 0, ""),
        (lambda: fail(SystemExit()), 0, ""),
        (lambda: fail(SystemExit(3)), 3, ""),
        (lambda: fail(UserError("two\n  lines")), 2, "lightning-codec: error: two lines\n"),
        (
            lambda: fail(PermissionError(13, "Permission denied", "f")),
            2,
            "lightning-codec: error: f: Permission denied\n",
        ),
        (lambda: fail(OSError("plain")), 2, "lightning-codec: error: plain\n"),
    ],
)
def test_how_a_command_ends_is_the_exit_code(
    action: object, code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "_dispatch", lambda _: action())  # type: ignore[operator]
    assert main([]) == code
    assert capsys.readouterr().err == message


def test_a_traceback_only_for_those_who_ask(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LIGHTNING_CODEC_DEBUG", "1")
    assert main(["nothing"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.splitlines()[-1].startswith("lightning-codec: error: unknown command")


def run(*arguments: str, code: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    start = ["-m", "lightning_codec"] if code is None else ["-c", code]
    environment = {**os.environ, **variables}
    return subprocess.run([sys.executable, *start, *arguments], capture_output=True, text=True, env=environment)


def test_the_program_itself_ends_with_one_line_and_code_2(tmp_path: Path) -> None:
    result = run("info", str(tmp_path / "none.lcb"))
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == f"lightning-codec: error: {tmp_path / 'none.lcb'}: No such file or directory\n"


def test_a_wrong_checkpoint_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.ckpt").write_bytes(b"text")
    (tmp_path / "x.lcb").write_bytes(b"LCB")
    for checkpoint in ("x.ckpt", "none.ckpt"):
        options = ["-o", str(tmp_path / "x.png"), "--model", str(tmp_path / checkpoint)]
        assert main(["decompress", str(tmp_path / "x.lcb"), *options]) == 2
        err = capsys.readouterr().err
        assert err.startswith(f"lightning-codec: error: {tmp_path / checkpoint}: ")
        assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["info", "--help"],
        ["compress", "--help"],
        ["slurm", "--help"],
        ["sweep", "--help"],
        ["comprss"],
        ["models", "list"],
        ["models", "export", "--help"],
    ],
)
def test_what_needs_no_network_loads_none(arguments: list[str]) -> None:
    code = (
        "import sys; from lightning_codec.cli import main; main(sys.argv[1:]); "
        "print({'torch', 'numpy', 'lightning', 'compressai', 'rich'} & set(sys.modules))"
    )
    assert run(*arguments, code=code).stdout.splitlines()[-1] == "set()"
