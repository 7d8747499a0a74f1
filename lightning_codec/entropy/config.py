"""The configuration of the entropy model: every part of it that a study switches on or off is one value here."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

GroupRule: TypeAlias = Literal["uneven", "even", "single"] | list[int]
BiasKind: TypeAlias = Literal["laplacian", "laplacian-shared", "learned", "none"]

MIN_WINDOW, MAX_WINDOW = 4, 32
"""Sides in latent sites."""


@dataclass(frozen=True)
class EntropyConfig:
    """Settings of `EntropyModel`; the paper's symbol stands behind each.

    Args:
        hyper_channels: N_z = N_h, channels of z; psi has twice as many.
        channel_groups: `uneven` (1/20, 1/20, 1/10, 1/5, rest), `even` (5 equal ones), `single`, or a list of widths.
        checkerboard: two passes per group, anchors first. Without it there is nothing decoded inside a group to look
            at, so both spatial contexts are off as well.
        local_context: g_ls, the masked 5x5 convolution over the anchors.
        global_context: g_gs, masked window attention over the anchors.
        position_bias: relative position bias of g_gs; `laplacian` for every head of every group and layer,
            `laplacian-shared` one for all of them (an ablation).
        window: P, side of an attention window in latent sites; even, from 4 to 32.
        blocks: L, blocks of one window and one shifted-window layer.
        max_width: the token width of g_gs is D = min(2 C_j, max_width).
        update_anchors: let attention refine anchor tokens too (an ablation; queries are the non-anchors otherwise).
    """

    hyper_channels: int = 48
    channel_groups: GroupRule = "uneven"
    checkerboard: bool = True
    local_context: bool = True
    global_context: bool = True
    position_bias: BiasKind = "laplacian"
    window: int = 4
    blocks: int = 1
    max_width: int = 128
    update_anchors: bool = False

    def __post_init__(self) -> None:
        """Check what the types cannot say; raises ValueError naming the rule."""
        if not MIN_WINDOW <= self.window <= MAX_WINDOW or self.window % 2:
            raise ValueError(
                f"window is {self.window}: it must be even and at least {MIN_WINDOW}, or queries are left without "
                f"keys, and at most {MAX_WINDOW}, as attention grows with its fourth power"
            )
        for name in ("hyper_channels", "blocks", "max_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1")
