"""What is in a set of image files: enough to notice that it has changed, without reading the images."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def contents_of(paths: Iterable[Path], root: Path) -> dict[str, Any]:
    """Number of files, bytes, and a SHA-256 of the names relative to `root` and the sizes, whatever their order."""
    sizes = sorted((path.relative_to(root).as_posix(), path.stat().st_size) for path in paths)
    digest = hashlib.sha256("".join(f"{name}\0{size}\n" for name, size in sizes).encode())
    return {"files": len(sizes), "bytes": sum(size for _, size in sizes), "sha256": digest.hexdigest()}
