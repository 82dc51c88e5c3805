"""The files of ``tests/golden``: where they are, and what decoding them gives, down to the numbers that were coded.

As a script it decodes all of them and keeps what it found, for comparisons between settings of a machine::

    python -m tests.support.golden_files OUT.npz THREADS
"""

from __future__ import annotations

import hashlib
import json
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from inrcodec.signals.signal import Signal

FOLDER = Path(__file__).resolve().parents[1] / "golden"
PRIORS = FOLDER / "priors"
LIST = FOLDER / "files.json"

Array = NDArray[Any]


@dataclass(frozen=True)
class Decoded:
    """What a file gives. ``numbers``: digest of all that its entropy coders and bit readers gave, integers all.
    ``weights``: what the functions were made of: latents, modulations, weights of networks."""

    info: dict[str, Any]
    signals: list[Signal]
    numbers: str
    weights: list[Array]

    @property
    def heads(self) -> list[dict[str, Any]]:
        """Header and other metadata of every signal, as JSON has them."""
        out = []
        for signal in self.signals:
            extra = signal.meta.extra_to_bytes()
            meta = json.loads(zlib.decompress(extra[1:])) if extra else {}
            out.append({"header": asdict(signal.header), "meta": meta})
        found: list[dict[str, Any]] = json.loads(json.dumps(out))
        return found


def listed() -> dict[str, dict[str, Any]]:
    """What the list says of every file, by its name."""
    found: dict[str, dict[str, Any]] = json.loads(LIST.read_text())
    return found


def expected(name: str) -> list[Array]:
    """Samples of every signal of a file, as its original had them."""
    with np.load(FOLDER / "expected" / f"{name}.npz", allow_pickle=False) as arrays:
        return [arrays[str(i)] for i in range(len(arrays.files))]


def decode(name: str, region: tuple[int, ...] | None = None) -> Decoded:
    """Decode a file whole, or a region (left, top, width, height) of it; INRCODEC_PRIORS must name ``PRIORS``."""
    import inrcodec
    from inrcodec.codecs import prior_store

    prior_id = inrcodec.open(FOLDER / "files" / name).container().prior_id
    if any(prior_id):
        # Priors hold entropy-coded numbers too; those are not of the file.
        prior_store.find_id(prior_id)
    with watching() as (numbers, weights), inrcodec.open(FOLDER / "files" / name) as file:
        part = None if region is None else (region[1], region[0], region[3], region[2])
        signals = [file.render(entry=i, region=part) for i in range(len(file))]
        digest = hashlib.sha256()
        for array in numbers:
            digest.update(np.ascontiguousarray(array, "<i8").tobytes())
        return Decoded(json.loads(json.dumps(file.info)), signals, digest.hexdigest()[:16], list(weights))


@contextmanager
def watching() -> Iterator[tuple[list[Array], list[Array]]]:
    """Lists that fill with the numbers, and with the weights, of what is decoded meanwhile."""
    from inrcodec.codecs.bitswap.bits_back import BitsBack
    from inrcodec.codecs.coin import codec as coin
    from inrcodec.codecs.coinpp import codec as modulation
    from inrcodec.codecs.combiner import codec as combiner
    from inrcodec.codecs.grids import codec as grids
    from inrcodec.codecs.grids import plane_messages as grid_messages
    from inrcodec.codecs.hierarchical import codec as hierarchical
    from inrcodec.coding.bits import BitReader
    from inrcodec.coding.gaussian import GaussianReader

    numbers: list[Array] = []
    weights: list[Array] = []

    def kept(function: Callable[..., Any], into: list[Array]) -> Callable[..., Any]:
        def watched(*args: Any, **named: Any) -> Any:
            found = function(*args, **named)
            for part in found if isinstance(found, list) else [found]:
                if part is not None:
                    into.append(np.array(part.numpy() if hasattr(part, "numpy") else part))
            return found

        return watched

    places: list[tuple[Any, str, list[Array]]] = [
        (BitReader, "read", numbers),
        (GaussianReader, "read", numbers),
        (BitsBack, "pop", numbers),
        (hierarchical.HierarchicalCodec, "latent_features", weights),
        (hierarchical, "receive_weights", weights),
        (combiner, "decode_latents", weights),
        (modulation, "read_latents", weights),
        (coin, "read_weights", weights),
        (grids, "read_weights", numbers),
        (grid_messages, "decode_grids", numbers),
    ]
    with ExitStack() as stack:
        for owner, name, into in places:
            stack.enter_context(mock.patch.object(owner, name, kept(getattr(owner, name), into)))
        yield numbers, weights


def keep_all(out: Path) -> None:
    """Decode all files and write their samples, values, weights, and digests of numbers to an npz file."""
    arrays: dict[str, Array] = {}
    for name, told in listed().items():
        found = decode(name, tuple(told["region"]) if told["region"] else None)
        arrays[f"{name}/numbers"] = np.frombuffer(found.numbers.encode(), np.uint8)
        arrays.update({f"{name}/samples/{i}": signal.to_native() for i, signal in enumerate(found.signals)})
        arrays.update({f"{name}/values/{i}": signal.values for i, signal in enumerate(found.signals)})
        arrays.update({f"{name}/weights/{i}": array for i, array in enumerate(found.weights)})
    np.savez(out, **arrays)  # type: ignore[arg-type]


def features() -> dict[str, Any]:
    """What the libraries of this process make of its processor, on one line."""
    import torch
    from numpy._core._multiarray_umath import __cpu_features__

    torch_threads = torch.get_num_threads()
    used = sorted(name for name, there in __cpu_features__.items() if there)
    return {"torch": torch.backends.cpu.get_cpu_capability(), "threads": torch_threads, "numpy": used}


if __name__ == "__main__":
    import torch

    torch.set_num_threads(int(sys.argv[2]))
    keep_all(Path(sys.argv[1]))
    sys.stdout.write(json.dumps(features()))
