"""The network of any source: a checkpoint, or a model that ships."""

from typing import Any

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
    network, rate, _ = _load(source)
    return network_of(network, rate)


def load_codec(source: ModelSource) -> tuple[CompressionModel, bool]:
    """As `load_model`, and whether the diffusion decoder of the source, if it has one, looks at a texture map."""
    network, rate, decoder = _load(source)
    return network_of(network, rate), decoder.get("texture_map", False)


def load_rates(source: ModelSource) -> MultiRateNetwork:
    """The networks of several rates. Arguments as `load_model`.

    Raises:
        CheckpointError: as `load_model`, or it is of one rate.
    """
    network, _, _ = _load(source)
    if not isinstance(network, MultiRateNetwork):
        raise CheckpointError(f"{source}: is of one rate, not of several")
    return network


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


def _load(source: ModelSource) -> tuple[CompressionModel | MultiRateNetwork, int | None, dict[str, Any]]:
    """The network of a source, which of its rates is meant, as `network_of` takes it, and its decoder's settings."""
    found = find_model(source)
    if isinstance(found, Model):
        codec = Catalogue(found.folder).codec_of(found)
        network = load_network(codec, lambda: build_network(codec.card.init_args))
        check_digest(codec, network_of(network, codec.card.rate))
        return network, codec.card.rate, _decoder_settings(found)
    content = read_checkpoint(found)
    network = build_network(content.init_args)
    load_weights(network, content, "model." if isinstance(network, CompressionModel) else "")
    return network, content.init_args.get("rate"), content.init_args.get("decoder", {})


def _decoder_settings(model: Model) -> dict[str, Any]:
    """Those of the diffusion decoder that ships for a model; none, if its card, or any other one, is damaged."""
    try:
        decoder = Catalogue(model.folder).decoder_of(model)
    except UserError:
        return {}
    return {} if decoder is None else decoder.card.init_args.get("decoder", {})
