"""Every learner learns something in two thousand steps, and staggered episodes leave evaluations alone."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mapopt.agents import AgentTraining, train_agent
from mapopt.agents.learning.algorithms import ALGORITHMS
from mapopt.agents.learning.held_out import evaluate
from mapopt.agents.learning.progress import Progress
from mapopt.agents.learning.watching import Watched
from mapopt.data import ShapesConfig
from mapopt.envs.detector_training.vector import DetectorTrainingVectorEnv
from mapopt.envs.families import ShapesFamily
from mapopt.envs.sb3 import FleetVecEnv
from mapopt.errors import ConfigError
from mapopt.training import Budget, Knobs, Recipe, Scores

FAMILY = ShapesFamily(
    scenes=ShapesConfig(size=16, object_size=(5.0, 10.0), objects=(1, 2)),
    images=(8, 2, 2),
    count=16,
    recipe=Recipe(batch_size=2, optimizer="sgd", loss="focal"),
    knobs=Knobs(lr=2.0),
)
"""Instances of a learning rate that is a hundred times too high, which an action of -1 puts right."""


class NearBoxes:
    """Pays for a low box loss on the val split: boxes far from every object have 2, and five such steps lead there."""

    measures = ("loss",)

    def value(self, scores: Scores) -> float:
        return max(0.0, 1 - scores.box_loss / 2)


EASY: dict[str, Any] = {
    "family": FAMILY,
    "budget": Budget(images=10, rounds=5),
    "knobs": ("lr",),
    "scale": 100.0,
    "features": ("progress", "knob_lr"),
    "reward": NearBoxes(),
    "reference": "none",
    "held_out": 8,
    "evaluate_every": 0,
    "workers": 1,
    "lanes": 20,
    "iterations": 20,
}
LESS: dict[str, Any] = {"gradient_steps": 4, "batch_size": 64}
"""Updates a step of all lanes: those of one in five."""
OWN: dict[str, dict[str, Any]] = {
    "ppo": {"learning_rate": 0.01},
    "a2c": {"learning_rate": 0.03, "log_std": 0.0, "hyperparameters": {"n_steps": 1}},
    "recurrent_ppo": {"learning_rate": 0.01, "epochs": 4, "hyperparameters": {"lstm_hidden_size": 8}},
    "sac": {"learning_rate": 0.01, "hyperparameters": LESS},
    "td3": {"learning_rate": 0.01, "hyperparameters": LESS},
    "tqc": {"learning_rate": 0.01, "hyperparameters": LESS},
    "dqn": {"learning_rate": 0.01, "step_size": 1.0, "hyperparameters": LESS},
    "cma_es": {},
    "es": {"hyperparameters": {"sigma": 0.3, "learning_rate": 0.1}},
}


def test_every_learner_is_in_this_matrix() -> None:
    assert OWN.keys() == ALGORITHMS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("algo", list(OWN))
def test_two_thousand_steps_make_a_policy_that_is_better_than_random_actions(algo: str, tmp_path: Path) -> None:
    settings = AgentTraining(**{**EASY, "algo": algo, "hidden": () if "es" in algo.split("_") else (16,), **OWN[algo]})
    log: list[Progress] = []
    agent = train_agent(settings, tmp_path / "out", report=log.append)
    assert log[-1].steps == 2000
    numbers = [part for layer in agent.layers for part in layer]
    assert all(np.isfinite(part).all() for part in numbers)
    assert any(part.any() for part in numbers)
    make = partial(DetectorTrainingVectorEnv, 8, settings=settings.environment, autoreset_mode="SameStep")
    env = Watched(FleetVecEnv(make), 1.0)
    learned = evaluate(agent, env, first=8, count=8)
    env.fleets.set_options([{"instance": 8 + lane, "training_seed": 0} for lane in range(8)])
    env.begin()
    env.action_space.seed(0)
    env.reset()
    for _ in range(5):
        env.step(np.array([env.action_space.sample() for _ in range(8)]))
    print(f"{algo}: {learned:.3f}, random actions {env.returns.mean():.3f}")
    assert learned > env.returns.mean() + 0.1


def staggered(**changes: Any) -> AgentTraining:
    less = {"lanes": 5, "iterations": 2, "stagger": True, "evaluate_every": 1, "held_out": 4, "hidden": (8,)}
    return AgentTraining(**{**EASY, **less, **changes})


@pytest.mark.parametrize("algo", ["ppo", "sac"])
def test_a_staggered_training_resumes_and_evaluates_whole_episodes(
    algo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts: list[int] = []
    step_wait = Watched.step_wait

    def noted(self: Watched) -> Any:
        result = step_wait(self)
        cuts.append(int(sum(info["TimeLimit.truncated"] for info in result[3])))
        return result

    monkeypatch.setattr(Watched, "step_wait", noted)
    whole = train_agent(staggered(algo=algo), tmp_path / "whole")
    # Lane i of 5 is cut i rounds before its end, which in 5 rounds is one lane in each but the last.
    assert cuts == [*[1, 1, 1, 1, 0], *[0] * 5] * 2 + [0] * 5, "two iterations, each evaluated, and the mean actions"
    train_agent(staggered(algo=algo, iterations=1), tmp_path / "parts")
    resumed = train_agent(staggered(algo=algo), tmp_path / "parts", resume=True)
    assert resumed.fingerprint == whole.fingerprint
    cuts.clear()
    train_agent(staggered(algo=algo, stagger=False), tmp_path / "plain")
    assert cuts
    assert not any(cuts)


def test_learners_that_compare_candidates_have_no_staggered_episodes() -> None:
    with pytest.raises(ConfigError, match="stagger was given for cma_es, which has no such setting: leave it out"):
        staggered(algo="cma_es", hidden=())
    with pytest.raises(ConfigError, match="stagger is 1: expected True or False"):
        staggered(stagger=1)
