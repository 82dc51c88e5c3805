"""One file per shipped prior, and what it decodes to.

``tests/golden/shipped`` holds a small file for every prior in ``priors/``, most written by the first release, and the
samples that it decoded to then. A file is named after the prior that wrote it, which may have another name today: ids
count. As a script::

    python tests/support/shipped_priors.py write FOLDER    # write files for priors that have none yet, change none
    python tests/support/shipped_priors.py check FOLDER    # decode them all and compare, to the last bit

``check`` compares digests of the decoded float32 values, which only the same machine reproduces exactly; the samples in
``expected.npz`` hold on every machine (``tests/test_shipped_priors.py``). The digests of two combiner priors are not
those of the first release, whose latents depended on the processor in their last bit
(``codecs.combiner.prior.exact_exp``).
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import inrcodec
from inrcodec.codecs import prior_store
from inrcodec.codecs.prior_store import file_id

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "tests" / "golden" / "shipped"
SIDES = {"images32": 32, "colour-": 24, "digits": 28, "binary": 28}
CHAINED = ("binary", "digits", "-1", "-2", "-4", "-8")
"""Words in the names of priors that code several images in one message; a single small image would be stored as PNG."""


def image(name: str, number: int = 0) -> NDArray[np.uint8]:
    """Return a small image of the kind that a prior is for, uint8, (H, W) or (H, W, 3); ``number`` shifts it."""
    side = next((size for word, size in SIDES.items() if word in name), 64)
    y, x = np.mgrid[:side, :side] / side
    planes = [0.5 + 0.4 * np.sin(6 * x + 2 * phase) * np.cos(5 * y - phase + number) for phase in (0.0, 0.7, 1.4)]
    grain = np.random.default_rng(number).normal(0, 8, (side, side, 3))
    levels = np.rint(np.clip(np.stack(planes, axis=-1) * 255 + grain, 0, 255)).astype(np.uint8)
    if "binary" in name:
        return np.where(levels[..., 0] > 127, 255, 0).astype(np.uint8)
    return levels[..., 0] if "digits" in name or "gray" in name else levels


def audio() -> NDArray[np.float32]:
    """Return half a second of a falling tone at 16 kHz, float32 in [-1, 1], (n,)."""
    seconds = np.arange(8000) / 16000
    tone = np.sin(2 * np.pi * (300 - 150 * seconds) * seconds) + 0.3 * np.sin(2 * np.pi * 1200 * seconds)
    result: NDArray[np.float32] = (0.2 * tone * np.sin(2 * np.pi * seconds) ** 2).astype(np.float32)
    return result


def field() -> NDArray[np.float32]:
    """Return a smooth field of 48 x 96 points, float32."""
    latitude, longitude = np.meshgrid(np.linspace(-1.5, 1.5, 48), np.linspace(0, 2 * np.pi, 96, False), indexing="ij")
    result: NDArray[np.float32] = (
        280 + 30 * np.cos(latitude) + 4 * np.sin(3 * longitude) * np.cos(latitude) ** 2
    ).astype(np.float32)
    return result


def source(name: str, folder: Path) -> Path | list[Path]:
    """Write a signal of the kind that a prior is for, or a list of them; return the paths."""
    import soundfile
    from PIL import Image

    if any(word in name for word in CHAINED):
        paths = [folder / f"{number}.png" for number in range(4)]
        for number, path in enumerate(paths):
            Image.fromarray(image(name, number)).save(path)
        return paths
    if "speech" in name:
        path = folder / "audio.wav"
        soundfile.write(path, audio(), 16000, "PCM_16")
    elif "field" in name or name == "globe":
        path = folder / "field.npy"
        np.save(path, field())
    else:
        path = folder / f"{name}.png"
        Image.fromarray(image(name)).save(path)
    return path


def file_names(folder: Path = FOLDER) -> list[str]:
    """Return the names of all files, without their suffix."""
    return sorted(path.stem for path in folder.glob("*.inr*"))


def priors_without_a_file(folder: Path = FOLDER) -> list[str]:
    """Return the names of the shipped priors that no file was made with."""
    used = {inrcodec.open(path).container().prior_id for path in folder.glob("*.inr*")}
    return sorted(path.stem for path in (ROOT / "priors").glob("*.safetensors") if file_id(path) not in used)


def write(folder: Path) -> None:
    """Compress a signal under every prior that has no file yet, and keep what the file decodes to."""
    import tempfile

    folder.mkdir(parents=True, exist_ok=True)
    listed = folder / "expected.json"
    expected = json.loads(listed.read_text()) if listed.exists() else {}
    arrays = dict(np.load(folder / "expected.npz")) if listed.exists() else {}
    for prior in priors_without_a_file(folder):
        name = prior if prior not in expected else f"{prior}-{prior_store.find(prior).id.hex()[:8]}"
        with tempfile.TemporaryDirectory() as scratch:
            signals = source(prior, Path(scratch))
            data = inrcodec.compress(signals, prior=prior, effort="fast")
        kept = folder / f"{name}.{'inr' if isinstance(signals, Path) else 'inrs'}"
        kept.write_bytes(data)
        decoded = inrcodec.decompress(data)
        expected[name] = digest(decoded.values)
        arrays[name] = decoded.to_native()
        print(f"{name}: {len(data)} bytes, {expected[name]}", flush=True)
    np.savez_compressed(folder / "expected.npz", **arrays)
    listed.write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")


def digest(values: NDArray[np.float32]) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of decoded values."""
    return hashlib.sha256(np.ascontiguousarray(values, "<f4").tobytes()).hexdigest()[:16]


def check(folder: Path) -> int:
    """Decode every file; return how many decode to other values than when they were written."""
    expected = json.loads((folder / "expected.json").read_text())
    differing = 0
    for name in file_names(folder):
        found = digest(inrcodec.decompress(next(folder.glob(f"{name}.inr*"))).values)
        differing += found != expected[name]
        print(f"{name:24} {'equal' if found == expected[name] else f'DIFFERS: {found}, expected {expected[name]}'}")
    print(f"{len(file_names(folder))} files, {differing} differ")
    return differing


if __name__ == "__main__":
    command, where = sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else FOLDER
    if command == "write":
        write(where)
    else:
        sys.exit(bool(check(where)))
