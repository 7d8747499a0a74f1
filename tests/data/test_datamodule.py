from pathlib import Path
from typing import Any

import jsonargparse
import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from PIL import Image
from torch import nn

from lightning_codec.data import CompressionDataModule, NamedImage
from lightning_codec.errors import UserError

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "data"


class Recorder(LightningModule):
    """Keeps a fingerprint of every batch it is given."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.trained: list[tuple[int, float]] = []
        self.evaluated: list[tuple[int, str]] = []

    def training_step(self, batch, batch_idx):
        self.trained.append((self.current_epoch, batch.double().sum().item()))
        return self.weight * 0

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        assert isinstance(batch, NamedImage)
        assert batch.image.shape[:2] == (1, 3)
        self.evaluated.append((dataloader_idx, batch.name))

    test_step = predict_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten noise images."""
    path = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(10):
        Image.fromarray(rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(path / f"{i}.png")
    return path


def trainer(tmp_path, *callbacks, **options):
    merged: dict[str, Any] = {"max_epochs": 2, "limit_val_batches": 0, "accelerator": "cpu", "logger": False}
    return Trainer(
        default_root_dir=tmp_path,
        callbacks=list(callbacks),
        enable_checkpointing=bool(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        **merged | options,
    )


def data(folder, **options):
    merged: dict[str, Any] = {"crop_size": 16, "batch_size": 2, "num_workers": 0}
    return CompressionDataModule([str(folder)], **merged | options)


def trained(tmp_path, datamodule, *callbacks, ckpt_path=None, **options):
    model = Recorder()
    trainer(tmp_path, *callbacks, **options).fit(model, datamodule=datamodule, ckpt_path=ckpt_path)
    return model.trained


def test_batches_do_not_depend_on_the_number_of_workers(tmp_path, folder):
    none = trained(tmp_path, data(folder))
    two = trained(tmp_path, data(folder, num_workers=2))
    assert [epoch for epoch, _ in none] == [0] * 5 + [1] * 5
    assert none == two
    assert len({value for _, value in none}) == 10  # the second epoch has other crops


def test_two_processes_share_batches_and_evaluation_images(tmp_path, folder):
    class Writer(Recorder):
        def on_fit_end(self):
            torch.save((self.trained, self.evaluated), tmp_path / f"{self.global_rank}.pt")

    whole, single = Recorder(), data(folder, batch_size=4, eval_sets=[str(folder)], eval_limit=5)
    options: dict[str, Any] = {"limit_val_batches": 1.0, "num_sanity_val_steps": 0}
    trainer(tmp_path, **options).fit(whole, datamodule=single)
    shared = data(folder, batch_size=2, eval_sets=[str(folder)], eval_limit=5)
    trainer(tmp_path, devices=2, strategy="ddp_fork", **options).fit(Writer(), datamodule=shared)
    (first, seen), (second, also_seen) = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    joint = [(epoch, a + b) for (epoch, a), (_, b) in zip(first, second, strict=True)]
    assert joint == [(epoch, pytest.approx(value)) for epoch, value in whole.trained]
    assert sorted(seen + also_seen) == sorted(whole.evaluated)


def test_a_process_for_which_no_image_is_left_takes_part_in_the_evaluation(tmp_path, folder):
    class Meeting(Recorder):
        def on_validation_epoch_end(self):
            parts: list[Any] = [None, None]
            torch.distributed.all_gather_object(parts, self.evaluated)  # as the callbacks do
            torch.save(parts, tmp_path / f"{self.global_rank}.pt")

    shared = data(folder, eval_sets=[str(folder)], eval_limit=1)
    options: dict[str, Any] = {"limit_val_batches": 1.0, "num_sanity_val_steps": 0, "max_epochs": 1}
    trainer(tmp_path, devices=2, strategy="ddp_fork", **options).fit(Meeting(), datamodule=shared)
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt") == [[(0, "0.png")], [(0, "0.png")]]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [3, 5, 7, 10])  # inside an epoch of 5 batches, and at its last batch
def test_resumed_run_sees_the_batches_of_an_uninterrupted_one(tmp_path, folder, workers, stop):
    whole = trained(tmp_path, data(folder), max_epochs=3)
    saver = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=stop, save_top_k=-1)
    first = trained(tmp_path, data(folder), saver, max_epochs=3, max_steps=stop)
    checkpoint = tmp_path / f"step={stop}.ckpt"
    resumed = trained(tmp_path, data(folder, num_workers=workers), max_epochs=3, ckpt_path=checkpoint)
    assert first + resumed == whole


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_after_an_epoch_and_with_limited_batches(tmp_path, folder, workers):
    options: dict[str, Any] = {"max_epochs": 3, "limit_train_batches": 3}
    saver = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    whole = trained(tmp_path, data(folder), saver, **options)
    module = data(folder, num_workers=workers)
    assert trained(tmp_path, module, ckpt_path=tmp_path / "epoch=0.ckpt", **options) == whole[3:]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [2, 4, 7])  # inside epochs of 5 batches, validated after every second batch
