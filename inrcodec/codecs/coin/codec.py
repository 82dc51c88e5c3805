"""The COIN codec: one SIREN per signal, its weights quantised, without a learned prior (COIN, arXiv 2103.03123).

    values -> fit -> weights -> integers -> message             (encoding.py)
    message -> weights -> values on any grid                    (decode, below)

A file holds the *parameters* shared by all its signals (``parameters.py``) and one *body* per signal, its weights
(``weights.py``). The size of the network follows from the target rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from inrcodec.codecs.base import (
    NO_PRIOR,
    Codec,
    CodedEntry,
    DecodeRequest,
    EncodeOptions,
    FloatArray,
    NoPrior,
    Source,
    check_options,
    check_parameters_end,
)
from inrcodec.codecs.coin.effort import COIN_EFFORTS
from inrcodec.codecs.coin.parameters import (
    MAX_LAYERS,
    MAX_WIDTH,
    Parameters,
    read_parameters,
    signal_channels,
    value_range,
    write_parameters,
)
from inrcodec.codecs.coin.weights import FLOAT16, read_weights
from inrcodec.codecs.patches import PatchLayout, evaluated_points, render
from inrcodec.nn.siren import siren

if TYPE_CHECKING:
    from inrcodec.codecs.coin.encoding import CoinEncoding

EVALUATED_AT_ONCE = 1 << 21
"""Max number of hidden units times points that are evaluated at once."""


class CoinCodec(Codec):
    """Fits one SIREN to every signal and decodes it at any size."""

    name = "coin"
    coders = ("round", "float16")

    @property
    def prior(self) -> NoPrior:
        """Return ``NO_PRIOR``: the codec has no prior."""
        return NO_PRIOR

    @property
    def max_parameter_bytes(self) -> int:
        """See ``Codec``."""
        return len(write_parameters(Parameters(MAX_WIDTH, MAX_LAYERS, FLOAT16, 0)))

    def encoding(self, sources: Sequence[Source], options: EncodeOptions) -> CoinEncoding:
        """See ``Codec.encoding``; coder float16 sends the weights as in the paper."""
        from inrcodec.codecs.coin.encoding import CoinEncoding

        check_options(self, options)
        return CoinEncoding(self, sources, options)

    def planned_steps(self, sources: Sequence[Source], effort: str) -> int:
        """See ``Codec.planned_steps``; a step of Adam on a group of signals counts as one."""
        from inrcodec.codecs.coin.encoding import fitted_together

        return len(fitted_together(sources)) * COIN_EFFORTS[effort].steps

    def default_beta(self, sources: Sequence[Source]) -> float:
        """See ``Codec.default_beta``; the size of the network follows from it, see ``encoding.bits_for_beta``."""
        from inrcodec.codecs.coin.encoding import DEFAULT_BITS_PER_POINT, beta_for_bits

        return beta_for_bits(DEFAULT_BITS_PER_POINT)

    def split_parameters(self, payload: bytes) -> tuple[bytes, bytes]:
        """See ``Codec.split_parameters``."""
        _, end = read_parameters(payload)
        return payload[:end], payload[end:]

    @torch.no_grad()
    def decode(self, entry: CodedEntry, request: DecodeRequest) -> FloatArray:
        """See ``Codec.decode``."""
        header, limits = entry.header, request.limits
        parameters, end = read_parameters(entry.parameters)
        check_parameters_end(entry.parameters, end)
        shape, size = parameters.shape(header), request.grid(header)
        n_points = evaluated_points(header.shape, size)
        limits.check_size(max(n_points, shape.n_weights), size, "points or weights")
        limits.check_work(n_points * shape.multiply_adds)
        weights = read_weights(entry.body, shape, parameters.fineness)[None]
        centre, spread = value_range(header, parameters.level)

        def evaluate(patch: torch.Tensor, coordinates: torch.Tensor) -> torch.Tensor:
            chunks = coordinates.split(max(1, EVALUATED_AT_ONCE // max(shape.widths)))
            return torch.cat([siren(chunk, weights, shape) for chunk in chunks], dim=1) * spread + centre

        values = render(PatchLayout(header.shape, header.shape), size, signal_channels(header), evaluate)
        request.progress(values.size)
        return request.cut(values)
