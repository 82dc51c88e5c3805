"""Growth: a learned hierarchical model in a network of more capacity or another range of rates, for fine-tuning.

The larger network starts out computing what the smaller one does, tables of rates carried over to the new anchors: new
channels of the features start at zero, new hidden units have no effect yet, new residual blocks add nothing (the
function-preserving growth of Net2Net, Chen et al. 2016, arXiv 1511.05641).
"""

from __future__ import annotations

import torch
from torch import Tensor

from inrcodec.codecs.hierarchical.config import HierarchicalConfig
from inrcodec.codecs.hierarchical.model import HierarchicalINR
from inrcodec.errors import UsageError


def grown(model: HierarchicalINR, config: HierarchicalConfig) -> HierarchicalINR:
    """Return a network of ``config`` that computes what ``model`` does at the rates that both have.

    New parameters are drawn from torch's global generator.

    Raises:
        UsageError: strides, latents, channels or the head differ, or something of ``config`` is smaller.
    """
    _check(model.config, config)
    larger = HierarchicalINR(config)
    old = dict(model.named_convs())
    anchors = _carried_anchors(model.config, config)
    with torch.no_grad():
        for name, conv in larger.named_convs():
            if not _is_hidden(name) and conv.groups == 1:
                conv.weight.zero_()
                conv.bias.zero_()
            if name not in old:
                continue
            weight, bias = old[name].weight, anchors @ old[name].bias
            conv.bias[:, : bias.shape[1]] = bias
            if conv.groups > 1:
                conv.weight[: len(weight)] = weight
                continue
            for source, target in _inputs(name, weight.shape[1], conv.weight.shape[1]):
                conv.weight[: len(weight), target] = weight[:, source]
        larger.first.zero_()
        larger.first[: len(model.first)] = model.first
        for key, table in larger.log_steps.items():
            table.copy_(anchors @ model.log_steps[key])
        if not config.patch:
            larger.fourier.copy_(model.fourier)
            larger.head.copy_(model.head)
    return larger


def fine_tuning_network(learned: HierarchicalConfig, wanted: HierarchicalConfig) -> HierarchicalConfig:
    """Return ``wanted``, or where it cannot grow from the learned network, the learned one.

    Raises:
        UsageError: they are not for the same signals.
    """
    if _fits(learned, wanted):
        return wanted
    same = ("channels", "axes", "sphere")
    if any(getattr(learned, name) != getattr(wanted, name) for name in same):
        _check(learned, wanted)
    return learned


def _check(small: HierarchicalConfig, large: HierarchicalConfig) -> None:
    if not _fits(small, large):
        raise UsageError(
            "fine-tuning needs a network with the same channels, strides, latents and head, and no smaller otherwise"
        )


def _fits(small: HierarchicalConfig, large: HierarchicalConfig) -> bool:
    same = (
        "channels",
        "axes",
        "feature_stride",
        "feature_width",
        "head_width",
        "harmonics",
        "sphere",
        "centre",
        "spread",
        "block",
        "patch",
    )
    fits = all(getattr(small, name) == getattr(large, name) for name in same) and len(small.levels) == len(large.levels)
    fits = fits and all(
        a.stride == b.stride
        and a.latents == b.latents
        and a.phases == b.phases
        and a.width <= b.width
        and a.blocks_up <= b.blocks_up
        and a.blocks_down <= b.blocks_down
        and a.blocks_after <= b.blocks_after
        and a.narrowed == b.narrowed
        for a, b in zip(small.levels, large.levels, strict=True)
    )
    return fits


def _carried_anchors(small: HierarchicalConfig, large: HierarchicalConfig) -> Tensor:
    """Return the matrix (A', A) from tables over the old anchors to the new ones, extrapolating linearly."""
    old = torch.linspace(*small.log_lambdas, small.n_anchors)
    new = torch.linspace(*large.log_lambdas, large.n_anchors)
    place = (new - old[0]) / (old[1] - old[0])
    left = place.floor().clamp(0, small.n_anchors - 2)
    part = place - left
    out = torch.zeros(large.n_anchors, small.n_anchors)
    rows = torch.arange(large.n_anchors)
    out[rows, left.long()] = 1.0 - part
    out[rows, left.long() + 1] = part
    return out


def _is_hidden(name: str) -> bool:
    word, *rest = name.split(".")
    return word in ("prior_in", "ask_in") or rest[-1:] == ["in"]


def _inputs(name: str, n_old: int, n_new: int) -> list[tuple[slice, slice]]:
    """Return where a convolution's old inputs lie among its new ones; a proposal network reads two stacked features."""
    if name.startswith(("ask_in", "ask.")):
        return [
            (slice(0, n_old // 2), slice(0, n_old // 2)),
            (slice(n_old // 2, n_old), slice(n_new // 2, n_new // 2 + n_old // 2)),
        ]
    return [(slice(0, n_old), slice(0, n_old))]
