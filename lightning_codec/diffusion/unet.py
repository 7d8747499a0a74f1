"""The conditional U-Net of the diffusion decoder (paper, Fig. 1b)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_codec.errors import UserError

TIME_FREQUENCIES = 16


@dataclass(frozen=True)
class UNetConfig:
    """Size of the U-Net, as plain values; it is stored in every checkpoint.

    Args:
        channels: width at every resolution, the finest first; each is half the resolution of the one before.
        units: residual units in every block, or a number for each resolution; the middle has that of the coarsest.
        attention: linear attention at the end of every block. It is global: without it the network sees a bounded
            neighbourhood only, and decoding in tiles differs but little from decoding in one piece.
        patch: 1, or 2 to work on 2x2 pixel-unshuffled input: a quarter of the positions.
        head_channels: width of the output head at full resolution; only with `patch` 2, where it keeps the four
            pixels of a patch from having four unrelated errors. 0 for none.
    """

    channels: tuple[int, ...] = (32, 64, 96, 128, 128, 128)
    units: int | tuple[int, ...] = 2
    attention: bool = True
    patch: int = 1
    head_channels: int = 0

    def __post_init__(self) -> None:
        if self.patch not in (1, 2):
            raise UserError(f"unet: patch is {self.patch}: it must be 1 or 2")
        if self.patch == 1 and self.head_channels:
            raise UserError("unet: head_channels is for patch 2 only: set it to 0")
        if len(self.channels) < 2 or min(self.channels) < 1:
            raise UserError(f"unet: at least two resolutions of one channel, not {self.channels}")
        if len(self.units_by_level) != len(self.channels) or min(self.units_by_level) < 1:
            raise UserError(
                f"unet: units is {self.units}: at least one, or a number for each of {len(self.channels)} resolutions"
            )

    @property
    def units_by_level(self) -> tuple[int, ...]:
        """Residual units of the blocks at every resolution, the finest first."""
        return self.units if isinstance(self.units, tuple) else (self.units,) * len(self.channels)

    @property
    def stride(self) -> int:
        """What the sides of the images must be multiples of."""
        return self.patch << (len(self.channels) - 1)


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of every pixel: no statistics over positions, so tiles equal the whole."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        normalized: Tensor = self.norm(x.permute(0, 2, 3, 1))
        return normalized.permute(0, 3, 1, 2)


class TimeUnit(nn.Module):
    """Residual unit: x + Conv3(SiLU((1 + scale) Conv3(SiLU(Norm(x))) + shift)), scale and shift from the time.

    With a texture map they differ from place to place, too.
    """

    def __init__(self, channels: int, time_channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.expand = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.modulation = nn.Linear(time_channels, 2 * channels)
        self.project = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        # Starts as the identity, whatever the depth.
        for parameter in (*self.project.parameters(), self.modulation.weight):
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """x [B, C, H, W], time [B, T] or [B, h, w, T] -> [B, C, H, W]."""
        modulation = self.modulation(time)
        if modulation.ndim == 2:
            modulation = modulation[:, :, None, None]
        else:  # between the blocks of the map it changes gradually, so that none is seen
            modulation = F.interpolate(modulation.permute(0, 3, 1, 2), size=x.shape[-2:], mode="bilinear")
        scale, shift = modulation.chunk(2, dim=1)
        h = self.expand(F.silu(self.norm(x)))
        h = self.project(F.silu(torch.addcmul(shift, h, 1.0 + scale)))
        out: Tensor = x + h
        return out


class LinearAttention(nn.Module):
    """x + Conv1(context^T q) with context = softmax_positions(k) v^T: linear in the number of positions.

    Source: Shen et al., "Efficient Attention", WACV 2021; one head, as in CDC (Yang and Mandt, NeurIPS 2023).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, kernel_size=1, bias=False)
        self.project = nn.Conv2d(channels, channels, kernel_size=1)
        for parameter in self.project.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        q, k, v = self.qkv(self.norm(x)).flatten(2).chunk(3, dim=1)
        context = torch.softmax(k, dim=-1) @ v.mT  # [B, C, C]
        attended = (context.mT * q.shape[1] ** -0.5) @ q
        update: Tensor = self.project(attended.unflatten(2, x.shape[-2:]))
        return x + update


class Block(nn.Module):
    """Conv1 to the width of the level, residual units, attention: both sides of the U-Net and its middle."""

    def __init__(self, in_channels: int, out_channels: int, time_channels: int, units: int, attention: bool) -> None:
        super().__init__()
        # A 1x1 convolution takes in what is concatenated: a first unit of twice the width would cost twice as much.
        self.merge = nn.Conv2d(in_channels, out_channels, kernel_size=1)
        self.units = nn.ModuleList(TimeUnit(out_channels, time_channels) for _ in range(units))
        self.attention = LinearAttention(out_channels) if attention else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """x [B, C_in, H, W], time as of `TimeUnit` -> [B, C_out, H, W]."""
        x = self.merge(x)
        for unit in self.units:
            x = unit(x, time)
        attended: Tensor = self.attention(x)
        return attended


