"""Figures of what is in a file: the signal, its residual, where the bits went, what the posterior leaves open, and the
same function on other grids beside interpolated samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inrcodec.codecs import prior_store
from inrcodec.codecs.bitswap.bits_back import SCHEMES
from inrcodec.codecs.hierarchical.codec import HierarchicalCodec
from inrcodec.codecs.hierarchical.inspection import CELL, Inspection, inspect
from inrcodec.codecs.registry import CODEC_IDS, codec_for, codec_name
from inrcodec.container.inr import PARAMETERS, Container
from inrcodec.decoding import decompress_container
from inrcodec.errors import DataError
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.metrics import signal_psnr
from inrcodec.signals.signal import Signal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FloatArray = NDArray[np.float32]

SCALES = (0.25, 1.0, 2.0, 4.0)
CROP = 64
"""Points of the native grid along each axis of the crop that is shown on other grids."""
LARGEST = 1 << 22
"""Points of a plane of which bits and spread are shown; larger ones are shown without."""


@dataclass(frozen=True)
class Panel:
    """One picture of the figure: (H, W, 3) as it is, (H, W) in colours with a bar, of ``label``."""

    title: str
    values: FloatArray
    label: str = ""
    centred: bool = False


def show(container: Container, file_bytes: int, original: Signal | None = None, prior: str | None = None) -> Figure:
    """The figure of one signal; with ``original``, which must have its grid, residuals and PSNR too."""
    decoded = decompress_container(container, prior=prior)
    if original is not None and original.values.shape != decoded.values.shape:
        raise DataError(f"the original has {original.values.shape} values, the file {decoded.values.shape}")
    inspected = _inspected(container, prior)
    panels = [Panel(_title(decoded, file_bytes, original), _picture(decoded))]
    if original is not None:
        panels += [Panel("original", _picture(original)), _residual(original, decoded)]
    if inspected is not None:
        panels.append(_bits(inspected))
        if inspected.spread is not None:
            panels.append(Panel("posterior spread", _two_axes(inspected.spread), "standard deviation of values"))
    sizes = _other_sizes(container, decoded, prior) if decoded.header.kind == "image" else []
    return _figure(panels, sizes, decoded.header)


def _inspected(container: Container, prior: str | None) -> Inspection | None:
    """Bits by place and spread, of files that tell them."""
    if container.codec_id != CODEC_IDS[HierarchicalCodec.name] or container.header.n_points > LARGEST:
        return None
    codec = codec_for(prior_store.find(prior) if prior is not None else prior_store.find_id(container.prior_id))
    assert isinstance(codec, HierarchicalCodec)
    shared = container.section(PARAMETERS)
    if shared:
        return inspect(codec, shared, container.payload, container.header)
    *_, end = codec.read_parameters(container.payload)
    return inspect(codec, container.payload[:end], container.payload[end:], container.header)


def _title(decoded: Signal, file_bytes: int, original: Signal | None) -> str:
    header = decoded.header
    rate = f"{8 * file_bytes / header.n_points:.3f} bpp"
    if header.kind == "audio":
        rate = f"{8 * file_bytes * header.sample_rate / header.n_points / 1000:.2f} kbit/s"
    psnr = "" if original is None else f", {signal_psnr(original, decoded):.2f} dB"
    return f"decoded: {file_bytes:,} bytes, {rate}{psnr}"


def _picture(signal: Signal) -> FloatArray:
    if signal.header.kind == "image":
        values = signal.colour_values
        return np.clip(np.repeat(values, 3, axis=2) if values.shape[2] == 1 else values, 0.0, 1.0)
    if signal.header.kind == "audio" or len(signal.header.shape) == 1:
        return spectrogram(signal.values)
    return signal.values[(0,) * (len(signal.header.shape) - 2)][..., 0] * signal.meta.scale + signal.meta.offset


def _two_axes(values: FloatArray) -> FloatArray:
    return values if values.ndim == 2 else np.repeat(values[None], max(1, len(values) // 8), axis=0)


def _residual(original: Signal, decoded: Signal) -> Panel:
    difference = decoded.with_values(decoded.values - original.values)
    if decoded.header.kind == "image":
        return Panel("residual", difference.colour_values.mean(axis=-1), "mean over channels", centred=True)
    if decoded.header.kind == "audio" or len(decoded.header.shape) == 1:
        return Panel("residual", spectrogram(difference.values), "dB")
    plane = difference.values[(0,) * (len(decoded.header.shape) - 2)][..., 0] * decoded.meta.scale
    return Panel("residual", plane, "physical units", centred=True)


def _bits(found: Inspection) -> Panel:
    parts = ", ".join(f"{stride}: {bits / 8:,.0f}" for stride, bits in found.by_level.items())
    return Panel(
        f"bytes by stride: {parts}",
        _two_axes(found.bits[0] if len(found.bits) == 1 else found.bits),
        f"bits per cell of {CELL} points",
    )


def _other_sizes(container: Container, decoded: Signal, prior: str | None) -> list[Panel]:
    """A crop from the middle on other grids, and the native one enlarged by bicubic interpolation."""
    if codec_name(container.codec_id) in SCHEMES:
        return []
    height, width = decoded.header.shape
    tall, wide = min(CROP, height), min(CROP, width)
    top, left = (height - tall) // 2, (width - wide) // 2
    panels = []
    for scale in SCALES:
        size = max(1, round(height * scale)), max(1, round(width * scale))
        window = tuple(
            slice(int(first * n / whole), max(int(first * n / whole) + 1, int((first + count) * n / whole)))
            for first, count, n, whole in zip((top, left), (tall, wide), size, (height, width), strict=True)
        )
        part = decompress_container(container, size=size, prior=prior, window=window)
        panels.append(Panel(f"function x {scale:g}", _picture(part)))
    native = np.rint(255.0 * _picture(decoded)[top : top + tall, left : left + wide]).astype(np.uint8)
    large = Image.fromarray(native).resize((4 * wide, 4 * tall), Image.Resampling.BICUBIC)
    panels.append(Panel("bicubic x 4", np.asarray(large, np.float32) / np.float32(255)))
    return panels


def spectrogram(values: FloatArray, n_fft: int = 512) -> FloatArray:
    """Power in dB, (frequencies from high to low, times)."""
    mono = values.mean(axis=1)
    mono = np.pad(mono, (0, max(0, 2 * n_fft - len(mono))))
    frames = np.lib.stride_tricks.sliding_window_view(mono, n_fft)[:: max(n_fft // 4, len(mono) // 1024)]
    power = np.abs(np.fft.rfft(frames * np.hanning(n_fft), axis=1)) ** 2
    return np.asarray(10.0 * np.log10(power + 1e-10), np.float32).T[::-1]


def _figure(panels: list[Panel], sizes: list[Panel], header: SignalHeader) -> Figure:
    from matplotlib.figure import Figure

    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.6 * columns, 3.7 * rows + (3.0 if sizes else 0.0)), layout="constrained")
    heights = [3.7 * rows, 3.0] if sizes else [3.7 * rows]
    parts: Any = np.atleast_1d(np.asarray(figure.subfigures(len(heights), 1, height_ratios=heights), object))
    grid = np.atleast_1d(parts[0].subplots(rows, columns)).ravel()
    for axes, panel in zip(grid, panels, strict=False):
        _draw(axes, panel, stretched=header.kind == "audio" or len(header.shape) == 1)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    if sizes:
        for axes, panel in zip(parts[1].subplots(1, len(sizes)), sizes, strict=True):
            _draw(axes, panel, stretched=False)
    return figure


def _draw(axes: Axes, panel: Panel, *, stretched: bool) -> None:
    aspect: Any = "auto" if stretched else "equal"
    if panel.values.ndim == 3:
        axes.imshow(panel.values, interpolation="nearest", aspect=aspect)
    else:
        top = float(np.abs(panel.values).max()) or 1.0
        limits = {"vmin": -top, "vmax": top, "cmap": "RdBu_r"} if panel.centred else {"cmap": "viridis"}
        drawn = axes.imshow(panel.values, interpolation="nearest", aspect=aspect, **limits)
        bar = axes.figure.colorbar(drawn, ax=axes, shrink=0.8)
        bar.set_label(panel.label, fontsize=7)
        bar.ax.tick_params(labelsize=7)
    axes.set_title(panel.title, fontsize=8.5)
    axes.set_xticks([])
    axes.set_yticks([])
