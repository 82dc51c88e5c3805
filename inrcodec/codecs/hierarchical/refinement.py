"""Refining the posteriors of hierarchical latents for given signals, by gradient steps with the rounding in the loop.

The free parameters are offsets to what the encoder network proposes, in posterior steps. The cost (bits + lambda *
squared error) of rounded latents is no smooth function of them, and many symbols that change at once undo each other's
gains: plain descent goes up. So every step is a trial: a random share of the offsets moves along the gradient of the
best state by a random length, and each *cell* of the signal keeps what lowers its cost. On 32x32 images 60 trials are
worth 0.4 dB at equal bits, where Adam on rounded, annealed or noisy latents was worth 0.1 dB or less than nothing.

Signals of more than ``TILE_POINTS`` points are refined tile by tile, each with a margin of its neighbours. What a
signal draws depends on its quality alone, so that it comes out the same with others beside it as by itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from inrcodec.codecs.base import Progress
from inrcodec.codecs.hierarchical.config import HierarchicalConfig
from inrcodec.codecs.hierarchical.elbo import Elbo, Errors, elbo, native_fourier, rounded
from inrcodec.codecs.hierarchical.exact import log_lambda_of
from inrcodec.codecs.hierarchical.prior import HierarchicalPrior

Offsets = dict[str, Tensor]

TILE_POINTS = 1 << 19
CELL_STRIDES = 4
"""Side of a cell of which a trial is kept or not, in coarsest strides."""

CURVATURE_BITS = 12.0 / math.log(2.0)
"""Second derivative of the cost by a latent, in bits per squared step, at the step that training settles on: there
lambda * error'' * step^2 / 12 - log2(step) is stationary."""
MAX_GRADIENT = 40.0
NEAR_QUALITY, FOLLOWING_STEPS = 24, 10
LENGTHS = (0.03, 0.2)
SHARES = (0.03, 0.6)
FIRST_LENGTH, N_FIRST = 0.06, 2
"""The first trials move everything, by this length."""


@dataclass
class Batch:
    """Signals of one padded size: ``values`` (N, C, H, W), ``mask`` (H * W,) of points that count, None for all.

    They lie from point ``origin`` of a grid of ``extent`` points (what the sphere's features need to know).
    """

    values: Tensor
    mask: Tensor | None
    points: int
    extent: tuple[int, ...]
    origin: tuple[int, int] = (0, 0)
    offsets: Offsets = field(default_factory=dict)
    refined_at: int | None = None
    """Quality that the offsets were found at."""
    adapted_at: int | None = None
    """Quality that an encoder was adapted to the signals at, if one was."""

    def fourier(self, config: HierarchicalConfig) -> Tensor:
        """Fourier features of all points, (H * W, F)."""
        return native_fourier(config, *self.values.shape[2:], origin=self.origin, extent=self.extent)


def zero_offsets(config: HierarchicalConfig, count: int, height: int, width: int) -> Offsets:
    """Offsets that leave every proposal as it is."""
    out = {}
    for i, level in enumerate(config.levels):
        rows = height // level.stride if config.axes == 2 else height
        for j, channels in enumerate(level.latents):
            out[f"{i}.{j}"] = torch.zeros(count, channels, rows, width // level.stride)
    return out


def joined(batches: Sequence[Batch]) -> Batch:
    """Batches of one shape, and all or none of them with offsets, as one."""
    first = batches[0]
    if len(batches) == 1:
        return first
    values = torch.cat([batch.values for batch in batches]).contiguous(memory_format=torch.channels_last)
    offsets = {name: torch.cat([batch.offsets[name] for batch in batches]) for name in first.offsets}
    return Batch(values, first.mask, first.points, first.extent, first.origin, offsets)


def refine(
    prior: HierarchicalPrior,
    batches: Sequence[Batch],
    qualities: Sequence[int],
    steps: int,
    tick: Progress,
    errors: Errors | None = None,
) -> None:
    """Take trial steps on the offsets of batches of one shape, of each at its quality, by squared errors or ``errors``.

    Those found at nearly the same quality are gone on from, with fewer steps: what they gain is which way latents are
    rounded, and 1/20 of an anchor away most of it is lost.
    """
    due: dict[int, list[tuple[Batch, int]]] = {}
    for batch, quality in zip(batches, qualities, strict=True):
        if steps == 0 or batch.refined_at == quality:
            continue
        wanted = steps
        if batch.refined_at is None or abs(batch.refined_at - quality) > NEAR_QUALITY:
            batch.offsets = zero_offsets(prior.config, *(batch.values.shape[axis] for axis in (0, 2, 3)))
        else:
            wanted = min(steps, FOLLOWING_STEPS)
        batch.refined_at = quality
        due.setdefault(wanted, []).append((batch, quality))
    for count, some in due.items():
        rows = [quality for batch, quality in some for _ in batch.values]
        for tile in tiles(prior.config, *some[0][0].values.shape[2:]):
            part = joined([tile.cut(prior.config, batch) for batch, _ in some])
            _Descent(prior, part, rows, errors).run(count, tick)
            start = 0
            for batch, _ in some:
                own = slice(start, start + len(batch.values))
                tile.put(prior.config, {name: found[own] for name, found in part.offsets.items()}, batch.offsets)
                start = own.stop


@dataclass(frozen=True)
class Tile:
    """Rows and columns of points that are refined (``outer``) and whose offsets are kept (``inner``)."""

    outer: tuple[slice, slice]
    inner: tuple[slice, slice]

    def cut(self, config: HierarchicalConfig, batch: Batch) -> Batch:
        """The tile as a batch of its own."""
        rows, columns = self.outer
        values = batch.values[:, :, rows, columns].contiguous(memory_format=torch.channels_last)
        mask = None
        if batch.mask is not None:
            mask = batch.mask.view(batch.values.shape[2:])[rows, columns].reshape(-1).contiguous()
        offsets = {name: value[_at_stride(config, name, self.outer)].clone() for name, value in batch.offsets.items()}
        points = int(mask.sum()) if mask is not None else values[0, 0].numel()
        origin = batch.origin[0] + rows.start, batch.origin[1] + columns.start
        return Batch(values, mask, points, batch.extent, origin, offsets)

    def put(self, config: HierarchicalConfig, found: Offsets, into: Offsets) -> None:
        """Write the inner part of a tile's offsets to those of the whole."""
        inside = tuple(slice(i.start - o.start, i.stop - o.start) for i, o in zip(self.inner, self.outer, strict=True))
        for name, value in found.items():
            into[name][_at_stride(config, name, self.inner)] = value[_at_stride(config, name, (inside[0], inside[1]))]


def _at_stride(config: HierarchicalConfig, name: str, window: tuple[slice, slice]) -> tuple[slice, ...]:
    stride = config.levels[int(name.split(".")[0])].stride
    rows, columns = (
        slice(s.start // n, s.stop // n) for s, n in zip(window, (_row_stride(config, stride), stride), strict=True)
    )
    return slice(None), slice(None), rows, columns


def _row_stride(config: HierarchicalConfig, stride: int) -> int:
    return stride if config.axes == 2 else 1


def tiles(config: HierarchicalConfig, height: int, width: int) -> list[Tile]:
    """Tiles of at most about ``TILE_POINTS`` points with a margin of a cell on every side."""
    cell = CELL_STRIDES * config.coarsest
    if config.axes == 1:
        cuts = [(slice(0, 1), slice(0, 1))], list(_cuts(width, TILE_POINTS, cell))
    else:
        side = math.isqrt(TILE_POINTS) // cell * cell
        tall = max(side, TILE_POINTS // max(width, 1) // cell * cell) if width < side else side
        wide = max(side, TILE_POINTS // max(height, 1) // cell * cell) if height < side else side
        if height * width <= TILE_POINTS:
            tall, wide = height, width
        cuts = list(_cuts(height, tall, cell)), list(_cuts(width, wide, cell))
    return [Tile((r[0], c[0]), (r[1], c[1])) for r in cuts[0] for c in cuts[1]]


def _cuts(size: int, piece: int, margin: int) -> Iterator[tuple[slice, slice]]:
    for start in range(0, size, piece):
        stop = min(start + piece, size)
        yield slice(max(0, start - margin), min(size, stop + margin)), slice(start, stop)


class _Descent:
    """Trial steps on one batch, every row at a quality of its own."""

    def __init__(self, prior: HierarchicalPrior, batch: Batch, qualities: Sequence[int], errors: Errors | None) -> None:
        self.model, self.config, self.batch = prior.model, prior.config, batch
        log_lambdas = [log_lambda_of(self.config, quality) for quality in qualities]
        self.log_lambda = torch.tensor(log_lambdas)
        self.error_weight = torch.tensor([math.exp(value) for value in log_lambdas])
        with torch.no_grad():
            self.risen = self.model.bottom_up(batch.values, self.model.rates(self.log_lambda))
        self.fourier = batch.fourier(self.config)
        self.random = {quality: torch.Generator().manual_seed(quality) for quality in dict.fromkeys(qualities)}
        places = {quality: place for place, quality in enumerate(self.random)}
        self.drawer = torch.tensor([places[quality] for quality in qualities])
        self.errors: Errors | None = None
        if errors is not None:
            self._weigh(errors)

    @torch.no_grad()
    def _weigh(self, errors: Errors) -> None:
        """Measure by ``errors``, weighted so that what is proposed costs as much as its squared errors do."""
        squared = self._evaluate(self.batch.offsets).mse
        self.errors = errors
        self.error_weight = self.error_weight * squared / self._evaluate(self.batch.offsets).mse.clamp_min(1e-9)

    def run(self, steps: int, tick: Progress) -> None:
        """Leaves the best offsets found in the batch."""
        trial = {name: value.clone().requires_grad_(True) for name, value in self.batch.offsets.items()}
        best, slope = self.batch.offsets, dict[str, Tensor]()
        best_cost = torch.tensor(math.inf)
        for step in range(steps + 1):
            found = self._evaluate(trial)
            cost = self._cell_costs(found)
            if step < steps:
                total = found.bits.sum() + (self.error_weight * found.mse).sum() * self.batch.points
                gradients = dict(zip(trial, torch.autograd.grad(total, list(trial.values())), strict=True))
            else:
                gradients = trial
            better = cost < best_cost
            best_cost = torch.where(better, cost, best_cost)
            for name, value in trial.items():
                keep = self._spread(better, name, value)
                best[name] = torch.where(keep, value.detach(), best[name])
                slope[name] = torch.where(keep, gradients[name], slope.get(name, gradients[name]))
            if step < steps:
                self._propose(trial, best, slope, step)
                tick(1)
        self.batch.offsets = {name: value.detach() for name, value in best.items()}

    def _evaluate(self, offsets: Offsets) -> Elbo:
        return elbo(
            self.model,
            self.batch.values,
            self.log_lambda,
            self.fourier,
            rounded,
            risen=self.risen,
            offsets=offsets,
            mask=self.batch.mask,
            errors=self.errors,
        )

    @torch.no_grad()
    def _cell_costs(self, found: Elbo) -> Tensor:
        """Bits and weighted error of every cell, (N, cells down, cells across)."""
        cell = CELL_STRIDES * self.config.coarsest
        errors = found.errors
        if self.batch.mask is not None:
            errors = errors * self.batch.mask.view(errors.shape[1:])
        total = self.error_weight[:, None, None] * self._pool(errors, cell)
        for level, bits in zip(self._levels(), found.bit_maps, strict=True):
            total = total + self._pool(bits, cell // level)
        return total

    def _levels(self) -> list[int]:
        return [level.stride for level in self.config.levels for _ in level.latents]

    def _pool(self, values: Tensor, side: int) -> Tensor:
        window = (_row_stride(self.config, side), side)
        height, width = values.shape[1:]
        padded = functional.pad(values, (0, -width % window[1], 0, -height % window[0]))
        return functional.avg_pool2d(padded[:, None], window)[:, 0] * (window[0] * window[1])

    def _spread(self, cells: Tensor, name: str, like: Tensor) -> Tensor:
        """A value per cell (N, down, across) at every latent of a block, (N, 1, h, w)."""
        stride = self.config.levels[int(name.split(".")[0])].stride
        side = CELL_STRIDES * self.config.coarsest // stride
        tall = cells.repeat_interleave(_row_stride(self.config, side), 1)[:, : like.shape[2]]
        return tall.repeat_interleave(side, 2)[:, None, :, : like.shape[3]]

    @torch.no_grad()
    def _propose(self, trial: Offsets, best: Offsets, slope: Offsets, step: int) -> None:
        """Write the next trial: from the best state along its slope."""
        length, share = self._between(LENGTHS), self._between(SHARES)
        if step < N_FIRST:
            length, share = torch.full_like(length, FIRST_LENGTH), torch.ones_like(share)
        for name, value in trial.items():
            move = slope[name].clamp(-MAX_GRADIENT, MAX_GRADIENT) / CURVATURE_BITS
            chosen = self._rand(value.shape[1:]) < self._spread(share, name, value)
            value.copy_(best[name] - self._spread(length, name, value) * move * chosen)

    def _cells(self) -> tuple[int, int]:
        side = CELL_STRIDES * self.config.coarsest
        height, width = self.batch.values.shape[2:]
        return -(-height // _row_stride(self.config, side)), -(-width // side)

    def _between(self, ends: tuple[float, float]) -> Tensor:
        """A number for every cell, evenly drawn on a logarithmic scale."""
        low, high = math.log(ends[0]), math.log(ends[1])
        return torch.exp(low + (high - low) * self._rand(self._cells()))

    def _rand(self, shape: Sequence[int]) -> Tensor:
        """Uniform numbers (N, *shape): rows of one quality have the same."""
        return torch.stack([torch.rand(tuple(shape), generator=one) for one in self.random.values()])[self.drawer]
