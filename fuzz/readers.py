"""Run mutants of one small file of every readable format through the readers; only errors of the package may come out.

    python fuzz/readers.py --count 200000           # spread evenly over the formats
    python fuzz/readers.py --formats PNG,WAV-PCM_16 --count 2000
    python fuzz/readers.py --formats PNG --seed 0 --first 17 --count 1

A mutant is a sample with one byte changed, or truncated, and is reproduced by its format and number. Every format runs
in a process of its own, so that a crash of a library in C counts as a finding too. The script prints one line per
format and the total, and exits with code 1 when there are findings.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import multiprocessing
import os
import random
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from inrcodec.errors import InrcodecError
from inrcodec.signals.files import signal_from_bytes

ROWS, COLUMNS, SAMPLES = 12, 16, 64
SECONDS = 20.0
"""Time that one mutant may take."""


class Hang(BaseException):
    """Signals that a mutant exceeded its time limit."""


def _pixels(*shape: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)


def image_samples() -> Iterator[tuple[str, bytes]]:
    """Yield a small file for every image format that Pillow writes, and for some that it only reads."""
    colour, gray = Image.fromarray(_pixels(ROWS, COLUMNS, 3)), Image.fromarray(_pixels(ROWS, COLUMNS))
    square = Image.fromarray(_pixels(16, 16, 4))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a sample"
    Image.init()
    for name in sorted(set(Image.SAVE) - {"ICNS"}):
        for image in (colour, gray, gray.convert("1"), gray.convert("P"), square):
            buffer = io.BytesIO()
            options = {"exif": exif, "dpi": (72, 72)} if name in ("PNG", "JPEG", "TIFF", "WEBP", "AVIF") else {}
            with contextlib.suppress(Exception):
                image.save(buffer, name, **options)
                if buffer.getvalue():
                    yield name, buffer.getvalue()
                    break
    for compression in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits"):
        buffer = io.BytesIO()
        with contextlib.suppress(Exception):
            colour.save(buffer, "TIFF", compression=compression)
            yield f"TIFF-{compression}", buffer.getvalue()
    buffer = io.BytesIO()
    Image.fromarray(_pixels(ROWS, COLUMNS).astype(np.uint16) * 257).save(buffer, "PNG")
    yield "PNG-16", buffer.getvalue()
    buffer = io.BytesIO()
    colour.quantize(16).save(buffer, "PNG", transparency=3)
    yield "PNG-palette", buffer.getvalue()
    yield from _handmade_images(gray.tobytes())


def _handmade_images(gray: bytes) -> Iterator[tuple[str, bytes]]:
    yield "SUN", struct.pack(">8I", 0x59A66A95, COLUMNS, ROWS, 8, len(gray), 1, 0, 0) + gray
    cards = (f"SIMPLE  = {'T':>20}", "BITPIX  = 8", "NAXIS   = 2", f"NAXIS1  = {COLUMNS}", f"NAXIS2  = {ROWS}", "END")
    yield "FITS", "".join(f"{card:80}" for card in cards).ljust(2880).encode() + gray.ljust(2880, b"\0")
    head = struct.pack(">4sH6xHIIHH", b"8BPS", 1, 1, ROWS, COLUMNS, 8, 1)
    yield "PSD", head + bytes(12) + b"\0\0" + gray
    # Pillow writes icons of a megapixel; one of 16x16 is a PNG in two frames.
    png = io.BytesIO()
    Image.frombytes("L", (COLUMNS, COLUMNS), gray + gray[: COLUMNS * (COLUMNS - ROWS)]).convert("RGBA").save(png, "PNG")
    icon = b"icp4" + struct.pack(">I", len(png.getvalue()) + 8) + png.getvalue()
    yield "ICNS", b"icns" + struct.pack(">I", len(icon) + 8) + icon
    lines = ["/* XPM */", "static char *x[] = {", '"2 2 2 1",', '"a c #000000",', '"b c #ff0000",', '"ab",', '"ba"};']
    yield "XPM", "\n".join(lines).encode()
    pcx = io.BytesIO()
    Image.frombytes("L", (COLUMNS, ROWS), gray).save(pcx, "PCX")
    yield "DCX", struct.pack("<3I", 0x3ADE68B1, 12, 0) + pcx.getvalue()
    yield "GBR", struct.pack(">4I", 29, 1, COLUMNS, ROWS) + struct.pack(">I", 1) + b"GIMP\0\0\0\1x\0" + gray
    yield "XVTHUMB", b"P7 332\n#END_OF_COMMENTS\n%d %d 255\n" % (COLUMNS, ROWS) + gray


def audio_samples() -> Iterator[tuple[str, bytes]]:
    """Yield a small file for every format and sample type that soundfile writes."""
    values = np.sin(np.arange(SAMPLES * 4) / 5)[:, None] * 0.5
    for name in sorted(soundfile.available_formats()):
        subtypes = soundfile.available_subtypes(name) if name in ("WAV", "AIFF", "CAF", "OGG") else [None]
        for subtype in subtypes:
            if name in ("RAW", "SD2"):
                continue
            # Files, not buffers: some formats seek in ways that buffers do not support.
            with tempfile.TemporaryDirectory() as folder, contextlib.suppress(Exception):
                path = Path(folder, "sample")
                soundfile.write(path, values, 48000 if subtype == "OPUS" else 8000, subtype, format=name)
                yield f"{name}-{subtype}" if subtype else name, path.read_bytes()


def field_samples() -> Iterator[tuple[str, bytes]]:
    """Yield small .npy and NetCDF files."""
    from scipy.io import netcdf_file

    values = np.random.default_rng(4).normal(size=(6, 8)).astype(np.float32)
    buffer = io.BytesIO()
    np.save(buffer, values)
    yield "NPY", buffer.getvalue()
    for version in (1, 2):
        buffer = io.BytesIO()
        file = netcdf_file(buffer, "w", version=version)
        for axis, n in zip(("lat", "lon"), values.shape, strict=True):
            file.createDimension(axis, n)
            file.createVariable(axis, "f4", (axis,))[:] = np.arange(n, dtype=np.float32)
        variable = file.createVariable("t", "f4", ("lat", "lon"))
        variable[:] = values
        variable.units = "K"
        file.flush()
        yield f"NetCDF-{version}", buffer.getvalue()
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(Exception):
        import xarray

        path = Path(folder, "sample.nc")
        xarray.Dataset({"t": (("lat", "lon"), values)}).to_netcdf(path, engine="h5netcdf")
        yield "NetCDF-4", path.read_bytes()


def samples() -> dict[str, bytes]:
    """Return one small file of every format that the readers accept."""
    readable = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for make in (image_samples, audio_samples, field_samples):
            for name, data in make():
                try:
                    signal_from_bytes(data, name)
                except InrcodecError:
                    continue
                readable[name] = data
    return readable


def mutant(name: str, data: bytes, seed: int, number: int) -> bytes:
    """Return the sample with one byte changed, or truncated; every fourth is truncated."""
    rng = random.Random(f"{name}-{seed}-{number}")
    if number % 4 == 3:
        return data[: rng.randrange(len(data))]
    # Half of the changes go to the first bytes, where headers are.
    at = rng.randrange(min(len(data), 128)) if rng.random() < 0.5 else rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ rng.randrange(1, 256)]) + data[at + 1 :]


def run(name: str, data: bytes, seed: int, numbers: range) -> tuple[int, int, dict[str, str]]:
    """Read mutants of one format; return how many were accepted, how many rejected, and findings by their kind."""
    accepted = rejected = 0
    findings: dict[str, str] = {}

    def too_long(number: int, frame: FrameType | None) -> None:
        raise Hang

    signal.signal(signal.SIGALRM, too_long)
    for number in numbers:
        changed = mutant(name, data, seed, number)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            signal_from_bytes(changed, "mutant")
            accepted += 1
        except InrcodecError as error:
            rejected += 1
            if "\n" in str(error):
                findings.setdefault("message of several lines", f"--formats {name} --first {number} --count 1: {error}")
        except (Exception, Hang) as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            kind = f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"
            findings.setdefault(kind, f"--formats {name} --seed {seed} --first {number} --count 1: {error}")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    return accepted, rejected, findings


def _child(pipe: Connection, name: str, data: bytes, seed: int, numbers: range) -> None:
    # What libraries in C print on their own is not a finding.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    pipe.send(run(name, data, seed, numbers))


def run_apart(name: str, data: bytes, seed: int, numbers: range) -> tuple[int, int, dict[str, str]]:
    """Do the same as ``run`` in a process of its own, whose death is a finding."""
    here, there = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_child, args=(there, name, data, seed, numbers))
    process.start()
    there.close()
    try:
        result: tuple[int, int, dict[str, str]] = here.recv()
    except EOFError:
        result = 0, 0, {"the process died": f"--formats {name} --first {numbers.start} --count {len(numbers)}"}
    process.join()
    return result


def main() -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20000, help="mutants in all, spread evenly over the formats")
    parser.add_argument("--formats", help="only these, separated by commas; default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant")
    options = parser.parse_args()
    available = samples()
    names = options.formats.split(",") if options.formats else list(available)
    each = -(-options.count // len(names))
    totals, n_findings = [0, 0], 0
    for name in names:
        begun = time.monotonic()
        numbers = range(options.first, options.first + each)
        accepted, rejected, findings = run_apart(name, available[name], options.seed, numbers)
        totals[0] += accepted
        totals[1] += rejected
        n_findings += len(findings)
        seconds = time.monotonic() - begun
        sys.stdout.write(f"{name:16} {accepted:8} read {rejected:8} rejected {seconds:8.1f} s\n")
        for kind, text in findings.items():
            sys.stdout.write(f"  FINDING {kind}: {' '.join(text.split())[:300]}\n")
        sys.stdout.flush()
    sys.stdout.write(
        f"{sum(totals)} mutants of {len(names)} formats: {totals[0]} read, {totals[1]} rejected with an error of the "
        f"package, {n_findings} findings\n"
    )
    return 1 if n_findings else 0


if __name__ == "__main__":
    sys.exit(main())
