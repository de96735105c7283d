"""Every learner trains, is resumed bit for bit, and becomes an agent that decides as its model does."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mapopt.agents import Agent, AgentTraining, PolicyController, train_agent
from mapopt.agents.learning.algorithms import ALGORITHMS, check_hyperparameters, is_evolution
from mapopt.agents.learning.learner import Sb3Learner
from mapopt.agents.learning.progress import Progress
from mapopt.agents.learning.state import read_state
from mapopt.envs.families import ShapesFamily
from mapopt.errors import AgentError, ConfigError
from mapopt.training import Budget, Trainer, run
from mapopt.weights import read_weights, write_weights

SMALL: dict[str, dict[str, Any]] = {
    "recurrent_ppo": {"lstm_hidden_size": 8},
    # The buffer is full in the second iteration, and begins anew in it.
    "sac": {"buffer_size": 12, "batch_size": 8, "learning_starts": 2},
    "td3": {"batch_size": 8, "n_steps": 2},
    "tqc": {"batch_size": 8, "n_quantiles": 5, "ent_coef": 0.1},
    "dqn": {"batch_size": 8, "buffer_size": 12},
}


@pytest.fixture
def settings(tiny_family: ShapesFamily, tiny_budget: Budget) -> Any:
    def make(algo: str, **changes: Any) -> AgentTraining:
        given = {"family": tiny_family, "budget": tiny_budget, "workers": 1, "lanes": 2, "iterations": 3}
        given |= {"lanes": 8, "hidden": ()} if algo in ("cma_es", "es") else {"hidden": (8,)}
        small = {"hyperparameters": SMALL.get(algo, {}), "knobs": ("lr", "augment"), "reference": "none"}
        return AgentTraining(algo=algo, **{**given, **small, **changes})

    return make


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_a_training_in_parts_equals_the_unbroken_one_bit_for_bit(algo: str, settings: Any, tmp_path: Path) -> None:
    log: list[Progress] = []
    whole = train_agent(settings(algo), tmp_path / "whole", report=log.append)
    assert len({progress.action_mean for progress in log}) > 1
    with pytest.raises(_StoppedError):
        train_agent(settings(algo), tmp_path / "first", report=_stop_after_two)
    rest: list[Progress] = []
    resumed = train_agent(settings(algo), tmp_path / "first", resume=True, report=rest.append)
    assert [progress.iteration for progress in rest] == [2]
    assert rest[0].action_mean == log[2].action_mean
    assert resumed.fingerprint == whole.fingerprint
    assert resumed.open_loop == whole.open_loop
    first, second = (_numbers(tmp_path / name / "training.pt") for name in ("whole", "first"))
    assert first.keys() == second.keys()
    for name, numbers in first.items():
        assert np.array_equal(numbers, second[name]), name


class _StoppedError(Exception):
    pass


def _stop_after_two(progress: Progress) -> None:
    """Ends a training as a signal does, when its second iteration is written."""
    if progress.iteration == 1:
        raise _StoppedError


def _numbers(path: Path) -> dict[str, np.ndarray]:
    """Returns every number of a state but for its times."""
    content = read_weights(path, what="a state", version=2, remedy="", error=AgentError)

    def flat(value: Any, name: str) -> dict[str, np.ndarray]:
        if isinstance(value, dict):
            return {key: item for inner in value for key, item in flat(value[inner], f"{name}.{inner}").items()}
        if isinstance(value, list):
            return {key: item for at, inner in enumerate(value) for key, item in flat(inner, f"{name}.{at}").items()}
        return {name: np.asarray(value)}

    return {name: value for name, value in flat(content, "").items() if "seconds" not in name}


@pytest.mark.parametrize("algo", [algo for algo in ALGORITHMS if not is_evolution(algo)])
def test_the_agent_of_two_files_decides_as_the_learners_policy_does(
    algo: str, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learners: list[Sb3Learner] = []
    make = Sb3Learner.__init__
    monkeypatch.setattr(Sb3Learner, "__init__", lambda self, *given: (learners.append(self), make(self, *given))[1])
    chosen = settings(algo, iterations=1)
    train_agent(chosen, tmp_path)
    agent, (learner,) = Agent.load(tmp_path / "agent"), learners
    assert {path.name for path in tmp_path.iterdir()} >= {"agent.json", "agent.safetensors"}
    assert bool(agent.cells) == (algo == "recurrent_ppo")
    instance, theirs = chosen.make_family().instance(1), PolicyController.from_sb3(learner.model)
    history = run(Trainer(instance.task, seed=4), PolicyController(agent), chosen.budget).history
    for rounds in range(4):
        given = (history[:rounds], instance.task.info, chosen.budget)
        ours, expected = (each.decide(*given).knobs.as_dict() for each in (PolicyController(agent), theirs))
        assert ours == pytest.approx(expected, rel=1e-5)


def test_exploration_ends_with_a_fraction_of_the_planned_training(settings: Any, tmp_path: Path) -> None:
    rates = []

    def note(self: Sb3Learner, iteration: int, *, planned: int) -> None:
        iterate(self, iteration, planned=planned)
        rates.append(self.model.exploration_rate)  # type: ignore[attr-defined]

    iterate = Sb3Learner.iterate
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sb3Learner, "iterate", note)
        train_agent(settings("dqn", iterations=4), tmp_path)
        train_agent(settings("dqn", iterations=5), tmp_path, resume=True)
    assert rates == pytest.approx([1 - 0.95 / 2, 0.05, 0.05, 0.05, 0.05])


@pytest.mark.parametrize(
    ("algo", "given", "message"),
    [
        ("ppo", {"gama": 0.9}, "unknown hyperparameter of ppo 'gama': did you mean 'gamma'"),
        ("sac", {"n_epochs": 3}, "unknown hyperparameter of sac 'n_epochs'"),
        ("sac", {"gamma": 2}, "'gamma' of sac is 2: expected a number from 0 to 1"),
        ("sac", {"ent_coef": "much"}, "'ent_coef' of sac is 'much': expected a number from 0 or auto"),
        ("td3", {"batch_size": 0}, "'batch_size' of td3 is 0: expected a whole number from 1"),
        ("dqn", {"train_freq": 1.5}, "'train_freq' of dqn is 1.5: expected a whole number"),
        ("ppo", {"normalize_advantage": 1}, "'normalize_advantage' of ppo is 1: expected True or False"),
        ("ppo", {"learning_rate": float("nan")}, "'learning_rate' of ppo is nan: expected a number from 0"),
        ("a2c", {"device": "cpu"}, "'device' of a2c is decided by"),
        ("cma_es", {"sigmas": 0.1}, "unknown hyperparameter of cma_es 'sigmas': did you mean 'sigma'"),
        ("es", {"momentum": 1.5}, "'momentum' of es is 1.5: expected a number from 0 to 1"),
        ("es", {"episodes": 0}, "'episodes' of es is 0: expected a whole number from 1"),
        ("recurrent_ppo", {"lstm_hiden_size": 4}, "did you mean 'lstm_hidden_size'"),
    ],
)
def test_hyperparameters_are_held_against_the_constructor(algo: str, given: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_hyperparameters(algo, given)


def test_hyperparameters_are_what_the_learner_is_made_with(settings: Any, tmp_path: Path) -> None:
    made: list[Any] = []
    remember = Sb3Learner.state

    def note(self: Sb3Learner) -> Any:
        made.append(self.model)
        return remember(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sb3Learner, "state", note)
        given = {"gamma": 0.9, "n_epochs": 3, "vf_coef": 0.25, "ortho_init": False, "log_std_init": -2.0}
        agent = train_agent(settings("ppo", hyperparameters=given, iterations=1), tmp_path)
    model = made[-1]
    assert (model.gamma, model.n_epochs, model.vf_coef, model.policy.ortho_init) == (0.9, 3, 0.25, False)
    assert model.policy.log_std.detach().numpy() == pytest.approx(-2.0, abs=0.1)
    assert agent.training["settings"]["hyperparameters"] == given
    with pytest.raises(AgentError, match="other settings"):
        train_agent(settings("ppo", hyperparameters={**given, "gamma": 1.0}), tmp_path, resume=True)


@pytest.mark.parametrize(
    ("algo", "changes", "message"),
    [
        ("soc", {}, "unknown algorithm 'soc': did you mean 'sac'"),
        ("dqn", {"action": "relative"}, "dqn cannot learn actions from Box.*: give --action discrete"),
        ("dqn", {"action": "multi_discrete"}, "dqn cannot learn actions from MultiDiscrete.*: give --action discrete"),
        (
            "sac",
            {"action": "discrete"},
            "sac cannot learn actions from Discrete.*: give --action relative, moving or absolute",
        ),
        ("sac", {"epochs": 3}, "epochs was given for sac, which has no such setting: leave it out"),
        ("a2c", {"hyperparameters": {"n_steps": 3}}, "'n_steps' is 3: expected a divisor of the 4 rounds"),
        ("es", {"lanes": 5}, "5 lanes for candidates of 2 episodes each: expected a multiple of 2, of at least 8"),
        ("cma_es", {"hidden": (64, 64)}, "numbers, and cma_es learns at most 2000"),
        ("es", {"learning_rate": 0.5}, "learning_rate was given for es: leave it out"),
        ("td3", {"hyperparameters": {"train_freq": 1, "gradient_stepz": 1}}, "did you mean 'gradient_steps'"),
    ],
)
def test_what_a_learner_cannot_do_is_said_before_anything_is_begun(
    algo: str, changes: Any, message: str, settings: Any, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        train_agent(settings(algo, **changes), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    with pytest.raises(
        ConfigError, match=r"'tqc' is of sb3-contrib, which cannot be imported .*: pip install sb3-contr"
    ):
        check_hyperparameters("tqc", {})


Damage = dict[str, Any]


@pytest.mark.parametrize(
    ("algo", "damage", "message"),
    [
        ("sac", lambda kept: kept["replay"].pop("dones"), "replay: 'dones' is missing, expected float32"),
        (
            "sac",
            lambda kept: kept["replay"].update(rewards=torch.zeros(50_001, 2)),
            "replays 50001 steps of every lane",
        ),
        ("sac", lambda kept: kept["counters"].update(replay_position=1), "goes on at 1, which does not fit its 4"),
        ("sac", lambda kept: kept["counters"].pop("_n_updates"), "the counters are not those of SAC"),
        ("sac", lambda kept: kept["optimizers"].pop("ent_coef_optimizer"), "the optimizers are not those of SAC"),
        ("sac", lambda kept: kept["tensors"].update(log_ent_coef=torch.zeros(3)), "'log_ent_coef' is float32 .3."),
        ("a2c", lambda kept: _moments(kept)[0].update(square_avg=torch.zeros(1)), "'square_avg' is float32 .1."),
        ("a2c", lambda kept: _moments(kept)[0].pop("step"), "a count of steps is missing"),
        ("a2c", lambda kept: _moments(kept).update({99: {}}), "has other parameters than this training's"),
        ("a2c", lambda kept: kept["replay"].update(rewards=torch.zeros(1)), "the learner has none"),
        ("cma_es", lambda kept: kept["policy"]["covariance"].fill_(float("nan")), "are not finite, or make no distri"),
        ("es", lambda kept: kept["policy"].pop("velocity"), "'velocity' is missing, expected float64"),
        ("dqn", lambda kept: kept["policy"].update(more=torch.zeros(1)), "'more' is float32 .1., expected missing"),
    ],
)
def test_a_state_that_is_not_of_the_learner_is_refused(
    algo: str, damage: Any, message: str, settings: Any, tmp_path: Path
) -> None:
    train_agent(settings(algo, iterations=1, hyperparameters={}), tmp_path)
    path = tmp_path / "training.pt"
    kept = read_weights(path, what="a state", version=2, remedy="", error=AgentError)
    damage(kept)
    write_weights(path, kept)
    before = path.read_bytes()
    with pytest.raises(AgentError, match=f"{message}.*Begin the training anew"):
        train_agent(settings(algo, hyperparameters={}), tmp_path, resume=True)
    assert path.read_bytes() == before


def _moments(kept: Damage) -> Any:
    return kept["optimizers"]["policy.optimizer"]["state"]


def test_a_state_of_another_learner_is_of_other_settings(settings: Any, tmp_path: Path) -> None:
    train_agent(settings("td3", iterations=1), tmp_path)
    with pytest.raises(AgentError, match="is of a training with other settings"):
        train_agent(settings("sac"), tmp_path, resume=True)
    content = read_weights(tmp_path / "training.pt", what="a state", version=2, remedy="", error=AgentError)
    described = json.loads(content["settings"])
    assert read_state(tmp_path / "training.pt", described).planned == 1
