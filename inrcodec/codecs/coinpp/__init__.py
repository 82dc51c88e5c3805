"""COIN++ and Functa: modulations of a meta-learned base network. Start reading at ``codec.py``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from inrcodec.codecs.base import Codec, Family, deferred, prior_for_all, prior_kind

if TYPE_CHECKING:
    from inrcodec.codecs.coinpp.prior import CoinPPPrior
    from inrcodec.signals.signal import Signal


def _codec(prior: CoinPPPrior, name: str) -> Codec:
    from inrcodec.codecs.coinpp.codec import CoinPPCodec

    return CoinPPCodec(prior)


def _default_prior(signals: Sequence[Signal]) -> str:
    return prior_for_all((_prior_for(signal) for signal in signals), signals, general=("coinpp-photographs",))


def _prior_for(signal: Signal) -> str:
    kinds = {"audio": "speech16k", "small image": "images32", "image": "photographs", "field": "fields"}
    return f"coinpp-{kinds[prior_kind(signal)]}"


def _describe_prior(prior: CoinPPPrior) -> dict[str, Any]:
    patch, dims = list(prior.config.patch_shape), prior.config.latent_dims
    about = f"{dims} modulations for patches of {'x'.join(map(str, patch))}"
    return {"patch": patch, "latent_dims": dims, "about": about}


FAMILY = Family(
    names=("coin++",),
    ids=(3,),
    codec=_codec,
    prior_format="inrcodec-modulation-1",
    load_prior=deferred("inrcodec.codecs.coinpp.prior", "CoinPPPrior.from_bytes"),
    default_prior=_default_prior,
    describe_prior=_describe_prior,
    training=deferred("inrcodec.codecs.coinpp.job", "make_job"),
    measure_prior=deferred("inrcodec.codecs.coinpp.job", "measure_prior"),
    in_viewer=True,
)
