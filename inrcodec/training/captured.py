"""A training step as one CUDA graph, and its figures without waiting for the device.

A step of many small operations is bound by the time that it takes to launch them; a graph launches them all at once.
On other devices the step runs as it is, so that everything but the capture itself is tested without a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Step = Callable[[], Tensor]
WARM_UP_STEPS = 3
"""Steps before a capture, in which libraries choose their algorithms."""


def captured(step: Step, kept: Sequence[Tensor], device: torch.device) -> Step:
    """Return ``step`` as a CUDA graph, or ``step`` itself on a device that is not a GPU.

    Args:
        step: reads and writes tensors that stay where they are, and returns figures.
        kept: tensors that the step changes; they are as before when this returns.
        device: where the step computes.
    """
    if device.type != "cuda":
        return step
    before = [tensor.detach().clone() for tensor in kept]
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP_STEPS):
            step()
    torch.cuda.current_stream(device).wait_stream(stream)
    with torch.no_grad():
        for tensor, value in zip(kept, before, strict=True):
            tensor.copy_(value)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        figures = step()

    def replay() -> Tensor:
        graph.replay()
        return figures

    return replay


class LateFigures:
    """Reads figures of steps one step late, so that a GPU has its next step before the host waits for the last one.

    The host is never more than a step ahead, so that a clock on the host tells the time of steps.

    Args:
        count: number of figures of a step.
        device: where the steps compute.
    """

    def __init__(self, count: int, device: torch.device) -> None:
        self._on_gpu, self._steps = device.type == "cuda", 0
        if self._on_gpu:
            self._host = [torch.zeros(count, pin_memory=True) for _ in range(2)]
            self._events = [torch.cuda.Event() for _ in range(2)]

    def read(self, figures: Tensor) -> list[float]:
        """Return the figures of the step before the one that has just been launched; of that one if it is the first."""
        if not self._on_gpu:
            values: list[float] = figures.tolist()
            return values
        new = self._steps % 2
        self._host[new].copy_(figures, non_blocking=True)
        self._events[new].record()
        last = 1 - new if self._steps else new
        self._steps += 1
        self._events[last].synchronize()
        late: list[float] = self._host[last].tolist()
        return late
