"""Which codec and which prior serve a signal."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from inrcodec.codecs.coin import CoinCodec, CoinEncoding
from inrcodec.codecs.combiner import CombinerCodec, CombinerEncoding
from inrcodec.codecs.hierarchical import HierarchicalCodec, HierarchicalEncoding
from inrcodec.codecs.lossless import LosslessCodec, LosslessEncoding
from inrcodec.codecs.modulation import ModulationCodec, ModulationEncoding
from inrcodec.codecs.registry import AUTO
from inrcodec.ground.errors import UsageError
from inrcodec.ground.signal import Signal
from inrcodec.methods.bitsback import SCHEMES
from inrcodec.models.bitsback_prior import BitsBackPrior
from inrcodec.models.grid_prior import GridsPrior
from inrcodec.models.hierarchy_prior import HierarchyPrior
from inrcodec.models.modulation_prior import ModulationPrior
from inrcodec.models.prior_store import AnyPrior

if TYPE_CHECKING:
    from inrcodec.codecs.grids import GridsCodec, GridsEncoding

SMALL_IMAGE_POINTS = 48 * 48


def lossless_codec(name: str) -> str:
    """The codec for a caller who wants no loss: bitswap unless ``name`` is bbans; UsageError for one with loss."""
    if name not in (AUTO, *SCHEMES):
        raise UsageError(f"codec {name} is not lossless: use {' or '.join(SCHEMES)}")
    return SCHEMES[0] if name == AUTO else name


AnyCodec: TypeAlias = "CombinerCodec | HierarchicalCodec | GridsCodec | ModulationCodec | CoinCodec | LosslessCodec"
AnyEncoding: TypeAlias = (
    "CombinerEncoding | HierarchicalEncoding | GridsEncoding | ModulationEncoding | CoinEncoding | LosslessEncoding"
)


def codec_of(prior: AnyPrior, name: str = AUTO) -> AnyCodec:
    """The codec that a prior belongs to; of the two that lossless models serve, the one of that name."""
    if isinstance(prior, BitsBackPrior):
        return LosslessCodec(prior, name if name in SCHEMES else SCHEMES[0])
    if isinstance(prior, GridsPrior):
        # It brings a compiler with it.
        from inrcodec.codecs.grids import GridsCodec

        return GridsCodec(prior)
    if isinstance(prior, HierarchyPrior):
        return HierarchicalCodec(prior)
    return ModulationCodec(prior) if isinstance(prior, ModulationPrior) else CombinerCodec(prior)


def default_prior(signal: Signal, codec: str = AUTO) -> str:
    """Name of the shipped prior for a signal, that of the hierarchical codec unless ``codec`` is another."""
    header = signal.header
    if codec in SCHEMES:
        colours = signal.colour_values
        return "bitswap-gray" if (colours == colours[..., :1]).all() else "bitswap-colour"
    if header.kind == "audio" or (header.kind == "field" and len(header.shape) == 1):
        wanted = "speech16k"
    elif header.kind == "field":
        wanted = "globe" if covers_globe(signal) else "fields"
    else:
        wanted = "images32" if header.n_points <= SMALL_IMAGE_POINTS else "photographs"
    if codec == "combiner":
        return f"combiner-{'photographs' if wanted in ('globe', 'fields') else wanted}"
    if codec == "grids":
        return "grids"
    if codec == "coin++":
        return f"coinpp-{'fields' if wanted == 'globe' else wanted}"
    return wanted


def covers_globe(signal: Signal) -> bool:
    """Whether the last axes of a field are latitudes and longitudes of the whole globe, by their coordinates."""
    meta = signal.meta
    if len(meta.dims) < 2 or not set(meta.dims[-2:]) <= set(meta.coordinates):
        return False
    latitude, longitude = (np.asarray(meta.coordinates[name]) for name in meta.dims[-2:])
    if latitude.dtype.kind not in "iuf" or longitude.dtype.kind not in "iuf" or min(latitude.size, longitude.size) < 4:
        return False
    steps = np.diff(longitude.astype(np.float64))
    around = bool(np.allclose(steps, steps[0], rtol=0.01)) and abs(abs(steps[0]) * longitude.size - 360.0) < 1.0
    return around and 150.0 <= float(np.ptp(latitude)) <= 180.0 and float(np.abs(latitude).max()) <= 90.0
