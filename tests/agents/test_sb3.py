"""Models of stable-baselines3 and sb3-contrib as controllers: they decide as they did in their environment."""

from __future__ import annotations

import json
import random
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import stable_baselines3 as sb3
import torch
from gymnasium.wrappers import NormalizeObservation, RescaleAction
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from mapopt.agents import PolicyController, save_agent
from mapopt.agents.sb3 import MAX_STATES, Sb3Policy
from mapopt.envs import Discretize, EnvSettings, Feature, FreezeKnobs, ShapesFamily
from mapopt.errors import AgentError, ConfigError
from mapopt.training import Budget, Controller, Round, TaskInfo, Trainer, run

NAMES = ("PPO", "PPO, choices", "A2C", "SAC", "TD3", "DQN", "RecurrentPPO", "TQC", "QR-DQN")

TrainModel = Callable[..., BaseAlgorithm]
MakeEnv = Callable[..., gymnasium.Env]
Deploy = Callable[[Controller], list[Round]]


def episode(model: BaseAlgorithm, env: gymnasium.Env, see: Any = None) -> list[Round]:
    """Plays an episode as stable-baselines3's users do; returns its rounds."""
    observation, _ = env.reset(options={"instance": 1, "training_seed": 4})
    state, begins, over = None, np.ones(1, dtype=bool), False
    while not over:
        seen = observation if see is None else see(observation)
        action, state = model.predict(seen, state=state, episode_start=begins, deterministic=True)
        observation, _, terminated, truncated, _ = env.step(action)
        begins, over = np.zeros(1, dtype=bool), terminated or truncated
    return list(env.unwrapped.lanes.histories[0])  # type: ignore[attr-defined]


@pytest.fixture
def deploy(tiny_family: ShapesFamily, tiny_budget: Budget) -> Deploy:
    """Returns what runs the episode's task with its seed under a controller, without an environment."""
    return lambda controller: list(
        run(Trainer(tiny_family.instance(1).task, seed=4), controller, tiny_budget).history  # fresh each time
    )


def assert_same(played: list[Round], ran: list[Round]) -> None:
    assert len(played) == len(ran) == 4
    for ours, theirs in zip(played, ran, strict=True):
        assert (ours.knobs, ours.ramp_from, ours.val) == (theirs.knobs, theirs.ramp_from, theirs.val)
        assert replace(ours.interval, seconds=0.0, processor_seconds=0.0) == replace(
            theirs.interval, seconds=0.0, processor_seconds=0.0
        )
    assert len({past.knobs for past in ran}) > 1


@pytest.mark.parametrize("name", NAMES)
def test_a_model_decides_as_in_its_environment_bit_for_bit(
    name: str,
    train_model: TrainModel,
    make_env: MakeEnv,
    action_of: Callable[[str], str],
    deploy: Deploy,
    tmp_path: Path,
) -> None:
    model = train_model(name)
    played = episode(model, make_env(action=action_of(name)))
    assert_same(played, deploy(PolicyController.from_sb3(model)))
    assert save_agent(model, tmp_path / "model.zip") == tmp_path / "model.zip"
    assert_same(played, deploy(PolicyController.from_sb3(tmp_path / "model.zip")))


def test_the_memory_of_a_recurrent_model_follows_from_the_history(
    train_model: TrainModel, deploy: Deploy, tiny_family: ShapesFamily, tiny_budget: Budget
) -> None:
    controller, task = PolicyController.from_sb3(train_model("RecurrentPPO")), tiny_family.instance(1).task.info
    assert isinstance(controller.agent, Sb3Policy)
    history, states = deploy(controller), controller.agent._states

    def decide(past: list[Round]) -> Any:
        return controller.decide(past, task, tiny_budget)

    inside = [decide(history[:rounds]) for rounds in range(4)]
    for order in ([2, 3, 1, 0], [3, 0, 2, 1]):
        states.clear()
        assert [decide(history[:rounds]) for rounds in order] == [inside[rounds] for rounds in order]
    other = [replace(past, val=replace(past.val, ap=0.9)) for past in history]
    assert decide(other[:3]) != inside[3]
    assert decide(history[:3]) == inside[3]
    for step in range(MAX_STATES + 5):
        decide([replace(history[0], val=replace(history[0].val, ap=step / 1000))])
    assert len(states) == MAX_STATES
    assert decide(history[:3]) == inside[3]


def test_going_on_with_the_training_changes_no_controller(
    train_model: TrainModel, tiny_family: ShapesFamily, tiny_budget: Budget
) -> None:
    model, task = train_model("SAC"), tiny_family.instance(0).task.info
    controller = PolicyController.from_sb3(model)
    before = controller.decide((), task, tiny_budget)
    model.learn(16)
    assert controller.decide((), task, tiny_budget) == before
    assert PolicyController.from_sb3(model).decide((), task, tiny_budget) != before


def test_a_model_behind_wrappers_of_ours_decides_through_them(
    train_model: TrainModel, make_env: MakeEnv, deploy: Deploy, tmp_path: Path
) -> None:
    def wrapped() -> gymnasium.Env:
        frozen = FreezeKnobs(make_env(knobs=("lr", "augment")), ("augment",))
        return Discretize(frozen, levels=(-0.5, 0.25, 1.0))

    model = train_model("DQN", wrapped())
    played = episode(model, wrapped())
    assert_same(played, deploy(PolicyController.from_sb3(model)))
    save_agent(model, tmp_path / "model.zip")
    again = PolicyController.from_sb3(tmp_path / "model.zip")
    assert_same(played, deploy(again))
    form = again.agent.form
    assert (form.knobs, form.action_names, form.baseline_action) == (("lr", "augment"), (), 0)


