"""Codec ids, which are promises: a number once given is never given to another codec."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from inrcodec.codecs.bitswap.bits_back import SCHEMES
from inrcodec.codecs.bitswap.codec import BitSwapCodec, BitSwapEncoding
from inrcodec.codecs.bitswap.prior import BitSwapPrior
from inrcodec.codecs.coin.codec import CoinCodec, CoinEncoding
from inrcodec.codecs.coinpp.codec import CoinPPCodec, CoinPPEncoding
from inrcodec.codecs.coinpp.prior import CoinPPPrior
from inrcodec.codecs.combiner.codec import CombinerCodec, CombinerEncoding
from inrcodec.codecs.grids.prior import GridsPrior
from inrcodec.codecs.hierarchical.codec import HierarchicalCodec, HierarchicalEncoding
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
from inrcodec.codecs.prior_store import AnyPrior
from inrcodec.errors import FormatError, UsageError
from inrcodec.signals.signal import Signal

if TYPE_CHECKING:
    from inrcodec.codecs.grids.codec import GridsCodec, GridsEncoding

CODEC_IDS = {"combiner": 1, "hierarchical": 2, "coin++": 3, "coin": 4, "bitswap": 5, "bbans": 6, "grids": 7}

AUTO = "auto"
"""The codec that the prior belongs to."""


def codec_id(name: str) -> int:
    """Id of a codec; UsageError when there is none of that name."""
    if name not in CODEC_IDS:
        raise UsageError(f"codec must be one of {', '.join(CODEC_IDS)}, got {name!r}")
    return CODEC_IDS[name]


def codec_name(identity: int) -> str:
    """Name of the codec with an id; FormatError when this version knows none."""
    for name, number in CODEC_IDS.items():
        if number == identity:
            return name
    raise FormatError(f"the file was made by codec {identity}, which this version does not have")


SMALL_IMAGE_POINTS = 48 * 48


def lossless_codec(name: str) -> str:
    """The codec for a caller who wants no loss: bitswap unless ``name`` is bbans; UsageError for one with loss."""
    if name not in (AUTO, *SCHEMES):
        raise UsageError(f"codec {name} is not lossless: use {' or '.join(SCHEMES)}")
    return SCHEMES[0] if name == AUTO else name


AnyCodec: TypeAlias = "CombinerCodec | HierarchicalCodec | GridsCodec | CoinPPCodec | CoinCodec | BitSwapCodec"
AnyEncoding: TypeAlias = (
    "CombinerEncoding | HierarchicalEncoding | GridsEncoding | CoinPPEncoding | CoinEncoding | BitSwapEncoding"
)


def codec_for(prior: AnyPrior, name: str = AUTO) -> AnyCodec:
    """The codec that a prior belongs to; of the two that lossless models serve, the one of that name."""
    if isinstance(prior, BitSwapPrior):
        return BitSwapCodec(prior, name if name in SCHEMES else SCHEMES[0])
    if isinstance(prior, GridsPrior):
        # It brings a compiler with it.
        from inrcodec.codecs.grids.codec import GridsCodec

        return GridsCodec(prior)
    if isinstance(prior, HierarchicalPrior):
        return HierarchicalCodec(prior)
    return CoinPPCodec(prior) if isinstance(prior, CoinPPPrior) else CombinerCodec(prior)


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
