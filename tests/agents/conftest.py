"""The smallest environment that trains, and models that were trained on it for a few steps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import sb3_contrib
import stable_baselines3 as sb3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecMonitor

from mapopt.data import ShapesConfig
from mapopt.envs.detector_training.env import DetectorTrainingEnv
from mapopt.envs.detector_training.vector import DetectorTrainingVectorEnv
from mapopt.envs.families import ShapesFamily
from mapopt.envs.sb3 import FleetVecEnv
from mapopt.training import Budget, Recipe

FAMILY = ShapesFamily(
    scenes=ShapesConfig(size=16, object_size=(5.0, 10.0), objects=(1, 2)),
    images=(8, 4, 4),
    count=3,
    recipe=Recipe(batch_size=2),
)
BUDGET = Budget(images=8, rounds=4)

ON_POLICY = {"n_steps": 4, "batch_size": 4, "n_epochs": 1}
OFF_POLICY = {"learning_starts": 4, "buffer_size": 100, "batch_size": 4}
LSTM = {"policy_kwargs": {"lstm_hidden_size": 8}}

ALGORITHMS: dict[str, tuple[type[BaseAlgorithm], str, str, dict[str, Any]]] = {
    "PPO": (sb3.PPO, "MlpPolicy", "relative", ON_POLICY),
    "PPO, choices": (sb3.PPO, "MlpPolicy", "multi_discrete", ON_POLICY),
    "A2C": (sb3.A2C, "MlpPolicy", "absolute", {"n_steps": 4}),
    "SAC": (sb3.SAC, "MlpPolicy", "relative", OFF_POLICY),
    "TD3": (sb3.TD3, "MlpPolicy", "relative", OFF_POLICY),
    "DQN": (sb3.DQN, "MlpPolicy", "discrete", OFF_POLICY),
    "RecurrentPPO": (sb3_contrib.RecurrentPPO, "MlpLstmPolicy", "relative", {**ON_POLICY, **LSTM}),
    "TQC": (sb3_contrib.TQC, "MlpPolicy", "relative", OFF_POLICY),
    "QR-DQN": (sb3_contrib.QRDQN, "MlpPolicy", "discrete", OFF_POLICY),
}


def make(**changes: Any) -> DetectorTrainingEnv:
    return DetectorTrainingEnv(FAMILY, budget=BUDGET, **changes)


def make_many(**changes: Any) -> DetectorTrainingVectorEnv:
    return DetectorTrainingVectorEnv(2, FAMILY, budget=BUDGET, autoreset_mode="SameStep", **changes)


def trained(name: str, env: Any = None, **changes: Any) -> BaseAlgorithm:
    """Returns a model after a few steps, enough to move its weights."""
    algorithm, policy, action, settings = ALGORITHMS[name]
    env = VecMonitor(FleetVecEnv(partial(make_many, action=action))) if env is None else env
    model = algorithm(policy, env, seed=0, device="cpu", **{**settings, **changes})  # type: ignore[call-arg]
    return model.learn(16)


@pytest.fixture
def tiny_family() -> ShapesFamily:
    return FAMILY


@pytest.fixture
def tiny_budget() -> Budget:
    return BUDGET


@pytest.fixture
def make_env() -> Callable[..., DetectorTrainingEnv]:
    return make


@pytest.fixture
def train_model() -> Callable[..., BaseAlgorithm]:
    """Returns a function of an algorithm's name and, where it is to be another one, its environment."""
    return trained


@pytest.fixture
def action_of() -> Callable[[str], str]:
    """Returns a function of an algorithm's name that gives the form of its actions."""
    return lambda name: ALGORITHMS[name][2]
