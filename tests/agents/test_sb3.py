"""Models of stable-baselines3 and sb3-contrib as controllers: they decide as they did in their environment."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import sb3_contrib
import stable_baselines3 as sb3
from gymnasium.wrappers import NormalizeObservation
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

from mapopt.agents.policy import PolicyController
from mapopt.agents.sb3 import MAX_STATES, Sb3Policy, save_model
from mapopt.data import ShapesConfig
from mapopt.envs.detector_training.env import DetectorTrainingEnv
from mapopt.envs.detector_training.vector import DetectorTrainingVectorEnv
from mapopt.envs.families import ShapesFamily
from mapopt.envs.sb3 import FleetVecEnv
from mapopt.envs.wrappers import Discretize, FreezeKnobs
from mapopt.errors import AgentError
from mapopt.training import Budget, Recipe, Trainer, run

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


def trained(name: str, env: Any = None) -> BaseAlgorithm:
    """Returns a model after a few steps, enough to move its weights."""
    algorithm, policy, action, settings = ALGORITHMS[name]
    env = VecMonitor(FleetVecEnv(partial(make_many, action=action))) if env is None else env
    model = algorithm(policy, env, seed=0, device="cpu", **settings)  # type: ignore[call-arg]
    return model.learn(16)


def episode(model: BaseAlgorithm, env: gymnasium.Env, see: Any = None) -> list[Any]:
    """Plays an episode as stable-baselines3's users do; returns its rounds."""
    observation, _ = env.reset(options={"instance": 1, "training_seed": 4})
    state, begins, over = None, np.ones(1, dtype=bool), False
    while not over:
        seen = observation if see is None else see(observation)
        action, state = model.predict(seen, state=state, episode_start=begins, deterministic=True)
        observation, _, terminated, truncated, _ = env.step(action)
        begins, over = np.zeros(1, dtype=bool), terminated or truncated
    return env.unwrapped.lanes.histories[0]  # type: ignore[attr-defined]


def deployed(controller: PolicyController) -> list[Any]:
    """Runs the same task with the same seed under a controller; returns its rounds."""
    return list(run(Trainer(FAMILY.instance(1).task, seed=4), controller, BUDGET).history)


def assert_same(played: list[Any], ran: list[Any]) -> None:
    assert len(played) == len(ran) == BUDGET.rounds
    for ours, theirs in zip(played, ran, strict=True):
        assert (ours.knobs, ours.ramp_from, ours.val) == (theirs.knobs, theirs.ramp_from, theirs.val)
        assert replace(ours.interval, seconds=0.0) == replace(theirs.interval, seconds=0.0)
    assert len({past.knobs for past in ran}) > 1


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_model_decides_as_in_its_environment_bit_for_bit(name: str, tmp_path: Path) -> None:
    model = trained(name)
    played = episode(model, make(action=ALGORITHMS[name][2]))
    assert_same(played, deployed(PolicyController.from_sb3(model)))
    save_model(model, tmp_path / "model.zip")
    assert_same(played, deployed(PolicyController.from_sb3(tmp_path / "model.zip")))


def test_the_memory_of_a_recurrent_model_follows_from_the_history() -> None:
    controller = PolicyController.from_sb3(trained("RecurrentPPO"))
    assert isinstance(controller.agent, Sb3Policy)
    history, task = deployed(controller), FAMILY.instance(1).task.info
    inside = [controller.decide(history[:rounds], task, BUDGET) for rounds in range(4)]
    for forgotten in range(2):
        controller.agent._states.clear()
        order = [3, 0, 2, 1] if forgotten else [2, 3, 1, 0]
        assert [controller.decide(history[:rounds], task, BUDGET) for rounds in order] == [inside[at] for at in order]
    other = [replace(past, val=replace(past.val, ap=0.9)) for past in history]
    assert controller.decide(other[:3], task, BUDGET) != inside[3]
    assert controller.decide(history[:3], task, BUDGET) == inside[3]
    for step in range(MAX_STATES + 5):
        changed = [replace(history[0], val=replace(history[0].val, ap=step / 1000))]
        controller.decide(changed, task, BUDGET)
    assert len(controller.agent._states) == MAX_STATES
    assert controller.decide(history[:3], task, BUDGET) == inside[3]


def test_going_on_with_the_training_changes_no_controller() -> None:
    model = trained("SAC")
    controller, task = PolicyController.from_sb3(model), FAMILY.instance(0).task.info
    before = controller.decide((), task, BUDGET)
    model.learn(16)
    assert controller.decide((), task, BUDGET) == before
    assert PolicyController.from_sb3(model).decide((), task, BUDGET) != before


def test_a_model_behind_wrappers_of_ours_decides_through_them(tmp_path: Path) -> None:
    def wrapped() -> gymnasium.Env:
        return Discretize(FreezeKnobs(make(knobs=("lr", "augment")), ("augment",)), levels=(-0.5, 0.25, 1.0))

    model = trained("DQN", wrapped())
    played = episode(model, wrapped())
    assert_same(played, deployed(PolicyController.from_sb3(model)))
    save_model(model, tmp_path / "model.zip")
    again = PolicyController.from_sb3(tmp_path / "model.zip")
    assert_same(played, deployed(again))
    assert again.agent.form.knobs == ("lr", "augment")


def test_a_normalized_model_sees_what_it_was_trained_on(tmp_path: Path) -> None:
    env = VecNormalize(DummyVecEnv([make]))
    model = trained("PPO", env)
    played = episode(model, make(), see=env.normalize_obs)
    assert_same(played, deployed(PolicyController.from_sb3(model)))
    save_model(model, tmp_path / "model.zip")
    assert_same(played, deployed(PolicyController.from_sb3(tmp_path / "model.zip")))


def test_what_a_model_was_trained_with_has_to_be_known(tmp_path: Path) -> None:
    model = trained("PPO")
    model.save(tmp_path / "bare.zip")
    with pytest.raises(AgentError, match=r"bare\.zip does not say what the model sees and does: give settings="):
        PolicyController.from_sb3(tmp_path / "bare.zip")
    with pytest.raises(AgentError, match="the model has no environment that says what it was trained with"):
        PolicyController.from_sb3(sb3.PPO.load(tmp_path / "bare.zip"))
    foreign = sb3.PPO("MlpPolicy", "CartPole-v1", device="cpu")
    with pytest.raises(AgentError, match="the model's environment trains no detector"):
        PolicyController.from_sb3(foreign)
    with pytest.raises(AgentError, match=r"observations of shape \(28,\) from -inf to inf, and its settings describe"):
        PolicyController.from_sb3(trained("PPO", NormalizeObservation(make())))
    with pytest.raises(AgentError, match="no wrapper that makes other actions of them"):
        PolicyController.from_sb3(trained("SAC", gymnasium.wrappers.RescaleAction(make(), -0.5, 0.5)))


def test_a_file_that_is_no_model_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("no zip")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("other", "x")
    with zipfile.ZipFile(tmp_path / "own.zip", "w") as archive:
        archive.writestr("data", json.dumps({"policy_class": {"__module__": "mine.policies"}}))
    for name, message in (
        ("absent.zip", "no such file"),
        ("text.zip", "a model that cannot be loaded"),
        ("empty.zip", "a model that cannot be loaded"),
        ("own.zip", "a policy of mine.policies, of which only its own algorithm knows how to load it"),
    ):
        with pytest.raises(AgentError, match=message) as caught:
            PolicyController.from_sb3(tmp_path / name)
        assert "\n" not in str(caught.value)
