"""Decoding on another machine: the same weights under every instruction set and number of threads, pixels within 1/255.

A child process decodes all golden files under each setting. What was coded, and the latents, modulations and weights
that it stands for, are equal to the last bit; lossless pixels too. What networks make of them may differ in the last
bits of floating point.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inrcodec.codecs import prior_store
from tests.support.golden_files import FOLDER, PRIORS, listed

ROOT = FOLDER.parents[1]
X86 = platform.machine().lower() in ("x86_64", "amd64")
VALUE_TOLERANCE = 1e-4
"""For values of images, audio, and fields in [0, 1]: a fortieth of a step of 8 bits. Measured: 2.3e-6 at most."""
MACHINE_SETTINGS = (
    "ATEN_CPU_CAPABILITY",
    "NPY_DISABLE_CPU_FEATURES",
    "OPENBLAS_CORETYPE",
    "ONEDNN_MAX_CPU_ISA",
    "MKL_CBWR",
    "GLIBC_TUNABLES",
    "OMP_NUM_THREADS",
)


def numpy_features(*, above: str = "") -> str:
    """Features that this numpy has code for beyond its baseline and this processor has: those that can be disabled.

    ``above``: only those that come after this one in the order of their making."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    names = list(__cpu_dispatch__)
    names = names[names.index(above) + 1 :] if above in names else names
    return " ".join(name for name in names if __cpu_features__.get(name))


def _avx2_numpy() -> str:
    """Newest set of numpy's that a processor with AVX2 and without AVX-512 has, by the names of its version."""
    from numpy._core._multiarray_umath import __cpu_dispatch__

    return "X86_V3" if "X86_V3" in __cpu_dispatch__ else "AVX2"


OLDEST = {
    "ATEN_CPU_CAPABILITY": "default",
    "OPENBLAS_CORETYPE": "Prescott",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_CBWR": "COMPATIBLE",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX2,-FMA,-FMA4",
}
HASWELL = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "OPENBLAS_CORETYPE": "Haswell",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "AVX2",
}

# Name: settings of x86 processors, what of numpy's features is disabled, threads.
SETTINGS: dict[str, tuple[dict[str, str], str | None, int]] = {
    "two threads": ({}, None, 2),
    "oldest x86": (OLDEST, "all", 1),
    "AVX2, two threads": (HASWELL, "newer than AVX2", 2),
}
MORE: dict[str, tuple[dict[str, str], str | None, int]] = {
    "numpy's baseline": ({}, "all", 1),
    "numpy without AVX-512": ({}, "newer than AVX2", 1),
    "OpenBLAS of Nehalem": ({"OPENBLAS_CORETYPE": "Nehalem"}, None, 1),
    "OpenBLAS of Haswell": ({"OPENBLAS_CORETYPE": "Haswell"}, None, 1),
    "torch without vectors": ({"ATEN_CPU_CAPABILITY": "default"}, None, 1),
    "torch with AVX2": ({"ATEN_CPU_CAPABILITY": "avx2"}, None, 1),
    "mathematics without FMA": ({"GLIBC_TUNABLES": OLDEST["GLIBC_TUNABLES"]}, None, 1),
    "oldest x86, two threads": (OLDEST, "all", 2),
}


def _child(out: Path, settings: dict[str, str], threads: int) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """What a child decodes under settings, and what its libraries say of the processor."""
    plain = {key: value for key, value in os.environ.items() if key not in MACHINE_SETTINGS}
    # Threads that wait by spinning would fight over the cores of a busy machine.
    shared = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE", prior_store.ENVIRONMENT: str(PRIORS)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.golden_files", str(out), str(threads)],
        cwd=ROOT,
        env={**plain, **shared, **settings},
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
    return _child(tmp_path_factory.mktemp("plain") / "plain.npz", {}, 1)


@pytest.mark.parametrize("name", [*SETTINGS, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)])
def test_weights_are_equal_and_pixels_near(
    name: str, plain: tuple[dict[str, NDArray[Any]], dict[str, Any]], tmp_path: Path
) -> None:
    settings, numpy_off, threads = {**SETTINGS, **MORE}[name]
    if (settings or numpy_off) and not X86:
        pytest.skip("these settings are of x86 processors")
    disabled = "" if numpy_off is None else numpy_features(above="" if numpy_off == "all" else _avx2_numpy())
    if disabled:
        settings = {**settings, "NPY_DISABLE_CPU_FEATURES": disabled}
    wanted, before = plain
    found, after = _child(tmp_path / "found.npz", settings, threads)
    assert after["threads"] == threads and not set(disabled.split()) & set(after["numpy"])
    if "ATEN_CPU_CAPABILITY" in settings and before["torch"] in ("AVX2", "AVX512"):
        assert after["torch"] == settings["ATEN_CPU_CAPABILITY"].upper()
    assert found.keys() == wanted.keys()
    told = listed()
    for key, array in found.items():
        file, what = key.split("/")[:2]
        if what in ("numbers", "weights") or told[file]["tolerance"] == 0:
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
