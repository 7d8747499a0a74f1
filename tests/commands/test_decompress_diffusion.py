"""`decompress --decoder diffusion` on real files of a tiny codec: what its options do, and what is refused."""

import re
import sys
from pathlib import Path
from typing import get_args

import pytest
import torch

from lightning_codec.cli import main
from lightning_codec.codec import Codec
from lightning_codec.commands.decompress import SAMPLERS
from lightning_codec.diffusion.samplers import SamplerName
from lightning_codec.diffusion.sampling import SamplingConfig
from lightning_codec.diffusion_decoder import DecodeOptions, DiffusionDecoder
from lightning_codec.errors import UserError
from lightning_codec.images import read_image, to_uint8
from lightning_codec.modules import EntropyModelModule
from tests.commands.test_conversion import Terminal
from tests.test_codec import picture
from tests.tiny import TINY_NETWORK, tiny_compression_model, tiny_denoiser, write_diffusion_checkpoint

DIFFUSION = ["--decoder", "diffusion"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model.ckpt with a diffusion decoder, codec.ckpt without one, and a file of 40x24 pixels."""
    folder = tmp_path_factory.mktemp("inputs")
    model = tiny_compression_model()
    write_diffusion_checkpoint(folder / "model.ckpt", model, tiny_denoiser(), SamplingConfig(steps=2))
    module = EntropyModelModule(TINY_NETWORK, lmbda=0.01)
    checkpoint: dict[str, object] = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, folder / "codec.ckpt")
    (folder / "a.lcb").write_bytes(Codec(model).compress(picture(24, 40)))
    return folder


@pytest.fixture(autouse=True)
def place(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, seen from inside."""
    monkeypatch.setenv("LIGHTNING_CODEC_MODEL", str(inputs / "model.ckpt"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def decompress(inputs: Path, output: str, *options: str) -> int:
    return main(["decompress", str(inputs / "a.lcb"), "-o", output, *options])


def test_same_seed_same_file_two_seeds_two_pictures(inputs: Path, place: Path) -> None:
    for name, options in {"a": [], "b": ["--seed", "0"], "c": ["--seed", "7"]}.items():
        assert decompress(inputs, f"{name}.png", *DIFFUSION, *options) == 0
    a, b, c = ((place / f"{name}.png").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_every_option_reaches_the_decoder(inputs: Path, place: Path) -> None:
    options = [
        "--steps",
        "3",
        "--sampler",
        "ancestral",
        "--seed",
        "5",
        "--perception",
        "0.75",
        "--memory-limit",
        "2GiB",
    ]
    assert decompress(inputs, "a.png", *DIFFUSION, *options) == 0
    expected = DiffusionDecoder.load(inputs / "model.ckpt")
    expected.sampling = SamplingConfig(steps=3, sampler="ancestral")
    x_hat = expected.decompress((inputs / "a.lcb").read_bytes(), DecodeOptions(5, 0.75))
    assert torch.equal(to_uint8(read_image("a.png")), to_uint8(x_hat))


def test_perception_0_is_the_other_decoder_which_is_the_default(inputs: Path, place: Path) -> None:
    assert decompress(inputs, "zero.png", *DIFFUSION, "--perception", "0") == 0
    assert decompress(inputs, "mse.png", "--decoder", "mse") == 0
    assert decompress(inputs, "default.png") == 0
    assert decompress(inputs, "one.png", *DIFFUSION) == 0
    zero, mse, default, one = ((place / f"{name}.png").read_bytes() for name in ("zero", "mse", "default", "one"))
    assert zero == mse == default != one


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "0"], "argument --steps: invalid positive value: '0'"),
        (["--perception", "1.5"], "argument --perception: 1.5 does not lie in [0, 1]"),
        (["--perception", "-0.1"], "argument --perception: -0.1 does not lie in [0, 1]"),
        (["--perception", "nan"], "argument --perception: nan does not lie in [0, 1]"),
        (["--seed", "-1"], "argument --seed: invalid seed value: '-1'"),
        (["--seed", str(2**63)], "argument --seed: invalid seed value: "),
        (["--sampler", "euler"], "argument --sampler: invalid choice: 'euler'"),
        (["--memory-limit", "lots"], "argument --memory-limit: 'lots': give a number with its unit, such as "),
        (["--memory-limit", "2"], "argument --memory-limit: '2': give a number with its unit, such as "),
        (["--memory-limit", "1000MiB"], "memory limit 1000 MiB: program, picture and the smallest tile take "),
    ],
)
def test_a_wrong_option_is_one_line_before_any_work(
    inputs: Path,
    place: Path,
    options: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(DiffusionDecoder, "decompress", lambda *_: pytest.fail("decoded"))
    assert decompress(inputs, "a.png", *DIFFUSION, *options) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"lightning-codec: error: {message}")
    assert err.count("\n") == 1
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("option", ["--steps=4", "--sampler=ddim", "--seed=0", "--perception=0", "--memory-limit=2GiB"])
def test_what_only_the_diffusion_decoder_knows_is_refused_without_it(
    inputs: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for decoder in ([], ["--decoder", "mse"]):
        assert decompress(inputs, "a.png", option, *decoder) == 2
        expected = f"{option.partition('=')[0]} is for --decoder diffusion: add that, or leave it out\n"
        assert capsys.readouterr().err == f"lightning-codec: error: {expected}"


def test_a_model_without_a_diffusion_decoder_is_refused(inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert decompress(inputs, "a.png", *DIFFUSION, "--model", str(inputs / "codec.ckpt")) == 2
    err = capsys.readouterr().err
    assert re.fullmatch(r"lightning-codec: error: \S+codec\.ckpt: has no diffusion decoder[^\n]*\n", err)


def test_another_codecs_file_is_refused(inputs: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "b.lcb").write_bytes(Codec(tiny_compression_model(seed=1)).compress(picture(24, 40)))
    assert main(["decompress", "b.lcb", "-o", "b.png", *DIFFUSION]) == 2
    assert re.fullmatch(r"lightning-codec: error: b\.lcb: coded with model [^\n]*\n", capsys.readouterr().err)


def test_a_picture_that_the_limit_does_not_hold_fails_and_the_rest_go_on(
    inputs: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "in").mkdir()
    (place / "in/small.lcb").write_bytes((inputs / "a.lcb").read_bytes())
    (place / "in/large.lcb").write_bytes(Codec(tiny_compression_model()).compress(picture(640, 1024)))
    decoder = DiffusionDecoder.load(inputs / "model.ckpt")
    enough = next(mib for mib in range(1024, 4096) if fits(decoder, mib))
    assert main(["decompress", "in", "-o", "out", *DIFFUSION, "--memory-limit", f"{enough}MiB"]) == 2
    assert [path.name for path in (place / "out").iterdir()] == ["small.png"]
    err = capsys.readouterr().err
    assert err.startswith(f"lightning-codec: error: in/large.lcb: memory limit {enough} MiB: ")
    assert err.count("\n") == 1


def fits(decoder: DiffusionDecoder, mib: int) -> bool:
    try:
        decoder.plan(24, 40, mib * 2**20)
    except UserError:
        return False
    return True


def test_steps_are_shown_on_a_terminal(
    inputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    assert decompress(inputs, "a.png", *DIFFUSION, "--steps", "3") == 0
    assert "1/1" in screen.getvalue()
    assert "3/3" in screen.getvalue()
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert decompress(inputs, "b.png") == 0
    assert "steps" not in screen.getvalue().split("1/1")[-1]


def test_the_samplers_of_the_command_are_all_there_are() -> None:
    assert get_args(SamplerName) == SAMPLERS
