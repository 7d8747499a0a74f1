import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_codec.data.named_sets import evaluation_set
from lightning_codec.errors import UserError
from lightning_codec.evaluation import engine
from lightning_codec.evaluation.engine import Measured, Workplace, evaluate
from lightning_codec.evaluation.measures import Measures
from lightning_codec.evaluation.plan import source_images
from lightning_codec.evaluation.settings import CodecSetting
from lightning_codec.evaluation.store import Store
from lightning_codec.images import ImageError, read_image, to_uint8, write_png
from lightning_codec.metrics.psnr import psnr
from lightning_codec.metrics.sets import set_distance
from lightning_codec.provenance import Provenance
from tests.evaluation.fakes import CoarseCodec, FakeMeasures, InlinePool, Log, coarse
from tests.evaluation.pictures import picture, write_pictures

PROVENANCE = Provenance({"torch": "1"}, "abc", "cpu")


class Bed:
    """A set of pictures, a log of the codec's calls, and a place to evaluate."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(engine, "Pool", InlinePool)
        self.images = write_pictures(folder / "set", 3)
        self.out = folder / "out"
        self.log = folder / "log"
        self.place = Workplace(Store(self.out / "work"), 1, 1, PROVENANCE)
        self.settings: list[CodecSetting] = [coarse(self.log, 32), coarse(self.log, 8)]
        self.measures: Measures = FakeMeasures()

    def run(self, watcher: Log | None = None) -> Measured:
        self.log.write_text("")
        images = source_images(evaluation_set(str(self.images), Path()), None, self.out)
        return evaluate("set", images, self.settings, self.measures, self.place, watcher or Log())

    def coded(self) -> list[str]:
        """Step and size of what was coded in the last run, warm-up aside."""
        return [line for line in self.log.read_text().splitlines() if "load" not in line and "64x64" not in line]


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bed:
    return Bed(tmp_path, monkeypatch)


def without_times(measured: Measured) -> list[object]:
    return [coded.record._replace(encode_seconds=0.0, decode_seconds=0.0) for coded in measured.coded]


def test_a_row_says_what_the_codec_did_to_the_image(bed):
    measured = bed.run()
    assert [(c.record.setting, c.record.image) for c in measured.coded] == list(
        itertools.product(("8", "32"), ("0.png", "2.png", "sub/1.png"))
    )
    for coded in measured.coded:
        record = coded.record
        image = read_image(bed.images / record.image)
        codec = CoarseCodec(bed.settings[0].source if record.setting == "32" else bed.settings[1].source)
        data = codec.compress(image)
        x_hat = codec.decompress(data)
        assert (record.height, record.width) == tuple(image.shape[1:])
        assert (record.bytes, record.bpp) == (len(data), 8 * len(data) / image[0].numel())
        assert record.values == {"psnr": float(psnr(x_hat, image)), "ms_ssim": None}
        assert coded.reasons["ms_ssim"].startswith("not applicable")
        assert torch.equal(to_uint8(read_image(coded.picture)), to_uint8(x_hat))
        assert record.protocols == {fact.name: fact.protocol.key for fact in measured.metrics[:2]}
        assert record[-5:-1] == (1, "cpu", {"torch": "1"}, "abc")
        assert 0 < record.encode_seconds < 10
        assert 0 < record.decode_seconds < 10
    assert measured.absent == {"dists": "no network here"}
    assert measured.complete_settings() == {("coarse", "8"), ("coarse", "32")}


def test_distances_between_sets_are_those_of_the_features_of_all_patches(bed):
    distance = bed.run().distances["coarse", "32"]["frechet_vgg64"]
    names = ("0.png", "2.png", "sub/1.png")
    extractor = bed.measures.load().sets[0]
    originals = [read_image(bed.images / name) for name in names]
    codec = CoarseCodec(bed.settings[0].source)
    decoded = [codec.decompress(codec.compress(image)) for image in originals]
    real, fake = ([extractor.features(image) for image in images] for images in (originals, decoded))
    expected = set_distance("frechet_vgg64", real, fake, "0123456789ab")
    assert expected.value is not None
    assert expected.value > 0
    assert distance.value == pytest.approx(expected.value, rel=1e-9)
    assert (distance.n_real, distance.n_fake) == (expected.n_real, expected.n_fake) == (sum(map(len, real)),) * 2


def test_a_second_run_does_nothing_and_says_the_same(bed):
    first = bed.run()
    assert len(bed.coded()) == 6
    watcher = Log()
    second = bed.run(watcher)
    assert watcher.begun == (11, 11)  # 3 originals, 6 coded, 2 distances
    assert watcher.labels == bed.coded() == []
    assert second == first


def test_only_what_an_unlike_image_or_codec_or_metric_touches_is_done_again(bed):
    before = bed.run()
    write_png(picture(9, 46, 62), bed.images / "sub" / "1.png")
    watcher = Log()
    after = bed.run(watcher)
    assert sorted(bed.coded()) == ["32 46x62", "8 46x62"]
    assert len(watcher.labels) == 5  # those, the original, both distances
    assert [r for r in after.coded if r.record.image != "sub/1.png"] == [
        r for r in before.coded if r.record.image != "sub/1.png"
    ]

    bed.settings[0] = coarse(bed.log, 32, identity="other weights")
    bed.run()
    assert len(bed.coded()) == 3
    assert {line.split()[0] for line in bed.coded()} == {"32"}

    bed.measures = FakeMeasures(weights="ba9876543210")
    watcher = Log()
    bed.run(watcher)
    assert watcher.begun == (11, 0)

    bed.measures = FakeMeasures(weights="ba9876543210", psnr="psnr-v99")
    watcher = Log()
    bed.run(watcher)
    assert watcher.begun == (11, 3)  # the originals have no PSNR

    bed.place = bed.place._replace(threads=2)
    bed.run()
    assert len(bed.coded()) == 6


def test_a_setting_more_costs_only_itself(bed):
    bed.run()
    bed.settings.append(coarse(bed.log, 8, codec="other"))
    measured = bed.run()
    assert len(bed.coded()) == 3
    assert [(s.codec, s.setting) for s in measured.settings] == [("coarse", "8"), ("coarse", "32"), ("other", "8")]


@pytest.mark.parametrize("after", range(1, 11))
def test_an_interrupt_after_any_unit_loses_nothing_that_was_finished(bed, after):
    expected = without_times(bed.run())
    bed.place = bed.place._replace(store=Store(bed.out / "again"))
    with pytest.raises(KeyboardInterrupt):
        bed.run(Log(interrupt_after=after))
    begun = bed.coded()
    watcher = Log()
    measured = bed.run(watcher)
    assert watcher.begun == (11, after)
    assert len(watcher.labels) == 11 - after
    assert sorted(begun + bed.coded()) == sorted(
        f"{c.record.setting} {c.record.height}x{c.record.width}" for c in measured.coded
    )
    assert without_times(measured) == expected
    assert not list(bed.place.store.folder.glob(".*.tmp"))


@pytest.mark.parametrize("missing", ["*.png", "*.npy", "*.json"])
def test_a_unit_with_a_file_missing_or_half_written_is_done_again(bed, missing):
    expected = bed.run()
    path = expected.coded[0].picture
    next(path.parent.glob(path.stem + missing)).unlink()
    (path.parent / f".{'0' * 32}.tmp").write_bytes(b"half")
    watcher = Log()
    assert without_times(bed.run(watcher)) == without_times(expected)
    assert watcher.begun == (11, 10)
    assert not list(path.parent.glob(".*.tmp"))
    record = path.with_suffix(".json")
    record.write_bytes(record.read_bytes()[:100])
    assert without_times(bed.run()) == without_times(expected)
    assert len(bed.coded()) == 1


def test_an_image_that_fails_is_named_left_out_and_tried_again(bed):
    write_png(picture(5, 20, 13), bed.images / "thirteen.png")
    write_png(picture(5, 20, 14), bed.images / "zzz.png")
    watcher = Log()
    measured = bed.run(watcher)
    assert measured.failures == [
        ("coarse 32 thirteen.png", "thirteen"),
        ("coarse 32 zzz.png", "the decoded picture is of shape [3, 20, 13], the original [3, 20, 14]"),
        ("coarse 8 thirteen.png", "thirteen"),
        ("coarse 8 zzz.png", "the decoded picture is of shape [3, 20, 13], the original [3, 20, 14]"),
    ]
    assert len(measured.coded) == 6
    assert measured.complete_settings() == set()
    distance = measured.distances["coarse", "8"]["frechet_vgg64"]
    assert (distance.value, distance.reason) == (None, "an image of this setting or an original failed")
    write_png(picture(5, 20, 15), bed.images / "thirteen.png")
    (bed.images / "zzz.png").unlink()
    mended = bed.run()
    assert sorted(bed.coded()) == ["32 20x15", "8 20x15"]
    assert mended.failures == []
    assert mended.distances["coarse", "8"]["frechet_vgg64"].value is not None


def test_a_codec_is_loaded_once_and_warmed_up_before_its_time_counts(bed):
    bed.run()
    lines = bed.log.read_text().splitlines()
    assert lines[:2] == ["32 load", "32 64x64"]
    assert lines.count("8 load") == lines.count("8 64x64") == lines.count("32 load") == 1


def test_costly_codecs_and_large_images_come_first(bed):
    bed.settings = [coarse(bed.log, step, cost=cost, single_thread=False) for step, cost in ((32, 1.0), (8, 9.0))]
    watcher = Log()
    bed.run(watcher)
    assert watcher.labels[:6] == [
        f"coarse {step} {name}" for step in ("8", "32") for name in ("2.png", "sub/1.png", "0.png")
    ]


def test_classic_codecs_come_last_and_image_by_image(bed):
    bed.settings = [coarse(bed.log, 8), coarse(bed.log, 4, single_thread=False), coarse(bed.log, 32, cost=9.0)]
    watcher = Log()
    bed.run(watcher)
    assert watcher.labels[:3] == [f"coarse 4 {name}" for name in ("2.png", "sub/1.png", "0.png")]
    assert watcher.labels[3:9] == [
        f"coarse {step} {name}" for name in ("2.png", "sub/1.png", "0.png") for step in ("32", "8")
    ]


def test_two_evaluations_do_not_share_a_folder(bed):
    with bed.place.store.locked(), pytest.raises(UserError, match="work: this process is evaluating there now"):
        bed.run()
    bed.run()


def test_images_are_sorted_and_limited_and_procedural_ones_become_files(tmp_path):
    write_pictures(tmp_path / "set", 3)
    entry = evaluation_set(str(tmp_path / "set"), Path())
    assert [image.name for image in source_images(entry, 2, tmp_path)] == ["0.png", "2.png"]
    (tmp_path / "set" / "1.jpg").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"1\.jpg: cannot be read as an image"):
        source_images(evaluation_set(str(tmp_path / "set"), Path()), None, tmp_path)
    leaves = evaluation_set("dead_leaves", Path())
    images = source_images(leaves, None, tmp_path / "leaves")
    assert len(images) == 6
    np.testing.assert_array_equal(read_image(images[2].path), leaves.images[2].image[0])
