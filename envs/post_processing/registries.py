"""What the environment of post-processing takes by name: where candidates come from, what is paid, forms of action."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from mapopt.errors import ConfigError
from mapopt.registry import Choice, Registry, check_settings

if TYPE_CHECKING:
    from mapopt.envs.post_processing.actions import SettingAction, SettingSpace
    from mapopt.envs.post_processing.candidates import CandidateFamily
    from mapopt.postprocessing.scorer import PostProcessingScore


def _family_problem(part: Any) -> str:
    if callable(getattr(part, "instance", None)) or inspect.isroutine(part):
        return ""
    return "has no instance(number): expected a class of numbered instances, see CandidateFamily"


def _action_problem(part: Any) -> str:
    if callable(getattr(part, "apply", None)) or inspect.isroutine(part):
        return ""
    return "has no apply(action, units): expected a form of action that is made from a SettingSpace, see SettingAction"


def _reward_problem(part: Any) -> str:
    return "" if callable(part) else "cannot be called: expected a function of a PostProcessingScore"


# Functions and no lambdas, which could not be pickled with the environment that holds them.
def _ap(score: PostProcessingScore) -> float:
    return score.ap


def _f1(score: PostProcessingScore) -> float:
    return score.f1


def _without_lrp(score: PostProcessingScore) -> float:
    return 1 - score.lrp


CANDIDATE_FAMILIES: Registry[Any] = Registry(
    "family of candidates",
    {"synthetic": "mapopt.envs.post_processing.synthetic:SyntheticCandidates"},
    check=_family_problem,
)
"""Where candidates come from, by name; see `CandidateFamily` for a family of your own."""

SETTING_ACTIONS: Registry[Any] = Registry(
    "action",
    {
        "absolute": "mapopt.envs.post_processing.actions:AbsoluteSettings",
        "discrete": "mapopt.envs.post_processing.actions:DiscreteSettings",
    },
    check=_action_problem,
)
"""The forms of action by name; see `SettingAction` for one of your own."""

SETTING_REWARDS: Registry[Any] = Registry(
    "reward",
    {
        "ap": _ap,
        "f1": _f1,
        "lrp": _without_lrp,
    },
    check=_reward_problem,
)
"""The value of settings by name: a function of their `PostProcessingScore`, from 0 on. One of your own is such a
function, or a class whose objects can be called like one."""


def make_candidates(given: Any) -> CandidateFamily:
    """Makes a family of candidates of a name, ``module:attribute``, a class, a `Choice` or a finished family.

    Raises:
        ConfigError: the name or a setting is unknown, or a setting is out of its range.
    """
    family: CandidateFamily = CANDIDATE_FAMILIES.make(given)
    for attribute in ("instance", "count", "split", "classes"):
        if not hasattr(family, attribute):
            raise ConfigError(f"family of candidates {type(family).__name__} has no {attribute}: see CandidateFamily")
    return family


def make_setting_action(given: Any, space: SettingSpace, *, step_size: float | None = None) -> SettingAction:
    """Makes a form of action on the settings of a space.

    Args:
        given: a name in `SETTING_ACTIONS`, ``module:attribute``, a class or a function; or one of these with settings,
            as a `Choice`.
        space: the settings.
        step_size: how far a discrete action moves a number; by default the form's own.

    Raises:
        ConfigError: there is no such form, or it does not take a setting.
    """
    name, settings = (given.name, given.settings) if isinstance(given, Choice) else (given, {})
    part = SETTING_ACTIONS.find(name)
    if not inspect.isclass(part) and not inspect.isroutine(part):
        raise ConfigError("an action object was given: give its class, which is made with the settings there are")
    if step_size is not None:
        if "step_size" not in inspect.signature(part).parameters:
            raise ConfigError(f"step_size was given for {name} actions, which have none: leave it out")
        settings = {**settings, "step_size": step_size}
    return SETTING_ACTIONS.make(name, {"space": space, **settings})  # type: ignore[no-any-return]


def make_value(given: Any) -> Callable[[PostProcessingScore], float]:
    """Returns the function that gives the value of a setting's score.

    Args:
        given: a name in `SETTING_REWARDS`, ``module:attribute``, a function or a class; or one of these with settings,
            as a `Choice`.

    Raises:
        ConfigError: there is no such reward, or it does not take a setting.
    """
    name, settings = (given.name, given.settings) if isinstance(given, Choice) else (given, {})
    part = SETTING_REWARDS.find(name)
    if inspect.isclass(part):
        made = SETTING_REWARDS.make(part, settings)
        problem = _reward_problem(made)
        if problem:
            raise ConfigError(f"reward of type {type(made).__name__} {problem}")
        return made  # type: ignore[no-any-return]
    if not settings:
        return part  # type: ignore[no-any-return]
    check_settings(partial(part, None), settings, f"reward '{name}'")
    return partial(part, **settings)


def name_of(reward: Any) -> str:
    """Returns what a line of text calls a reward."""
    given = reward.name if isinstance(reward, Choice) else reward
    return given if isinstance(given, str) else str(getattr(given, "__name__", type(given).__name__))
