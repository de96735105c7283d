"""NAdamW over rows: AdamW that looks ahead along its momentum."""

from __future__ import annotations

import torch
from torch import Tensor

from mapopt.detectors.interface import KnobTable
from mapopt.training.optimizers.in_place import InPlaceRows, Step, check_between, column, pieces, zeros


class RowNAdamW(InPlaceRows):
    """NAdam with decoupled weight decay, as in ``torch.optim.NAdam(decoupled_weight_decay=True)``.

    The momentum knob is the first beta. What looks ahead is warmed up: its factor at step t is
    ``beta * (1 - 0.96 ** (t * momentum_decay) / 2)``.

    Reference: T. Dozat, "Incorporating Nesterov Momentum into Adam", ICLR 2016 workshop, algorithm 8.

    Args:
        weights: ``[lanes, n]``.
        decay: ``[n]``, 1 where weight decay applies.
        beta2: of the mean square of the gradients.
        epsilon: added to its root.
        momentum_decay: how fast the warm-up ends; 0 stays at half of the momentum.
    """

    in_pieces = True

    def __init__(
        self,
        weights: Tensor,
        decay: Tensor,
        *,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        momentum_decay: float = 4e-3,
    ) -> None:
        super().__init__(weights, decay)
        check_between("nadamw", "beta2", beta2, 0, 1)
        check_between("nadamw", "epsilon", epsilon, 0)
        check_between("nadamw", "momentum_decay", momentum_decay, 0)
        self.beta2, self.epsilon, self.momentum_decay = beta2, epsilon, momentum_decay
        self.state = {
            "first": zeros(weights),
            "second": zeros(weights),
            "product": column(weights, 1.0),  # of the momenta so far
            "steps": column(weights, 0.0),
        }

    def advance(self, rows: slice, weights: Tensor, gradient: Tensor, knobs: KnobTable, step: Step) -> None:
        """Moves some lanes; see `InPlaceRows.advance`."""
        lr, beta, decay = (knobs[name][rows, None] for name in ("lr", "momentum", "weight_decay"))
        steps = self.state["steps"][rows].add_(1)
        momentum = beta * (1 - 0.5 * 0.96 ** (steps * self.momentum_decay))
        ahead = beta * (1 - 0.5 * 0.96 ** ((steps + 1) * self.momentum_decay))
        product = self.state["product"][rows].mul_(momentum)
        of_slope = (lr * (1 - momentum) / (1 - product)).to(weights.dtype)
        of_first = (lr * ahead / (1 - product * ahead)).to(weights.dtype)
        bias = (1 - self.beta2**steps).to(weights.dtype)
        matrices = (weights, gradient, self.state["first"], self.state["second"], self.decay, step)
        for weight, slope, first, second, decays, moved, spare in pieces(rows, *matrices, spare=1):
            first.lerp_(slope, 1 - beta)
            second.mul_(self.beta2).addcmul_(slope, slope, value=1 - self.beta2)
            torch.mul(slope, of_slope, out=moved)
            moved.add_(torch.mul(first, of_first, out=spare))
            moved.div_(torch.div(second, bias, out=spare).sqrt_().add_(self.epsilon))
            moved.add_(torch.mul(decays, lr * decay, out=spare).mul_(weight))
            weight.sub_(moved)
