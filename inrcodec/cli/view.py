"""``view``: a page in the browser that decodes a file there."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port on this machine; default: a free one.")
@click.option("--no-browser", is_flag=True, help="Print the page's address and open nothing.")
@click.option("--prior", metavar="NAME|ID|FILE", help="Prior that the file was made with.")
@click.option(
    "--export",
    "folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Write the page, with FILE and what it needs, to a folder for any web server.",
)
def view(file: Path | None, port: int, no_browser: bool, prior: str | None, folder: Path | None) -> None:
    """Look at FILE in the browser, at any size; without FILE, at what is dropped on the page.

    The page is served to this machine alone until Ctrl-C. It decodes by itself, so that an exported folder works on
    any web server.

    \b
    Examples:
      inrcodec view photo.inr
      inrcodec view voice.inr --port 8000 --no-browser
      inrcodec view photo.inr --export site/
    """
    from inrcodec.viewer.server import export, make_server, page_address

    if folder is not None:
        size = export(folder, file, prior)
        click.echo(f"{folder}: {size:,} bytes; open index.html{page_address(file)} through a web server")
        return
    with make_server(file, port=port, prior=prior) as server:
        address = f"http://127.0.0.1:{server.server_port}/{page_address(file)}"
        click.echo(f"{address}\nCtrl-C ends it.")
        if not no_browser:
            import webbrowser

            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("", err=True)
