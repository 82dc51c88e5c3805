"""What a caller chooses for an encoding, and what comes out of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from inrcodec.codecs.base import EFFORTS, OBJECTIVES, PSNR
from inrcodec.codecs.registry import AUTO, family_named, lossless_codec
from inrcodec.errors import UsageError

CODER_ALIASES = {"dither": "round", "astar": "rec"}
"""Names of coders in the first release."""
TARGETS = ("beta", "target_bpp", "target_kbps", "target_psnr")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the caller chooses; at most one of ``beta`` and the targets.

    Attributes:
        codec: a codec's name, or "auto": the codec of ``prior``, and without one the default codec. At effort best
            "auto" also encodes photographs with codec grids and keeps the better file.
        lossless: keep images bit for bit: codec bitswap, or bbans where ``codec`` names it.
        prior: name, id or path of a prior; None for the shipped one for the kind of signal.
        effort: "fast", "default" or "best".
        beta: weight of a bit: squared error of values per bit per point (images in [0, 1], audio in [-1, 1]).
        target_bpp: file bits per grid point.
        target_kbps: file kilobits (1000 bits) per second of audio.
        target_psnr: quality in dB.
        coder: how latents are sent: "round" (quantisation, the default of the hierarchical codec) or "rec" (relative
            entropy coding); weights of coin: "round" or "float16". "dither" and "astar" are accepted as aliases.
        optimise: "psnr" or "ms-ssim": what the hierarchical codec maximises at the rate.

    Raises:
        UsageError: a value is unknown or out of range, or more than one target is given.
    """

    codec: str = AUTO
    lossless: bool = False
    prior: str | None = None
    effort: str = "default"
    beta: float | None = None
    target_bpp: float | None = None
    target_kbps: float | None = None
    target_psnr: float | None = None
    coder: str | None = None
    optimise: str = PSNR

    def __post_init__(self) -> None:
        if self.coder in CODER_ALIASES:
            object.__setattr__(self, "coder", CODER_ALIASES[self.coder])
        if self.lossless:
            object.__setattr__(self, "codec", lossless_codec(self.codec))
        family_named(self.codec)
        if self.effort not in EFFORTS:
            raise UsageError(f"effort must be one of {', '.join(EFFORTS)}, got {self.effort!r}")
        if self.optimise not in OBJECTIVES:
            raise UsageError(f"optimise must be one of {', '.join(OBJECTIVES)}, got {self.optimise!r}")
        given = {name: value for name in TARGETS if (value := getattr(self, name)) is not None}
        if len(given) > 1:
            raise UsageError(f"give only one of {', '.join(name.replace('_', '-') for name in given)}")
        for name, value in given.items():
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"{name.replace('_', '-')} must be a positive number, got {value}")

    @property
    def has_target(self) -> bool:
        """Return whether a rate or a quality is asked for."""
        return any(getattr(self, name) is not None for name in TARGETS)


@dataclass(frozen=True)
class Encoded:
    """A file in memory.

    Attributes:
        data: the bytes of the ``.inr`` or ``.inrs`` file.
        codec: name of the codec that made it.
        prior: name of the prior that decoders need, "none" where they need none.
        prior_id: id of the prior, 8 bytes.
        payload_bytes: bytes that the codec wrote: parameters and bodies, without headers, metadata and alpha.
        lossless: whether every value comes back exactly.
        psnr: mean PSNR of the decoded signals in dB where the encoder measured it, else None.
    """

    data: bytes
    codec: str
    prior: str
    prior_id: bytes
    payload_bytes: int
    lossless: bool
    psnr: float | None = None
