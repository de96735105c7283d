"""The rivals of a schedule in a comparison: they run, are stored once, pay for what they try, and can be replayed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mapopt.experiments.comparison.compare import compare
from mapopt.experiments.comparison.config import load_experiment
from mapopt.experiments.comparison.jobs import Plan, make_job
from mapopt.experiments.comparison.store import Store
from mapopt.training import Fleet, run_fleet
from mapopt.training.controllers.fixed import load_replay

CONTROLLERS: dict[str, dict[str, Any]] = {
    "one_cycle": {},
    "greedy_lr": {"factor": 0.5},
    "hypergradient": {"beta": 0.1},
    "lookahead": {"rounds": 2},
    "best_of_n": {"n": 2},
    "mf_pbt": {"frequencies": [1], "size": 4},
}
PAID = {"one_cycle": 1, "greedy_lr": 1, "hypergradient": 1, "lookahead": (2 * 3 + 3) / 2, "best_of_n": 2, "mf_pbt": 4}
"""Budgets of two rounds that a run is paid for with."""

RIVALS: dict[str, Any] = {
    "name": "rivals",
    "budget": {"images": 32, "rounds": 2},
    "tasks": {"shapes": {"images": [16, 8, 8]}},
    "methods": {name: {"controller": {"kind": name, "settings": settings}} for name, settings in CONTROLLERS.items()},
    "reference": "one_cycle",
    "seeds": 2,
    "lanes": 2,
}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    compare(RIVALS, out=folder, workers=1)
    return folder


def test_all_of_them_are_compared_and_a_second_time_nothing_is_left_to_do(out: Path) -> None:
    events: list[Any] = []
    summary = compare(RIVALS, out=out, workers=1, progress=events.append)
    assert [event.missing for event in events if isinstance(event, Plan)] == [0]
    assert {row["method"] for row in summary.to_rows()} >= set(CONTROLLERS)


@pytest.mark.parametrize("name", CONTROLLERS)
def test_a_stored_run_says_what_it_paid_for_and_is_replayed_from_its_rounds(name: str, out: Path) -> None:
    experiment = load_experiment(RIVALS)
    stored = Store(out).find("rivals", "shapes", name, 1)
    assert stored is not None
    assert stored.images == PAID[name] * 32
    assert stored.evaluated == PAID[name] * 2 * 8 + 8
    job = make_job(experiment, "shapes", name)
    assert job.key == stored.key
    assert stored.folder is not None
    fleet = Fleet(job.make_task(1), [1])
    again = run_fleet(fleet, [load_replay(stored.folder)], experiment.budget)[0]
    assert [played.val for played in again.history] == [played.val for played in stored.rounds]
    assert again.history[-1].images == 32
    assert again.test is not None
    assert tuple(map(float, again.test.stats)) == stored.stats


def test_settings_are_a_part_of_a_runs_key() -> None:
    def key(settings: dict[str, Any]) -> str:
        methods = {"one": {"controller": {"kind": "mf_pbt", "settings": settings}}}
        return make_job(load_experiment({**RIVALS, "methods": methods, "reference": "one"}), "shapes", "one").key

    assert key({"size": 4}) != key({"size": 8})