def test_a_normalized_model_sees_what_it_was_trained_on(
    train_model: TrainModel, make_env: MakeEnv, deploy: Deploy, tmp_path: Path
) -> None:
    env = VecNormalize(DummyVecEnv([make_env]))
    model = train_model("PPO", env)
    played = episode(model, make_env(), see=env.normalize_obs)
    assert_same(played, deploy(PolicyController.from_sb3(model)))
    save_agent(model, tmp_path / "model.zip")
    assert_same(played, deploy(PolicyController.from_sb3(tmp_path / "model.zip")))
    for given in (model, tmp_path / "model.zip"):
        assert_same(played, deploy(PolicyController.from_sb3(given, settings={})))


def test_what_a_model_was_trained_with_has_to_be_known(
    train_model: TrainModel, make_env: MakeEnv, tmp_path: Path
) -> None:
    train_model("PPO").save(tmp_path / "bare.zip")
    with pytest.raises(AgentError, match=r"bare\.zip does not say what the model sees and does: give settings="):
        PolicyController.from_sb3(tmp_path / "bare.zip")
    with pytest.raises(AgentError, match="the model has no environment that says what it was trained with"):
        PolicyController.from_sb3(sb3.PPO.load(tmp_path / "bare.zip"))
    with pytest.raises(AgentError, match="the model's environment trains no detector"):
        PolicyController.from_sb3(sb3.PPO("MlpPolicy", "CartPole-v1", device="cpu"))


SHOWN = ("ap", "progress", "knob_lr", "knob_augment")


def test_what_a_model_was_trained_with_may_be_said(
    train_model: TrainModel, make_env: MakeEnv, deploy: Deploy, tiny_family: ShapesFamily, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {"knobs": ("lr", "augment"), "scale": 2.0, "features": SHOWN}
    model = train_model("SAC", make_env(**changes))
    played = episode(model, make_env(**changes))
    model.save(tmp_path / "bare.zip")
    for settings in (changes, EnvSettings(family=tiny_family, **changes)):
        assert_same(played, deploy(PolicyController.from_sb3(tmp_path / "bare.zip", settings=settings)))
        assert_same(played, deploy(PolicyController.from_sb3(model, settings=settings)))
    with pytest.raises(AgentError, match=r"of shape \(4,\) from -1 to 1, and its settings describe of shape \(28,\)"):
        PolicyController.from_sb3(model, settings={})
    with pytest.raises(AgentError, match=r"actions Box\(.*\(2,\), float32\), and its settings describe Box\(.*\(3,\)"):
        PolicyController.from_sb3(model, settings={"knobs": ("lr", "augment", "momentum"), "features": SHOWN})
    with pytest.raises(ConfigError, match="unknown setting of the environment 'reach'"):
        PolicyController.from_sb3(model, settings={"reach": 2.0})


class Mirrored(gymnasium.ActionWrapper[Any, Any, Any]):
    """A wrapper of somebody's own, with the spaces that the environment has."""

    def action(self, action: Any) -> Any:
        """Turns an action round."""
        return -action


def shrunk(env: gymnasium.Env) -> gymnasium.Env:
    return RescaleAction(env, np.float32(-0.5), np.float32(0.5))


@pytest.mark.parametrize("wrap", [Mirrored, NormalizeObservation, shrunk])
def test_a_wrapper_that_only_itself_can_apply_is_refused(
    wrap: Callable[[gymnasium.Env], gymnasium.Env], train_model: TrainModel, make_env: MakeEnv
) -> None:
    with pytest.raises(AgentError, match=r"the model was trained behind \w+, which changes what it sees or does"):
        PolicyController.from_sb3(train_model("SAC", wrap(make_env())))


def ap_doubled(history: Any, task: TaskInfo, budget: Budget) -> float:
    """Returns a feature of somebody's own."""
    return 2 * history[-1].val.ap


def test_a_model_brings_its_own_features(
    train_model: TrainModel, make_env: MakeEnv, deploy: Deploy, tmp_path: Path
) -> None:
    features = ("progress", ap_doubled, "knobs")
    model = train_model("RecurrentPPO", make_env(features=features))
    played = episode(model, make_env(features=features))
    assert_same(played, deploy(PolicyController.from_sb3(model)))
    if ap_doubled.__module__ in sys.modules:  # as a module that pickles name has to be
        save_agent(model, tmp_path / "model.zip")
        assert_same(played, deploy(PolicyController.from_sb3(tmp_path / "model.zip")))
    model = train_model("RecurrentPPO", make_env(features=(Feature("half", "", 0, 1, lambda *run: 0.5),)))
    with pytest.raises(AgentError, match="what the model was trained with cannot be written down"):
        save_agent(model, tmp_path / "other.zip")


def test_taking_a_model_leaves_everybodys_random_numbers(train_model: TrainModel, tmp_path: Path) -> None:
    model = train_model("PPO")
    save_agent(model, tmp_path / "model.zip")

    def drawn() -> tuple[float, float, float]:
        return float(torch.rand(())), float(np.random.rand()), random.random()  # noqa: NPY002 - the global ones

    for given in (model, tmp_path / "model.zip"):
        torch.manual_seed(1), np.random.seed(1), random.seed(1)  # noqa: NPY002 - the global ones
        expected = drawn()
        torch.manual_seed(1), np.random.seed(1), random.seed(1)  # noqa: NPY002 - the global ones
        PolicyController.from_sb3(given)
        assert drawn() == expected


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
        ("own.zip", r"a policy of mine\.policies, of which only its own algorithm knows how to load it"),
    ):
        with pytest.raises(AgentError, match=message) as caught:
            PolicyController.from_sb3(tmp_path / name)
        assert "\n" not in str(caught.value)
