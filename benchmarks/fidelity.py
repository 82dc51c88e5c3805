"""Check that the files of a folder come back as they were: as shown, and with their metadata.

    python benchmarks/fidelity.py FOLDER [--lossless-points N]

Every file is read and written back twice, without coding and through lossless coding (images of at most N points), and
compared with how Pillow or soundfile shows the source. The report lists differences, losses that a warning names, and
files that are refused, and ends with one line of totals. The exit code is 1 if there are differences.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image, ImageOps

import inrcodec
from inrcodec.errors import InrcodecError, LossWarning
from inrcodec.signals.files import deep_images, default_suffix, read_signal, write_signal
from inrcodec.signals.signal import Signal


@dataclass
class Totals:
    """Counts what happened to the files of a folder.

    Attributes:
        files: the files that were tried.
        differences: lines that name a difference between a source and what came back.
        losses: lines of warnings.
        refused: lines of errors.
    """

    files: int = 0
    differences: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def line(self) -> str:
        """Return the summary."""
        return (
            f"{self.files} files, {len(self.differences)} differences, {len(self.losses)} losses named,"
            f" {len(self.refused)} refused"
        )


def as_shown(data: bytes) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """Return what a viewer shows of an image file, (H, W, 4) in [0, 1], and the metadata that Pillow finds.

    Three faults of Pillow are made good: a transparent gray of less than 8 bits has the scale of the file, colour of
    16 bits is not reduced to 8, and a TIFF of 16 bits may say that white is zero.
    """
    image: Any = Image.open(io.BytesIO(data))
    bits = deep_images.bits_per_channel(image, data)
    tags = {tag: value for tag, value in image.getexif().items() if tag in (270, 271, 272, 305, 306, 315, 33432)}
    deep = bits > 8 and image.mode not in ("I;16", "I")
    raw = deep_images.read_deep(image, data, "reference", bits) if deep else None
    orientation = image.getexif().get(0x0112, 1)
    image.load()
    if image.format == "PNG" and image.mode == "L" and isinstance(image.info.get("transparency"), int):
        image.info["transparency"] = image.info["transparency"] * 255 // (2 ** min(8, data[24]) - 1)
    info: dict[str, Any] = {
        "profile": image.info.get("icc_profile") or b"",
        "tags": tags,
        "text": dict(getattr(image, "text", {})),
    }
    info["text"] = {key: str(text) for key, text in info["text"].items() if not key.startswith(("XML:", "Raw"))}
    info["format"] = image.format
    dpi = image.info.get("dpi")
    info["resolution"] = tuple(round(float(d)) for d in dpi) if dpi and min(dpi) > 0 else None
    if image.format == "PNG":
        info["colour"] = [data.find(name) >= 0 for name in (b"cICP", b"gAMA", b"cHRM")]
    if raw is not None:
        turned = inrcodec.signals.files.images.turned
        return _rgba(turned(raw[0], orientation if orientation in range(1, 9) else 1), raw[1]), info
    upright = ImageOps.exif_transpose(image)
    if upright.mode in ("I;16", "I"):
        levels = np.asarray(upright.convert("I"))[..., None]
        if image.format == "TIFF" and image.mode == "I;16" and image.tag_v2.get(262) == 0:
            levels = 65535 - levels
        value = image.info.get("transparency")
        alpha = np.where(levels == value, 0, 65535) if isinstance(value, int) else np.full_like(levels, 65535)
        return _rgba(np.concatenate([levels, alpha], axis=2), 65535), info
    return _rgba(np.asarray(upright.convert("RGBA")), 255), info


def _rgba(levels: NDArray[Any], top: int) -> NDArray[np.float64]:
    values = levels.astype(np.float64) / top
    channels = values.shape[2]
    colours = np.repeat(values[..., :1], 3, axis=2) if channels < 3 else values[..., :3]
    alpha = values[..., -1:] if channels in (2, 4) else np.ones_like(values[..., :1])
    return np.concatenate([colours, alpha], axis=2)


def image_differences(source: bytes, result: bytes) -> list[str]:
    """Return what is shown differently, or missing, in the PNG that came back."""
    (before, info), (after, back) = as_shown(source), as_shown(result)
    if before.shape != after.shape:
        return [f"shown at {before.shape[1::-1]}, came back at {after.shape[1::-1]}"]
    differences = []
    # Colours under full transparency are not seen. 9 to 15 bits become 16, which rounds.
    seen = np.where(before[..., 3:] > 0, before - after, 0.0)
    largest = max(float(np.abs(seen).max()), float(np.abs(before[..., 3] - after[..., 3]).max()))
    # Pillow's plug-in for HEIC shows 10 and 12 bits with 8.
    if largest > (1 / 64 if info["format"] == "HEIF" else 2 / 65535):
        differences.append(f"samples differ by up to {largest:.4f} of the range")
    for key, value in info.items():
        if key in ("profile", "resolution", "colour") and value and back.get(key) != value:
            differences.append(f"{key} differs")
        if key in ("tags", "text") and any(str(back[key].get(k)) != str(v) for k, v in value.items()):
            differences.append(f"{key} differ: {[k for k, v in value.items() if str(back[key].get(k)) != str(v)]}")
    return differences


def audio_differences(source: bytes, result: bytes) -> list[str]:
    """Return what differs in the WAV that came back, as soundfile reads both."""
    (before, rate), (after, rate_after) = (
        soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True) for data in (source, result)
    )
    if before.shape != after.shape or rate != rate_after:
        return [f"{before.shape} at {rate} Hz, came back {after.shape} at {rate_after} Hz"]
    # Beyond full scale, samples are kept where the WAV that came back is floating-point, and clipped otherwise.
    clipped = np.abs(after).max(initial=0.0) <= 1.0
    largest = float(np.abs((np.clip(before, -1, 1) if clipped else before) - after).max())
    return [f"samples differ by up to {largest:.5f}"] if largest > 1.5 / 32768 else []


def check(path: Path, totals: Totals, lossless_points: int) -> None:
    """Read one file, write it back without coding and through lossless coding, and add what happened to ``totals``."""
    source = path.read_bytes()
    totals.files += 1
    with warnings.catch_warnings(record=True) as caught, tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("always")
        try:
            signal = read_signal(path)
            ways: list[tuple[str, Signal]] = [("written", signal)]
            if signal.header.kind == "image" and signal.header.n_points <= lossless_points:
                ways.append(("lossless", inrcodec.decompress(inrcodec.compress(signal, lossless=True, effort="fast"))))
            for way, result in ways:
                target = Path(folder) / f"{way}{default_suffix(result)}"
                write_signal(result, target)
                compare = {"image": image_differences, "audio": audio_differences}.get(signal.header.kind)
                differences = compare(source, target.read_bytes()) if compare else field_differences(signal, target)
                totals.differences += [f"{path}: {way}: {difference}" for difference in differences]
        except InrcodecError as error:
            totals.refused.append(str(error))
        except Exception as error:
            totals.differences.append(f"{path}: {type(error).__name__} outside the package's errors: {error}")
    totals.losses += sorted({str(w.message) for w in caught if issubclass(w.category, LossWarning)})


def field_differences(signal: Signal, target: Path) -> list[str]:
    """Return whether the values of a field differ after writing."""
    same = np.array_equal(read_signal(target).to_native(), signal.to_native())
    return [] if same else ["values differ"]


def main() -> int:
    """Run the check over a folder and print the report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="+")
    parser.add_argument("--lossless-points", type=int, default=20_000, help="largest image for lossless coding")
    parser.add_argument("--skip", nargs="*", default=[".txt", ".md", ".py", ".pyi", ".pyc", ".xml"], help="suffixes")
    arguments = parser.parse_args()
    totals = Totals()
    for folder in arguments.folder:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix not in arguments.skip:
                check(path, totals, arguments.lossless_points)
    for title in ("differences", "losses", "refused"):
        for line in getattr(totals, title):
            print(f"{title}: {line}")
    print(totals.line())
    return 1 if totals.differences else 0


if __name__ == "__main__":
    sys.exit(main())