def test_resume_from_a_validation_inside_an_epoch(tmp_path, folder, workers, stop):
    options: dict[str, Any] = {"max_epochs": 2, "limit_val_batches": 1, "val_check_interval": 2}
    saver = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, save_on_train_epoch_end=False)
    whole = trained(tmp_path, data(folder), saver, **options)
    module = data(folder, num_workers=workers)
    assert trained(tmp_path, module, ckpt_path=tmp_path / f"step={stop}.ckpt", **options) == whole[stop:]


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_from_the_validation_that_ends_an_epoch(tmp_path, folder, workers):
    options: dict[str, Any] = {"max_epochs": 3, "limit_val_batches": 1}
    saver = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, save_on_train_epoch_end=False)
    whole = trained(tmp_path, data(folder), saver, **options)
    module = data(folder, num_workers=workers)
    assert trained(tmp_path, module, ckpt_path=tmp_path / "step=5.ckpt", **options) == whole[5:]


@pytest.mark.parametrize("stop", [2, 4])  # inside an epoch of 5 batches, and its last batch
def test_resume_after_an_exception_repeats_the_batch_in_work(tmp_path, folder, stop):
    class Fails(Recorder):
        def training_step(self, batch, batch_idx):
            if self.current_epoch == 1 and batch_idx == stop:
                self.trainer.save_checkpoint(tmp_path / "failed.ckpt")
                raise KeyboardInterrupt
            return super().training_step(batch, batch_idx)

    model = Fails()
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        trainer(tmp_path, max_epochs=3).fit(model, datamodule=data(folder))
    resumed = trained(tmp_path, data(folder), max_epochs=3, ckpt_path=tmp_path / "failed.ckpt")
    assert model.trained + resumed == trained(tmp_path, data(folder), max_epochs=3)


def test_resuming_with_another_order_is_reported(tmp_path, folder, caplog):
    saver = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=3, save_top_k=-1)
    trained(tmp_path, data(folder), saver, max_epochs=1)
    trained(tmp_path, data(folder, seed=4), max_epochs=1, ckpt_path=tmp_path / "step=3.ckpt")
    own = [record.message for record in caplog.records if record.name.startswith("lightning_codec")]
    assert own == ["resumed with another training order: seed was 0 and is now 4"]


def test_overfit_batches_repeats_the_same_crops(tmp_path, folder):
    saver = ModelCheckpoint(tmp_path, every_n_train_steps=1)
    seen = trained(tmp_path, data(folder), saver, max_epochs=3, overfit_batches=2)
    assert len(seen) == 6
    assert len({value for _, value in seen}) == 2


def test_training_batches_are_floats_in_the_unit_range(folder):
    module = data(folder, samples_per_epoch=7, batch_size=4)
    module.setup("fit")
    batches = list(module.train_dataloader())
    assert [batch.shape for batch in batches] == [(4, 3, 16, 16)] * 2
    assert all(batch.dtype == torch.float32 and batch.min() >= 0 and batch.max() <= 1 for batch in batches)


def test_procedural_training_set_needs_no_files():
    module = CompressionDataModule(crop_size=32, samples_per_epoch=8, num_workers=0)
    module.setup("fit")
    (batch,) = module.train_dataloader()
    assert batch.shape == (8, 3, 32, 32)
    assert module.eval_names == ["dead_leaves"]


def test_every_set_has_its_loader_and_name(tmp_path, folder):
    module = data(folder, eval_sets=["dead_leaves", str(folder)], test_sets=[str(folder)], eval_limit=2)
    model, run = Recorder(), trainer(tmp_path, limit_val_batches=1.0)
    run.validate(model, datamodule=module, verbose=False)
    assert module.eval_names == ["dead_leaves", folder.name]
    expected = [(0, "dead_leaves_000.png"), (0, "dead_leaves_001.png"), (1, "0.png"), (1, "1.png")]
    assert model.evaluated == expected
    model.evaluated.clear()
    run.test(model, datamodule=module, verbose=False)
    assert module.eval_names == [folder.name]
    assert model.evaluated == [(0, f"{i}.png") for i in range(10)]  # all, whatever is enough during training


def test_prediction_visits_every_input(tmp_path, folder):
    module, model = data(folder, predict_inputs=[str(folder)]), Recorder()
    trainer(tmp_path).predict(model, datamodule=module)
    assert model.evaluated == [(0, f"{i}.png") for i in range(10)]
    module.choose_inputs = lambda inputs: [inputs.names.index(f"{i}.png") for i in (2, 3, 7)]
    model.evaluated.clear()
    trainer(tmp_path).predict(model, datamodule=module)
    assert model.evaluated == [(0, f"{i}.png") for i in (2, 3, 7)]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("crop_size", 0),
        ("batch_size", 0),
        ("num_workers", -1),
        ("seed", -1),
        ("samples_per_epoch", 0),
        ("eval_limit", 0),
        ("downscale", (0.8, 0.6)),
        ("downscale", (0.0, 0.6)),
        ("downscale", (0.6, 1.5)),
    ],
)
def test_value_out_of_range_names_the_argument(option, value):
    with pytest.raises(UserError, match=rf"data\.{option} is .*must be"):
        CompressionDataModule(**{option: value})


def parser():
    result = jsonargparse.ArgumentParser(exit_on_error=False)
    result.add_class_arguments(CompressionDataModule, "data")
    return result


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_configurations_are_valid(path):
    module = CompressionDataModule(**parser().parse_path(path).data.as_dict())
    assert module.crop_size == 128
    assert module.downscale == ((0.6, 0.8) if path.stem == "photos" else None)


def test_misspelt_key_is_refused():
    with pytest.raises(jsonargparse.ArgumentError, match="crop_sise"):
        parser().parse_object({"data": {"crop_sise": 64}})
