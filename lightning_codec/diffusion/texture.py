"""How much texture is where: energies of local frequency bands, for comparing an estimate with its original."""

import torch
from torch import Tensor

from lightning_codec.diffusion.dct import dct2, frequencies

BLOCK = 16
BANDS = 8
# Along rows, askew and along columns: waves on water are not a mesh of the same energy.
DIRECTIONS = 3
# Of brightness, and of each of the two colours: one and a half levels of 255, and half a level. Differences of what
# cannot be seen do not count.
FLOORS = ((1.5 / 127.5) ** 2, (0.5 / 127.5) ** 2, (0.5 / 127.5) ** 2)
# Grain where there was none is seen sooner than texture that is missing, and coloured grain is in no photograph.
EXCESSES = (1.6, 4.0, 4.0)
# More than brightness in excess: a band that is too weak in the whole is worth strengthening in every block.
WHOLE = 2.0


def band_energies(x: Tensor, directions: int = 1) -> Tensor:
    """Mean squared DCT coefficient in rings of equal width, for 16 x 16 blocks of brightness and two colours.

    Args:
        x: images [B, 3, H, W] in [-1, 1], H and W at least 16.
        directions: sectors of equal angle that every ring is divided into, from frequencies along rows to those along
            columns. The two diagonals are one direction of the DCT.

    Returns:
        [B, 3, BANDS * directions, rows of blocks, columns of blocks], the directions of a ring together; the mean of a
        block is in no band.
    """
    mixing = x.new_tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]])
    mixing = mixing / mixing.norm(dim=1, keepdim=True)
    opponent = torch.einsum("dc,bchw->bdhw", mixing, x)
    blocks = opponent.unfold(2, BLOCK, BLOCK).unfold(3, BLOCK, BLOCK)
    power = dct2(blocks).square().flatten(-2)
    omega = frequencies(BLOCK, BLOCK, x)
    ring = (omega.squared.sqrt() / torch.pi * BANDS).long().clamp(max=BANDS - 1)
    angle = torch.atan2(omega.rows.sqrt(), omega.columns.sqrt())  # 0 along a row, pi / 2 along a column
    sector = (angle / (torch.pi / 2.0) * directions).long().clamp(max=directions - 1)
    weights = torch.nn.functional.one_hot((ring * directions + sector).flatten(), BANDS * directions).to(x)
    weights[0] = 0.0
    return (power @ (weights / weights.sum(0))).movedim(-1, 2)


def texture_distance(x_hat: Tensor, x: Tensor) -> Tensor:
    """How much the energies of bands differ, block by block and in the whole picture, of every image: [B].

    The sum of two means of |ln((E(x_hat) + floor) / (E(x) + floor))|: over bands and blocks, where too much energy
    counts `EXCESSES` times, and, `WHOLE` times, over the bands of the picture; bands are rings in `DIRECTIONS` parts.
    Where nothing but the mean of what could be there is drawn, energy is missing; where grain covers a flat region,
    there is too much of it. Both are seen here, whatever the place of every single detail. What is best for every
    single block is a low quantile of its energy, the median were both sides alike, and less than the mean: hence the
    energy of the whole, which goes where texture is.

    Args:
        x_hat: estimates [B, 3, H, W] in [-1, 1].
        x: originals, of the same shape.
    """
    with torch.autocast(x.device.type, enabled=False):
        estimate, original = (band_energies(picture.float(), DIRECTIONS) for picture in (x_hat, x))
    floor, excess = (estimate.new_tensor(values)[:, None, None, None] for values in (FLOORS, EXCESSES))
    blocks = ((estimate + floor) / (original + floor)).log()
    blocks = torch.maximum(excess * blocks, -blocks)
    there, wanted = (energies.mean((-2, -1), keepdim=True) + floor for energies in (estimate, original))
    whole = (there / wanted).log().abs()
    return blocks.flatten(1).mean(1) + WHOLE * whole.flatten(1).mean(1)
