"""Compiled kernels: kept where there is a folder for it, and compiled anew where there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from inrcodec.codecs.grids import compiled as compiled_module

ROOT = Path(__file__).resolve().parents[3]


def test_without_a_folder_to_keep_it_in_it_is_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    real: Any = vars(compiled_module)["njit"]
    asked: list[Any] = []

    def njit(function: object, **options: object) -> object:
        asked.append(options.get("cache", False))
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return real(function, **options)

    monkeypatch.setattr(compiled_module, "njit", njit)
    twice = compiled_module.compiled(fastmath=False)(lambda number: 2 * number)
    assert twice(21) == 42 and asked == [True, False]


def test_only_what_needs_it_loads_the_compiler() -> None:
    statement = "import inrcodec.encoding, sys; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", statement], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
