"""AdamW over rows."""

from __future__ import annotations

import torch
from torch import Tensor

from mapopt.detectors.interface import KnobTable
from mapopt.training.optimizers.base import keep


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
        lr, beta, decay = (knobs[name][:, None] for name in ("lr", "momentum", "weight_decay"))
        state, second_beta = self.state, self.second_beta
        keep(state["first"], state["first"] * beta + gradient * (1 - beta), active)
        keep(state["second"], state["second"] * second_beta + gradient.square() * (1 - second_beta), active)
        keep(state["first_bias"], state["first_bias"] * beta, active)
        keep(state["second_bias"], state["second_bias"] * second_beta, active)
        mean = state["first"] / (1 - state["first_bias"]).to(weights.dtype)
        spread = (state["second"] / (1 - state["second_bias"]).to(weights.dtype)).sqrt() + self.epsilon
        step = torch.where(active[:, None], lr * (mean / spread + decay * self._decay * weights), 0.0)
        weights -= step
        return step.norm(dim=1)
