"""COIN++ and Functa: modulations of a meta-learned base network. Start reading at ``codec.py``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inrcodec.codecs.base import Codec, Family, prior_for_all, prior_kind

if TYPE_CHECKING:
    from inrcodec.codecs.coinpp.prior import CoinPPPrior
    from inrcodec.signals.signal import Signal
    from inrcodec.training.job import TrainingJob, TrainingOptions


def _codec(prior: CoinPPPrior, name: str) -> Codec:
    from inrcodec.codecs.coinpp.codec import CoinPPCodec

    return CoinPPCodec(prior)


def _load_prior(data: bytes, source: str) -> CoinPPPrior:
    from inrcodec.codecs.coinpp.prior import CoinPPPrior

    return CoinPPPrior.from_bytes(data, source)


def _default_prior(signals: Sequence[Signal]) -> str:
    return prior_for_all((_prior_for(signal) for signal in signals), signals, general=("coinpp-photographs",))


def _prior_for(signal: Signal) -> str:
    kinds = {"audio": "speech16k", "small image": "images32", "image": "photographs", "field": "fields"}
    return f"coinpp-{kinds[prior_kind(signal)]}"


def _describe_prior(prior: CoinPPPrior) -> dict[str, Any]:
    patch, dims = list(prior.config.patch_shape), prior.config.latent_dims
    about = f"{dims} modulations for patches of {'x'.join(map(str, patch))}"
    return {"patch": patch, "latent_dims": dims, "about": about}


def _training(options: TrainingOptions) -> TrainingJob:
    from inrcodec.codecs.coinpp.training import make_job

    return make_job(options)


def _measure_prior(prior: CoinPPPrior, recipe: str | None, folder: Path) -> Sequence[Any]:
    from inrcodec.codecs.coinpp.training import measure_prior

    return measure_prior(prior, recipe, folder)


FAMILY = Family(
    names=("coin++",),
    ids=(3,),
    codec=_codec,
    prior_format="inrcodec-modulation-1",
    load_prior=_load_prior,
    default_prior=_default_prior,
    describe_prior=_describe_prior,
    training=_training,
    measure_prior=_measure_prior,
    in_viewer=True,
)
