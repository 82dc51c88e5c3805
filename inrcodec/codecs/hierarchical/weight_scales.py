"""Learning the prior over the head's weights, once the network is trained: its scales, from fits to signals.

Source: the closed form of COMBINER's prior learning (arXiv 2305.19185, section 3.3).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from inrcodec.codecs.hierarchical.effort import HierarchicalEffort
from inrcodec.codecs.hierarchical.encoder import LatentEncoder
from inrcodec.codecs.hierarchical.exact import log_lambda_of, quality_of
from inrcodec.codecs.hierarchical.head_weights import HeadProblem, fit_weights
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior
from inrcodec.codecs.hierarchical.refinement import Batch

ROUNDS, STEPS, POINTS = 3, 60, 4096
FIRST_LOG_SCALE = math.log(0.02)


def learn_weight_scales(prior: HierarchicalPrior, signals: Tensor) -> Tensor:
    """Return log standard deviations (n,) of the head's weights, from signals (N, C, H, W) at rates all over the range.

    In rounds: posteriors are fitted under the current prior, whose variance becomes their mean second moment.
    """
    config, model = prior.config, prior.model
    problems = []
    rng = np.random.default_rng(0)
    for values in signals:
        log_lambda = float(rng.uniform(*config.log_lambdas))
        quality = quality_of(config, log_lambda)
        one = values[None].contiguous(memory_format=torch.channels_last)
        batch = Batch(one, None, one[0, 0].numel(), tuple(one.shape[2:] if config.axes == 2 else one.shape[3:]))
        coded = LatentEncoder(prior, HierarchicalEffort("fast", 0)).code(batch, quality)
        rate = model.rates(torch.full((1,), log_lambda_of(config, quality)))
        with torch.no_grad():
            assert coded.features is not None
            features = model.features(coded.features, rate)
        problem = HeadProblem.make(model, features, one, batch.fourier(config), None)
        problems.append((problem, math.exp(log_lambda)))
    log_scale = torch.full_like(prior.weight_log_scale, FIRST_LOG_SCALE)
    for _ in range(ROUNDS):
        current = prior.with_weight_scales(log_scale)
        moments = torch.zeros_like(log_scale)
        for problem, error_weight in problems:
            mean, scale = fit_weights(current, problem, error_weight, STEPS, POINTS)
            moments += mean.square() + scale.square()
        log_scale = (log_scale + 0.5 * (moments / len(problems)).log()).clamp(-12.0, 2.0)
    return log_scale
