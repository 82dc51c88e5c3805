"""COIN: one SIREN per signal, its weights quantised. Start reading at ``codec.py``."""

from __future__ import annotations

from inrcodec.codecs.base import Codec, Family, NoPrior


def _codec(prior: NoPrior, name: str) -> Codec:
    from inrcodec.codecs.coin.codec import CoinCodec

    return CoinCodec()


FAMILY = Family(names=("coin",), ids=(4,), codec=_codec, in_viewer=True)
