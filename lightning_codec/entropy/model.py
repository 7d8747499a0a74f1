"""The Laplacian-guided entropy model: hyperprior, channel groups, two checkerboard passes in each."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from lightning_codec.entropy.attention import share_bias
from lightning_codec.entropy.checkerboard import Sites, gather, scatter
from lightning_codec.entropy.config import EntropyConfig
from lightning_codec.entropy.factorized import FactorizedPrior
from lightning_codec.entropy.gaussian import GaussianLikelihood, GaussianParams
from lightning_codec.entropy.group import GroupModel
from lightning_codec.entropy.groups import group_widths
from lightning_codec.entropy.hyperprior import hyper_analysis, hyper_synthesis
from lightning_codec.entropy.quantization import RateNoise, ste_round

# What a pass does with the parameters of its symbols: returns y_hat at its sites, packed [B, C_j, h, w/2].
# Arguments: group j, the pass, (mu, l).
CodePass: TypeAlias = Callable[[int, Sites, GaussianParams], Tensor]


class EntropyOutput(NamedTuple):
    """What one forward pass of the entropy model gives."""

    y_hat: Tensor
    """rounded latents, straight-through gradient, [B, M, h, w]"""
    psi: Tensor
    """hyper-features, [B, 2 N_h, h, w]"""
    y_likelihoods: Tensor
    """[B, M, h, w] in (0, 1], float32"""
    z_likelihoods: Tensor
    """[B, N_z, h/4, w/4] in (0, 1], float32"""


class EntropyModel(nn.Module):
    """p(y_hat, z_hat), and the order in which its symbols are coded.

        y ─► h_a ─► z ─► round ─► z_hat ─► h_s ─► psi
        for every group j:   anchors:      (mu, l) from psi, groups < j            ─► y_hat at the anchors
                             non-anchors:  (mu, l) from these, g_ls, g_gs          ─► y_hat at the others

    `walk` is that loop. Training, encoder and decoder all go through it and differ in the `CodePass` they hand in, so
    that the parameters of a symbol can depend on nothing but symbols that are decoded before it.

    Args:
        latent_channels: M.
        config: all other settings.
    """

    def __init__(self, latent_channels: int, config: EntropyConfig) -> None:
        super().__init__()
        self.latent_channels = latent_channels
        self.hyper_channels = config.hyper_channels
        self.widths = group_widths(latent_channels, config.channel_groups)
        self.passes = (Sites.ANCHOR, Sites.NON_ANCHOR) if config.checkerboard else (Sites.ALL,)
        self.h_a = hyper_analysis(latent_channels, config.hyper_channels)
        self.h_s = hyper_synthesis(config.hyper_channels)
        self.prior = FactorizedPrior(config.hyper_channels)
        self.groups = nn.ModuleList(GroupModel(self.widths, j, config) for j in range(len(self.widths)))
        if config.position_bias == "laplacian-shared":
            share_bias(self.groups)
        self.likelihood = GaussianLikelihood()

    def split_groups(self, y: Tensor) -> tuple[Tensor, ...]:
        """y [B, M, h, w] -> one [B, C_j, h, w] per group, in coding order."""
        return torch.split(y, list(self.widths), dim=1)

    def walk(self, psi: Tensor, code: CodePass) -> Tensor:
        """Go through all groups and passes in coding order.

        Args:
            psi: h_s(z_hat), [B, 2 N_h, h, w]; w even.
            code: called once per pass with the parameters of its symbols; returns y_hat there.

        Returns:
            y_hat [B, M, h, w].
        """
        done: list[Tensor] = []
        before = psi[:, :0]
        for j, group in enumerate(self.groups):
            assert isinstance(group, GroupModel)
            hidden = group.shared_hidden(psi, before)
            y_hat: Tensor | None = None
            for sites in self.passes:
                values = scatter(code(j, sites, group.parameters_of(sites, hidden, y_hat)), sites)
                y_hat = values if y_hat is None else y_hat + values
            assert y_hat is not None
            done.append(y_hat)
            before = torch.cat(done, dim=1)
        return before

    def forward(self, y: Tensor, noise: RateNoise | None = None) -> EntropyOutput:
        """Rate and rounded latents of y [B, M, h, w], h and w multiples of 4.

        Args:
            y: latents.
            noise: the likelihood is taken at y + noise, smooth but up to 45 % too high at low rates; without, at the
                rounded y_hat, which is what a file costs (the hard rate).
        """
        z = self.h_a(y)
        z_likelihoods = self.prior(z, None if noise is None else noise.z)
        psi = self.h_s(ste_round(z))
        y_groups = self.split_groups(y)
        noise_groups = None if noise is None else self.split_groups(noise.y)
        likelihoods: list[list[Tensor]] = [[] for _ in self.widths]

        def surrogate(j: int, sites: Sites, params: GaussianParams) -> Tensor:
            target = gather(y_groups[j], sites)
            y_hat = ste_round(target.float(), params.mean.float())
            measured = y_hat if noise_groups is None else target.float() + gather(noise_groups[j], sites)
            likelihoods[j].append(scatter(self.likelihood(measured, params), sites))
            return y_hat

        y_hat = self.walk(psi, surrogate)
        # The passes fill disjoint sites.
        y_likelihoods = torch.cat([torch.stack(parts).sum(dim=0) for parts in likelihoods], dim=1)
        return EntropyOutput(y_hat, psi, y_likelihoods, z_likelihoods)
