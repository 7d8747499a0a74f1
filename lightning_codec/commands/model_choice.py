"""Which model a command works with: the one that is named, or one that ships."""

import os
from pathlib import Path

from lightning_codec.commands.parser import MODEL_VARIABLE
from lightning_codec.errors import UserError
from lightning_codec.shipped.catalogue import Catalogue, Model, shipped

NAME_ONE = f"with --model CKPT or in the variable {MODEL_VARIABLE}"


def named_model(option: Path | None) -> Path | None:
    """The model of --model, or else that of the variable; None where neither is given."""
    variable = os.environ.get(MODEL_VARIABLE)
    return option or (Path(variable) if variable else None)


def model_to_compress(option: Path | None, quality: int | None) -> Path | Model:
    """The model of --model, of --quality, of the variable, or the middle one of those that ship.

    Raises:
        UserError: both options, a quality that there is not, or no model at all.
    """
    if option is not None and quality is not None:
        raise UserError("--quality is one of the models that ship, --model names another: leave one of them out")
    named = named_model(option)
    if quality is None and named is not None:
        return named
    codecs = shipped_or_refused().codecs()
    if quality is None:
        return codecs[(len(codecs) - 1) // 2]
    for codec in codecs:
        if codec.card.quality == quality:
            return codec
    known = ", ".join(str(codec.card.quality) for codec in codecs)
    raise UserError(f"--quality {quality}: the qualities of the models that ship are {known}")


def model_of_file(fingerprint: str) -> Model:
    """The codec that ships and whose files carry a fingerprint, in hexadecimal.

    Raises:
        UserError: there is none.
    """
    model = shipped_or_refused().codec_with(fingerprint)
    if model is None:
        raise UserError(f"coded with model {fingerprint}, which does not ship: give its checkpoint {NAME_ONE}")
    return model


def shipped_or_refused() -> Catalogue:
    """The models that ship.

    Raises:
        UserError: no codec does.
    """
    catalogue = shipped()
    if not catalogue.codecs():
        raise UserError(f"no model: none ships with this version, give a checkpoint {NAME_ONE}")
    return catalogue
