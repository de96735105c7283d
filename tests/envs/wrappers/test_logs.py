"""Wrappers keep the environment's promises, and those of lanes do what those of one environment do."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import VectorEnv

import mapopt.envs  # noqa: F401 - registers the environment
from mapopt.envs.detector_training.vector import DetectorTrainingVectorEnv
from mapopt.envs.families import ShapesFamily
from mapopt.envs.wrappers import (
    Discretize,
    EpisodeLog,
    FreezeKnobs,
    RecordSchedule,
    RelativeToBaseline,
    RewardNoise,
    VectorDiscretize,
    VectorFreezeKnobs,
    VectorRewardNoise,
)
from mapopt.training.budget import Budget
from mapopt.training.recipe import Recipe

FAMILY = ShapesFamily(images=(16, 8, 8), count=4, recipe=Recipe(batch_size=4))
BUDGET = Budget(images=8 * 3, rounds=3)
KNOBS = ("lr", "augment", "assign_iou")

WRAPPERS: dict[str, Callable[[gymnasium.Env], gymnasium.Env]] = {
    "RecordSchedule": RecordSchedule,
    "FreezeKnobs": lambda env: FreezeKnobs(env, ("augment",)),
    "FreezeKnobs at values": lambda env: FreezeKnobs(env, {"augment": 0.5, "lr": -1.0}),
    "Discretize each": lambda env: Discretize(env, choices="each"),
    "Discretize one": lambda env: Discretize(env, choices="one"),
    "Discretize all": lambda env: Discretize(env, (-1.0, 0.25), choices="all"),
    "RewardNoise": lambda env: RewardNoise(env, 0.02),
    "RelativeToBaseline": RelativeToBaseline,
    "EpisodeLog": EpisodeLog,
    "all at once": lambda env: EpisodeLog(
        RewardNoise(Discretize(RelativeToBaseline(RecordSchedule(FreezeKnobs(env, ("augment",))))), 0.01)
    ),
}


def make(**changes: Any) -> gymnasium.Env:
    chosen = {"family": FAMILY, "budget": BUDGET, "knobs": KNOBS, **changes}
    return gymnasium.make("mapopt/DetectorTraining-v0", **chosen)


def make_vector(lanes: int, mode: str = "NextStep") -> DetectorTrainingVectorEnv:
    return DetectorTrainingVectorEnv(lanes, FAMILY, budget=BUDGET, knobs=KNOBS, autoreset_mode=mode)


@pytest.mark.parametrize("name", WRAPPERS)
def test_gymnasium_checks_a_wrapped_environment_without_a_warning(name: str) -> None:
    env = WRAPPERS[name](make())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # What the checker has against wrappers as such; the wrapped environment is what is checked here.
        warnings.filterwarnings("ignore", message=".*is different from the unwrapped version.*")
        check_env(env)


@pytest.mark.parametrize("name", WRAPPERS)
def test_the_same_seed_gives_the_same_wrapped_episodes_twice(name: str) -> None:
    def trace() -> list[Any]:
        env = WRAPPERS[name](make())
        env.action_space.seed(0)
        seen: list[Any] = []
        for seed in (3, None):
            seen.append(env.reset(seed=seed)[0].tobytes())
            for _ in range(BUDGET.rounds):
                observation, reward, *_ = env.step(env.action_space.sample())
                seen += [observation.tobytes(), float(reward)]
        return seen

    assert trace() == trace()


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapped_environment_plays_the_episodes_of_the_bare_one(name: str) -> None:
    bare, wrapped = make(), WRAPPERS[name](make())
    for seed in (5, None, None):
        expected = bare.reset(seed=seed)[1]
        assert wrapped.reset(seed=seed)[1] == expected


def test_post_processing_can_be_wrapped_as_well() -> None:
    def wrapped() -> EpisodeLog:
        env = gymnasium.make("mapopt/PostProcessing-v0", length=4)
        names = [f"knob_{name}" for name in env.unwrapped.action_names]  # type: ignore[attr-defined]
        default = env.reset(seed=0)[0][[[*env.unwrapped.observation_names].index(name) for name in names]]  # type: ignore[attr-defined]
        return EpisodeLog(RelativeToBaseline(RewardNoise(Discretize(env, rest=default.tolist()), 0.0), baseline=0))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*is different from the unwrapped version.*")
        check_env(wrapped())
    env = wrapped()
    assert env.action_space.n == 1 + len(env.unwrapped.action_names) * 5  # type: ignore[attr-defined]
    for action in (0, 3):
        env.reset(seed=1)
        for _ in range(4):
            env.step(action)
    still, moved = env.log().episodes
    assert not still.rewards.any()
    assert moved.rewards.any()
    assert {moved.infos[name].shape for name in ("value", "ap", "f1", "lrp")} == {(4,)}


VECTORS: dict[str, tuple[Callable[[VectorEnv], VectorEnv], Callable[[gymnasium.Env], gymnasium.Env]]] = {
    "FreezeKnobs": (lambda env: VectorFreezeKnobs(env, ("lr",)), lambda env: FreezeKnobs(env, ("lr",))),
    "Discretize": (VectorDiscretize, Discretize),
    "Discretize each": (
        lambda env: VectorDiscretize(env, choices="each"),
        lambda env: Discretize(env, choices="each"),
    ),
    "RewardNoise": (lambda env: VectorRewardNoise(env, 0.1), lambda env: RewardNoise(env, 0.1)),
}


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
@pytest.mark.parametrize("name", VECTORS)
def test_a_vector_wrapper_does_to_every_lane_what_its_namesake_does_to_one(name: str, mode: str) -> None:
    around_many, around_one = VECTORS[name]
    many = around_many(make_vector(2, mode))
    many.action_space.seed(1)
    many.reset(seed=6)
    singles = [around_one(make()) for _ in range(2)]
    for lane, env in enumerate(singles):
        env.reset(seed=6 + lane)
    for step in range(2 * BUDGET.rounds):
        actions = many.action_space.sample()
        observations, rewards, *_ = many.step(actions)
        ended = (step + 1) % BUDGET.rounds == 0
        for lane, env in enumerate(singles):
            seen, reward, *_ = env.step(actions[lane])
            assert rewards[lane] == reward
            if ended:
                seen = env.reset()[0]
            if mode == "SameStep" or not ended:
                assert np.array_equal(observations[lane], seen)
        if ended and mode == "NextStep":
            assert not many.step(actions)[1].any()
