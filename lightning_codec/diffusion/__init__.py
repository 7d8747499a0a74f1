"""Blur-dissipated diffusion: its basis, process, samplers, noise and network. Images in [-1, 1], times in [0, 1]."""
