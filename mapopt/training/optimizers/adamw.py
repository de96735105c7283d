"""AdamW over rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mapopt.detectors.interface import KnobTable
from mapopt.training.optimizers.in_place import (
    InPlaceRows,
    Step,
    column,
    pieces,
    step_of_long_row,
    zeros,
)


class RowAdamW(InPlaceRows):
    """AdamW as in `torch.optim.AdamW`; the momentum knob is the first beta.

    Reference: I. Loshchilov, F. Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, algorithm 2.
    """

    in_pieces = True
    second_beta = 0.999
    epsilon = 1e-8

    def __init__(self, weights: Tensor, decay: Tensor) -> None:
        super().__init__(weights, decay)
        self.state = {
            "first": zeros(weights),
            "second": zeros(weights),
            # The product of the betas so far: with a momentum that moves, beta ** steps would be wrong.
            "first_bias": column(weights, 1.0),
            "second_bias": column(weights, 1.0),
        }

    def advance(self, rows: slice, weights: Tensor, gradient: Tensor, knobs: KnobTable, step: Step) -> None:
        """Moves some lanes; see `InPlaceRows.advance`."""
        lr, beta, decay = (knobs[name][rows, None] for name in ("lr", "momentum", "weight_decay"))
        state = self.state
        first_bias = (1 - state["first_bias"][rows].mul_(beta)).to(weights.dtype)
        second_bias = (1 - state["second_bias"][rows].mul_(self.second_beta)).to(weights.dtype)
        numbers = AdamWStep(lr, beta, self.second_beta, decay, first_bias, second_bias, self.epsilon)
        numbers.advance(rows, weights, gradient, state["first"], state["second"], self.decay, step)


@dataclass(frozen=True)
class AdamWStep:
    """The numbers of a step, each ``[lanes, 1]`` or the same for all lanes."""

    lr: Tensor
    first_beta: Tensor | float
    second_beta: float
    decay: Tensor
    first_bias: Tensor
    second_bias: Tensor
    epsilon: float

    def advance(self, rows: slice, *matrices: Step) -> None:
        """Takes the step, in place.

        Args:
            rows: of these lanes.
            matrices: weights, gradient, the means of the gradients and of their squares, where decay applies, and the
                step to be written, each ``[lanes, n]``.
        """
        beta, beta2 = self.first_beta, self.second_beta
        means = (self.lr, beta, 1 - beta, beta2, 1 - beta2)
        if step_of_long_row(
            "adamw", rows, matrices, (*means, self.decay, self.first_bias, self.second_bias, self.epsilon)
        ):
            return
        for weight, slope, first, second, decays, moved, spare in pieces(rows, *matrices, spare=1):
            first.mul_(self.first_beta).add_(torch.mul(slope, 1 - self.first_beta, out=spare))
            second.mul_(self.second_beta).add_(torch.mul(slope, slope, out=spare).mul_(1 - self.second_beta))
            torch.div(first, self.first_bias, out=moved)
            moved.div_(torch.div(second, self.second_bias, out=spare).sqrt_().add_(self.epsilon))
            moved.add_(torch.mul(decays, self.decay, out=spare).mul_(weight)).mul_(self.lr)
            weight.sub_(moved)
