"""Serve the page that decodes files in the browser, to this machine only, or export it to a folder for any web server.

The page (the folder ``site``) is plain JavaScript without a build step, and loads nothing from other servers. It
fetches the entropy coder's tables from ``gaussian_tables.npy``, priors from ``priors/<id>.safetensors`` and the file to
show from ``files/``.
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
    """Return the folder that holds the page's HTML, CSS and JavaScript."""
    return Path(__file__).resolve().parent / "site"


def site_files(file: Path | None = None, prior: str | None = None) -> Iterator[tuple[str, Path]]:
    """Yield everything the page fetches, as pairs of a path within the site and a file on this machine.

    Args:
        file: the ``.inr`` or ``.inrs`` file to include, with its prior; without it, all priors the page supports.
        prior: name, id or file of the prior of ``file``, where its id alone does not find it.

    Raises:
        DataError: ``file`` cannot be read or is not an ``.inr`` or ``.inrs`` file.
        PriorError: the prior of ``file`` is not found.
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
            preamble = opened.read(14)
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from None
    if file_kind(preamble) is None:
        raise DataError(f"{file}: not an .inr or .inrs file")
    has_prior = preamble[4] & 0x20
    if has_prior:
        path = prior_store.path_of(prior or preamble[6:14].hex())
        yield f"priors/{prior_store.file_id(path).hex()}.safetensors", path
    yield f"files/{file.name}", file


def _is_viewable(prior: Path) -> bool:
    """Return whether the page can decode files made with a prior."""
    with prior.open("rb") as opened:
        head = opened.read(min(int.from_bytes(opened.read(8), "little"), MAX_PRIOR_BYTES))
    formats = [family.prior_format for family in FAMILIES if family.in_viewer]
    return any(f'\\"{name}\\"'.encode() in head for name in formats)


def page_address(file: Path | None) -> str:
    """Return what to append to the site's address to open ``file``, which the site must include."""
    return "" if file is None else f"?file=files/{quote(file.name)}"


def export(folder: Path, file: Path | None = None, prior: str | None = None) -> int:
    """Write the site to ``folder``, which must be empty or not exist yet, and return its size in bytes.

    Args:
        folder: where to write the site.
        file: see ``site_files``.
        prior: see ``site_files``.

    Raises:
        UsageError: ``folder`` is not empty or not a folder.
        DataError: see ``site_files``.
        PriorError: see ``site_files``.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not empty: choose a new or empty folder")
    total = 0
    for name, path in list(site_files(file, prior)):
        data = path.read_bytes()
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_whole(folder / name, data)
        total += len(data)
    return total


def make_server(file: Path | None = None, *, port: int = 0, prior: str | None = None) -> ThreadingHTTPServer:
    """Return a server of the site on the loopback interface; call its ``serve_forever``.

    It serves only the files of the site, and only to requests addressed to 127.0.0.1 or localhost.

    Args:
        file: see ``site_files``.
        port: the port; 0 takes a free one, which ``server_port`` tells.
        prior: see ``site_files``.

    Raises:
        UsageError: the port cannot be used.
        DataError: see ``site_files``.
        PriorError: see ``site_files``.
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
            port = server.server_port
            path = files.get(unquote(urlsplit(self.path).path))
            if host not in (f"127.0.0.1:{port}", f"localhost:{port}"):
                # DNS rebinding: another site's name that resolves to this machine.
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
            """Log nothing; the browser reports errors."""

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise UsageError(f"port {port} cannot be used: {error.strerror}; choose another --port") from None
    return server
