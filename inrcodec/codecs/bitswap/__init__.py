"""Bit-Swap and BB-ANS: lossless images by bits-back coding. Start reading at ``codec.py``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from inrcodec.codecs.base import Codec, Family, deferred

if TYPE_CHECKING:
    from inrcodec.codecs.bitswap.prior import BitSwapPrior
    from inrcodec.signals.signal import Signal


def _codec(prior: BitSwapPrior, name: str) -> Codec:
    from inrcodec.codecs.bitswap.codec import BitSwapCodec

    return BitSwapCodec(prior, name)


def _default_prior(signals: Sequence[Signal]) -> str:
    """Return the prior for gray images if every image is gray or one has a single channel, else that for colour images.

    A gray prior can encode a colour image plane by plane; a colour prior cannot encode an image with one channel.
    """
    values = [signal.colour_values for signal in signals]
    gray = all((colours == colours[..., :1]).all() for colours in values)
    return "bitswap-gray" if gray or any(colours.shape[-1] == 1 for colours in values) else "bitswap-colour"


def _describe_prior(prior: BitSwapPrior) -> dict[str, Any]:
    latents = list(prior.config.latents)
    colour = "colour" if prior.channels == 3 else "gray"
    about = f"{colour}, {len(latents)} layers of latents, {prior.config.splits} finer scales"
    return {"latents": latents, "levels": prior.config.levels, "about": about}


FAMILY = Family(
    names=("bitswap", "bbans"),
    ids=(5, 6),
    codec=_codec,
    lossless=True,
    prior_format="inrcodec-bitsback-1",
    load_prior=deferred("inrcodec.codecs.bitswap.prior", "BitSwapPrior.from_bytes"),
    default_prior=_default_prior,
    describe_prior=_describe_prior,
    training=deferred("inrcodec.codecs.bitswap.job", "make_job"),
    measure_prior=deferred("inrcodec.codecs.bitswap.job", "measure_prior"),
)
