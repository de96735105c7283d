"""One cycle: the learning rate rises to its value and falls back, and then to almost nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from mapopt.errors import ConfigError
from mapopt.training.budget import Budget, TaskInfo
from mapopt.training.controllers.base import Decision, check_range, with_rate
from mapopt.training.controllers.moves import KnobMoves
from mapopt.training.controllers.ways import decide_along
from mapopt.training.history import Round
from mapopt.training.knobs import Knobs


@dataclass(frozen=True, kw_only=True)
class OneCycle:
    """The 1cycle policy: linear up, linear down in as many images, and down again to almost nothing.

    The task's learning rate is the largest. Momentum goes the other way between two values, linearly too, where
    `momentum_low` is below the task's momentum; at the end it is the task's. What the task leaves open moves as in a
    schedule.

    Raises:
        ConfigError: a fraction is not from 0 to 1, or the cycle has no length.

    Reference: L. N. Smith, N. Topin, "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning
    Rates", arXiv:1708.07120, section 3; L. N. Smith, "A disciplined approach to neural network hyper-parameters: Part
    1", arXiv:1803.09820, section 4.3, for the momentum.

    >>> cycle = OneCycle(length=0.8, start=0.1, final=0.001)
    >>> [round(cycle.fraction(at), 4) for at in (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0)]
    [0.1, 0.55, 1.0, 0.55, 0.1, 0.0505, 0.001]
    """

    length: float = 0.9
    """Fraction of the budget that the cycle takes; in the rest the learning rate falls to `final`."""
    start: float = 0.1
    """Fraction of the learning rate that the cycle begins and ends at."""
    final: float = 0.001
    """Fraction of the learning rate that the run ends at."""
    momentum_low: float = 1.0
    """Momentum in the middle of the cycle; the task's own, where that is smaller."""

    def __post_init__(self) -> None:
        for name in ("length", "start", "final", "momentum_low"):
            check_range(name, getattr(self, name), 0, 1)
        if not self.length:
            raise ConfigError("length is 0: expected a cycle that takes a fraction of the budget, such as 0.9")

    def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the knobs at the coming round's ends, and where they bend inside."""
        moves = KnobMoves().moves_of(task.knobs)
        bends = [self.length / 2, self.length, *(at for points in moves.values() for at, _ in points)]
        return decide_along(partial(self._at, task), bends, len(history), budget)

    def fraction(self, progress: float) -> float:
        """Returns the fraction of the learning rate after a fraction of the budget."""
        if progress <= self.length:
            return self.start + (1 - self.start) * self._height(progress)
        done = (progress - self.length) / (1 - self.length)
        return self.start + (self.final - self.start) * min(done, 1.0)

    def _height(self, progress: float) -> float:
        """Returns how high in the cycle a fraction of the budget is, 0 to 1."""
        return max(0.0, 1 - abs(progress - self.length / 2) / (self.length / 2))

    def _at(self, task: TaskInfo, progress: float, before: bool) -> Knobs:
        knobs = KnobMoves().moved(with_rate(task.knobs, self.fraction(progress)), progress, before=before)
        low = min(self.momentum_low, task.knobs.momentum)
        return knobs.replace(momentum=task.knobs.momentum + (low - task.knobs.momentum) * self._height(progress))
