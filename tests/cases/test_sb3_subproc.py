"""Worker processes of stable-baselines3 know the id with its module, and every page names it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv

import mapopt.envs

README = Path(__file__).resolve().parents[2] / "README.md"


def test_worker_processes_make_and_step_it() -> None:
    env = make_vec_env("mapopt.envs:mapopt/PostProcessing-v0", n_envs=2, seed=0, vec_env_cls=SubprocVecEnv)
    try:
        observations = env.reset()
        _, rewards, *_ = env.step(np.stack([env.action_space.sample() for _ in range(2)]))
    finally:
        env.close()
    assert np.asarray(observations).shape[0] == len(rewards) == 2


@pytest.mark.parametrize("name", [mapopt.envs.DETECTOR_TRAINING, mapopt.envs.POST_PROCESSING])
def test_the_readme_and_the_pages_name_the_id_that_works_in_other_processes(name: str) -> None:
    page = mapopt.envs.DetectorTrainingEnv if name == mapopt.envs.DETECTOR_TRAINING else mapopt.envs.PostProcessingEnv
    for text in (README.read_text(encoding="utf-8"), page.__doc__ or "", mapopt.envs.__doc__ or ""):
        assert f"mapopt.envs:{name}" in text
