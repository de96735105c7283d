"""Both checkers, with warnings as errors, on every family, form of action and reward; and every standard way in."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as check_gymnasium
from stable_baselines3.common.env_checker import check_env as check_sb3

import mapopt.envs
from mapopt.envs.detector_training.actions import ACTIONS
from mapopt.envs.detector_training.env import DetectorTrainingEnv
from mapopt.envs.detector_training.rewards import REWARDS
from mapopt.envs.families import FAMILIES, NumberedFamily
from mapopt.training.budget import Budget

MakeFamily = Callable[..., NumberedFamily]

BUDGET = Budget(images=8, rounds=2)
KNOBS = ("lr", "augment", "score_threshold")


@pytest.mark.parametrize("reward", list(REWARDS))
@pytest.mark.parametrize("action", list(ACTIONS))
@pytest.mark.parametrize("family", list(FAMILIES))
def test_both_checkers_find_nothing_to_say(family: str, action: str, reward: str, tiny_family: MakeFamily) -> None:
    env = DetectorTrainingEnv(tiny_family(family), budget=BUDGET, knobs=KNOBS, action=action, reward=reward)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_gymnasium(env, skip_render_check=True)
        check_sb3(env)


@pytest.mark.parametrize("render_mode", ["ansi", "rgb_array", None])
def test_as_gymnasium_makes_it_with_every_render_mode(render_mode: str | None, tiny_family: MakeFamily) -> None:
    env = gymnasium.make(mapopt.envs.DETECTOR_TRAINING, family=tiny_family(), budget=BUDGET, render_mode=render_mode)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_gymnasium(env.unwrapped)


def test_all_features_at_once_pass_too(tiny_family: MakeFamily) -> None:
    from mapopt.envs.detector_training.features import FEATURES

    names = (*FEATURES, "knobs")
    env = DetectorTrainingEnv(tiny_family(), budget=BUDGET, features=names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_gymnasium(env, skip_render_check=True)
        check_sb3(env)


@pytest.mark.parametrize("action", list(ACTIONS))
@pytest.mark.parametrize("mode", list(gymnasium.vector.AutoresetMode))
def test_gymnasiums_vector_wrappers_take_the_vector_interface(
    mode: gymnasium.vector.AutoresetMode, action: str, tiny_family: MakeFamily
) -> None:
    env = gymnasium.make_vec(
        mapopt.envs.DETECTOR_TRAINING,
        num_envs=2,
        vectorization_mode="vector_entry_point",
        family=tiny_family(),
        budget=BUDGET,
        action=action,
        autoreset_mode=mode,
    )
    env = gymnasium.wrappers.vector.RecordEpisodeStatistics(env)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        observations, _ = env.reset(seed=0)
        assert env.observation_space.contains(observations)
        rewards = np.zeros(2)
        for _ in range(BUDGET.rounds):
            observations, paid, terminated, _, infos = env.step(env.action_space.sample())
            assert env.observation_space.contains(observations)
            rewards += paid
    assert terminated.all()
    np.testing.assert_allclose(infos["episode"]["r"], rewards)
    assert (infos["episode"]["l"] == BUDGET.rounds).all()


def test_registration_imports_nothing_heavy() -> None:
    program = "import sys, mapopt.envs; print(sorted({'torch', 'stable_baselines3', 'matplotlib'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
