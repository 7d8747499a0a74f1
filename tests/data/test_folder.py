import logging

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from lightning_codec.data.folder import FolderEvaluationSet, FolderTrainingSet
from lightning_codec.data.sampling import SampleKey
from lightning_codec.errors import UserError
from lightning_codec.images import ImageError, find_images

LEVELS = (0, 50, 100, 150, 200)  # image number i is of this grey


@pytest.fixture
def folder(tmp_path):
    """Five one-coloured images, one of them in a subfolder."""
    (tmp_path / "sub").mkdir()
    for name, level in zip(["0.png", "1.png", "2.png", "3.png", "sub/4.png"], LEVELS, strict=True):
        Image.new("RGB", (40, 40), (level, level, level)).save(tmp_path / name)
    return tmp_path


def training_set(*folders, cache=False):
    return FolderTrainingSet(folders, crop_size=16, downscale=None, seed=0, cache=cache)


def level(crop):
    assert crop.unique().numel() == 1
    return round(crop.unique().item() * 255)


@pytest.mark.parametrize("cache", [False, True])
def test_item_decides_the_file(folder, cache):
    images = training_set(folder, cache=cache)
    crops = [images[SampleKey(0, 0, item)] for item in range(len(images))]
    assert all(crop.shape == (3, 16, 16) and crop.dtype == torch.float32 for crop in crops)
    assert [level(crop) for crop in crops] == list(LEVELS)


def test_several_folders_follow_each_other(folder):
    images = training_set(folder / "sub", folder)
    assert [level(images[SampleKey(0, 0, item)]) for item in range(6)] == [200, *LEVELS]


def test_crop_depends_on_seed_epoch_and_position(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (99, 99, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    keys = [SampleKey(0, 0, 0), SampleKey(0, 1, 0), SampleKey(1, 0, 0)]
    crops = [training_set(tmp_path)[key] for key in keys]
    crops.append(FolderTrainingSet([tmp_path], 16, None, seed=1)[keys[0]])
    assert all(not torch.equal(crops[i], crops[j]) for i in range(4) for j in range(i))
    assert torch.equal(crops[1], training_set(tmp_path)[keys[1]])


def test_cache_reads_no_file_again(folder):
    images = training_set(folder, cache=True)
    for path in images.paths:
        path.unlink()
    assert [level(images[SampleKey(0, 0, item)]) for item in range(5)] == list(LEVELS)


def test_unreadable_file_is_replaced_by_the_next_and_reported_once(folder, caplog):
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:60])
    (folder / "sub" / "4.png").write_bytes(b"text")
    images = training_set(folder)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert [level(images[SampleKey(0, 0, item)]) for item in range(5)] == [0, 100, 100, 150, 0]
    assert images.skipped == 2
    first, second = caplog.messages
    assert "1.png: damaged or incomplete" in first
    assert "1 of 5 files" in first
    assert "4.png: not an image" in second
    assert "2 of 5 files" in second


def test_unreadable_files_are_counted_over_worker_processes(folder):
    (folder / "1.png").write_bytes(b"text")
    images = training_set(folder)
    keys = [SampleKey(0, position, position % 5) for position in range(20)]
    crops = torch.cat(list(DataLoader(images, batch_size=2, sampler=keys, num_workers=2)))
    assert [level(crop) for crop in crops] == [0, 100, 100, 150, 200] * 4
    assert images.skipped == 1


def test_training_needs_readable_images(tmp_path):
    with pytest.raises(UserError, match="missing: no such folder"):
        training_set(tmp_path / "missing")
    with pytest.raises(UserError, match="no image files in this training folder"):
        training_set(tmp_path)
    (tmp_path / "a.png").write_bytes(b"text")
    with pytest.raises(UserError, match="none of the 1 training files can be read"):
        training_set(tmp_path)


def test_evaluation_images_are_whole_and_named_by_relative_path(folder):
    images = FolderEvaluationSet(folder, find_images(folder))
    assert [images[i].name for i in range(len(images))] == ["0.png", "1.png", "2.png", "3.png", "sub/4.png"]
    assert images[4].image.shape == (1, 3, 40, 40)
    assert level(images[4].image) == 200


def test_unreadable_evaluation_image_is_an_error(folder):
    (folder / "1.png").write_bytes(b"text")
    images = FolderEvaluationSet(folder, find_images(folder))
    with pytest.raises(ImageError, match=r"1\.png: not an image"):
        images[1]
