"""stable-baselines3 makes an environment from its id alone, and asks for pictures when it does."""

from __future__ import annotations

import gymnasium
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

import mapopt.envs

IDS = [name for name in gymnasium.registry if name.startswith("mapopt/")]


@pytest.mark.parametrize("name", IDS)
def test_every_id_makes_environments_and_an_agent(name: str) -> None:
    assert {mapopt.envs.DETECTOR_TRAINING, mapopt.envs.POST_PROCESSING} == set(IDS)
    env = make_vec_env(name, n_envs=2)
    assert env.num_envs == 2
    assert env.render_mode == "rgb_array"
    agent = PPO("MlpPolicy", name, n_steps=16, batch_size=16, device="cpu")
    assert agent.get_env() is not None
