"""Forms of action with a wrapper around them, so that what was learned in a wrapped environment can decide without it.

An environment says what an action does to the knobs (`action_form`); a wrapper that makes other actions of an
environment's says the same of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from gymnasium import Env
from gymnasium.spaces import Space
from gymnasium.vector import VectorEnv

from mapopt.envs.detector_training.actions import Action
from mapopt.envs.wrappers.inside import attribute
from mapopt.training import Budget, Controller, Decision, Round, TaskInfo


class ActionMap(Protocol):
    """What a wrapper does to an action; it holds no state."""

    @property
    def space(self) -> Space[Any]:
        """Of the actions that it takes."""

    @property
    def names(self) -> tuple[str, ...]:
        """The name of every entry of such an action; none where it is a choice without a name."""

    @property
    def baseline(self) -> Any:
        """The one that is the baseline; None where none is."""

    def apply(self, actions: np.ndarray) -> np.ndarray:
        """Returns the environment's action for the wrapper's."""


@dataclass(frozen=True, kw_only=True)
class WrappedAction:
    """A form of action behind a wrapper: what is chosen goes through the wrapper first."""

    inner: Action
    wrapper: ActionMap

    @property
    def knobs(self) -> tuple[str, ...]:
        """Names of the knobs that the environment's actions set."""
        return self.inner.knobs

    @property
    def baseline(self) -> Controller:
        """What decides everything else."""
        return self.inner.baseline

    @property
    def action_names(self) -> tuple[str, ...]:
        """The name of every entry of an action."""
        return self.wrapper.names

    @property
    def baseline_action(self) -> Any:
        """The action that, always taken, is the baseline; None where there is none."""
        return self.wrapper.baseline

    def space_of_actions(self) -> Space[Any]:
        """Returns the space an action comes from."""
        return self.wrapper.space

    def decide(self, action: Any, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the decision of the environment's action.

        Raises:
            ConfigError: the action is not one of the space's.
        """
        return self.inner.decide(self.wrapper.apply(np.asarray(action)), history, task, budget)

    def over(self, baseline: Controller) -> WrappedAction:
        """Returns the same action over another baseline."""
        return replace(self, inner=self.inner.over(baseline))


def wrapped_form(env: Env | VectorEnv, wrapper: ActionMap) -> WrappedAction:
    """Returns the form of action of an environment behind a wrapper.

    Raises:
        AttributeError: the environment has none, because it trains nothing.
    """
    return WrappedAction(inner=attribute(env, "action_form"), wrapper=wrapper)
