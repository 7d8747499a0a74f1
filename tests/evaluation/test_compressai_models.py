import hashlib
import warnings
from pathlib import Path

import pytest
import torch
from compressai.models import FactorizedPrior, JointAutoregressiveHierarchicalPriors, ScaleHyperprior
from compressai.zoo import image as zoo
from torch import nn

from lightning_codec.bitstream import CodecError
from lightning_codec.errors import UserError
from lightning_codec.evaluation.compressai_models import (
    CompressAICodec,
    find_weights,
    published_model,
    published_models,
    weights_sha256,
)
from lightning_codec.transforms import pad_to_multiple
from lightning_codec.weights import FOLDER_VARIABLE
from tests.evaluation.pictures import picture


def network(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = kind(8, 12).eval()
    model.get_parameter("g_a.6.weight").data.mul_(20)
    return model


@pytest.mark.parametrize("kind", [FactorizedPrior, ScaleHyperprior, JointAutoregressiveHierarchicalPriors])
def test_files_decode_to_what_the_network_makes_of_its_own_strings(kind):
    model = network(kind)
    image = picture(0, 70, 100)
    data = CompressAICodec(model).compress(image)
    decoded = CompressAICodec(network(kind)).decompress(data)  # from the bytes alone
    x = pad_to_multiple(image[None])
    with torch.no_grad():
        coded = model.compress(x)  # type: ignore[operator]
        expected = model.decompress(coded["strings"], coded["shape"])["x_hat"]  # type: ignore[operator]
    assert torch.equal(decoded, expected[0, :, :70, :100].clamp(0, 1))
    assert 0 < len(data) - sum(len(batch[0]) for batch in coded["strings"]) <= 7
    for cut in (0, 1):
        with pytest.raises(CodecError):
            CompressAICodec(model).decompress(data[:cut])


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with weights of bmshj2018-hyperprior quality 1, under the name that their hash asks for."""
    file = tmp_path / "weights.tar"
    torch.save(network(ScaleHyperprior).state_dict(), file)
    path = tmp_path / f"bmshj2018-hyperprior-1-{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}.pth.tar"
    file.rename(path)
    monkeypatch.setitem(zoo.model_urls["bmshj2018-hyperprior"]["mse"], 1, f"https://example.org/{path.name}")
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "none"))
    return path


def test_published_weights_are_found_checked_and_loaded(published):
    model = published_model("bmshj2018-hyperprior")
    assert model is not None
    assert model.qualities == tuple(range(1, 9))
    assert find_weights(model, 1) == published
    assert weights_sha256(published) == hashlib.sha256(published.read_bytes()).hexdigest()
    image = picture(0)
    data = CompressAICodec(network(ScaleHyperprior)).compress(image)
    assert CompressAICodec.load(model, 1).compress(image) == data


def test_weights_that_are_damaged_absent_or_of_another_network_are_refused(published):
    model = published_model("bmshj2018-hyperprior")
    assert model is not None
    with pytest.raises(UserError, match=r"bmshj2018-hyperprior quality 2: its weights are not there: put https://"):
        find_weights(model, 2)
    with pytest.raises(UserError, match="quality 9: it must be one of 1, 2, 3, 4, 5, 6, 7, 8"):
        find_weights(model, 9)
    torch.save({"a": torch.zeros(1)}, published)
    with pytest.raises(UserError, match="damaged, its SHA-256 begins with"):
        weights_sha256(published)
    with pytest.raises(UserError, match=r"no weights of bmshj2018-hyperprior \("):
        CompressAICodec.load(model, 1)


def test_names_tell_what_a_model_was_trained_for():
    models = {model.name: model for model in published_models()}
    assert models["mbt2018-mean-ms-ssim"].metric == "ms-ssim"
    assert models["mbt2018-mean"].metric == "mse"
    assert models["cheng2020-anchor"].qualities == (1, 2, 3, 4, 5, 6)
    assert published_model("elic2022") is None
