"""Write the report of a sweep: one self-contained HTML file with a slider through an example's operating points."""

from __future__ import annotations

import html
import io
import json
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from inrcodec.evaluate.plots import UNIT_NAMES, plot_seconds
from inrcodec.evaluate.report_example import example_frames
from inrcodec.evaluate.sweep_jobs import versions
from inrcodec.storage import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from inrcodec.evaluate.sweep_result import Sweep

PAGE = Template((Path(__file__).parent / "report.html").read_text("utf-8"))
MAX_SIGNAL_PLOTS = 24


def write_report(result: Sweep, path: Path) -> Path:
    """Write the page and return its path."""
    names = list(dict.fromkeys(point.signal for point in result.points))
    second = "snr" if result.unit == "kbps" else "ms_ssim"
    plots = [svg(result.plot())]
    if any(getattr(point, second) is not None for point in result.points):
        plots.append(svg(result.plot(metric=second)))
    plots.append(svg(plot_seconds(result)))
    each = [svg(result.plot(signal=name)) for name in names[:MAX_SIGNAL_PLOTS]] if len(names) > 1 else []
    n_left_out = len(names) - MAX_SIGNAL_PLOTS
    more = f"<p>… and {n_left_out} more.</p>" if n_left_out > 0 else ""
    page = PAGE.substitute(
        title="Rate-distortion sweep",
        summary=html.escape(_summary(result, names)),
        plots="".join(f"<figure>{plot}</figure>" for plot in plots),
        bd_rates=_bd_table(result),
        example=_script_json(example_frames(result, names[0])),
        example_name=html.escape(names[0]),
        each="".join(f"<figure>{plot}</figure>" for plot in each) + more,
        each_hidden="" if each else "hidden",
        points=_point_table(result),
        failed="".join(f"<li>{html.escape(text)}</li>" for text in result.failed),
        failed_hidden="" if result.failed else "hidden",
        settings=html.escape(json.dumps(_settings(result), indent=1)),
    )
    write_whole(path, page.encode(), force=True)
    return path


def summary_html(result: Sweep) -> str:
    """Return curves and BD-rates as HTML, for a notebook."""
    return f"<div>{svg(result.plot())}{_bd_table(result)}</div>"


def svg(ax: Axes) -> str:
    """Return the figure of axes as an SVG element."""
    out = io.BytesIO()
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue().decode()
    return text[text.index("<svg") :]


def _script_json(content: Any) -> str:
    """Return JSON that cannot end the script element that it is put into."""
    return json.dumps(content).replace("<", "\\u003c")


def _summary(result: Sweep, names: list[str]) -> str:
    signals = f"{len(names)} signals" if len(names) > 1 else names[0]
    failed = f", {len(result.failed)} failed" if result.failed else ""
    return f"{signals}, {len(result.points)} files{failed}. Rates are computed from file size."


def _bd_table(result: Sweep) -> str:
    rows = []
    for reference, name, rate in result.bd_rates():
        label = f"{reference}, published" if reference in result.published else reference
        cells = ["no PSNR in common", "", ""]
        if rate is not None:
            span = f"{rate.low_db:.1f} to {rate.high_db:.1f} dB"
            cells = [f"{rate.percent:+.1f} %", span, f"{100 * rate.overlap:.0f} %"]
        rows.append(_row([name, label, *cells]))
    head = _row(["codec", "reference", "BD-rate", "PSNR range", "of the reference's range"], "th")
    return f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"


def _point_table(result: Sweep) -> str:
    second = "snr" if result.unit == "kbps" else "ms_ssim"
    label = {"snr": "SNR, dB", "ms_ssim": "MS-SSIM"}[second]
    head = ["signal", "codec", "setting", "bytes", UNIT_NAMES[result.unit], "PSNR, dB", label, "encode, s", "decode, s"]
    rows = []
    for p in result.points:
        other = getattr(p, second)
        rows.append(
            _row(
                [
                    p.signal,
                    p.series,
                    p.setting,
                    f"{p.file_bytes:,}",
                    f"{p.rate:.4g}",
                    f"{p.psnr:.2f}",
                    "" if other is None else f"{other:.4g}",
                    f"{p.encode_seconds:.2f}",
                    f"{p.decode_seconds:.3f}",
                ]
            )
        )
    return f"<table><thead>{_row(head, 'th')}</thead><tbody>{''.join(rows)}</tbody></table>"


def _row(cells: list[str], tag: str = "td") -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _settings(result: Sweep) -> dict[str, Any]:
    """Return the details that all points of a series share, by series."""
    out: dict[str, Any] = {"versions": versions()}
    for name in result.series:
        details = [point.details for point in result.points if point.series == name]
        first = details[0]
        out[name] = {key: value for key, value in first.items() if all(each.get(key) == value for each in details)}
    return out
