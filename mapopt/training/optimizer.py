"""SGD with momentum and AdamW over rows: each lane with its own rate, momentum and decay, read at every step.

torch's optimizers hold one rate per parameter group; here a rate is a column. The arithmetic is theirs, and a test
holds it to theirs.
"""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch import Tensor

from mapopt.detectors.interface import KnobTable

OptimizerName = Literal["sgd", "adamw"]


class RowOptimizer(Protocol):
    """Updates ``[lanes, n]`` weights from ``[lanes, n]`` gradients."""

    state: dict[str, Tensor]
    """Tensors whose first dimension is the lane."""

    def update(self, weights: Tensor, gradient: Tensor, knobs: KnobTable, active: Tensor) -> Tensor:
        """Updates the active lanes in place and returns the length of each lane's step, ``[lanes]``."""


class RowSGD:
    """SGD with momentum; weight decay is added to the gradient, as in `torch.optim.SGD`."""

    def __init__(self, weights: Tensor, decay: Tensor) -> None:
        self._decay = decay
        self.state = {"velocity": torch.zeros_like(weights, requires_grad=False)}

    @torch.no_grad()
    def update(self, weights: Tensor, gradient: Tensor, knobs: KnobTable, active: Tensor) -> Tensor:
        """Updates the active lanes; see `RowOptimizer.update`."""
        rate, momentum, decay = (knobs[name][:, None] for name in ("lr", "momentum", "weight_decay"))
        velocity = self.state["velocity"]
        fresh = velocity * momentum + torch.addcmul(gradient, weights, decay * self._decay)
        _keep(velocity, fresh, active)
        step = torch.where(active[:, None], rate * fresh, 0.0)
        weights -= step
        return step.norm(dim=1)


class RowAdamW:
    """AdamW as in `torch.optim.AdamW`; the momentum knob is the first beta.

    Reference: I. Loshchilov, F. Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, algorithm 2.
    """

    second_beta = 0.999
    epsilon = 1e-8

    def __init__(self, weights: Tensor, decay: Tensor) -> None:
        self._decay = decay
        lanes = len(weights)
        self.state = {
            "first": torch.zeros_like(weights, requires_grad=False),
            "second": torch.zeros_like(weights, requires_grad=False),
            # The product of the betas so far: with a momentum that moves, beta ** steps would be wrong.
            "first_bias": torch.ones((lanes, 1), device=weights.device, dtype=torch.float64),
            "second_bias": torch.ones((lanes, 1), device=weights.device, dtype=torch.float64),
        }

    @torch.no_grad()
    def update(self, weights: Tensor, gradient: Tensor, knobs: KnobTable, active: Tensor) -> Tensor:
        """Updates the active lanes; see `RowOptimizer.update`."""
        rate, beta, decay = (knobs[name][:, None] for name in ("lr", "momentum", "weight_decay"))
        state, second_beta = self.state, self.second_beta
        _keep(state["first"], state["first"] * beta + gradient * (1 - beta), active)
        _keep(state["second"], state["second"] * second_beta + gradient.square() * (1 - second_beta), active)
        _keep(state["first_bias"], state["first_bias"] * beta, active)
        _keep(state["second_bias"], state["second_bias"] * second_beta, active)
        mean = state["first"] / (1 - state["first_bias"]).to(weights.dtype)
        deviation = (state["second"] / (1 - state["second_bias"]).to(weights.dtype)).sqrt() + self.epsilon
        step = torch.where(active[:, None], rate * (mean / deviation + decay * self._decay * weights), 0.0)
        weights -= step
        return step.norm(dim=1)


OPTIMIZERS: dict[str, type[RowSGD] | type[RowAdamW]] = {"sgd": RowSGD, "adamw": RowAdamW}


def clip_rows(gradient: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """Scales each row down to at most the norm `limit`; returns the rows and their norms before, ``[lanes]``."""
    norms = gradient.norm(dim=1)
    return gradient * (limit / norms.clamp(min=limit))[:, None], norms


def _keep(old: Tensor, new: Tensor, active: Tensor) -> None:
    old.copy_(torch.where(active[:, None], new, old))
