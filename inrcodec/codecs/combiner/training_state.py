"""What training a COMBINER prior is told and what it remembers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inrcodec.codecs.combiner.model import BayesianINR, CombinerConfig
from inrcodec.codecs.combiner.posterior import Gaussian
from inrcodec.errors import FormatError, UsageError
from inrcodec.training.checkpoint import read_checkpoint, write_checkpoint
from inrcodec.training.loop import RunState


@dataclass(frozen=True)
class TrainingConfig:
    """What is trained and for how long.

    Attributes:
        network: shape of the network.
        name: name of the prior.
        kind: kind of signal.
        betas: one per rate anchor, squared value units per bit per point.
        minutes: allowed time.
        n_classes: classes of patches at every anchor.
        batch: patches of a minibatch.
        opening_share: share of the time for the proposal stage.
        closing_share: share of the time for the closing stage.
        patches: size of the iterative stage's set.
        lr_shared: peak learning rate of shared parameters.
        lr_frequency: peak learning rate of Fourier frequencies.
        lr_proposal: peak learning rate of the proposal network.
        moment_rate: how fast moving moments follow in the proposal stage.
        shrinkage: patches' worth of trust in the anchor's prior when a class's prior is estimated.
        seed: of all random numbers.
        parts: number of minibatches of the iterative stage whose steps workers take at once, under the same shared
            parameters (``codecs.combiner.training_parts``); 0 for one after the other in this process.
    """

    network: CombinerConfig
    name: str
    kind: str
    betas: tuple[float, ...]
    minutes: float
    n_classes: int = 6
    batch: int = 64
    opening_share: float = 0.13
    closing_share: float = 0.15
    patches: int = 8192
    lr_shared: float = 1e-3
    lr_frequency: float = 1e-2
    lr_proposal: float = 5e-4
    moment_rate: float = 0.01
    shrinkage: float = 50.0
    seed: int = 0
    parts: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(sorted((float(b) for b in self.betas), reverse=True)))
        if not self.betas or min(self.betas) <= 0 or self.minutes <= 0 or self.batch < 1:
            raise UsageError("betas and minutes must be positive, batch at least 1")
        if self.parts < 0:
            raise UsageError(f"parts must be 0 or more, got {self.parts}")
        if self.n_classes < 1 or self.patches < len(self.betas) * self.n_classes:
            raise UsageError(
                f"{self.patches} patches are too few for {len(self.betas)} anchors of {self.n_classes} classes"
            )


@dataclass
class TrainingState(RunState):
    """Holds all that changes during training; it is saved to and read from a folder."""

    model: BayesianINR
    optimiser: torch.optim.Adam
    prior_mean: Tensor
    prior_second: Tensor
    loss_level: Tensor
    posteriors: Gaussian | None = None
    classes: Tensor | None = None
    class_prior: Gaussian | None = None
    passes: int = 0
    stage: str = ""

    @property
    def anchor_prior(self) -> Gaussian:
        """Return the prior of each anchor, (R, D)."""
        variance = (self.prior_second - self.prior_mean.square()).clamp_min(1e-10)
        return Gaussian(self.prior_mean, 0.5 * variance.log())


def config_summary(config: TrainingConfig) -> dict[str, Any]:
    """Return the settings as plain values, for the card."""
    return {**asdict(config), "network": config.network.to_dict(), "betas": list(config.betas)}


def save_state(state: TrainingState, folder: Path) -> None:
    """Write a checkpoint; the one before it stays whole until the new one is complete."""
    tensors = {f"model.{k}": v for k, v in state.model.state_dict().items()}
    names = {id(p): k for k, p in state.model.named_parameters()}
    for parameter, moments in state.optimiser.state.items():
        tensors[f"first.{names[id(parameter)]}"] = moments["exp_avg"].bfloat16()
        tensors[f"second.{names[id(parameter)]}"] = moments["exp_avg_sq"].bfloat16()
    tensors.update(prior_mean=state.prior_mean, prior_second=state.prior_second, loss_level=state.loss_level)
    if state.posteriors is not None and state.classes is not None and state.class_prior is not None:
        tensors.update(
            q_mean=state.posteriors.mean.half(),
            q_log_scale=state.posteriors.log_scale.half(),
            classes=state.classes,
            class_mean=state.class_prior.mean,
            class_log_scale=state.class_prior.log_scale,
        )
    head = {**state.counters(), "passes": state.passes, "stage": state.stage}
    write_checkpoint(folder, tensors, head, state.steps)


def load_state(state: TrainingState, folder: Path, device: torch.device) -> TrainingState:
    """Return a fresh state filled from a checkpoint.

    Raises:
        FormatError: the checkpoint cannot be read or does not fit the model.
    """
    tensors, head = read_checkpoint(folder, device)
    try:
        state.model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
        for name, parameter in state.model.named_parameters():
            if f"first.{name}" in tensors:
                state.optimiser.state[parameter] = {
                    "step": torch.tensor(float(head["steps"])),
                    "exp_avg": tensors[f"first.{name}"].float(),
                    "exp_avg_sq": tensors[f"second.{name}"].float(),
                }
        state.prior_mean, state.prior_second = tensors["prior_mean"], tensors["prior_second"]
        state.loss_level = tensors["loss_level"]
        if "q_mean" in tensors:
            state.posteriors = Gaussian(tensors["q_mean"].float(), tensors["q_log_scale"].float())
            state.classes = tensors["classes"]
            state.class_prior = Gaussian(tensors["class_mean"], tensors["class_log_scale"])
        state.restore_counters(head)
        state.passes, state.stage = int(head["passes"]), str(head["stage"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise FormatError(f"{folder}: checkpoint cannot be used: {error}") from None
    return state
