import hashlib
import json
import platform
import re
import socket
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch.utilities.exceptions import SIGTERMException
from PIL import Image

from lightning_codec.checkpoint import read_checkpoint
from lightning_codec.cli import main
from lightning_codec.commands.training import CodecCLI
from lightning_codec.commands.training_arguments import changes_since, essence
from lightning_codec.errors import UserError

NETWORK = """
channels: [8, 8, 8]
latent_channels: 8
analysis_units: 0
synthesis_units: 0
entropy: {hyper_channels: 4, channel_groups: single, global_context: false}
"""
EXPERIMENT = """
model:
  class_path: lightning_codec.modules.EntropyModelModule
  init_args:
    network: ../model/net.yaml
    lmbda: 0.01
data: {crop_size: 64, batch_size: 1, samples_per_epoch: 2, num_workers: 0, eval_sets: [photos]}
trainer: {max_steps: 3, accelerator: cpu, log_every_n_steps: 1, num_sanity_val_steps: 0}
"""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """experiment/exp.yaml, which names ../model/net.yaml, and one photograph of 80x64."""
    root = tmp_path_factory.mktemp("work")
    for folder in ("model", "experiment", "photos"):
        (root / folder).mkdir()
    (root / "model/net.yaml").write_text(NETWORK)
    (root / "experiment/exp.yaml").write_text(EXPERIMENT)
    Image.linear_gradient("L").resize((80, 64)).save(root / "photos/p.png")
    return root


@pytest.fixture(autouse=True)
def inside(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)


