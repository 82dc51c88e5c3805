"""Draw what is in a file: the signal, its residual, where the bits went, the spread of the posterior, other grids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inrcodec.codecs.registry import family_of_id
from inrcodec.container.inr import Container
from inrcodec.decoding import coded_entry, container_codec, decompress_container
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
"""Side, in points of the native grid, of the crop that is shown on other grids."""
MAX_POINTS = 1 << 22
"""Larger signals are shown without bits and spread."""


@dataclass(frozen=True)
class Panel:
    """Holds one part of the figure.

    Attributes:
        title: text above it.
        values: an RGB image, (H, W, 3), or values, (H, W), that are drawn in colours with a colour bar.
        label: label of the colour bar.
        centred: whether the colours are symmetric about zero.
    """

    title: str
    values: FloatArray
    label: str = ""
    centred: bool = False


def show(container: Container, file_bytes: int, original: Signal | None = None, prior: str | None = None) -> Figure:
    """Return the figure of one signal.

    Args:
        container: the file, or an entry of an archive.
        file_bytes: bytes that the signal takes.
        original: the signal before encoding, to show the residual and the PSNR.
        prior: name or path of the prior; found by its id by default.

    Raises:
        DataError: ``original`` is on another grid.
    """
    decoded = decompress_container(container, prior=prior)
    if original is not None and original.values.shape != decoded.values.shape:
        raise DataError(f"the original has {original.values.shape} values, the file {decoded.values.shape}")
    inspected = _inspected(container, prior)
    panels = [Panel(_title(decoded, file_bytes, original), _rendered(decoded))]
    if original is not None:
        panels += [Panel("original", _rendered(original)), _residual(original, decoded)]
    if inspected is not None:
        panels.append(_bits(inspected))
        if inspected.spread is not None:
            panels.append(Panel("posterior spread", _two_axes(inspected.spread), "standard deviation of values"))
    sizes = _other_sizes(container, decoded, prior) if decoded.header.kind == "image" else []
    return _figure(panels, sizes, decoded.header)


def _inspected(container: Container, prior: str | None) -> Any:
    """Return bits and spread by place (an ``Inspection``) where the codec can tell and the signal is not too large."""
    family = family_of_id(container.codec_id)
    if family.inspect is None or container.header.n_points > MAX_POINTS:
        return None
    codec = container_codec(container, prior)
    return family.inspect(codec, coded_entry(container, codec))


def _title(decoded: Signal, file_bytes: int, original: Signal | None) -> str:
    header = decoded.header
    rate = f"{8 * file_bytes / header.n_points:.3f} bpp"
    if header.kind == "audio":
        rate = f"{8 * file_bytes * header.sample_rate / header.n_points / 1000:.2f} kbit/s"
    psnr = "" if original is None else f", {signal_psnr(original, decoded):.2f} dB"
    return f"decoded: {file_bytes:,} bytes, {rate}{psnr}"


def _rendered(signal: Signal) -> FloatArray:
    """Return an image's colours, audio's spectrogram in dB, or a field's first plane in physical units."""
    if signal.header.kind == "image":
        values = signal.colour_values
        return np.clip(np.repeat(values, 3, axis=2) if values.shape[2] == 1 else values, 0.0, 1.0)
    if signal.header.kind == "audio" or len(signal.header.shape) == 1:
        return spectrogram(signal.values)
    plane: FloatArray = signal.values[(0,) * (len(signal.header.shape) - 2)][..., 0]
    return plane * signal.meta.scale + signal.meta.offset


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


def _bits(inspected: Any) -> Panel:
    by_stride = ", ".join(f"{stride}: {bits / 8:,.0f}" for stride, bits in inspected.by_level.items())
    return Panel(
        f"bytes by stride: {by_stride}",
        _two_axes(inspected.bits[0] if len(inspected.bits) == 1 else inspected.bits),
        f"bits per cell of {inspected.cell} points",
    )


def _other_sizes(container: Container, decoded: Signal, prior: str | None) -> list[Panel]:
    """Return panels of the central crop on other grids, and of the native one enlarged by bicubic interpolation."""
    if family_of_id(container.codec_id).lossless:
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
        crop = decompress_container(container, size=size, prior=prior, window=window)
        panels.append(Panel(f"decoded x {scale:g}", _rendered(crop)))
    native = np.rint(255.0 * _rendered(decoded)[top : top + tall, left : left + wide]).astype(np.uint8)
    large = Image.fromarray(native).resize((4 * wide, 4 * tall), Image.Resampling.BICUBIC)
    panels.append(Panel("bicubic x 4", np.asarray(large, np.float32) / np.float32(255)))
    return panels


def spectrogram(values: FloatArray, n_fft: int = 512) -> FloatArray:
    """Return the power in dB of audio, (frequencies from high to low, times), from windows of ``n_fft`` samples."""
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
    subfigures: Any = np.atleast_1d(np.asarray(figure.subfigures(len(heights), 1, height_ratios=heights), object))
    grid = np.atleast_1d(subfigures[0].subplots(rows, columns)).ravel()
    for axes, panel in zip(grid, panels, strict=False):
        _draw(axes, panel, stretched=header.kind == "audio" or len(header.shape) == 1)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    if sizes:
        for axes, panel in zip(subfigures[1].subplots(1, len(sizes)), sizes, strict=True):
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
