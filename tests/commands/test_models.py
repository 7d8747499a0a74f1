"""`models`, and the models that ship in `compress`, `decompress` and `info`."""

import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from lightning_codec.cli import main
from lightning_codec.codec import Codec
from lightning_codec.diffusion_decoder import DecodeOptions, DiffusionDecoder
from lightning_codec.files import write_json
from lightning_codec.images import read_image, to_uint8, write_png
from lightning_codec.shipped.catalogue import Catalogue
from tests.shipped.fleet import FACTS, fleet, nothing_ships, ships
from tests.shipped.test_loading import edit
from tests.test_codec import picture
from tests.tiny import tiny_compression_model

__all__ = ["fleet", "nothing_ships", "ships"]  # fixtures


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of an error."""
    out, err = capsys.readouterr()
    assert out == ""
    start, message = err.split(": error: ")
    assert start == "lightning-codec"
    assert message.count("\n") == 1
    return message.rstrip("\n")


def test_list_is_a_table(ships: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [re.split(r"  +", line) for line in lines]
    parameters = {name: str(Catalogue(ships).model(name).card.parameters) for name in ("low", "real")}
    sizes = {name: str(-(-(ships / f"{name}.safetensors").stat().st_size // 1024)) for name in ("low", "real")}
    assert rows[0] == ["name", "kind", "quality", "bpp", "PSNR", "parameters", "KiB"]
    assert rows[1] == ["low", "entropy codec", "1", "0.2008", "27.63 dB", parameters["low"], sizes["low"]]
    assert [row[0] for row in rows[2:]] == ["middle", "high", "real"]
    assert rows[4] == ["real", "diffusion decoder", "2", "-", "-", parameters["real"], sizes["real"]]
    assert len({len(line) for line in lines}) == 1


@pytest.mark.usefixtures("nothing_ships")
@pytest.mark.parametrize("action", ["list", "verify"])
def test_where_nothing_ships_it_says_so(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", action]) == 0
    assert capsys.readouterr().out == "no models ship with this version\n"


def test_info_is_the_card(ships: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "info", "real", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((ships / "real.json").read_text())
    assert main(["models", "info", "middle"]) == 0
    text = capsys.readouterr().out
    fingerprint = Catalogue(ships).model("middle").card.fingerprint
    for row in (
        r"kind        entropy codec",
        rf"decodes     files of middle, fingerprint {fingerprint}",
        r"training    9000 steps in 1.5 hours, seed 0",
        r"on kodak    bpp 0.2008, psnr 27.63",
        r"not for     medical images",
        r"  lmbda: 0.01",
        r"    channels: [4, 6, 8]",
    ):
        assert f"\n{row}\n" in text
    assert main(["models", "info", "none"]) == 2
    assert said(capsys) == "none: no model of this name; there are high, low, middle, real"


def test_verify_is_0_only_if_all_agree(ships: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "verify"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{name}: correct" for name in ("high", "low", "middle", "real")]
    edit(ships / "low.json", lambda card: card.update(fingerprint="00000000", pixels_sha256="00"))
    assert main(["models", "verify", "middle", "low"]) == 2
    out, err = capsys.readouterr()
    assert out == "middle: correct\n"
    first, second = err.splitlines()
    assert first.startswith("lightning-codec: error: low: its weights have the fingerprint ")
    assert second.startswith(f"lightning-codec: error: {ships}/low.png: is not the picture of the card")
    assert main(["models", "verify", "high", "real"]) == 0


def test_export_writes_models_that_verify(fleet: Path, ships: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(Path("facts.json"), asdict(FACTS))
    shutil.rmtree(ships)
    for name, more in (("middle", []), ("real", ["--codec", "middle"])):
        checkpoint = str(fleet / f"checkpoints/{name}.ckpt")
        options = ["--model", checkpoint, "--name", name, "--quality", "2", "--card", "facts.json", *more]
        assert main(["models", "export", *options]) == 0
        assert main(["models", "export", *options, "-o", "elsewhere"]) == 0
        for suffix in ("safetensors", "lcb", "png"):
            written = (ships / f"{name}.{suffix}").read_bytes()
            assert written == Path("elsewhere", f"{name}.{suffix}").read_bytes()
            assert written == (fleet / f"models/{name}.{suffix}").read_bytes()
    assert main(["models", "verify"]) == 0
    out = capsys.readouterr().out.splitlines()
    fingerprint = Catalogue(ships).model("middle").card.fingerprint
    assert re.fullmatch(rf"{ships}/middle\.safetensors  \d+ KiB  fingerprint {fingerprint}", out[0])
    assert out[-2:] == ["middle: correct", "real: correct"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: action, ...; see lightning-codec models --help"),
        (["verfy"], "argument action: invalid choice: 'verfy'"),
        (["list", "low"], "unrecognized arguments: low; see lightning-codec models list --help"),
        (["info"], "the following arguments are required: NAME; see lightning-codec models info --help"),
        (["export"], "the following arguments are required: --model, --name, --quality, --card; see lightning-codec"),
        (
            ["export", "--model", "a", "--name", "a", "--quality", "1", "--card", "none.json"],
            "none.json: No such file or directory",
        ),
        (
            [
                "export",
                *["--model", "a", "--name", "a", "--quality", "1", "--card", "a", "--codec", "low", "--rate", "1"],
            ],
            "--rate is of a codec's checkpoint: a decoder is of the rate of its --codec",
        ),
        (
            ["export", "--model", "a", "--name", "a", "--quality", "1", "--card", "a", "--steps", "2"],
            "--steps is of a diffusion decoder: give its --codec too",
        ),
        (["split", "--model", "none.ckpt", "-o", "out"], "none.ckpt: no such checkpoint file"),
    ],
)
def test_a_wrong_call_is_one_line(
    arguments: list[str], message: str, ships: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", *arguments]) == 2
    assert said(capsys).startswith(message)


@pytest.mark.parametrize("action", ["list", "info", "verify", "export", "split"])
def test_every_action_has_its_help(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", action, "--help"]) == 0
    assert f"example:\n  lightning-codec models {action}" in capsys.readouterr().out


@pytest.fixture
def photo(ships: Path) -> Path:
    """photo.png in the working folder."""
    write_png(picture(24, 40), "photo.png")
    return Path("photo.png")


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ([], "middle"),
        (["--quality", "1"], "low"),
        (["--quality", "3"], "high"),
        (["--model", "high"], "high"),
        (["--model", "real"], "middle"),
    ],
)
def test_compress_takes_a_rung_or_the_middle_one(options: list[str], name: str, photo: Path) -> None:
    assert main(["compress", "photo.png", "-o", "a.lcb", *options]) == 0
    assert Path("a.lcb").read_bytes() == Codec.load(name).compress(read_image(photo))


def test_of_an_even_number_the_lower_middle_one_is_taken(photo: Path, ships: Path) -> None:
    (ships / "high.json").unlink()
    assert main(["compress", "photo.png", "-o", "a.lcb"]) == 0
    assert Path("a.lcb").read_bytes() == Codec.load("low").compress(read_image(photo))


def test_the_variable_comes_before_the_middle_one_and_after_the_options(
    photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIGHTNING_CODEC_MODEL", "low")
    for options, name in (([], "low"), (["--quality", "3"], "high"), (["--model", "middle"], "middle")):
        assert main(["compress", "photo.png", "-o", "a.lcb", "--force", *options]) == 0
        assert Path("a.lcb").read_bytes() == Codec.load(name).compress(read_image(photo))
    monkeypatch.setenv("LIGHTNING_CODEC_MODEL", "")
    assert main(["compress", "photo.png", "-o", "a.lcb", "--force"]) == 0
    assert Path("a.lcb").read_bytes() == Codec.load("middle").compress(read_image(photo))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--quality", "4"], "--quality 4: the qualities of the models that ship are 1, 2, 3"),
        (["--quality", "0"], "argument --quality: invalid positive value: '0'"),
        (["--quality", "1", "--model", "low"], "--quality is one of the models that ship, --model names another"),
        (
            ["--model", "mid"],
            "mid: no such checkpoint file, and no model of this name; there are high, low, middle, re",
        ),
    ],
)
def test_a_model_that_cannot_be_meant_is_refused(
    options: list[str], message: str, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compress", "photo.png", "-o", "a.lcb", *options]) == 2
    assert said(capsys).startswith(message)
    assert not Path("a.lcb").exists()


def coded(folder: str, *names: str) -> None:
    Path(folder).mkdir()
    for name in names:
        (Path(folder) / f"{name}.lcb").write_bytes(Codec.load(name).compress(picture(24, 40)))


def test_files_of_several_models_are_decoded_together(ships: Path) -> None:
    coded("in", "low", "middle", "high")
    assert main(["decompress", "in", "-o", "out"]) == 0
    for name in ("low", "middle", "high"):
        expected = Codec.load(name).decompress(Path(f"in/{name}.lcb").read_bytes())
        assert torch.equal(to_uint8(read_image(f"out/{name}.png")), to_uint8(expected))


def test_the_decoder_of_the_files_codec_is_found(ships: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coded("in", "low", "middle")
    assert main(["decompress", "in", "-o", "out", "--decoder", "diffusion", "--steps", "3", "--seed", "4"]) == 2
    assert [path.name for path in Path("out").iterdir()] == ["middle.png"]
    err = capsys.readouterr().err
    assert err == (
        "lightning-codec: error: in/low.lcb: low: no diffusion decoder of it ships: decode with --decoder mse\n"
    )
    decoder = DiffusionDecoder.load("real")
    decoder.sampling = type(decoder.sampling)(steps=3, sampler="ddim")
    expected = decoder.decompress(Path("in/middle.lcb").read_bytes(), DecodeOptions(seed=4))
    assert torch.equal(to_uint8(read_image("out/middle.png")), to_uint8(expected))


def test_a_model_is_loaded_once_for_all_its_files(ships: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    coded("in", "low", "high")
    shutil.copy("in/low.lcb", "in/again.lcb")
    loaded: list[str] = []
    load = Codec.load

    def counted(model) -> Codec:
        loaded.append(model.card.name)
        return load(model)

    monkeypatch.setattr(Codec, "load", counted)
    assert main(["decompress", "in", "-o", "out"]) == 0
    assert sorted(loaded) == ["high", "low"]


def test_a_file_of_a_model_that_does_not_ship_is_one_line(ships: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = Codec(tiny_compression_model(7))
    Path("a.lcb").write_bytes(other.compress(picture(8, 8)))
    assert main(["decompress", "a.lcb", "-o", "a.png"]) == 2
    assert said(capsys) == (
        f"a.lcb: coded with model {other.fingerprint.hex()}, which does not ship: "
        "give its checkpoint with --model CKPT or in the variable LIGHTNING_CODEC_MODEL"
    )
    Path("b.lcb").write_bytes(b"text")
    assert main(["decompress", "b.lcb", "-o", "a.png"]) == 2
    assert said(capsys).startswith("b.lcb: the file begins with 74 65 78")


@pytest.mark.usefixtures("nothing_ships")
@pytest.mark.parametrize(
    "arguments", [["compress", "a.png"], ["compress", "a.png", "--quality", "1"], ["decompress", "a.lcb"]]
)
def test_where_nothing_ships_a_checkpoint_is_asked_for(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "-o", "out"]) == 2
    assert said(capsys) == (
        "no model: none ships with this version, give a checkpoint with --model CKPT or in the variable "
        "LIGHTNING_CODEC_MODEL"
    )


def test_info_names_the_model_of_a_file(ships: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(ships / "real.lcb"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shipped_model"] == "middle"
    assert main(["info", str(ships / "low.lcb")]) == 0
    fingerprint = Codec.load("low").fingerprint.hex()
    assert f"\nmodel      {fingerprint}, low\n" in capsys.readouterr().out
