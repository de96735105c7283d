"""Learners without gradients on the lanes: candidates play the same episodes, and begin at the baseline."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mapopt.agents import Agent, AgentTraining, PolicyController, train_agent
from mapopt.agents.learning.evolution import EvolutionLearner
from mapopt.agents.learning.strategies import Cma
from mapopt.envs.families import ShapesFamily
from mapopt.envs.sb3 import FleetVecEnv
from mapopt.errors import AgentError, ConfigError
from mapopt.files import sealed
from mapopt.training import Budget, Schedule
from mapopt.training.controllers.autopilot import AutopilotController


def settings(family: ShapesFamily, budget: Budget, **changes: Any) -> AgentTraining:
    given = {"family": family, "budget": budget, "workers": 1, "lanes": 8, "iterations": 1, "evaluate_every": 0}
    return AgentTraining(**{"algo": "cma_es", "knobs": ("lr", "augment"), **given, **changes})


def test_all_candidates_of_an_iteration_play_the_same_episodes(
    tiny_family: ShapesFamily, tiny_budget: Budget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[list[tuple[int, int]]] = []
    given: list[tuple[np.ndarray, np.ndarray]] = []
    reset, tell = FleetVecEnv.reset, Cma.tell

    def noting(self: FleetVecEnv) -> Any:
        observations = reset(self)
        begun.append([(info["instance"], info["seed"]) for info in self.reset_infos])
        return observations

    monkeypatch.setattr(FleetVecEnv, "reset", noting)
    monkeypatch.setattr(Cma, "tell", lambda self, *values: (given.append(values), tell(self, *values))[1])
    train_agent(settings(tiny_family, tiny_budget, iterations=2), tmp_path)
    for episodes in begun[:2]:
        assert episodes == episodes[:2] * 4
    assert begun[0] != begun[1]
    assert [candidates.shape for candidates, _ in given] == [(4, 2 * 26 + 2)] * 2
    assert all(len(set(values)) > 1 for _, values in given)
    assert not (tmp_path / "references.json").exists()


def test_it_begins_at_the_baseline_and_is_written_as_it_decides(
    tiny_family: ShapesFamily, tiny_budget: Budget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first: list[Agent] = []
    iterate = EvolutionLearner.iterate

    def noting(self: EvolutionLearner, iteration: int, *, planned: int) -> None:
        first.append(self.agent())
        iterate(self, iteration, planned=planned)

    monkeypatch.setattr(EvolutionLearner, "iterate", noting)
    chosen = settings(tiny_family, tiny_budget, algo="es", hidden=(4,))
    trained = train_agent(chosen, tmp_path)
    task = tiny_family.instance(0).task.info
    assert PolicyController(first[0]).decide((), task, tiny_budget) == Schedule().decide((), task, tiny_budget)
    loaded = PolicyController(Agent.load(tmp_path / "agent")).decide((), task, tiny_budget)
    assert loaded == PolicyController(trained).decide((), task, tiny_budget)
    assert trained.fingerprint != first[0].fingerprint


def test_it_learns_relative_to_another_controller_and_keeps_that_in_its_file(
    tiny_family: ShapesFamily, tiny_budget: Budget, tmp_path: Path
) -> None:
    autopilot = {"name": "autopilot", "ratio": 0.01}
    chosen = settings(tiny_family, tiny_budget, knobs=("step_ratio", "augment"), baseline=autopilot)
    trained = train_agent(chosen, tmp_path)
    assert trained.training["settings"]["baseline"]["settings"]["ratio"] == 0.01
    assert trained.baseline["controller"] == "autopilot"
    assert trained.form.baseline == AutopilotController(ratio=0.01)
    task = tiny_family.instance(0).task.info
    decision = PolicyController(trained).decide((), task, tiny_budget)
    assert PolicyController(Agent.load(tmp_path / "agent")).decide((), task, tiny_budget) == decision
    still = replace(trained, layers=tuple((0 * weight, 0 * bias) for weight, bias in trained.layers))
    assert PolicyController(still).decide((), task, tiny_budget) == trained.form.baseline.decide((), task, tiny_budget)


def test_a_baseline_that_no_file_holds_is_refused_before_anything_trains(
    tiny_family: ShapesFamily, tiny_budget: Budget, tmp_path: Path
) -> None:
    for algo in ("cma_es", "ppo"):
        with pytest.raises(ConfigError, match="relative to a Lookahead, which an agent's file does not hold"):
            train_agent(settings(tiny_family, tiny_budget, algo=algo, baseline="lookahead"), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"controller": "replay"}, "unknown controller of baseline 'replay'"),
        ({"controller": "json:loads"}, "unknown controller of baseline"),
        ({"controller": "autopilot", "settings": {"ratoi": 1}}, "did you mean 'ratio'"),
        ({"controller": "autopilot", "setting": {}}, "expected a controller with its settings"),
    ],
)
def test_a_file_whose_controller_is_none_of_ours_is_refused(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "agent.json"
    Agent.load("ppo-shapes").save(path)
    path.write_text(json.dumps(sealed({**json.loads(path.read_text()), "baseline": change})))
    with pytest.raises(AgentError, match=message):
        Agent.load(path)


@pytest.mark.parametrize("action", ["absolute", "discrete", "multi_discrete"])
def test_it_learns_any_form_of_action(
    action: str, tiny_family: ShapesFamily, tiny_budget: Budget, tmp_path: Path
) -> None:
    agent = train_agent(settings(tiny_family, tiny_budget, action=action), tmp_path)
    assert (agent.action, agent.output) == (action, "clip" if action == "absolute" else "choice")
    task = tiny_family.instance(0).task.info
    assert PolicyController(Agent.load(tmp_path / "agent")).decide((), task, tiny_budget)
