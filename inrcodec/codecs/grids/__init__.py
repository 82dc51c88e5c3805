"""Latent grids and small networks fitted to every image, similar to C3. Start reading at ``codec.py``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from inrcodec.codecs.base import Codec, Family, deferred, prior_kind

if TYPE_CHECKING:
    from inrcodec.codecs.grids.prior import GridsPrior
    from inrcodec.signals.signal import Signal


def _codec(prior: GridsPrior, name: str) -> Codec:
    from inrcodec.codecs.grids.codec import GridsCodec

    return GridsCodec(prior)


def _default_prior(signals: Sequence[Signal]) -> str:
    return "grids"


def _describe_prior(prior: GridsPrior) -> dict[str, Any]:
    betas = [round(math.exp(-value), 9) for value in prior.config.log_lambdas]
    return {"betas": betas, "about": f"{prior.config.grids} grids, {prior.config.n_weights} weights"}


MAX_FITTED_POINTS = 1 << 20
"""Larger images are not encoded as a second candidate, because a million points take a quarter of an hour."""


def _is_second_candidate(signal: Signal) -> bool:
    colour = signal.header.kind == "image" and signal.colour_values.shape[-1] == 3
    return colour and prior_kind(signal) == "image" and signal.header.n_points <= MAX_FITTED_POINTS


FAMILY = Family(
    names=("grids",),
    ids=(7,),
    codec=_codec,
    prior_format="inrcodec-grids-1",
    load_prior=deferred("inrcodec.codecs.grids.prior", "GridsPrior.from_bytes"),
    default_prior=_default_prior,
    describe_prior=_describe_prior,
    training=deferred("inrcodec.codecs.grids.job", "make_job"),
    measure_prior=deferred("inrcodec.codecs.grids.job", "measure_prior"),
    is_second_candidate=_is_second_candidate,
)
