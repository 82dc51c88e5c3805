"""How signals and files show themselves in notebooks, and ``data:`` URIs for self-contained HTML pages."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from inrcodec.signals.signal import Signal

MAX_SIDE = 4096
"""Points along an axis; a larger image is shown by every second, third .. point."""


def data_uri(data: bytes, media_type: str) -> str:
    """Return bytes of a media type ("image/png") as a ``data:`` URI."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def png(signal: Signal) -> bytes | None:
    """Return an image, or the last two axes of a field in colours, as PNG; None for audio."""
    from PIL import Image

    if signal.header.kind == "audio" or len(signal.header.shape) == 1:
        return None
    step = -(-max(signal.header.shape[-2:]) // MAX_SIDE)
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
    """Return an HTML audio element that plays a signal; None for other kinds than audio."""
    if signal.header.kind != "audio":
        return None
    import soundfile

    out = io.BytesIO()
    soundfile.write(out, signal.to_native(), signal.header.sample_rate, "PCM_16", format="WAV")
    return f'<audio controls src="{data_uri(out.getvalue(), "audio/wav")}"></audio>'


def table(info: Mapping[str, Any]) -> str:
    """Return what a file says of itself (``InrFile.info``) as an HTML table."""
    shown = dict(info)
    if "entries" in shown:
        shown["entries"] = len(shown["entries"])
    rows = "".join(
        f"<tr><th style='text-align:left'>{html.escape(key)}</th><td>{html.escape(_text(value))}</td></tr>"
        for key, value in shown.items()
    )
    return f"<table>{rows}</table>"


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " x ".join(str(part) for part in value)
    return f"{value:,}" if isinstance(value, int) else str(value)
