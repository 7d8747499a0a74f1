"""From the checkpoint of a training to the files of a model that ships."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from safetensors.torch import save
from torch import Tensor, nn

from lightning_codec.checkpoint import read_checkpoint, weights_digest
from lightning_codec.codec import Codec, load_model
from lightning_codec.diffusion_decoder import DiffusionDecoder
from lightning_codec.errors import UserError
from lightning_codec.files import write_atomically, write_json
from lightning_codec.model import CompressionModel
from lightning_codec.shipped.card import NAME, Card, Facts
from lightning_codec.shipped.catalogue import Catalogue, Model
from lightning_codec.shipped.sample import encode_sample, sample_pixels
from lightning_codec.shipped.tensors import round_weights


class Order(NamedTuple):
    """What is to be exported."""

    checkpoint: Path
    name: str
    """of the model"""
    quality: int
    """rung of the ladder of rates"""
    facts: Facts


class _Rounded(NamedTuple):
    """A network whose weights have been rounded."""

    tensors: Mapping[str, Tensor]
    trained_sha256: str
    weights_sha256: str
    parameters: int


def export_codec(order: Order, catalogue: Catalogue) -> Model:
    """Write an entropy codec; nothing is there until all of it is.

    Args:
        order: with the checkpoint of an entropy codec.
        catalogue: the models among which it will be.

    Raises:
        UserError: the checkpoint cannot be used, or name or quality are taken.
        OSError: a file cannot be written.
    """
    content = read_checkpoint(order.checkpoint)
    if "decoder" in content.init_args:
        raise UserError(f"{order.checkpoint}: a diffusion decoder: say with --codec NAME whose files it decodes")
    _check_name(order, catalogue)
    for other in catalogue.codecs():
        if other.card.quality == order.quality:
            raise UserError(f"quality {order.quality} is that of {other.card.name}: give another one")
    network = load_model(order.checkpoint)
    rounded = _rounded(network, order.checkpoint)
    codec = Codec(network)
    sample = encode_sample(codec)
    card = Card(
        name=order.name,
        kind="entropy codec",
        quality=order.quality,
        codec=order.name,
        fingerprint=codec.fingerprint.hex(),
        parameters=rounded.parameters,
        init_args=content.init_args,
        trained_sha256=rounded.trained_sha256,
        weights_sha256=rounded.weights_sha256,
        pixels_sha256=sample_pixels(codec, sample),
        facts=order.facts,
    )
    return _write(Model(card, catalogue.folder), rounded, sample)


def export_decoder(order: Order, codec_name: str, catalogue: Catalogue) -> Model:
    """Write a diffusion decoder: the averaged weights of its U-Net, without the codec, which is there already.

    Args:
        order: with the checkpoint of a diffusion decoder.
        codec_name: of the codec that it was trained for, among the models of the catalogue.
        catalogue: the models among which it will be.

    Raises:
        UserError: the checkpoint cannot be used or is of another codec, name or quality do not fit, or the codec has
            a decoder.
        OSError: a file cannot be written.
    """
    trained = DiffusionDecoder.load(order.checkpoint)
    _check_name(order, catalogue)
    model = catalogue.model(codec_name)
    _check_codec(order, trained.codec.model, model, catalogue)
    denoiser = trained.denoiser
    rounded = _rounded(denoiser, order.checkpoint)
    sample = model.sample.read_bytes()
    decoder = DiffusionDecoder(Codec.load(model), denoiser, trained.sampling)
    card = Card(
        name=order.name,
        kind="diffusion decoder",
        quality=order.quality,
        codec=codec_name,
        fingerprint=model.card.fingerprint,
        parameters=rounded.parameters,
        init_args=read_checkpoint(order.checkpoint).init_args,
        trained_sha256=rounded.trained_sha256,
        weights_sha256=rounded.weights_sha256,
        pixels_sha256=sample_pixels(decoder, sample),
        facts=order.facts,
    )
    return _write(Model(card, catalogue.folder), rounded, sample)


def _check_name(order: Order, catalogue: Catalogue) -> None:
    if NAME.fullmatch(order.name) is None:
        raise UserError(f"name {order.name!r}: give lower-case letters, digits, dots, dashes and underscores")
    if order.name in catalogue.names():
        raise UserError(f"{catalogue.card_path(order.name)}: exists already: give another name, or delete it first")
    if order.quality < 1:
        raise UserError(f"quality is {order.quality}: it must be 1 or more")


def _check_codec(order: Order, network: CompressionModel, model: Model, catalogue: Catalogue) -> None:
    """Refuse a decoder that was trained for another codec than the one that it is to decode the files of."""
    card = model.card
    if card.kind != "entropy codec":
        raise UserError(f"{card.name}: a {card.kind}: name the entropy codec whose files are decoded")
    digest = weights_digest(network.config, network).hex()
    if digest not in (card.trained_sha256, card.weights_sha256):
        raise UserError(
            f"{order.checkpoint}: was trained for a codec of other weights ({digest[:8]}) "
            f"than {card.name} ({card.trained_sha256[:8]} before rounding): name the one that it is for"
        )
    if order.quality != card.quality:
        raise UserError(f"quality is {order.quality}: that of {card.name}, {card.quality}, is the decoder's too")
    other = catalogue.decoder_of(model)
    if other is not None:
        raise UserError(f"{card.name} has a diffusion decoder already, {other.card.name}: delete that first")


def _rounded(network: nn.Module, checkpoint: Path) -> _Rounded:
    """Round the weights of a network in place."""
    trained = weights_digest(network.config, network).hex()
    try:
        tensors = round_weights(network)
    except ValueError as error:
        raise UserError(f"{checkpoint}: cannot be stored: {error}; train it again") from error
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return _Rounded(tensors, trained, weights_digest(network.config, network).hex(), parameters)


def _write(model: Model, rounded: _Rounded, sample: bytes) -> Model:
    """Write the files of a model, the card last: what has none is no model yet."""
    write_atomically(model.weights, save(dict(rounded.tensors)))
    write_atomically(model.sample, sample)
    write_json(Catalogue(model.folder).card_path(model.card.name), asdict(model.card))
    return model
