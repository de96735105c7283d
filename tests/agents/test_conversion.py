"""Models as agents' files: numbers that decide as the model does, or a refusal that says why."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from mapopt.agents import Agent, PolicyController, save_agent
from mapopt.envs.detector_training.action_forms import RelativeAction
from mapopt.envs.families import ShapesFamily
from mapopt.envs.wrappers import Discretize
from mapopt.errors import AgentError
from mapopt.files import sealed
from mapopt.training import Budget, Schedule, Trainer, run
from mapopt.training.controllers.ending import AugmentUntil

TrainModel = Callable[..., BaseAlgorithm]
MakeEnv = Callable[..., gymnasium.Env]


@pytest.mark.parametrize("name", ["PPO", "PPO, choices", "A2C", "SAC", "TD3", "DQN", "RecurrentPPO", "TQC", "QR-DQN"])
def test_a_models_network_becomes_two_files_that_decide_alike(
    name: str, train_model: TrainModel, tiny_family: ShapesFamily, tiny_budget: Budget, tmp_path: Path
) -> None:
    model, task = train_model(name), tiny_family.instance(0).task.info
    assert save_agent(model, tmp_path / "agent") == tmp_path / "agent.json"
    assert {path.name for path in tmp_path.iterdir()} == {"agent.json", "agent.safetensors"}
    agent, generator = Agent.load(tmp_path / "agent"), np.random.default_rng(1)
    theirs: Any = None
    ours: Any = ()
    for step in range(50):
        observation = generator.uniform(-1, 1, len(agent.observation)).astype(np.float32)
        begun = np.array([step % 10 == 0])
        expected, theirs = model.predict(observation, theirs, episode_start=begun, deterministic=True)
        chosen, ours = agent.step(observation, () if begun[0] else ours)
        np.testing.assert_allclose(chosen, expected, atol=1e-5)
    ours = PolicyController(agent).decide((), task, tiny_budget).knobs.as_dict()
    theirs = PolicyController.from_sb3(model).decide((), task, tiny_budget).knobs.as_dict()
    assert ours == pytest.approx(theirs, rel=1e-5)


def test_an_agent_with_a_memory_decides_from_the_history_alone_as_its_model_does(
    train_model: TrainModel, tiny_family: ShapesFamily, tiny_budget: Budget, tmp_path: Path
) -> None:
    model, task = train_model("RecurrentPPO"), tiny_family.instance(1).task
    save_agent(model, tmp_path / "agent")
    ours, theirs = PolicyController(Agent.load(tmp_path / "agent")), PolicyController.from_sb3(model)
    assert isinstance(ours.agent, Agent)
    assert [cell.hidden.shape for cell in ours.agent.cells] == [(32, 8)]
    history = run(Trainer(task, seed=4), theirs, tiny_budget).history
    for rounds in (3, 0, 2, 1):
        decided = [each.decide(history[:rounds], task.info, tiny_budget).knobs.as_dict() for each in (ours, theirs)]
        assert decided[0] == pytest.approx(decided[1], rel=1e-5)
    changed = [dataclasses.replace(history[0], val=dataclasses.replace(history[0].val, ap=0.9)), *history[1:3]]
    assert ours.decide(changed, task.info, tiny_budget) != ours.decide(history[:3], task.info, tiny_budget)
    other = dataclasses.replace(ours.agent, cells=tuple(cell._replace(bias=cell.bias + 1) for cell in ours.agent.cells))
    assert other.fingerprint != ours.agent.fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cells": [[8, 5]]}, "sizes are not those"),
        ({"cells": [[7, 28]]}, "expected each to take what the one before it gives"),
        ({"cells": [[0, 28]]}, "expected at most 64 sizes of at least 1"),
        ({"cells": []}, "sizes are not those"),
        ({"cells": [[8, 28], [8, 8]]}, "'cell.1.inputs' of the weights is not what the description says"),
    ],
)
def test_a_memory_that_does_not_fit_is_refused(
    change: dict[str, Any], message: str, train_model: TrainModel, tmp_path: Path
) -> None:
    path = save_agent(train_model("RecurrentPPO"), tmp_path / "agent")
    assert json.loads(path.read_text())["cells"] == [[8, 28]]
    path.write_text(json.dumps(sealed({**json.loads(path.read_text()), **change})))
    with pytest.raises(AgentError, match=message):
        Agent.load(path)


def refusals(make_env: MakeEnv) -> dict[str, tuple[str, Any, dict[str, Any]]]:
    """Returns what a model is refused for -> its name, its environment and further settings."""
    over = RelativeAction(knobs=("lr",), baseline=AugmentUntil(controller=Schedule(), fraction=0.5))
    elu = {"policy_kwargs": {"activation_fn": torch.nn.ELU}}
    return {
        r"it is made of ELU, Linear": ("PPO", None, elu),
        "actions of type WrappedAction": ("DQN", Discretize(make_env()), {}),
        "actions relative to a AugmentUntil": ("SAC", make_env(action=over), {}),
        "normalized observations": ("PPO", VecNormalize(DummyVecEnv([make_env])), {}),
    }


@pytest.mark.parametrize("reason", range(4))
def test_what_two_files_do_not_hold_is_refused_and_kept_whole(
    reason: int, train_model: TrainModel, make_env: MakeEnv, tmp_path: Path
) -> None:
    message, (name, env, settings) = list(refusals(make_env).items())[reason]
    model = train_model(name, env, **settings)
    with pytest.raises(AgentError, match=rf"{message}.*give a path that ends in \.zip"):
        save_agent(model, tmp_path / "agent")
    assert not list(tmp_path.iterdir())
    assert save_agent(model, tmp_path / "agent.zip").is_file()


def test_a_network_that_is_more_than_its_layers_is_found_out(train_model: TrainModel, tmp_path: Path) -> None:
    class Doubled(torch.nn.Flatten):
        features_dim = 28

        def __init__(self, _: Any) -> None:
            super().__init__()

        def forward(self, observation: torch.Tensor) -> torch.Tensor:
            return 2 * observation

    model = train_model("PPO", policy_kwargs={"features_extractor_class": Doubled})
    with pytest.raises(AgentError, match="its layers alone decide"):
        save_agent(model, tmp_path / "agent")


def test_an_agent_is_not_written_as_a_model(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="is a zip, and an Agent is two other files"):
        save_agent(Agent.load("ppo-shapes"), tmp_path / "agent.zip")
    assert save_agent(Agent.load("ppo-shapes"), tmp_path / "mine").read_text().startswith("{")
    assert Agent.load(tmp_path / "mine").fingerprint == Agent.load("ppo-shapes").fingerprint
