"""What a measurement depends on besides its command: versions, the commit of the source, the processor."""

import platform
import subprocess
from pathlib import Path
from typing import NamedTuple

import PIL
import torch

import lightning_codec


class Provenance(NamedTuple):
    """Where a number was measured."""

    versions: dict[str, str]
    commit: str
    """Of the source, with "-dirty" where it was changed; empty where the program does not run from a checkout."""
    device: str


def provenance() -> Provenance:
    """Of this process, which measures on the CPU."""
    versions = {
        "lightning_codec": lightning_codec.__version__,
        "torch": torch.__version__,
        "pillow": PIL.__version__,
        "python": platform.python_version(),
    }
    return Provenance(versions, _commit(Path(lightning_codec.__file__).parent), f"cpu ({_processor()})")


def _commit(package: Path) -> str:
    """The commit that a package's source was checked out from."""

    def git(*arguments: str) -> str | None:
        try:
            command = ["git", "--no-optional-locks", "-C", str(package), *arguments]
            done = subprocess.run(command, capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # An installed package may lie in the repository of somebody else, which does not track it.
    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return ""
    commit = git("rev-parse", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".")
    return "" if commit is None else commit + ("-dirty" if changed else "")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
