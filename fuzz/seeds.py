"""Files for the fuzz targets to begin with: tiny priors of made-up weights, and small signals coded under them.

    python fuzz/seeds.py        # writes fuzz/corpus: priors/*.safetensors, files/*.inr and *.inrs

What the models say is poor, how files are written and read is the real thing. The weights come from a formula, so that
the same files are made wherever integers are multiplied.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
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
from inrcodec.signals.header import SignalHeader
from inrcodec.signals.metadata import SignalMeta
from inrcodec.signals.signal import Signal

CORPUS = Path(__file__).resolve().parent / "corpus"
PRIORS, FILES = CORPUS / "priors", CORPUS / "files"


def made_up(shape: tuple[int, ...], number: int, size: float) -> Tensor:
    """Values in [-size, size], float32, the same on every machine."""
    count = int(np.prod(shape))
    drawn = (np.arange(count, dtype=np.int64) * 2654435761 + 40503 * number >> 7) % 2001 - 1000
    return torch.from_numpy((drawn / 1000.0 * size).astype(np.float32)).reshape(shape)


def _filled(state: Mapping[str, Tensor], size: float) -> dict[str, Tensor]:
    """Made-up values for all parameters of a model, matrices smaller the more inputs they have."""
    return {
        name: made_up(tuple(value.shape), number, size / max(1, value[0].numel() if value.ndim > 1 else 1) ** 0.5)
        for number, (name, value) in enumerate(state.items())
    }


def combiner_prior(kind: str) -> CombinerPrior:
    """Two anchors, two classes; patches of 8x8 pixels or of 32 samples."""
    patch, channels = ((8, 8), 3) if kind == "image" else ((32,), 1)
    config = CombinerConfig(patch, channels, 10, 6, 2, latent_dims=12, proposal_hidden=0)
    shape = (2, 2, config.dims)
    units = (made_up(shape, 1, 2000.0).abs() + 300).numpy().astype(np.int64)
    counts = np.array([[CLASS_TABLE_TOTAL // 2] * 2] * 2, np.int64)
    prior = CombinerPrior(
        f"combiner-{kind}",
        kind,
        config,
        _filled(BayesianINR(config, 2).state_dict(), 1.0),
        torch.tensor([1e-2, 1e-3]),
        made_up(shape, 2, 1.0),
        made_up(shape, 3, 0.5) - 0.5,
        units,
        counts,
        0.5 if kind == "image" else 0.0,
        0.25,
    )
    return CombinerPrior.from_bytes(prior.to_bytes())


def hierarchy_prior(kind: str) -> HierarchicalPrior:
    """Two levels; sounds have one axis, fields lie on a circle."""
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


def modulation_prior(kind: str) -> CoinPPPrior:
    """Patches of 8x8 pixels or of 32 samples; eight latents."""
    patch, channels = ((8, 8), 3) if kind == "image" else ((32,), 1)
    config = CoinPPConfig(patch, channels, (24, 6), 8, 0.5 if kind == "image" else 0.0)
    model = ModulatedINR(config).requires_grad_(False)
    state = _filled(model.state_dict(), 0.7)
    state["row_sizes"] = torch.ones(config.latent_dims)
    state["log_rates"] = torch.full((config.latent_dims,), -1.0)
    model.load_state_dict(state)
    return CoinPPPrior.from_model(model, f"coinpp-{kind}", kind, torch.zeros(config.latent_dims), (0.1, 2.0), {})


def lossless_prior(name: str, config: BitSwapConfig) -> BitSwapPrior:
    """A lossless model."""
    model = BitSwapModel(config).requires_grad_(False)
    for number, conv in enumerate(model.convs):
        layer = model.layer(conv)
        layer.weight.copy_(made_up(tuple(layer.weight.shape), number, 0.4 / layer.weight[0].numel() ** 0.5))
        assert layer.bias is not None
        layer.bias.zero_()
    model._begin()
    return BitSwapPrior.from_model(model, name, {})


def grids_prior() -> GridsPrior:
    """Three grids, two anchors."""
    config = GridsConfig(3, context_width=4, synthesis_width=4, log_lambdas=(3.0, 8.0), anchors=2)
    mean = made_up((2, config.n_weights), 5, 0.5)
    proposal = GridProposal(config.grids, config.channels).state_dict()
    proposals = {name: made_up((2, *value.shape), n, 0.2) for n, (name, value) in enumerate(proposal.items())}
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
    """Files of all tiny priors by name."""
    made = [make(kind) for make in (combiner_prior, modulation_prior) for kind in ("image", "audio")]
    made += [hierarchy_prior(kind) for kind in ("image", "audio", "field")]
    made.append(grids_prior())
    made += [lossless_prior(name, config) for name, config in LOSSLESS.items()]
    return {prior.name: prior.to_bytes() for prior in made}


# Signals.

LAYOUTS = {1: "gray", 2: "gray+alpha", 3: "rgb", 4: "rgba"}


def picture(rows: int, columns: int, channels: int, number: int = 0, top: int = 255) -> Signal:
    """A slope with some noise on it, and sharp steps where there is alpha."""
    y, x, c = np.mgrid[0:rows, 0:columns, 0:channels]
    noise = made_up((rows, columns, channels), number, 0.2).numpy()
    values = np.clip(0.2 + 0.4 * y / rows + 0.3 * x / columns + 0.1 * c + noise, 0.0, 1.0)
    levels = np.rint(values * top)
    if channels in (2, 4):
        levels[..., -1] = top * (x[..., 0] > y[..., 0])
    deep = top == 65535
    header = SignalHeader("image", LAYOUTS[channels], "u16" if deep else "u8", (rows, columns), channels)
    return Signal((levels / np.float32(top)).astype(np.float32), header, SignalMeta(16 if deep else 8))


def sound(samples: int, channels: int = 1) -> Signal:
    """Two tones."""
    t = np.arange(samples)[:, None] / 40.0 + np.arange(channels)
    values = (0.4 * np.sin(t) + 0.2 * np.sin(3.1 * t)).astype(np.float32)
    layout = {1: "mono", 2: "stereo"}[channels]
    return Signal(values, SignalHeader("audio", layout, "pcm_16", (samples,), channels, 16000))


def field(*shape: int) -> Signal:
    """A smooth field with names, units and coordinates."""
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
        attributes={"units": b"K", "valid": np.float32([1.0, 2.0])},
        coordinate_attributes={dims[-1]: {"units": "degrees_east"}},
        fixed={"level": 500.0},
        source_format="netcdf",
    )
    closes = tuple(dim == "longitude" for dim in dims)
    return Signal(values, SignalHeader("field", "field", "float32", shape, 1, periodic=closes), meta)


def make_files() -> dict[str, bytes]:
    """Golden files by name, some of every codec; the priors must be where ``INRCODEC_PRIORS`` says."""
    small, odd, tiny = picture(8, 8, 3), picture(9, 5, 3, 1), picture(4, 4, 1)
    rich = Signal(small.values, small.header, SignalMeta(icc_profile=b"profile", exif_orientation=6, dpi=(72.0, 300.0)))
    fast, fine = {"effort": "fast"}, {"effort": "fast", "beta": 1e-5}
    named = [f"{i:02d}.png" for i in range(3)]
    digits = [picture(4, 4, 1, n) for n in range(3)]
    binary = [Signal(np.rint(d.values), d.header) for d in digits]
    plans: dict[str, dict[str, object]] = {
        "combiner-rgb.inr": {"source": small, "prior": "combiner-image", **fast},
        "combiner-rgba.inr": {"source": picture(6, 9, 4), "prior": "combiner-image", **fast},
        "combiner-gray.inr": {"source": picture(3, 4, 1), "prior": "combiner-image", **fast},
        "combiner-sound.inr": {"source": sound(40), "prior": "combiner-audio", **fast},
        "combiner.inrs": {"source": [small, odd], "names": ["a/one.png", "b.png"], "prior": "combiner-image", **fast},
        "hierarchical-rgb.inr": {"source": rich, "prior": "hierarchical-image", **fine},
        "hierarchical-alpha.inr": {"source": picture(5, 7, 2), "prior": "hierarchical-image", **fine},
        "hierarchical-astar.inr": {"source": small, "prior": "hierarchical-image", "coder": "rec", **fine},
        "hierarchical-sound.inr": {"source": sound(30, 2), "prior": "hierarchical-audio", **fine},
        "hierarchical-field.inr": {"source": field(2, 6, 8), "prior": "hierarchical-field", **fine},
        "hierarchical.inrs": {"source": [small] * 3, "names": named, "prior": "hierarchical-image", **fine},
        "coinpp-rgb.inr": {"source": odd, "prior": "coinpp-image", **fine},
        "coinpp-sound.inr": {"source": sound(50), "prior": "coinpp-audio", **fine},
        "grids-rgb.inr": {"source": small, "prior": "grids", **fast},
        "grids-alpha.inr": {"source": picture(5, 7, 4), "prior": "grids", **fast},
        "coin-rgb.inr": {"source": small, "codec": "coin", "target_bpp": 16.0, **fast},
        "coin-float16.inr": {"source": tiny, "codec": "coin", "coder": "float16", "target_bpp": 60.0, **fast},
        "coin-field.inr": {"source": field(6, 6), "codec": "coin", "target_bpp": 70.0, **fast},
        "bitswap-colour.inr": {"source": picture(4, 5, 3), "codec": "bitswap", "prior": "lossless-colour"},
        "bitswap-gray.inr": {"source": picture(4, 5, 1), "codec": "bitswap", "prior": "lossless-gray"},
        "bitswap-deep.inr": {"source": picture(2, 3, 1, 0, 65535), "codec": "bitswap", "prior": "lossless-gray"},
        "bbans-colour.inr": {"source": picture(4, 3, 3, 2), "codec": "bbans", "prior": "lossless-colour"},
        "bitswap-chain.inrs": {"source": digits, "names": named, "codec": "bitswap", "prior": "lossless-flat"},
        "bitswap-binary.inrs": {"source": binary, "codec": "bitswap", "prior": "lossless-binary"},
    }
    return {name: inrcodec.compress(**plan) for name, plan in plans.items()}  # type: ignore[arg-type]


def main() -> None:
    """Write the corpus anew."""
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
