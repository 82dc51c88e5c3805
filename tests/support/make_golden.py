"""Make what is missing of ``tests/golden``; what is there is never made again.

    python -m tests.support.make_golden

A file that the format, a codec or a layout brings with it belongs here from then on: add a line to ``CASES``, run this,
commit what it wrote. Files that exist stand for all that users have, so they are left alone, whatever today's encoder
would make of their signals. Priors are tiny networks that learn for seconds: what they say is poor, how they are read
is the real thing.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray

import inrcodec
from inrcodec.codecs import prior_store
from inrcodec.codecs.bitswap import encoding as lossless
from inrcodec.codecs.bitswap.prior import BitSwapPrior
from inrcodec.codecs.coinpp.model import CoinPPConfig
from inrcodec.codecs.coinpp.training import CoinPPTrainer
from inrcodec.codecs.combiner.model import CombinerConfig
from inrcodec.codecs.combiner.training import CombinerTrainer
from inrcodec.codecs.hierarchical import encoding as hierarchical
from inrcodec.codecs.hierarchical.config import HierarchicalConfig, LevelConfig
from inrcodec.codecs.hierarchical.parameters import read_parameters
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
from inrcodec.codecs.hierarchical.training import HierarchicalTrainer
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.metadata import SignalMeta
from inrcodec.signals.signal import Signal
from inrcodec.training.sources import TileSource
from tests.support import tiny_grids
from tests.support.golden_files import FOLDER, LIST, PRIORS, decode
from tests.support.tiny import smooth_tiles, tiny_config
from tests.support.tiny_bitswap import BINARY, COLOUR, GRAY, LAYERED, tiny_model
from tests.support.tiny_coinpp import tiny_coinpp_training
from tests.support.tiny_hierarchical import tiny_training
from tests.support.tiny_patches import PATCHES

FloatArray = NDArray[np.float32]

# Priors.

_LEVELS = (LevelConfig(8, 10, (3,), 1, 1), LevelConfig(4, 10, (2, 2), 1, 1, phases=2))
_IMAGE = HierarchicalConfig(3, 2, _LEVELS, 2, 6, 6, n_anchors=3, log_lambdas=(3.0, 8.0))
_AUDIO = HierarchicalConfig(
    1,
    1,
    (LevelConfig(8, 10, (3,), 1, 1), LevelConfig(4, 10, (3,), 1, 1)),
    2,
    6,
    6,
    n_anchors=3,
    log_lambdas=(3.0, 8.0),
    centre=0.0,
    spread=1.0,
)
_PATCHES = replace(
    PATCHES,
    levels=(
        PATCHES.levels[0],
        replace(PATCHES.levels[1], width=20, latents=(6, 6, 6, 6)),
        replace(PATCHES.levels[2], latents=(6, 6)),
    ),
)
_FIELD = replace(_IMAGE, channels=1)
_GLOBE = replace(_FIELD, periodic=True, sphere=True)


@dataclass(frozen=True)
class Tones:
    """Short audio clips of root mean square 1: two tones each."""

    length: int
    channels: int = 1

    def draw(self, count: int, rng: np.random.Generator) -> FloatArray:
        """(count, length, 1)."""
        time = np.arange(self.length)
        pitch, phase = rng.uniform(0.05, 0.5, (2, count, 1)), rng.uniform(0, 6.28, (2, count, 1))
        result: FloatArray = (np.sin(pitch[0] * time + phase[0]) + np.sin(pitch[1] * time + phase[1]))[
            ..., None
        ].astype(np.float32)
        return result


def _tiles(size: int, channels: int = 3) -> TileSource:
    return TileSource(smooth_tiles(256, size=size)[..., :channels], mirror=True)


def _hierarchy(network: HierarchicalConfig, kind: str, source: Any, shape: tuple[int, ...], **more: Any) -> bytes:
    config = tiny_training(network=network, kind=kind, patch_shape=shape, steps=300, **more)
    trainer = HierarchicalTrainer(config, source)
    return _trained(trainer, trainer.start())


def _combiner(network: CombinerConfig, kind: str, source: Any) -> bytes:
    trainer = CombinerTrainer(tiny_config(network=network, kind=kind, minutes=0.06), source)
    return _trained(trainer, trainer.start())


def _modulation(network: CoinPPConfig, kind: str, source: Any) -> bytes:
    trainer = CoinPPTrainer(tiny_coinpp_training(network=network, kind=kind), source)
    return _trained(trainer, trainer.start())


def _trained(trainer: Any, state: Any) -> bytes:
    trainer.run(state, until_seconds=60, checkpoint=None, progress=lambda state, stage: None)
    data: bytes = trainer.finish(state, {"data": "made up"}).to_bytes()
    return data


PRIOR_MAKERS: dict[str, Callable[[], bytes]] = {
    "golden-image": lambda: _hierarchy(_IMAGE, "image", _tiles(16), (16, 16), weight_signals=12),
    "golden-audio": lambda: _hierarchy(_AUDIO, "audio", Tones(64), (64,)),
    "golden-field": lambda: _hierarchy(_FIELD, "field", _tiles(16, 1), (16, 16)),
    "golden-globe": lambda: _hierarchy(_GLOBE, "field", _tiles(16, 1), (16, 16)),
    "golden-patches": lambda: _hierarchy(_PATCHES, "image", _tiles(16), (16, 16)),
    "golden-combiner-image": lambda: _combiner(
        CombinerConfig((8, 8), 3, features=12, hidden=8, latent_dims=20, proposal_hidden=8), "image", _tiles(8)
    ),
    "golden-combiner-audio": lambda: _combiner(
        CombinerConfig((32,), 1, features=12, hidden=8, latent_dims=20, proposal_hidden=8), "audio", Tones(32)
    ),
    "golden-coinpp-image": lambda: _modulation(CoinPPConfig((8, 8), 3, (96, 12), 48), "image", _tiles(8)),
    "golden-coinpp-audio": lambda: _modulation(CoinPPConfig((32,), 1, (48, 12), 24, 0.0, 1.0), "audio", Tones(32)),
    "golden-grids": lambda: tiny_grids.tiny_prior().to_bytes(),
    "golden-lossless-colour": lambda: BitSwapPrior.from_model(tiny_model(COLOUR), "golden-colour", {}).to_bytes(),
    "golden-lossless-gray": lambda: BitSwapPrior.from_model(tiny_model(GRAY), "golden-gray", {}).to_bytes(),
    "golden-lossless-chain": lambda: BitSwapPrior.from_model(tiny_model(LAYERED), "golden-chain", {}).to_bytes(),
    "golden-lossless-binary": lambda: BitSwapPrior.from_model(tiny_model(BINARY), "golden-binary", {}).to_bytes(),
}

# Signals.


def image(height: int, width: int, layout: str = "rgb", depth: int = 8, seed: int = 1, **meta: Any) -> Signal:
    """Colour gradients with waves, a disc and a little noise; alpha falls from corner to corner."""
    channels = {"gray": 1, "gray+alpha": 2, "rgb": 3, "rgba": 4}[layout]
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = np.sin(x / rng.uniform(3, 9) + y / rng.uniform(4, 12))[..., None] * rng.uniform(0.1, 0.3, 3)
    disc = ((x - width / 2) ** 2 + (y - height / 2) ** 2 < (min(height, width) / 4) ** 2)[..., None] * 0.25
    colours = 0.45 + waves + disc * rng.uniform(-1, 1, 3) + rng.normal(0, 0.01, (height, width, 3))
    alpha = (x + y)[..., None] / max(height + width - 2, 1)
    colours = colours[..., :1] if channels < 3 else colours
    values = np.concatenate([colours, alpha], axis=-1) if channels in (2, 4) else colours
    top = np.float32(2**depth - 1)
    exact = np.rint(values.clip(0, 1) * top).astype(np.float32) / top
    header = SignalHeader("image", layout, "u16" if depth == 16 else "u8", (height, width), channels)
    return Signal(exact.astype(np.float32), header, SignalMeta(bit_depth=depth, **meta))


def bilevel(height: int, width: int, seed: int = 1) -> Signal:
    """Black and white: a pattern of discs."""
    y, x = np.mgrid[0:height, 0:width]
    values = (np.sin(x / 3.0 + seed) * np.sin(y / 4.0) > 0.1).astype(np.float32)[..., None]
    return Signal(values, SignalHeader("image", "gray", "u1", (height, width), 1))


def sound(samples: int, layout: str, sample_type: str, rate: int, channels: int = 1, loud: float = 0.3) -> Signal:
    """Two tones that fade, other ones in every channel."""
    time = np.arange(samples)[:, None]
    pitch = 0.11 * (1 + np.arange(channels))
    values = loud * (np.sin(pitch * time) + 0.4 * np.sin(2.7 * pitch * time)) * np.exp(-time / samples)
    return Signal(values.astype(np.float32), SignalHeader("audio", layout, sample_type, (samples,), channels, rate))


def field(shape: tuple[int, ...], sample_type: str, periodic: tuple[bool, ...] = (), **meta: Any) -> Signal:
    """A smooth field with a front in it, normalised to [0, 1]."""
    axes = np.meshgrid(*[np.linspace(0, 1, n) for n in shape], indexing="ij")
    values = 0.5 + 0.2 * np.sin(6.3 * axes[-1] + 2 * axes[0]) + 0.2 * np.tanh(8 * (axes[-2] - 0.5))
    header = SignalHeader("field", "field", sample_type, shape, 1, periodic=periodic)
    return Signal(values[..., None].astype(np.float32), header, SignalMeta(offset=200.0, scale=100.0, **meta))


def _netcdf(height: int, width: int) -> dict[str, Any]:
    coordinates = {
        "latitude": np.linspace(-87.5, 87.5, height, dtype=np.float32),
        "longitude": np.arange(width, dtype=np.float64) * 360.0 / width,
    }
    return {
        "variable": "t2m",
        "dims": ("latitude", "longitude"),
        "coordinates": coordinates,
        "fixed": {"time": 3.0},
        "attributes": {"units": "K"},
        "coordinate_attributes": {"latitude": {"units": "degrees_north"}},
        "source_format": "netcdf",
    }


def long_strip() -> Signal:
    """Just over 8 megapixels, so that it is cut into tiles: gray, with structure near the middle only."""
    width = (1 << 20) + 700
    x = np.arange(width, dtype=np.float32)
    bump = np.exp(-(((x - STRIP_MIDDLE) / 40.0) ** 2)) * np.sin(x / 5.0) * 0.3
    values = np.rint((0.5 + np.broadcast_to(bump, (8, width))) * 255).astype(np.float32) / np.float32(255)
    return Signal(np.ascontiguousarray(values[..., None]), SignalHeader("image", "gray", "u8", (8, width), 1))


STRIP_MIDDLE = 522496
STRIP_REGION = (STRIP_MIDDLE - 48, 0, 96, 8)

# Files.


@dataclass(frozen=True)
class Case:
    """A file: ``make`` gives its bytes, ``what`` a line for readers. ``tolerance``: how far samples may be off, in
    units of the samples. ``region``: the part that is compared."""

    what: str
    make: Callable[[], bytes]
    tolerance: float = 1.0
    region: tuple[int, ...] | None = None


def one(
    signal: Callable[[], Signal], prior: str | None, effort: str = "default", **options: Any
) -> Callable[[], bytes]:
    """A file of one signal."""
    named: dict[str, Any] = {} if prior is None else {"prior": f"golden-{prior}"}
    return lambda: inrcodec.compress(signal(), effort=effort, **named, **options)


def many(
    signals: Callable[[], Sequence[Signal]], prior: str | None, names: Sequence[str], **options: Any
) -> Callable[[], bytes]:
    """An archive."""
    named: dict[str, Any] = {} if prior is None else {"prior": f"golden-{prior}"}
    return lambda: inrcodec.compress(list(signals()), names=names, **named, **options)


def modelled(make: Callable[[], bytes]) -> Callable[[], bytes]:
    """A lossless file by its model, where PNG, which knows tiny images better than tiny models, would be smaller."""

    def without_png() -> bytes:
        with mock.patch.object(lossless, "_stored", lambda picture: []):
            return make()

    return without_png


def _with_weights() -> bytes:
    """An image whose head has weights of its own, as only large ones have otherwise."""
    signal = image(48, 64, seed=9)
    lowered = mock.patch.object(hierarchical, "MIN_POINTS_FOR_WEIGHTS", 1)
    with lowered:
        data = inrcodec.compress(signal, prior="golden-image", effort="best", beta=3e-4)
    container = inrcodec.open(data).container()
    prior = prior_store.find("golden-image")
    assert isinstance(prior, HierarchicalPrior)
    parameters, _ = read_parameters(prior, container.payload)
    assert parameters.weights, "the image was sent without weights of its own"
    return data


U16 = 65535 / 255
"""A step of 8 bits, in levels of 16."""
SOUND = 1e-4
FIELD = 0.01
"""Tolerance for fields that span 100 units: 1e-4 of their range."""

CASES: dict[str, Case] = {
    # The hierarchical codec.
    "hierarchical-rgb.inr": Case("colour, 8 bits", one(lambda: image(40, 29), "image", target_bpp=2.0)),
    "hierarchical-gray.inr": Case("gray, 8 bits", one(lambda: image(17, 33, "gray"), "image")),
    "hierarchical-gray-alpha.inr": Case("gray with alpha", one(lambda: image(21, 16, "gray+alpha"), "image")),
    "hierarchical-rgba.inr": Case("colour with alpha", one(lambda: image(16, 21, "rgba"), "image")),
    "hierarchical-rgba-16bit.inr": Case(
        "colour with alpha, 16 bits", one(lambda: image(12, 19, "rgba", 16), "image"), U16
    ),
    "hierarchical-gray-16bit.inr": Case("gray, 16 bits", one(lambda: image(25, 24, "gray", 16), "image"), U16),
    "hierarchical-1bit.inr": Case("black and white", one(lambda: bilevel(20, 24), "image", beta=1e-3)),
    "hierarchical-one-pixel.inr": Case("one pixel", one(lambda: image(1, 1), "image")),
    "hierarchical-metadata.inr": Case(
        "colour profile, orientation, resolution",
        one(lambda: image(16, 16, icc_profile=bytes(range(64)), exif_orientation=6, dpi=(300.0, 150.0)), "image"),
    ),
    "hierarchical-astar.inr": Case(
        "latents by relative entropy coding", one(lambda: image(32, 40, seed=5), "image", coder="rec", beta=1e-3)
    ),
    "hierarchical-weights.inr": Case("weights of its own", _with_weights),
    "hierarchical-tiles.inr": Case(
        "more than 8 megapixels, in tiles; compared where two of them overlap",
        one(long_strip, "image", "fast", beta=2e-2),
        region=STRIP_REGION,
    ),
    "hierarchical-mono.inr": Case("16 kHz, 16 bits", one(lambda: sound(700, "mono", "pcm_16", 16000), "audio"), SOUND),
    "hierarchical-stereo.inr": Case(
        "44.1 kHz, 24 bits, loud", one(lambda: sound(301, "stereo", "pcm_24", 44100, 2, 0.6), "audio"), SOUND
    ),
    "hierarchical-three-channels.inr": Case(
        "12345 Hz, float32, soft", one(lambda: sound(250, "multi", "float32", 12345, 3, 0.002), "audio"), SOUND
    ),
    "hierarchical-field.inr": Case(
        "latitudes and longitudes, names, units, coordinates",
        one(lambda: field((24, 36), "float32", **_netcdf(24, 36)), "field"),
        FIELD,
    ),
    "hierarchical-field-coarse.inr": Case(
        "a smooth field at a low rate, described on a coarser grid",
        one(lambda: field((48, 64), "float64"), "field", target_bpp=0.25),
        FIELD,
    ),
    "hierarchical-field-slices.inr": Case(
        "three axes, whole numbers", one(lambda: field((3, 16, 20), "int16"), "field"), 1.0
    ),
    "hierarchical-globe.inr": Case(
        "a globe: the last axis is a circle",
        one(lambda: field((18, 36), "float32", (False, True), **_netcdf(18, 36)), "globe"),
        FIELD,
    ),
    "hierarchical-archive.inrs": Case(
        "pictures of several layouts and sizes",
        many(
            lambda: [image(16, 16), image(9, 14, "rgba", seed=2), image(16, 16, "gray", seed=3), image(16, 16, seed=4)],
            "image",
            ["a.png", "deep/er/b.png", "c é.png", "d.png"],
        ),
    ),
    "hierarchical-archive-numbered.inrs": Case(
        "numbered names, one header",
        many(lambda: [image(8, 8, seed=i) for i in range(12)], "image", [f"tile{i:03d}.png" for i in range(7, 19)]),
    ),
    "hierarchical-archive-sounds.inrs": Case(
        "sounds",
        many(
            lambda: [sound(200, "mono", "pcm_16", 8000), sound(90, "mono", "pcm_u8", 22050, loud=0.1)],
            "audio",
            ["one.wav", "two.wav"],
        ),
        SOUND,
    ),
    # The hierarchical codec with patches.
    "patches-rgb.inr": Case("colour, 8 bits", one(lambda: image(40, 29), "patches", target_bpp=2.0)),
    "patches-gray.inr": Case("gray, 8 bits", one(lambda: image(17, 33, "gray"), "patches")),
    "patches-rgba-16bit.inr": Case(
        "colour with alpha, 16 bits", one(lambda: image(12, 19, "rgba", 16), "patches"), U16
    ),
    "patches-rec.inr": Case(
        "latents by relative entropy coding", one(lambda: image(32, 40, seed=5), "patches", coder="rec", beta=1e-3)
    ),
    "patches-archive.inrs": Case(
        "images of two sizes", many(lambda: [image(16, 16), image(9, 14, seed=2)], "patches", ["a.png", "b.png"])
    ),
    # COMBINER.
    "combiner-rgb.inr": Case("colour", one(lambda: image(20, 27), "combiner-image", "fast")),
    "combiner-gray-alpha.inr": Case(
        "gray with alpha", one(lambda: image(9, 8, "gray+alpha"), "combiner-image", "fast")
    ),
    "combiner-mono.inr": Case(
        "a sound", one(lambda: sound(150, "mono", "pcm_16", 16000), "combiner-audio", "fast"), SOUND
    ),
    "combiner-archive.inrs": Case(
        "small pictures",
        many(
            lambda: [image(8, 8, seed=i) for i in range(5)],
            "combiner-image",
            [f"{i}.png" for i in range(5)],
            effort="fast",
            target_bpp=3.0,
        ),
    ),
    # COIN++.
    "coinpp-rgb.inr": Case("colour", one(lambda: image(20, 27), "coinpp-image", target_bpp=6.0)),
    "coinpp-gray-16bit.inr": Case("gray, 16 bits", one(lambda: image(11, 8, "gray", 16), "coinpp-image"), U16),
    "coinpp-mono.inr": Case("a sound", one(lambda: sound(150, "mono", "pcm_16", 16000), "coinpp-audio"), SOUND),
    "coinpp-archive.inrs": Case(
        "small pictures, one with alpha",
        many(lambda: [image(8, 8), image(8, 8, "rgba", seed=2), image(12, 5, seed=3)], "coinpp-image", list("abc")),
    ),
    # COIN.
    "coin-rgb.inr": Case("colour", one(lambda: image(24, 24), None, "fast", codec="coin", target_bpp=4.0)),
    "coin-float16.inr": Case(
        "weights as float16",
        one(lambda: image(24, 20, "gray"), None, "fast", codec="coin", coder="float16", target_bpp=6.0),
    ),
    "coin-rgba-16bit.inr": Case(
        "colour with alpha, 16 bits",
        one(lambda: image(20, 20, "rgba", 16), None, "fast", codec="coin", target_bpp=16.0),
        U16,
    ),
    "coin-mono.inr": Case(
        "a sound", one(lambda: sound(600, "mono", "pcm_16", 8000), None, "fast", codec="coin", target_kbps=24.0), SOUND
    ),
    "coin-field.inr": Case(
        "a field of one axis and a field's metadata",
        one(lambda: field((20, 30), "float32"), None, "fast", codec="coin", target_bpp=4.0),
        FIELD,
    ),
    "coin-archive.inrs": Case(
        "pictures of two sizes",
        many(
            lambda: [image(16, 16), image(20, 12, seed=2)],
            None,
            ["a", "b"],
            codec="coin",
            effort="fast",
            target_bpp=5.0,
        ),
    ),
    # Latent grids.
    "grids-rgb.inr": Case("colour", one(lambda: image(40, 29), "grids", "fast", beta=1e-4)),
    "grids-gray-alpha-16bit.inr": Case(
        "gray with alpha, 16 bits", one(lambda: image(21, 16, "gray+alpha", 16), "grids", "fast", beta=1e-3), U16
    ),
    "grids-archive.inrs": Case(
        "pictures of two sizes",
        many(lambda: [image(16, 16), image(20, 12, seed=2)], "grids", ["a.png", "b.png"], effort="fast", beta=1e-3),
    ),
    # Lossless.
    "bitswap-rgb.inr": Case("colour", modelled(one(lambda: image(23, 30), "lossless-colour", codec="bitswap")), 0),
    "bitswap-gray.inr": Case("gray", modelled(one(lambda: image(19, 22, "gray"), "lossless-gray", codec="bitswap")), 0),
    "bitswap-rgba.inr": Case(
        "alpha", modelled(one(lambda: image(14, 18, "rgba"), "lossless-colour", codec="bitswap")), 0
    ),
    "bitswap-16bit.inr": Case(
        "colour, 16 bits", modelled(one(lambda: image(15, 17, "rgb", 16), "lossless-colour", codec="bitswap")), 0
    ),
    "bitswap-turned.inr": Case(
        "every orientation tried",
        modelled(one(lambda: image(21, 26, seed=8), "lossless-colour", "best", codec="bitswap")),
        0,
    ),
    "bitswap-stored.inr": Case("smaller as PNG", one(lambda: bilevel(24, 24), "lossless-gray", codec="bitswap"), 0),
    "bitswap-gray-planes.inr": Case(
        "colour under a model of gray", modelled(one(lambda: image(16, 16), "lossless-gray", codec="bitswap")), 0
    ),
    "bitswap-binary.inr": Case(
        "black and white", modelled(one(lambda: bilevel(40, 40), "lossless-binary", codec="bitswap")), 0
    ),
    "bitswap-chain.inrs": Case(
        "pictures of one size in one message",
        many(
            lambda: [image(8, 8, "gray", seed=i) for i in range(9)],
            "lossless-chain",
            [f"{i}.png" for i in range(9)],
            codec="bitswap",
        ),
        0,
    ),
    "bitswap-archive.inrs": Case(
        "pictures that do not chain",
        modelled(
            many(lambda: [image(16, 16), image(12, 16, "rgba", seed=2)], "lossless-colour", ["a", "b"], codec="bitswap")
        ),
        0,
    ),
    "bbans-rgb.inr": Case("colour", modelled(one(lambda: image(23, 30), "lossless-colour", codec="bbans")), 0),
    "bbans-chain.inrs": Case(
        "pictures of one size in one message",
        many(
            lambda: [image(8, 8, "gray", seed=i) for i in range(9)],
            "lossless-chain",
            [f"{i}.png" for i in range(9)],
            codec="bbans",
        ),
        0,
    ),
}


def main() -> None:
    """Make what is missing, and say what was made."""
    torch.set_num_threads(1)
    os.environ[prior_store.ENVIRONMENT] = str(PRIORS)
    for folder in (PRIORS, FOLDER / "files", FOLDER / "expected"):
        folder.mkdir(parents=True, exist_ok=True)
    for name, make in PRIOR_MAKERS.items():
        _write_new(PRIORS / f"{name}.safetensors", make)
    known = json.loads(LIST.read_text()) if LIST.exists() else {}
    for name, case in CASES.items():
        if name in known:
            continue
        _write_new(FOLDER / "files" / name, case.make)
        found = decode(name, case.region)
        arrays = {str(i): signal.to_native() for i, signal in enumerate(found.signals)}
        np.savez_compressed(FOLDER / "expected" / f"{name}.npz", **arrays)  # type: ignore[arg-type]
        known[name] = {
            "what": case.what,
            "tolerance": case.tolerance,
            "region": case.region,
            "info": found.info,
            "signals": found.heads,
            "numbers": found.numbers,
        }
        LIST.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


def _write_new(path: Path, make: Callable[[], bytes]) -> None:
    if path.exists():
        return
    data = make()
    with open(path, "xb") as file:
        file.write(data)
    sys.stdout.write(f"{path.relative_to(FOLDER)}: {len(data)} bytes\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
