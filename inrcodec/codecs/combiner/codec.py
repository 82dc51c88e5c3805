"""The COMBINER codec: a signal is cut into patches, each a Bayesian SIREN that is sent block by block.

    values -> planes -> patches -> posteriors -> blocks -> indices -> body          (encoding.py, progressive.py)
    body -> indices -> latents -> weights -> values on any grid -> planes -> values  (decode, below; bitstream.py)

Audio is divided by a gain of 2^(level / 4) before the model sees it, so that its root mean square is in the range that
the prior was trained on (``codecs/loudness.py``).

Sources: COMBINER (arXiv 2305.19185), RECOMBINER (arXiv 2309.17182).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from inrcodec.codecs.base import (
    Codec,
    CodedEntry,
    DecodeRequest,
    EncodeOptions,
    FloatArray,
    Source,
    check_options,
    check_parameters_end,
)
from inrcodec.codecs.combiner.bitstream import decode_latents, max_parameter_bytes, read_body, read_parameters
from inrcodec.codecs.combiner.effort import COMBINER_EFFORTS
from inrcodec.codecs.combiner.prior import CombinerPrior
from inrcodec.codecs.patches import PatchLayout, check_patch_work, render
from inrcodec.codecs.planes import PlaneMap

if TYPE_CHECKING:
    from inrcodec.codecs.combiner.encoding import CombinerEncoding

WEIGHTS_AT_ONCE = 1 << 24
"""Number of SIREN weights that are held in memory at once."""


class CombinerCodec(Codec):
    """Encodes patches as posteriors of Bayesian SIRENs and decodes them at any size, under one prior."""

    name = "combiner"
    coders = ("rec",)

    def __init__(self, prior: CombinerPrior) -> None:
        self._prior = prior

    @property
    def prior(self) -> CombinerPrior:
        """Return the prior over latents and the networks that both sides share."""
        return self._prior

    @property
    def max_parameter_bytes(self) -> int:
        """See ``Codec``."""
        return max_parameter_bytes(self.prior)

    def encoding(self, sources: Sequence[Source], options: EncodeOptions) -> CombinerEncoding:
        """See ``Codec.encoding``."""
        from inrcodec.codecs.combiner.encoding import CombinerEncoding

        check_options(self, options)
        return CombinerEncoding(self.prior, sources, COMBINER_EFFORTS[options.effort], options.progress)

    def default_beta(self, sources: Sequence[Source]) -> float:
        """See ``Codec.default_beta``."""
        return float(self.prior.betas[self.prior.n_anchors // 2])

    def planned_steps(self, sources: Sequence[Source], effort: str) -> int:
        """Return the gradient steps of an encoding, all groups together; a target rate may take more."""
        from inrcodec.codecs.combiner.encoding import patch_groups

        return len(patch_groups(self.prior, sources)) * COMBINER_EFFORTS[effort].total_steps

    def split_parameters(self, payload: bytes) -> tuple[bytes, bytes]:
        """See ``Codec.split_parameters``."""
        *_, end = read_parameters(self.prior, payload)
        return payload[:end], payload[end:]

    def decode(self, entry: CodedEntry, request: DecodeRequest) -> FloatArray:
        """See ``Codec.decode``."""
        prior = self.prior
        point, budget_bits, gain, end = read_parameters(prior, entry.parameters)
        check_parameters_end(entry.parameters, end)
        planes = PlaneMap.make(entry.header, prior)
        layout = PatchLayout(planes.shape, prior.config.patch_shape)
        n_patches = planes.n_planes * layout.n_patches
        size = planes.plane_size(request.grid(entry.header))
        check_patch_work(
            request.limits,
            planes.n_planes,
            layout,
            size,
            latents=prior.config.dims,
            multiply_adds=prior.config.shape.multiply_adds,
            patch_multiply_adds=prior.config.dims * prior.config.shape.n_weights,
        )
        coded = read_body(prior, entry.body, point, budget_bits, n_patches, request.limits)
        latent = decode_latents(prior, point, coded, budget_bits)
        out = np.empty((planes.n_planes, *size, prior.config.channels), np.float32)
        for number in range(planes.n_planes):
            plane_latent = latent[number * layout.n_patches : (number + 1) * layout.n_patches]
            out[number] = render(layout, size, prior.config.channels, self._evaluator(plane_latent))
            request.progress(out[number].size)
        return request.cut(planes.from_planes(out * np.float32(gain) if gain != 1.0 else out))

    def _evaluator(self, latent: torch.Tensor) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        model, prior = self.prior.model, self.prior

        def evaluate(patch: torch.Tensor, coordinates: torch.Tensor) -> torch.Tensor:
            features = model.features(coordinates)
            chunks = patch.split(max(1, WEIGHTS_AT_ONCE // prior.config.shape.n_weights))
            values = torch.cat([model.values(latent[chunk], features) for chunk in chunks])
            return values * prior.spread + prior.centre

        return evaluate
