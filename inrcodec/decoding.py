"""Containers to signals, whole or in part, on any grid; and what a file says of itself.

container -> Decoder (its codec under its prior) -> CodedEntry, DecodeRequest -> values -> Signal
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from inrcodec.codecs import prior_store
from inrcodec.codecs.base import NO_PRIOR, Codec, CodedEntry, DecodeRequest, FloatArray, Progress, Window, no_progress
from inrcodec.codecs.planes import has_alpha
from inrcodec.codecs.registry import codec_for, codec_name, family_of_id
from inrcodec.container.alpha import decode_alpha
from inrcodec.container.inr import ALPHA, CHAIN, EXTRA, PARAMETERS, Container, image_bits
from inrcodec.errors import FormatError, UsageError
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.parallel.forks import settle_in_fork
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.signal import Signal


class Decoder:
    """Decodes the entries of one file; safe to use from several threads.

    Attributes:
        codec: the file's codec under its prior.
        limits: what the file may ask for.
    """

    def __init__(self, container: Container, *, prior: str | None = None, limits: Limits = DEFAULT_LIMITS) -> None:
        self.codec, self.limits = container_codec(container, prior), limits

    def decode(
        self,
        container: Container,
        *,
        size: tuple[int, ...] | None = None,
        window: Window | None = None,
        progress: Progress = no_progress,
    ) -> Signal:
        """Return the signal of an entry on a grid of ``size`` points or its own, or the part of it in a window.

        Raises:
            FormatError: the entry is corrupt. LimitError: it asks for more than the limits. UnsupportedError: alpha or
            another exact part has to be resized.
        """
        settle_in_fork()
        header, limits = container.header, self.limits
        request = DecodeRequest(size=size, window=window, limits=limits, progress=progress)
        # Check what needs no network first, so that a file that is rejected for it costs nothing more.
        container.meta(limits)
        alpha = None
        if has_alpha(header):
            rows, columns = header.shape
            alpha = decode_alpha(container.section(ALPHA), (rows, columns), image_bits(header))
        values = self.codec.decode(coded_entry(container, self.codec), request)
        if alpha is not None:
            resized = _resize_alpha(alpha, request.grid(header))
            values = np.concatenate([values, request.cut(resized[..., None])], axis=-1)
        place = None if window is None else (request.grid(header), window)
        return Signal.from_parts(header, container.section(EXTRA), values, limits, place)


def decompress_container(
    container: Container,
    *,
    size: tuple[int, ...] | None = None,
    prior: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
    progress: Progress = no_progress,
    window: Window | None = None,
) -> Signal:
    """Return the signal of one file or archive entry, see ``Decoder.decode``.

    Raises:
        PriorError: the prior is not found; other errors as ``Decoder.decode``.
    """
    return Decoder(container, prior=prior, limits=limits).decode(container, size=size, window=window, progress=progress)


def container_codec(container: Container, prior: str | None = None) -> Codec:
    """Return the codec of a file under its prior; ``prior`` names or is the path of a prior to use.

    Raises:
        FormatError: the codec is unknown, or the prior is not the file's. PriorError: the prior is not found.
    """
    family, name = family_of_id(container.codec_id), codec_name(container.codec_id)
    if family.prior_format is None and container.prior_id == NO_PRIOR.id:
        return family.codec(NO_PRIOR, name)
    if prior is None:
        loaded = prior_store.find_id(container.prior_id)
    else:
        loaded = prior_store.find(prior)
        if loaded.id != container.prior_id:
            raise FormatError(f"the file needs prior {container.prior_id.hex()}, {prior} is {loaded.id.hex()}")
    codec = codec_for(loaded, name)
    if codec.name != name:
        raise FormatError(f"the file was made by codec {name}, but its prior belongs to codec {codec.name}")
    return codec


def coded_entry(container: Container, codec: Codec) -> CodedEntry:
    """Return what a decoder needs of a file or an archive entry."""
    parameters, body = container.section(PARAMETERS), container.payload
    if not parameters:
        parameters, body = codec.split_parameters(container.payload)
    return CodedEntry(container.header, parameters, body, container.section(CHAIN), container.place)


def _resize_alpha(alpha: FloatArray, size: tuple[int, ...]) -> FloatArray:
    if alpha.shape == size:
        return alpha
    from PIL import Image

    image = Image.fromarray(alpha).resize((size[1], size[0]), Image.Resampling.BICUBIC, reducing_gap=None)
    return np.clip(np.asarray(image, np.float32), 0.0, 1.0)


def output_size(
    header: SignalHeader, scale: float | None, size: tuple[int, ...] | None, sample_rate: int | None = None
) -> tuple[int, ...] | None:
    """Return the grid to decode on, None for the signal's own.

    A scale leaves the slices of a volume as they are; audio takes a scale or a sample rate in Hz.

    Raises:
        UsageError: more than one is given, the scale is not from 1/16 to 16, or the size has not the signal's axes.
    """
    if sum(given is not None for given in (scale, size, sample_rate)) > 1:
        raise UsageError("give only one of scale, size (or grid) and sample rate")
    if sample_rate is not None:
        if header.kind != "audio":
            raise UsageError(f"a sample rate is for audio, not for this {header.kind}")
        scale = sample_rate / header.sample_rate
    if scale is not None:
        if not (math.isfinite(scale) and 1 / 16 <= scale <= 16):
            raise UsageError(f"scale must be from 0.0625 to 16, got {scale}")
        lead = max(0, len(header.shape) - 2)
        return (*header.shape[:lead], *[max(1, round(n * scale)) for n in header.shape[lead:]])
    if size is not None:
        if header.kind == "audio":
            raise UsageError("audio is resampled with a scale or a sample rate, not a size")
        if len(size) != len(header.shape) or min(size) < 1:
            raise UsageError(f"size must give {len(header.shape)} positive integers for this {header.kind}, got {size}")
    return size


def output_window(
    header: SignalHeader,
    size: tuple[int, ...] | None,
    region: Sequence[int] | None,
    start: float | None,
    duration: float | None,
) -> Window | None:
    """Return the requested part of the output grid, None for all of it.

    Args:
        header: header of the signal.
        size: the output grid, None for the signal's own.
        region: first points along all axes, then counts, slowest axis first: (top, left, height, width) for images.
        start, duration: part of audio in seconds.

    Raises:
        UsageError: the part does not lie on the grid, or is asked for in the terms of another kind of signal.
    """
    grid = size if size is not None else header.shape
    if header.kind == "audio":
        if region is not None:
            raise UsageError("a part of audio is given by start and duration in seconds, not by a region")
        if start is None and duration is None:
            return None
        rate = header.sample_rate * grid[0] / header.shape[0]
        first = round((start or 0.0) * rate)
        last = grid[0] if duration is None else first + round(duration * rate)
        if not 0 <= first < grid[0] or last <= first:
            span = f"start {start or 0:g} s" + ("" if duration is None else f", duration {duration:g} s")
            raise UsageError(f"{span} is out of range: the audio is {grid[0] / rate:.3f} s long")
        return (slice(first, min(last, grid[0])),)
    if start is not None or duration is not None:
        raise UsageError(f"start and duration are for audio; a part of this {header.kind} is given by a region")
    if region is None:
        return None
    numbers, axes = [int(n) for n in region], len(grid)
    if len(numbers) != 2 * axes:
        raise UsageError(f"region must give {2 * axes} integers for this {header.kind}, got {len(numbers)}")
    firsts, counts = numbers[:axes], numbers[axes:]
    for first, count, n in zip(firsts, counts, grid, strict=True):
        if first < 0 or count < 1 or first + count > n:
            raise UsageError(f"region {tuple(numbers)} does not lie on the grid of {'x'.join(map(str, grid))} points")
    return tuple(slice(first, first + count) for first, count in zip(firsts, counts, strict=True))


def describe(data: bytes, containers: Sequence[Container], names: Sequence[str] | None) -> dict[str, Any]:
    """Return what a file says of itself, as plain values; sizes in bytes."""
    first = containers[0]
    files = prior_store.prior_files()
    prior_name = next((name for name, path in files.items() if prior_store.file_id(path) == first.prior_id), None)
    entries = []
    for index, container in enumerate(containers):
        header = container.header
        entry: dict[str, Any] = {} if names is None else {"name": names[index]}
        entry.update(kind=header.kind, layout=header.layout, sample_type=header.sample_type, shape=list(header.shape))
        if header.sample_rate:
            entry["sample_rate"] = header.sample_rate
        entry.update(_described_meta(container))
        entry["payload_bytes"] = len(container.payload)
        entries.append(entry)
    described: dict[str, Any] = {
        "format": "inr" if names is None else "inrs",
        "codec": codec_name(first.codec_id),
        "prior": first.prior_id.hex(),
        "prior_name": prior_name,
        "bytes": len(data),
        "payload_bytes": payload_bytes(containers),
    }
    if names is None:
        return {**described, **{key: value for key, value in entries[0].items() if key != "payload_bytes"}}
    return {**described, "entries": entries}


def _described_meta(container: Container) -> dict[str, Any]:
    """Return the orientation of an image, and variable, units, axes and selection of a field, where there are any."""
    meta = container.meta(DEFAULT_LIMITS)
    units = meta.attributes.get("units", "")
    facts = {
        "orientation": meta.exif_orientation if meta.exif_orientation != 1 else None,
        "variable": meta.variable,
        "units": units.decode("utf-8", "replace") if isinstance(units, bytes) else str(units),
        "axes": list(meta.dims),
        "selected": {name: float(value) for name, value in meta.fixed.items()},
    }
    return {key: value for key, value in facts.items() if value}


def payload_bytes(containers: Sequence[Container]) -> int:
    """Return the bytes that the codec wrote: bodies, and once what they share."""
    shared = len(containers[0].section(PARAMETERS)) + len(containers[0].section(CHAIN))
    return sum(len(container.payload) for container in containers) + shared
