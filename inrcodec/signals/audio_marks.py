"""Cue points, loops and other chunks of audio files, kept as the bytes of RIFF chunks by their names.

Positions in them count samples, so they move when audio is decoded in part or at another rate; everything else stays
as it is. The labels of cue points, a LIST chunk of type "adtl", go by that name. AIFF files say the same in chunks
MARK and INST.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

NAMES = {
    "cue ": "cue points",
    "adtl": "labels of cue points",
    "smpl": "loops",
    "inst": "instrument",
    "bext": "broadcast metadata",
    "iXML": "iXML",
    "axml": "axml",
    "_PMX": "XMP",
    "acid": "acid",
    "cart": "cart",
}
"""The chunks that are kept, and what they are."""
_CUE_BYTES, _SAMPLER_BYTES, _LOOP_BYTES = 24, 36, 24
_MAX = 2**32 - 1


def chunks_of(data: bytes, start: int, order: str = "<") -> Iterator[tuple[str, bytes]]:
    """Yield the names and bodies of chunks in the bytes of a RIFF or AIFF file, up to the first that is truncated.

    The body of the samples is left out.
    """
    size_of_data = 0
    while start + 8 <= len(data):
        name, size = data[start : start + 4], int(struct.unpack(order + "I", data[start + 4 : start + 8])[0])
        if name == b"data" and size == _MAX:
            # In RF64 files a chunk before states the size.
            size = size_of_data
        if start + 8 + size > len(data):
            return
        body = b"" if name in (b"data", b"SSND") else data[start + 8 : start + 8 + size]
        if name == b"ds64":
            size_of_data = int.from_bytes(body[8:16], "little")
        yield name.decode("latin-1"), body
        start += 8 + size + size % 2


def chunk(name: str, body: bytes, order: str = "<") -> bytes:
    """Return a chunk with its name, its size and a byte that makes its length even."""
    start = b"LIST" if name == "adtl" else name.encode("latin-1")
    return start + struct.pack(order + "I", len(body)) + body + bytes(len(body) % 2)


def moved(riff: Mapping[str, bytes], factor: float, first: int, count: int) -> dict[str, bytes]:
    """Return chunks for a part of audio that is decoded at another rate.

    Args:
        riff: the chunks.
        factor: the new rate over the old one.
        first: the first sample of the part, at the new rate.
        count: the samples of the part. Cue points and loops outside of it are left out.
    """
    out = dict(riff)
    if "cue " in riff:
        out["cue "] = _cue_chunk([(cue, at) for cue, at in _cues(riff["cue "], factor, first) if 0 <= at < count])
    if "smpl" in riff:
        out["smpl"] = _moved_loops(riff["smpl"], factor, first, count)
    return {name: body for name, body in out.items() if name != "cue " or len(body) > 4}


def _cues(body: bytes, factor: float, first: int) -> Iterator[tuple[int, int]]:
    for start in range(4, len(body) - _CUE_BYTES + 1, _CUE_BYTES):
        identity, _, _, _, _, position = struct.unpack("<II4sIII", body[start : start + _CUE_BYTES])
        yield identity, round(position * factor) - first


def _cue_chunk(cues: list[tuple[int, int]]) -> bytes:
    entries = [struct.pack("<II4sIII", identity, at, b"data", 0, 0, at) for identity, at in cues]
    return struct.pack("<I", len(entries)) + b"".join(entries)


def _moved_loops(body: bytes, factor: float, first: int, count: int) -> bytes:
    if len(body) < _SAMPLER_BYTES:
        return body
    n_loops = int.from_bytes(body[28:32], "little")
    end = min(_SAMPLER_BYTES + n_loops * _LOOP_BYTES, len(body))
    loops = []
    for start in range(_SAMPLER_BYTES, end - _LOOP_BYTES + 1, _LOOP_BYTES):
        fields = list(struct.unpack("<6I", body[start : start + _LOOP_BYTES]))
        # The last sample of a loop is part of it.
        fields[2:4] = round(fields[2] * factor) - first, round((fields[3] + 1) * factor) - 1 - first
        if 0 <= fields[2] <= fields[3] < count:
            loops.append(struct.pack("<6I", *fields))
    period = min(_MAX, round(int.from_bytes(body[8:12], "little") / factor))
    head = body[:8] + struct.pack("<I", period) + body[12:28] + struct.pack("<I", len(loops)) + body[32:36]
    return head + b"".join(loops) + body[end:]


def riff_of_aiff(chunks: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the markers and loops of an AIFF file, its chunks MARK and INST, as RIFF chunks."""
    markers = list(_markers(chunks.get("MARK", b"")))
    out: dict[str, bytes] = {}
    if markers:
        out["cue "] = _cue_chunk([(identity, position) for identity, position, _ in markers])
        labels = [chunk("labl", struct.pack("<I", i) + label + b"\0") for i, _, label in markers if label]
        if labels:
            out["adtl"] = b"adtl" + b"".join(labels)
    instrument = chunks.get("INST", b"")
    if len(instrument) >= 20:
        places = {identity: position for identity, position, _ in markers}
        loops = []
        for mode, begin, end in struct.iter_unpack(">hhh", instrument[8:20]):
            if mode in (1, 2) and begin in places and end in places and places[end] > places[begin]:
                loops.append(struct.pack("<6I", begin & 0xFFFF, mode - 1, places[begin], places[end] - 1, 0, 0))
        if loops:
            head = struct.pack("<9I", 0, 0, 0, instrument[0], 0, 0, 0, len(loops), 0)
            out["smpl"] = head + b"".join(loops)
    return out


def _markers(body: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 2
    while at + 7 <= len(body):
        identity, position, length = struct.unpack(">HIB", body[at : at + 7])
        yield identity, position, body[at + 7 : at + 7 + length]
        at += 7 + length + (length + 1) % 2
