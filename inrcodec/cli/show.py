"""``show``: a figure of what is in a file."""

from __future__ import annotations

import io
from pathlib import Path

import click

from inrcodec.errors import UsageError


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="PNG, SVG, PDF or HTML file; default: FILE_show.png beside the file.",
)
@click.option(
    "--original", type=click.Path(path_type=Path), help="The signal it was made from: residuals and PSNR too."
)
@click.option("--entry", help="This entry of an archive, by name; default: the first.")
@click.option("--prior", metavar="NAME|ID|FILE", help="Prior that the file was made with.")
@click.option("--variable", help="Variable of the original, where that is a NetCDF file.")
@click.option("-f", "--force", is_flag=True, help="Replace a file that exists.")
def show(
    file: Path,
    out: Path | None,
    original: Path | None,
    entry: str | None,
    prior: str | None,
    variable: str | None,
    force: bool,
) -> None:
    """Draw what FILE holds: signal, residual, bits by place, posterior spread, other resolutions.

    \b
    Examples:
      inrcodec show photo.inr                            writes photo_show.png
      inrcodec show photo.inr --original photo.png -o photo.html
      inrcodec show set.inrs --entry cat.png -o cat_show.png
    """
    import inrcodec
    from inrcodec.display import data_uri
    from inrcodec.evaluate.inspection_figure import show as draw
    from inrcodec.signals.files import read_signal
    from inrcodec.storage import check_writable, write_whole

    target = out or file.with_name(f"{file.stem}_show.png")
    kind = target.suffix.lower().lstrip(".")
    if kind not in ("png", "svg", "pdf", "html"):
        raise UsageError(f"{target}: figures are written as .png, .svg, .pdf or .html")
    check_writable(target, force=force)
    opened = inrcodec.open(file, prior=prior)
    chosen: int | str = entry if entry is not None else 0
    signal = read_signal(original, variable=variable) if original is not None else None
    figure = draw(opened.container(chosen), opened.entry_bytes(chosen), signal, prior)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png" if kind == "html" else kind, dpi=130)
    data = buffer.getvalue()
    if kind == "html":
        from inrcodec.display import table

        page = (
            f"<!doctype html><meta charset='utf-8'><title>{file.name}</title>"
            "<body style='font: 15px/1.5 system-ui, sans-serif; margin: 24px'>"
            f"<h1 style='font-size: 1.3rem'>{click.format_filename(file.name)}</h1>"
            f"<img style='max-width: 100%' alt='' src='{data_uri(data, 'image/png')}'>{table(opened.info)}</body>"
        )
        data = page.encode()
    write_whole(target, data, force=force)
    click.echo(str(target))
