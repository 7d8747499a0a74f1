"""Masked window attention: sites look at the anchors in their window, and at nothing else."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_codec.entropy.checkerboard import anchor_mask
from lightning_codec.entropy.config import BiasKind
from lightning_codec.entropy.position_bias import position_bias

HEAD_DIM = 16
MLP_RATIO = 2


class ChannelLayerNorm(nn.Module):
    """LayerNorm over the channels of each site: [B, C, h, w] -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C, h, w]."""
        normed: Tensor = self.norm(x.permute(0, 2, 3, 1))
        return normed.permute(0, 3, 1, 2)


def allowed_keys(height: int, width: int, window: int, shift: int) -> Tensor:
    """Which keys each query may look at: bool [windows, P^2, P^2] (query, key), on the CPU.

    A key is allowed if it is an anchor, is a real site (not padding), and lies in the same region as the query: the
    cyclic roll puts opposite borders of the grid side by side in one window, and they must not see each other.

    Args:
        height: h of the grid before padding to whole windows.
        width: w of the grid.
        window: P.
        shift: the roll s; 0 for plain windows.
    """
    H, W = _whole_windows(height, window), _whole_windows(width, window)
    anchors = torch.zeros(H, W, dtype=torch.bool)
    anchors[:height, :width] = anchor_mask(height, width)
    anchors = anchors.roll((-shift, -shift), (0, 1))
    # After the roll the last `shift` rows and columns are those that came round from the other side.
    row_region = (torch.arange(H) >= H - shift).long()
    column_region = (torch.arange(W) >= W - shift).long()
    region = 2 * row_region[:, None] + column_region[None, :]
    key_ok = partition(anchors[None, None].float(), window)[..., 0].bool()
    labels = partition(region[None, None].float(), window)[..., 0]
    return key_ok[:, None, :] & (labels[:, :, None] == labels[:, None, :])


def _whole_windows(size: int, window: int) -> int:
    return -(-size // window) * window


def partition(x: Tensor, window: int) -> Tensor:
    """[B, C, H, W] (multiples of P) -> [B * windows, P^2, C]."""
    B, C, H, W = x.shape
    x = x.reshape(B, C, H // window, window, W // window, window)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(-1, window * window, C)


def unpartition(x: Tensor, window: int, height: int, width: int) -> Tensor:
    """Undo `partition`: [B * windows, P^2, C] -> [B, C, height, width]."""
    C = x.shape[-1]
    x = x.reshape(-1, height // window, width // window, window, window, C)
    return x.permute(0, 5, 1, 3, 2, 4).reshape(-1, C, height, width)


def masked_softmax(logits: Tensor, allowed: Tensor) -> Tensor:
    """Softmax over the last axis on the allowed keys; exactly 0 elsewhere, and a zero row where no key is allowed.

    Args:
        logits: [..., queries, keys].
        allowed: bool, broadcastable to `logits`.
    """
    lowest = torch.finfo(logits.dtype).min
    return torch.softmax(logits.masked_fill(~allowed, lowest), dim=-1) * allowed


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # the first caller may be an evaluation, and a later one a training step
def packed_mask(height: int, width: int, window: int, shift: int, all_queries: bool) -> Tensor | None:
    """`allowed_keys` of the queries and keys that are computed: bool [windows, queries, P^2 / 2], on the CPU.

    None where every one of them is allowed: plain windows on a grid of whole ones need no mask at all.
    """
    anchor, other = window_tokens(window)
    mask = allowed_keys(height, width, window, shift)[:, :, anchor]
    mask = mask if all_queries else mask[:, other]
    return None if bool(mask.all()) else mask


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def window_tokens(window: int) -> tuple[Tensor, Tensor]:
    """Tokens of a window that are anchors, and those that are not: int64 [P^2 / 2] each.

    They are the same in every window, shifted or not: P is even, and the roll moves rows and columns alike.
    """
    anchors = anchor_mask(window, window).flatten()
    return anchors.nonzero()[:, 0], (~anchors).nonzero()[:, 0]


class MaskedWindowAttention(nn.Module):
    """W-MSA or SW-MSA over the anchors of each window, with a relative position bias (paper, global context).

    logits_pq = <Q_p, K_q> / sqrt(d_h) + b(delta_pq), masked by `allowed_keys`. Q, K and V come from a 1x1 convolution
    and a depth-wise 3x3 one. Keys that can never be allowed, and queries whose result the layer throws away, are left
    out before the product: a quarter of the pairs remains.

    Args:
        width: D, channels of a token.
        window: P.
        shift: 0 (W-MSA) or P/2 (SW-MSA).
        bias: kind of the relative position bias.
        update_anchors: the anchors are queries as well; otherwise the output there is a constant, not to be used.
    """

    def __init__(self, width: int, window: int, shift: int, bias: BiasKind, update_anchors: bool) -> None:
        super().__init__()
        self.update_anchors = update_anchors
        self.heads = max(1, width // HEAD_DIM)
        while width % self.heads:
            self.heads -= 1
        self.window = window
        self.shift = shift
        self.to_qkv = nn.Sequential(
            nn.Conv2d(width, 3 * width, kernel_size=1),
            nn.Conv2d(3 * width, 3 * width, kernel_size=3, padding=1, groups=3 * width),
        )
        self.bias = position_bias(bias, self.heads, window)
        self.project = nn.Conv2d(width, width, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, D, h, w], any h and w -> [B, D, h, w]."""
        height, width = x.shape[-2:]
        P, s = self.window, self.shift
        H, W = _whole_windows(height, P), _whole_windows(width, P)
        qkv = F.pad(self.to_qkv(x), (0, W - width, 0, H - height))
        if s:
            qkv = qkv.roll((-s, -s), (2, 3))
        merged = unpartition(self._attend(partition(qkv, P), height, width), P, H, W)
        if s:
            merged = merged.roll((s, s), (2, 3))
        out: Tensor = self.project(merged[..., :height, :width])
        return out

    def _attend(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """tokens [B * windows, P^2, 3 D] of a grid of height x width -> [B * windows, P^2, D]."""
        anchor, other = (index.to(tokens.device) for index in window_tokens(self.window))
        q, k, v = tokens.chunk(3, dim=-1)
        bias = self.bias().to(q)
        if not self.update_anchors:
            q = q[:, other]
            bias = bias if bias.shape[1] == 1 else bias[:, other]
        bias = bias if bias.shape[2] == 1 else bias[:, :, anchor]
        q, k, v = (self._heads(part) for part in (q, k[:, anchor], v[:, anchor]))
        logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1) + bias
        mask = packed_mask(height, width, self.window, self.shift, self.update_anchors)
        if mask is None:
            weights = torch.softmax(logits, dim=-1)
        else:
            by_image = logits.reshape(-1, len(mask), *logits.shape[1:])
            weights = masked_softmax(by_image, mask[:, None].to(logits.device)).flatten(0, 1)
        attended = (weights.to(v.dtype) @ v).transpose(1, 2).flatten(-2)
        if self.update_anchors:
            return attended
        return attended.new_zeros(*tokens.shape[:2], attended.shape[-1]).index_copy(1, other, attended)

    def _heads(self, x: Tensor) -> Tensor:
        """[windows, tokens, D] -> [windows, n_h, tokens, d_h]."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)


class AttentionLayer(nn.Module):
    """X <- X + gate * Attention(LN(X));  X <- X + MLP(LN(X)), the MLP of ratio 2 at every site.

    The gate is 1 at the queries: the non-anchors, or every site where anchors are updated as well. The MLP refines
    the anchors too, which are the keys of the next layer.
    """

    def __init__(self, width: int, window: int, shift: int, bias: BiasKind, update_anchors: bool) -> None:
        super().__init__()
        self.norm_attention = ChannelLayerNorm(width)
        self.attention = MaskedWindowAttention(width, window, shift, bias, update_anchors)
        self.norm_mlp = ChannelLayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Conv2d(width, MLP_RATIO * width, kernel_size=1),
            nn.GELU(),
            nn.Conv2d(MLP_RATIO * width, width, kernel_size=1),
        )

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        """x [B, D, h, w], gate [h, w] of zeros and ones -> [B, D, h, w]."""
        x = x + gate * self.attention(self.norm_attention(x))
        refined: Tensor = x + self.mlp(self.norm_mlp(x))
        return refined


def share_bias(module: nn.Module) -> None:
    """Give all attention in a module the position bias of the first."""
    attentions = [part for part in module.modules() if isinstance(part, MaskedWindowAttention)]
    for attention in attentions[1:]:
        attention.bias = attentions[0].bias
