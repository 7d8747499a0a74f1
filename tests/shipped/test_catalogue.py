from pathlib import Path

import pytest

from lightning_codec.codec import Codec
from lightning_codec.errors import UserError
from lightning_codec.shipped.catalogue import FOLDER, Catalogue, Model, shipped
from lightning_codec.shipped.sample import sample_picture
from tests.shipped.fleet import fleet, ships

__all__ = ["fleet", "ships"]  # fixtures


def test_models_are_found_by_name_quality_and_fingerprint(ships: Path) -> None:
    models = Catalogue(ships)
    assert models.names() == ["high", "low", "middle", "real"]
    assert [model.card.name for model in models.models()] == ["low", "middle", "high", "real"]
    assert [model.card.name for model in models.codecs()] == ["low", "middle", "high"]
    for codec in models.codecs():
        found = models.codec_with(codec.card.fingerprint)
        assert found is not None
        assert found.card.name == codec.card.name
    assert models.codec_with("00000000") is None


def test_a_decoder_knows_its_codec_and_a_codec_its_decoder(ships: Path) -> None:
    models = Catalogue(ships)
    real, low, middle = (models.model(name) for name in ("real", "low", "middle"))
    assert models.codec_of(real) == models.codec_of(middle) == middle
    assert models.codec_of(low) == low
    assert models.decoder_of(middle) == models.decoder_of(real) == real
    assert models.decoder_of(low) is None


def test_a_decoder_whose_codec_was_exchanged_is_refused(ships: Path) -> None:
    for suffix in ("json", "safetensors", "lcb"):
        text = (ships / f"high.{suffix}").read_bytes()
        (ships / f"middle.{suffix}").write_bytes(text.replace(b'"high"', b'"middle"'))
    models = Catalogue(ships)
    with pytest.raises(UserError, match=r"^real: decodes files of model \w{8}, which middle \(model \w{8}\) is not"):
        models.codec_of(models.model("real"))


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    models = Catalogue(tmp_path / "none")
    assert (models.names(), models.models(), models.codecs()) == ([], [], [])
    with pytest.raises(UserError, match=r"^x: no model of this name: none ships$"):
        models.model("x")


def test_an_unknown_name_lists_those_that_there_are(ships: Path) -> None:
    for name in ("mid", "", "../models/low", "low.json"):
        with pytest.raises(UserError, match=r": no model of this name; there are high, low, middle, real$"):
            Catalogue(ships).model(name)


def test_the_codecs_of_the_package_load_and_get_better_with_their_quality() -> None:
    """Their weights are those of their cards on every machine, and their files are decoded where they are made."""
    image = sample_picture()
    sizes, errors = [], []
    for model in Catalogue(FOLDER).codecs():
        codec = Codec.load(model)
        assert codec.fingerprint.hex() == model.card.fingerprint
        data = codec.compress(image)
        sizes.append(len(data))
        errors.append(float((codec.decompress(data) - image).square().mean()))
    assert len(sizes) >= 5
    assert sizes == sorted(set(sizes))
    assert errors == sorted(set(errors), reverse=True)
    assert max(errors) < 0.5 * float(image.var())


def test_the_models_of_the_package_have_sound_cards() -> None:
    models = Catalogue(FOLDER).models()
    qualities = [model.card.quality for model in models if model.card.kind == "entropy codec"]
    assert len(set(qualities)) == len(qualities)
    assert all(model.weights.is_file() and model.sample.is_file() for model in models)
    decoded = [Catalogue(FOLDER).codec_of(model).card.name for model in models if model.card.kind != "entropy codec"]
    assert len(set(decoded)) == len(decoded)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 30 * 2**20


@pytest.mark.parametrize("model", shipped().models(), ids=lambda model: model.card.name)
def test_readme_has_the_figures_of_the_card(model: Model) -> None:
    codec = shipped().codec_of(model)
    kind = "entropy codec" if codec == model else "diffusion decoder"
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    (line,) = (line for line in readme.splitlines() if line.startswith(f"| {kind}, `{codec.card.name}` |"))
    figures = [float(cell) for cell in line.strip("|").split("|")[1:]]
    measured = model.card.facts.results["kodak"]
    expected = [measured[key] for key in ("bpp", "psnr", "ms_ssim", "stlpips_alex", "stlpips_vgg")]
    for figure, value, digits in zip(figures, expected, (3, 2, 4, 3, 3), strict=True):
        assert figure == pytest.approx(value, abs=0.51 * 10**-digits)
