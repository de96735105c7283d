"""The controllers by name, for `train`, `compare` and `watch` alike, open to one's own.

An own controller is any object with ``decide(history, task, budget) -> Decision``, or a function of these three; give
it, its class, or ``module:attribute``.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mapopt.errors import ConfigError
from mapopt.registry import Choice, Registry, check_settings
from mapopt.settings import from_mapping
from mapopt.training.budget import Budget, TaskInfo
from mapopt.training.controllers.base import Controller, Decision
from mapopt.training.controllers.ending import AugmentUntil, check_ending
from mapopt.training.controllers.reactive import Patience
from mapopt.training.history import Round

_ARGUMENTS = ("history", "task", "budget")


def _problem(part: Any) -> str:
    """Says what keeps an own part from being a controller."""
    if callable(getattr(part, "decide", None)) or inspect.isroutine(part):
        return ""
    return "has no method decide(history, task, budget): see mapopt.training.Controller"


CONTROLLERS: Registry[Any] = Registry(
    "controller",
    {
        "schedule": "mapopt.training.controllers.fixed:Schedule",
        "constant": "mapopt.training.controllers.fixed:Constant",
        "plateau": "mapopt.training.controllers.reactive:Plateau",
        "one_cycle": "mapopt.training.controllers.one_cycle:OneCycle",
        "greedy_lr": "mapopt.training.controllers.feedback:GreedyLR",
        "hypergradient": "mapopt.training.controllers.feedback:Hypergradient",
        "autopilot": "mapopt.training.controllers.autopilot:AutopilotController",
        "lookahead": "mapopt.training.controllers.lookahead:Lookahead",
        "best_of_n": "mapopt.training.controllers.lookahead:BestOfN",
        "mf_pbt": "mapopt.training.controllers.population:MultiFrequencyPBT",
        "replay": "mapopt.training.controllers.fixed:load_replay",
        # Only a name here: what is below does not import what is above.
        "agent": "mapopt.agents.registry:make_agent_controller",
    },
    check=_problem,
)
"""Each is a class of controllers, or a function of settings that makes one."""


@dataclass(frozen=True)
class FunctionController:
    """Decides as a function does."""

    function: Callable[..., Decision]
    """Of history, task and budget, and of settings by name."""
    settings: Mapping[str, Any] = field(default_factory=dict)

    def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        """Calls the function."""
        return self.function(history, task, budget, **self.settings)


def make_controller(
    given: str | Choice | Controller | Callable[..., Any],
    settings: Mapping[str, Any] | None = None,
    *,
    patience: int = 0,
    augment_until: float = 1.0,
) -> Controller:
    """Makes a controller of whatever names or is one.

    Args:
        given: key of `CONTROLLERS`; ``module:attribute``; a controller or a class of controllers; a function of
            (history, task, budget), or one of settings that returns a controller; or a `Choice`.
        settings: keyword arguments that differ from their defaults.
        patience: rounds without a better val AP after which a run stops; 0 never stops.
        augment_until: fraction of the budget after which there is no augmentation; 1 keeps it on.

    Raises:
        ConfigError: there is no such controller, it decides nothing, or a setting is unknown or not what it should be.

    >>> make_controller("schedule", {"shape": "steps", "milestones": [0.5]}).milestones
    (0.5,)
    """
    if patience < 0:
        raise ConfigError(f"patience is {patience}: expected 0, which never stops, or more rounds")
    if isinstance(given, Choice):
        settings = {**given.settings, **(settings or {})}
        given = given.name
    controller = _make(given, dict(settings or {}))
    if not callable(getattr(controller, "decide", None)) or inspect.isclass(controller):
        raise ConfigError(
            f"controller '{_shown(given)}' made a value of type {type(controller).__name__}: expected an object with "
            "decide(history, task, budget)"
        )
    check_ending(augment_until)
    if augment_until < 1:
        if callable(getattr(controller, "plan", None)):
            raise ConfigError(
                f"augment_until is {augment_until:g} with controller '{_shown(given)}', whose trials would know "
                "nothing of it: give another controller, or leave augment_until out"
            )
        controller = AugmentUntil(controller=controller, fraction=augment_until)
    return Patience(controller=controller, rounds=patience) if patience else controller


def _make(given: Any, settings: dict[str, Any]) -> Any:
    part, what = CONTROLLERS.find(given), f"controller '{_shown(given)}'"
    if inspect.isroutine(part) and _decides(part):
        check_settings(part, {**dict.fromkeys(_ARGUMENTS), **settings}, what)
        return FunctionController(part, settings)
    if inspect.isclass(part) and dataclasses.is_dataclass(part):
        try:
            return from_mapping(part, settings, what)
        except TypeError:  # a field of a type that no file can hold
            return CONTROLLERS.make(given, settings)
    return CONTROLLERS.make(given, settings)


def _decides(function: Any) -> bool:
    """Returns whether a function is a controller itself, and does not make one."""
    try:
        return tuple(inspect.signature(function).parameters)[:3] == _ARGUMENTS
    except (TypeError, ValueError):  # built in, without a signature
        return False


def _shown(given: Any) -> str:
    if isinstance(given, str):
        return given
    return str(getattr(given, "__qualname__", None) or type(given).__qualname__)
