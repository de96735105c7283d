"""What a form of action is, and the forms by name: an agent's action moves chosen knobs, or sets them outright."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from mapopt.errors import ConfigError
from mapopt.registry import Choice, Registry

if TYPE_CHECKING:
    from gymnasium.spaces import Space

    from mapopt.training.budget import Budget, TaskInfo
    from mapopt.training.controllers.base import Controller, Decision
    from mapopt.training.history import Round

DEFAULT_KNOBS = ("lr", "augment", "assign_iou", "box_weight")
"""The knobs that an agent sets unless others are named."""

SCALE = 4.0
"""What an offset of 1 means unless something else is given."""

STEP_SIZE = 0.25
"""How far a discrete action moves an offset unless something else is given."""


class Action(Protocol):
    """A form of action over chosen knobs.

    One of your own is easiest as a subclass of `KnobAction`; it may also be any object that has these members.
    """

    @property
    def knobs(self) -> tuple[str, ...]:
        """Names of the knobs that an action sets."""

    @property
    def baseline(self) -> Controller:
        """What decides everything else."""

    @property
    def action_names(self) -> tuple[str, ...]:
        """The name of every entry of an action, or of every choice where an action is one of several."""

    @property
    def baseline_action(self) -> Any:
        """The action that, always taken, is the baseline; None where there is none."""

    def space_of_actions(self) -> Space[Any]:
        """Returns the space an action comes from."""

    def decide(self, action: Any, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Returns the knobs of the coming round, or the order to stop before it; a function of its arguments only.

        Raises:
            ConfigError: the action is not one of the space's.
        """

    def over(self, baseline: Controller) -> Action:
        """Returns the same action over another baseline."""


def _problem(part: Any) -> str:
    missing = [name for name in ("space_of_actions", "decide", "over") if not hasattr(part, name)]
    if not missing or inspect.isroutine(part):
        return ""
    return f"has no {missing[0]}(...): expected a form of action, such as a subclass of KnobAction"


ACTIONS: Registry[Any] = Registry(
    "action form",
    {
        "relative": "mapopt.envs.detector_training.action_forms:RelativeAction",
        "moving": "mapopt.envs.detector_training.action_forms:MovingAction",
        "absolute": "mapopt.envs.detector_training.action_forms:AbsoluteAction",
        "discrete": "mapopt.envs.detector_training.action_forms:DiscreteAction",
        "multi_discrete": "mapopt.envs.detector_training.action_forms:MultiDiscreteAction",
    },
    check=_problem,
)
"""The forms of action by name; see `Action` for one of your own."""


def make_action(
    form: Any = "relative",
    *,
    knobs: Sequence[str] | None = None,
    scale: float | None = None,
    step_size: float | None = None,
    baseline: Controller | None = None,
) -> Action:
    """Makes a form of action.

    Args:
        form: a name in `ACTIONS`; ``module:attribute``, a class or a function that makes a form of your own; one of
            these with settings, as a `Choice`; or a finished `Action`, which brings all that follows.
        knobs: names of the knobs that an action sets; by default the form's own, which are `DEFAULT_KNOBS` in all of
            ours.
        scale: what an offset of 1 means; 4 by default.
        step_size: how far a discrete action moves; a quarter by default.
        baseline: what decides the other knobs; by default a warm-up and cosine.

    Raises:
        ConfigError: the form or a knob is unknown, or the form does not take a setting.
    """
    given = {"knobs": knobs, "scale": scale, "step_size": step_size, "baseline": baseline}
    settings: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if knobs is not None:
        settings["knobs"] = tuple(knobs)
    part = ACTIONS.find(form.name if isinstance(form, Choice) else form)
    if not inspect.isclass(part) and not inspect.isroutine(part):
        if settings:
            raise ConfigError(
                f"an action object was given with {', '.join(settings)}, which it brings: leave them out, or give its "
                "class or name instead"
            )
        finished: Action = part
        return finished
    parameters = inspect.signature(part).parameters.values()
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        unused = sorted(set(settings) - {parameter.name for parameter in parameters})
        if unused:
            name = form if isinstance(form, str) else getattr(part, "__name__", "such")
            raise ConfigError(f"{', '.join(unused)} was given for {name} actions, which have none: leave it out")
    action: Action = ACTIONS.make(form, settings)
    problem = _problem(action)
    if problem:
        raise ConfigError(f"action form of type {type(action).__name__} {problem}")
    return action
