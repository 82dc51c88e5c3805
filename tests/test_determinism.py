"""Decoding on another machine: the same weights under every instruction set and number of threads, pixels within 1/255.

A child process decodes all golden files under each setting. What was coded, and the latents, modulations and weights
that it stands for, are equal to the last bit; lossless pixels too. What networks make of them may differ in the last
bits of floating point.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inrcodec.codecs import prior_store
from tests.support.golden_files import FOLDER, PRIORS, listed
from tests.support.processors import MORE, SETTINGS, Processor

ROOT = FOLDER.parents[1]
VALUE_TOLERANCE = 1e-4
"""For values of images, audio, and fields in [0, 1]: a fortieth of a step of 8 bits. Measured: 2.3e-6 at most."""


def _child(out: Path, processor: Processor) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """What a child decodes under settings, and what its libraries say of the processor."""
    # Threads that wait by spinning would fight over the cores of a busy machine.
    shared = {"OMP_WAIT_POLICY": "PASSIVE", prior_store.ENVIRONMENT: str(PRIORS)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.golden_files", str(out), str(processor.threads)],
        cwd=ROOT,
        env={**processor.environment(), **shared},
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    with np.load(out, allow_pickle=False) as found:
        return dict(found), json.loads(done.stdout)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """What a child decodes on one thread of this machine as it is."""
    return _child(tmp_path_factory.mktemp("plain") / "plain.npz", Processor())


@pytest.mark.parametrize("name", [*SETTINGS, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)])
def test_weights_are_equal_and_pixels_near(
    name: str, plain: tuple[dict[str, NDArray[Any]], dict[str, Any]], tmp_path: Path
) -> None:
    processor = {**SETTINGS, **MORE}[name]
    if not processor.runs_here:
        pytest.skip("these settings are of x86 processors")
    wanted, before = plain
    found, after = _child(tmp_path / "found.npz", processor)
    disabled = set(processor.disabled_features().split())
    assert after["threads"] == processor.threads and not disabled & set(after["numpy"])
    if "ATEN_CPU_CAPABILITY" in processor.variables and before["torch"] in ("AVX2", "AVX512"):
        assert after["torch"] == processor.variables["ATEN_CPU_CAPABILITY"].upper()
    assert found.keys() == wanted.keys()
    told = listed()
    for key, array in found.items():
        file, what = key.split("/")[:2]
        # With patches, the values of the native grid follow from integers too.
        if what in ("numbers", "weights") or told[file]["tolerance"] == 0 or file.startswith("patches-"):
            assert np.array_equal(array, wanted[key]), key
        elif what == "values":
            assert np.abs(array - wanted[key]).max() <= VALUE_TOLERANCE, key
        elif array.dtype == np.uint8:
            assert np.abs(array.astype(int) - wanted[key]).max() <= 1, key


def test_all_codecs_with_loss_have_weights_to_compare(plain: tuple[dict[str, NDArray[Any]], dict[str, Any]]) -> None:
    """So that the comparison of weights is one."""
    told = listed()
    seen = {told[key.split("/")[0]]["info"]["codec"] for key in plain[0] if "/weights/" in key}
    assert seen == {"hierarchical", "combiner", "coin++", "coin"}
    empty = [name for name in told if not plain[0][f"{name}/numbers"].size]
    assert not empty
