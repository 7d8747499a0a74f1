"""lightning_codec: train, measure and use neural image codecs.

The package itself imports nothing heavy; `Codec` and the modules are loaded when they are first asked for.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_codec.codec import Codec

__version__ = "0.1.0"
__all__ = ["Codec", "__version__"]


def __getattr__(name: str) -> object:
    if name == "Codec":
        from lightning_codec.codec import Codec

        return Codec
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
