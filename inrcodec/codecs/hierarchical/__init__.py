"""The default codec: hierarchical latents with a learned encoder. Start reading at ``codec.py``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from inrcodec.codecs.base import Codec, CodedEntry, Family, Prior, covers_globe, deferred, prior_for_all, prior_kind

if TYPE_CHECKING:
    from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
    from inrcodec.signals.signal import Signal


MAX_POINTS_OF_TWO_PRIORS = 64 * 64
"""Images of at most this many points are encoded with the prior for small images and with that for photographs."""


def _codec(prior: HierarchicalPrior, name: str) -> Codec:
    from inrcodec.codecs.hierarchical.codec import HierarchicalCodec

    return HierarchicalCodec(prior)


def _default_prior(signals: Sequence[Signal]) -> str:
    return prior_for_all((_prior_for(signal) for signal in signals), signals, general=("photographs", "fields"))


def _prior_for(signal: Signal) -> str:
    kind = prior_kind(signal)
    if kind == "field":
        return "globe" if covers_globe(signal) else "fields"
    return {"audio": "speech16k", "small image": "images32", "image": "photographs"}[kind]


def _next_prior(prior: Prior) -> str | None:
    return {"photographs": "photographs-high"}.get(prior.name)


def _other_priors(signal: Signal) -> list[str]:
    """Return the second prior for images of up to 64x64 points.

    A thumbnail of 32x32 takes 20 % fewer bits with ``images32``, a piece of a photograph of the same size up to half as
    many with ``photographs``.
    """
    if signal.header.kind != "image" or signal.header.n_points > MAX_POINTS_OF_TWO_PRIORS:
        return []
    return [name for name in ("images32", "photographs") if name != _prior_for(signal)]


def _describe_prior(prior: HierarchicalPrior) -> dict[str, Any]:
    strides = [level.stride for level in prior.config.levels]
    betas = [round(math.exp(-value), 9) for value in prior.config.log_lambdas]
    return {"strides": strides, "betas": betas, "about": f"latents at strides {', '.join(map(str, strides))}"}


def _inspect(codec: Codec, entry: CodedEntry) -> Any:
    from inrcodec.codecs.hierarchical.codec import HierarchicalCodec
    from inrcodec.codecs.hierarchical.inspection import inspect

    assert isinstance(codec, HierarchicalCodec)
    return inspect(codec, entry)


FAMILY = Family(
    names=("hierarchical",),
    ids=(2,),
    codec=_codec,
    prior_format="inrcodec-hierarchy-1",
    load_prior=deferred("inrcodec.codecs.hierarchical.prior", "HierarchicalPrior.from_bytes"),
    default_prior=_default_prior,
    next_prior=_next_prior,
    other_priors=_other_priors,
    describe_prior=_describe_prior,
    training=deferred("inrcodec.codecs.hierarchical.job", "make_job"),
    measure_prior=deferred("inrcodec.codecs.hierarchical.job", "measure_prior"),
    inspect=_inspect,
    in_viewer=True,
)
