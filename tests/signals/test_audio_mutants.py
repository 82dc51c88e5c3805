"""Corrupt audio files: whatever is wrong with one, reading it raises nothing but errors of the package.

The slow test reads thousands of mutants of every format; set ``AUDIO_MUTANTS`` for more.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from inrcodec.errors import DataError
from inrcodec.limits import Limits
from inrcodec.signals.files import signal_from_bytes, write_signal
from inrcodec.signals.signal import Signal
from tests.signals.test_audio_files import WRITABLE, encoded
from tests.signals.test_audio_metadata import MARKED, N

pytestmark = pytest.mark.filterwarnings("ignore::inrcodec.errors.LossWarning")

LIMITS = Limits(max_points=1 << 20)
MANY = int(os.environ.get("AUDIO_MUTANTS", "3000"))


def sample(format_name: str, subtype: str) -> bytes:
    """Return a small file with two channels, where the format takes them, and tags."""
    values = 0.4 * np.sin(np.arange(400) / 9)
    for channels in (2, 1):
        out = io.BytesIO()
        try:
            with soundfile.SoundFile(out, "w", 8000, channels, subtype, format=format_name) as file:
                file.title, file.artist = "Tone", "Nobody"
                file.write(np.stack([values] * channels, 1))
        except (soundfile.SoundFileError, RuntimeError):
            continue
        return out.getvalue()
    return encoded(values, format_name, subtype)


def mutant(data: bytes, seed: int) -> bytes:
    """Return the data truncated or with one byte changed, more often near the start, where headers are."""
    rng = random.Random(seed)
    end = len(data) if rng.random() < 0.5 else min(len(data), 128)
    if rng.random() < 0.3:
        return data[: rng.randrange(end)]
    at = rng.randrange(end)
    return data[:at] + bytes([data[at] ^ rng.randrange(1, 256)]) + data[at + 1 :]


def read_mutants(data: bytes, seeds: range, what: str) -> None:
    """Read mutants of a file; errors of the package are all that they may raise."""
    for seed in seeds:
        try:
            signal = signal_from_bytes(mutant(data, seed), "x", limits=LIMITS)
        except DataError as error:
            assert str(error).startswith("x: ") and "\n" not in str(error), seed
        except Exception as error:
            raise AssertionError(f"mutant {seed} of {what}: {error!r}") from error
        else:
            assert np.isfinite(signal.values).all()


@pytest.mark.parametrize(("format_name", "subtype"), WRITABLE)
def test_mutants_raise_errors_of_the_package(format_name: str, subtype: str, capfd: pytest.CaptureFixture[str]) -> None:
    read_mutants(sample(format_name, subtype), range(200), f"{format_name} {subtype}")
    # libmpg123 warns of its own accord; exceptions in callbacks would be printed by cffi.
    assert "Traceback" not in capfd.readouterr().err


def test_mutants_of_cue_points_and_loops(tmp_path: Path) -> None:
    # Few samples, so that most mutants are of the chunks.
    short = MARKED[:40] + struct.pack("<I", 100) + MARKED[44:144] + MARKED[44 + 2 * N :]
    for seed in range(600):
        data = mutant(short, seed)
        with contextlib.suppress(DataError):
            signal = signal_from_bytes(data, "x", limits=LIMITS)
            header = replace(signal.header, shape=(5 * signal.header.n_points,))
            blob = signal.meta.extra_to_bytes()
            part = ((signal.header.n_points,), (slice(3, signal.header.n_points),))
            Signal.from_parts(header, blob, signal.values[3:], window=part)
            write_signal(signal, tmp_path / "x.wav", force=True)


@pytest.mark.slow
@pytest.mark.parametrize(("format_name", "subtype"), WRITABLE)
def test_thousands_of_mutants(format_name: str, subtype: str) -> None:
    read_mutants(sample(format_name, subtype), range(1000, 1000 + MANY), f"{format_name} {subtype}")
