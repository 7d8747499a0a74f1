"""From the checkpoint of a training to the files of a model that ships."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from safetensors.torch import save
from torch import Tensor, nn

from lightning_codec.checkpoint import load_weights, read_checkpoint, weights_digest
from lightning_codec.codec import Codec
from lightning_codec.diffusion.denoiser import Denoiser
from lightning_codec.diffusion_decoder import DiffusionDecoder
from lightning_codec.errors import UserError
from lightning_codec.files import write_atomically, write_json
from lightning_codec.images import write_png
from lightning_codec.model import CompressionModel
from lightning_codec.multirate import MultiRateNetwork
from lightning_codec.networks import build_network, network_of
from lightning_codec.shipped.card import NAME, Card, Facts
from lightning_codec.shipped.catalogue import Catalogue, Model
from lightning_codec.shipped.sample import decode_sample, encode_sample, pixels_digest
from lightning_codec.shipped.tensors import round_weights


class Order(NamedTuple):
    """What is to be exported."""

    checkpoint: Path
    name: str
    """of the model"""
    quality: int
    """rung of the ladder of rates"""
    facts: Facts
    rate: int = 0
    """which rate of a checkpoint of several, from 0"""
    weights: str | None = None
    """name of the file of tensors; that of the model by default"""
    steps: int | None = None
    """in which a diffusion decoder decodes where nobody says otherwise; those it was trained with by default"""


class _Rounded(NamedTuple):
    """What is stored of a network whose weights have been rounded, and what the card says of it."""

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
        UserError: the checkpoint cannot be used, name, quality or file are taken, or there is no such rate.
        OSError: a file cannot be written.
    """
    content = read_checkpoint(order.checkpoint)
    if "decoder" in content.init_args:
        raise UserError(f"{order.checkpoint}: a diffusion decoder: say with --codec NAME whose files it decodes")
    _check_name(order, catalogue)
    for other in catalogue.codecs():
        if other.card.quality == order.quality:
            raise UserError(f"quality {order.quality} is that of {other.card.name}: give another one")
    stored = build_network(content.init_args)
    rates = stored.rates.count if isinstance(stored, MultiRateNetwork) else 1
    if not 0 <= order.rate < rates:
        raise UserError(f"rate {order.rate}: {order.checkpoint} has {rates}, counted from 0")
    load_weights(stored, content, "" if isinstance(stored, MultiRateNetwork) else "model.")
    trained = _digest(network_of(stored, order.rate))
    tensors = _round(stored, order.checkpoint)
    network = network_of(stored, order.rate)
    rounded = _Rounded(tensors, trained, _digest(network), _count(network))
    codec = Codec(network)
    sample = encode_sample(codec)
    picture = decode_sample(codec, sample)
    card = Card(
        name=order.name,
        kind="entropy codec",
        quality=order.quality,
        codec=order.name,
        fingerprint=codec.fingerprint.hex(),
        weights=order.weights or order.name,
        rate=order.rate,
        parameters=rounded.parameters,
        init_args=content.init_args,
        trained_sha256=rounded.trained_sha256,
        weights_sha256=rounded.weights_sha256,
        pixels_sha256=pixels_digest(picture),
        facts=order.facts,
    )
    return _write(Model(card, catalogue.folder), rounded, sample, picture)


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
    before = _digest(denoiser)
    tensors = _round(denoiser, order.checkpoint)
    rounded = _Rounded(tensors, before, _digest(denoiser), _count(denoiser))
    init_args = read_checkpoint(order.checkpoint).init_args
    if order.steps is not None:
        init_args = {**init_args, "sampling": {**init_args["sampling"], "steps": order.steps}}
    decoder = DiffusionDecoder(Codec.load(model), denoiser, trained.sampling)
    sample = encode_sample(decoder)
    picture = decode_sample(decoder, sample)
    card = Card(
        name=order.name,
        kind="diffusion decoder",
        quality=order.quality,
        codec=codec_name,
        fingerprint=model.card.fingerprint,
        weights=order.weights or order.name,
        rate=0,
        parameters=rounded.parameters,
        init_args=init_args,
        trained_sha256=rounded.trained_sha256,
        weights_sha256=rounded.weights_sha256,
        pixels_sha256=pixels_digest(picture),
        facts=order.facts,
    )
    return _write(Model(card, catalogue.folder), rounded, sample, picture)


def _check_name(order: Order, catalogue: Catalogue) -> None:
    for name in (order.name, order.weights):
        if name is not None and NAME.fullmatch(name) is None:
            raise UserError(f"name {name!r}: give lower-case letters, digits, dots, dashes and underscores")
    if order.name in catalogue.names():
        raise UserError(f"{catalogue.card_path(order.name)}: exists already: give another name, or delete it first")
    if order.quality < 1:
        raise UserError(f"quality is {order.quality}: it must be 1 or more")


def _check_codec(order: Order, network: CompressionModel, model: Model, catalogue: Catalogue) -> None:
    """Refuse a decoder that was trained for another codec than the one that it is to decode the files of."""
    card = model.card
    if card.kind != "entropy codec":
        raise UserError(f"{card.name}: a {card.kind}: name the entropy codec whose files are decoded")
    digest = _digest(network)
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


def _round(network: nn.Module, checkpoint: Path) -> Mapping[str, Tensor]:
    """Round the weights of a network in place; returns what is stored of it."""
    try:
        return round_weights(network)
    except ValueError as error:
        raise UserError(f"{checkpoint}: cannot be stored: {error}; train it again") from error


def _digest(network: CompressionModel | Denoiser) -> str:
    return weights_digest(network.config, network).hex()


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _write(model: Model, rounded: _Rounded, sample: bytes, picture: Tensor) -> Model:
    """Write the files of a model, the card last: what has none is no model yet."""
    content = save(dict(rounded.tensors))
    sharers = [other.card.name for other in Catalogue(model.folder).models() if other.weights == model.weights]
    if sharers and model.weights.read_bytes() != content:
        raise UserError(f"{model.weights}: belongs to {', '.join(sharers)} and has other weights: give another name")
    write_atomically(model.weights, content)
    write_atomically(model.sample, sample)
    write_png(picture / 255, model.picture)
    write_json(Catalogue(model.folder).card_path(model.card.name), asdict(model.card))
    return model
