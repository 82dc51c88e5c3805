"""The command ``view``: show a file in the browser, which decodes it."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port on this machine; by default a free one.")
@click.option("--no-browser", is_flag=True, help="Print the page's address without opening a browser.")
@click.option(
    "--prior", metavar="NAME|ID|FILE", help="Prior that FILE was made with; by default it is found by its id."
)
@click.option(
    "--export",
    "folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Write the page, FILE and its prior to FOLDER, for any web server, and exit.",
)
def view(file: Path | None, port: int, no_browser: bool, prior: str | None, folder: Path | None) -> None:
    """Show FILE in the browser, at any zoom. Without FILE, drop files on the page.

    The page decodes in JavaScript. It is served to this machine only, until you press Ctrl-C; with --export, it is
    written to a folder that works on any web server.

    \b
    Examples:
      inrcodec view photo.inr
      inrcodec view voice.inr --port 8000 --no-browser
      inrcodec view photo.inr --export site/
    """
    from inrcodec.viewer.server import export, make_server, page_address

    if folder is not None:
        size = export(folder, file, prior)
        click.echo(f"{folder}: {size:,} bytes; serve it with a web server and open index.html{page_address(file)}")
        return
    with make_server(file, port=port, prior=prior) as server:
        address = f"http://127.0.0.1:{server.server_port}/{page_address(file)}"
        click.echo(f"{address}\nPress Ctrl-C to stop.")
        if not no_browser:
            import webbrowser

            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("", err=True)
