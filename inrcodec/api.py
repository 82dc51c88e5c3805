"""The Python face of the codec::

    blob = inrcodec.compress("photo.png", target_bpp=0.3)
    image = inrcodec.decompress(blob, scale=2.0)
    with inrcodec.open("photo.inr") as f:
        f.info, f.render(size=(1024, 1536))

Everything that the command line does is one call of these.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from inrcodec.container.inr import CHAIN, Container, file_kind, unpack
from inrcodec.container.inrs import ArchiveReader
from inrcodec.errors import UsageError
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.signals.files import read_signal
from inrcodec.signals.signal import Signal
from inrcodec.storage import read_whole

__all__ = ["InrFile", "Signal", "compress", "decompress", "open", "read_signal"]

Progress = Callable[[int], None]


def compress(
    source: str | Path | Signal | Sequence[str | Path | Signal],
    *,
    names: Sequence[str] | None = None,
    codec: str = "auto",
    lossless: bool = False,
    prior: str | None = None,
    effort: str = "default",
    coder: str | None = None,
    beta: float | None = None,
    target_bpp: float | None = None,
    target_kbps: float | None = None,
    target_psnr: float | None = None,
    optimise: str = "psnr",
    progress: Progress | None = None,
) -> bytes:
    """Compress one signal to the bytes of an ``.inr`` file, or a list of them to those of an ``.inrs`` archive.

    Args:
        source: a path, a Signal, or a list of either.
        names: names of an archive's entries; file names by default.
        lossless: pictures bit for bit, by codec bitswap, or bbans where it is named.
        prior: name, id or path of a prior; chosen by the kind of signal by default.
        effort: "fast", "default" or "best".
        coder: how latents of codec hierarchical are sent: "round" (quantisation, the default) or "rec" (relative
            entropy coding).
        beta, target_bpp, target_kbps, target_psnr: at most one; file bits count.
        optimise: "psnr" or "ms-ssim": what codec hierarchical raises at the rate asked for.
        progress: called with the number of gradient steps done since the last call.

    Raises:
        DataError, LimitError, UnsupportedError: the input. UsageError: the options. PriorError: the prior.
    """
    from inrcodec.codecs.registry import lossless_codec
    from inrcodec.encoding import Settings, compress_signals

    codec = lossless_codec(codec) if lossless else codec
    settings = Settings(codec, prior, effort, beta, target_bpp, target_kbps, target_psnr, coder, optimise)
    many = not isinstance(source, str | Path | Signal)
    items: list[str | Path | Signal] = list(source) if many else [source]  # type: ignore[arg-type, list-item]
    if not items:
        raise UsageError("nothing to compress")
    signals = [item if isinstance(item, Signal) else read_signal(item) for item in items]
    if many and names is None:
        names = [f"{i:05d}" if isinstance(item, Signal) else Path(item).name for i, item in enumerate(items)]
    return compress_signals(signals, settings, names if many else None, progress).data


def decompress(
    source: bytes | str | Path,
    *,
    scale: float | None = None,
    size: Sequence[int] | None = None,
    region: Sequence[int] | None = None,
    start: float | None = None,
    duration: float | None = None,
    sample_rate: int | None = None,
    entry: int | str = 0,
    prior: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Signal:
    """The signal in the bytes or the file of an ``.inr`` or ``.inrs``; of an archive, one entry by number or name.

    What is decoded is asked for as of ``InrFile.render``. Raises FormatError, LimitError, PriorError, UsageError.
    """
    with InrFile(source, prior=prior, limits=limits) as file:
        return file.render(
            scale=scale, size=size, region=region, start=start, duration=duration, sample_rate=sample_rate, entry=entry
        )


class InrFile:
    """An ``.inr`` or ``.inrs`` file held open: look first, then decode what is wanted, at any size."""

    def __init__(
        self, source: bytes | str | Path, *, prior: str | None = None, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self.data = source if isinstance(source, bytes) else read_whole(Path(source), limits)
        self._prior, self._limits = prior, limits
        self._archive: ArchiveReader | None = None
        if file_kind(self.data) == "inrs":
            self._archive = ArchiveReader(self.data, limits)
            self._single: Container | None = None
        else:
            self._single = unpack(self.data, limits)

    def __enter__(self) -> InrFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def __len__(self) -> int:
        return 1 if self._archive is None else len(self._archive)

    @property
    def is_archive(self) -> bool:
        """Whether this is an ``.inrs`` file."""
        return self._archive is not None

    @property
    def names(self) -> list[str]:
        """Names of an archive's entries; a single file has one without a name."""
        return [""] if self._archive is None else list(self._archive.names)

    def container(self, entry: int | str = 0) -> Container:
        """Header, payload and sections of an entry; UsageError when there is no such entry."""
        if self._archive is not None:
            return self._archive.container(self._archive.index_of(entry) if isinstance(entry, str) else entry)
        assert self._single is not None
        if entry not in (0, ""):
            raise UsageError(f"a single file has no entry {entry!r}")
        return self._single

    @property
    def payload_bytes(self) -> int:
        """Bytes that the codec wrote, without headers, names and metadata."""
        from inrcodec.decoding import payload_bytes

        return payload_bytes([self.container(i) for i in range(len(self))])

    @property
    def info(self) -> dict[str, Any]:
        """What the file says of itself, without decoding: codec, prior, sizes in bytes, headers."""
        from inrcodec.decoding import describe

        return describe(
            self.data, [self.container(i) for i in range(len(self))], self.names if self.is_archive else None
        )

    def entry_bytes(self, entry: int | str = 0) -> int:
        """Bytes that an entry takes: its payload, of a lossless chain its share; of a single signal the whole file."""
        if self._archive is None:
            return len(self.data)
        container = self.container(entry)
        return len(container.payload) or round(len(container.section(CHAIN)) / len(self))

    def render(
        self,
        *,
        scale: float | None = None,
        size: Sequence[int] | None = None,
        region: Sequence[int] | None = None,
        start: float | None = None,
        duration: float | None = None,
        sample_rate: int | None = None,
        entry: int | str = 0,
        progress: Progress | None = None,
    ) -> Signal:
        """Decode an entry, or a part of it, on its own grid or another.

        ``scale``: a grid so much finer (below 1: coarser, every point the mean over its footprint). ``size``: points
        along each axis, slowest first. ``sample_rate``: Hz of a sound. ``region``: of an image (left, top, width,
        height) in points of the grid that is decoded, of a field first points along all axes and then counts.
        ``start``, ``duration``: seconds of a sound. A part is, to the last bit, what lies there in the whole.
        ``progress``: called with the number of values that a lossless codec has decoded since the last call.
        """
        from inrcodec.decoding import decompress_container, output_size, output_window

        container = self.container(entry)
        wanted = output_size(container.header, scale, tuple(size) if size is not None else None, sample_rate)
        window = output_window(container.header, wanted, region, start, duration)
        return decompress_container(
            container, size=wanted, prior=self._prior, limits=self._limits, tick=progress, window=window
        )


def open(source: bytes | str | Path, *, prior: str | None = None, limits: Limits = DEFAULT_LIMITS) -> InrFile:
    """Open an ``.inr`` or ``.inrs`` file; see ``InrFile``."""
    return InrFile(source, prior=prior, limits=limits)


if "IPython" in sys.modules:
    from inrcodec import display as jupyter

    jupyter.register()
