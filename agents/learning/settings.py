"""How an agent is trained: the settings of its environment, and those of the learner beside them.

They are kept with the agent and with the state that a training is resumed from, as plain values. What earlier versions
kept is read as today's would be written, so that their trainings go on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from mapopt.agents.baselines import BASELINES, describe_baseline
from mapopt.agents.learning.algorithms import ALGORITHMS, Algorithm, check_hyperparameters, find_algorithm, is_evolution
from mapopt.bounds import WORKERS, check_seed, check_whole
from mapopt.envs.detector_training.actions import ACTIONS
from mapopt.envs.detector_training.features import FEATURES
from mapopt.envs.detector_training.following import BASELINE, NONE
from mapopt.envs.detector_training.rewards import REWARDS
from mapopt.envs.detector_training.settings import SCHEDULE, EnvSettings
from mapopt.envs.families.base import NumberedFamily, plain_settings
from mapopt.envs.families.registry import FAMILIES
from mapopt.errors import ConfigError, MapoptError
from mapopt.former_names import translate
from mapopt.registry import Registry, texts_in
from mapopt.settings import from_mapping, to_mapping
from mapopt.training.controllers.registry import CONTROLLERS

if TYPE_CHECKING:
    from mapopt.envs.families.base import InstanceFamily

_HELD_OUT = 8
"""Instances that are held out of a family."""

_SEEDS = 4
"""Training seeds where reference runs are paid for each of them."""

FREE = ("iterations", "device")
"""What a resumed training may change: its length, and the machine."""


@dataclass(frozen=True, kw_only=True)
class AgentTraining(EnvSettings):
    """How an agent is trained: on an environment with these settings, by a learner with those that follow.

    Raises:
        ConfigError: a setting is unknown or out of its range.

    >>> AgentTraining(knobs=("lr",), iterations=2).environment.make_action().scale
    4.0
    """

    action: Any = None
    """The form of action, as in `EnvSettings`; None is relative, and discrete for a learner that needs choices."""
    reference: Any = None
    """What rewards are relative to, as in `EnvSettings`; None is the baseline, and nothing for learners that compare
    candidates on the same episodes."""
    num_seeds: int | None = None
    """Training seeds are drawn below it; None is 4 with a reference, which is played for every pair of instance and
    seed, and any seed without."""
    held_out: int | None = None  # type: ignore[assignment]
    """So many of the family's instances, the last ones, are never trained on; on them policies are evaluated. None is
    8, and at most half of the family."""
    evaluate_every: int = 5
    """After so many iterations the policy is evaluated on held-out instances, and the best one is kept; 0 keeps the
    last."""
    algo: str = "ppo"
    """The learner: a name in `mapopt.agents.learning.algorithms.ALGORITHMS`."""
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    """Arguments of the learner's constructor, or of its policy's, by name; they come before the settings below."""
    iterations: int = 20
    """Episodes per lane, between which the policy is updated."""
    workers: int = 0
    """Processes; 0 takes one per core, and one on a GPU."""
    lanes: int = 16
    """Episodes at once in each process."""
    stagger: bool = False
    """Cut the first episodes of an iteration to different lengths, in lane i of n by i / n of an episode, and begin
    others in their place, so that a batch of steps has early and late rounds. Not of cma_es and es, whose candidates
    play the same episodes."""
    learning_rate: float = 1e-3
    """Of the policy."""
    epochs: int = 8
    """How often an update goes through the episodes; of PPO, as are minibatches and clip."""
    minibatches: int = 4
    """Into how many parts an update divides them."""
    clip: float = 0.2
    """How far an update may move the odds of an action."""
    gae_lambda: float = 0.95
    """How far advantages look ahead; 1 to the end of the episode. Of PPO and A2C, as is log_std."""
    log_std: float = -1.0
    """Logarithm of the initial standard deviation of the actions."""
    reward_scale: float = 10.0
    """The learner is given gains of AP times this."""
    hidden: tuple[int, ...] | None = None
    """Width of every hidden layer of the policy; None is two of 32, and for cma_es and es none, a linear policy."""
    seed: int = 0
    """Every random choice of the training follows from it."""

    def __post_init__(self) -> None:
        known = find_algorithm(self.algo)
        if self.action is None:
            self._set("action", "relative" if "continuous" in known.actions else "discrete")
        evolution = is_evolution(self.algo)
        if self.reference is None:
            self._set("reference", NONE if evolution else BASELINE)
        if self.hidden is None:
            self._set("hidden", () if evolution else (32, 32))
        if self.num_seeds is None and self.reference != NONE:
            self._set("num_seeds", _SEEDS)
        held_out = self.held_out
        self._set("held_out", held_out or 0)
        super().__post_init__()
        self._set("held_out", held_out)
        check_whole("evaluate_every", self.evaluate_every, 0)
        if not isinstance(self.stagger, bool):
            raise ConfigError(f"stagger is {self.stagger!r}: expected True or False")
        self._check_fields(known)
        check_seed(self.seed)
        check_whole("workers", self.workers, 0, WORKERS)
        for name in ("iterations", "lanes", "epochs", "minibatches"):
            check_whole(name, getattr(self, name), 1)
        if evolution and self.learning_rate != AgentTraining.learning_rate:
            raise ConfigError(
                f"learning_rate was given for {self.algo}: leave it out, or give it to es among its hyperparameters"
            )
        if not 0 < self.learning_rate <= 1:
            raise ConfigError(f"learning_rate is {self.learning_rate}: expected more than 0, to 1")

    def _check_fields(self, known: Algorithm) -> None:
        """Raises ConfigError where a setting is given that another learner has."""
        if not isinstance(self.hyperparameters, dict):
            raise ConfigError(f"hyperparameters is {self.hyperparameters!r}: expected names with values")
        others = {name for each in ALGORITHMS.values() for name in each.fields} - set(known.fields)
        for item in fields(self):
            if item.name in others and getattr(self, item.name) != item.default:
                raise ConfigError(f"{item.name} was given for {self.algo}, which has no such setting: leave it out")

    @property
    def environment(self) -> EnvSettings:
        """What the environments are made from."""
        given = {item.name: getattr(self, item.name) for item in fields(EnvSettings)}
        return EnvSettings(**{**given, "held_out": self.held_out or 0})

    def held_out_of(self, family: InstanceFamily) -> int:
        """Returns how many instances of a family are held out."""
        return min(_HELD_OUT, family.count // 2) if self.held_out is None else self.held_out

    @property
    def processes(self) -> int:
        """How many processes there will be."""
        if self.workers:
            return self.workers
        return 1 if self.device.startswith("cuda") else max(1, len(os.sched_getaffinity(0)))


def check_training(settings: AgentTraining) -> InstanceFamily:
    """Makes what an agent is trained on, before anything is begun.

    Returns:
        the family of instances.

    Raises:
        ConfigError: a part cannot be imported or made, a round is no whole number of steps, or the family is one for
            evaluating agents.
        DataError: the family's data cannot be used.
    """
    check_hyperparameters(settings.algo, settings.hyperparameters)
    _check_actions(settings)
    settings.make_reward()
    settings.make_reference()
    family = settings.make_family()
    if family.split != "train":
        raise ConfigError("the family's instances are for evaluating agents: train on one with split='train'")
    if isinstance(family, NumberedFamily):
        family.check_budget(settings.budget)
    return family


def _check_actions(settings: AgentTraining) -> None:
    """Raises ConfigError where a learner cannot learn a form of action, or an agent's file cannot hold it."""
    from gymnasium.spaces import Box, MultiDiscrete

    form = settings.make_action()
    if describe_baseline(form.baseline) is None:
        raise ConfigError(
            f"actions relative to a {type(form.baseline).__name__}, which an agent's file does not hold: expected a "
            f"schedule, {', '.join(BASELINES[:-1])} or {BASELINES[-1]}"
        )
    space, known = form.space_of_actions(), find_algorithm(settings.algo).actions
    kind = "continuous" if isinstance(space, Box) else "choices"
    if kind not in known or (isinstance(space, MultiDiscrete) and "continuous" not in known):
        forms = "relative, moving or absolute" if "continuous" in known else "discrete"
        raise ConfigError(f"{settings.algo} cannot learn actions from {space}: give --action {forms}")


