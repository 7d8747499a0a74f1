"""`test` by one, two and three processes writes the same results."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from lightning_codec.callbacks import RateDistortion
from lightning_codec.data import CompressionDataModule
from lightning_codec.images import write_png
from tests.evaluation.pictures import picture
from tests.modules.test_split_training import module_of

IMAGES = 7
TIMES = ("encode_seconds", "decode_seconds")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """A machine's number of threads moves sums of floats by a last digit, and each of several processes has its own."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def results(folder: Path) -> tuple[list[list[str]], dict[str, Any]]:
    """Lines of the table, and the entries of the JSON file, without times."""
    with (folder / "metrics" / "test_set.csv").open(newline="") as file:
        lines = list(csv.reader(file))
    kept = [i for i, column in enumerate(lines[0]) if column not in TIMES]
    entries = json.loads((folder / "metrics" / "test_set.json").read_text())["images"]
    for entry in entries.values():
        assert all(entry.pop(time) > 0 for time in TIMES)
    return [[line[i] for i in kept] for line in lines], entries


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("kind", ["entropy", "two-stage"])
def test_the_number_of_processes_does_not_show_in_the_results(kind: str, tmp_path: Path) -> None:
    pictures = tmp_path / "set"
    pictures.mkdir()
    for index in range(IMAGES):  # some of them large enough for MS-SSIM
        write_png(picture(index, 50 + 20 * index, 180 - 3 * index), pictures / f"{index}.png")
    module = module_of(kind)
    written = []
    for processes in (1, 2, 3):
        folder = tmp_path / str(processes)
        trainer = pl.Trainer(
            accelerator="cpu",
            devices=processes,
            strategy="ddp_fork" if processes > 1 else "auto",
            logger=False,
            callbacks=[RateDistortion()],
            enable_progress_bar=False,
            default_root_dir=folder,
        )
        trainer.test(module, datamodule=CompressionDataModule(eval_sets=[str(pictures)]), verbose=False)
        written.append(results(folder))
    assert len(written[0][0]) == 1 + IMAGES
    column = written[0][0][0].index("psnr")
    assert len({line[column] for line in written[0][0]}) == 1 + IMAGES  # no two images have the same results
    assert written[0] == written[1] == written[2]
