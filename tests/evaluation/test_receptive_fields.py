"""The table and picture of learned position biases."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_codec.cli import main
from lightning_codec.entropy.position_bias import LaplacianBias
from lightning_codec.errors import UserError
from lightning_codec.evaluation.receptive_fields import fields_figure, learned_fields
from lightning_codec.model import CompressionModel
from tests.tiny import TINY_NETWORK, tiny_compression_model, write_codec_checkpoint


def with_bias(kind: str) -> CompressionModel:
    entropy = replace(TINY_NETWORK.entropy, position_bias=kind)  # type: ignore[arg-type]
    return CompressionModel(replace(TINY_NETWORK, entropy=entropy))


def test_every_head_has_the_bias_that_the_model_computes() -> None:
    model = tiny_compression_model()
    biases = [m for m in model.modules() if isinstance(m, LaplacianBias)]
    with torch.no_grad():
        for i, bias in enumerate(biases):
            bias.amplitude.fill_(0.5 + i)
            bias.width.fill_(1.0 + i)
    fields = learned_fields(model)
    assert [(f.group, f.channels, f.layer, f.head) for f in fields] == [
        (1, 2, 1, 1),
        (1, 2, 2, 1),
        (2, 4, 1, 1),
        (2, 4, 2, 1),
        (3, 6, 1, 1),
        (3, 6, 2, 1),
    ]
    for field, bias in zip(fields, biases, strict=True):
        table = bias()[0]  # [P^2, P^2]: sites 0 and 1 are neighbours, 0 and 5 are two steps apart
        for other, distance in ((0, 0), (1, 1), (5, 2), (15, 6)):
            expected = field.amplitude * math.exp(-0.5 * distance / field.squared_width)
            assert float(table[0, other].detach()) == pytest.approx(expected, rel=1e-5)
        half = field.amplitude * math.exp(-0.5 * field.half_distance / field.squared_width)
        assert half == pytest.approx(field.amplitude / 2)


def test_a_shared_bias_is_shown_for_every_group_and_layer() -> None:
    fields = learned_fields(with_bias("laplacian-shared"))
    assert [(f.group, f.layer) for f in fields] == [(g, layer) for g in (1, 2, 3) for layer in (1, 2)]
    assert len({(f.amplitude, f.squared_width) for f in fields}) == 1


@pytest.mark.parametrize("kind", ["learned", "none"])
def test_other_biases_have_no_fields(kind: str) -> None:
    with pytest.raises(UserError, match=rf"no Laplacian position bias \({kind}\)"):
        learned_fields(with_bias(kind))


def test_the_command_prints_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_codec_checkpoint(tmp_path / "a.ckpt", tiny_compression_model())
    picture = tmp_path / "out" / "fields.png"
    command = ["receptive-fields", "--model", str(tmp_path / "a.ckpt")]
    assert main([*command, "-o", str(picture)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["group", "channels", "layer", "head", "A^2", "B^2", "half", "at"]
    assert [row[:4] for row in rows[1:3]] == [["1", "2", "1", "1"], ["1", "2", "2", "1"]]
    assert len(rows) == 7
    first = picture.read_bytes()
    with Image.open(picture) as image:
        assert image.size[0] > 1200
    assert main([*command, "-o", str(picture), "--json"]) == 0
    assert picture.read_bytes() == first
    document = json.loads(capsys.readouterr().out)
    assert document[0]["half_distance"] == pytest.approx(2 * math.log(2) * document[0]["squared_width"])


def test_a_picture_of_another_kind_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_codec_checkpoint(tmp_path / "a.ckpt", tiny_compression_model())
    assert main(["receptive-fields", "--model", str(tmp_path / "a.ckpt"), "-o", str(tmp_path / "x.bmp")]) == 2
    out, error = capsys.readouterr()
    assert error.endswith("x.bmp: a picture is written as .png or .svg\n")
    assert not out
    assert not (tmp_path / "x.bmp").exists()


def test_the_picture_has_every_head_and_a_curve_for_every_group() -> None:
    fields = learned_fields(tiny_compression_model())
    figure = fields_figure(fields, 4)
    figure.canvas.draw()
    heads, curves = figure.axes
    assert "$" not in "".join(label.get_text() for label in heads.get_yticklabels(which="both"))
    assert sum(len(np.asarray(marks.get_offsets())) for marks in heads.collections) == len(fields)
    assert [line.get_label() for line in curves.lines] == [
        f"group {g}: {c} channels, 2 heads" for g, c in ((1, 2), (2, 4), (3, 6))
    ]
    first = [f for f in fields if f.group == 1]
    assert curves.lines[0].get_ydata()[0] == pytest.approx(sum(f.amplitude for f in first) / 2)  # type: ignore[index]
