"""`predict` on the command line, with real files of a tiny model: what `compress` and `decompress` write."""

from pathlib import Path

import pytest
import torch

from lightning_codec.cli import main
from lightning_codec.codec import Codec
from lightning_codec.diffusion.sampling import SamplingConfig
from lightning_codec.images import write_png
from lightning_codec.modules import DiffusionDecoderModule, DiffusionLossConfig, EntropyModelModule
from tests.test_codec import picture
from tests.tiny import TINY_DENOISER, TINY_NETWORK, tiny_compression_model, tiny_denoiser

NAMES = ("a.png", "sub/b.png", "sub/c.png")


def write_checkpoint(module: EntropyModelModule | DiffusionDecoderModule, path: Path) -> None:
    module.model.load_state_dict(tiny_compression_model().state_dict())
    checkpoint = {"state_dict": module.state_dict(), "epoch": 0, "global_step": 0, "pytorch-lightning_version": "2.5.0"}
    module.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, path)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """codec.ckpt, model.ckpt with a diffusion decoder, three pictures in photos/ and their files in coded/."""
    folder = tmp_path_factory.mktemp("inputs")
    write_checkpoint(EntropyModelModule(TINY_NETWORK, lmbda=0.01), folder / "codec.ckpt")
    module = DiffusionDecoderModule(
        network=TINY_NETWORK,
        decoder=TINY_DENOISER,
        loss=DiffusionLossConfig(rho=0.0, perceptual="none"),
        sampling=SamplingConfig(steps=2),
        train_codec=True,
    )
    module.ema.module.load_state_dict(tiny_denoiser().state_dict())
    write_checkpoint(module, folder / "model.ckpt")
    for i, name in enumerate(NAMES):
        (folder / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        write_png(picture(24 + i, 40), folder / "photos" / name)
    assert main(["compress", str(folder / "photos"), "-o", f"{folder}/coded/", "--model", f"{folder}/codec.ckpt"]) == 0
    return folder


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def predict(checkpoint: Path, inputs: Path | str, *options: str) -> int:
    arguments = ["--ckpt_path", str(checkpoint), "--data.predict_inputs", f"[{inputs}]", *options]
    return main(["predict", *arguments, "--trainer.accelerator", "cpu"])


def files(folder: str | Path) -> dict[str, bytes]:
    found = Path(folder).rglob("*.*")
    return {str(p.relative_to(folder)): p.read_bytes() for p in found if p.suffix in (".lcb", ".png")}


def test_pictures_become_the_files_of_compress_with_the_codec_of_either_checkpoint(inputs: Path) -> None:
    for checkpoint in ("codec.ckpt", "model.ckpt"):
        assert predict(inputs / checkpoint, inputs / "photos", "--lcb_writer.output_dir", checkpoint[:-5]) == 0
        assert files(checkpoint[:-5]) == files(inputs / "coded")
    assert len(files("codec")) == 3


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"decoder": "diffusion"},
        {"decoder": "diffusion", "steps": "3", "sampler": "ddim", "seed": "5", "perception": "0.75"},
        {"decoder": "diffusion", "memory_limit": "4GiB"},
    ],
    ids=lambda options: "-".join(options) or "mse",
)
def test_files_become_the_pictures_of_decompress(inputs: Path, options: dict[str, str]) -> None:
    checkpoint = inputs / "model.ckpt"
    there = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    assert main(["decompress", str(inputs / "coded"), "-o", "expected/", "--model", str(checkpoint), *there]) == 0
    here = [word for name, value in options.items() for word in (f"--png_writer.{name}", value)]
    assert predict(checkpoint, inputs / "coded", "--png_writer.output_dir", "back", *here) == 0
    assert files("back") == files("expected")
    assert sorted(files("back")) == list(NAMES)


def test_a_file_of_another_model_is_a_row_and_one_line(inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("coded").mkdir()
    for name, seed in {"a.lcb": 0, "b.lcb": 1}.items():
        Path("coded", name).write_bytes(Codec(tiny_compression_model(seed)).compress(picture(24, 40)))
    Path("coded/c.lcb").write_bytes(Path("coded/a.lcb").read_bytes()[:-3])
    assert predict(inputs / "codec.ckpt", "coded", "--png_writer.output_dir", "back") == 2
    captured = capsys.readouterr()
    error = captured.err.splitlines()[-1]
    assert error.startswith(
        "lightning-codec: error: 2 of 3 files failed (see back/predictions.csv), the first is b.lcb: coded with model "
    )
    assert "back: 1 of 3 files, " in captured.out
    assert list(files("back")) == ["a.png"]
    table = Path("back/predictions.csv").read_text().splitlines()
    assert "this is model" in table[2]
    assert "the file ends at byte" in table[3]


def test_pictures_of_two_decoders_are_not_mixed(inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = ["--png_writer.output_dir", "back"]
    diffusion = ["--png_writer.decoder", "diffusion"]
    assert predict(inputs / "model.ckpt", inputs / "coded", *to) == 0
    assert predict(inputs / "model.ckpt", inputs / "coded", *to, *diffusion) == 2
    assert "another job (decoder was mse, is diffusion, " in capsys.readouterr().err
    assert predict(inputs / "codec.ckpt", inputs / "coded", "--png_writer.output_dir", "other", *diffusion) == 2
    assert "the model has no diffusion decoder" in capsys.readouterr().err
