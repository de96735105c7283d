"""`mapopt bench replay`: learning rates that take the same steps are noted, averaged over other runs, and played."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mapopt.cli import main
from mapopt.experiments.bench.replay import Replayed, _closed_runs
from mapopt.experiments.comparison.config import load_experiment
from mapopt.experiments.comparison.jobs import make_job
from mapopt.training import Budget, Fleet, Knobs, Schedule, run_fleet
from mapopt.training.budget import TaskInfo
from mapopt.training.controllers.autopilot import AutopilotController
from mapopt.training.testing import check_controller

CPU = torch.device("cpu")
TWO = """
name: two
budget: {images: 64, rounds: 2}
methods: {baseline: {}, autopilot: {controller: {kind: autopilot, settings: {ratio: 0.0001}}}}
tasks:
  small: {images: [16, 8, 8], recipe: {optimizer: sgd, batch_size: 8}}
  large: {images: [16, 8, 8], recipe: {optimizer: sgd, batch_size: 8}, knobs: {class_weight: 5, box_weight: 10}}
"""


def experiment(tmp_path: Path) -> Path:
    path = tmp_path / "two.yaml"
    path.write_text(TWO, encoding="utf-8")
    return path


def test_a_replay_has_rates_in_place_of_lengths() -> None:
    check_controller(Replayed(Schedule(), (2.0,) * 20))
    task = TaskInfo(name="t", classes=2, train_images=64, batch_size=4, knobs=Knobs(lr=0.1), optimizer="sgd")
    budget, rule = Budget(images=80, rounds=2), AutopilotController()
    first, second = rule.decide([], task, budget), Replayed(rule, (3.0, 1.0)).decide([], task, budget)
    assert first.knobs.step_ratio > 0
    assert second.knobs.step_ratio == 0
    assert second.knobs.lr == pytest.approx(3 * (first.knobs.lr or 0))
    assert second.knobs.augment == first.knobs.augment


def test_a_runs_own_rates_take_its_steps_again(tmp_path: Path) -> None:
    """With one step a round the geometric mean of a round is that step's rate, and plain SGD has no other memory."""
    path = experiment(tmp_path)
    path.write_text(TWO.replace("rounds: 2", "rounds: 8").replace("box_weight: 10", "box_weight: 10, momentum: 0"))
    job = make_job(load_experiment(path), "large", "autopilot")
    closed, factors = _closed_runs(job, [0, 1], CPU)
    fleet = Fleet([job.make_task(seed) for seed in (0, 1)], [0, 1], device=CPU)
    controllers = [Replayed(job.make_controllers(1)[0], tuple(np.exp(each))) for each in factors]
    again = run_fleet(fleet, controllers, job.budget)
    fresh = run_fleet(Fleet([job.make_task(0)], [0], device=CPU), job.make_controllers(1), job.budget)
    for mine, rule in zip(again[0].history, fresh[0].history, strict=True):
        assert mine.interval.update_ratio == pytest.approx(rule.interval.update_ratio, rel=0.01)
    assert [float(run.test.ap) for run in again if run.test] == pytest.approx(closed.tolist(), abs=0.01)


def test_the_command_prints_and_writes_what_it_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--experiment", str(experiment(tmp_path)), "--seeds", "2", "--device", "cpu"]
    assert main(["bench", "replay", *words, "--out", str(tmp_path / "out")]) == 0
    written = json.loads((tmp_path / "out" / "replay.json").read_text())
    assert [each["task"] for each in written] == ["small", "large"]
    assert all(each["images"] == 3 * 2 * 64 for each in written)
    assert f"{written[0]['closed']:.3f}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "rul"], "has no 'rul': expected one of baseline, autopilot"),
        (["--tasks", "smal"], "has no 'smal': expected one of small, large"),
        (["--method", "baseline"], "leaves step_ratio at 0, or a run diverged"),
        (["--seeds", "1"], "seeds"),
    ],
)
def test_what_cannot_be_measured_is_said(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "replay", "--experiment", str(experiment(tmp_path)), "--device", "cpu", *words]) == 2
    assert message in capsys.readouterr().err
