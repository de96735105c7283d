"""A form of action that only goes on: a controller decides, and what it is paid can be taken off an agent's reward."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gymnasium.spaces import Discrete, Space

from mapopt.training.controllers.base import Controller, Decision, measures_of

if TYPE_CHECKING:
    from mapopt.training.budget import Budget, TaskInfo
    from mapopt.training.history import Measure, Round

NONE, BASELINE = "none", "baseline"
"""No reference, and what the action that does nothing is: the schedule of the environment, or that of an instance."""


@dataclass(frozen=True, kw_only=True)
class Following:
    """A form of action that leaves every decision to a controller."""

    baseline: Controller
    controller: Controller | None = None
    """What decides; None is the baseline."""
    knobs: tuple[str, ...] = ("lr",)
    action_names: tuple[str, ...] = ("go_on",)
    baseline_action: None = None

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What the controller wants to be measured."""
        return () if self.controller is None else measures_of(self.controller)

    def space_of_actions(self) -> Space[Any]:
        """Returns the space of the only action, which is to go on."""
        return Discrete(1)

    def decide(self, action: Any, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the controller's decision, whatever the action."""
        return (self.controller or self.baseline).decide(history, task, budget)

    def over(self, baseline: Controller) -> Following:
        """Returns the same over another baseline, and its controller, where that has one, too."""
        controller: Any = self.controller
        if dataclasses.is_dataclass(controller) and hasattr(controller, "baseline"):
            controller = replace(controller, baseline=baseline)  # type: ignore[type-var]
        return replace(self, baseline=baseline, controller=controller)
