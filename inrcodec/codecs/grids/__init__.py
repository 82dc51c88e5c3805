"""Latent grids and small networks fitted to every image, similar to C3. Start reading at ``codec.py``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inrcodec.codecs.base import Codec, Family, prior_kind

if TYPE_CHECKING:
    from inrcodec.codecs.grids.prior import GridsPrior
    from inrcodec.signals.signal import Signal
    from inrcodec.training.job import TrainingJob, TrainingOptions


def _codec(prior: GridsPrior, name: str) -> Codec:
    from inrcodec.codecs.grids.codec import GridsCodec

    return GridsCodec(prior)


def _load_prior(data: bytes, source: str) -> GridsPrior:
    from inrcodec.codecs.grids.prior import GridsPrior

    return GridsPrior.from_bytes(data, source)


def _default_prior(signals: Sequence[Signal]) -> str:
    return "grids"


def _describe_prior(prior: GridsPrior) -> dict[str, Any]:
    betas = [round(math.exp(-value), 9) for value in prior.config.log_lambdas]
    return {"betas": betas, "about": f"{prior.config.grids} grids, {prior.config.n_weights} weights"}


def _training(options: TrainingOptions) -> TrainingJob:
    from inrcodec.codecs.grids.training import make_job

    return make_job(options)


def _measure_prior(prior: GridsPrior, recipe: str | None, folder: Path) -> Sequence[Any]:
    from inrcodec.codecs.grids.training import measure_prior

    return measure_prior(prior, recipe, folder)


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
    load_prior=_load_prior,
    default_prior=_default_prior,
    describe_prior=_describe_prior,
    training=_training,
    measure_prior=_measure_prior,
    is_second_candidate=_is_second_candidate,
)