def stored(settings: AgentTraining, family: InstanceFamily) -> dict[str, Any]:
    """Returns settings as plain values: defaults that depend on the machine or on the action are filled in.

    Args:
        settings: of the training.
        family: that the settings describe.

    Raises:
        ConfigError: the family cannot be written down.
    """
    form = settings.make_action()
    features = settings.features
    values = {
        **{item.name: getattr(settings, item.name) for item in fields(AgentTraining)},
        "family": _family(family),
        "knobs": form.knobs,
        "action": _part(settings.action, ACTIONS),
        "scale": getattr(form, "scale", settings.scale),
        "step_size": getattr(form, "step_size", settings.step_size),
        "reward": _part(settings.reward, REWARDS),
        "reference": _part(settings.reference, CONTROLLERS),
        "baseline": _part(settings.baseline, CONTROLLERS),
        "features": None if features is None else [_part(entry, FEATURES) for entry in features],
        "workers": settings.processes,
        "held_out": settings.held_out_of(family),
    }
    if settings.baseline == SCHEDULE:
        del values["baseline"]  # as in files of before there was a choice
    plain: dict[str, Any] = to_mapping(values)
    return plain


def same_training(kept: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Returns whether stored settings are of one training, whatever its length.

    Args:
        kept: what a version of mapopt stored, this one or an earlier one.
        now: what this one would store.
    """
    before = {**_OF_THE_FIRST, **translate(kept, "agent training")}
    before["family"] = _family_of_today(before["family"])
    return {**before, **dict.fromkeys(FREE)} == {**_OF_THE_FIRST, **now, **dict.fromkeys(FREE)}


_OF_THE_FIRST: dict[str, Any] = {
    "action": "relative",
    "step_size": None,
    "seconds_limit": None,
    "algo": "ppo",
    "hyperparameters": {},
    "reference": NONE,
    "num_seeds": None,
    "held_out": 0,
    "evaluate_every": 0,
    "stagger": False,
}
"""What trainings of before there were such settings had."""


def _family(family: InstanceFamily) -> dict[str, Any]:
    """Returns a family's settings with its name beside them."""
    cls = type(family)
    names = [name for name in FAMILIES if FAMILIES[name] is cls]
    settings = plain_settings(family)
    try:
        json.dumps(settings)
    except TypeError as error:
        raise ConfigError(
            f"family {cls.__name__} cannot be stored with the agent ({error}): expected a dataclass of numbers, texts, "
            "lists and dataclasses"
        ) from None
    return {"name": names[0] if names else f"{cls.__module__}.{cls.__qualname__}", **settings}


def _family_of_today(kept: Any) -> Any:
    """Returns a family's stored settings with those that the family has got since, at their defaults."""
    name = str(kept.get("name", "")) if isinstance(kept, Mapping) else ""
    if name not in FAMILIES:
        return kept
    settings = {key: value for key, value in kept.items() if key != "name"}
    if texts_in(settings.get("members")):
        return kept  # nothing is imported because a file names it
    try:
        return {"name": name, **to_mapping(from_mapping(FAMILIES[name], settings, "the family"))}
    except MapoptError:
        return kept


def _part(given: Any, registry: Registry[Any]) -> Any:
    """Returns a named part as plain values; of an object that cannot be named, its type."""
    if isinstance(given, str):
        return given
    try:
        choice = registry.choice(given)
    except ConfigError:
        return f"{type(given).__module__}.{type(given).__qualname__}"
    return to_mapping(choice) if choice.settings else choice.name
