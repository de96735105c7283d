"""AdamW over rows."""

from __future__ import annotations

import torch
from torch import Tensor

from mapopt.detectors.interface import KnobTable
from mapopt.training.optimizers.in_place import InPlaceRows, pieces


class RowAdamW(InPlaceRows):
    """AdamW as in `torch.optim.AdamW`; the momentum knob is the first beta.

    Reference: I. Loshchilov, F. Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, algorithm 2.
    """

    second_beta = 0.999
    epsilon = 1e-8

    def __init__(self, weights: Tensor, decay: Tensor) -> None:
        super().__init__(weights, decay)
        lanes = len(weights)
        self.state = {
            "first": torch.zeros_like(weights, requires_grad=False),
            "second": torch.zeros_like(weights, requires_grad=False),
            # The product of the betas so far: with a momentum that moves, beta ** steps would be wrong.
            "first_bias": torch.ones((lanes, 1), device=weights.device, dtype=torch.float64),
            "second_bias": torch.ones((lanes, 1), device=weights.device, dtype=torch.float64),
        }

    def advance(self, rows: slice, weights: Tensor, gradient: Tensor, knobs: KnobTable, step: Tensor) -> None:
        """Moves some lanes; see `InPlaceRows.advance`."""
        lr, beta, decay = (knobs[name][rows, None] for name in ("lr", "momentum", "weight_decay"))
        state, second_beta = self.state, self.second_beta
        first_bias = 1 - state["first_bias"][rows].mul_(beta)
        second_bias = 1 - state["second_bias"][rows].mul_(second_beta)
        biases = first_bias.to(weights.dtype), second_bias.to(weights.dtype)
        matrices = (weights, gradient, state["first"], state["second"], self.decay, step)
        for weight, slope, first, second, decays, moved, spare in pieces(rows, *matrices, spare=1):
            first.mul_(beta).add_(torch.mul(slope, 1 - beta, out=spare))
            second.mul_(second_beta).add_(torch.mul(slope, slope, out=spare).mul_(1 - second_beta))
            torch.div(first, biases[0], out=moved)
            moved.div_(torch.div(second, biases[1], out=spare).sqrt_().add_(self.epsilon))
            moved.add_(torch.mul(decays, decay, out=spare).mul_(weight)).mul_(lr)
            weight.sub_(moved)
