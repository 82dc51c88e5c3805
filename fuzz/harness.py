"""Define the fuzz targets by name: each is a function of bytes that must handle any input safely.

A target returns True when it accepted the bytes and used them to the end, and False when it rejected part of them. An
error of the package's own family also counts as a rejection. Anything else is a *finding* (see ``running``): another
exception, an overflow warning, a broken law, or too much time or memory.

The targets write correct checksums over their input, so that mutations get past them.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
import warnings
import zlib
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image
from running import Target, watch

import inrcodec.pillow
from inrcodec import decoding
from inrcodec.api import InrFile
from inrcodec.codecs import prior_store
from inrcodec.codecs.base import DecodeRequest, Prior
from inrcodec.codecs.bitswap.prior import BitSwapPrior
from inrcodec.codecs.grids.prior import GridsPrior
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
from inrcodec.codecs.prior_file import read_prior_bytes
from inrcodec.codecs.registry import codec_for, codec_ids, family_of_format, provided
from inrcodec.container.framing import MAGICS, ByteReader, file_kind, seal
from inrcodec.container.inr import CHAIN, EXTRA, Container, Section, pack, peek, unpack
from inrcodec.container.inrs import ArchiveReader
from inrcodec.container.names import name_fault
from inrcodec.container.signal_header import read_header, write_header
from inrcodec.errors import InrcodecError, PriorError
from inrcodec.limits import Limits
from inrcodec.signals.files import signal_from_bytes, write_signal
from inrcodec.signals.metadata import SignalMeta
from inrcodec.signals.signal import Signal

CORPUS = Path(__file__).resolve().parent / "corpus"
LIMITS = Limits(
    max_points=1 << 12,
    max_axis=1 << 11,
    max_channels=4,
    max_blocks=1 << 12,
    max_metadata_bytes=1 << 16,
    max_entries=64,
    max_multiply_adds=1 << 26,
    max_file_bytes=1 << 20,
)
"""Limits so small that any input within them is decoded in a moment."""
CODECS = {
    "combiner": ("combiner",),
    "hierarchical": ("hierarchical",),
    "coinpp": ("coin++",),
    "coin": ("coin",),
    "grids": ("grids",),
    "bitswap": ("bitswap", "bbans"),
}
"""Decoder targets, and the codecs that each one covers."""


class LawBroken(Exception):
    """Signals that an accepted input broke a law: what was read does not match what was written."""


# Priors and initial files.


def read_corpus(folder: str) -> dict[str, bytes]:
    """Return the files of a corpus folder by name."""
    return {path.name: path.read_bytes() for path in sorted((CORPUS / folder).iterdir())}


def load_prior(data: bytes) -> Prior:
    """Load a prior from the bytes of its file, as ``prior_store`` does."""
    head, _ = read_prior_bytes(data, "fuzzed")
    family = family_of_format(str(head.get("format")), "fuzzed")
    return provided(family, family.load_prior, "no learned priors")(data, "fuzzed")


_PRIORS: dict[bytes, Prior] = {}


def hold_priors() -> None:
    """Keep the tiny priors in memory and let decoders find them there: searching folders is not under test."""
    for data in read_corpus("priors").values():
        prior = load_prior(data)
        _PRIORS[prior.id] = prior

    def find_id(identity: bytes) -> Prior:
        if identity not in _PRIORS:
            raise PriorError(f"the file needs prior {identity.hex()}, which is not here")
        return _PRIORS[identity]

    prior_store.find_id = find_id
    prior_store.prior_files = dict


def containers(codecs: tuple[str, ...]) -> list[Container]:
    """Return the first entry of every golden file of some codecs."""
    numbers = {codec_ids()[name] for name in codecs}
    first_entries = [InrFile(data).container(0) for data in read_corpus("files").values()]
    return [entry for entry in first_entries if entry.codec_id in numbers]


def resealed(data: bytes) -> bytes:
    """Return a file with its last four bytes replaced by the correct CRC-32."""
    return seal(data[:-4])


# Targets.


def header(data: bytes) -> bool:
    """Read a signal header; writing it back must give the same bytes."""
    reader = ByteReader(data)
    decoded = read_header(reader, LIMITS)
    used = data[: len(data) - reader.left]
    if write_header(decoded) != used:
        raise LawBroken(f"{used.hex()} was read as {decoded}")
    return True


def container(data: bytes) -> bool:
    """Read an ``.inr`` file without its magic and checksum; writing it back must give the same bytes."""
    whole = seal(MAGICS["inr"] + data)
    peeked = peek(whole, LIMITS)
    unpacked = unpack(whole, LIMITS)
    if pack(unpacked) != whole or peeked.header != unpacked.header:
        raise LawBroken(f"{whole.hex()} was read as {unpacked}")
    unpacked.meta(LIMITS)
    return True


def archive(data: bytes) -> bool:
    """Read an ``.inrs`` file without its magic and checksum: entries, names, runs, sections."""
    reader = ArchiveReader(seal(MAGICS["inrs"] + data), LIMITS)
    total = sum(len(entry.payload) for entry in reader)
    if total != sum(map(reader.payload_bytes, range(len(reader)))) or len(set(reader.names)) != len(reader):
        raise LawBroken(f"{len(reader)} entries with {total} bytes and names {list(reader.names)}")
    for name in reader.names:
        place = Path("out", *name.split("/"))
        if name_fault(name) or not str(place).startswith("out" + os.sep) or ".." in place.parts:
            raise LawBroken(f"an entry of the name {name!r}")
    reader.index_of(reader.names[-1])
    return True


def metadata(data: bytes) -> bool:
    """Read extra metadata of an image, audio or a field as JSON, write it back, and carry it to other grids and files.

    The first byte says which signal the metadata is attached to.
    """
    number, text = (data[0], data[1:]) if data else (0, b"")
    extra = b"\x01" + zlib.compress(text, 1)
    golden = _METADATA_SIGNALS[number % len(_METADATA_SIGNALS)]
    meta = SignalMeta.from_extra(extra, 8, LIMITS)
    again = meta.extra_to_bytes()
    if SignalMeta.from_extra(again, 8).extra_to_bytes() != again:
        raise LawBroken(f"{text!r} does not come back")
    shape = golden.header.shape
    size = tuple(n + 1 for n in shape)
    window = tuple(slice(0, max(1, n // 2)) for n in size)
    larger = np.resize(golden.values, (*size, golden.header.channels))
    native = Signal.from_parts(golden.header, extra, golden.values, LIMITS)
    others = [
        Signal.from_parts(golden.header, extra, larger, LIMITS),
        Signal.from_parts(golden.header, extra, larger[window], LIMITS, (size, window)),
    ]
    for signal in (native, *others):
        signal.to_native()
    used = True
    for suffix in _SUFFIXES[golden.header.kind]:
        with tempfile.NamedTemporaryFile(suffix=suffix, dir=_SCRATCH) as place:
            try:
                write_signal(others[number // 4 % 2] if number & 1 else native, place.name, force=True)
            except InrcodecError:
                used = False
            else:
                with contextlib.suppress(InrcodecError):
                    signal_from_bytes(Path(place.name).read_bytes(), "written")
    return used


_SUFFIXES = {"image": (".png", ".jpg", ".tif", ".webp", ".bmp", ".ppm"), "audio": (".wav",), "field": (".nc", ".npy")}
_SCRATCH = "/dev/shm" if Path("/dev/shm").is_dir() else None
_METADATA_SIGNALS: list[Signal] = []


def prior(data: bytes) -> bool:
    """Load a prior from description, line feed and tensors, and decode the golden payloads with it.

    The length before the description and the known answer are taken to be correct.
    """
    description, _, tensors = data.partition(b"\n")
    codec = codec_for(load_prior(len(description).to_bytes(8, "little") + description + tensors))
    target = next(name for name, codecs in CODECS.items() if codec.name in codecs)
    for golden in _CONTAINERS[target]:
        with contextlib.suppress(InrcodecError):
            codec.decode(decoding.coded_entry(golden, codec), DecodeRequest(limits=LIMITS))
    return True


_CONTAINERS: dict[str, list[Container]] = {}


def _decoder(name: str) -> Target:
    def decode(data: bytes) -> bool:
        if len(data) < 2:
            return False
        golden = _CONTAINERS[name]
        chosen, how, payload = golden[data[0] % len(golden)], data[1], data[2:]
        if chosen.section(CHAIN):
            sections = tuple(Section(CHAIN, payload, True) if s.tag == CHAIN else s for s in chosen.sections)
            chosen = replace(chosen, sections=sections, place=how % 3)
        else:
            chosen = replace(chosen, payload=payload)
        return _render(chosen, how)

    decode.__doc__ = f"Decode a payload of codec {name}; two bytes before it choose the golden file and the request."
    return decode


def _render(chosen: Container, how: int) -> bool:
    """Decode on the native grid or, by the lowest bits of ``how``, on a finer grid, a coarser grid or in a window."""
    shape = chosen.header.shape
    lead = max(0, len(shape) - 2)
    size = None
    if how & 7 in (1, 2) and chosen.codec_id not in (codec_ids()["bitswap"], codec_ids()["bbans"]):
        size = tuple(n if axis < lead else (2 * n - 1 if how & 1 else -(-n // 2)) for axis, n in enumerate(shape))
    window = tuple(slice(n // 3, n // 3 + max(1, n // 2)) for n in size or shape) if how & 7 == 3 else None
    decoded = decoding.decompress_container(chosen, size=size, limits=LIMITS, window=window)
    expected = tuple(w.stop - w.start for w in window) if window else size or shape
    if decoded.header.shape != expected:
        raise LawBroken(f"grid {decoded.header.shape} where {expected} was asked for")
    decoded.to_native()
    return True


def file(data: bytes) -> bool:
    """Inspect a whole file of either kind with a corrected checksum, and decode up to three of its entries."""
    return opened(resealed(data))


def opened(data: bytes) -> bool:
    """Do the same as ``file`` without correcting the checksum."""
    with InrFile(data, limits=LIMITS) as opened_file:
        json.dumps(opened_file.info)
        used = False
        for entry in range(min(len(opened_file), 3)):
            used |= _render(opened_file.container(entry), 0)
    return used


def pillow(data: bytes) -> bool:
    """Open and decode a whole file of one image, with a corrected checksum, through Pillow and its own errors."""
    try:
        with Image.open(io.BytesIO(resealed(data)), formats=[inrcodec.pillow.FORMAT]) as image:
            image.load()
    except (OSError, SyntaxError):
        return False
    return True


def source(data: bytes) -> bool:
    """Read an input of the encoder: an image, audio or a field in any format."""
    signal_from_bytes(data, "fuzzed", limits=LIMITS)
    return True


TARGETS: dict[str, Target] = {
    "header": header,
    "container": container,
    "archive": archive,
    "metadata": metadata,
    "prior": prior,
    **{name: _decoder(name) for name in CODECS},
    "file": file,
    "pillow": pillow,
    "source": source,
}


def prepare() -> None:
    """Load priors and golden files; call this before any target."""
    torch.set_num_threads(1)
    hold_priors()
    inrcodec.pillow.LIMITS = LIMITS
    _CONTAINERS.update({name: containers(codecs) for name, codecs in CODECS.items()})
    # Whoever forges a prior can forge its known answer too.
    for prior_class in (HierarchicalPrior, GridsPrior, BitSwapPrior):
        mock.patch.object(prior_class, "_check_answer", lambda self, source: None).start()
    files = read_corpus("files")
    names = ("hierarchical-rgb.inr", "hierarchical-sound.inr", "hierarchical-field.inr")
    _METADATA_SIGNALS.extend(InrFile(files[name]).render() for name in names)
    warnings.simplefilter("error", RuntimeWarning)
    watch()


# Initial inputs.


def _split_prior_file(data: bytes) -> bytes:
    """Return a prior's file as the target ``prior`` takes it."""
    end = 8 + int.from_bytes(data[:8], "little")
    return data[8:end].rstrip() + b"\n" + data[end:]


