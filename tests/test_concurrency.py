"""Decoding gives the same values in threads, in forked and spawned processes, and inside a torch DataLoader."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import inrcodec
from tests.support.golden_files import FOLDER, PRIORS

ROOT = Path(__file__).resolve().parent.parent
FILES = [
    "bitswap-rgb.inr",
    "bitswap-chain.inrs",
    "coin-rgb.inr",
    "coinpp-rgb.inr",
    "combiner-rgb.inr",
    "grids-rgb.inr",
    "hierarchical-rgb.inr",
    "hierarchical-archive.inrs",
]
"""One file per codec, and archives."""

WORKERS = """
import sys
from pathlib import Path
import multiprocessing
import torch
import inrcodec

FILES = sys.argv[2:]

def total(path):
    return float(inrcodec.decompress(path).values.sum(dtype="float64"))

class Files(torch.utils.data.Dataset):
    def __len__(self):
        return len(FILES)
    def __getitem__(self, index):
        return total(FILES[index])

if __name__ == "__main__":
    torch.set_num_threads(2)
    expected = [total(path) for path in FILES]  # starts torch's threads in the parent
    if sys.argv[1] == "dataloader":
        got = [float(v) for batch in torch.utils.data.DataLoader(Files(), num_workers=2, timeout=60) for v in batch]
    else:
        with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
            got = pool.map_async(total, FILES).get(timeout=60)
    assert got == expected, (got, expected)
"""


@pytest.fixture(autouse=True)
def _golden_priors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INRCODEC_PRIORS", str(PRIORS))


def test_threads_decode_the_same_values() -> None:
    """Many threads at once on all files, and on one open file of a chain, whose last chain is kept."""
    paths = [FOLDER / "files" / name for name in FILES]
    expected = [inrcodec.decompress(path).values for path in paths]
    with ThreadPoolExecutor(8) as pool:
        decoded = pool.map(lambda path: inrcodec.decompress(path).values, paths * 4)
        for values, wanted in zip(decoded, expected * 4, strict=True):
            np.testing.assert_array_equal(values, wanted)
    with inrcodec.open(FOLDER / "files" / "bitswap-chain.inrs") as file, ThreadPoolExecutor(8) as pool:
        alone = [file.render(entry=i).values for i in range(len(file))]
        for i, values in enumerate(pool.map(lambda i: file.render(entry=i).values, list(range(len(file))) * 4)):
            np.testing.assert_array_equal(values, alone[i % len(file)])


@pytest.mark.parametrize("start", ["fork", "spawn", "dataloader"])
def test_worker_processes_decode_the_same_values(start: str, tmp_path: Path) -> None:
    """The parent has decoded on two threads before it forks; without care its children would hang."""
    script = tmp_path / "workers.py"
    script.write_text(WORKERS)
    paths = [str(FOLDER / "files" / name) for name in FILES]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "INRCODEC_PRIORS": str(PRIORS)}
    done = subprocess.run(
        [sys.executable, str(script), start, *paths], env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
