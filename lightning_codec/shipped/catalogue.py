"""The models in a folder, found by name, by quality, and by the fingerprint of a file."""

from pathlib import Path
from typing import NamedTuple

from lightning_codec.errors import UserError
from lightning_codec.shipped.card import Card, read_card

FOLDER = Path(__file__).resolve().parents[1] / "models"
"""Of the models that ship."""


class Model(NamedTuple):
    """A model in a folder."""

    card: Card
    folder: Path

    @property
    def weights(self) -> Path:
        """Its tensors, see `lightning_codec.shipped.tensors`."""
        return self.folder / f"{self.card.weights}.safetensors"

    @property
    def sample(self) -> Path:
        """A small file of its codec, by which it is verified."""
        return self.folder / f"{self.card.name}.lcb"

    @property
    def picture(self) -> Path:
        """What the sample decoded to when the model was exported."""
        return self.folder / f"{self.card.name}.png"


class Catalogue:
    """The models in a folder: `<name>.json`, `.lcb` and `.png` of each, and `<weights>.safetensors`, of one or several.

    Nothing but cards is read, and nothing is kept.

    Args:
        folder: of the models; one that does not exist holds none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def card_path(self, name: str) -> Path:
        """Where the card of a model lies."""
        return self.folder / f"{name}.json"

    def names(self) -> list[str]:
        """Of all models, sorted."""
        return sorted(path.stem for path in self.folder.glob("*.json"))

    def models(self) -> list[Model]:
        """All models, entropy codecs first, the lowest quality first. Raises as `model`."""
        models = [self.model(name) for name in self.names()]
        return sorted(models, key=lambda model: (model.card.kind != "entropy codec", model.card.quality))

    def model(self, name: str) -> Model:
        """The model of a name.

        Raises:
            UserError: there is none, or its card is damaged.
        """
        names = self.names()
        if name not in names:
            raise UserError(f"{name}: {no_model_named(names)}")
        return Model(read_card(self.card_path(name)), self.folder)

    def codecs(self) -> list[Model]:
        """The entropy codecs, the lowest quality first. Raises as `model`."""
        return [model for model in self.models() if model.card.kind == "entropy codec"]

    def codec_with(self, fingerprint: str) -> Model | None:
        """The entropy codec whose files carry this fingerprint, in hexadecimal. Raises as `model`."""
        return next((codec for codec in self.codecs() if codec.card.fingerprint == fingerprint), None)

    def codec_of(self, model: Model) -> Model:
        """The entropy codec of a diffusion decoder; an entropy codec is its own.

        Raises:
            UserError: there is none, or it has other weights than those that the decoder was trained for.
        """
        codec = self.model(model.card.codec)
        if (codec.card.kind, codec.card.fingerprint) != ("entropy codec", model.card.fingerprint):
            raise UserError(
                f"{model.card.name}: decodes files of model {model.card.fingerprint}, which {codec.card.name} "
                f"(model {codec.card.fingerprint}) is not: install the package again"
            )
        return codec

    def decoder_of(self, model: Model) -> Model | None:
        """The diffusion decoder of an entropy codec; a diffusion decoder is its own. Raises as `model`."""
        if model.card.kind == "diffusion decoder":
            return model
        decoders = (other for other in self.models() if other.card.kind == "diffusion decoder")
        return next((decoder for decoder in decoders if decoder.card.codec == model.card.name), None)


def shipped() -> Catalogue:
    """The models that come with the package."""
    return Catalogue(FOLDER)


def no_model_named(names: list[str]) -> str:
    """What is said of a name that is not among `names`, those that there are."""
    return f"no model of this name; there are {', '.join(names)}" if names else "no model of this name: none ships"
