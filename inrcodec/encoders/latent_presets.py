"""Effort levels of the hierarchical codec."""

from __future__ import annotations

from inrcodec.encoders.latent_encoder import LatentEffort
from inrcodec.ground.errors import UsageError

LATENT_EFFORTS = {
    effort.name: effort
    for effort in (
        LatentEffort("fast", 0),
        LatentEffort("default", 12, small_steps=48, adapting_steps=110),
        LatentEffort("best", 120, 100, small_steps=300, adapting_steps=400),
    )
}  # fmt: skip


def latent_effort_named(name: str) -> LatentEffort:
    """The preset of this name; UsageError when there is none."""
    try:
        return LATENT_EFFORTS[name]
    except KeyError:
        raise UsageError(f"effort must be one of {', '.join(LATENT_EFFORTS)}, got {name!r}") from None
