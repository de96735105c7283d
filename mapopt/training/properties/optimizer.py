"""The properties of an optimizer over rows: every lane by itself, and a state that can be copied."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mapopt.training.knob_tensors import stack_knobs
from mapopt.training.knobs import Knobs
from mapopt.training.optimizers.base import RowOptimizer
from mapopt.training.optimizers.registry import make_optimizer
from mapopt.training.own_knobs import OwnKnob
from mapopt.training.properties.base import Case

_SIZE = 37
"""Numbers of a lane; odd, so that rows begin at other places than vectors of a processor do."""

_PARTS = {"flat": (3, 8), "bias": (4,), "kernel": (3, 1, 1, 3)}
"""What they are cut into."""


@dataclass(frozen=True, kw_only=True)
class OptimizerCase(Case):
    """An optimizer with its settings and own knobs."""

    optimizer: Any
    settings: Mapping[str, Any] = field(default_factory=dict)
    own: Mapping[str, OwnKnob] = field(default_factory=dict)
    lr: float = 0.01

    def knobs(self, **changes: float) -> Knobs:
        """Returns knobs of a lane."""
        own = {name: knob.default for name, knob in self.own.items()}
        return Knobs(lr=self.lr, own=own).replace(**changes)

    def start(self, lanes: Sequence[int]) -> tuple[Tensor, RowOptimizer]:
        """Returns weights ``[lanes, n]``, each row drawn by its number, and an optimizer for them."""
        weights = torch.stack([self._draw(lane, 0) for lane in lanes])
        decay = (torch.arange(_SIZE) % 3 > 0).float()
        return weights, make_optimizer(self.optimizer, weights, decay, self.settings, parts=_PARTS)

    def gradient(self, lanes: Sequence[int], step: int) -> Tensor:
        """Returns the gradients ``[lanes, n]`` of a step."""
        return torch.stack([self._draw(lane, step) for lane in lanes])

    def _draw(self, lane: int, step: int) -> Tensor:
        return torch.randn(_SIZE, generator=torch.Generator().manual_seed(self.seed + 1000 * lane + step))

    def update(
        self, optimizer: RowOptimizer, weights: Tensor, gradient: Tensor, knobs: Sequence[Knobs], active: Tensor
    ) -> Tensor:
        """Takes a step; fails where a knob is read that there is not."""
        table = stack_knobs(knobs)
        try:
            return optimizer.update(weights, gradient, table, active)
        except KeyError as error:
            if str(error.args[0]) in table:
                raise
            self.fail(f"it reads a knob {error} that is none: declare it in an attribute `knobs`")

    def steps(self, weights: Tensor, optimizer: RowOptimizer, lanes: Sequence[int], steps: Sequence[int]) -> Tensor:
        """Takes steps in place, each lane with its own learning rate; returns the lengths of the last."""
        moved = torch.zeros(len(lanes))
        knobs = [self.knobs(lr=self.lr / 2 * (1 + lane % 4), momentum=0.5 + 0.1 * (lane % 4)) for lane in lanes]
        for step in steps:
            active = torch.ones(len(lanes), dtype=torch.bool)
            moved = self.update(optimizer, weights, self.gradient(lanes, step), knobs, active)
        return moved


def _downhill(case: OptimizerCase) -> None:
    """The first step goes down the gradient, changes the weights in place, and leaves the gradient alone."""
    weights, optimizer = case.start([1, 2])
    before, gradient = weights.clone(), case.gradient([1, 2], 1)
    given = gradient.clone()
    case.update(optimizer, weights, gradient, [case.knobs()] * 2, torch.ones(2, dtype=torch.bool))
    case.expect(torch.isfinite(weights).all(), "weights are not finite after a step")
    case.expect(not torch.equal(weights, before), "a step changed nothing: the weights are to be changed in place")
    case.expect(torch.equal(gradient, given), "it changed the gradient that it was given")
    downhill = ((before - weights) * gradient).sum(1)
    case.expect(
        (downhill > 0).all(), f"the first step does not go down the gradient: its product is {downhill.tolist()}"
    )


def _lengths(case: OptimizerCase) -> None:
    """What is returned are the lengths of the steps."""
    weights, optimizer = case.start([1, 2, 3])
    for step in range(1, 4):
        before = weights.clone()
        moved = case.steps(weights, optimizer, [1, 2, 3], [step])
        real = (weights - before).norm(dim=1)
        case.expect(
            isinstance(moved, Tensor) and moved.shape == (3,),
            f"update returned {list(getattr(moved, 'shape', ()))}, expected the length of each lane's step, [3]",
        )
        close = torch.allclose(moved.double(), real.double(), rtol=1e-3, atol=1e-6)
        case.expect(close, f"update returned the lengths {moved.tolist()}, and the weights moved by {real.tolist()}")


def _rows(case: OptimizerCase) -> None:
    """A lane's numbers do not depend on the other lanes."""
    many, place = [1, 2, 3, 4, 5], 3
    weights, optimizer = case.start(many)
    alone, single = case.start([many[place]])
    case.steps(weights, optimizer, many, range(1, 6))
    case.steps(alone, single, [many[place]], range(1, 6))
    distance = float((weights[place] - alone[0]).abs().max())
    case.expect(
        torch.equal(weights[place], alone[0]), f"a lane among five and alone differ by {distance:g} after 5 steps"
    )


