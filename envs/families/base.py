"""What an instance is, and what every family of instances offers.

An instance is a pure function of its family and number. Those an agent is trained on and those it is judged on are
drawn from different data, so that an agent is never judged on an image it was trained with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from mapopt.training.controllers import Controller
from mapopt.training.task import Budget, Task

Side = Literal["train", "judge"]
"""What instances are for: training an agent, or judging it."""


@dataclass(frozen=True)
class Instance:
    """One task with what is special about it."""

    task: Task
    description: str
    """All that is special about it, in one line."""
    budget: Budget | None = None
    """The episode's own budget, where the family varies it; else the environment's holds."""
    baseline: Controller | None = None
    """What the zero action does, where the instance starts from a schedule of its own; else the environment's."""

    def __str__(self) -> str:
        return self.description


class InstanceFamily(Protocol):
    """Numbered instances."""

    @property
    def split(self) -> Side:
        """Whether the instances are for training an agent or for judging it."""

    @property
    def count(self) -> int:
        """How many there are."""

    def instance(self, number: int) -> Instance:
        """Returns the instance of a number in ``[0, count)``; the same number gives the same bits."""
