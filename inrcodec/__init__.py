"""A codec suite in which a signal is a function: images, audio and gridded fields as small neural networks.

    blob = inrcodec.compress("photo.png", target_bpp=0.3)
    image = inrcodec.decompress(blob, scale=2.0)
    with inrcodec.open("photo.inr") as file:
        file.render(size=(1024, 1536))

Importing the package is quick, prints nothing and loads no torch: names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inrcodec.version import VERSION

if TYPE_CHECKING:
    from inrcodec.api import Encoded, InrFile, Limits, Settings, Signal, compress, decompress, encode, open, read_signal
    from inrcodec.errors import (
        DataError,
        FormatError,
        InrcodecError,
        LimitError,
        PriorError,
        UnsupportedError,
        UsageError,
        WorkersError,
    )

__version__ = VERSION
__all__ = [
    "DataError",
    "Encoded",
    "FormatError",
    "InrFile",
    "InrcodecError",
    "LimitError",
    "Limits",
    "PriorError",
    "Settings",
    "Signal",
    "UnsupportedError",
    "UsageError",
    "WorkersError",
    "__version__",
    "compress",
    "decompress",
    "encode",
    "open",
    "read_signal",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from inrcodec import errors

    if hasattr(errors, name):
        return getattr(errors, name)
    from inrcodec import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted(__all__)
