"""Channel groups: the latents are coded group by group, each conditioned on the ones before it."""

from lightning_codec.entropy.config import GroupRule

# Paper and ELIC (He et al., CVPR 2022): the first groups are small, since they carry the most energy.
UNEVEN_FRACTIONS = (1 / 20, 1 / 20, 1 / 10, 1 / 5)
EVEN_GROUPS = 5


def group_widths(latent_channels: int, rule: GroupRule) -> tuple[int, ...]:
    """Channels of each group, in coding order; their sum is `latent_channels` (M).

    `uneven`: C_j = 2 max(1, round(M f_j / 2)), the last group takes the rest; (16, 16, 32, 64, 192) for M = 320.
    `even`: five groups of the largest even width that fits, the last one takes the rest.

    Raises:
        ValueError: M too small for the rule, a width below 1, or a list whose sum is not M.
    """
    M = latent_channels
    if isinstance(rule, list):
        if not rule or min(rule) < 1 or sum(rule) != M:
            raise ValueError(f"channel_groups {rule}: widths must be positive and add up to latent_channels = {M}")
        return tuple(rule)
    if rule == "single":
        return (M,)
    if rule == "uneven":
        first = [2 * max(1, round(M * f / 2)) for f in UNEVEN_FRACTIONS]
    elif rule == "even":
        first = [2 * (M // (2 * EVEN_GROUPS))] * (EVEN_GROUPS - 1)
    else:
        raise ValueError(f"channel_groups is {rule!r}: choose uneven, even, single, or a list of widths")
    widths = (*first, M - sum(first))
    if min(widths) < 1:
        raise ValueError(f"channel_groups {rule!r} needs more latent channels than latent_channels = {M}")
    return widths
