import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torch import Tensor, nn

from lightning_codec.errors import UserError
from lightning_codec.images import from_uint8, read_image, to_uint8
from lightning_codec.metrics import features
from lightning_codec.metrics.features import (
    Features,
    InceptionFeatures,
    SetExtractor,
    SetMetricName,
    VGG16Features,
    set_extractors,
    set_metric,
)
from lightning_codec.metrics.patches import patches
from lightning_codec.metrics.sets import set_distance
from lightning_codec.pretrained import building
from lightning_codec.weights import named
from tests.photos import photos
from tests.trunks import Payload, use_weights

HASH = "0123456789ab"


class MeanColour:
    """In place of a network: mean colour of each patch; counts how often it was loaded."""

    name, weights, dimensions, loaded = "mean colour", HASH, 3, 0

    def __init__(self) -> None:
        type(self).loaded += 1

    def __call__(self, patches: Tensor) -> Tensor:
        assert patches.dtype == torch.uint8
        return patches.float().mean(dim=(2, 3))


@pytest.fixture
def no_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    MeanColour.loaded = 0
    monkeypatch.setattr(features, "InceptionFeatures", MeanColour)
    monkeypatch.setattr(features, "VGG16Features", MeanColour)


def test_one_network_serves_both_distances_that_need_it(no_networks: None) -> None:
    suite = set_extractors(["kid256", "frechet_vgg64", "fid256"])
    assert suite.absent == {}
    assert MeanColour.loaded == 2
    assert [(e.patch_size, [m.name for m in e.metrics]) for e in suite.extractors] == [
        (256, ["fid256", "kid256"]),
        (64, ["frechet_vgg64"]),
    ]
    keys = {m.name: m.protocol.key for e in suite.extractors for m in e.metrics}
    assert keys == {name: f"{name}-hific-v1@{HASH}" for name in ("fid256", "kid256")} | {
        "frechet_vgg64": f"frechet-vgg64-v1@{HASH}"
    }


def test_vgg_is_never_called_fid() -> None:
    metric = set_metric("frechet_vgg64", HASH)
    assert "FID" not in metric.label
    assert "fid" not in metric.protocol.key
    assert "not comparable with any FID" in metric.protocol.description


def test_features_are_of_8_bit_patches_and_of_the_contract(no_networks: None) -> None:
    (extractor,) = set_extractors(["frechet_vgg64"]).extractors
    x = torch.rand(3, 100, 130)
    array = extractor.features(x)
    assert array.dtype == np.float32
    assert array.shape == (1 * 2 + 1 * 1, 3)
    assert array[1] == pytest.approx(to_uint8(x[:, :64, 64:128]).float().mean(dim=(1, 2)).numpy(), rel=1e-6)
    assert np.array_equal(extractor.features(x[None]), array)
    assert extractor.features(torch.rand(3, 63, 500)).shape == (0, 3)
    for wrong in (2 * x - 1, 255 * x, to_uint8(x)):
        with pytest.raises(ValueError, match="image must"):
            extractor.features(wrong)
    with pytest.raises(ValueError, match="values to unpack"):
        extractor.features(torch.rand(2, 3, 64, 64))


def test_what_cannot_be_had_is_absent_with_the_command_that_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_weights(monkeypatch, tmp_path)
    monkeypatch.setattr(features, "VGG16Features", MeanColour)
    names: list[SetMetricName] = ["fid256", "kid256", "frechet_vgg64"]
    suite = set_extractors(names)
    assert [m.name for e in suite.extractors for m in e.metrics] == ["frechet_vgg64"]
    assert set(suite.absent) == {"fid256", "kid256"}
    assert all(reason.endswith("lightning-codec weights fetch inception") for reason in suite.absent.values())
    with pytest.raises(UserError, match="'fid': it must be one of fid256, kid256, frechet_vgg64"):
        set_extractors(["fid"])  # type: ignore[list-item]


@pytest.fixture(scope="module")
def vgg() -> VGG16Features:
    pytest.importorskip("stlpips_pytorch", reason="the extra `perceptual` is not installed")
    return VGG16Features()


