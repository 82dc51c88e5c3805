"""Posterior steps over many patches taken in parts, each by a worker that holds no state of its own.

    shared parameters, a part's posteriors and moments -> steps -> posteriors, moments, gradients of what is shared

The parts of a round all see the same shared parameters; their gradients are added in the order of the parts, so what
comes out is the same, bit for bit, however many workers there are and whichever of them took which part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec.codecs.combiner.model import BayesianINR, CombinerConfig
from inrcodec.codecs.combiner.posterior import Gaussian, PosteriorAdam, Rates, posterior_step
from inrcodec.parallel.base import Workers
from inrcodec.signals.coordinates import grid_coordinates

FloatArray = NDArray[np.float32]

STEPS_PER_ROUND = 4
"""Posterior steps between two steps of what is shared: what sending a part to a worker and back is spread over."""


@dataclass(frozen=True, eq=False)
class Part:
    """What a worker is given, as plain arrays of S rows.

    Attributes:
        network: shape of the network.
        shared: the model's parameters except those of the proposal.
        posterior: means and log scales, (2, S, D).
        moments: of ``PosteriorAdam``, (4, S, D).
        count: of ``PosteriorAdam``, (S, 1).
        prior: means and log scales, (2, S, D).
        values: patches, (S, P, C).
        beta: (S,).
        row_weight: weight of every row in the gradient of what is shared, (S,).
        rates: learning rates.
        seed: of the noise.
    """

    network: CombinerConfig
    shared: dict[str, FloatArray]
    posterior: FloatArray
    moments: FloatArray
    count: FloatArray
    prior: FloatArray
    values: FloatArray
    beta: FloatArray
    row_weight: FloatArray
    rates: Rates
    seed: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Stepped:
    """What a worker returns.

    Attributes:
        posterior: means and log scales, (2, S, D).
        moments: of ``PosteriorAdam``, (4, S, D).
        count: of ``PosteriorAdam``, (S, 1).
        gradients: mean gradient of what is shared, by name.
        distortion: before the last step, (S,).
        kl_bits: before the last step, (S,).
    """

    posterior: FloatArray
    moments: FloatArray
    count: FloatArray
    gradients: dict[str, FloatArray]
    distortion: FloatArray
    kl_bits: FloatArray


def shared_parameters(model: BayesianINR) -> dict[str, torch.nn.Parameter]:
    """Return the parameters that all patches share, by name, except those of the proposal."""
    return {name: p for name, p in model.named_parameters() if not name.startswith("proposal")}


def take_steps(part: Part) -> Stepped:
    """Take ``STEPS_PER_ROUND`` steps on a part's posteriors in one thread, since sums depend on the number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _take_steps(part)
    finally:
        torch.set_num_threads(threads)


def _take_steps(part: Part) -> Stepped:
    model = _model(replace(part.network, proposal_hidden=0))
    parameters = shared_parameters(model)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(torch.from_numpy(part.shared[name]))
            parameter.grad = None
    posterior = Gaussian(*torch.from_numpy(part.posterior.copy()))
    prior = Gaussian(*torch.from_numpy(part.prior.copy()))
    adam = PosteriorAdam((part.posterior.shape[1], part.posterior.shape[2]))
    adam.moments, adam.count = torch.from_numpy(part.moments.copy()), torch.from_numpy(part.count.copy())
    values, beta, weight = (torch.from_numpy(a.copy()) for a in (part.values, part.beta, part.row_weight))
    grid = grid_coordinates(part.network.patch_shape)
    coordinates = torch.from_numpy(grid.reshape(-1, grid.shape[-1]))
    seed = int(np.random.SeedSequence(part.seed).generate_state(1)[0])
    generator = torch.Generator().manual_seed(seed)
    for _ in range(STEPS_PER_ROUND):
        mse, kl = posterior_step(
            model,
            posterior,
            prior,
            adam,
            slice(0, len(values)),
            model.features(coordinates),
            values,
            beta,
            part.rates,
            row_weight=weight,
            generator=generator,
        )
    gradients = {name: (p.grad / STEPS_PER_ROUND).numpy() for name, p in parameters.items() if p.grad is not None}
    state = torch.stack([posterior.mean, posterior.log_scale]).numpy()
    return Stepped(state, adam.moments.numpy(), adam.count.numpy(), gradients, mse.numpy(), kl.sum(dim=1).numpy())


