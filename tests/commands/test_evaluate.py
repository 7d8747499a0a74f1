import csv
import json
from pathlib import Path

import pytest

from lightning_codec.cli import main
from lightning_codec.commands.evaluate import parse_baseline, parse_model
from lightning_codec.diffusion.sampling import SamplingConfig
from lightning_codec.errors import UserError
from lightning_codec.evaluation import engine
from lightning_codec.evaluation.records import read_records
from lightning_codec.evaluation.settings import BaselineRequest, ModelRequest
from lightning_codec.images import write_png
from tests.evaluation.fakes import InlinePool
from tests.evaluation.pictures import picture, write_pictures
from tests.tiny import tiny_compression_model, tiny_denoiser, write_diffusion_checkpoint


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("last.ckpt", ModelRequest(Path("last.ckpt"))),
        ("a:b/last.ckpt", ModelRequest(Path("a:b/last.ckpt"))),
        ("a=b/last.ckpt", ModelRequest(Path("a=b/last.ckpt"))),
        ("last.ckpt:name=ours", ModelRequest(Path("last.ckpt"), "ours")),
        (
            "x/last.ckpt:decoder=diffusion,steps=4,sampler=ddim,t_start=0.5,seed=7,perception=0.5,name=A-1",
            ModelRequest(
                Path("x/last.ckpt"), "A-1", "diffusion", {"steps": 4, "sampler": "ddim", "t_start": 0.5}, 7, 0.5
            ),
        ),
    ],
)
def test_a_model_and_its_options(text, request_):
    assert parse_model(text) == request_


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.ckpt:step=4", "option 'step': it must be one of decoder, name, steps, sampler, t_start, seed, perception"),
        ("a.ckpt:decoder=gan", r"decoder cannot be 'gan' \(it must be mse or diffusion\)"),
        ("a.ckpt:decoder=diffusion,steps=0", "steps cannot be '0'"),
        ("a.ckpt:decoder=diffusion,perception=2", r"perception cannot be '2' \(2 does not lie in \[0, 1\]\)"),
        ("a.ckpt:steps=4", "steps is for decoder=diffusion: add that, or leave it out"),
        ("a.ckpt:name=a/b", r"name cannot be 'a/b' \(letters, digits"),
        ("a.ckpt:name=a:b=c", "option 'b'"),
    ],
)
def test_options_that_do_not_fit_are_refused(text, message):
    with pytest.raises(UserError, match=message):
        parse_model(text)


def test_a_baseline_and_its_qualities():
    assert parse_baseline("jpeg:10,5") == BaselineRequest("jpeg", (10, 5))
    for wrong in ("jpeg", "jpeg:", "jpeg:1,,2", "jpeg:1.5", "jpeg:-1"):
        with pytest.raises(UserError, match=f"--baseline {wrong}: give whole-number qualities"):
            parse_baseline(wrong)


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "Pool", InlinePool)


@pytest.fixture
def call(inline: None, tmp_path: Path) -> list[str]:
    """Two JPEG curves' worth of work on two pictures."""
    write_pictures(tmp_path / "set", 2)
    data = ["--data", str(tmp_path / "set"), "-o", str(tmp_path / "out"), "--metrics", "psnr,ms_ssim"]
    return ["evaluate", *data, "--baseline", "jpeg:90,10,30,60", "--baseline", "webp:80,40,10,1"]


