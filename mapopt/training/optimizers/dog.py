"""DoG over rows: SGD whose rate is the distance it has come over the gradients it has seen."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from mapopt.detectors.interface import KnobTable
from mapopt.training.optimizers.in_place import InPlaceRows, check_between, column, pieces


class RowDoG(InPlaceRows):
    """Distance over Gradients, and its form by layers, as in the package dog-optimizer, with its averaging.

    The knob ``lr`` is a factor of the rate that it finds: 1 as published, and what a schedule makes of it; momentum is
    ignored. What is evaluated is the polynomial-decay average of the weights, without which its authors do not use it.
    Weight decay is added to the gradient, on its mask alone, and all weights are one vector: with parameter groups the
    package gives each a rate of its own.

    Reference: M. Ivgi, O. Hinder, Y. Carmon, "DoG is SGD's Best Friend: A Parameter-Free Dynamic Step Size Schedule",
    ICML 2023, equation 1 and section 4.1; O. Shamir, T. Zhang, "Stochastic Gradient Descent for Non-smooth
    Optimization", ICML 2013, section 4.

    Args:
        weights: ``[lanes, n]``.
        decay: ``[n]``, 1 where weight decay applies.
        parts: name -> shape of what a row is cut into, in order.
        reps_rel: length of the first step, relative to that of the weights and 1 added; the authors advise 1e-4 with
            batch normalization.
        init_eta: rate of the first step in its place, whatever the knob; 0 for none.
        epsilon: added to the sum of squared gradients.
        layerwise: a rate for every part.
        gamma: of the average; larger forgets the beginning sooner.
    """

    lane_by_lane = True

    def __init__(
        self,
        weights: Tensor,
        decay: Tensor,
        *,
        parts: Mapping[str, tuple[int, ...]],
        reps_rel: float = 1e-6,
        init_eta: float = 0.0,
        epsilon: float = 1e-8,
        layerwise: bool = False,
        gamma: float = 8.0,
    ) -> None:
        super().__init__(weights, decay)
        check_between("dog", "reps_rel", reps_rel, 0, open_low=True)
        check_between("dog", "init_eta", init_eta, 0)
        check_between("dog", "epsilon", epsilon, 0, open_low=True)
        check_between("dog", "gamma", gamma, 0)
        self.reps_rel, self.init_eta, self.epsilon, self.gamma = reps_rel, init_eta, epsilon, gamma
        sizes = [math.prod(shape) for shape in parts.values()] if layerwise else [weights.shape[1]]
        self._ends = torch.tensor([0, *sizes]).cumsum(0).tolist()
        self.state = {
            "start": weights.detach().clone(),
            "average": weights.detach().clone(),
            "distance": column(weights, 0.0).expand(-1, len(sizes)).clone(),
            "squares": column(weights, 0.0).expand(-1, len(sizes)).clone(),
            "steps": column(weights, 0.0),
        }

    def evaluated(self, weights: Tensor) -> Tensor:
        """Returns the average, see `RowOptimizer`."""
        return self.state["average"]

    def follow(self, weights: Tensor, offset: Tensor, knobs: KnobTable) -> None:
        """Moves the average as an offset of the weights moves it; see `RatioSteps`."""
        self.state["average"].addcmul_(offset, self._mixed(slice(None)).to(weights.dtype))

    def _mixed(self, rows: slice) -> Tensor:
        """Returns how much of the average the weights of the last step are, float64 ``[lanes, 1]``."""
        return (self.gamma + 1) / (self.gamma + self.state["steps"][rows].clamp(min=1))

    def advance(self, rows: slice, weights: Tensor, gradient: Tensor, knobs: KnobTable, step: Tensor) -> None:
        """Moves some lanes; see `InPlaceRows.advance`."""
        self.state["steps"][rows].add_(1)
        mixed = self._mixed(rows).to(weights.dtype)
        for place, (first, last) in enumerate(zip(self._ends, self._ends[1:], strict=False)):
            columns = slice(first, last)
            rate = self._rate(rows, columns, place, weights, gradient, knobs).to(weights.dtype)
            shrink = knobs["weight_decay"][rows, None]
            matrices = (weights, gradient, self.decay, self.state["average"], step)
            for weight, slope, decays, mean, moved, spare in pieces(rows, *(m[:, columns] for m in matrices), spare=1):
                torch.mul(decays, shrink, out=spare).mul_(weight)
                torch.add(slope, spare, out=moved).mul_(rate)
                weight.sub_(moved)
                mean.lerp_(weight, mixed)

    def _rate(
        self, rows: slice, columns: slice, place: int, weights: Tensor, gradient: Tensor, knobs: KnobTable
    ) -> Tensor:
        """Moves distance and squares of one part on; returns its rate, float64 ``[lanes, 1]``."""
        begins = self.state["steps"][rows] == 1
        far, seen = torch.zeros_like(begins, dtype=torch.float64), torch.zeros_like(begins, dtype=torch.float64)
        long = torch.zeros_like(far)
        shrink = knobs["weight_decay"][rows, None]
        matrices = (weights, gradient, self.decay, self.state["start"])
        for weight, slope, decays, start, spare in pieces(rows, *(m[:, columns] for m in matrices), spare=1):
            far += _squares(torch.sub(weight, start, out=spare))
            long += _squares(weight)
            seen += _squares(torch.mul(decays, shrink, out=spare).mul_(weight).add_(slope))
        distance, squares = self.state["distance"][rows, place, None], self.state["squares"][rows, place, None]
        first = 0.0 if self.init_eta else self.reps_rel
        distance.copy_(torch.where(begins, first * (1 + long.sqrt()), torch.maximum(distance, far.sqrt())))
        squares.add_(seen + torch.where(begins, self.epsilon, 0.0))
        rate = knobs["lr"][rows, None] * distance / squares.sqrt()
        return torch.where(begins, self.init_eta, rate) if self.init_eta else rate


def _squares(values: Tensor) -> Tensor:
    """Returns the sum of squares of every row, float64 ``[lanes, 1]``."""
    return values.norm(dim=1, keepdim=True).double().square()