def _source_files() -> list[bytes]:
    written = []
    for golden in _METADATA_SIGNALS:
        for suffix in _SUFFIXES[golden.header.kind]:
            with tempfile.NamedTemporaryFile(suffix=suffix) as place, contextlib.suppress(InrcodecError):
                write_signal(golden, place.name, force=True)
                written.append(Path(place.name).read_bytes())
    return written


def inputs(name: str) -> list[bytes]:
    """Return the initial inputs of a target; ``prepare`` must have run."""
    files = read_corpus("files")
    if name == "header":
        return [write_header(InrFile(data).container(0).header) for data in files.values()]
    if name in ("container", "archive"):
        kind = "inr" if name == "container" else "inrs"
        return [data[4:-4] for data in files.values() if file_kind(data) == kind]
    if name == "metadata":
        extras = [InrFile(data).container(0).section(EXTRA) for data in files.values()]
        texts = [zlib.decompress(extra[1:]) for extra in extras if extra]
        return [bytes([number]) + text for text in [*texts, *_METADATA_TEXTS] for number in range(3)]
    if name == "prior":
        return [_split_prior_file(data) for data in read_corpus("priors").values()]
    if name in CODECS:
        return [
            bytes([number, how]) + (golden.section(CHAIN) or golden.payload)
            for number, golden in enumerate(_CONTAINERS[name])
            for how in range(4)
        ]
    return _source_files() if name == "source" else list(files.values())


_METADATA_TEXTS = (
    b'{"affine":[1.0,2.0],"variable":"t","dims":["y","x"],"coordinates":{"y":{"type":"<f8","shape":[6],"start":0.0,'
    b'"step":1.0},"x":{"type":"|u1","shape":[2],"data":"AAE="}},"fixed":{"z":1.0}}',
    b'{"dpi":[72.0,72.0],"icc":"AAAA","orientation":3}',
    b'{"attributes":{"a":"b","c":1,"d":{"bytes":"AAAA"},"e":{"type":"<f4","shape":[1],"data":"AAAAAA=="}},'
    b'"source_format":"netcdf","dims":["time","y","x"]}',
)
