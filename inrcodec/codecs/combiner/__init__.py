"""COMBINER and RECOMBINER: Bayesian SIRENs sent by relative entropy coding. Start reading at ``codec.py``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from inrcodec.codecs.base import Codec, Family, deferred, prior_for_all, prior_kind

if TYPE_CHECKING:
    from inrcodec.codecs.combiner.prior import CombinerPrior
    from inrcodec.signals.signal import Signal


def _codec(prior: CombinerPrior, name: str) -> Codec:
    from inrcodec.codecs.combiner.codec import CombinerCodec

    return CombinerCodec(prior)


def _default_prior(signals: Sequence[Signal]) -> str:
    return prior_for_all((_prior_for(signal) for signal in signals), signals, general=("combiner-photographs",))


def _prior_for(signal: Signal) -> str:
    kinds = {"audio": "speech16k", "small image": "images32", "image": "photographs", "field": "photographs"}
    return f"combiner-{kinds[prior_kind(signal)]}"


def _describe_prior(prior: CombinerPrior) -> dict[str, Any]:
    patch = list(prior.config.patch_shape)
    bits = [round(float(value) / prior.config.n_points, 3) for value in prior.anchor_kl_bits]
    about = f"patches of {'x'.join(map(str, patch))}, up to {bits[-1]} bits/point"
    return {"patch": patch, "bits_per_point": bits, "about": about}


FAMILY = Family(
    names=("combiner",),
    ids=(1,),
    codec=_codec,
    prior_format="inrcodec-prior-1",
    load_prior=deferred("inrcodec.codecs.combiner.prior", "CombinerPrior.from_bytes"),
    default_prior=_default_prior,
    describe_prior=_describe_prior,
    training=deferred("inrcodec.codecs.combiner.job", "make_job"),
    measure_prior=deferred("inrcodec.codecs.combiner.job", "measure_prior"),
    in_viewer=True,
)
