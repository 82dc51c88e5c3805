"""Draw figures of sweeps on any axes of matplotlib."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from inrcodec.evaluate.bd_rate import Curve, in_db
from inrcodec.evaluate.points import mean_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from inrcodec.evaluate.sweep_result import Sweep

UNIT_NAMES = {"bpp": "bits per point", "kbps": "kbit/s"}
METRIC_NAMES = {"psnr": "PSNR, dB", "snr": "SNR, dB", "ms_ssim": "MS-SSIM, dB: -10 log10(1 - MS-SSIM)"}
"""Labels of the metrics that curves can show."""


def new_axes(width: float = 6.4, height: float = 4.4) -> Axes:
    """Return the axes of a new figure, in inches, that pyplot does not manage."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained").add_subplot()


def plot_curves(result: Sweep, ax: Axes | None, metric: str, signal: str | None) -> Axes:
    """Draw rate-distortion curves, see ``Sweep.plot``."""
    ax = ax or new_axes()
    points = [point for point in result.points if signal in (None, point.signal)]
    rates: list[float] = []
    for number, name in enumerate(result.series):
        curve = mean_curve(points, name, lambda point: getattr(point, metric))
        if not curve:
            continue
        colour = f"C{number}"
        if name in result.baselines:
            ax.plot(*_xy(curve, metric), color=colour, label=name, zorder=2, lw=1.3, marker=".", ls="--")
        else:
            rates += [rate for rate, _ in curve]
            ax.plot(*_xy(curve, metric), color=colour, label=name, zorder=3, lw=2.2, marker="o", ms=5)
    if metric == "psnr" and signal is None:
        low, high = 0.6 * min(rates), 1.6 * max(rates)
        for number, (name, published) in enumerate(result.published.items()):
            in_range = [(rate, value) for rate, value in published if low <= rate <= high]
            if in_range:
                grey = f"{0.25 + 0.5 * number / max(1, len(result.published) - 1):.2f}"
                ax.plot(
                    *_xy(in_range, metric),
                    color=grey,
                    lw=1.1,
                    ls=(0, (1, 1.2)),
                    marker="x",
                    ms=3,
                    label=f"{name}, published",
                )
    ax.set_xscale("log")
    _plain_ticks(ax, rates)
    ax.set_xlabel(UNIT_NAMES[result.unit])
    ax.set_ylabel(METRIC_NAMES[metric])
    n_signals = len({point.signal for point in points})
    ax.set_title(signal or (f"mean of {n_signals} signals" if n_signals > 1 else points[0].signal), fontsize=10)
    ax.grid(True, which="both", alpha=0.25)
    ax.legend(fontsize=7.5)
    return ax


def plot_seconds(result: Sweep, ax: Axes | None = None) -> Axes:
    """Draw mean seconds of encoding and decoding a signal against the PSNR at one rate that most codecs reach."""
    ax = ax or new_axes()
    rate = _middle_rate(result)
    for number, name in enumerate(result.series):
        points = [point for point in result.points if point.series == name]
        quality = _at(result.curve(name), rate)
        if quality is None:
            continue
        seconds = [float(np.mean([getattr(p, key) for p in points])) for key in ("decode_seconds", "encode_seconds")]
        seconds = [max(value, 1e-4) for value in seconds]
        ax.plot(seconds, [quality] * 2, color=f"C{number}", lw=1.0, alpha=0.6)
        ax.plot(seconds[0], quality, marker="<", ms=8, color=f"C{number}", ls="none")
        ax.plot(seconds[1], quality, marker="o", ms=8, color=f"C{number}", ls="none", label=name)
    ax.set_xscale("log")
    ax.set_xlabel("seconds per signal: ◂ decode, ● encode")
    ax.set_ylabel(f"PSNR at {rate:.3g} {UNIT_NAMES[result.unit]}, dB")
    ax.grid(True, which="both", alpha=0.25)
    ax.legend(fontsize=8)
    return ax


def _xy(curve: Iterable[tuple[float, float]], metric: str) -> tuple[list[float], list[float]]:
    pairs = in_db(list(curve), metric)
    return [rate for rate, _ in pairs], [value for _, value in pairs]


def _plain_ticks(ax: Axes, rates: list[float]) -> None:
    """Label a logarithmic axis of one or two decades with plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    ax.xaxis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0)))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    if rates:
        ax.set_xlim(0.6 * min(rates), 1.6 * max(rates))


def _middle_rate(result: Sweep) -> float:
    """Return the geometric mean of the rates of this package's codecs."""
    rates = [point.rate for point in result.points if point.series not in result.baselines]
    return float(np.exp(np.mean(np.log(rates))))


def _at(curve: Curve, rate: float) -> float | None:
    rates, values = np.array(curve).T
    if not 0.8 * rates[0] <= rate <= 1.25 * rates[-1]:
        return None
    return float(np.interp(np.log(rate), np.log(rates), values))
