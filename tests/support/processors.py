"""Other processors, as far as settings of the numerical libraries can imitate them.

As a script, it runs the tests under one of the settings; more arguments go to pytest::

    python tests/support/processors.py                             # list the settings
    python tests/support/processors.py "oldest x86" -n 2           # run all but the slow tests
    python tests/support/processors.py "two threads" tests/nn
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import dataclass, field

VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "NPY_DISABLE_CPU_FEATURES",
    "OPENBLAS_CORETYPE",
    "ONEDNN_MAX_CPU_ISA",
    "MKL_CBWR",
    "GLIBC_TUNABLES",
    "OMP_NUM_THREADS",
)
"""The environment variables that decide which code the libraries run."""


def _numpy_dispatch() -> list[str]:
    from numpy._core._multiarray_umath import __cpu_dispatch__

    return list(__cpu_dispatch__)


def numpy_features(*, above: str = "") -> str:
    """Return the features that this NumPy has code for beyond its baseline and that this processor has.

    These are the ones that can be disabled.

    Args:
        above: only the features that come after this one in NumPy's own order.
    """
    from numpy._core._multiarray_umath import __cpu_features__

    names = _numpy_dispatch()
    names = names[names.index(above) + 1 :] if above in names else names
    return " ".join(name for name in names if __cpu_features__.get(name))


def _features_beyond_avx2() -> str:
    return numpy_features(above="X86_V3" if "X86_V3" in _numpy_dispatch() else "AVX2")


@dataclass(frozen=True)
class Processor:
    """Settings that make the libraries run the code of another processor."""

    threads: int = 1
    variables: dict[str, str] = field(default_factory=dict)
    """Beyond those of NumPy and the number of threads; they are for x86 processors."""
    numpy: str = "all"
    """The features that NumPy may use: "all", "avx2" (those of a processor with AVX2) or "baseline"."""

    @property
    def runs_here(self) -> bool:
        """Return whether the settings mean anything on this machine."""
        plain = not self.variables and self.numpy == "all"
        return plain or platform.machine().lower() in ("x86_64", "amd64")

    def disabled_features(self) -> str:
        """Return the NumPy features that these settings turn off, separated by spaces."""
        return {"all": "", "avx2": _features_beyond_avx2(), "baseline": numpy_features()}[self.numpy]

    def environment(self) -> dict[str, str]:
        """Return this process's environment with these settings in place of its own."""
        kept = {key: value for key, value in os.environ.items() if key not in VARIABLES}
        disabled = self.disabled_features()
        numpy = {"NPY_DISABLE_CPU_FEATURES": disabled} if disabled else {}
        return {**kept, **self.variables, **numpy, "OMP_NUM_THREADS": str(self.threads)}


_NO_FMA = {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX2,-FMA,-FMA4"}
_OLDEST = {
    "ATEN_CPU_CAPABILITY": "default",
    "OPENBLAS_CORETYPE": "Prescott",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_CBWR": "COMPATIBLE",
    **_NO_FMA,
}
_HASWELL = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "OPENBLAS_CORETYPE": "Haswell",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "AVX2",
}

SETTINGS = {
    "two threads": Processor(2),
    "oldest x86": Processor(1, _OLDEST, "baseline"),
    "AVX2, two threads": Processor(2, _HASWELL, "avx2"),
}
"""The settings under which `make test` decodes all golden files."""
MORE = {
    "numpy's baseline": Processor(1, {}, "baseline"),
    "numpy without AVX-512": Processor(1, {}, "avx2"),
    "OpenBLAS of Nehalem": Processor(1, {"OPENBLAS_CORETYPE": "Nehalem"}),
    "OpenBLAS of Haswell": Processor(1, {"OPENBLAS_CORETYPE": "Haswell"}),
    "torch without vectors": Processor(1, {"ATEN_CPU_CAPABILITY": "default"}),
    "torch with AVX2": Processor(1, {"ATEN_CPU_CAPABILITY": "avx2"}),
    "mathematics without FMA": Processor(1, _NO_FMA),
    "oldest x86, two threads": Processor(2, _OLDEST, "baseline"),
}
"""The further settings that `make test-all` adds."""


def main(arguments: list[str]) -> int:
    """Run the tests under the settings named by the first argument; return pytest's exit code."""
    every = {**SETTINGS, **MORE}
    if not arguments or arguments[0] not in every:
        print("settings:", *every, sep="\n  ", file=sys.stderr)
        return 2
    processor = every[arguments[0]]
    # Threads that wait by spinning would fight over the cores.
    own = {"INRCODEC_TEST_THREADS": str(processor.threads), "OMP_WAIT_POLICY": "PASSIVE"}
    environment = {**processor.environment(), **own}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", *arguments[1:]]
    return subprocess.call(command, env=environment)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
