"""Pictures written at test are what the files decode to."""

from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch

from lightning_codec.callbacks.reconstructions import Reconstructions
from lightning_codec.codec import Codec
from lightning_codec.data import CompressionDataModule
from lightning_codec.errors import UserError
from lightning_codec.images import read_image, to_uint8
from lightning_codec.modules import EntropyModelModule
from tests.tiny import TINY_NETWORK


def test_the_first_images_are_written_with_their_files_and_pictures(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = EntropyModelModule(network=TINY_NETWORK, lmbda=0.01)
    data = CompressionDataModule(num_workers=0)
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
        limit_test_batches=3,
        callbacks=[Reconstructions(images=2)],
    )
    trainer.test(module, data, verbose=False)
    folder = tmp_path / "reconstructions" / "dead_leaves"
    assert len(list(folder.iterdir())) == 2 * 3
    originals = sorted(folder.glob("*_original.png"))
    codec = Codec(module.model)
    for original in originals:
        stem = original.name.removesuffix("_original.png")
        coded = (folder / f"{stem}.lcb").read_bytes()
        picture = to_uint8(read_image(folder / f"{stem}_decoded.png"))
        assert torch.equal(picture, to_uint8(codec.decompress(coded)))
        assert coded == codec.compress(read_image(original))


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(UserError, match="0 or more"):
        Reconstructions(images=-1)
