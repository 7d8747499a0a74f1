"""The diffusion decoder of a codec's files: the same bytes, a realistic picture."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_codec.bitstream.container import read_header
from lightning_codec.checkpoint import CheckpointError, from_plain, load_weights, read_checkpoint
from lightning_codec.codec import Codec, Decoded
from lightning_codec.diffusion.denoiser import Denoiser, DenoiserConfig
from lightning_codec.diffusion.noise import noise_key, position_noise
from lightning_codec.diffusion.perception import blend, check_perception, mute_chroma, noise_scale
from lightning_codec.diffusion.samplers import sample, start, time_grid
from lightning_codec.diffusion.sampling import SamplingConfig
from lightning_codec.diffusion.texture_map import MAP_BLOCK
from lightning_codec.errors import UserError
from lightning_codec.model import LATENT_STRIDE
from lightning_codec.shipped.catalogue import Catalogue, Model
from lightning_codec.shipped.loading import ModelSource, check_digest, find_model, load_network, using_init_args
from lightning_codec.tiling import Tile, cover, smallest_tile
from lightning_codec.transforms import crop_to, pad_to_multiple, padded_size
from lightning_codec.transforms.padding import CODEC_STRIDE

Progress = Callable[[int, int], None]
"""Called after every evaluation of the network: how many are done, of how many, over all tiles."""

OVERLAP = 128  # of neighbouring tiles, in pixels
MiB = 2**20
# Measured on Linux, float32: the loaded libraries and what the allocator keeps; the whole picture per pixel, from its
# latents to its PNG; and what one tile may take where no limit is given.
PROGRAM_BYTES = 1024 * MiB
PICTURE_BYTES = 48
TILE_BYTES = 2048 * MiB


@dataclass(frozen=True)
class DecodeOptions:
    """What may differ between two decodings of one file.

    Args:
        seed: of the noise; together with the file's bytes it decides the picture.
        perception: P, from 0, the distortion-oriented picture, to 1, the realistic one.
        memory_limit: of the whole program, in bytes; None for whatever the program and the picture need and 2 GiB for
            the network's work.
    """

    seed: int = 0
    perception: float = 1.0
    memory_limit: int | None = None

    def __post_init__(self) -> None:
        check_perception(self.perception)


class DiffusionDecoder:
    """Files to pictures, with the U-Net.

        file ─► Codec.decode ─► y_hat, psi
        for every tile:  y_hat, psi ─► ladder ─► x_c ─► start at t_0 ─► S steps of the U-Net ─► x_d ─► blend with x_c
        tiles ─► picture

    A large picture is decoded tile by tile, all steps of one before the next. Every tile has its own ladder, from its
    own latents, and the noise of its own positions, so neighbours differ only by what they do not see beyond their
    edges, and the outermost 32 pixels there do not count. Tiled and whole differ by at most a tenth of an 8-bit level
    (about a hundredth on photographs) for a U-Net without attention. Attention is global: with it, tiles are an
    approximation. Where tiles lie depends on the picture's size and the memory limit alone.

    Args:
        codec: whose files are decoded.
        denoiser: the trained network.
        sampling: how pictures are drawn.
        owned: nobody else has the denoiser. Otherwise it is copied, so that its training may go on meanwhile.
    """

    def __init__(self, codec: Codec, denoiser: Denoiser, sampling: SamplingConfig, owned: bool = False) -> None:
        self.codec = codec
        self.sampling = sampling
        # The faster layout for the U-Net, 1.2 times on a CPU; the codec's own is part of how its files are coded.
        own = denoiser if owned else copy.deepcopy(denoiser)
        self.denoiser = own.eval().float().to(memory_format=torch.channels_last)
        self.denoiser.requires_grad_(False)

    @classmethod
    def load(cls, source: ModelSource, device: str = "cpu") -> "DiffusionDecoder":
        """The decoder of a checkpoint or of a model that ships, with the averaged weights, and its codec.

        Args:
            source: path of the checkpoint, or name of a decoder or codec that ships; a file that exists is a
                checkpoint.
            device: where transforms and U-Net are computed.

        Raises:
            CheckpointError: there is neither, it is damaged, not of this package, or an entropy codec only.
        """
        found = find_model(source)
        if isinstance(found, Model):
            return cls._load_shipped(found, device)
        content = read_checkpoint(found)
        if "decoder" not in content.init_args:
            raise CheckpointError(
                f"{found}: has no diffusion decoder, only the entropy codec: "
                "give a checkpoint of DiffusionDecoderModule, or decode with --decoder mse"
            )
        codec = Codec.load(found, device)
        denoiser = _denoiser(content.init_args, codec)
        load_weights(denoiser, content, "ema.module.")
        return cls(codec, denoiser.to(device), from_plain(SamplingConfig, content.init_args["sampling"]), owned=True)

    @classmethod
    def _load_shipped(cls, model: Model, device: str) -> "DiffusionDecoder":
        decoder = Catalogue(model.folder).decoder_of(model)
        if decoder is None:
            raise CheckpointError(f"{model.card.name}: no diffusion decoder of it ships: decode with --decoder mse")
        init_args = decoder.card.init_args
        with using_init_args(decoder):
            sampling = from_plain(SamplingConfig, init_args["sampling"])
        codec = Codec.load(decoder, device)
        denoiser = load_network(decoder, lambda: _denoiser(init_args, codec))
        check_digest(decoder, denoiser)
        return cls(codec, denoiser.to(device), sampling, owned=True)

    @property
    def fingerprint(self) -> bytes:
        """That of the codec; its files are decoded."""
        return self.codec.fingerprint

    def compress(self, image: Tensor) -> bytes:
        """As `Codec.compress`; with a texture map if the network looks at one."""
        return self.codec.encode(image, self.denoiser.config.texture_map).data

    def decompress(
        self,
        data: bytes,
        options: DecodeOptions = DecodeOptions(),
        progress: Progress | None = None,
    ) -> Tensor:
        """The picture of a `.lcb` file: [3, H, W] in [0, 1].

        At perception 0 it is that of `Codec.decompress` to the bit: made in one piece, without a step.

        Raises:
            CodecError: as `Codec.decompress`.
            UserError: the memory limit is too small.
        """
        header = read_header(data)
        self.plan(header.height, header.width, options.memory_limit)
        return self.decode(self.codec.decode(data), noise_key(data, options.seed), options, progress)

    @torch.inference_mode()
    def decode(self, decoded: Decoded, key: bytes, options: DecodeOptions, progress: Progress | None = None) -> Tensor:
        """As `decompress`, from latents that are already decoded.

        Args:
            decoded: the latents of a file.
            key: of the noise, see `noise_key`.
            options: perception and memory limit; the seed is in the key.
            progress: see `Progress`.

        Returns:
            [3, H, W] in [0, 1].

        Raises:
            UserError: the memory limit is too small.
        """
        height, width = decoded.height, decoded.width
        if options.perception == 0.0:
            ladder = self.codec.model.synthesize(decoded.psi, decoded.y_hat)
            return crop_to(ladder.c0, height, width)[0].clamp(0.0, 1.0)
        H, W = padded_size(height, width)
        picture = torch.zeros(3, H, W, device=decoded.y_hat.device)
        plan = self.plan(height, width, options.memory_limit)
        evaluations = self.sampling.evaluations
        for index, tile in enumerate(plan):

            def step(done: int, before: int = index * evaluations) -> None:
                if progress is not None:
                    progress(before + done, len(plan) * evaluations)

            x_hat = self._decode_tile(decoded, tile, key, options.perception, step)
            part = picture[:, tile.rows.start : tile.rows.stop, tile.columns.start : tile.columns.stop]
            part += x_hat.mul_(tile.row_weights.to(x_hat)).mul_(tile.column_weights.to(x_hat))
        return picture.add_(1.0).mul_(0.5).clamp_(0.0, 1.0)[:, :height, :width]

    def plan(self, height: int, width: int, memory_limit: int | None) -> list[Tile]:
        """The tiles in which a picture is decoded.

        Args:
            height: of the picture, in pixels.
            width: of the picture.
            memory_limit: see `DecodeOptions`.

        Raises:
            UserError: the smallest tile would not fit.
        """
        unit = max(CODEC_STRIDE, self.denoiser.config.unet.stride)
        overlap = max(OVERLAP, unit)
        H, W = padded_size(height, width)
        if memory_limit is None:
            return cover(H, W, TILE_BYTES // self.bytes_per_pixel, unit, overlap)
        fixed = PROGRAM_BYTES + PICTURE_BYTES * H * W
        least = fixed + smallest_tile(overlap) * self.bytes_per_pixel
        if memory_limit < least:
            raise UserError(
                f"memory limit {memory_limit // MiB} MiB: program, picture and the smallest tile "
                f"take {-(-least // MiB)} MiB: raise the limit"
            )
        return cover(H, W, (memory_limit - fixed) // self.bytes_per_pixel, unit, overlap)

    @property
    def bytes_per_pixel(self) -> int:
        """Peak memory of decoding one tile, per pixel of it, as measured for networks of all kinds.

        It is that of the U-Net's finest level: the block after the skip is joined, or the head at full resolution;
        besides the finest rungs of the ladder and the images of the sampler.
        """
        unet = self.denoiser.config.unet
        finest = unet.channels[0] // unet.patch**2
        block = (12 if unet.attention else 8) * finest + 2 * finest * self.denoiser.config.texture_map
        head = 6 * unet.head_channels + 2 * finest
        return 4 * (100 + self.codec.model.config.channels[0] // 2 + max(block, head))

    def _decode_tile(
        self, decoded: Decoded, tile: Tile, key: bytes, perception: float, step: Callable[[int], None]
    ) -> Tensor:
        """x_hat of one tile, [3, rows, columns] in about [-1, 1]."""
        sampling, schedule = self.sampling, self.denoiser.config.schedule
        ladder = self._ladder(decoded, tile)
        x_c = ladder[0]
        rows = range(tile.rows.start, tile.rows.start + x_c.shape[-2])
        columns = range(tile.columns.start, tile.columns.start + x_c.shape[-1])

        def noise(draw: int) -> Tensor:
            return position_noise(key, draw, 3, rows, columns)[None].to(x_c.device)

        def estimate(z: Tensor, t: float) -> Tensor:
            x_hat: Tensor = self.denoiser(z, torch.full((1,), t, device=z.device), ladder).x_hat
            return x_hat

        gamma = noise_scale(perception, sampling.gamma)
        x_start = x_c if sampling.warm_start else None
        z = start(schedule, x_start, sampling.t_start, gamma, noise(0), sampling.colour)
        grid = time_grid(sampling.steps, sampling.t_start, sampling.power)
        x_d = sample(estimate, z, grid, schedule, sampling.sampler, noise, sampling.clamp, step)
        x_d = mute_chroma(x_c, x_d, sampling.chroma)
        return crop_to(blend(x_c, x_d, perception)[0], len(tile.rows), len(tile.columns))

    def _ladder(self, decoded: Decoded, tile: Tile) -> list[Tensor]:
        """What the U-Net sees of a tile (`Denoiser.condition`), c_0 in about [-1, 1], padded to its stride."""
        rows = slice(tile.rows.start // LATENT_STRIDE, tile.rows.stop // LATENT_STRIDE)
        columns = slice(tile.columns.start // LATENT_STRIDE, tile.columns.stop // LATENT_STRIDE)
        psi, y_hat = decoded.psi[..., rows, columns], decoded.y_hat[..., rows, columns]
        c3, c2, c1, c0 = self.codec.model.synthesize(psi, y_hat)
        levels = decoded.texture
        if levels is not None:
            top, left = tile.rows.start // MAP_BLOCK, tile.columns.start // MAP_BLOCK
            levels = levels[:, top : tile.rows.stop // MAP_BLOCK, left : tile.columns.stop // MAP_BLOCK]
        stride = self.denoiser.config.unet.stride
        ladder = [
            pad_to_multiple(rung, max(1, stride >> level)).contiguous(memory_format=torch.channels_last)
            for level, rung in enumerate((2.0 * c0 - 1.0, c1, c2, c3))
        ]
        return self.denoiser.condition(ladder, levels)


def _denoiser(init_args: dict[str, Any], codec: Codec) -> Denoiser:
    """The network of a record, not trained."""
    return Denoiser(from_plain(DenoiserConfig, init_args["decoder"]), codec.model.config.channels)
