"""The codecs of this package, and look-up by name, id, prior or signal.

To add a codec, write its folder (see ``base.py``) and add its family to ``FAMILIES``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from inrcodec.codecs import bitswap, coin, coinpp, combiner, grids, hierarchical
from inrcodec.codecs.base import Codec, Family, Prior
from inrcodec.errors import FormatError, UsageError
from inrcodec.signals.signal import Signal

FAMILIES: tuple[Family, ...] = (
    hierarchical.FAMILY,
    grids.FAMILY,
    combiner.FAMILY,
    coinpp.FAMILY,
    coin.FAMILY,
    bitswap.FAMILY,
)
"""All codecs; the first is the default."""

AUTO = "auto"
"""Instead of a codec's name: the codec of the prior, of which the default is the default codec's."""

Part = TypeVar("Part")


def codec_names() -> tuple[str, ...]:
    """Return the names of all codecs."""
    return tuple(name for family in FAMILIES for name in family.names)


def codec_ids() -> dict[str, int]:
    """Return the numbers of all codecs in files, by name."""
    return {name: number for family in FAMILIES for name, number in zip(family.names, family.ids, strict=True)}


def family_named(name: str) -> Family:
    """Return the family of a codec name, the default one for ``AUTO``.

    Raises:
        UsageError: no codec has this name.
    """
    if name == AUTO:
        return FAMILIES[0]
    for family in FAMILIES:
        if name in family.names:
            return family
    raise UsageError(f"codec must be one of {', '.join(codec_names())}, got {name!r}")


def codec_id(name: str) -> int:
    """Return the number of a codec in files; UsageError when no codec has this name."""
    family = family_named(name)
    return family.ids[family.names.index(name)]


def second_candidate_of(signal: Signal) -> Family | None:
    """Return the codec that effort best compares with the default one for a signal, None for no other."""
    for family in FAMILIES[1:]:
        if family.is_second_candidate is not None and family.is_second_candidate(signal):
            return family
    return None


def family_of_id(number: int) -> Family:
    """Return the family of a codec number in files; FormatError when this version has none."""
    for family in FAMILIES:
        if number in family.ids:
            return family
    raise FormatError(f"the file was made by codec {number}, which this version does not have")


def codec_name(number: int) -> str:
    """Return the name of the codec of a number in files; FormatError when this version has none."""
    family = family_of_id(number)
    return family.names[family.ids.index(number)]


def family_of_format(prior_format: str, source: str) -> Family:
    """Return the family that a prior file's format belongs to; FormatError names ``source`` when there is none."""
    for family in FAMILIES:
        if family.prior_format is not None and family.prior_format == prior_format:
            return family
    raise FormatError(f"{source}: prior format {prior_format!r} is unknown to this version")


def family_of_prior(prior: Prior) -> Family:
    """Return the family that a loaded prior belongs to."""
    return family_of_format(prior.format, prior.name)


def codec_for(prior: Prior, name: str = AUTO) -> Codec:
    """Return the codec of a prior; of families with several names, the one called ``name``."""
    family = family_of_prior(prior)
    return family.codec(prior, name if name in family.names else family.names[0])


def default_prior(signals: Sequence[Signal], codec: str = AUTO) -> str:
    """Return the name of the shipped prior for signals that go into one file.

    Raises:
        UsageError: the codec has no priors, or no single prior serves all signals.
    """
    family = family_named(codec)
    return provided(family, family.default_prior, "no learned priors")(signals)


def provided(family: Family, function: Callable[..., Part] | None, lack: str) -> Callable[..., Part]:
    """Return a function of a family; UsageError says what the codec has not where there is none."""
    if function is None:
        raise UsageError(f"codec {family.names[0]} has {lack}")
    return function


def lossless_codec(name: str) -> str:
    """Return the codec for a caller who asks for lossless coding: ``name``, or the default one for ``AUTO``.

    Raises:
        UsageError: ``name`` is a lossy codec.
    """
    names = [each for family in FAMILIES if family.lossless for each in family.names]
    if name not in (AUTO, *names):
        raise UsageError(f"codec {name} is not lossless: use {' or '.join(names)}")
    return names[0] if name == AUTO else name
