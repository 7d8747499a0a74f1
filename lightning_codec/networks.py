"""The network of any source: a checkpoint, or a model that ships."""

from typing import Any, NamedTuple

from lightning_codec.checkpoint import CheckpointError, from_plain, load_weights, read_checkpoint
from lightning_codec.errors import UserError
from lightning_codec.model import CompressionModel, NetworkConfig
from lightning_codec.multirate import MultiRateNetwork
from lightning_codec.shipped.catalogue import Catalogue, Model
from lightning_codec.shipped.loading import ModelSource, check_digest, find_model, load_network


def load_model(source: ModelSource) -> CompressionModel:
    """The network of an entropy codec, or of the codec that a diffusion decoder is for.

    Of a checkpoint of several rates it is that of the rate that its module codes with.

    Args:
        source: path of the checkpoint, or name of the model; a file that exists is a checkpoint.

    Raises:
        CheckpointError: there is neither, or it is damaged or not of this package.
    """
    return load_codec(source)[0]


def load_codec(source: ModelSource) -> tuple[CompressionModel, bool]:
    """As `load_model`, and whether the diffusion decoder of the source, if it has one, looks at a texture map."""
    loaded = _load(source)
    network = loaded.network
    model = network if isinstance(network, CompressionModel) else network.turn_into(loaded.rate)
    if loaded.shipped is not None:
        check_digest(loaded.shipped, model)
    return model, loaded.decoder.get("texture_map", False)


def load_rates(source: ModelSource) -> MultiRateNetwork:
    """The networks of several rates. Arguments as `load_model`.

    Raises:
        CheckpointError: as `load_model`, or it is of one rate.
    """
    loaded = _load(source)
    if not isinstance(loaded.network, MultiRateNetwork):
        raise CheckpointError(f"{source}: is of one rate, not of several")
    if loaded.shipped is not None:
        check_digest(loaded.shipped, loaded.network.network(loaded.rate))
    return loaded.network


def build_network(init_args: dict[str, Any]) -> CompressionModel | MultiRateNetwork:
    """The network of a record, with any weights; the codec's, of a diffusion decoder.

    Raises:
        CheckpointError: the record is of another version.
    """
    config = from_plain(NetworkConfig, init_args["network"])
    return MultiRateNetwork(config, init_args["lmbdas"]) if "lmbdas" in init_args else CompressionModel(config)


def network_of(network: CompressionModel | MultiRateNetwork, rate: int | None) -> CompressionModel:
    """The network of a rate, from 0, or of the middle one; `network` itself, if it is of one rate."""
    return network if isinstance(network, CompressionModel) else network.network(rate)


class _Loaded(NamedTuple):
    """What a source has."""

    network: CompressionModel | MultiRateNetwork
    rate: int | None
    """that is meant, from 0, of several; none: the middle one"""
    decoder: dict[str, Any]
    """settings of its diffusion decoder; empty without one"""
    shipped: Model | None
    """whose card has the digest of the network of the rate"""


def _load(source: ModelSource) -> _Loaded:
    found = find_model(source)
    if isinstance(found, Model):
        codec = Catalogue(found.folder).codec_of(found)
        network = load_network(codec, lambda: build_network(codec.card.init_args))
        return _Loaded(network, codec.card.rate, _decoder_settings(found), codec)
    content = read_checkpoint(found)
    network = build_network(content.init_args)
    load_weights(network, content, "model." if isinstance(network, CompressionModel) else "")
    return _Loaded(network, content.init_args.get("rate"), content.init_args.get("decoder", {}), None)


def _decoder_settings(model: Model) -> dict[str, Any]:
    """Those of the diffusion decoder that ships for a model; none, if its card, or any other one, is damaged."""
    try:
        decoder = Catalogue(model.folder).decoder_of(model)
    except UserError:
        return {}
    return {} if decoder is None else decoder.card.init_args.get("decoder", {})
