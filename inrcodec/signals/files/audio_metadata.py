"""The metadata of audio files: tags, the speakers of channels, cue points and loops; what is kept, and what is lost.

Tags go through soundfile. Chunks of WAV and AIFF are read and written here, as soundfile does not know them.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Mapping
from typing import IO, Any

import soundfile

from inrcodec.errors import warn_of_losses
from inrcodec.limits import DEFAULT_LIMITS
from inrcodec.signals.audio_marks import NAMES, chunk, chunks_of, riff_of_aiff
from inrcodec.signals.metadata import SignalMeta

TAGS = ("title", "copyright", "software", "artist", "comment", "date", "album", "license", "tracknumber", "genre")
"""The tags that libsndfile knows."""
MAX_BYTES = DEFAULT_LIMITS.max_metadata_bytes // 2
"""The maximum size of the metadata of audio, so that decoders with default limits accept it as JSON."""
_DEFAULT_MASKS = {1: 4, 2: 3}
"""The speakers that one and two channels have where a file says nothing: center; left and right."""
_STRUCTURE = {"fmt ", "data", "fact", "PEAK", "JUNK", "junk", "PAD ", "FLLR", "ds64", "LIST", "SSND", "COMM", "FVER"}
_STRUCTURE |= {"MARK", "INST", "NAME", "AUTH", "ANNO", "(c) ", "APPL"}
_INFO = {"INAM", "ICOP", "ISFT", "IART", "ICMT", "ICRD", "IPRD", "ITRK", "IGNR"}
"""The fields of a LIST chunk of type INFO that are tags of libsndfile."""
_VORBIS = {"TITLE", "COPYRIGHT", "SOFTWARE", "ENCODER", "ARTIST", "COMMENT", "DATE", "ALBUM", "LICENSE", "TRACKNUMBER"}
_VORBIS |= {"GENRE", "WAVEFORMATEXTENSIBLE_CHANNEL_MASK"}
_ID3 = {"TIT2", "TPE1", "TALB", "TDRC", "TYER", "TRCK", "TCON", "COMM", "TSSE", "TENC", "TLEN", "TDAT"}
"""The frames of ID3 that are tags of libsndfile, or say how the file was made."""
_OGG_HEAD = 1 << 16
_FLAC_BLOCKS = {2: "application data", 5: "cue sheet", 6: "images"}
_EXTENSIBLE = 0xFFFE
_STREAM_BYTES = 0x7F000000


def reason(error: Exception) -> str:
    """Return what a library says, without the name of an object that the user never saw."""
    text = str(getattr(error, "error_string", "") or error)
    return " ".join(text.split()).rstrip(".") or type(error).__name__


def unreadable(name: str, error: Exception) -> str:
    """Return a message for a file that a library does not read."""
    what = "corrupt, truncated or of an unsupported type"
    return f"{name}: the audio cannot be read: it is {what} ({reason(error)}): export it again as .wav or .flac"


def read_meta(file: Any, data: bytes, name: str) -> SignalMeta:
    """Return the metadata of an audio file that soundfile has opened; a warning names what is not kept.

    Args:
        file: the open file.
        data: its bytes.
        name: its name, for the warning.
    """
    tags = {tag: text for tag in TAGS if (text := str(getattr(file, tag) or ""))}
    mask: int | None = None
    riff: dict[str, bytes] = {}
    lost: list[str] = []
    if data[:4] in (b"RIFF", b"RF64") and data[8:12] == b"WAVE":
        riff, mask, lost = _read_riff(data, file.channels)
    elif data[:4] == b"FORM" and data[8:11] == b"AIF":
        chunks = dict(chunks_of(data, 12, ">"))
        riff = riff_of_aiff(chunks)
        lost = [f"chunk {key.strip()}" for key in chunks if key not in _STRUCTURE]
    elif data[:4] == b"fLaC":
        lost = _lost_of_flac(data)
    elif data[:4] == b"RIFX":
        lost = named([key for key, _ in chunks_of(data, 12, ">") if key not in _STRUCTURE])
    elif data[:3] == b"ID3":
        lost = _lost_of_id3(data[10 : 10 + _id3_size(data)], data[3])
    elif data[:4] == b"OggS":
        lost = _lost_of_ogg(data[:_OGG_HEAD])
    if sum(map(len, riff.values())) + sum(len(text.encode()) for text in tags.values()) > MAX_BYTES:
        lost, riff, tags = [*lost, *named(riff), *tags], {}, {}
    warn_of_losses(name, "not kept", lost)
    warn_of_losses(name, "truncated", _missing(data))
    return SignalMeta(tags=tags, channel_mask=mask, riff=riff)


def _missing(data: bytes) -> list[str]:
    """Return how many bytes of samples a WAV or AIFF file lacks, if it does; streams state sizes near the maximum."""
    order, name = ("<", b"data") if data[:4] == b"RIFF" else (">", b"SSND")
    if data[:4] not in (b"RIFF", b"FORM"):
        return []
    start = 12
    while start + 8 <= len(data):
        size = int(struct.unpack(order + "I", data[start + 4 : start + 8])[0])
        held = len(data) - start - 8
        if data[start : start + 4] == name and held < size < _STREAM_BYTES:
            return [f"expected {size} bytes of samples, got {held}"]
        start += 8 + size + size % 2
    return []


def _lost_of_id3(frames: bytes, version: int) -> list[str]:
    """Return what is not kept of an ID3 tag; versions before 3 have shorter frames, which are not looked at."""
    lost, at = [], 0
    while version >= 3 and at + 10 <= len(frames) and frames[at : at + 4].isalnum():
        frame = frames[at : at + 4].decode("latin-1")
        if frame == "APIC":
            lost.append("images")
        elif frame not in _ID3:
            lost.append(f"tag {frame}")
        at += 10 + (_seven_bits if version >= 4 else _eight_bits)(frames[at + 4 : at + 8])
    return lost


def _lost_of_ogg(head: bytes) -> list[str]:
    """Return what is not kept of the comments at the start of an Ogg file."""
    for start in (b"\x03vorbis", b"OpusTags"):
        if start in head:
            keys = _comment_keys(head[head.index(start) + len(start) :])
            pictures = ["images"] if "METADATA_BLOCK_PICTURE" in keys else []
            return pictures + [f"tag {key}" for key in keys if key not in _VORBIS and not key.startswith("METADATA_")]
    return []


def _read_riff(data: bytes, channels: int) -> tuple[dict[str, bytes], int | None, list[str]]:
    """Return the chunks of a WAV file that are kept, its channel mask, and what is not kept."""
    riff: dict[str, bytes] = {}
    mask: int | None = None
    lost: list[str] = []
    for key, body in chunks_of(data, 12):
        if key == "LIST" and body[:4] == b"adtl":
            riff["adtl"] = body
        elif key == "LIST" and body[:4] == b"INFO":
            lost += [f"INFO {field}" for field, _ in chunks_of(body, 4) if field not in _INFO]
        elif key in NAMES:
            riff[key] = body
        elif key == "fmt " and len(body) >= 24 and int.from_bytes(body[:2], "little") == _EXTENSIBLE:
            stated = int.from_bytes(body[20:24], "little")
            mask = None if stated == _DEFAULT_MASKS.get(channels) else stated
        elif key not in _STRUCTURE:
            lost.append(f"chunk {key.strip()}")
    return riff, mask, lost


def _lost_of_flac(data: bytes) -> list[str]:
    lost, at, last = [], 4, False
    while not last and at + 4 <= len(data):
        kind, last = data[at] & 127, data[at] > 127
        size = int.from_bytes(data[at + 1 : at + 4], "big")
        if kind in _FLAC_BLOCKS:
            lost.append(_FLAC_BLOCKS[kind])
        if kind == 4:
            lost += [f"tag {key}" for key in _comment_keys(data[at + 4 : at + 4 + size]) if key not in _VORBIS]
        at += 4 + size
    return lost


def _comment_keys(block: bytes) -> list[str]:
    """Return the names of Vorbis comments; see the Vorbis I specification, section 5."""
    at = 4 + int.from_bytes(block[:4], "little")
    count = int.from_bytes(block[at : at + 4], "little")
    at += 4
    keys: list[str] = []
    while len(keys) < count and at + 4 <= len(block):
        key = block[at + 4 : at + 68].partition(b"=")[0]
        if not key.isascii() or len(key) == 64:
            break
        keys.append(key.decode("ascii").upper())
        at += 4 + int.from_bytes(block[at : at + 4], "little")
    return keys


def _id3_size(data: bytes) -> int:
    return _seven_bits(data[6:10])


def _seven_bits(data: bytes) -> int:
    """Return a number whose bytes hold seven bits each, as ID3 has them."""
    number = 0
    for byte in data:
        number = number << 7 | byte & 127
    return number


def _eight_bits(data: bytes) -> int:
    return int.from_bytes(data, "big")


def named(riff: Iterable[str]) -> list[str]:
    """Return what chunks are, in words."""
    return [NAMES.get(name, name) for name in riff]


def set_tags(file: Any, meta: SignalMeta) -> None:
    """Give a file that soundfile writes the tags; formats without them leave them out."""
    for tag, text in meta.tags.items():
        # libsndfile ends text at a zero, and some formats take none at all.
        try:
            if tag in TAGS and text and "\0" not in text:
                setattr(file, tag, text)
        except (soundfile.SoundFileError, RuntimeError):
            continue


def finish(file: IO[bytes], meta: SignalMeta, format_name: str) -> list[str]:
    """Add what soundfile does not write to a complete file, and return what the file does not hold.

    Args:
        file: the file, open for reading and writing.
        meta: the metadata.
        format_name: the format of soundfile that the file has.
    """
    lost = []
    if meta.riff and format_name in ("WAV", "WAVEX"):
        _append(file, b"".join(chunk(name, body) for name, body in meta.riff.items()))
    else:
        lost += named(meta.riff)
    if meta.channel_mask is not None:
        if format_name == "WAVEX":
            _patch_mask(file, meta.channel_mask)
        else:
            lost.append("channel mask")
    return [*lost, *_lost_tags(file, meta.tags)]


def _append(file: IO[bytes], chunks: bytes) -> None:
    """Append chunks to a WAV file and correct its size, unless that would exceed 4 GiB."""
    end = file.seek(0, io.SEEK_END)
    if end + 1 + len(chunks) > 2**32:
        return
    file.write(bytes(end % 2) + chunks)
    end = file.seek(0, io.SEEK_END)
    file.seek(4)
    file.write(struct.pack("<I", end - 8))


def _patch_mask(file: IO[bytes], mask: int) -> None:
    file.seek(0)
    head = file.read(20)
    # libsndfile writes the format first: a chunk of 40 bytes.
    if head[12:16] == b"fmt " and int.from_bytes(head[16:20], "little") >= 24:
        file.seek(20 + 20)
        file.write(struct.pack("<I", mask))


def _lost_tags(file: IO[bytes], tags: Mapping[str, str]) -> list[str]:
    """Return the tags that a file does not give back."""
    if not tags:
        return []
    file.seek(0)
    try:
        with soundfile.SoundFile(file) as written:
            # libsndfile adds its own name to that of the software.
            return [tag for tag, text in tags.items() if not str(getattr(written, tag, "")).startswith(text)]
    except (soundfile.SoundFileError, RuntimeError):
        return list(tags)
