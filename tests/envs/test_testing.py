"""Our own families and environments pass the checks that are for anybody's, and what breaks a promise is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium
import numpy as np
import pytest

from mapopt.envs import (
    ACTIONS,
    FAMILIES,
    REWARDS,
    SETTING_ACTIONS,
    SETTING_REWARDS,
    DetectorTrainingEnv,
    FreezeKnobs,
    Instance,
    NumberedFamily,
    PostProcessingEnv,
    ShapesFamily,
)
from mapopt.envs.testing import check_env, check_family
from mapopt.errors import ConfigError
from mapopt.training import Budget, Recipe

MakeFamily = Callable[..., NumberedFamily]

SMALL: dict[str, Any] = {"images": (8, 4, 4), "count": 3, "recipe": Recipe(batch_size=4)}
BUDGET = Budget(images=8, rounds=2)


@pytest.mark.parametrize("name", list(FAMILIES))
def test_every_family_of_ours_passes(name: str, tiny_family: MakeFamily) -> None:
    check_family(tiny_family(name, budgets=(Budget(images=8, rounds=2), Budget(images=4, rounds=1))))


@pytest.mark.parametrize("name", list(FAMILIES))
def test_the_environment_passes_with_every_family(name: str, tiny_family: MakeFamily) -> None:
    check_env(DetectorTrainingEnv(tiny_family(name), budget=BUDGET))


@pytest.mark.parametrize("name", list(ACTIONS))
def test_the_environment_passes_with_every_form_of_action(name: str, tiny_family: MakeFamily) -> None:
    check_env(DetectorTrainingEnv(tiny_family(), budget=BUDGET, action=name))


@pytest.mark.parametrize("name", list(REWARDS))
def test_the_environment_passes_with_every_reward(name: str, tiny_family: MakeFamily) -> None:
    check_env(DetectorTrainingEnv(tiny_family(), budget=BUDGET, reward=name))


def test_the_environment_passes_in_a_wrapper(tiny_family: MakeFamily) -> None:
    check_env(FreezeKnobs(DetectorTrainingEnv(tiny_family(), budget=BUDGET), ("augment",)))


@pytest.mark.parametrize("action", list(SETTING_ACTIONS))
@pytest.mark.parametrize("reward", list(SETTING_REWARDS))
def test_the_environment_of_post_processing_passes(reward: str, action: str) -> None:
    family = {"name": "synthetic", "images": (4, 4), "count": 2}
    check_env(PostProcessingEnv(family, reward=reward, action=action, length=4))


@dataclass(frozen=True, kw_only=True)
class Forgetful(ShapesFamily):
    """Draws its second request differently."""

    asked: list[int] = field(default_factory=list, compare=False)

    def instance(self, number: int) -> Instance:
        self.asked.append(number)
        return super().instance((number + len(self.asked)) % self.count)


@dataclass(frozen=True, kw_only=True)
class Same(ShapesFamily):
    """Has the same images for training and evaluating agents."""

    def seed_of(self, number: int) -> int:
        return number if 0 <= number < self.count else super().seed_of(number)


@dataclass(frozen=True, kw_only=True)
class Endless(ShapesFamily):
    """Has an instance of every number."""

    def instance(self, number: int) -> Instance:
        return super().instance(number % self.count)


@dataclass(frozen=True, kw_only=True)
class Mute(ShapesFamily):
    """Describes its instances alike."""

    def instance(self, number: int) -> Instance:
        return replace(super().instance(number), description=self.text)

    text: str = "an instance"


@dataclass(frozen=True, kw_only=True)
class Unsteady(ShapesFamily):
    """Has a recipe of its own for every instance, and a budget that is no whole number of steps."""

    budget: Budget | None = None

    def instance(self, number: int) -> Instance:
        made = super().instance(number)
        if self.budget is not None:
            return replace(made, budget=self.budget)
        return replace(made, task=replace(made.task, recipe=Recipe(batch_size=4, clip=1.0 + number)))


@pytest.mark.parametrize(
    ("family", "message"),
    [
        (Forgetful(**SMALL), "instance . is another one when it is made again"),
        (Same(**SMALL), "has images that instances of the other split have, too"),
        (Endless(**SMALL), r"instance\(-1\) is there, expected a ConfigError: it has 3"),
        (Mute(**SMALL), "two instances have the description 'an instance'"),
        (Mute(**SMALL, text="two\nlines"), r"the description 'two\\nlines' has more lines than one, or none"),
        (Unsteady(**SMALL, budget=Budget(images=6, rounds=1)), "no whole number of steps of 4"),
    ],
)
def test_a_broken_promise_of_a_family_is_named(family: ShapesFamily, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_family(family)


def test_instances_may_have_recipes_of_their_own() -> None:
    check_family(Unsteady(**SMALL))


class Single:
    """A family that is no dataclass, and so has no other split by itself."""

    split, count = "train", 2

    def instance(self, number: int) -> Instance:
        return ShapesFamily(**{**SMALL, "count": 2}).instance(number)


def test_the_other_split_is_asked_for_where_nothing_makes_it() -> None:
    with pytest.raises(ConfigError, match=r"Single is no dataclass, so its other split is unknown: give .* as other="):
        check_family(Single)
    check_family(Single, other=ShapesFamily(**{**SMALL, "split": "eval"}))
    with pytest.raises(AssertionError, match="`other` is of the split 'train', too"):
        check_family(Single, other=ShapesFamily(**SMALL))


class Restless(gymnasium.Wrapper):
    """Gives rewards that no seed determines."""

    steps = 0

    def step(self, action: Any) -> Any:
        Restless.steps += 1
        observation, reward, *rest = self.env.step(action)
        return observation, float(reward) + Restless.steps, *rest


class Loud(gymnasium.ObservationWrapper):
    """Shows what lies outside its space."""

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return observation + 9


@pytest.mark.parametrize(
    ("wrapper", "message"),
    [(Restless, "rewards are not equivalent|two different episodes"), (Loud, "observation")],
)
def test_a_broken_promise_of_an_environment_is_named(wrapper: Any, message: str) -> None:
    env = wrapper(PostProcessingEnv({"name": "synthetic", "images": (4, 4)}, action="discrete", length=3))
    with pytest.raises(AssertionError, match=message):
        check_env(env)
