import dataclasses
import hashlib
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lightning_codec.bitstream import read_header
from lightning_codec.checkpoint import CheckpointError
from lightning_codec.codec import Codec
from lightning_codec.diffusion.sampling import SamplingConfig
from lightning_codec.diffusion_decoder import DecodeOptions, DiffusionDecoder
from lightning_codec.errors import UserError
from lightning_codec.evaluation import compressai_models
from lightning_codec.evaluation.baselines import ClassicCodec, baseline_named
from lightning_codec.evaluation.model_codecs import DECIDING_FILES, DECIDING_ROOMS
from lightning_codec.evaluation.settings import BaselineRequest, CodecSetting, ModelRequest, resolve
from lightning_codec.weights import FOLDER_VARIABLE
from tests.evaluation.pictures import picture
from tests.tiny import tiny_compression_model, tiny_denoiser, write_diffusion_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "last.ckpt"
    write_diffusion_checkpoint(path, tiny_compression_model(), tiny_denoiser(), SamplingConfig(steps=2))
    return path


def only(request: ModelRequest) -> CodecSetting:
    (setting,) = resolve([], [request]).settings
    return setting


def test_classic_codecs_come_with_what_codes_and_how():
    resolved = resolve([BaselineRequest("jpeg", (30, 5)), BaselineRequest("webp", (50,))], [])
    assert [(s.codec, s.setting) for s in resolved.settings] == [("jpeg", "30"), ("jpeg", "5"), ("webp", "50")]
    setting = resolved.settings[0]
    assert "libjpeg" in setting.description
    assert "4:2:0" in setting.description
    assert setting.identity == resolved.settings[1].identity  # the setting itself is part of the key beside it
    assert setting.single_thread
    image = picture(0)
    baseline = baseline_named("jpeg")
    assert baseline is not None
    expected = ClassicCodec(baseline, 30).compress(image)
    assert pickle.loads(pickle.dumps(setting)).source.load().compress(image) == expected


def test_a_codec_that_is_not_there_is_absent_with_the_reason(monkeypatch, tmp_path):
    baseline = baseline_named("avif")
    assert baseline is not None
    gone = baseline._replace(library=lambda: None)
    monkeypatch.setattr("lightning_codec.evaluation.settings.baseline_named", lambda name: gone)
    resolved = resolve([BaselineRequest("avif", (30, 40))], [])
    reason = "this installation cannot code it: install Pillow 11.3 or later"
    assert resolved == ([], {"avif:30": reason, "avif:40": reason})
    monkeypatch.undo()
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    resolved = resolve([BaselineRequest("mbt2018", (3,))], [])
    assert resolved.settings == []
    assert "its weights are not there" in resolved.absent["mbt2018:3"]


def test_a_published_model_is_known_by_its_weights(monkeypatch, tmp_path):
    path = tmp_path / "weights-01234567.pth.tar"
    path.write_bytes(b"weights")
    monkeypatch.setattr(compressai_models, "find_weights", lambda model, quality: path)
    monkeypatch.setattr(compressai_models, "weights_sha256", lambda path: hashlib.sha256(path.read_bytes()).hexdigest())
    (setting,) = resolve([BaselineRequest("mbt2018-mean-ms-ssim", (3,))], []).settings
    assert (setting.codec, setting.setting, setting.single_thread) == ("mbt2018-mean-ms-ssim", "3", False)
    path.write_bytes(b"other weights")
    assert resolve([BaselineRequest("mbt2018-mean-ms-ssim", (3,))], []).settings[0].identity != setting.identity


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (
            BaselineRequest("heic", (1,)),
            "baseline .heic.: the known ones are jpeg, webp, jpeg2000, avif, jxl, bmshj",
        ),
        (BaselineRequest("jpeg", (96,)), "jpeg: quality 96: it must be a whole number from 1 to 95"),
        (BaselineRequest("mbt2018", (9,)), "mbt2018: quality 9: it must be one of 1, 2"),
        (BaselineRequest("jpeg", (30, 30)), "jpeg 30 is given twice"),
    ],
)
def test_baselines_that_do_not_exist_are_refused(request_, message):
    with pytest.raises(UserError, match=message):
        resolve([request_], [])


def test_a_checkpoint_is_its_entropy_codec(checkpoint):
    setting = only(ModelRequest(checkpoint))
    assert setting.codec == "lightning-codec"
    assert not setting.single_thread
    image, codec = picture(0), Codec.load(checkpoint)
    data = codec.compress(image)
    assert read_header(data).fingerprint.hex() == setting.setting
    loaded = pickle.loads(pickle.dumps(setting)).source.load()
    assert loaded.compress(image) == data
    assert torch.equal(loaded.decompress(data), codec.decompress(data))