@pytest.fixture(scope="module")
def trained(workplace: Path) -> str:
    """The line that `fit` prints last. Three steps end in the middle of the second epoch, after no validation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workplace)
        printed: list[str] = []
        patch.setattr("builtins.print", lambda *words, **_: printed.append(" ".join(map(str, words))))
        assert main(["fit", "--config", "experiment/exp.yaml"]) == 0
    return printed[-1]


def config(version: str) -> dict[str, object]:
    content: dict[str, object] = yaml.safe_load(Path("runs", version, "config.yaml").read_text())
    return content


def init_args(version: str) -> dict[str, object]:
    return config(version)["model"]["init_args"]  # type: ignore[index,no-any-return]


def newest() -> str:
    return max(Path("runs").glob("version_*"), key=lambda path: int(path.name.removeprefix("version_"))).name


def test_fit_leaves_a_complete_run_folder_and_names_its_checkpoint(trained: str) -> None:
    assert trained == "checkpoint: runs/version_0/checkpoints/last.ckpt"
    checkpoint = torch.load("runs/version_0/checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 3
    names = {path.relative_to("runs/version_0").as_posix() for path in Path("runs/version_0").rglob("*.*")}
    files = {"config.yaml", "metrics.csv", "history.jsonl", "checkpoints/best.ckpt", "metrics/validate_photos.csv"}
    files |= {"manifest.json"}
    assert files | {"panels/photos/p_step-2.png"} <= names


def test_the_same_command_again_says_that_the_run_is_finished(trained: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(Path("runs").rglob("*"))
    assert main(["fit", "--config", "experiment/exp.yaml"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("runs/version_0: this run is finished (step 3)")
    assert sorted(Path("runs").rglob("*")) == before


def test_the_manifest_says_what_was_trained_with_what_and_repeats_it(
    trained: str, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = json.loads(Path("runs/version_0/manifest.json").read_text())
    assert manifest["configuration"] == config("version_0")
    assert manifest["finished"]["step"] == 3
    photos = Path("photos/p.png").stat().st_size
    digest = hashlib.sha256(f"p.png\0{photos}\n".encode()).hexdigest()
    assert manifest["data"] == {"train": {}, "evaluation": {"photos": {"files": 1, "bytes": photos, "sha256": digest}}}
    (start,) = manifest["starts"]
    assert (start["step"], start["seed"]) == (0, "0")
    assert start["versions"]["torch"] == torch.__version__
    assert start["versions"]["python"] == platform.python_version()
    (process,) = start["processes"]
    assert (process["host"], process["threads"]) == (socket.gethostname(), torch.get_num_threads())

    repeat = ["fit", "--from-manifest", "runs/version_0/manifest.json", "--trainer.default_root_dir", "repeated"]
    assert main(repeat) == 0
    weights = [torch.load(f"{run}/version_0/checkpoints/last.ckpt", weights_only=True) for run in ("runs", "repeated")]
    for name, value in weights[0]["state_dict"].items():
        assert torch.equal(value, weights[1]["state_dict"][name]), name
    capsys.readouterr()
    assert main(repeat) == 0
    assert "repeated/version_0: this run is finished" in capsys.readouterr().out
    assert main([*repeat, "--model.init_args.lmbda=0.5", "--trainer.max_steps=1"]) == 0
    changed = json.loads(Path("repeated/version_1/manifest.json").read_text())
    assert changed["configuration"]["model"]["init_args"]["lmbda"] == 0.5
    assert changed["repeats"] == str(Path("runs/version_0/manifest.json").absolute())


def test_settings_beat_the_checkpoint_and_what_they_change_is_said(
    trained: str, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = "runs/version_0/checkpoints/last.ckpt"
    root = ["--trainer.default_root_dir", "longer"]
    arguments = [*root, "--model.init_args.optimizer.lr", "1e-5", "--trainer.max_steps", "4"]
    assert main(["fit", "--config", "experiment/exp.yaml", "--ckpt_path", checkpoint, *arguments]) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("changed since the checkpoint: ")]
    assert {line.removeprefix("changed since the checkpoint: ") for line in said} == {
        'trainer.default_root_dir: "runs" -> "longer"',
        "trainer.max_steps: 3 -> 4",
        "model.init_args.optimizer.lr: 0.001 -> 1e-05",
    }
    state = torch.load("longer/version_0/checkpoints/last.ckpt", weights_only=True)
    assert state["global_step"] == 4
    assert {group["initial_lr"] for group in state["optimizer_states"][0]["param_groups"]} == {1e-5}
    assert {group["lr"] for group in state["optimizer_states"][0]["param_groups"]} == {1e-5 * (5 / 200)}
    # the numbers of the steps before are there as well
    rows = Path("longer/version_0/metrics.csv").read_text().splitlines()
    assert [row.split(",")[:2] for row in rows if row.split(",")[3]] == [
        ["epoch", "step"], ["0", "0"], ["0", "1"], ["1", "2"], ["1", "3"]
    ]  # fmt: skip


def test_without_a_recorded_configuration_the_model_is_compared(trained: str) -> None:
    checkpoint = read_checkpoint("runs/version_0/checkpoints/last.ckpt")
    assert changes_since(checkpoint, config("version_0")) == []
    old = checkpoint._replace(configuration={})
    assert changes_since(old, config("version_0")) == []
    changed = config("version_0")
    changed["model"]["init_args"]["lmbda"] = 0.5  # type: ignore[index]
    assert changes_since(old, changed) == ["model.init_args.lmbda: 0.01 -> 0.5"]


def test_a_network_is_read_from_a_file_named_relative_to_the_experiment(trained: str) -> None:
    network = init_args("version_0")["network"]
    assert network["channels"] == [8, 8, 8]  # type: ignore[index]
    assert network["entropy"]["channel_groups"] == "single"  # type: ignore[index]


def test_a_checkpoint_is_tested_without_any_configuration_of_the_model(trained: str) -> None:
    checkpoint = "--ckpt_path=runs/version_0/checkpoints/last.ckpt"
    more = ["--data.eval_sets", "[photos]", "--frechet.test", "[frechet_vgg64]", "--trainer.accelerator", "cpu"]
    assert main(["test", checkpoint, *more]) == 0
    version = newest()
    assert version != "version_0"
    assert init_args(version) == init_args("version_0")
    metrics = Path("runs", version, "metrics")
    assert (metrics / "test_photos.csv").is_file()
    distances = json.loads((metrics / "test_photos_perceptual.json").read_text())
    assert distances["header"]["step"] == 3
    assert set(distances["header"]["protocol"]) == {"stlpips_alex", "stlpips_vgg"}
    assert distances["images"]["p.png"]["stlpips_alex"] > 0
    sets = json.loads((metrics / "test_photos_sets.json").read_text())
    assert sets["distances"]["frechet_vgg64"]["n_real"] == 1  # an image of 80 x 64
    assert sets["distances"]["frechet_vgg64"]["reason"]


def test_what_cannot_be_had_is_absent_and_the_test_goes_on(
    trained: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("LIGHTNING_CODEC_WEIGHTS", "TORCH_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    arguments = ["--ckpt_path", "runs/version_0/checkpoints/last.ckpt", "--data.eval_sets", "[photos]"]
    wanted = ["--perceptual.test", "[lpips_alex, psnr]", "--frechet.test", "[fid256]", "--trainer.accelerator", "cpu"]
    with pytest.warns(UserWarning, match="(lpips_alex|fid256) is absent at test"):
        assert main(["test", *arguments, *wanted]) == 0
    metrics = Path("runs", newest(), "metrics")
    distances = json.loads((metrics / "test_photos_perceptual.json").read_text())
    sets = json.loads((metrics / "test_photos_sets.json").read_text())
    for reason in (distances["header"]["absent"]["lpips_alex"], sets["absent"]["fid256"]):
        assert "lightning-codec weights fetch" in reason
    assert distances["images"]["p.png"]["psnr"] > 0


def test_the_command_line_wins_over_the_checkpoint(trained: str) -> None:
    arguments = ["validate", "--ckpt_path", "runs/version_0/checkpoints/last.ckpt", "--data.eval_sets", "[photos]"]
    assert main([*arguments, "--model.init_args.lmbda", "0.5", "--trainer.accelerator", "cpu"]) == 0
    assert init_args(newest()) == {**init_args("version_0"), "lmbda": 0.5}


def test_predict_writes_files_that_the_same_checkpoint_decompresses(trained: str) -> None:
    checkpoint = "runs/version_0/checkpoints/last.ckpt"
    arguments = ["--data.predict_inputs", "[photos/p.png]", "--lcb_writer.output_dir", "coded"]
    assert main(["predict", "--ckpt_path", checkpoint, *arguments, "--trainer.accelerator", "cpu"]) == 0
    assert main(["decompress", "coded", "-o", "decoded", "--model", checkpoint]) == 0
    (image,) = Path("decoded").rglob("*.png")
    with Image.open(image) as picture:
        assert picture.size == (80, 64)


def test_weights_that_do_not_fit_are_counted_on_one_line(trained: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["test", "--ckpt_path", "runs/version_0/checkpoints/last.ckpt", "--data.eval_sets", "[photos]"]
    assert main([*arguments, "--model.init_args.network.latent_channels", "16", "--trainer.accelerator", "cpu"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r"error: the checkpoint's weights do not fit the configured model \(\d+ differences\)", error)


def test_a_trial_run_leaves_no_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--trainer.fast_dev_run", "true", "--trainer.default_root_dir", "trial"]
    assert main(["fit", "--config", "experiment/exp.yaml", *options]) == 0
    assert "checkpoint:" not in capsys.readouterr().out
    assert not list(Path("trial").rglob("*.ckpt"))


def test_a_terminated_training_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    def terminate(*_: object) -> None:
        raise SIGTERMException

    monkeypatch.setattr(CodecCLI, "_run_subcommand", terminate)
    assert main(["fit", "--config", "experiment/exp.yaml"]) == 143


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trainer.max_step", "3"], "--trainer.max_step"),
        (["--trainr.max_steps", "3"], "--trainr.max_steps"),
        (["--model.init_args.network.entropy.windw", "4"], "windw"),
        (["--model.lmda", "4"], "Option 'lmda' is not accepted"),
        (["--model.init_args.lmbda", "much"], "much"),
        (["--model.init_args.network", "model/none.yaml"], "model/none.yaml"),
        (["--model.init_args.network.entropy.window", "5"], "configuration: window is 5: it must be even"),
        (["--config", "none.yaml"], "none.yaml"),
        (["--config", "typo.yaml"], "does not accept option 'modle'"),
        (["--data.train_folders", "[nowhere]"], "nowhere: no such folder"),
        (["--data.eval_sets", "[nowhere]"], "nowhere"),
        (["--ckpt_path", "none.ckpt"], "none.ckpt: no such checkpoint"),
        (["--ckpt_path", "typo.yaml"], "typo.yaml: not a readable checkpoint"),
        (["--ckpt_path", "foreign.ckpt"], "foreign.ckpt: a checkpoint of another program"),
        (["--trainer.default_root_dir", "typo.yaml"], "typo.yaml"),
        (["--trainer.accelerator", "gpu"], "configuration: No supported gpu"),
        (["--perceptual.test", "[lpips]"], "perceptual.test"),
        (["--trainer.logger", "false", "--wandb.mode", "offline"], "wandb.mode is offline: it needs the folder"),
        (["--wandb.mode", "sometimes"], "wandb.mode"),
        (["--checkpoint.save_last", "true"], "checkpoint.save_last: last.ckpt is written anyway"),
        (["--checkpoint.save_top_k", "2"], "all would be called best.ckpt"),
        (["--last.every_n_steps", "0"], "last.every_n_steps is 0"),
        (["--from-manifest", "none.json"], "none.json: no such file"),
        (["--from-manifest", "typo.yaml"], "typo.yaml: not the manifest of a run"),
        (["--from-manifest"], "expected one argument"),
    ],
)
def test_what_is_wrong_is_one_line(
    arguments: list[str], message: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workplace / "typo.yaml").write_text("modle: 3")
    torch.save({"state_dict": {}}, workplace / "foreign.ckpt")
    assert main(["fit", "--config", "experiment/exp.yaml", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("lightning-codec: error: ")
    assert message in lines[-1]
    assert len(lines[-1]) < 300
    assert not any("Traceback" in line or "usage" in line for line in lines)


def test_a_model_is_required_where_no_checkpoint_names_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate"]) == 2
    assert "validate.model" in capsys.readouterr().err.splitlines()[-1]


def test_the_essence_of_a_long_message_is_kept() -> None:
    long = ValueError(
        'Parser key "a":\n  Does not validate against any of the Union subtypes\n  Subtypes: [X, None]\n  Errors:\n'
        "    - Option 'b' is not accepted\n    - Expected a <class 'NoneType'>\n  Given value type: x\n  Given value: y"
    )
    assert essence(long) == "Parser key \"a\": Option 'b' is not accepted"
    assert essence(UserError("as it is")) == "as it is"
