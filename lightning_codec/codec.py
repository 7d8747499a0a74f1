"""The codec: pictures to bytes and back, with the network of any checkpoint or of a model that ships."""

import copy
import zlib
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_codec.bitstream import (
    CdfTables,
    Container,
    CorruptError,
    ImplausibleSizeError,
    SymbolDecoder,
    SymbolEncoder,
    WrongModelError,
    build_tables,
    pack,
    unpack,
)
from lightning_codec.bitstream.levels import decode_levels, encode_levels, least_bits
from lightning_codec.checkpoint import weights_digest
from lightning_codec.diffusion.texture_map import MAP_BLOCK, texture_levels
from lightning_codec.entropy import GaussianParams, Pmf, Sites, gather, gaussian_pmfs, scale_index
from lightning_codec.errors import UserError
from lightning_codec.images import check_image
from lightning_codec.model import HYPER_STRIDE, LATENT_STRIDE, CompressionModel
from lightning_codec.networks import load_codec
from lightning_codec.shipped.loading import ModelSource
from lightning_codec.transforms import crop_to, pad_to_multiple, padded_size

FINGERPRINT_BYTES = 4


class Encoded(NamedTuple):
    """A coded picture, and the latents that its file stands for."""

    data: bytes
    y_hat: Tensor
    """[1, M, h, w]"""


class Decoded(NamedTuple):
    """The latents of a file; everything a decoder, of either kind, starts from."""

    y_hat: Tensor
    """[1, M, h, w]"""
    psi: Tensor
    """hyper-features, [1, 2 N_h, h, w]"""
    height: int
    width: int
    rounds: int
    """calls of the arithmetic decoder: 1 for z and one per pass for y, whatever the image size"""
    texture: Tensor | None = None
    """levels of missing texture, int64 [1, H/32, W/32] of the padded picture, where the file tells them"""


