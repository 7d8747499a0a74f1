import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

from lightning_codec.callbacks import RateDistortion
from lightning_codec.errors import UserError
from lightning_codec.metrics.rows import ImageRow
from lightning_codec.modules.coding import EvalStep
from lightning_codec.tracking.history import HistoryLogger, read_history

from .stubs import StubCodec, StubData, StubModule, make_trainer

KODAK = [("b/two.png", 16, 20, 50), ("a.png", 8, 10, 100), ("b/one.png", 176, 161, 20)]
OTHER = [("a.png", 10, 10, 200)]
DB_AT_1, DB_AT_2 = (20 * math.log10(255 / levels) for levels in (1, 2))


def evaluate(
    folder: Path, stage: str, module: StubModule, callback: RateDistortion, data: StubData
) -> dict[str, float]:
    trainer = make_trainer(folder, [callback])
    getattr(trainer, stage)(module, datamodule=data, verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def number(cell: str) -> float | int | None:
    return (int(cell) if cell.isdigit() else float(cell)) if cell else None


def results(folder: Path, stem: str) -> tuple[list[ImageRow], dict[str, Any]]:
    metrics = folder / "run" / "metrics"
    with (metrics / f"{stem}.csv").open(newline="") as file:
        header, *lines = csv.reader(file)
    assert tuple(header) == ImageRow._fields
    rows = [ImageRow(*line[:2], *map(number, line[2:])) for line in lines]  # type: ignore[arg-type]
    return rows, json.loads((metrics / f"{stem}.json").read_text())


def test_test_reports_the_bytes_and_the_distortion_of_the_decoded_images(tmp_path, capsys):
    data = StubData({"kodak": KODAK, "other": OTHER})
    module = StubModule()
    assert module.net.bias is not None
    module.net.bias.requires_grad = False  # of 3 x 3 weights and 3 biases the latter are not trained
    logged = evaluate(tmp_path, "test", module, RateDistortion(), data)
    rows, document = results(tmp_path, "test_kodak")
    assert [row.name for row in rows] == ["a.png", "b/one.png", "b/two.png"]
    assert [row.bpp for row in rows] == [800 / 80, 800 / (176 * 161), 800 / 320]
    assert {row.bytes for row in rows} == {100}
    assert [row.psnr for row in rows] == pytest.approx([DB_AT_2] * 3)
    assert [row.ms_ssim is None for row in rows] == [True, False, True]
    assert all(row.encode_seconds is not None and row.decode_seconds is not None for row in rows)
    mean_bpp = (10 + 800 / (176 * 161) + 2.5) / 3
    assert logged["test/kodak/bpp"] == pytest.approx(mean_bpp)
    assert logged["test/kodak/gap_percent"] == pytest.approx(100 * (mean_bpp / 2 - 1))
    assert logged["test/kodak/bpp_estimated"] == 2
    assert logged["test/other/psnr"] == pytest.approx(DB_AT_2)
    assert "test/other/ms_ssim" not in logged
    assert document["header"]["means"]["bpp"] == pytest.approx(mean_bpp)
    assert document["header"]["counts"] == {"psnr": 3, "ms_ssim": 1, "bpp": 3}
    assert document["header"]["fingerprint"] == "0102abff"
    assert document["header"]["trained_parameters"] == 9
    table = capsys.readouterr().out
    assert f"{mean_bpp:.4f}" in table
    assert f"{DB_AT_2:.2f}" in table
    assert "…" not in table
    assert max(map(len, table.splitlines())) <= 80


def test_a_coder_that_drops_bytes_shows_in_bpp(tmp_path):
    data = StubData({"kodak": KODAK})
    for size in (100, 93):
        evaluate(tmp_path, "test", StubModule(StubCodec(size)), RateDistortion(), data)
        rows, _ = results(tmp_path, "test_kodak")
        assert [row.bpp for row in rows] == [8 * size / (row.height * row.width) for row in rows]


def test_validation_codes_the_first_images_of_each_set_and_measures_the_step(tmp_path):
    data = StubData({"kodak": KODAK, "other": OTHER})
    module = StubModule()
    logged = evaluate(tmp_path, "validate", module, RateDistortion(coded_images=1), data)
    rows, document = results(tmp_path, "validate_kodak")
    assert {row.name: row.bytes for row in rows} == {"b/two.png": 100, "a.png": None, "b/one.png": None}
    assert module.coder.compressed == 2
    assert [row.psnr for row in rows] == pytest.approx([DB_AT_1] * 3)
    assert logged["val/kodak/bpp"] == pytest.approx(2.5)
    assert logged["val/kodak/gap_percent"] == pytest.approx(25)
    assert logged["val/kodak/psnr"] == pytest.approx(DB_AT_1)
    assert logged["val/other/bpp"] == pytest.approx(8)
    # the mean loss of the first set alone
    assert logged["val/loss"] == pytest.approx(100 * (50 + 100 + 20) / 255 / 3, rel=1e-6)
    small = document["images"]["a.png"]
    assert small["bpp"] is None
    assert small["ms_ssim"] is None
    assert "first 1 images" in small["reasons"]["bpp"]
    assert "160 pixels" in small["reasons"]["ms_ssim"]
    assert set(small["reasons"]) == {column for column in ImageRow._fields if small[column] is None}


class CodingModule(StubModule):
    """Measures what the file of every validated image decodes to, as a diffusion decoder's module does."""

    def validation_step(  # type: ignore[override]
        self, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> EvalStep:
        x_hat, file = self.file_coder(self.coder, batch.image, timed=False)
        return super().validation_step(batch, batch_idx, dataloader_idx)._replace(x_hat=x_hat, file=file)


def test_a_file_that_the_step_has_made_is_not_made_again(tmp_path):
    module = CodingModule()
    evaluate(tmp_path, "validate", module, RateDistortion(coded_images=2), StubData({"kodak": KODAK}))
    rows, document = results(tmp_path, "validate_kodak")
    assert module.coder.compressed == 3
    assert {row.name: row.bytes for row in rows} == {"b/two.png": 100, "a.png": 100, "b/one.png": None}
    assert [row.psnr for row in rows] == pytest.approx([DB_AT_2] * 3)
    assert document["header"]["protocol"]["distortion"] == "of the image decoded from the file"
    assert document["images"]["a.png"]["reasons"]["encode_seconds"] == "timed only at test"


def test_absent_values_are_empty_cells_and_no_coding_logs_no_bpp(tmp_path):
    module = StubModule()
    logged = evaluate(tmp_path, "validate", module, RateDistortion(coded_images=0), StubData({"other": OTHER}))
    with (tmp_path / "run" / "metrics" / "validate_other.csv").open() as file:
        cells = next(csv.DictReader(file))
    assert [column for column, cell in cells.items() if cell == ""] == [
        "bytes", "bpp", "ms_ssim", "encode_seconds", "decode_seconds",
    ]  # fmt: skip
    assert module.coder.compressed == 0
    assert not {"val/other/bpp", "val/other/gap_percent", "val/other/ms_ssim"} & set(logged)


def test_rows_do_not_depend_on_the_order_and_repeated_images_count_once(tmp_path):
    first = evaluate(tmp_path, "validate", StubModule(), RateDistortion(3), StubData({"kodak": KODAK}))
    csv_file = tmp_path / "run" / "metrics" / "validate_kodak.csv"
    text = csv_file.read_text()
    # the last two repeat images, and lie behind the coded ones
    again = StubData({"kodak": [KODAK[2], KODAK[0], KODAK[1], KODAK[0], KODAK[1]]})
    assert evaluate(tmp_path, "validate", StubModule(), RateDistortion(3), again) == first
    assert csv_file.read_text() == text


def test_an_evaluation_forgets_the_one_before(tmp_path):
    callback, data = RateDistortion(), StubData({"other": OTHER})
    for stage in ("validate", "test", "validate"):
        evaluate(tmp_path, stage, StubModule(levels=1), callback, data)
    logged = evaluate(tmp_path, "validate", StubModule(levels=3), callback, data)
    assert logged["val/other/psnr"] == pytest.approx(20 * math.log10(85))
    evaluate(tmp_path, "test", StubModule(StubCodec(size=50)), callback, data)
    rows, _ = results(tmp_path, "test_other")
    assert rows[0].bytes == 50


def test_the_sanity_check_leaves_no_result_and_fit_writes_after_it(tmp_path):
    module = StubModule()
    data = StubData({"kodak": KODAK}, train=[torch.rand(1, 3, 4, 4)] * 2)
    seen: list[object] = []

    class Watch(RateDistortion):
        def on_sanity_check_end(self, trainer: Any, pl_module: Any) -> None:
            seen.append((dict(trainer.callback_metrics), module.coder.compressed, (tmp_path / "run/metrics").exists()))

    trainer = make_trainer(tmp_path, [Watch(coded_images=1)], num_sanity_val_steps=2)
    trainer.fit(module, datamodule=data)
    assert seen == [({}, 0, False)]
    _, document = results(tmp_path, "validate_kodak")
    assert (document["header"]["step"], document["header"]["epoch"]) == (2, 0)
    assert document["header"]["checkpoint"] is None


def test_header_names_the_checkpoint_and_its_step(tmp_path):
    module, data = StubModule(), StubData({"other": OTHER}, train=[torch.rand(1, 3, 4, 4)] * 3)
    trainer = make_trainer(tmp_path, [RateDistortion()], num_sanity_val_steps=0)
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    make_trainer(tmp_path, [RateDistortion()]).test(
        StubModule(), datamodule=data, ckpt_path=tmp_path / "end.ckpt", verbose=False, weights_only=True
    )
    _, document = results(tmp_path, "test_other")
    assert document["header"]["step"] == 3
    assert document["header"]["checkpoint"].endswith("end.ckpt")


def test_loggers_get_an_evaluation_under_the_step_of_its_weights(tmp_path):
    module, data = StubModule(), StubData({"other": OTHER}, train=[torch.rand(1, 3, 4, 4)] * 3)

    def steps(stage: str, **settings: Any) -> list[int]:
        trainer = make_trainer(tmp_path, [RateDistortion()], num_sanity_val_steps=1, val_check_interval=1)
        getattr(trainer, stage)(module, datamodule=data, weights_only=True, **settings)
        if stage == "fit":
            trainer.save_checkpoint(tmp_path / "end.ckpt")
        with (tmp_path / "run" / "metrics.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if any("other/psnr" in name and row[name] for name in row)]
        return [int(row["step"]) for row in rows]

    assert steps("fit") == [1, 2, 3]
    assert steps("validate", ckpt_path=tmp_path / "end.ckpt") == [3]
    assert steps("test", ckpt_path=tmp_path / "end.ckpt") == [3]


def test_a_decoded_image_unlike_the_step_is_reported_and_used(tmp_path):
    module = StubModule(StubCodec(levels=9))
    with pytest.warns(UserWarning, match=r"other: 1 decoded images differ .* a.png"):
        evaluate(tmp_path, "test", module, RateDistortion(), StubData({"other": OTHER}))
    rows, document = results(tmp_path, "test_other")
    assert rows[0].psnr == pytest.approx(20 * math.log10(255 / 9))
    assert document["header"]["largest_decoded_difference"] == 8


class FailingCodec(StubCodec):
    def compress(self, image: Tensor) -> bytes:
        raise UserError("no finite latents")


def test_a_failing_coder_is_a_reason_at_validation_and_an_error_at_test(tmp_path):
    data = StubData({"other": OTHER})
    with pytest.warns(UserWarning, match=r"a.png: coding failed: UserError: no finite latents"):
        logged = evaluate(tmp_path, "validate", StubModule(FailingCodec()), RateDistortion(), data)
    assert logged["val/other/psnr"] == pytest.approx(DB_AT_1)
    _, document = results(tmp_path, "validate_other")
    assert "no finite latents" in document["images"]["a.png"]["reasons"]["bytes"]
    with pytest.raises(UserError, match="no finite latents"):
        evaluate(tmp_path, "test", StubModule(FailingCodec()), RateDistortion(), data)


class DivergedModule(StubModule):
    def validation_step(  # type: ignore[override]
        self, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> EvalStep:
        return EvalStep(batch.image * math.nan, math.nan, math.nan, torch.zeros(1, 1))


def test_a_reconstruction_that_is_not_finite_has_no_psnr_and_valid_json(tmp_path):
    logged = evaluate(tmp_path, "validate", DivergedModule(), RateDistortion(), StubData({"other": OTHER}))
    assert "val/other/psnr" not in logged
    rows, document = results(tmp_path, "validate_other")
    assert rows[0].psnr is None
    image = document["images"]["a.png"]
    assert image["reasons"]["psnr"] == "the reconstruction is not finite"
    assert image["bpp_estimated"] is None
    assert image["reasons"]["bpp_estimated"] == "not finite: nan"


def test_an_identical_image_is_infinite_in_the_row_and_not_in_the_mean(tmp_path):
    logged = evaluate(tmp_path, "test", StubModule(StubCodec(levels=0)), RateDistortion(), StubData({"other": OTHER}))
    assert "test/other/psnr" not in logged
    rows, document = results(tmp_path, "test_other")
    assert rows[0].psnr == math.inf
    assert document["images"]["a.png"]["reasons"]["psnr"].startswith("infinite")
    assert document["header"]["means"]["identical"] == 1


def test_loggers_that_know_tables_get_the_rows_drawn_over_the_rate_that_all_have(tmp_path):
    csv_logger = CSVLogger(tmp_path, name="", version="run")
    history = HistoryLogger(tmp_path)
    trainer = make_trainer(tmp_path, [RateDistortion(coded_images=1)], logger=[csv_logger, history])
    module, data = StubModule(StubCodec(levels=0)), StubData({"kodak": KODAK[:2]})
    trainer.validate(module, datamodule=data, verbose=False)
    trainer.test(module, datamodule=data, verbose=False)
    tables = {tag: table for entry in read_history(tmp_path) for tag, table in entry.tables.items()}
    assert tables.keys() == {"val/kodak/rd", "test/kodak/rd"}
    assert tables["val/kodak/rd"].x == "bpp_estimated"
    # without any error there is no number of dB
    columns = ["name", "bpp", "bpp_estimated", "psnr", "ms_ssim"]
    rows = [["a.png", 10.0, 2.0, None, None], ["b/two.png", 2.5, 2.0, None, None]]
    assert tables["test/kodak/rd"] == (columns, rows, "bpp", "psnr")


def test_a_negative_count_is_refused():
    with pytest.raises(UserError, match="coded_images must be 0 or more"):
        RateDistortion(-1)


@pytest.mark.slow
def test_two_processes_write_the_same_table_as_one(tmp_path):
    items = [(f"{index}.png", 8, 8 + index, 10 * index) for index in range(7)]
    tables = []
    for devices in (1, 2):
        folder = tmp_path / str(devices)
        settings: dict[str, Any] = {"strategy": "ddp_spawn"} if devices == 2 else {}
        trainer = make_trainer(folder, [RateDistortion(coded_images=3)], devices=devices, **settings)
        metrics = trainer.validate(StubModule(), datamodule=StubData({"seven": items}), verbose=False)
        tables.append(((folder / "run/metrics/validate_seven.csv").read_text(), metrics))
    assert tables[0] == tables[1]
    assert sum(",100," in line for line in tables[0][0].splitlines()) == 3
