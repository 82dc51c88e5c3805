"""Fixtures that several test files share. Measured data are optional: without them the tests that need them skip."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

# Read by numerical libraries when they are loaded, which is after this file; a caller's own setting wins.
os.environ.setdefault("OMP_NUM_THREADS", "1")

CHECKOUT = Path(__file__).resolve().parent.parent


def find_data_folder() -> Path | None:
    """The folder named by INRCODEC_DATA, else ``shared/data`` beside the checkout, else None."""
    named = os.environ.get("INRCODEC_DATA")
    folder = Path(named) if named else CHECKOUT.parent / "shared" / "data"
    return folder if folder.is_dir() else None


TORCH_THREADS = int(os.environ.get("INRCODEC_TEST_THREADS", "1"))
"""Other numbers show which tests hold by the order of sums alone."""


@pytest.fixture(autouse=True)
def _torch_threads() -> None:
    """Torch takes one thread: sums do not depend on the machine, and a shared core is not fought over."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != TORCH_THREADS:
        torch.set_num_threads(TORCH_THREADS)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Folder of the data sets; skips where there is none."""
    folder = find_data_folder()
    if folder is None:
        pytest.skip("no data folder: set INRCODEC_DATA")
    return folder


@pytest.fixture(scope="session")
def data_file(data_folder: Path) -> Callable[[str], Path]:
    """Path of one file of the data folder, by a pattern; skips where nothing matches, else takes the first."""

    def find(pattern: str) -> Path:
        found = sorted(data_folder.glob(pattern))
        if not found:
            pytest.skip(f"the data folder has no {pattern}")
        return found[0]

    return find


@pytest.fixture(scope="session")
def photograph() -> NDArray[np.uint8]:
    """A photograph, (512, 512, 3) uint8, that scikit-image carries."""
    from skimage import data

    pixels: NDArray[np.uint8] = data.astronaut()
    pixels.setflags(write=False)
    return pixels
