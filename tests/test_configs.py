"""Every configuration that is shipped can be read, makes a model, and trains."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import torch
import yaml
from torchvision.utils import save_image

from lightning_codec.checkpoint import from_plain, to_plain
from lightning_codec.cli import main
from lightning_codec.codec import Codec
from lightning_codec.commands.resolved import fit_configuration
from lightning_codec.diffusion.denoiser import Denoiser, DenoiserConfig
from lightning_codec.model import CompressionModel, NetworkConfig

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
EXPERIMENTS = sorted((CONFIGS / "experiment").glob("*.yaml"))
PRESETS = sorted((CONFIGS / "model").glob("*.yaml"))
ABLATION = CONFIGS / "experiment" / "ablation"
ENTROPY_MODELS = sorted((ABLATION / "entropy").glob("*.yaml"))
ABLATED_DECODERS = sorted((ABLATION / "decoder").glob("*.yaml"))
DECODERS = sorted((CONFIGS / "decoder").glob("*.yaml"))
# Stacked on an experiment: how and where it trains, on what, and where it is logged.
LAYERS = [path for folder in ("trainer", "cluster", "data", "logger") for path in sorted((CONFIGS / folder).glob("*"))]


def test_every_configuration_is_tested_here() -> None:
    tested = {*EXPERIMENTS, *PRESETS, *DECODERS, *LAYERS, CONFIGS / "quickstart.yaml"}
    tested |= {*ENTROPY_MODELS, *ABLATED_DECODERS, ABLATION / "entropy.yaml", ABLATION / "decoder.yaml"}
    tested |= {*ABLATION.glob("entropy_*.csv"), *ABLATION.glob("decoder_*.csv")}  # cluster/test_ablation_results.py
    assert tested == {path for path in CONFIGS.rglob("*") if path.is_file()}


def preset(path: Path) -> NetworkConfig:
    return from_plain(NetworkConfig, yaml.safe_load(path.read_text()))


def preset_of_decoder(path: Path) -> DenoiserConfig:
    return from_plain(DenoiserConfig, yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_presets_have_the_stated_widths_and_run(path: Path) -> None:
    expected = {
        "tiny": ((24, 32, 48), (2, 2, 4, 8, 24), 16, 4, 1),
        "small": ((48, 64, 96), (4, 4, 8, 16, 48), 48, 4, 1),
        "base": ((96, 128, 160), (8, 8, 16, 32, 96), 96, 8, 2),
        "paper": ((192, 192, 192), (16, 16, 32, 64, 192), 192, 8, 2),
        "photo": ((48, 64, 96), (10, 10, 20, 38, 114), 48, 4, 1),
    }[path.stem]
    config = preset(path)
    model = CompressionModel(config).eval()
    entropy = config.entropy
    assert (config.channels, model.entropy.widths, entropy.hyper_channels, entropy.window, entropy.blocks) == expected
    with torch.no_grad():
        assert torch.isfinite(model(torch.rand(1, 3, 64, 64)).x_hat).all()


@pytest.mark.parametrize("path", ENTROPY_MODELS, ids=lambda path: path.stem)
def test_entropy_models_of_the_ablation_are_of_one_size_and_fit_the_same_transforms(path: Path) -> None:
    config, photo = preset(path), preset(CONFIGS / "model" / "photo.yaml")
    model, whole = CompressionModel(config), CompressionModel(photo)
    sizes = [sum(p.numel() for p in network.entropy.parameters()) for network in (model, whole)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.02)
    model.g_a.load_state_dict(whole.g_a.state_dict())
    model.g_s.load_state_dict(whole.g_s.state_dict())


def test_the_ablation_has_every_part_once() -> None:
    models = {path.stem: preset(path).entropy for path in ENTROPY_MODELS}
    whole = models["global_laplacian"]
    assert whole == preset(CONFIGS / "model" / "photo.yaml").entropy
    differing = {
        name: {f.name for f in fields(entropy) if getattr(entropy, f.name) != getattr(whole, f.name)}
        for name, entropy in models.items()
    }
    one_pass = {"checkerboard", "local_context", "global_context", "hyper_channels"}
    assert differing == {
        "hyperprior": {"channel_groups", *one_pass},
        "even": {"channel_groups", *one_pass},
        "uneven": one_pass,
        "local": {"global_context", "hyper_channels"},
        "global_none": {"position_bias"},
        "global_learned": {"position_bias"},
        "global_shared": {"position_bias"},
        "global_laplacian": set(),
        "window_8": {"window"},
    }


def test_the_ablation_trains_the_entropy_model_alone(tmp_path: Path) -> None:
    transforms = train_two_steps(CONFIGS / "quickstart.yaml", tmp_path / "codec")
    photos = tmp_path / "photos"
    photos.mkdir()
    save_image(torch.rand(3, 96, 96), photos / "a.png")
    folders = f"[{photos}]"
    more = ["--data.train_folders", folders, "--data.eval_sets", folders]
    more += ["--model.init_args.network", str(CONFIGS / "model" / "tiny.yaml")]
    more += ["--model.init_args.transforms_from", str(transforms)]
    trained = train_two_steps(ABLATION / "entropy.yaml", tmp_path / "run", *more)
    before, after = (torch.load(path, weights_only=True)["state_dict"] for path in (transforms, trained))
    same = {name.split(".")[1] for name, value in after.items() if torch.equal(value, before[name])}
    assert {"g_a", "g_s"} <= same
    changed = {name.split(".")[1] for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {"entropy"}


def test_the_ablation_of_the_decoder_has_every_choice_once() -> None:
    decoders = {path.stem: preset_of_decoder(path) for path in ABLATED_DECODERS}
    assert decoders["blur_4"] == preset_of_decoder(CONFIGS / "decoder" / "tiny.yaml")
    assert {name: (decoder.schedule.sigma_blur_max, decoder.prediction) for name, decoder in decoders.items()} == {
        "isotropic": (0.0, "x"),
        "blur_1": (1.0, "x"),
        "blur_4": (4.0, "x"),
        "blur_20": (20.0, "x"),
        "epsilon": (4.0, "epsilon"),
        "velocity": (4.0, "v"),
    }
    assert len({(decoder.unet, decoder.texture_map) for decoder in decoders.values()}) == 1


@pytest.mark.parametrize("path", [path for path in ABLATED_DECODERS if path.stem in ("isotropic", "epsilon")])
def test_the_ablation_of_the_decoder_changes_one_thing(path: Path, tmp_path: Path) -> None:
    codec = train_two_steps(CONFIGS / "quickstart.yaml", tmp_path / "codec")
    photos = tmp_path / "photos"
    photos.mkdir()
    save_image(torch.rand(3, 96, 96), photos / "a.png")
    more = ["--config", str(ABLATION / "decoder.yaml"), "--trainer.max_steps", "2"]  # which the file would set anew
    more += ["--data.train_folders", f"[{photos}]", "--data.eval_sets", f"[{photos}]"]
    more += ["--model.init_args.codec", str(codec)]
    whole = CONFIGS / "experiment" / "photo_decoder.yaml"
    trained = train_two_steps(whole, tmp_path / "run", *more, "--model.init_args.decoder", str(path))
    record = torch.load(trained, weights_only=True)["lightning_codec"]["init_args"]
    given = yaml.safe_load(whole.read_text())["model"]["init_args"]
    changes = {"rollout": 0, "perceptual_images": 4, "t_max": 0.3}
    assert record["loss"] == {**record["loss"], **given["loss"], **changes}
    changes = {"t_start": 0.25, "colour": 1.0, "chroma": 1.0}
    assert record["sampling"] == {**record["sampling"], **given["sampling"], **changes}
    assert record["decoder"] == to_plain(preset_of_decoder(path))
    codec.unlink()  # the checkpoint of the decoder has it
    more += ["--model.init_args.start_from", "gone.ckpt"]  # nor does it matter what its training began with
    more += ["--data.test_sets", f"[{photos}]", "--perceptual.test", "[]", "--model.init_args.decoder", str(path)]
    assert main(["test", "--config", str(whole), *more, "--ckpt_path", str(trained)]) == 0


@pytest.mark.parametrize("path", DECODERS, ids=lambda path: path.stem)
def test_decoder_presets_have_the_stated_widths_and_run(path: Path) -> None:
    expected = {
        "tiny": ((48, 64, 96, 128), 1, 2, False, "x", 4.0),
        "photo": ((48, 64, 96, 128), (1, 2, 2, 1), 2, False, "x", 20.0),
        "small": ((32, 64, 96, 128, 128, 128), 2, 1, True, "x", 4.0),
        "base": ((48, 96, 144, 192, 240, 288), 2, 1, True, "x", 4.0),
        "paper": ((64, 128, 192, 256, 320, 384), 2, 1, True, "epsilon", 20.0),
    }[path.stem]
    config = preset_of_decoder(path)
    unet, blur = config.unet, config.schedule.sigma_blur_max
    assert (unet.channels, unet.units, unet.patch, unet.attention, config.prediction, blur) == expected
    ladder = [torch.rand(1, c, s, s) for c, s in ((3, 64), (8, 32), (12, 16), (16, 8))]
    with torch.no_grad():
        estimate = Denoiser(config, (8, 12, 16))(torch.rand(1, 3, 64, 64), torch.tensor([0.1]), ladder)
    assert estimate.x_hat.shape == (1, 3, 64, 64)
    assert torch.isfinite(estimate.x_hat).all()


def train_two_steps(config: Path, folder: Path, *more: str) -> Path:
    arguments = ["--config", str(config), "--trainer.max_steps", "2", "--trainer.default_root_dir", str(folder)]
    arguments += ["--trainer.accelerator", "cpu", "--trainer.precision", "32-true", "--data.num_workers", "0"]
    arguments += ["--data.batch_size", "1", "--data.samples_per_epoch", "2", "--data.crop_size", "64"]
    assert main(["fit", *arguments, "--data.eval_limit", "1", "--trainer.num_sanity_val_steps", "0", *more]) == 0
    return folder / "version_0" / "checkpoints" / "last.ckpt"


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_trains(path: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    save_image(torch.rand(3, 96, 96), photos / "a.png")
    folders = f"[{photos}]"
    more = ["--data.train_folders", folders, "--data.eval_sets", folders]
    if "paper" in path.stem:  # the size of the codec is tested above
        more += ["--model.init_args.network", str(CONFIGS / "model" / "tiny.yaml")]
    if path.stem == "paper_diffusion":  # the weights of LPIPS would be downloaded; 500 steps take minutes
        more += ["--model.init_args.loss.perceptual", "none", "--model.init_args.sampling.steps", "2"]
    if path.stem == "photo_decoder":
        codec = train_two_steps(CONFIGS / "quickstart.yaml", tmp_path / "codec")
        more += ["--model.init_args.codec", str(codec)]
    checkpoint = train_two_steps(path, tmp_path / "run", *more)
    record = torch.load(checkpoint, weights_only=True)["lightning_codec"]["init_args"]
    given = yaml.safe_load(path.read_text())["model"]["init_args"]
    assert record["optimizer"]["lr"] == given["optimizer"]["lr"]
    assert {name: record[name] for name in ("lmbda", "train_codec") if name in given} == {
        name: given[name] for name in ("lmbda", "train_codec") if name in given
    }


def test_the_quickstart_trains_tests_and_writes_pictures(tmp_path: Path) -> None:
    config = CONFIGS / "quickstart.yaml"
    checkpoint = train_two_steps(config, tmp_path)
    arguments = ["--config", str(config), "--ckpt_path", str(checkpoint), "--trainer.default_root_dir", str(tmp_path)]
    assert main(["test", *arguments, "--trainer.limit_test_batches", "1"]) == 0
    folder = tmp_path / "version_1"
    (coded,) = (folder / "reconstructions" / "dead_leaves").glob("*.lcb")
    rows = (folder / "metrics" / "test_dead_leaves.csv").read_text().splitlines()
    header, row = (line.split(",") for line in rows)
    assert int(row[header.index("bytes")]) == coded.stat().st_size
    assert Codec.load(checkpoint).decompress(coded.read_bytes()).shape == (3, 256, 256)


DDP = "ddp_find_unused_parameters_false"
ON_THIS_MACHINE = [
    "--trainer.accelerator=cpu",
    "--trainer.devices=1",
    "--trainer.num_nodes=1",
    "--trainer.precision=32-true",
]


@pytest.fixture
def alone() -> Iterator[None]:
    """Take back what DDP leaves behind in this process: its process group, and where that was to be found."""
    before = dict(os.environ)
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("path", LAYERS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_layer_on_an_experiment_trains(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the loggers' folder is given from here
    (tmp_path / "photos").mkdir()
    save_image(torch.rand(3, 96, 96), tmp_path / "photos" / "a.png")
    photos = ["--data.train_folders", "[photos]", "--data.eval_sets", "[photos]"] if path.stem == "photos" else []
    train_two_steps(CONFIGS / "quickstart.yaml", tmp_path / "run", "--config", str(path), *ON_THIS_MACHINE, *photos)
    root = tmp_path / ("runs" if path.stem in ("csv", "tensorboard") else "run")
    checkpoint = torch.load(root / "version_0" / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cpu", ("cpu", 1, 1, "32-true", "auto")),
        ("gpu", ("gpu", 1, 1, "bf16-mixed", "auto")),
        ("ddp", ("auto", "auto", 1, None, DDP)),
        ("multinode", ("auto", "auto", 2, None, DDP)),
    ],
)
def test_trainers_ask_for_what_their_names_say(name: str, expected: tuple[object, ...]) -> None:
    files = (CONFIGS / "quickstart.yaml", CONFIGS / "trainer" / f"{name}.yaml")
    trainer = fit_configuration([word for file in files for word in ("--config", str(file))]).trainer
    asked = (trainer.accelerator, trainer.devices, trainer.num_nodes, trainer.precision, trainer.strategy)
    assert asked == expected


@pytest.mark.slow
def test_ddp_trains_in_two_processes(tmp_path: Path) -> None:
    """As `fit` in a shell: Lightning starts the second process by the command line of the first."""
    files = (CONFIGS / "quickstart.yaml", CONFIGS / "trainer" / "ddp.yaml")
    more = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.max_steps=2", "--data.batch_size=1"]
    more += ["--data.samples_per_epoch=4", "--data.crop_size=64", "--data.eval_limit=1"]
    command = [sys.executable, "-m", "lightning_codec", "fit", *(f"--config={file}" for file in files), *more]
    result = subprocess.run(
        [*command, f"--trainer.default_root_dir={tmp_path}"], capture_output=True, text=True, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert "global batch 2 = processes 2 x batch_size 1 x accumulate_grad_batches 1" in result.stdout
    assert torch.load(tmp_path / "version_0/checkpoints/last.ckpt", weights_only=True)["global_step"] == 2
    assert [path.name for path in tmp_path.glob("version_*")] == ["version_0"]


@pytest.mark.parametrize(
    ("setting", "read"),
    [
        ("entropy.position_bias=learned", lambda n: n["entropy"]["position_bias"] == "learned"),
        ("entropy.global_context=false", lambda n: n["entropy"]["global_context"] is False),
        ("entropy.local_context=false", lambda n: n["entropy"]["local_context"] is False),
        ("entropy.channel_groups=even", lambda n: n["entropy"]["channel_groups"] == "even"),
        ("entropy.channel_groups=[10,30]", lambda n: n["entropy"]["channel_groups"] == [10, 30]),
        ("entropy.checkerboard=false", lambda n: n["entropy"]["checkerboard"] is False),
        ("latent_residual_prediction=true", lambda n: n["latent_residual_prediction"] is True),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_part_is_switched_by_one_value(setting: str, read, tmp_path: Path) -> None:
    checkpoint = train_two_steps(CONFIGS / "quickstart.yaml", tmp_path, f"--model.init_args.network.{setting}")
    assert read(torch.load(checkpoint, weights_only=True)["lightning_codec"]["init_args"]["network"])
    image = torch.rand(3, 30, 50)
    codec = Codec.load(checkpoint)
    encoded = codec.encode(image)
    assert torch.equal(codec.decode(encoded.data).y_hat, encoded.y_hat)
