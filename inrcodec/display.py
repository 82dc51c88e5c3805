"""How signals and files show themselves in a notebook: pictures, players, tables.

``register`` tells IPython's formatters; ``inrcodec.api`` calls it when it is loaded inside IPython.
"""

from __future__ import annotations

import html
import io
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from inrcodec.signals.signal import Signal

if TYPE_CHECKING:
    from inrcodec.api import InrFile

import base64

WIDEST = 4096
"""Points along an axis; larger pictures are shown by every second, third .. point."""


def png(signal: Signal) -> bytes | None:
    """A picture, or the last two axes of a field in colours; None for sounds."""
    from PIL import Image

    if signal.header.kind == "audio" or len(signal.header.shape) == 1:
        return None
    step = -(-max(signal.header.shape[-2:]) // WIDEST)
    if signal.header.kind == "image":
        from inrcodec.signals.files.images import to_pillow

        shown = to_pillow(signal)
        shown = shown.resize((shown.width // step, shown.height // step)) if step > 1 else shown
    else:
        from matplotlib import colormaps

        plane = signal.values[(0,) * (len(signal.header.shape) - 2)][::step, ::step, 0]
        low, high = float(plane.min()), float(plane.max())
        levels = colormaps["viridis"]((plane - low) / max(high - low, 1e-9))[..., :3]
        shown = Image.fromarray(np.rint(levels * 255).astype(np.uint8))
    out = io.BytesIO()
    shown.save(out, "PNG")
    return out.getvalue()


def player(signal: Signal) -> str | None:
    """An <audio> element with a sound; None for all else."""
    if signal.header.kind != "audio":
        return None
    import soundfile

    out = io.BytesIO()
    soundfile.write(out, signal.to_native(), signal.header.sample_rate, "PCM_16", format="WAV")
    source = data_uri(out.getvalue(), "audio/wav")
    return f'<audio controls src="{source}"></audio>'


def table(file: InrFile) -> str:
    """What a file says of itself."""
    info = dict(file.info)
    entries = info.pop("entries", None)
    if entries is not None:
        info["entries"] = len(entries)
    rows = "".join(
        f"<tr><th style='text-align:left'>{html.escape(key)}</th><td>{html.escape(_shown(value))}</td></tr>"
        for key, value in info.items()
    )
    return f"<table>{rows}</table>"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " x ".join(str(part) for part in value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def register() -> bool:
    """Tell the formatters of the IPython that runs; False where none does."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None:
        return False
    from inrcodec.api import InrFile

    formatters = shell.display_formatter.formatters
    formatters["image/png"].for_type(Signal, png)
    formatters["text/html"].for_type(Signal, player)
    formatters["text/html"].for_type(InrFile, table)
    return True


def data_uri(data: bytes, media_type: str) -> str:
    """Bytes of a media type ("image/png") as an address."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