def _rest(case: OptimizerCase) -> None:
    """A lane that is not active keeps its weights and its state."""
    weights, optimizer = case.start([1, 2])
    case.steps(weights, optimizer, [1, 2], [1, 2])
    before, state = weights.clone(), {name: value.clone() for name, value in optimizer.state.items()}
    active = torch.tensor([True, False])
    moved = case.update(optimizer, weights, case.gradient([1, 2], 3), [case.knobs()] * 2, active)
    case.expect(not torch.equal(weights[0], before[0]), "an active lane did not move beside a lane that rests")
    case.expect(torch.equal(weights[1], before[1]), "a lane that is not active moved")
    case.expect(float(moved[1]) == 0, f"a lane that is not active has a step of length {float(moved[1]):g}")
    for name, value in state.items():
        case.expect(torch.equal(optimizer.state[name][1], value[1]), f"the state '{name}' of a resting lane changed")


def _state(case: OptimizerCase) -> None:
    """Its state is all in `state`: copied into a fresh optimizer, it goes on with the same bits."""
    weights, optimizer = case.start([1, 2])
    case.steps(weights, optimizer, [1, 2], [1, 2, 3])
    shapes = {name: value.shape for name, value in optimizer.state.items()}
    other, fresh = case.start([1, 2])
    other.copy_(weights)
    case.expect(
        {name: value.shape for name, value in fresh.state.items()} == shapes,
        f"the state of a fresh optimizer is not that after 3 steps: {sorted(fresh.state)} and {sorted(shapes)} with "
        "their shapes; make all of it in the constructor",
    )
    for name, value in optimizer.state.items():
        fresh.state[name].copy_(value)
    case.steps(weights, optimizer, [1, 2], [4, 5])
    case.steps(other, fresh, [1, 2], [4, 5])
    distance = float((weights - other).abs().max())
    case.expect(torch.equal(weights, other), f"a copy of its state went on to weights that differ by {distance:g}")


def _knobs(case: OptimizerCase) -> None:
    """The knobs are read at every step."""
    steps = []
    for turned in ({}, {"lr": 2 * case.lr}, *({name: knob.turned()} for name, knob in case.own.items())):
        weights, optimizer = case.start([1, 2])
        case.steps(weights, optimizer, [1, 2], [1, 2])
        before = weights.clone()
        knobs = [case.knobs(**turned)] * 2
        case.update(optimizer, weights, case.gradient([1, 2], 3), knobs, torch.ones(2, dtype=torch.bool))
        steps.append((turned, weights - before))
    for turned, step in steps[1:]:
        case.expect(not torch.equal(step, steps[0][1]), f"the knobs {turned} changed nothing in the step that follows")


OPTIMIZER_PROPERTIES: dict[str, Callable[[OptimizerCase], None]] = {
    "downhill": _downhill,
    "lengths": _lengths,
    "rows": _rows,
    "rest": _rest,
    "state": _state,
    "knobs are read at every step": _knobs,
}
"""Every property of an optimizer, and what checks it."""
