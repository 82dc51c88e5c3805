"""Start the training of a model with patches as a block transform: the Karhunen-Loeve transform (KLT) of its data.

The bottom-up maps become principal components of patches, of groups of these, and so on; the top-down maps become their
transposes, latents the first components, and the prior scales the components' standard deviations. Residual blocks add
nothing at first. So the network is a working transform coder before its first step, and learns from there.

Features are components divided by the square root of their standard deviation, so that the residual blocks see numbers
of similar size. The latents of the second-coarsest level are components; those of finer levels are what is left of
theirs. The coarsest level starts at random and small.
"""

from __future__ import annotations

import torch
from torch import Tensor

from inrcodec.codecs.hierarchical.model import HierarchicalINR
from inrcodec.codecs.hierarchical.top_down import shuffle_down

WHITENING = 0.5
"""Features are components divided by their standard deviation to this power."""
LEFT_OVER = 0.4
"""Standard deviation of what the finer levels code, relative to the component."""
MIN_DEVIATION = 0.01
LOG_SCALES = (-2.0, 5.5)
"""Range of the first log prior scales, in posterior steps."""


@torch.no_grad()
def start_as_klt(model: HierarchicalINR, values: Tensor) -> None:
    """Set the maps of a new model with patches to a block transform of crops.

    Args:
        model: the model, with its initial random parameters; changed in place.
        values: crops (N, C, H, W); H and W are multiples of the stride of the second-coarsest level.
    """
    config = model.config
    levels = list(enumerate(config.levels))[1:]
    features = (values - config.centre) / config.spread
    stride, deviations = 1, torch.empty(0)
    for i, level in reversed(levels):
        factor = level.stride // stride
        rows = shuffle_down(features, factor, config.axes)
        centre, deviation, basis = _components(rows, level.width)
        count, scale = len(deviation), deviation.clamp_min(MIN_DEVIATION) ** WHITENING
        before = torch.ones(rows.shape[1]) if stride == 1 else deviations.repeat_interleave(factor**config.axes)
        down, up = model.conv("out" if stride == 1 else f"up.{i + 1}"), model.conv(f"shrink.{i}")
        up.weight.mul_(0.02)
        down.weight.mul_(0.02)
        up.weight[:count, : len(before), 0, 0] = basis.T * before / scale[:, None]
        up.bias[:, :count] = -(centre @ basis) / scale
        down.weight[: len(before), :count, 0, 0] = basis * scale / before[:, None]
        down.bias[:, : len(before)] = centre / before
        _set_latents(model, i, deviation, scale, left_over=i > 1)
        features = torch.einsum("nchw,ck->nkhw", rows - centre[:, None, None], basis)
        stride, deviations = level.stride, scale


def _components(rows: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean (C,) of vectors (N, C, H, W), and the deviations (k,) and directions (C, k) of at most ``most``
    principal components."""
    flat = rows.permute(0, 2, 3, 1).flatten(0, 2).double()
    centre = flat.mean(dim=0)
    power, basis = torch.linalg.eigh((flat - centre).T @ (flat - centre) / len(flat))
    deviation = power.flip(0)[:most].clamp_min(1e-9).sqrt()
    return centre.float(), deviation.float(), basis.flip(1)[:, :most].float()


def _set_latents(model: HierarchicalINR, level: int, deviation: Tensor, scale: Tensor, *, left_over: bool) -> None:
    """Make the latents of a level its first components, or with ``left_over`` what the features lack of them."""
    config = model.config.levels[level]
    first = 0
    for block, channels in enumerate(config.latents):
        name = f"{level}.{block}"
        chosen = torch.arange(first, min(first + channels, len(deviation)))
        latents = torch.arange(len(chosen))
        ask, enter = model.conv(f"ask.{name}").weight[..., 0, 0], model.conv(f"latent_in.{name}").weight[..., 0, 0]
        ask[latents, config.width + chosen] = scale[chosen]
        if left_over:
            ask[latents, chosen] = -scale[chosen]
        enter[chosen, latents] = 1.0 / scale[chosen]
        log_scale = (deviation[chosen] * (LEFT_OVER if left_over else 1.0)).log() - model.log_step(name)[:, latents]
        model.conv(f"prior_out.{name}").bias[:, channels + latents] = log_scale.clamp(*LOG_SCALES)
        # Blocks on the two colours of a checkerboard code the same components at different places.
        if block % config.phases == config.phases - 1:
            first += channels
