"""SGD with momentum over rows."""

from __future__ import annotations

import torch
from torch import Tensor

from mapopt.detectors.interface import KnobTable
from mapopt.training.optimizers.in_place import InPlaceRows, Step, pieces, step_of_long_row, zeros


class RowSGD(InPlaceRows):
    """SGD with momentum; weight decay is added to the gradient, as in `torch.optim.SGD`."""

    in_pieces = True

    def __init__(self, weights: Tensor, decay: Tensor) -> None:
        super().__init__(weights, decay)
        self.state = {"velocity": zeros(weights)}

    def advance(self, rows: slice, weights: Tensor, gradient: Tensor, knobs: KnobTable, step: Step) -> None:
        """Moves some lanes; see `InPlaceRows.advance`."""
        lr, momentum, decay = (knobs[name][rows, None] for name in ("lr", "momentum", "weight_decay"))
        matrices = (weights, gradient, self.state["velocity"], self.decay, step)
        if step_of_long_row("sgd", rows, matrices, (lr, momentum, decay)):
            return
        for weight, slope, velocity, decays, moved, spare in pieces(rows, *matrices, spare=1):
            torch.mul(decays, decay, out=spare)
            torch.addcmul(slope, weight, spare, out=spare)
            velocity.mul_(momentum).add_(spare)
            torch.mul(velocity, lr, out=moved)
            weight.sub_(moved)