def test_vgg_features_are_the_deepest_of_shift_tolerant_lpips(vgg: VGG16Features) -> None:
    from stlpips_pytorch import stlpips

    with building():
        package = stlpips.LPIPS(net="vgg", variant="shift_tolerant", verbose=False).eval()
    x = torch.randint(256, (3, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        expected = package.net(package.scaling_layer(x / 127.5 - 1)).relu5_3.mean(dim=(2, 3))
        ours = vgg(x)
    assert ours.shape == (3, vgg.dimensions)
    assert ours.dtype == torch.float32
    assert float(expected.std()) > 0.01
    assert torch.allclose(ours, expected, rtol=1e-3, atol=1e-5)


def test_a_row_depends_on_its_own_patch_alone_in_every_chunk(vgg: VGG16Features) -> None:
    x = torch.randint(256, (17, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        together, alone = vgg(x), vgg(x[16:])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(vgg(x[16:]), alone)
        assert vgg(x[:0]).shape == (0, 512)
    assert together.shape == (17, 512)
    assert torch.allclose(together[16:], alone, rtol=1e-3, atol=1e-5)


def test_inception_weights_that_are_no_tensors_are_never_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch_fidelity", reason="torch-fidelity is not installed")
    use_weights(monkeypatch, tmp_path)
    (file,) = named(["inception"])
    torch.save({"weight": Payload(tmp_path / "trace")}, tmp_path / file.file)
    with pytest.raises(UserError, match=r"damaged or no file of weights .*weights verify inception"):
        InceptionFeatures()
    (tmp_path / file.file).write_bytes(pickle.dumps(Payload(tmp_path / "trace"), protocol=2))
    with pytest.raises(UserError, match="damaged or no file"):
        InceptionFeatures()
    assert not (tmp_path / "trace").exists()
    torch.save({"weight": torch.zeros(1)}, tmp_path / file.file)
    with pytest.raises(UserError, match=r"of another network \(.*Missing key") as caught:
        InceptionFeatures()
    assert "\n" not in str(caught.value)


def test_inception_features_are_torch_fidelitys_pooled_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3", reason="torch-fidelity is absent")
    use_weights(monkeypatch, tmp_path)
    torch.manual_seed(0)
    with monkeypatch.context() as patched:  # a network of random weights, which the package does not offer
        patched.setattr(module, "load_state_dict_from_url", lambda *_, **__: {})
        patched.setattr(module.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        reference = module.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    torch.save(reference.state_dict(), tmp_path / named(["inception"])[0].file)
    (extractor,) = set_extractors(["fid256", "kid256"]).extractors
    assert isinstance(extractor.extractor, InceptionFeatures)
    x = torch.rand(3, 384, 400)
    with torch.no_grad():
        expected = reference(patches(to_uint8(x), 256))[0]
    ours = extractor.features(x)
    assert ours.shape == (2, extractor.extractor.dimensions)
    assert float(expected.std()) > 0
    assert np.allclose(ours, expected, rtol=1e-3, atol=1e-5)
    assert extractor.extractor.weights == extractor.metrics[0].protocol.weights
    assert not any(isinstance(m, nn.BatchNorm2d) and m.training for m in extractor.extractor._network.modules())


@pytest.mark.slow
@pytest.mark.data
def test_the_distance_rises_as_jpeg_falls_and_as_blur_grows(vgg: VGG16Features, tmp_path: Path) -> None:
    """Of crops with 144 patches in all, on every eighth feature: twice as many patches as features are needed."""
    extractor = SetExtractor(vgg, 64, (set_metric("frechet_vgg64", vgg.weights),))
    crops = [read_image(path)[:, 160:352, 160:416] for path in sorted(photos("kodak").glob("*.png"))[::3]]
    pictures = [Image.fromarray(to_uint8(crop).permute(1, 2, 0).numpy()) for crop in crops]

    def described(pictures: list[Image.Image]) -> list[Features]:
        return [extractor.features(from_uint8(np.array(picture)))[:, ::8] for picture in pictures]

    originals = described(pictures)

    def distance(decoded: list[Features]) -> float:
        value, _, reason, *_ = set_distance("frechet_vgg64", originals, decoded, vgg.weights)
        assert value is not None, reason
        return value

    def jpeg(picture: Image.Image, quality: int) -> Image.Image:
        picture.save(tmp_path / "x.jpg", quality=quality)
        with Image.open(tmp_path / "x.jpg") as decoded:
            return decoded.convert("RGB")

    by_quality = [distance(described([jpeg(picture, quality) for picture in pictures])) for quality in (75, 30, 8)]
    by_blur = [distance(described([p.filter(ImageFilter.GaussianBlur(s)) for p in pictures])) for s in (0.7, 2.1)]
    assert distance(originals) == pytest.approx(0.0, abs=1e-6)
    assert 0 < by_quality[0] < by_quality[1] < by_quality[2]
    assert 0 < by_blur[0] < by_blur[1]
