"""Where the photographs for tests are: LIGHTNING_CODEC_DATA, or ../shared/data beside the repository."""

import os
from pathlib import Path

import pytest


def photos(*parts: str) -> Path:
    """A file or folder below the photographs' root; skips the test, with the reason, where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    path = Path(os.environ.get("LIGHTNING_CODEC_DATA", default)).joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} does not exist; set LIGHTNING_CODEC_DATA to the folder with the photographs")
    return path
