"""The suite is one for the CPU, also on a machine with a GPU, where a Trainer would take that."""

import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Hide all GPUs before CUDA looks for them, unless the tests for a GPU are asked for by name."""
    if not any("test_gpu" in argument for argument in config.args):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
