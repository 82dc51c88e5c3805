"""A codec suite in which a signal is a function: images, sounds and gridded fields as small neural networks.

    blob = inrcodec.compress("photo.png", target_bpp=0.3)
    image = inrcodec.decompress(blob, scale=2.0)
    with inrcodec.open("photo.inr") as f:
        f.render(size=(1024, 1536))

Importing the package is quick, prints nothing and loads no torch: names are fetched when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inrcodec.version import VERSION

if TYPE_CHECKING:
    from inrcodec.api import Signal, compress, decompress, open, read_signal

__version__ = VERSION
__all__ = ["Signal", "__version__", "compress", "decompress", "open", "read_signal"]

_FROM_API = frozenset(__all__) - {"__version__"}


def __getattr__(name: str) -> Any:
    if name not in _FROM_API:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from inrcodec import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted(__all__)