@lru_cache(maxsize=1)
def _model(network: CombinerConfig) -> BayesianINR:
    """Return a model to be filled: there is one in a process, and one part at a time."""
    return BayesianINR(network, 1, torch.Generator().manual_seed(0))


@dataclass(frozen=True)
class PartedSet:
    """The posteriors (M, D) of all patches, with what steps on them need.

    Attributes:
        posteriors: of all patches.
        adam: moments of the posteriors' steps.
        prior: prior of every patch.
        values: patches, (M, P, C).
        beta: (M,).
    """

    posteriors: Gaussian
    adam: PosteriorAdam
    prior: Gaussian
    values: Tensor
    beta: Tensor

    def round(
        self,
        workers: Workers,
        model: BayesianINR,
        row_sets: Sequence[Tensor],
        level: Tensor,
        rates: Rates,
        seed: tuple[int, ...],
    ) -> list[tuple[Tensor, Tensor]]:
        """Take steps on rows by workers, and leave the mean gradient over the sets of rows in the shared parameters.

        Args:
            workers: take the steps.
            model: holds the shared parameters.
            row_sets: sets of rows; each is one part.
            level: what the loss of a patch is divided by, (M,).
            rates: learning rates.
            seed: of the noise.

        Returns:
            Distortion and KL of the rows of every set.

        Raises:
            WorkersError: a part kills its workers.
        """
        parameters = shared_parameters(model)
        shared = {name: p.detach().numpy() for name, p in parameters.items()}
        parts = [
            self._part(model.config, shared, rows, level, rates, (*seed, number))
            for number, rows in enumerate(row_sets)
        ]
        numbers = {part.seed: number for number, part in enumerate(parts)}
        outcomes: dict[int, Stepped] = {}
        for part, stepped in workers.outcomes(take_steps, parts):
            outcomes[numbers[part.seed]] = stepped
        for number, rows in enumerate(row_sets):
            self._put(rows, outcomes[number])
        self._add_gradients(parameters, [outcomes[number].gradients for number in range(len(parts))])
        return [
            (torch.from_numpy(outcomes[n].distortion), torch.from_numpy(outcomes[n].kl_bits)) for n in range(len(parts))
        ]

    def _part(
        self,
        network: CombinerConfig,
        shared: dict[str, FloatArray],
        rows: Tensor,
        level: Tensor,
        rates: Rates,
        seed: tuple[int, ...],
    ) -> Part:
        q, p = self.posteriors[rows], self.prior[rows]
        return Part(
            network,
            shared,
            torch.stack([q.mean, q.log_scale]).numpy(),
            self.adam.moments[:, rows].numpy(),
            self.adam.count[rows].numpy(),
            torch.stack([p.mean, p.log_scale]).numpy(),
            self.values[rows].numpy(),
            self.beta[rows].numpy(),
            (1.0 / (len(rows) * level[rows])).numpy(),
            rates,
            seed,
        )

    def _put(self, rows: Tensor, stepped: Stepped) -> None:
        self.posteriors.mean[rows], self.posteriors.log_scale[rows] = torch.from_numpy(stepped.posterior)
        self.adam.moments[:, rows] = torch.from_numpy(stepped.moments)
        self.adam.count[rows] = torch.from_numpy(stepped.count)

    def _add_gradients(
        self, parameters: Mapping[str, torch.nn.Parameter], gradients: Sequence[Mapping[str, FloatArray]]
    ) -> None:
        for name, parameter in parameters.items():
            given = [torch.from_numpy(one[name]) for one in gradients if name in one]
            if given:
                parameter.grad = sum(given[1:], start=given[0]) / len(gradients)
