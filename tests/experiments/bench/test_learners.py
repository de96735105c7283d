"""`mapopt bench learners`: learners at equal environment steps, on instances that no agent was trained on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mapopt.agents.learning import seeds
from mapopt.agents.learning.algorithms import ALGORITHMS
from mapopt.agents.learning.settings import check_training
from mapopt.cli import main
from mapopt.experiments.bench.learners import RandomActions, family_of, summarize, training_of
from mapopt.experiments.bench.settings import BLIND, LearnersSettings
from mapopt.training import Budget

SMALL = ["--trainings", "2", "--iterations", "1", "--lanes", "8", "--instances", "2", "--images", "8", "--rounds", "2"]


@pytest.mark.parametrize("name", [*ALGORITHMS, BLIND])
def test_every_learner_is_trained_for_as_many_steps(name: str) -> None:
    training = training_of(name, LearnersSettings(), seed=3, device="cpu")
    check_training(training)
    assert training.algo == ("cma_es" if name == BLIND else name)
    assert (training.iterations, training.lanes, training.processes, training.seed) == (8, 16, 1, 3)
    assert training.features == (("progress",) if name == BLIND else None)


def test_random_actions_differ_by_seed_and_round_and_come_again() -> None:
    form = training_of("ppo", LearnersSettings(), seed=0, device="cpu").make_action()
    task, budget = family_of("eval").instance(0).task.info, Budget(images=80, rounds=5)
    first, again, other = (RandomActions(form, seed).decide((), task, budget) for seed in (0, 0, 1))
    assert first == again
    assert first.knobs.lr != other.knobs.lr


def test_a_learner_is_summarized_over_trainings_and_over_instances() -> None:
    costs = [{"images": 10, "processor_seconds": 2.0}, {"images": 30, "processor_seconds": 4.0}]
    measured = summarize("ppo", [[0.2, 0.4], [0.4, 0.6]], [0.1, 0.3], 8, costs)
    assert measured.mean == pytest.approx(0.4)
    assert measured.gain.value == pytest.approx(0.2)
    assert measured.spread == pytest.approx(float(np.std([0.3, 0.5], ddof=1)))
    assert (measured.environment_steps, measured.images, measured.processor_seconds) == (8, 20, 3)
    assert measured.gain.low == pytest.approx(measured.gain.high), "both instances gain the same"
    assert measured.interval is not None
    assert measured.interval[0] < 0.3 < 0.5 < measured.interval[1], "two trainings say little"


def test_the_command_trains_evaluates_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "learners", "--learners", "es", *SMALL, "--device", "cpu", "--out", str(tmp_path / "out")]
    assert main(words) == 0
    written = json.loads((tmp_path / "out" / "learners.json").read_text())
    assert [each["name"] for each in written] == ["baseline", "random actions", "es"]
    assert np.array(written[2]["aps"]).shape == (2, 2)
    assert written[2]["environment_steps"] == 16
    assert written[0]["gain"]["value"] == 0
    assert "standard deviation" in capsys.readouterr().out
    assert main(words) == 2, "the folder is not empty"
    monkeypatch.setattr(seeds, "train_agent", lambda *given, **named: pytest.fail("trained again"))
    assert main([*words, "--resume"]) == 0
    assert json.loads((tmp_path / "out" / "learners.json").read_text()) == written


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--learners", "ppp"], "unknown algorithm 'ppp': did you mean 'ppo'"),
        (["--trainings", "0"], "--trainings is 0: expected 1 or more"),
        (["--images", "50"], "a round of 10 images is no whole number of steps of 4"),
        (["--instances", "25"], "--instances is 25: expected 24 at most"),
        (["--resume"], "--resume is given without --out"),
    ],
)
def test_what_cannot_be_measured_is_said(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "learners", *words]) == 2
    assert said in capsys.readouterr().err