def test_codecs_are_measured_compared_and_reported(call, tmp_path, capsys):
    assert main(call) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0].split()[:6] == ["codec", "setting", "images", "bpp", "psnr", "ms_ssim"]
    assert [line.split()[:3] for line in lines[1:9]] == [
        [codec, setting, "2"]
        for codec, settings in (("jpeg", ("10", "30", "60", "90")), ("webp", ("1", "10", "40", "80")))
        for setting in settings
    ]
    assert "18 units of work, 0 of them finished before" in printed.err
    out = tmp_path / "out"
    table = read_records(out / "results.csv")
    assert table.metrics == ("psnr", "ms_ssim")
    assert {record.dataset for record in table.records} == {"set"}
    assert [(r.codec, r.setting, r.image) for r in table.records[:3]] == [
        ("jpeg", "10", "0.png"),
        ("jpeg", "10", "sub/1.png"),
        ("jpeg", "30", "0.png"),
    ]
    with (out / "bd_rates.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["codec"], row["anchor"], row["metric"], row["method"]) == ("webp", "jpeg", "psnr", "akima")
    assert float(row["percent"]) < 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["command"].startswith("lightning-codec evaluate --data ")
    assert (out / "pictures" / "webp_40" / "sub" / "1.png").is_file()
    before = (out / "results.csv").read_bytes()
    assert main(call) == 0
    assert "18 units of work, 18 of them finished before" in capsys.readouterr().err
    assert (out / "results.csv").read_bytes() == before


def test_models_beside_baselines_and_what_is_absent(inline, tmp_path, monkeypatch, capsys):
    write_pictures(tmp_path / "set", 3)
    checkpoint = tmp_path / "last.ckpt"
    write_diffusion_checkpoint(checkpoint, tiny_compression_model(), tiny_denoiser(), SamplingConfig(steps=2))
    monkeypatch.setenv("LIGHTNING_CODEC_WEIGHTS", str(tmp_path / "nothing"))
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "nothing"))
    models = ["--model", f"{checkpoint}:name=ours", "--model", f"{checkpoint}:decoder=diffusion,steps=1,name=ours-d"]
    options = ["--data", str(tmp_path / "set"), "-o", str(tmp_path / "out"), "--metrics", "psnr,fid256", "--limit", "2"]
    assert main(["evaluate", *options, *models, "--baseline", "mbt2018:1"]) == 0
    printed = capsys.readouterr().out
    assert "mbt2018:1: absent, mbt2018 quality 1: its weights are not there" in printed
    assert "fid256: absent, Inception features" in printed
    table = read_records(tmp_path / "out" / "results.csv")
    assert [(r.codec, r.dataset, r.image) for r in table.records] == [
        (codec, "set-first2", image) for codec in ("ours", "ours-d") for image in ("0.png", "2.png")
    ]
    # one file, two decoders
    assert table.records[0].bytes == table.records[2].bytes
    assert table.records[0].values != table.records[2].values
    assert "fid256" in json.loads((tmp_path / "out" / "summary.json").read_text())["absent_metrics"]


def test_an_image_that_fails_is_reported_and_the_exit_code_is_2(call, tmp_path, capsys):
    (tmp_path / "set" / "2.png").write_bytes((tmp_path / "set" / "0.png").read_bytes()[:600])
    assert main(call) == 2
    printed = capsys.readouterr()
    errors = [line for line in printed.err.splitlines() if line.startswith("lightning-codec: error: ")]
    assert len(errors) == 9  # the original, and eight settings
    assert any(line.startswith("lightning-codec: error: webp 40 2.png: ") for line in errors)
    assert len(read_records(tmp_path / "out" / "results.csv").records) == 16
    write_png(picture(3), tmp_path / "set" / "2.png")
    assert main(call) == 0
    assert len(read_records(tmp_path / "out" / "results.csv").records) == 24


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "nothing to evaluate: give --model CKPT or --baseline NAME:QUALITY,... at least once"),
        (["--baseline", "jpeg:10", "--metrics", "psnr,fid"], "metric 'fid': it must be one of psnr, ms_ssim, "),
        (["--baseline", "jpeg:10", "--anchor", "webp"], "anchor 'webp' is not evaluated; there are jpeg"),
        (["--baseline", "mbt2018:1"], "no codec can be evaluated: mbt2018:1: "),
        (["--baseline", "jpeg:10", "--reference", "none.csv"], "none.csv: no such file with published points"),
        (["--baseline", "jpeg:10", "--limit", "0"], "argument --limit: invalid positive value: '0'"),
    ],
)
def test_wrong_calls_are_one_line(tmp_path, options, message, monkeypatch, capsys):
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "nothing"))
    write_pictures(tmp_path / "set", 1)
    assert main(["evaluate", "--data", str(tmp_path / "set"), "-o", str(tmp_path / "out"), *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"lightning-codec: error: {message}")
    assert err.count("\n") == 1
