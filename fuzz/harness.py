"""What is fuzzed: targets by name, each a function of bytes that any bytes must pass through unharmed.

A target returns True where the bytes were accepted and used to the end, False where they were refused by an error of
the package's own family. Whatever else comes out is a *finding* (``running``): another exception, a warning of an
overflow, a broken law, too much time or memory.

Checksums are no hurdle: the targets seal what they are given.
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

import numpy as np
import torch
from PIL import Image
from running import Target, watch

import inrcodec.pillow
from inrcodec import decoding
from inrcodec.api import InrFile
from inrcodec.codecs import prior_store
from inrcodec.codecs.bitswap.prior import BitSwapPrior
from inrcodec.codecs.combiner.prior import CombinerPrior
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
from inrcodec.codecs.prior_file import read_prior_bytes
from inrcodec.codecs.prior_store import AnyPrior
from inrcodec.codecs.registry import CODEC_IDS, codec_for
from inrcodec.container.framing import MAGICS, ByteReader, file_kind, seal
from inrcodec.container.inr import EXTRA, Container, Section, pack, peek, unpack
from inrcodec.container.inrs import ArchiveReader
from inrcodec.container.names import name_fault
from inrcodec.container.sections import CHAIN, TAGS
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
"""Small enough that whatever they let through is done in a moment."""
CODECS = {
    "combiner": ("combiner",),
    "hierarchical": ("hierarchical",),
    "coinpp": ("coin++",),
    "coin": ("coin",),
    "grids": ("grids",),
    "lossless": ("bitswap", "bbans"),
}
"""Targets of decoders, and the codecs that each is of."""


class LawBroken(Exception):
    """What was accepted is not what it should be."""


# Priors and files to begin with.


def read_corpus(folder: str) -> dict[str, bytes]:
    """Files of a folder of the corpus by name."""
    return {path.name: path.read_bytes() for path in sorted((CORPUS / folder).iterdir())}


def load_prior(data: bytes) -> AnyPrior:
    """As ``prior_store`` loads it."""
    head, _ = read_prior_bytes(data, "fuzzed")
    return prior_store._CLASSES.get(str(head.get("format")), CombinerPrior).from_bytes(data, "fuzzed")


_HELD: dict[bytes, AnyPrior] = {}


def hold_priors() -> None:
    """Put the tiny priors where files find theirs, in memory: looking through folders is not what is fuzzed."""
    for data in read_corpus("priors").values():
        prior = load_prior(data)
        _HELD[prior.id] = prior

    def find_id(identity: bytes) -> AnyPrior:
        if identity not in _HELD:
            raise PriorError(f"the file needs prior {identity.hex()}, which is not here")
        return _HELD[identity]

    prior_store.find_id = find_id
    prior_store.prior_files = dict


def containers(codecs: tuple[str, ...]) -> list[Container]:
    """First entries of the golden files of some codecs."""
    numbers = {CODEC_IDS[name] for name in codecs}
    found = []
    for data in read_corpus("files").values():
        first = InrFile(data).container(0)
        if first.codec_id in numbers:
            found.append(first)
    return found


def resealed(data: bytes) -> bytes:
    """A file with the right CRC-32 in place of its last four bytes."""
    return seal(data[:-4])


# Targets.


def header(data: bytes) -> bool:
    """A signal header; what is read is written back as the same bytes."""
    reader = ByteReader(data)
    found = read_header(reader, LIMITS)
    used = data[: len(data) - reader.left]
    if write_header(found) != used:
        raise LawBroken(f"{used.hex()} was read as {found}")
    return True


def container(data: bytes) -> bool:
    """An ``.inr`` file without its magic and checksum; what is read is written back as the same bytes."""
    whole = seal(MAGICS["inr"] + data)
    seen = peek(whole, LIMITS)
    found = unpack(whole, LIMITS, TAGS)
    if pack(found) != whole or seen.header != found.header:
        raise LawBroken(f"{whole.hex()} was read as {found}")
    found.meta(LIMITS)
    return True


def archive(data: bytes) -> bool:
    """An ``.inrs`` file without its magic and checksum: entries, names, runs, sections."""
    found = ArchiveReader(seal(MAGICS["inrs"] + data), LIMITS, TAGS)
    total = sum(len(entry.payload) for entry in found)
    if total != sum(map(found.payload_bytes, range(len(found)))) or len(set(found.names)) != len(found):
        raise LawBroken(f"{len(found)} entries with {total} bytes and names {list(found.names)}")
    for name in found.names:
        place = Path("out", *name.split("/"))
        if name_fault(name) or not str(place).startswith("out" + os.sep) or ".." in place.parts:
            raise LawBroken(f"an entry of the name {name!r}")
    found.index_of(found.names[-1])
    return True


def metadata(data: bytes) -> bool:
    """Extra metadata of a picture, a sound or a field, as JSON: read, written back, carried to other grids and into
    files of every kind."""
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
    found = Signal.from_parts(golden.header, extra, golden.values, LIMITS)
    others = [
        Signal.from_parts(golden.header, extra, larger, LIMITS),
        Signal.from_parts(golden.header, extra, larger[window], LIMITS, (size, window)),
    ]
    for part in (found, *others):
        part.to_native()
    used = True
    for suffix in _SUFFIXES[golden.header.kind]:
        with tempfile.NamedTemporaryFile(suffix=suffix, dir=_SCRATCH) as place:
            try:
                write_signal(others[number // 4 % 2] if number & 1 else found, place.name, force=True)
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
    """A prior's file, as description, line feed, tensors; the length that stands before the description and the known
    answer pass for right. A prior that is accepted decodes the golden payloads."""
    description, _, tensors = data.partition(b"\n")
    found = load_prior(len(description).to_bytes(8, "little") + description + tensors)
    codec = codec_for(found)
    for golden in _CONTAINERS[{"coin++": "coinpp", "bitswap": "lossless"}.get(codec.name, codec.name)]:
        with contextlib.suppress(InrcodecError):
            *_, end = codec.read_parameters(golden.payload)
            codec.decode(golden.payload[:end], golden.payload[end:], golden.header, None, LIMITS)
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

    decode.__doc__ = f"A payload of codec {name} in a golden file: which file, how it is asked for, payload."
    return decode


def _render(chosen: Container, how: int) -> bool:
    """Decode as it is; or, by the lowest bits of ``how``, on a finer grid, a coarser one, in a window."""
    shape = chosen.header.shape
    lead = max(0, len(shape) - 2)
    size = None
    if how & 7 in (1, 2) and chosen.codec_id not in (CODEC_IDS["bitswap"], CODEC_IDS["bbans"]):
        size = tuple(n if axis < lead else (2 * n - 1 if how & 1 else -(-n // 2)) for axis, n in enumerate(shape))
    window = tuple(slice(n // 3, n // 3 + max(1, n // 2)) for n in size or shape) if how & 7 == 3 else None
    found = decoding.decompress_container(chosen, size=size, limits=LIMITS, window=window)
    expected = tuple(w.stop - w.start for w in window) if window else size or shape
    if found.header.shape != expected:
        raise LawBroken(f"grid {found.header.shape} where {expected} was asked for")
    found.to_native()
    return True


def file(data: bytes) -> bool:
    """A whole file of either kind, sealed again: looked at and decoded, up to three entries of it."""
    return opened(resealed(data))


def opened(data: bytes) -> bool:
    """As ``file``, sealed or not as it is."""
    with InrFile(data, limits=LIMITS) as found:
        json.dumps(found.info)
        used = False
        for entry in range(min(len(found), 3)):
            used |= _render(found.container(entry), 0)
    return used


def pillow(data: bytes) -> bool:
    """A whole file of one picture, sealed again, opened and decoded by Pillow, which has errors of its own."""
    try:
        with Image.open(io.BytesIO(resealed(data)), formats=[inrcodec.pillow.FORMAT]) as image:
            image.load()
    except (OSError, SyntaxError):
        return False
    return True


def source(data: bytes) -> bool:
    """What a sender is given: a picture, a sound or a field of any format."""
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
    """Load priors and golden files; must come before any target."""
    torch.set_num_threads(1)
    hold_priors()
    inrcodec.pillow.LIMITS = LIMITS
    _CONTAINERS.update({name: containers(codecs) for name, codecs in CODECS.items()})
    # Who makes up a prior makes up its known answer too.
    for kind in (HierarchicalPrior, BitSwapPrior):
        kind._check_answer = lambda self, source: None
    files = read_corpus("files")
    names = ("hierarchical-rgb.inr", "hierarchical-sound.inr", "hierarchical-field.inr")
    _METADATA_SIGNALS.extend(InrFile(files[name]).render() for name in names)
    warnings.simplefilter("error", RuntimeWarning)
    watch()


# Inputs to begin with.


def _in_parts(data: bytes) -> bytes:
    end = 8 + int.from_bytes(data[:8], "little")
    return data[8:end].rstrip() + b"\n" + data[end:]


def _source_files() -> list[bytes]:
    found = []
    for golden in _METADATA_SIGNALS:
        for suffix in _SUFFIXES[golden.header.kind]:
            with tempfile.NamedTemporaryFile(suffix=suffix) as place, contextlib.suppress(InrcodecError):
                write_signal(golden, place.name, force=True)
                found.append(Path(place.name).read_bytes())
    return found


def inputs(name: str) -> list[bytes]:
    """Inputs of a target to begin with; ``prepare`` must have run."""
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
        return [_in_parts(data) for data in read_corpus("priors").values()]
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
