"""Containers to signals, whole or in part, on any grid; and what a file says of itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from inrcodec.codecs import prior_store
from inrcodec.codecs.base import Window
from inrcodec.codecs.bitswap.codec import BitSwapCodec
from inrcodec.codecs.coin.codec import NO_PRIOR, CoinCodec
from inrcodec.codecs.combiner.progressive import Progress
from inrcodec.codecs.hierarchical.codec import HierarchicalCodec
from inrcodec.codecs.planes import has_alpha
from inrcodec.codecs.prior_store import AnyPrior
from inrcodec.codecs.registry import CODEC_IDS, codec_for, codec_name
from inrcodec.container.alpha import decode_alpha
from inrcodec.container.inr import ALPHA, CHAIN, EXTRA, PARAMETERS, Container, image_bits
from inrcodec.errors import FormatError, UsageError
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.signal import Signal

if TYPE_CHECKING:
    from inrcodec.codecs.grids.codec import GridsCodec

WINDOWED = ("hierarchical", "grids")
"""Codecs that decode a part of a signal for a part of the work."""


def decompress_container(
    container: Container,
    *,
    size: tuple[int, ...] | None = None,
    prior: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
    tick: Progress | None = None,
    window: Window | None = None,
) -> Signal:
    """The signal of one file or archive entry, on a grid of ``size`` points or its own, or what of it lies in a window.

    ``tick`` is told of values that are decoded by the codecs that take long, the lossless ones.

    Raises FormatError, LimitError, PriorError; UnsupportedError when alpha or another exact part has to be resized.
    """
    coin = container.codec_id == CODEC_IDS[CoinCodec.name] and container.prior_id == NO_PRIOR.id
    codec = CoinCodec() if coin else codec_for(_prior_of(container, prior), codec_name(container.codec_id))
    if codec.name != codec_name(container.codec_id):
        raise FormatError(f"the file was made by codec {codec_name(container.codec_id)}, its prior is of {codec.name}")
    shared = container.section(PARAMETERS)
    if shared:
        parameters, body = shared, container.payload
    else:
        *_, end = codec.read_parameters(container.payload)
        parameters, body = container.payload[:end], container.payload[end:]
    chain, header = container.section(CHAIN), container.header
    grid = size if size is not None else header.shape
    # What takes no network comes first: a file that is refused for it costs nothing more.
    container.meta(limits)
    alpha = None
    if has_alpha(header):
        rows, columns = header.shape
        alpha = decode_alpha(container.section(ALPHA), (rows, columns), image_bits(header))
    if codec.name in WINDOWED:
        values = cast("HierarchicalCodec | GridsCodec", codec).decode(parameters, body, header, size, limits, window)
    else:
        if isinstance(codec, BitSwapCodec) and chain:
            values = codec.decode_chain(chain, container.place, header, size, limits)
        elif isinstance(codec, BitSwapCodec):
            values = codec.decode(parameters, body, header, size, limits, tick)
        else:
            values = codec.decode(parameters, body, header, size, limits)
        values = values if window is None else values[window]
    if alpha is not None:
        resized = _resize_alpha(alpha, grid)
        values = np.concatenate([values, (resized if window is None else resized[window])[..., None]], axis=-1)
    return Signal.from_parts(
        header, container.section(EXTRA), values, limits, None if window is None else (grid, window)
    )


def _resize_alpha(alpha: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    if alpha.shape == size:
        return alpha
    from PIL import Image

    image = Image.fromarray(alpha).resize((size[1], size[0]), Image.Resampling.BICUBIC, reducing_gap=None)
    return np.clip(np.asarray(image, np.float32), 0.0, 1.0)


def _prior_of(container: Container, name: str | None) -> AnyPrior:
    if name is None:
        return prior_store.find_id(container.prior_id)
    found = prior_store.find(name)
    if found.id != container.prior_id:
        raise FormatError(f"the file needs prior {container.prior_id.hex()}, {name} is {found.id.hex()}")
    return found


def output_size(
    header: SignalHeader, scale: float | None, size: tuple[int, ...] | None, sample_rate: int | None = None
) -> tuple[int, ...] | None:
    """Grid to decode on: None for the signal's own.

    A scale leaves the slices of a volume as they are. UsageError unless 1/16 <= scale <= 16 and the size has the
    signal's axes; sounds take a scale or a sample rate (Hz).
    """
    if sum(given is not None for given in (scale, size, sample_rate)) > 1:
        raise UsageError("give one of scale, size and sample rate")
    if sample_rate is not None:
        if header.kind != "audio":
            raise UsageError(f"a sample rate is for sounds, not for this {header.kind}")
        scale = sample_rate / header.sample_rate
    if scale is not None:
        if not (math.isfinite(scale) and 1 / 16 <= scale <= 16):
            raise UsageError(f"scale must be from 0.0625 to 16, got {scale}")
        lead = max(0, len(header.shape) - 2)
        return (*header.shape[:lead], *[max(1, round(n * scale)) for n in header.shape[lead:]])
    if size is not None:
        if header.kind == "audio":
            raise UsageError("a sound is resized with a scale or a sample rate")
        if len(size) != len(header.shape) or min(size) < 1:
            raise UsageError(f"size must give {len(header.shape)} positive numbers for this {header.kind}, got {size}")
    return size


def output_window(
    header: SignalHeader,
    size: tuple[int, ...] | None,
    region: Sequence[int] | None,
    start: float | None,
    duration: float | None,
) -> Window | None:
    """Part of the output grid that is asked for: None for all of it.

    ``region``: of images left, top, width, height in points of the output grid; of other grids first points, then
    counts, along all axes. ``start``, ``duration``: seconds of a sound. UsageError when it does not lie on the grid.
    """
    grid = size if size is not None else header.shape
    if header.kind == "audio":
        if region is not None:
            raise UsageError("a part of a sound is asked for by start and duration in seconds")
        if start is None and duration is None:
            return None
        rate = header.sample_rate * grid[0] / header.shape[0]
        first = round((start or 0.0) * rate)
        last = grid[0] if duration is None else first + round(duration * rate)
        if not 0 <= first < grid[0] or last <= first:
            raise UsageError(f"the sound lasts {grid[0] / rate:.3f} s: no part from {start or 0} s of {duration} s")
        return (slice(first, min(last, grid[0])),)
    if start is not None or duration is not None:
        raise UsageError(f"start and duration are for sounds; a part of this {header.kind} is asked for by region")
    if region is None:
        return None
    numbers, axes = [int(n) for n in region], len(grid)
    if len(numbers) != 2 * axes:
        raise UsageError(f"region must give {2 * axes} numbers for this {header.kind}, got {len(numbers)}")
    firsts, counts = numbers[:axes], numbers[axes:]
    if header.kind == "image":
        firsts, counts = firsts[::-1], counts[::-1]
    for first, count, n in zip(firsts, counts, grid, strict=True):
        if first < 0 or count < 1 or first + count > n:
            raise UsageError(f"region {tuple(numbers)} does not lie on the grid of {'x'.join(map(str, grid))} points")
    return tuple(slice(first, first + count) for first, count in zip(firsts, counts, strict=True))


def describe(data: bytes, containers: Sequence[Container], names: Sequence[str] | None) -> dict[str, Any]:
    """What a file says of itself, as plain values; sizes in bytes."""
    first = containers[0]
    known = next(
        (n for n, path in prior_store.prior_files().items() if prior_store.file_id(path) == first.prior_id), None
    )
    entries = []
    for index, container in enumerate(containers):
        header = container.header
        entry: dict[str, Any] = {} if names is None else {"name": names[index]}
        entry.update(kind=header.kind, layout=header.layout, sample_type=header.sample_type, shape=list(header.shape))
        if header.sample_rate:
            entry["sample_rate"] = header.sample_rate
        entry["payload_bytes"] = len(container.payload)
        entries.append(entry)
    out: dict[str, Any] = {
        "format": "inr" if names is None else "inrs",
        "codec": codec_name(first.codec_id),
        "prior": first.prior_id.hex(),
        "prior_name": known,
        "bytes": len(data),
        "payload_bytes": payload_bytes(containers),
    }
    if names is None:
        return {**out, **{k: v for k, v in entries[0].items() if k != "payload_bytes"}}
    return {**out, "entries": entries}


def payload_bytes(containers: Sequence[Container]) -> int:
    """Bytes that the codec wrote: bodies, and once what they share."""
    shared = len(containers[0].section(PARAMETERS)) + len(containers[0].section(CHAIN))
    return sum(len(c.payload) for c in containers) + shared
