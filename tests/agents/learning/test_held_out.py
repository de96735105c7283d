"""Evaluation on held-out instances, the policy that is kept, and several trainings."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mapopt.agents import Agent, AgentTraining, PolicyController, train_agent, train_agents
from mapopt.agents.learning import training
from mapopt.agents.learning.progress import Progress
from mapopt.envs.families import ShapesFamily
from mapopt.errors import AgentError, ConfigError, StoreError
from mapopt.training import Budget, Trainer, run
from mapopt.weights import read_weights, write_weights


@pytest.fixture
def settings(tiny_family: ShapesFamily, tiny_budget: Budget) -> Any:
    def make(**changes: Any) -> AgentTraining:
        given = {"family": tiny_family, "budget": tiny_budget, "workers": 1, "lanes": 2, "iterations": 4}
        own = {"hidden": (8,), "knobs": ("lr", "augment"), "evaluate_every": 2, "reference": "none", "held_out": 1}
        return AgentTraining(**{**given, **own, **changes})

    return make


def test_an_evaluation_is_what_the_agent_reaches_on_the_held_out_instances(settings: Any, tmp_path: Path) -> None:
    log: list[Progress] = []
    chosen = settings(iterations=2, learning_rate=0.05)
    agent = train_agent(chosen, tmp_path, report=log.append)
    assert [progress.held_out is None for progress in log] == [True, False]
    instance = chosen.make_family().instance(2)
    finals = []
    for seed in (0, 1):
        history = run(Trainer(instance.task, seed=seed), PolicyController(agent), chosen.budget).history
        finals.append(history[-1].val.ap)
    assert log[1].held_out == pytest.approx(np.mean(finals), abs=1e-6)
    assert agent.training["kept"] == {"iteration": 2, "held_out_return": log[1].held_out}
    assert f"held out {np.mean(finals) + 0.0:+.4f}" in str(log[1])


def test_held_out_instances_are_never_trained_on(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    instance = ShapesFamily.instance

    def noted(self: ShapesFamily, number: int) -> Any:
        drawn.append(number)
        return instance(self, number)

    monkeypatch.setattr(ShapesFamily, "instance", noted)
    train_agent(settings(iterations=9, evaluate_every=0), tmp_path)
    assert set(drawn) == {0, 1}


def scores(monkeypatch: pytest.MonkeyPatch, *values: float) -> None:
    """Lets evaluations say this, one after the other."""
    left = list(values)
    monkeypatch.setattr(training, "evaluate", lambda *given, **more: left.pop(0))


def test_the_best_policy_is_kept_and_not_the_last(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores(monkeypatch, 0.3)
    early = train_agent(settings(iterations=2), tmp_path / "early")
    scores(monkeypatch, 0.3, 0.1)
    kept = train_agent(settings(), tmp_path / "best")
    assert kept.training["kept"] == {"iteration": 2, "held_out_return": 0.3}
    scores(monkeypatch, 0.3, 0.4)
    last = train_agent(settings(), tmp_path / "last")
    for name, (weight, _) in enumerate(kept.layers):
        assert np.array_equal(weight, early.layers[name][0])
        assert not np.array_equal(weight, last.layers[name][0])
    assert kept.open_loop == early.open_loop
    scores(monkeypatch, 0.2)
    more = train_agent(settings(iterations=5), tmp_path / "best", resume=True)
    assert more.training["kept"]["iteration"] == 2, "the last policy is asked, too, and is worse"
    scores(monkeypatch, 0.9)
    assert train_agent(settings(iterations=5), tmp_path / "last", resume=True).training["kept"]["iteration"] == 5
    assert kept.training["cost"]["images"] == (4 + 2 + 1) * 2 * 8, "iterations, evaluations, the mean actions"


def test_a_training_in_parts_keeps_the_same_policy(settings: Any, tmp_path: Path) -> None:
    whole = train_agent(settings(iterations=5, reference="baseline"), tmp_path / "whole")
    train_agent(settings(iterations=3, reference="baseline"), tmp_path / "parts")
    parts = train_agent(settings(iterations=5, reference="baseline"), tmp_path / "parts", resume=True)
    assert parts.fingerprint == whole.fingerprint
    assert parts.training["kept"] == whole.training["kept"]


def test_a_best_policy_of_another_network_is_refused(settings: Any, tmp_path: Path) -> None:
    train_agent(settings(iterations=2), tmp_path)
    path = tmp_path / "training.pt"
    kept = read_weights(path, what="a state", version=2, remedy="", error=AgentError)
    kept["best"]["numbers"]["0.bias"] = torch.zeros(5)
    write_weights(path, kept)
    with pytest.raises(AgentError, match=r"best: '0.bias' is float32 \[5\], expected float32 \[8\]"):
        train_agent(settings(), tmp_path, resume=True)


def test_instances_are_held_out_by_default_but_no_more_than_half(settings: Any) -> None:
    family = ShapesFamily(count=48)
    assert [settings(held_out=None).held_out_of(dataclasses.replace(family, count=n)) for n in (48, 16, 6, 1)] == [
        8, 8, 3, 0,
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="held_out is 3, and the family has 3 instances"):
        train_agent(settings(held_out=3), "nowhere")
    assert not Path("nowhere").exists()


def test_several_trainings_keep_the_best_and_say_how_they_differ(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[tuple[int, int]] = []
    scores(monkeypatch, 0.1, 0.3, 0.2)
    given = settings(iterations=2, seed=7, reference="baseline", num_seeds=1)
    agent = train_agents(
        given, tmp_path, training_seeds=3, report=lambda seed, progress: lines.append((seed, progress.iteration))
    )
    assert lines == [(seed, iteration) for seed in (7, 8, 9) for iteration in (0, 1)]
    spread = json.loads((tmp_path / "seeds.json").read_text())
    assert spread == {
        "scores": {"7": 0.1, "8": 0.3, "9": 0.2},
        "best": 8,
        "mean": pytest.approx(0.2),
        "standard_deviation": pytest.approx(0.1),
    }
    assert agent.fingerprint == Agent.load(tmp_path / "agent").fingerprint
    parts = [Agent.load(tmp_path / f"seed-{seed}" / "agent") for seed in (7, 8, 9)]
    assert agent.fingerprint == parts[1].fingerprint != parts[0].fingerprint
    assert agent.training["cost"]["images"] == sum(part.training["cost"]["images"] for part in parts)
    played = [part.training["cost"]["reference_runs"] for part in parts]
    assert sum(played) <= 3, "every reference is played by the training that met it first"
    monkeypatch.setattr(training, "_train", lambda *given, **more: pytest.fail("all are finished"))
    again = train_agents(given, tmp_path, training_seeds=3, resume=True)
    assert again.fingerprint == agent.fingerprint
    with pytest.raises(StoreError, match="is not empty"):
        train_agents(given, tmp_path, training_seeds=3)


def test_a_log_is_known_and_its_writer_installed(settings: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown log 'tensorbord': did you mean 'tensorboard'"):
        train_agent(settings(), tmp_path, log="tensorbord")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ConfigError, match="which is not installed: pip install tensorboard"):
            train_agent(settings(), tmp_path, log="tensorboard")
    assert not list(tmp_path.iterdir())


def test_tensorboard_is_given_every_iteration(settings: Any, tmp_path: Path) -> None:
    events = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
    )
    train_agent(settings(algo="sac"), tmp_path, log="tensorboard")
    written = events.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in written.Scalars("agent/return")] == [8, 16, 24, 32]
    assert len(written.Scalars("agent/held_out_return")) == 2
    assert np.isfinite([event.value for event in written.Scalars("train/critic_loss")]).all()
