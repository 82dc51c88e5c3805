"""Reading of training folders: what a recipe asks for becomes sources of training and held-out patches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import DataError
from inrcodec.signals.files import read_signal
from inrcodec.signals.signal import Signal
from inrcodec.training.field_sources import GlobeSource, PlaneSource, unit_range
from inrcodec.training.sources import (
    AudioSource,
    FieldSource,
    ImageSource,
    PatchSource,
    TileSource,
    cut_tiles,
    halve,
    split_held_out,
)

MAX_SHORT_SIDE = 700
"""Images are halved until their shorter side is at most this: enough detail in bounded memory."""

HELD_OUT_PLANE = 20
"""Every n-th plane of normalised fields is held out, where there are that many."""

HELD_OUT_TILE = 20
"""Every n-th tile of a mosaic is held out."""


@dataclass(frozen=True)
class DataSpec:
    """What is read from training folders: signals of one kind, cut into patches, or mosaics of tiles.

    Attributes:
        kind: "image", "audio" or "field".
        patch_shape: points of a patch along every axis.
        tile: side of the tiles that images are mosaics of; 0 for whole images.
        normalised: audio is brought to a root mean square of 1, every plane of a field to [0, 1]; images serve as
            fields too.
        globe: fields are global, latitude by longitude.
        scales: images are resampled by factors between these two.
    """

    kind: str
    patch_shape: tuple[int, ...]
    tile: int = 0
    normalised: bool = False
    globe: bool = False
    scales: tuple[float, float] | None = None


@dataclass(frozen=True)
class DataSummary:
    """What was read for a training.

    Attributes:
        words: a description for people.
        files: number of files that were used.
        training: number of signals (tiles, planes) to train on.
        held_out: number of signals that are held out.
    """

    words: str
    files: int
    training: int
    held_out: int


@dataclass(frozen=True)
class TrainingData:
    """Training data in memory.

    Attributes:
        training: source of training patches.
        held_out: source of held-out patches; of training patches where nothing is held out.
        summary: what was read.
    """

    training: PatchSource
    held_out: PatchSource
    summary: DataSummary


def files_in(folders: Sequence[Path]) -> list[Path]:
    """Return the files of folders, and files that are named themselves, in order.

    Raises:
        DataError: there are none.
    """
    paths = sorted(p for folder in folders for p in (folder.iterdir() if folder.is_dir() else [folder]) if p.is_file())
    if not paths:
        raise DataError(f"no training files in {', '.join(map(str, folders))}")
    return paths


def read_training_data(wanted: DataSpec, folders: Sequence[Path], *, variable: str | None = None) -> TrainingData:
    """Read all files of the folders that are of the kind in ``wanted`` and split off a held-out part.

    Args:
        wanted: what is read.
        folders: folders and files.
        variable: variable of NetCDF files.

    Raises:
        DataError: there is nothing to train on.
    """
    paths = files_in(folders)
    if wanted.tile:
        return _tiles(wanted, paths)
    if wanted.kind == "field" and wanted.normalised:
        return _planes(wanted, paths, variable)
    train, held = split_held_out(paths)
    make: Callable[[list[Any]], PatchSource]
    if wanted.kind == "audio":
        make = lambda items: AudioSource(items, wanted.patch_shape, normalised=wanted.normalised)  # noqa: E731
    elif wanted.kind == "field":
        make = lambda items: FieldSource(items, wanted.patch_shape)  # noqa: E731
    else:
        make = lambda items: ImageSource(items, wanted.patch_shape, wanted.scales)  # noqa: E731
    items, files = _read_all(wanted, train, variable)
    held_items, held_files = _read_all(wanted, held, variable)
    words = f"{len(items)} {wanted.kind} signals, {len(held_items)} held out"
    summary = DataSummary(words, files + held_files, len(items), len(held_items))
    return TrainingData(make(items), make(held_items or items), summary)


def _tiles(wanted: DataSpec, paths: Sequence[Path]) -> TrainingData:
    mosaics = [_levels(signal) for path in paths if (signal := _try_read(path, wanted, None)) is not None]
    tiles = [cut_tiles(mosaic, wanted.tile) for mosaic in mosaics]
    if not tiles:
        raise DataError("no mosaics among the training files")
    every = np.concatenate(tiles)
    held = np.zeros(len(every), bool)
    held[::HELD_OUT_TILE] = True
    n_training, n_held_out = int((~held).sum()), int(held.sum())
    words = f"{n_training} images of {wanted.tile}x{wanted.tile}, {n_held_out} held out"
    summary = DataSummary(words, len(mosaics), n_training, n_held_out)
    return TrainingData(TileSource(every[~held], mirror=True), TileSource(every[held], mirror=False), summary)


def _planes(wanted: DataSpec, paths: Sequence[Path], variable: str | None) -> TrainingData:
    """Read fields whose planes each stand alone: every n-th is held out, none of fewer than n."""
    items, files = _read_all(wanted, paths, variable)
    held = items[HELD_OUT_PLANE // 2 :: HELD_OUT_PLANE] if len(items) >= HELD_OUT_PLANE else []
    training = [item for i, item in enumerate(items) if not held or i % HELD_OUT_PLANE != HELD_OUT_PLANE // 2]
    make = GlobeSource if wanted.globe else PlaneSource
    sources = make(training, wanted.patch_shape), make(held or training, wanted.patch_shape)
    words = f"{len(training)} planes of fields, {len(held)} held out"
    return TrainingData(*sources, DataSummary(words, files, len(training), len(held)))


def _read_all(wanted: DataSpec, paths: Sequence[Path], variable: str | None) -> tuple[list[Any], int]:
    """Return what sources are made of, and the number of files that it came from."""
    items: list[Any] = []
    files = 0
    for path in paths:
        signal = _try_read(path, wanted, variable)
        if signal is None:
            continue
        files += 1
        if wanted.kind == "image":
            levels = _levels(signal)
            while min(levels.shape[:2]) > MAX_SHORT_SIDE:
                levels = halve(levels)
            items.append(levels)
        elif wanted.kind == "audio":
            items += [np.ascontiguousarray(channel) for channel in signal.values.T]
        elif wanted.normalised:
            channels = np.moveaxis(signal.values, -1, 0)
            items += [unit_range(plane) for plane in channels.reshape(-1, *channels.shape[-2:])]
        else:
            axes = len(wanted.patch_shape)
            planes = signal.values.reshape(-1, *signal.header.shape[-axes:], 1)
            items += list(planes)
    return items, files


def _try_read(path: Path, wanted: DataSpec, variable: str | None) -> Signal | None:
    """Return the signal of a file, None when it is of another kind or cannot be read: labels and lists lie beside
    data."""
    try:
        signal = read_signal(path, variable=variable)
    except DataError:
        return None
    photograph = wanted.normalised and wanted.kind == "field" and signal.header.kind == "image"
    if (signal.header.kind != wanted.kind and not photograph) or (
        wanted.kind == "field" and signal.meta.source_format == "npy" and signal.values.ndim < 3
    ):
        return None
    return signal


def _levels(signal: Signal) -> NDArray[np.uint8]:
    """Return colour levels (H, W, 3), gray repeated."""
    levels = np.rint(signal.colour_values * 255).astype(np.uint8)
    return np.repeat(levels, 3, axis=-1) if levels.shape[-1] == 1 else levels
