"""Controllers that follow a trained policy: with its eyes open, and blind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mapopt.agents.agent import Agent
from mapopt.envs.detector_training.actions import Action
from mapopt.envs.detector_training.features import Feature
from mapopt.envs.detector_training.observations import needed_measures
from mapopt.errors import AgentError
from mapopt.training import Budget, Controller, Decision, Measure, Round, TaskInfo

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from mapopt.envs.detector_training.settings import EnvSettings


class Policy(Protocol):
    """Whatever chooses an action for a history: an `Agent`, or a model of stable-baselines3."""

    @property
    def features(self) -> tuple[Feature, ...]:
        """What it is shown."""

    @property
    def form(self) -> Action:
        """What an action does to the knobs, relative to the baseline it was trained with."""

    def choose(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Any:
        """Returns the action for a history; a function of its arguments only."""


@dataclass(frozen=True)
class PolicyController:
    """Runs a trained policy through the same loop as everything else."""

    agent: Policy
    baseline: Controller | None = None
    """What the policy's actions are relative to, where that is not its own schedule: an instance may bring another."""

    @classmethod
    def from_sb3(
        cls, model: BaseAlgorithm | str | Path, *, settings: EnvSettings | Mapping[str, Any] | None = None
    ) -> PolicyController:
        """Makes a controller of a model of stable-baselines3 or sb3-contrib, recurrent ones included.

        It decides as `model.predict(..., deterministic=True)` does in the environment, bit for bit; going on with the
        model's training does not change it.

        Args:
            model: a model, or the path of its zip. Such a file holds pickles, and **loading it executes code**: give
                only the path of a file that you trust. Nothing in mapopt follows a path that another file holds.
            settings: of the environment that the model was trained on, or a mapping of those that differ from their
                defaults; by default what the model's environment says.

        Raises:
            AgentError: nothing says what the model was trained with, or something else is said; or the file cannot be
                loaded.
        """
        from mapopt.agents.sb3 import sb3_policy

        return cls(sb3_policy(model, settings))

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What has to be measured of every round so that the policy sees what it was trained on."""
        return needed_measures(self.agent.features)

    def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns what the policy does after this history."""
        _check_knobs(self.agent, task)
        action = self.agent.choose(history, task, budget)
        return form_of(self.agent, self.baseline).decide(action, history, task, budget)


@dataclass(frozen=True)
class OpenLoopController:
    """Replays an agent's mean actions without looking at the run: what its feedback has to beat."""

    agent: Agent
    baseline: Controller | None = None
    """What the actions are relative to, where that is not the agent's own schedule; as `PolicyController.baseline`."""

    def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the agent's mean action at this fraction of the budget, whatever happened."""
        _check_knobs(self.agent, task)
        recorded = np.array(self.agent.open_loop)
        if not len(recorded):
            raise AgentError("the agent carries no mean actions to replay: train it again")
        at = (len(history) + 0.5) / budget.rounds * len(recorded) - 0.5
        mean = [float(np.interp(at, np.arange(len(recorded)), column)) for column in recorded.T]
        return form_of(self.agent, self.baseline).decide(mean, history, task, budget)


def _check_knobs(policy: Policy, task: TaskInfo) -> None:
    """Raises AgentError where an agent turns knobs that a task does not have: those of parts of somebody's own."""
    missing = [name for name in policy.form.knobs if name not in task.ranges]
    if missing:
        raise AgentError(
            f"the agent turns {', '.join(missing)}, which task '{task.name}' does not have: "
            "a loss, a detector or an optimizer of the task that it was trained on declares such a knob; give this "
            "task the same one"
        )


def form_of(policy: Policy, baseline: Controller | None = None) -> Action:
    """Returns what a policy's actions mean: relative to its own baseline, or to the one that an instance brings."""
    return policy.form if baseline is None else policy.form.over(baseline)