def test_a_checkpoint_with_its_diffusion_decoder_at_given_options(checkpoint):
    request = ModelRequest(checkpoint, "ours", "diffusion", {"sampler": "heun"}, 3, 0.5)
    setting = only(request)
    assert (setting.codec, setting.setting[8:]) == ("ours", ",heun,steps=2,seed=3,perception=0.5")
    decoder = DiffusionDecoder.load(checkpoint)
    decoder.sampling = dataclasses.replace(decoder.sampling, sampler="heun")
    data = decoder.compress(picture(0))
    expected = decoder.decompress(data, DecodeOptions(3, 0.5))
    assert torch.equal(setting.source.load().decompress(data), expected)
    assert not torch.equal(decoder.decompress(data, DecodeOptions(4, 0.5)), expected)


def test_a_start_of_ones_own_is_named_and_taken(checkpoint):
    setting = only(ModelRequest(checkpoint, "ours", "diffusion", {"t_start": 1.0}, 3))
    assert setting.setting[8:] == ",2m,steps=2,t_start=1,seed=3,perception=1"
    decoder = DiffusionDecoder.load(checkpoint)
    data = decoder.compress(picture(0))
    assert decoder.sampling.t_start != 1.0
    decoder.sampling = dataclasses.replace(decoder.sampling, t_start=1.0)
    assert torch.equal(setting.source.load().decompress(data), decoder.decompress(data, DecodeOptions(3)))
    with pytest.raises(UserError, match=r"sampling: t_start is 2.0: it must lie in \(0, 1\]"):
        only(ModelRequest(checkpoint, "ours", "diffusion", {"t_start": 2.0}))


def test_whatever_changes_the_picture_changes_the_identity(checkpoint, tmp_path):
    other_codec, other_decoder, other_time = (tmp_path / name for name in ("codec.ckpt", "decoder.ckpt", "time.ckpt"))
    write_diffusion_checkpoint(other_codec, tiny_compression_model(1), tiny_denoiser(), SamplingConfig(steps=2))
    write_diffusion_checkpoint(other_decoder, tiny_compression_model(), tiny_denoiser(1), SamplingConfig(steps=2))
    write_diffusion_checkpoint(
        other_time, tiny_compression_model(), tiny_denoiser(), SamplingConfig(steps=2, t_start=0.5)
    )
    requests = [
        ModelRequest(checkpoint),
        ModelRequest(other_codec),
        *(ModelRequest(path, None, "diffusion") for path in (checkpoint, other_codec, other_decoder, other_time)),
        ModelRequest(checkpoint, None, "diffusion", {"steps": 3}),
        ModelRequest(checkpoint, None, "diffusion", {}, 1),
        ModelRequest(checkpoint, None, "diffusion", {}, 0, 0.9),
    ]
    assert len({only(request).identity for request in requests}) == len(requests)
    # the decoder's own weights are none of the entropy codec's business
    assert only(ModelRequest(other_decoder)).identity == only(ModelRequest(checkpoint)).identity


def test_the_source_that_decides_is_all_that_the_decoders_import():
    code = (
        "import sys, lightning_codec.codec, lightning_codec.diffusion_decoder\n"
        "print(*(name for name in sys.modules if name.startswith('lightning_codec.')))"
    )
    found = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[1] for name in found.stdout.split()}
    deciding = {*DECIDING_ROOMS, *(name.removesuffix(".py") for name in DECIDING_FILES)}
    assert loaded - {"errors", "files"} == deciding


def test_a_checkpoint_that_a_training_has_overwritten_is_not_measured_under_its_old_name(checkpoint, tmp_path):
    path = tmp_path / "last.ckpt"
    path.write_bytes(checkpoint.read_bytes())
    setting = only(ModelRequest(path))
    write_diffusion_checkpoint(path, tiny_compression_model(5), tiny_denoiser(), SamplingConfig())
    with pytest.raises(UserError, match=r"last\.ckpt: was overwritten with other weights meanwhile"):
        setting.source.load()


def test_models_that_cannot_be_evaluated_are_refused(checkpoint, tmp_path):
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        resolve([], [ModelRequest(tmp_path / "none.ckpt")])
    with pytest.raises(UserError, match="sampler is 'euler': it must be one of"):
        resolve([], [ModelRequest(checkpoint, None, "diffusion", {"sampler": "euler"})])
    with pytest.raises(UserError, match=r"lightning-codec \w+ is given twice"):
        resolve([], [ModelRequest(checkpoint), ModelRequest(checkpoint)])
