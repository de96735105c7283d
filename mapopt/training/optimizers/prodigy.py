"""Prodigy over rows: Adam that finds its own rate from how far it has come."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mapopt.detectors.interface import KnobTable
from mapopt.training.optimizers.in_place import InPlaceRows, check_between, column, pieces, zeros


class RowProdigy(InPlaceRows):
    """Prodigy, as in the package prodigyopt, with decoupled weight decay.

    It estimates the distance d from where it started to the solution, and steps by d times what Adam would. The knob
    ``lr`` is a factor of its rate: 1 as published, and what a schedule makes of it. The momentum knob is the first
    beta. Its authors advise a cosine schedule, and `safeguard_warmup` where the rate warms up.

    Reference: K. Mishchenko, A. Defazio, "Prodigy: An Expeditiously Adaptive Parameter-Free Learner", ICML 2024,
    algorithm 4. Beta 3 is the root of beta 2, as there. A lane whose gradients have all been 0 stays where it is.

    Args:
        weights: ``[lanes, n]``.
        decay: ``[n]``, 1 where weight decay applies.
        beta2: of the mean square of the gradients.
        d0: the first estimate of the distance.
        d_coef: factor of the estimate, the number to turn if one has to.
        growth_rate: largest factor by which the estimate grows in a step.
        bias_correction: Adam's, which Prodigy leaves out by default.
        safeguard_warmup: leave the rate out of the estimate's denominator.
    """

    epsilon = 1e-8
    lane_by_lane = True

    def __init__(
        self,
        weights: Tensor,
        decay: Tensor,
        *,
        beta2: float = 0.999,
        d0: float = 1e-6,
        d_coef: float = 1.0,
        growth_rate: float = math.inf,
        bias_correction: bool = False,
        safeguard_warmup: bool = False,
    ) -> None:
        super().__init__(weights, decay)
        check_between("prodigy", "beta2", beta2, 0, 1)
        check_between("prodigy", "d0", d0, 0, open_low=True)
        check_between("prodigy", "d_coef", d_coef, 0, open_low=True)
        check_between("prodigy", "growth_rate", growth_rate, 1)
        self.beta2, self.d0, self.d_coef, self.growth_rate = beta2, d0, d_coef, growth_rate
        self.bias_correction, self.safeguard_warmup = bias_correction, safeguard_warmup
        self.state = {
            "start": weights.detach().clone(),
            "first": zeros(weights),
            "second": zeros(weights),
            "weighed": zeros(weights),  # s: the sum of the gradients, each with its rate
            "distance": column(weights, d0),
            "largest": column(weights, d0),
            "numerator": column(weights, 0.0),
            "steps": column(weights, 0.0),
        }

    def advance(self, rows: slice, weights: Tensor, gradient: Tensor, knobs: KnobTable, step: Tensor) -> None:
        """Moves some lanes; see `InPlaceRows.advance`."""
        lr, beta, decay = (knobs[name][rows, None].double() for name in ("lr", "momentum", "weight_decay"))
        state, single = self.state, weights.dtype
        distance, steps = state["distance"][rows], state["steps"][rows]
        rate = distance * lr
        if self.bias_correction:
            rate = rate * (1 - self.beta2 ** (steps + 1)) ** 0.5 / (1 - beta ** (steps + 1))
        numerator, denominator = self._gather(rows, weights, gradient, beta=beta, rate=rate)
        moves = denominator > 0
        state["numerator"][rows] = torch.where(moves, numerator, state["numerator"][rows])
        estimate = self.d_coef * numerator / denominator.clamp(min=1e-300)
        grown = torch.where(distance == self.d0, torch.maximum(distance, estimate), distance)
        largest = torch.where(moves, torch.maximum(state["largest"][rows], estimate), state["largest"][rows])
        state["largest"][rows] = largest
        state["distance"][rows] = torch.where(moves, torch.minimum(largest, grown * self.growth_rate), distance)
        steps.add_(moves)
        floor = (state["distance"][rows] * self.epsilon).to(single)
        factor = torch.where(moves, rate, 0.0).to(single)
        shrink = (torch.where(moves, rate, 0.0) * decay).to(single)
        matrices = (weights, state["first"], state["second"], self.decay, step)
        for weight, first, second, decays, moved, spare in pieces(rows, *matrices, spare=1):
            torch.mul(first, factor, out=moved).div_(torch.sqrt(second, out=spare).add_(floor))
            # In two subtractions, as the package has it: early steps are near the rounding of the weights, and the
            # distance is estimated from them.
            weight.sub_(torch.mul(decays, shrink, out=spare).mul_(weight)).sub_(moved)
            moved.add_(spare)

    def _gather(
        self, rows: slice, weights: Tensor, gradient: Tensor, *, beta: Tensor, rate: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Moves the sums on; returns numerator and denominator of the estimate of the distance, float64 ``[lanes, 1]``.

        The sums over a row are added up in double precision.
        """
        state, single, beta3 = self.state, weights.dtype, math.sqrt(self.beta2)
        distance = state["distance"][rows]
        relative = distance / self.d0
        of_first, of_second = (distance * (1 - beta)).to(single), (distance**2 * (1 - self.beta2)).to(single)
        of_sum = (relative * (distance if self.safeguard_warmup else rate)).to(single)
        dots, lengths = torch.zeros_like(rate), torch.zeros_like(rate)
        kept = beta.to(single)
        matrices = (weights, gradient, state["start"], state["first"], state["second"], state["weighed"])
        for weight, slope, start, first, second, weighed, spare in pieces(rows, *matrices, spare=1):
            torch.sub(start, weight, out=spare).mul_(slope)
            dots += spare.sum(dim=1, keepdim=True, dtype=torch.float64)
            first.mul_(kept).add_(torch.mul(slope, of_first, out=spare))
            second.mul_(self.beta2).add_(torch.mul(slope, slope, out=spare).mul_(of_second))
            weighed.mul_(beta3).add_(torch.mul(slope, of_sum, out=spare))
            lengths += torch.abs(weighed, out=spare).sum(dim=1, keepdim=True, dtype=torch.float64)
        return beta3 * state["numerator"][rows] + relative * rate * dots, lengths
