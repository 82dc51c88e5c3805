"""Make the initial files of the fuzz targets: tiny priors with arbitrary weights, and small signals coded with them.

    python fuzz/seeds.py        # replaces fuzz/corpus: priors/*.safetensors, files/*.inr and *.inrs

The models compress poorly, but files are written and read by the real code. Weights come from an integer formula, so
that every machine makes the same priors.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import inrcodec
from inrcodec.codecs.bitswap.config import BitSwapConfig
from inrcodec.codecs.bitswap.model import BitSwapModel
from inrcodec.codecs.bitswap.prior import BitSwapPrior
from inrcodec.codecs.coinpp.model import CoinPPConfig, ModulatedINR
from inrcodec.codecs.coinpp.prior import CoinPPPrior
from inrcodec.codecs.combiner.model import BayesianINR, CombinerConfig
from inrcodec.codecs.combiner.prior import CLASS_TABLE_TOTAL, CombinerPrior
from inrcodec.codecs.grids.config import GridsConfig
from inrcodec.codecs.grids.prior import GridProposal, GridsPrior
from inrcodec.codecs.hierarchical.config import HierarchicalConfig, LevelConfig
from inrcodec.codecs.hierarchical.model import HierarchicalINR
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
from inrcodec.settings import Settings
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.metadata import SignalMeta
from inrcodec.signals.signal import Signal

CORPUS = Path(__file__).resolve().parent / "corpus"
PRIORS, FILES = CORPUS / "priors", CORPUS / "files"


class WritablePrior(Protocol):
    """Describes a prior that can be written to a file."""

    @property
    def name(self) -> str:
        """Return the name of the prior."""

    def to_bytes(self) -> bytes:
        """Return the prior's file."""


def arbitrary(shape: tuple[int, ...], number: int, size: float) -> Tensor:
    """Return float32 values in [-size, size] that depend on ``number`` and are the same on every machine."""
    count = int(np.prod(shape))
    drawn = (np.arange(count, dtype=np.int64) * 2654435761 + 40503 * number >> 7) % 2001 - 1000
    return torch.from_numpy((drawn / 1000.0 * size).astype(np.float32)).reshape(shape)


def _filled(state: Mapping[str, Tensor], size: float) -> dict[str, Tensor]:
    """Return arbitrary values for all parameters of a model, smaller for matrices with more inputs."""
    return {
        name: arbitrary(tuple(value.shape), number, size / max(1, value[0].numel() if value.ndim > 1 else 1) ** 0.5)
        for number, (name, value) in enumerate(state.items())
    }