class Codec:
    """Compress and decompress with one network.

        image ─► g_a ─► y ─► h_a ─► z ─► rANS ─► segment 0
          │             └─► walk of the entropy model ─► rANS ─► segment 1
          └─► what texture the decoded picture lacks ─► rANS ─► segment 2, if it is asked for

    The encoder and the decoder run the same walk on the same tensors, image by image, in float32. Probability tables
    are made from the weights when first needed.

    What decides a probability is computed on the CPU, wherever the transforms are. On a GPU the convolutions of one
    network give different last digits from call to call: of 24 photographs coded there 11 could not be decoded by the
    very GPU, and none on a CPU.

    Args:
        model: the network; transforms are computed on its device.
        texture_map: whether its files tell a diffusion decoder how much texture is missing where (`texture_levels`).
        owned: nobody else has the network. Otherwise it is copied, so that its training may go on meanwhile.
    """

    def __init__(self, model: CompressionModel, texture_map: bool = False, owned: bool = False) -> None:
        self.texture_map = texture_map
        own = model if owned else copy.deepcopy(model)
        self.model = own.eval().float().to(memory_format=torch.contiguous_format)
        self.model.requires_grad_(False)
        self.model.entropy.cpu()

    @classmethod
    def load(cls, source: ModelSource, device: str = "cpu") -> "Codec":
        """The codec of a checkpoint as Lightning wrote it, or of a model that ships.

        Its files have a texture map where the diffusion decoder of the checkpoint, or that which ships for the model,
        looks at one.

        Args:
            source: path of the checkpoint, or name of the model; a file that exists is a checkpoint.
            device: where transforms are computed.

        Raises:
            CheckpointError: there is neither, or it is damaged or not of this package.
        """
        model, texture_map = load_codec(source)
        return cls(model.to(device), texture_map, owned=True)

    @cached_property
    def fingerprint(self) -> bytes:
        """First 4 bytes of the SHA-256 of configuration and weights; a file names the network it needs by it."""
        return weights_digest(self.model.config, self.model)[:FINGERPRINT_BYTES]

    @cached_property
    def y_tables(self) -> CdfTables:
        """One table per level of the scale table."""
        return _tables(gaussian_pmfs())

    @cached_property
    def z_tables(self) -> CdfTables:
        """One table per hyper-channel, from the weights."""
        return _tables(self.model.entropy.prior.pmfs())

    @property
    def _device(self) -> torch.device:
        return next(self.model.g_a.parameters()).device

    def compress(self, image: Tensor) -> bytes:
        """Code one picture.

        Args:
            image: [3, H, W] in [0, 1], any size from 1x1 up.

        Returns:
            A complete `.lcb` file.

        Raises:
            ValueError: not an image of that form.
            UserError: the network gives no finite latents for this image.
        """
        return self.encode(image).data

    def decompress(self, data: bytes) -> Tensor:
        """The distortion-oriented picture of a `.lcb` file: [3, H, W] in [0, 1].

        Raises:
            CodecError: one of its kinds (`lightning_codec.bitstream.errors`); the message says what is wrong.
        """
        decoded = self.decode(data)
        with torch.inference_mode():
            ladder = self.model.synthesize(decoded.psi, decoded.y_hat)
            return crop_to(ladder.c0, decoded.height, decoded.width)[0].clamp(0.0, 1.0)

    @torch.inference_mode()
    def encode(self, image: Tensor, texture_map: bool | None = None) -> Encoded:
        """As `compress`, and the rounded latents beside the bytes.

        Args:
            image: as of `compress`.
            texture_map: whether the file has one; None for as all of this codec.
        """
        if image.ndim != 3:
            raise ValueError(f"one image [3, H, W] is coded at a time, not {tuple(image.shape)}")
        with_map = self.texture_map if texture_map is None else texture_map
        x = pad_to_multiple(check_image(image, "the image").to(self._device, torch.float32))
        height, width = image.shape[-2:]
        return self.encode_latents(self.model.g_a(x), height, width, x if with_map else None)

    @torch.inference_mode()
    def encode_latents(self, y: Tensor, height: int, width: int, original: Tensor | None = None) -> Encoded:
        """Code latents that are already there.

        Args:
            y: g_a of the padded image, [1, M, H/16, W/16], on any device.
            height: of the original image, in pixels.
            width: of the original image.
            original: the padded image in [0, 1], of which the file is to tell what texture it lacks; None for no map.
        """
        entropy, y = self.model.entropy, y.cpu()
        z_encoder, y_encoder = SymbolEncoder(), SymbolEncoder()
        z_symbols = _symbols(entropy.h_a(y))
        z_encoder.put(z_symbols.flatten(), self._z_indexes(z_symbols), self.z_tables)
        crc = _crc(z_symbols, 0)
        psi = entropy.h_s(z_symbols.float())
        y_groups = entropy.split_groups(y)

        def code(j: int, sites: Sites, params: GaussianParams) -> Tensor:
            nonlocal crc
            symbols = _symbols(gather(y_groups[j], sites) - params.mean)
            y_encoder.put(symbols.flatten(), scale_index(params.log_scale).flatten(), self.y_tables)
            crc = _crc(symbols, crc)
            return symbols.to(params.mean) + params.mean

        y_hat = entropy.walk(psi, code).to(self._device)
        segments = [z_encoder.finish(), y_encoder.finish()]
        if original is not None:
            x_c = self.model.synthesize(psi.to(self._device), y_hat).c0
            segments.append(encode_levels(texture_levels(2.0 * original - 1.0, 2.0 * x_c - 1.0)[0].cpu()))
        return Encoded(pack(Container(self.fingerprint, height, width, crc, tuple(segments))), y_hat)

    @torch.inference_mode()
    def decode(self, data: bytes) -> Decoded:
        """The latents of a `.lcb` file, before any picture is made of them.

        Raises:
            CodecError: as `decompress`.
        """
        container = unpack(data)
        self._check(container)
        entropy = self.model.entropy
        H, W = padded_size(container.height, container.width)
        z_shape = (1, entropy.hyper_channels, H // HYPER_STRIDE, W // HYPER_STRIDE)
        y_count = entropy.latent_channels * (H // LATENT_STRIDE) * (W // LATENT_STRIDE)
        z_indexes = self._z_indexes(torch.empty(z_shape))
        z_decoder = SymbolDecoder(container.segments[0], z_indexes.numel())
        y_decoder = SymbolDecoder(container.segments[1], y_count)
        z_symbols = z_decoder.get(z_indexes, self.z_tables).reshape(z_shape)
        crc = _crc(z_symbols, 0)
        psi = entropy.h_s(z_symbols.float())

        def code(j: int, sites: Sites, params: GaussianParams) -> Tensor:
            nonlocal crc
            if not bool(torch.isfinite(params.log_scale).all()):
                raise CorruptError("the latents lead to probabilities that are not numbers: the file is damaged")
            indexes = scale_index(params.log_scale).flatten()
            symbols = y_decoder.get(indexes, self.y_tables).reshape(params.mean.shape)
            crc = _crc(symbols, crc)
            return symbols.to(params.mean) + params.mean

        y_hat = entropy.walk(psi, code)
        if crc != container.latents_crc:
            raise CorruptError(
                "the decoded latents are not those of the encoder (CRC32): "
                "the file was coded with another number of threads (try --threads) or on a machine whose "
                "floating-point results differ, or is damaged"
            )
        texture = None
        if len(container.segments) == 3:
            texture = decode_levels(container.segments[2], H // MAP_BLOCK, W // MAP_BLOCK)[None].to(self._device)
        rounds = z_decoder.rounds + y_decoder.rounds
        return Decoded(y_hat.to(self._device), psi.to(self._device), container.height, container.width, rounds, texture)

    def _check(self, container: Container) -> None:
        """Refuse another network's file, and a size that its bytes cannot hold, before any large allocation."""
        if container.fingerprint != self.fingerprint:
            raise WrongModelError(
                f"coded with model {container.fingerprint.hex()}, this is model {self.fingerprint.hex()}: "
                "give the checkpoint that the file was made with"
            )
        if len(container.segments) not in (2, 3):
            raise CorruptError(f"{len(container.segments)} segments where this model writes 2, or 3 with a texture map")
        H, W = padded_size(container.height, container.width)
        entropy = self.model.entropy
        least = (
            entropy.hyper_channels * (H // HYPER_STRIDE) * (W // HYPER_STRIDE) * self.z_tables.least_bits,
            entropy.latent_channels * (H // LATENT_STRIDE) * (W // LATENT_STRIDE) * self.y_tables.least_bits,
            (H // MAP_BLOCK) * (W // MAP_BLOCK) * least_bits(),
        )
        for bits, segment in zip(least, container.segments, strict=False):
            if bits > 8 * len(segment) + 64:
                raise ImplausibleSizeError(
                    f"{container.width}x{container.height} pixels do not fit in {len(segment)} bytes: a wrong header"
                )

    def _z_indexes(self, z: Tensor) -> Tensor:
        """Table of each hyper-symbol, its channel: int32 [numel]."""
        _, channels, h, w = z.shape
        return torch.arange(channels, dtype=torch.int32).repeat_interleave(h * w)


def _tables(pmfs: list[Pmf]) -> CdfTables:
    return build_tables([p.probabilities for p in pmfs], [p.tail for p in pmfs], [p.offset for p in pmfs])


def _symbols(values: Tensor) -> Tensor:
    """Round to int32, in memory order channel, row, column.

    Raises:
        UserError: a value is not finite or far outside of any latent.
    """
    rounded = torch.round(values)
    if not bool((rounded.abs() < 2**24).all()):
        raise UserError("the network gives latents that are not finite: this checkpoint has diverged")
    return rounded.to(torch.int32).contiguous()


def _crc(symbols: Tensor, crc: int) -> int:
    """Continue a CRC32 over the symbols as little-endian int32."""
    return zlib.crc32(symbols.contiguous().numpy().astype("<i4").tobytes(), crc)
