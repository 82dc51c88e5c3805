"""The public functions of the package.

    blob = inrcodec.compress("photo.png", target_bpp=0.3)
    image = inrcodec.decompress(blob, scale=2.0)
    with inrcodec.open("photo.inr") as file:
        file.info, file.render(size=(1024, 1536))

Everything that the command line does is a call of these. Sizes, regions and shapes are in array order everywhere: the
slowest axis first, so (height, width) for images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from inrcodec.container.inr import CHAIN, Container, file_kind, unpack
from inrcodec.container.inrs import ArchiveReader
from inrcodec.errors import UsageError
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.settings import Encoded, Settings
from inrcodec.signals.files import read_signal
from inrcodec.signals.signal import Signal
from inrcodec.storage import read_bytes

__all__ = [
    "Encoded",
    "InrFile",
    "Limits",
    "Settings",
    "Signal",
    "compress",
    "decompress",
    "encode",
    "open",
    "read_signal",
]

Input = Any
"""A path, the bytes of a file, a binary file object, an array, a tensor, a Pillow image, a DataArray or a Signal."""
Source = bytes | bytearray | memoryview | IO[bytes] | str | Path
Progress = Callable[[int], None]


def encode(
    source: Input | Sequence[Input],
    settings: Settings | None = None,
    *,
    names: Sequence[str] | None = None,
    kind: str | None = None,
    layout: str | None = None,
    sample_rate: int | None = None,
    progress: Progress | None = None,
    plan: Callable[[int], None] | None = None,
) -> Encoded:
    """Compress one signal to an ``.inr`` file, or a list of signals to an ``.inrs`` archive, in memory.

    Args:
        source: a path, the bytes of a file (bytes, bytearray, memoryview), a file object opened in binary mode, a NumPy
            array, a torch tensor, an image of Pillow, a DataArray of xarray, a Signal, or a list of these.
        settings: codec, prior, effort and rate; the defaults of ``Settings`` where left out.
        names: names of an archive's entries; by default file names for paths, and numbers for all else.
        kind: "image", "audio" or "field": what arrays hold, where shape and type leave it open.
        layout: what the axes of arrays are: "HW", "HWC", "CHW", "N", "NC" or "CN", see ``Signal.from_array``.
        sample_rate: of audio in arrays, in Hz.
        progress: called with the number of gradient steps done since the last call.
        plan: called once with the number of gradient steps to come.

    Returns:
        The file's bytes and what is known of them: codec, prior, payload bytes, and the PSNR where it was measured.

    Raises:
        DataError, LimitError, UnsupportedError: an input cannot be read or encoded.
        UsageError: the settings do not fit the input, or an array is ambiguous.
        PriorError: the prior is not found.

    Example:
        >>> encoded = inrcodec.encode("photo.png", inrcodec.Settings(target_bpp=0.3, effort="fast"))
        >>> len(encoded.data), encoded.codec, encoded.prior
    """
    from inrcodec.codecs.base import no_progress
    from inrcodec.codecs.registry import family_named
    from inrcodec.encoding import encode_signals
    from inrcodec.signals.inputs import check_levels, entry_names, is_single, list_of, signal_of

    many = not is_single(source)
    items = list_of(source) if many else [source]
    settings = settings or Settings()
    lossless = family_named(settings.codec).lossless
    signals = []
    for number, item in enumerate(items):
        place = f"entry {number}" if many else ""
        signal = signal_of(item, kind=kind, layout=layout, sample_rate=sample_rate, place=place)
        if lossless:
            check_levels(item, signal, place)
        signals.append(signal)
    if many and names is None:
        names = entry_names(items)
    return encode_signals(signals, settings, names if many else None, progress or no_progress, plan or no_progress)


def compress(
    source: Input | Sequence[Input],
    *,
    names: Sequence[str] | None = None,
    kind: str | None = None,
    layout: str | None = None,
    sample_rate: int | None = None,
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
    """Compress one signal to the bytes of an ``.inr`` file, or a list of signals to those of an ``.inrs`` archive.

    Args:
        source: a path, the bytes of a file (bytes, bytearray, memoryview), a file object opened in binary mode, a NumPy
            array, a torch tensor, an image of Pillow, a DataArray of xarray, a Signal, or a list of these.
        names: names of an archive's entries; by default file names for paths, and numbers for all else.
        kind: "image", "audio" or "field": what arrays hold, where shape and type leave it open.
        layout: what the axes of arrays are: "HW", "HWC", "CHW", "N", "NC" or "CN", see ``Signal.from_array``.
        sample_rate: of audio in arrays, in Hz.
        codec: name of a codec; "auto" chooses by the prior and the signal.
        lossless: keep images bit for bit, with codec bitswap unless ``codec`` is "bbans".
        prior: name, id or path of a prior; chosen by the kind of signal by default.
        effort: "fast", "default" or "best".
        coder: how latents are sent: "round" (quantisation) or "rec" (relative entropy coding), see ``Settings``.
        beta, target_bpp, target_kbps, target_psnr: at most one. Targets count the bytes of the whole file.
        optimise: "psnr" or "ms-ssim": what the hierarchical codec maximises at the rate.
        progress: called with the number of gradient steps done since the last call.

    Returns:
        The bytes of the file; ``encode`` returns them with what is known of them.

    Raises:
        DataError, LimitError, UnsupportedError: an input cannot be read or encoded.
        UsageError: the options do not fit each other or the input, or an array is ambiguous.
        PriorError: the prior is not found.
    """
    settings = Settings(
        codec=codec,
        lossless=lossless,
        prior=prior,
        effort=effort,
        beta=beta,
        target_bpp=target_bpp,
        target_kbps=target_kbps,
        target_psnr=target_psnr,
        coder=coder,
        optimise=optimise,
    )
    return encode(
        source, settings, names=names, kind=kind, layout=layout, sample_rate=sample_rate, progress=progress
    ).data


def decompress(
    source: Source,
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
    """Decode the bytes or the file of an ``.inr`` or ``.inrs``; of an archive, one entry by number or name.

    Args:
        source: the bytes of a file (bytes, bytearray, memoryview), a file object opened in binary mode, which is read
            from its position on, or a path.
        scale, size, region, start, duration, sample_rate, entry: what to decode, see ``InrFile.render``.
        prior: name or path of a prior to use instead of looking for the file's by its id.
        limits: what the file may ask for; pass tighter ones for untrusted files.

    Raises:
        FormatError, LimitError: the file is corrupt or asks for too much.
        PriorError: the prior is not found.
        UsageError: the options do not fit the signal.
    """
    with InrFile(source, prior=prior, limits=limits) as file:
        return file.render(
            scale=scale, size=size, region=region, start=start, duration=duration, sample_rate=sample_rate, entry=entry
        )


class InrFile:
    """An open ``.inr`` or ``.inrs`` file: inspect it, then decode what you need, at any size.

    Decoding is safe from several threads, and in forked or spawned workers.

    Attributes:
        data: the bytes of the file.
    """

    def __init__(self, source: Source, *, prior: str | None = None, limits: Limits = DEFAULT_LIMITS) -> None:
        """Open a file or its bytes.

        Args:
            source: the bytes of a file (bytes, bytearray, memoryview), a file object opened in binary mode, which is
                read from its position on, or a path.
            prior: name or path of a prior to use instead of looking for the file's by its id.
            limits: what the file may ask for.

        Raises:
            DataError: the file cannot be read. FormatError: it is no ``.inr`` or ``.inrs`` file, or corrupt.
            UsageError: ``source`` is none of these.
        """
        data = read_bytes(source, limits)
        if data is None:
            raise UsageError(
                f"expected the bytes of an .inr or .inrs file, a binary file object or a path, got"
                f" {type(source).__name__}"
            )
        self.data = data
        self._prior, self._limits = prior, limits
        self._archive: ArchiveReader | None = None
        self._decoder: Any = None
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

    def _repr_html_(self) -> str:
        """Return a table of what the file says of itself, for notebooks."""
        from inrcodec.display import table

        return table(self.info)

    @property
    def is_archive(self) -> bool:
        """Return whether this is an ``.inrs`` file."""
        return self._archive is not None

    @property
    def names(self) -> list[str]:
        """Return the names of an archive's entries; a single file has one entry without a name."""
        return [""] if self._archive is None else list(self._archive.names)

    def container(self, entry: int | str = 0) -> Container:
        """Return header, payload and sections of an entry; UsageError when there is no such entry."""
        if self._archive is not None:
            return self._archive.container(self._archive.index_of(entry) if isinstance(entry, str) else entry)
        assert self._single is not None
        if entry not in (0, ""):
            raise UsageError(f"a single file has no entry {entry!r}")
        return self._single

    @property
    def payload_bytes(self) -> int:
        """Return the bytes that the codec wrote, without headers, names and metadata."""
        from inrcodec.decoding import payload_bytes

        return payload_bytes([self.container(i) for i in range(len(self))])

    @property
    def info(self) -> dict[str, Any]:
        """Return what the file says of itself, without decoding: codec, prior, sizes in bytes, headers."""
        from inrcodec.decoding import describe

        return describe(
            self.data, [self.container(i) for i in range(len(self))], self.names if self.is_archive else None
        )

    def entry_bytes(self, entry: int | str = 0) -> int:
        """Return the bytes that an entry takes.

        That is its payload, in a lossless chain its share of it, and for a single signal the whole file.
        """
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

        Args:
            scale: factor to the signal's own grid; below 1 every point is the mean over its footprint.
            size: points along each axis, slowest axis first: (height, width) for images.
            region: part of the decoded grid, first points along all axes and then counts, slowest axis first: (top,
                left, height, width) for images.
            start, duration: part of audio, in seconds.
            sample_rate: sample rate of decoded audio in Hz.
            entry: number or name of an archive's entry.
            progress: called with the number of values decoded since the last call.

        Returns:
            The signal. A part equals, to the last bit, the same part of the whole.

        Raises:
            FormatError, LimitError: the file is corrupt or asks for too much.
            PriorError: the prior is not found.
            UsageError: the options do not fit the signal.
        """
        from inrcodec.codecs.base import no_progress
        from inrcodec.decoding import Decoder, output_size, output_window

        container = self.container(entry)
        grid = output_size(container.header, scale, tuple(size) if size is not None else None, sample_rate)
        window = output_window(container.header, grid, region, start, duration)
        if self._decoder is None:
            self._decoder = Decoder(container, prior=self._prior, limits=self._limits)
        decoded: Signal = self._decoder.decode(container, size=grid, window=window, progress=progress or no_progress)
        return decoded


def open(source: Source, *, prior: str | None = None, limits: Limits = DEFAULT_LIMITS) -> InrFile:
    """Open an ``.inr`` or ``.inrs`` file, its bytes or a file object; see ``InrFile``."""
    return InrFile(source, prior=prior, limits=limits)
