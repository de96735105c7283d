"""Schedule-Free AdamW over rows: an average of its steps takes the place of a schedule."""

from __future__ import annotations

import torch
from torch import Tensor

from mapopt.bounds import check_whole
from mapopt.detectors.interface import KnobTable
from mapopt.training.optimizers.in_place import InPlaceRows, check_between, column, pieces, zeros


class RowScheduleFreeAdamW(InPlaceRows):
    """Schedule-Free AdamW, as in the package schedulefree.

    Three points: z takes AdamW's steps without momentum, x is their average, and gradients are taken between them, at
    ``y = (1 - beta) z + beta x``, which is what the weights are while it trains. Evaluated, stored for detection and
    exported is x. Beta is the momentum knob, which may move; its authors advise .9, and more for long runs. It wants
    neither a schedule (the controller ``constant``) nor an average besides, and a rate 1 to 10 times AdamW's.
    Running statistics of batch norms are those at y.

    Reference: A. Defazio et al., "The Road Less Scheduled", NeurIPS 2024, algorithm 1. The package keeps z alone, and
    finds x from y; here x is kept, so that beta may change from step to step, and be 0.

    Args:
        weights: ``[lanes, n]``.
        decay: ``[n]``, 1 where weight decay applies, at y.
        beta2: of the mean square of the gradients.
        epsilon: added to its root.
        warmup_steps: steps in which the rate rises to the knob's, beside what a schedule does.
        r: power of the step in its weight in the average.
        weight_lr_power: power of the largest rate so far in this weight.
    """

    def __init__(
        self,
        weights: Tensor,
        decay: Tensor,
        *,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        warmup_steps: int = 0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
    ) -> None:
        super().__init__(weights, decay)
        check_between("schedule_free_adamw", "beta2", beta2, 0, 1)
        check_between("schedule_free_adamw", "epsilon", epsilon, 0)
        check_whole("schedule_free_adamw's warmup_steps", warmup_steps)
        check_between("schedule_free_adamw", "r", r, 0)
        check_between("schedule_free_adamw", "weight_lr_power", weight_lr_power, 0)
        self.beta2, self.epsilon, self.warmup_steps = beta2, epsilon, warmup_steps
        self.r, self.weight_lr_power = r, weight_lr_power
        self.state = {
            "average": weights.detach().clone(),  # x
            "ahead": weights.detach().clone(),  # z
            "second": zeros(weights),
            "steps": column(weights, 0.0),
            "largest_lr": column(weights, 0.0),
            "sum": column(weights, 0.0),  # of the steps' weights
        }

    def evaluated(self, weights: Tensor) -> Tensor:
        """Returns x, see `RowOptimizer`."""
        return self.state["average"]

    def leader(self, weights: Tensor) -> Tensor:
        """Returns z, which takes the steps; see `RatioSteps`."""
        return self.state["ahead"]

    def follow(self, weights: Tensor, offset: Tensor, knobs: KnobTable) -> None:
        """Moves x and y as an offset of z moves them; see `RatioSteps`."""
        total = self.state["sum"]
        mixed = torch.where(total > 0, self._weight_of_step(slice(None)) / total, 0.0).to(weights.dtype)
        beta = knobs["momentum"][:, None]
        self.state["average"].addcmul_(offset, mixed)
        weights.addcmul_(offset, 1 - beta + beta * mixed)

    def _weight_of_step(self, rows: slice) -> Tensor:
        """Returns the weight of the last step in the average, float64 ``[lanes, 1]``."""
        return self.state["steps"][rows] ** self.r * self.state["largest_lr"][rows] ** self.weight_lr_power

    def advance(self, rows: slice, weights: Tensor, gradient: Tensor, knobs: KnobTable, step: Tensor) -> None:
        """Moves some lanes; see `InPlaceRows.advance`."""
        beta, decay = (knobs[name][rows, None] for name in ("momentum", "weight_decay"))
        steps = self.state["steps"][rows].add_(1)
        lr = knobs["lr"][rows, None].double() * (steps / max(1, self.warmup_steps)).clamp(max=1)
        largest = self.state["largest_lr"][rows]
        largest.copy_(torch.maximum(largest, lr))
        weight_of_step = self._weight_of_step(rows)
        total = self.state["sum"][rows].add_(weight_of_step)
        mixed, rate = (weight_of_step / total).to(weights.dtype), lr.to(weights.dtype)
        bias = (1 - self.beta2**steps).to(weights.dtype)
        matrices = (
            weights,
            gradient,
            self.state["average"],
            self.state["ahead"],
            self.state["second"],
            self.decay,
            step,
        )
        for weight, slope, average, ahead, second, decays, moved, spare in pieces(rows, *matrices, spare=1):
            second.mul_(self.beta2).addcmul_(slope, slope, value=1 - self.beta2)
            torch.div(slope, torch.div(second, bias, out=spare).sqrt_().add_(self.epsilon), out=moved)
            moved.add_(torch.mul(decays, decay, out=spare).mul_(weight))
            ahead.sub_(moved.mul_(rate))
            average.lerp_(ahead, mixed)
            torch.lerp(ahead, average, beta, out=spare)
            torch.sub(weight, spare, out=moved)
            weight.copy_(spare)
