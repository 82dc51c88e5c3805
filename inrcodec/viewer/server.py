"""A page that decodes files in the browser: served on this machine alone, or written to a folder for any web server.

The page (``site``) is plain JavaScript and needs nothing from elsewhere. Beside it lie, under names that it knows,
the entropy coder's tables and the priors by their ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from inrcodec.codecs import prior_store
from inrcodec.codecs.prior_file import MAX_PRIOR_BYTES
from inrcodec.codecs.registry import FAMILIES
from inrcodec.coding.gaussian import TABLES_FILE
from inrcodec.container.inr import file_kind
from inrcodec.errors import DataError, UsageError
from inrcodec.storage import write_whole

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; connect-src 'self'; "
        "worker-src 'self'; img-src 'self' data: blob:; media-src blob:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def page_folder() -> Path:
    """Return the folder of the page's files."""
    return Path(__file__).resolve().parent / "site"


def site_files(file: Path | None = None, prior: str | None = None) -> Iterator[tuple[str, Path]]:
    """(path within the site, file on this machine) of all that the page fetches.

    With ``file`` that file, and of the priors only its own (``prior``: another place to find that); without, all.

    Raises DataError when it is no ``.inr`` or ``.inrs`` file, PriorError when its prior is not here.
    """
    for path in sorted(page_folder().iterdir()):
        if path.suffix in _TYPES:
            yield path.name, path
    yield "gaussian_tables.npy", TABLES_FILE
    if file is None:
        for path in prior_store.prior_files().values():
            if _is_viewable(path):
                yield f"priors/{prior_store.file_id(path).hex()}.safetensors", path
        return
    try:
        with file.open("rb") as opened:
            head = opened.read(14)
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from None
    if file_kind(head) is None:
        raise DataError(f"{file}: not an .inr or .inrs file")
    if head[4] & 0x20:
        path = prior_store.path_of(prior or head[6:14].hex())
        yield f"priors/{prior_store.file_id(path).hex()}.safetensors", path
    yield f"files/{file.name}", file


def _is_viewable(prior: Path) -> bool:
    """Whether the page decodes files of a prior."""
    with prior.open("rb") as opened:
        head = opened.read(min(int.from_bytes(opened.read(8), "little"), MAX_PRIOR_BYTES))
    formats = [family.prior_format for family in FAMILIES if family.in_viewer]
    return any(f'\\"{name}\\"'.encode() in head for name in formats)


def page_address(file: Path | None) -> str:
    """What follows the site's address to open a file that ``site_files`` was given."""
    return "" if file is None else f"?file=files/{quote(file.name)}"


def export(folder: Path, file: Path | None = None, prior: str | None = None) -> int:
    """Write the site to a folder that does not exist or is empty; returns its bytes.

    Raises UsageError when something is in the folder; errors as ``site_files``.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: exists and is not empty")
    total = 0
    for name, path in list(site_files(file, prior)):
        data = path.read_bytes()
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_whole(folder / name, data)
        total += len(data)
    return total


def make_server(file: Path | None = None, *, port: int = 0, prior: str | None = None) -> ThreadingHTTPServer:
    """A server of the site on the loopback interface; ``port`` 0 takes any that is free (``server_port``).

    It answers nobody but a browser on this machine that names it by its own address, and gives out nothing but the
    site. Call ``serve_forever``. Raises UsageError when the port is taken; errors as ``site_files``.
    """
    files = {f"/{name}": path for name, path in site_files(file, prior)}
    files["/"] = files["/index.html"]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def _answer(self, *, body: bool) -> None:
            host = self.headers.get("Host", "")
            own = server.server_port
            path = files.get(unquote(urlsplit(self.path).path))
            if host not in (f"127.0.0.1:{own}", f"localhost:{own}"):
                # Another site's name that leads here (DNS rebinding).
                self.send_error(403)
            elif path is None:
                self.send_error(404)
            else:
                try:
                    data = path.read_bytes()
                except OSError:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Type", _TYPES.get(path.suffix, "application/octet-stream"))
                self.send_header("Content-Length", str(len(data)))
                for name, value in _HEADERS.items():
                    self.send_header(name, value)
                self.end_headers()
                if body:
                    self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the browser says what went wrong."""

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise UsageError(f"port {port} cannot be used: {error.strerror}") from None
    return server