def combiner_prior(kind: str) -> CombinerPrior:
    """Make a combiner prior: two anchors, two classes, patches of 8x8 pixels or of 32 samples."""
    patch, channels = ((8, 8), 3) if kind == "image" else ((32,), 1)
    config = CombinerConfig(patch, channels, 10, 6, 2, latent_dims=12, proposal_hidden=0)
    shape = (2, 2, config.dims)
    units = (arbitrary(shape, 1, 2000.0).abs() + 300).numpy().astype(np.int64)
    counts = np.array([[CLASS_TABLE_TOTAL // 2] * 2] * 2, np.int64)
    prior = CombinerPrior(
        f"combiner-{kind}",
        kind,
        config,
        _filled(BayesianINR(config, 2).state_dict(), 1.0),
        torch.tensor([1e-2, 1e-3]),
        arbitrary(shape, 2, 1.0),
        arbitrary(shape, 3, 0.5) - 0.5,
        units,
        counts,
        0.5 if kind == "image" else 0.0,
        0.25,
    )
    return CombinerPrior.from_bytes(prior.to_bytes())


def hierarchical_prior(kind: str) -> HierarchicalPrior:
    """Make a hierarchical prior: two levels; audio has one axis, fields are periodic."""
    axes = 1 if kind == "audio" else 2
    config = HierarchicalConfig(
        channels=3 if kind == "image" else 1,
        axes=axes,
        feature_stride=2,
        feature_width=4,
        head_width=4,
        n_anchors=2,
        log_lambdas=(3.0, 8.0),
        levels=(LevelConfig(8, 4, (2,), 1, 0), LevelConfig(4, 4, (2, 2), 1, 0, phases=2)),
        periodic=kind == "field",
        centre=0.0 if kind == "audio" else 0.5,
    )
    model = HierarchicalINR(config).requires_grad_(False)
    state = model.state_dict()
    kept = {name: value for name, value in state.items() if name.startswith(("log_steps", "log_rates"))}
    model.load_state_dict({**_filled(state, 0.6), **kept})
    scale = torch.full(model.head.shape, -3.0)
    return HierarchicalPrior.from_model(model, f"hierarchical-{kind}", kind, scale, {})


def coinpp_prior(kind: str) -> CoinPPPrior:
    """Make a COIN++ prior: patches of 8x8 pixels or of 32 samples, eight latents."""
    patch, channels = ((8, 8), 3) if kind == "image" else ((32,), 1)
    config = CoinPPConfig(patch, channels, (24, 6), 8, 0.5 if kind == "image" else 0.0)
    model = ModulatedINR(config).requires_grad_(False)
    state = _filled(model.state_dict(), 0.7)
    state["row_sizes"] = torch.ones(config.latent_dims)
    state["log_rates"] = torch.full((config.latent_dims,), -1.0)
    model.load_state_dict(state)
    return CoinPPPrior.from_model(model, f"coinpp-{kind}", kind, torch.zeros(config.latent_dims), (0.1, 2.0), {})


def bitswap_prior(name: str, config: BitSwapConfig) -> BitSwapPrior:
    """Make a Bit-Swap prior of a configuration."""
    model = BitSwapModel(config).requires_grad_(False)
    for number, conv in enumerate(model.convs):
        layer = model.layer(conv)
        layer.weight.copy_(arbitrary(tuple(layer.weight.shape), number, 0.4 / layer.weight[0].numel() ** 0.5))
        assert layer.bias is not None
        layer.bias.zero_()
    model._begin()
    return BitSwapPrior.from_model(model, name, {})


def grids_prior() -> GridsPrior:
    """Make a grids prior: three grids, two anchors."""
    config = GridsConfig(3, context_width=4, synthesis_width=4, log_lambdas=(3.0, 8.0), anchors=2)
    mean = arbitrary((2, config.n_weights), 5, 0.5)
    proposal = GridProposal(config.grids, config.channels).state_dict()
    proposals = {name: arbitrary((2, *value.shape), n, 0.2) for n, (name, value) in enumerate(proposal.items())}
    steps = dict.fromkeys(config.shapes, 10)
    return GridsPrior.make(
        "grids", config, mean, torch.full_like(mean, 0.05), steps, (0.5, 2.0), (0.6, 2.1), proposals, {}
    )


LOSSLESS = {
    "lossless-colour": BitSwapConfig(
        3, splits=1, latents=(2, 2), strides=(1, 2), width=4, blocks=0, latent_width=4, latent_blocks=0, components=1
    ),
    "lossless-gray": BitSwapConfig(
        1, splits=2, latents=(2,), strides=(2,), width=4, blocks=1, latent_width=4, latent_blocks=0, components=2
    ),
    "lossless-flat": BitSwapConfig(
        1,
        splits=0,
        phases=False,
        latents=(2, 2),
        strides=(1, 1),
        width=4,
        blocks=0,
        latent_width=4,
        latent_blocks=0,
        components=1,
    ),
    "lossless-binary": BitSwapConfig(
        1,
        levels=2,
        splits=0,
        latents=(2,),
        strides=(2,),
        width=4,
        blocks=0,
        latent_width=4,
        latent_blocks=0,
        components=1,
    ),
}


def make_priors() -> dict[str, bytes]:
    """Return the files of all tiny priors by name."""
    makers: tuple[Callable[[str], WritablePrior], ...] = (combiner_prior, coinpp_prior)
    priors = [make(kind) for make in makers for kind in ("image", "audio")]
    priors += [hierarchical_prior(kind) for kind in ("image", "audio", "field")]
    priors.append(grids_prior())
    priors += [bitswap_prior(name, config) for name, config in LOSSLESS.items()]
    return {prior.name: prior.to_bytes() for prior in priors}


# Signals.

LAYOUTS = {1: "gray", 2: "gray+alpha", 3: "rgb", 4: "rgba"}


def image(rows: int, columns: int, channels: int, number: int = 0, top: int = 255) -> Signal:
    """Make an image: a gradient with some noise, and an alpha channel (if any) with sharp edges."""
    y, x, c = np.mgrid[0:rows, 0:columns, 0:channels]
    noise = arbitrary((rows, columns, channels), number, 0.2).numpy()
    ramp: NDArray[np.float64] = 0.2 + 0.4 * y / rows + 0.3 * x / columns + 0.1 * c + noise
    values = ramp.clip(0.0, 1.0)
    levels = np.rint(values * top)
    if channels in (2, 4):
        levels[..., -1] = top * (x[..., 0] > y[..., 0])
    deep = top == 65535
    header = SignalHeader("image", LAYOUTS[channels], "u16" if deep else "u8", (rows, columns), channels)
    return Signal((levels / np.float32(top)).astype(np.float32), header, SignalMeta(16 if deep else 8))


def audio(samples: int, channels: int = 1) -> Signal:
    """Make audio: two tones."""
    t = np.arange(samples)[:, None] / 40.0 + np.arange(channels)
    values = (0.4 * np.sin(t) + 0.2 * np.sin(3.1 * t)).astype(np.float32)
    layout = {1: "mono", 2: "stereo"}[channels]
    return Signal(values, SignalHeader("audio", layout, "pcm_16", (samples,), channels, 16000))


def field(*shape: int) -> Signal:
    """Make a smooth field with names, units and coordinates."""
    places = np.stack(np.meshgrid(*[np.arange(n) / n for n in shape], indexing="ij"))
    values = (0.5 + 0.4 * np.sin(2 * np.pi * places.sum(axis=0))).astype(np.float32)[..., None]
    dims = ("time", "latitude", "longitude")[-len(shape) :]
    along = {dim: np.arange(float(n)) ** (1 + (dim == "time")) for dim, n in zip(dims, shape, strict=True)}
    meta = SignalMeta(
        offset=250.0,
        scale=50.0,
        variable="t2m",
        dims=dims,
        coordinates=along,
        attributes={"units": b"K", "valid": np.array([1.0, 2.0], np.float32)},
        coordinate_attributes={dims[-1]: {"units": "degrees_east"}},
        fixed={"level": 500.0},
        source_format="netcdf",
    )
    closes = tuple(dim == "longitude" for dim in dims)
    return Signal(values, SignalHeader("field", "field", "float32", shape, 1, periodic=closes), meta)


def make_files() -> dict[str, bytes]:
    """Return golden files of every codec by name; the environment variable INRCODEC_PRIORS must name their priors."""
    small, odd, tiny = image(8, 8, 3), image(9, 5, 3, 1), image(4, 4, 1)
    rich = Signal(small.values, small.header, SignalMeta(icc_profile=b"profile", exif_orientation=6, dpi=(72.0, 300.0)))
    archive_names = [f"{i:02d}.png" for i in range(3)]
    digits = [image(4, 4, 1, n) for n in range(3)]
    binary = [Signal(np.rint(d.values), d.header) for d in digits]
    fast = Settings(effort="fast")
    fine = replace(fast, beta=1e-5)
    lossless = Settings(lossless=True)
    plans: dict[str, tuple[Signal | list[Signal], Settings]] = {
        "combiner-rgb.inr": (small, replace(fast, prior="combiner-image")),
        "combiner-rgba.inr": (image(6, 9, 4), replace(fast, prior="combiner-image")),
        "combiner-gray.inr": (image(3, 4, 1), replace(fast, prior="combiner-image")),
        "combiner-sound.inr": (audio(40), replace(fast, prior="combiner-audio")),
        "combiner.inrs": ([small, odd], replace(fast, prior="combiner-image")),
        "hierarchical-rgb.inr": (rich, replace(fine, prior="hierarchical-image")),
        "hierarchical-alpha.inr": (image(5, 7, 2), replace(fine, prior="hierarchical-image")),
        "hierarchical-astar.inr": (small, replace(fine, prior="hierarchical-image", coder="rec")),
        "hierarchical-sound.inr": (audio(30, 2), replace(fine, prior="hierarchical-audio")),
        "hierarchical-field.inr": (field(2, 6, 8), replace(fine, prior="hierarchical-field")),
        "hierarchical.inrs": ([small] * 3, replace(fine, prior="hierarchical-image")),
        "coinpp-rgb.inr": (odd, replace(fine, prior="coinpp-image")),
        "coinpp-sound.inr": (audio(50), replace(fine, prior="coinpp-audio")),
        "grids-rgb.inr": (small, replace(fast, prior="grids")),
        "grids-alpha.inr": (image(5, 7, 4), replace(fast, prior="grids")),
        "coin-rgb.inr": (small, replace(fast, codec="coin", target_bpp=16.0)),
        "coin-float16.inr": (tiny, replace(fast, codec="coin", coder="float16", target_bpp=60.0)),
        "coin-field.inr": (field(6, 6), replace(fast, codec="coin", target_bpp=70.0)),
        "bitswap-colour.inr": (image(4, 5, 3), replace(lossless, prior="lossless-colour")),
        "bitswap-gray.inr": (image(4, 5, 1), replace(lossless, prior="lossless-gray")),
        "bitswap-deep.inr": (image(2, 3, 1, 0, 65535), replace(lossless, prior="lossless-gray")),
        "bbans-colour.inr": (image(4, 3, 3, 2), replace(lossless, codec="bbans", prior="lossless-colour")),
        "bitswap-chain.inrs": (digits, replace(lossless, prior="lossless-flat")),
        "bitswap-binary.inrs": (binary, replace(lossless, prior="lossless-binary")),
    }
    names = {
        "combiner.inrs": ["a/one.png", "b.png"],
        "hierarchical.inrs": archive_names,
        "bitswap-chain.inrs": archive_names,
    }
    return {
        name: inrcodec.encode(source, settings, names=names.get(name)).data
        for name, (source, settings) in plans.items()
    }


def main() -> None:
    """Replace the corpus."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    shutil.rmtree(CORPUS, ignore_errors=True)
    PRIORS.mkdir(parents=True)
    FILES.mkdir()
    for name, data in make_priors().items():
        (PRIORS / f"{name}.safetensors").write_bytes(data)
    os.environ["INRCODEC_PRIORS"] = str(PRIORS)
    for name, data in make_files().items():
        (FILES / name).write_bytes(data)
    sizes = [path.stat().st_size for path in itertools.chain(PRIORS.iterdir(), FILES.iterdir())]
    sys.stderr.write(f"{len(sizes)} files, {sum(sizes)} bytes\n")


if __name__ == "__main__":
    main()