class TimeEmbedding(nn.Module):
    """t in [0, 1] -> sines and cosines of 1 to 1000 radians -> two linear layers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * TIME_FREQUENCIES, channels), nn.SiLU(), nn.Linear(channels, channels), nn.SiLU()
        )
        rates = torch.logspace(0.0, math.log10(1000.0), TIME_FREQUENCIES)
        self.register_buffer("rates", rates, persistent=False)
        self.rates: Tensor

    def forward(self, t: Tensor) -> Tensor:
        """[B] -> [B, T]."""
        phase = t.to(self.rates)[:, None] * self.rates
        embedding: Tensor = self.layers(torch.cat([phase.sin(), phase.cos()], dim=1))
        return embedding


class UNet(nn.Module):
    """z_t, t and the ladder of the decoded latents to three channels at full resolution.

        z_t, c_0 ─► block ──────────────── skip ────────────────► block ─► head ─► 3 channels
                      ▼ 1/2   (+ c_1 at H/2, c_2 at H/4, c_3 at H/8)   ▲ x2
                    block ──────────────── skip ────────────────► block
                      ▼                      ...                       ▲
                    block ─► middle block ─► (skip) ─────────────► block

    Every resolution has a skip and an up block, the finest one too. Each rung of the ladder joins at its resolution;
    with `patch` 2, z_t and c_0 are unshuffled and join at H/2 beside c_1.

    Args:
        config: size.
        ladder_channels: widths of (c_1, c_2, c_3).
        levels: number of levels of a texture map, which the units see with the time; 0 for none.
    """

    def __init__(self, config: UNetConfig, ladder_channels: tuple[int, int, int], levels: int = 0) -> None:
        super().__init__()
        widths, patch = config.channels, config.patch
        time_channels = 4 * widths[0]
        self.config = config
        self.time = TimeEmbedding(time_channels)
        self.texture: nn.Embedding | None = None
        if levels:
            self.texture = nn.Embedding(levels, time_channels)
            nn.init.zeros_(self.texture.weight)
        # What joins the features of every level: the image and c_0 at the first, then the coarser rungs.
        rungs = [0, *ladder_channels] if patch == 1 else list(ladder_channels)
        joined = [*rungs, *([0] * len(widths))][: len(widths)]
        first = 2 * 3 * patch**2
        inputs = [extra + (first if level == 0 else widths[level - 1]) for level, extra in enumerate(joined)]

        def block(level: int, in_channels: int) -> Block:
            return Block(in_channels, widths[level], time_channels, config.units_by_level[level], config.attention)

        self.downs = nn.ModuleList(block(level, c) for level, c in enumerate(inputs))
        self.downsamplers = nn.ModuleList(nn.Conv2d(c, c, kernel_size=3, stride=2, padding=1) for c in widths[:-1])
        self.middle = block(len(widths) - 1, widths[-1])
        self.ups = nn.ModuleList(block(level, 2 * widths[level]) for level in reversed(range(len(widths))))
        self.upsamplers = nn.ModuleList(nn.Conv2d(c, f, kernel_size=1) for f, c in reversed([*pairwise(widths)]))
        self.head = _Head(config)

    def forward(self, z: Tensor, t: Tensor, ladder: Sequence[Tensor], texture: Tensor | None = None) -> Tensor:
        """One evaluation.

        Args:
            z: z_t, [B, 3, H, W], H and W multiples of `config.stride`.
            t: times [B] in [0, 1].
            ladder: c_0 .. c_3, [B, 3, H, W], [B, N1, H/2, W/2], [B, N2, H/4, W/4], [B, N3, H/8, W/8], c_0 in [-1, 1].
            texture: levels of the texture map, int64 [B, h, w], spread evenly over the image.

        Returns:
            [B, 3, H, W].
        """
        time = self.time(t)
        if self.texture is not None and texture is not None:
            time = time[:, None, None, :] + self.texture(texture)
        fine, *rungs = ladder
        image = torch.cat([z, fine], dim=1)
        x = F.pixel_unshuffle(image, self.config.patch)
        joining = [x[:, :0], *rungs] if self.config.patch == 1 else rungs
        skips = []
        for level, down in enumerate(self.downs):
            if level < len(joining):
                x = torch.cat([x, joining[level]], dim=1)
            x = down(x, time)
            skips.append(x)
            if level < len(self.downsamplers):
                x = self.downsamplers[level](x)
        x = self.middle(x, time)
        for level, up in enumerate(self.ups):
            x = up(torch.cat([x, skips.pop()], dim=1), time)
            if level < len(self.upsamplers):
                # 1x1, then bilinear: a tenth of what a transposed convolution costs, and it cannot leave a grid.
                x = F.interpolate(self.upsamplers[level](x), scale_factor=2.0, mode="bilinear")
        out: Tensor = self.head(x, image)
        return out


class _Head(nn.Module):
    """Features of the finest level to three channels at full resolution; starts at zero."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        width, wide = config.channels[0], config.head_channels
        self.norm = ChannelNorm(width)
        self.patch = config.patch
        self.wide = wide > 0
        if self.wide:
            self.expand = nn.Conv2d(width, wide * config.patch**2, kernel_size=1)
            self.merge = nn.Conv2d(wide + 6, wide, kernel_size=3, padding=1)
            self.out = nn.Conv2d(wide, 3, kernel_size=3, padding=1)
        else:
            self.out = nn.Conv2d(width, 3 * config.patch**2, kernel_size=3, padding=1)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        """x [B, C, H/p, W/p], image [B, 6, H, W] (z_t and c_0) -> [B, 3, H, W]."""
        x = F.silu(self.norm(x))
        if not self.wide:
            return F.pixel_shuffle(self.out(x), self.patch)
        x = F.silu(F.pixel_shuffle(self.expand(x), self.patch))
        # The mean of 2x2 neighbours is zero for every pattern of the patch's period: no grid gets through. What follows
        # treats all pixels alike.
        x = F.avg_pool2d(F.pad(x, (0, 1, 0, 1), mode="replicate"), kernel_size=2, stride=1)
        out: Tensor = self.out(F.silu(self.merge(torch.cat([x, image], dim=1))))
        return out
