"""The algorithms of stable-baselines3 and sb3-contrib learn on the lanes of a fleet, with nothing in between."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import sb3_contrib
import stable_baselines3 as sb3
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecMonitor

from mapopt.data import ShapesConfig
from mapopt.envs.detector_training.vector import DetectorTrainingVectorEnv
from mapopt.envs.families import ShapesFamily
from mapopt.envs.sb3 import FleetVecEnv
from mapopt.training.budget import Budget
from mapopt.training.recipe import Recipe

LANES, ROUNDS, STEPS = 16, 4, 800

ON_POLICY = {"n_steps": 25}
OFF_POLICY = {"learning_starts": 200, "buffer_size": 3000, "batch_size": 64}

ALGORITHMS: dict[str, tuple[type[BaseAlgorithm], str, str, dict[str, Any]]] = {
    "PPO": (sb3.PPO, "MlpPolicy", "relative", {**ON_POLICY, "batch_size": 100, "n_epochs": 2}),
    "PPO, steps": (sb3.PPO, "MlpPolicy", "multi_discrete", {**ON_POLICY, "batch_size": 100, "n_epochs": 2}),
    "A2C": (sb3.A2C, "MlpPolicy", "absolute", {**ON_POLICY}),
    "SAC": (sb3.SAC, "MlpPolicy", "relative", OFF_POLICY),
    "TD3": (sb3.TD3, "MlpPolicy", "relative", OFF_POLICY),
    "DQN": (sb3.DQN, "MlpPolicy", "discrete", OFF_POLICY),
    "RecurrentPPO": (
        sb3_contrib.RecurrentPPO,
        "MlpLstmPolicy",
        "relative",
        {**ON_POLICY, "batch_size": 100, "n_epochs": 1, "policy_kwargs": {"lstm_hidden_size": 16}},
    ),
    "TQC": (sb3_contrib.TQC, "MlpPolicy", "relative", OFF_POLICY),
}


def make(action: str) -> DetectorTrainingVectorEnv:
    """The smallest fleet that trains: images of 16 pixels, a step of two of them a round."""
    family = ShapesFamily(
        scenes=ShapesConfig(size=16, object_size=(5.0, 10.0), objects=(1, 2)),
        images=(8, 4, 4),
        count=4,
        recipe=Recipe(batch_size=2),
    )
    budget = Budget(images=2 * ROUNDS, rounds=ROUNDS)
    return DetectorTrainingVectorEnv(LANES, family, budget=budget, action=action, autoreset_mode="SameStep")


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_algorithm_trains_for_eight_hundred_steps(name: str) -> None:
    algorithm, policy, action, settings = ALGORITHMS[name]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    env = VecMonitor(FleetVecEnv(partial(make, action)))
    try:
        model = algorithm(policy, env, seed=0, device="cpu", **settings)  # type: ignore[call-arg]
        before = {name: value.clone() for name, value in model.policy.state_dict().items()}
        model.learn(STEPS)
    finally:
        env.close()
        torch.set_num_threads(threads)
    assert model.num_timesteps >= STEPS
    after = model.policy.state_dict()
    assert all(value.isfinite().all() for value in after.values())
    assert any(not torch.equal(value, before[name]) for name, value in after.items()), "it learnt something"
    assert model.ep_info_buffer is not None
    returns = [episode["r"] for episode in model.ep_info_buffer]
    assert len(returns) == 100, "the algorithm saw episodes end"
    assert {episode["l"] for episode in model.ep_info_buffer} == {ROUNDS}
    assert np.isfinite(returns).all()
    assert min(returns) > -1e-6, "a return is a final AP, but for the rounding of its gains"
