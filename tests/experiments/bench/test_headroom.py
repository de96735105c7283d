"""`mapopt bench headroom`: what deciding per instance can gain is measured on val, reported on test."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mapopt.cli import main
from mapopt.errors import ConfigError
from mapopt.experiments.bench import headroom
from mapopt.experiments.bench.headroom import Headroom, bench_headroom, cases_of, measure_headroom
from mapopt.experiments.bench.settings import HeadroomSettings
from mapopt.metrics.statistics import Estimate

CPU = torch.device("cpu")
SMALL = HeadroomSettings(families=("units",), instances=3, candidates=2, images=160, rounds=2, size=32)


def test_instances_are_those_for_evaluating_agents() -> None:
    names = [case.task.name for case in cases_of("units", SMALL)]
    assert names == ["units-eval-0", "units-eval-1", "units-eval-2"]
    assert [case.task.splits.train.size for case in cases_of("small-objects", SMALL)] == [(32, 32)] * 3


def test_tasks_of_an_experiment_are_instances_with_seeds_in_turn(tmp_path: Path) -> None:
    path = tmp_path / "two.yaml"
    path.write_text(
        "{name: two, budget: {images: 32, rounds: 2}, methods: {baseline: {}}, tasks: {a: {images: [8, 4, 4]}, "
        "b: {images: [8, 4, 4], budget_factor: 2, recipe: {batch_size: 8}}}}",
        encoding="utf-8",
    )
    cases = cases_of(str(path), SMALL)
    assert [(case.task.name, case.budget.images) for case in cases] == [("a", 32), ("b", 64), ("a", 32)]
    assert cases[0].task.splits.train.fingerprint != cases[2].task.splits.train.fingerprint


def test_the_gain_is_that_of_the_best_of_each_over_the_best_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"val": np.array([[0.4, 0.1, 0.3], [0.2, 0.2, 0.3]]), "test": np.array([[0.3, 0.1, 0.2], [0.1, 0.3, 0.1]])}

    def train(
        members: Any, cases: Any, offsets: Any, settings: Any, seed: Any, device: Any, val: Any, test: Any
    ) -> None:
        assert offsets[0].tolist() == [0, 0, 0]
        for row, place in members:
            val[row, place], test[row, place] = table["val"][row, place], table["test"][row, place]

    monkeypatch.setattr(headroom, "_train", train)
    measured = measure_headroom("units", SMALL, seed=0, device=CPU)
    # Relative to the best of each: (1 + .5 + 1) / 3 and (.5 + 1 + 1) / 3, so the first of the two, which are level.
    assert measured.best_single == pytest.approx((0.3 + 0.1 + 0.2) / 3)
    assert measured.best_each == pytest.approx((0.3 + 0.3 + 0.2) / 3)
    assert measured.gain.value == pytest.approx(0.2 / 3)
    assert not measured.admitted, "of three instances with one gain the interval reaches 0"
    assert measured.images == 3 * 2 * 160


def test_a_mistyped_family_is_said_before_the_others_are_trained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "headroom", "--families", "units", "unitz", "--instances", "2"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("mapopt bench headroom: error: unknown family 'unitz': did you mean 'units'?")
    assert captured.err.count("\n") == 1


def test_the_command_prints_and_writes_what_it_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--families", "units", "--instances", "2", "--candidates", "2", "--images", "160", "--rounds", "2"]
    assert main(["bench", "headroom", *words, "--knobs", "lr", "--out", str(tmp_path / "out")]) == 0
    (written,) = json.loads((tmp_path / "out" / "headroom.json").read_text())
    assert written["family"] == "units"
    assert f"{written['best_single']:.3f}" in capsys.readouterr().out


def test_what_is_wrong_is_said_before_anything_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headroom, "measure_headroom", lambda *arguments, **named: pytest.fail("trained"))
    for settings, said in (
        (replace(SMALL, families=("units", "unit")), "unit"),
        (replace(SMALL, families=("units", "nowhere.yaml")), "nowhere.yaml"),
        (replace(SMALL, knobs=("lr", "lrr")), "lrr"),
        (replace(SMALL, instances=99), "instance 98"),
    ):
        with pytest.raises(ConfigError, match=said):
            bench_headroom(settings, seed=0, device=CPU)


def test_an_interrupted_benchmark_prints_what_it_has(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = Headroom(
        family="units",
        instances=3,
        settings=2,
        best_single=0.123,
        best_each=0.2,
        gain=Estimate(0.1, 0.0, 0.2),
        images=1,
    )

    def measure(name: str, *arguments: Any, **named: Any) -> Headroom:
        if name == "shapes":
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(headroom, "measure_headroom", measure)
    with pytest.raises(KeyboardInterrupt):
        bench_headroom(replace(SMALL, families=("units", "shapes")), seed=0, device=CPU)
    assert "0.123" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--families", "unit"], "did you mean 'units'"),
        (["--instances", "1"], "--instances is 1: expected 2 or more"),
        (["--knobs", "lrr"], "did you mean 'lr'"),
        (["--families", "units", "--instances", "99", "--images", "160", "--rounds", "2"], "instance 98 was asked"),
    ],
)
def test_what_cannot_be_measured_is_said(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "headroom", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
