import csv
import json
import sys
from pathlib import Path

import pytest

from lightning_codec.cli import main
from lightning_codec.cluster.grid import Axis
from lightning_codec.cluster.sweep import Sweep, collect, run_here
from lightning_codec.errors import UserError
from tests.cluster.job import write_config

# Stands for the program: notes how it was called, and does what `fit` and `test` leave behind.
FAKE = """
import json, os, sys
from pathlib import Path
command, *arguments = sys.argv[1:]
value = {word.partition("=")[0]: word.partition("=")[2] for word in arguments}
root = Path(value["--trainer.default_root_dir"])
with open("calls.txt", "a") as calls:
    print(command, value["--lmbda"], os.environ["OMP_NUM_THREADS"], file=calls)
if command == "fit":
    (root / "version_0/checkpoints").mkdir(parents=True, exist_ok=True)
    (root / "version_0/checkpoints/last.ckpt").touch()
    sys.exit(int(os.path.exists(f"fail-{value['--lmbda']}")))
assert value["--ckpt_path"] == str(root.parent / "version_0/checkpoints/last.ckpt")
metrics = root / "version_0/metrics"
metrics.mkdir(parents=True)
means = {"dataset": "kodak", "images": 24, "bpp": float(value["--lmbda"]), "psnr": None}
(metrics / "test_kodak.json").write_text(json.dumps({"header": {"trained_parameters": 7, "means": means}}))
if value["--lmbda"] == "2":
    (metrics / "test_kodak_perceptual.json").write_text(json.dumps({"header": {"means": {"stlpips_vgg": 0.5}}}))
    distances = {"frechet_vgg64": {"value": 7.5}}
    (metrics / "test_kodak_sets.json").write_text(json.dumps({"distances": distances}))
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    (tmp_path / "fake.py").write_text(FAKE)
    return sys.executable, "fake.py"


def sweep(*values: str, arguments: tuple[str, ...] = ("--x=1",)) -> Sweep:
    return Sweep(Path("rates").absolute(), arguments, (Axis("lmbda", values),))


def calls() -> list[str]:
    path = Path("calls.txt")
    lines = sorted(path.read_text().splitlines()) if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def test_members_run_until_they_are_finished_and_not_again(program: tuple[str, ...]) -> None:
    Path("fail-2").touch()
    ended = {run.member.name: run.failure for run in run_here(sweep("1", "2"), program, 2)}
    log = Path("rates").absolute() / "lmbda=2" / "fit.log"
    assert ended == {"lmbda=1": None, "lmbda=2": f"fit has ended with exit code 1, see {log}"}
    assert calls() == ["fit 1 4", "fit 2 4", "test 1 4"]
    path, missing = collect(sweep("1", "2"))
    assert missing == ["lmbda=2"]
    assert list(csv.reader(path.open())) == [
        ["member", "lmbda", "set", "trained_parameters", "images", "bpp", "psnr"],
        ["lmbda=1", "1", "kodak", "7", "24", "1.0", ""],
    ]
    Path("fail-2").unlink()
    assert [run.failure for run in run_here(sweep("1", "2", "3"), program, 1)] == [None, None]
    assert calls() == ["fit 2 8", "fit 3 8", "test 2 8", "test 3 8"]
    path, missing = collect(sweep("1", "2", "3"))
    assert missing == []
    assert list(csv.reader(path.open()))[:3] == [
        ["member", "lmbda", "set", "trained_parameters", "images", "bpp", "psnr", "stlpips_vgg", "frechet_vgg64"],
        ["lmbda=1", "1", "kodak", "7", "24", "1.0", "", "", ""],
        ["lmbda=2", "2", "kodak", "7", "24", "2.0", "", "0.5", "7.5"],
    ]


def test_a_folder_belongs_to_one_sweep_whose_grid_may_grow(program: tuple[str, ...]) -> None:
    sweep("1").begin()
    sweep("1", "2").begin()
    assert Sweep.read(Path("rates").absolute()) == sweep("1", "2")
    with pytest.raises(UserError, match=r"holds a sweep with other arguments \(--x=1\)"):
        sweep("1", arguments=("--x=2",)).begin()
    with pytest.raises(UserError, match="no sweep was begun"):
        Sweep.read(Path("elsewhere"))


def test_the_command_writes_an_array_of_what_is_not_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path)
    monkeypatch.chdir(tmp_path)
    done = tmp_path / "rates" / "lmbda=0.02"
    done.mkdir(parents=True)
    (done / "FINISHED").touch()
    arguments = ["sweep", "-o", "rates", "--config", str(config), "--set", "model.init_args.lmbda=0.01,0.02,0.03"]
    against = ["--against", "model.init_args.lmbda=0.02"]
    assert main([*arguments, "--slurm", "--nodes", "2", *against]) == 0
    printed = capsys.readouterr().out
    assert "3 members, 1 of them finished already" in printed
    assert "lightning-codec sweep -o rates --collect --against model.init_args.lmbda=0.02\n" in printed
    script = (tmp_path / "rates/slurm/job.sh").read_text()
    assert "#SBATCH --array=0,2\n" in script
    assert "    2) member=lmbda=0.03; settings=(--model.init_args.lmbda=0.03) ;;" in script
    assert json.loads((tmp_path / "rates/sweep.json").read_text()) == {
        "arguments": ["--config", str(config)],
        "axes": {"model.init_args.lmbda": ["0.01", "0.02", "0.03"]},
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to sweep: give --set"),
        (["--set", "model.init_args.lmda=1,2"], "lmda"),
        (["--set", "seed_everything=0,1", "--trainer.default_root_dir", "x"], "each member has a folder below -o"),
        (["--slurm", "--collect"], "not allowed with"),
        (["--collect"], "no sweep was begun"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", "-o", "rates", "--config", str(write_config(tmp_path)), *arguments]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not Path("rates").exists()


@pytest.mark.slow
def test_a_grid_is_trained_tested_and_tabulated_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write_config(tmp_path)
    monkeypatch.chdir(tmp_path)
    arguments = ["--config", str(config), "--trainer.max_steps=1", "--perceptual.test=[]", "--frechet.test=[]"]
    command = ["sweep", "-o", "rates", *arguments, "--set", "model.init_args.lmbda=0.01,0.02", "--local", "2"]
    assert main(command) == 0
    rows = list(csv.DictReader((tmp_path / "rates/rd.csv").open()))
    assert [(row["member"], row["set"]) for row in rows] == [
        ("lmbda=0.01", "dead_leaves"),
        ("lmbda=0.02", "dead_leaves"),
    ]
    for row in rows:
        metrics = tmp_path / "rates" / row["member"] / "test/version_0/metrics/test_dead_leaves.json"
        means = json.loads(metrics.read_text())["header"]["means"]
        assert float(row["bpp"]) == means["bpp"] > 0
        assert float(row["psnr"]) == means["psnr"]
