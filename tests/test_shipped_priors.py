"""Files that the first release wrote under its shipped priors decode to what they did then."""

from __future__ import annotations

import numpy as np
import pytest

import inrcodec
from tests.support.shipped_priors import FOLDER, file_names, priors_without_a_file


@pytest.mark.parametrize("name", file_names())
def test_a_file_of_the_first_release_decodes(name: str) -> None:
    decoded = inrcodec.decompress(next(FOLDER.glob(f"{name}.inr*"))).to_native()
    with np.load(FOLDER / "expected.npz", allow_pickle=False) as arrays:
        expected = arrays[name]
    assert decoded.dtype == expected.dtype and decoded.shape == expected.shape
    # Lossless samples are equal; others may differ in the last bits of float32: one step of 8 bits, 2e-4 of the range.
    # Measured at most: 1.1e-4, with coinpp-fields, on a processor without AVX and fused multiply-add.
    step = 0 if name.startswith("bitswap") else 1 if decoded.dtype == np.uint8 else 2e-4 * float(np.ptp(expected))
    assert np.abs(decoded.astype(np.float64) - expected.astype(np.float64)).max() <= step


def test_every_shipped_prior_has_a_file() -> None:
    assert priors_without_a_file() == []
