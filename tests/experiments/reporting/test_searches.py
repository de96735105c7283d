"""What a search prints: how far it is, its rungs, what was chosen and at what cost, in lines that can be read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mapopt import waiting
from mapopt.experiments.comparison.config import load_experiment
from mapopt.experiments.comparison.executors import WorkerDied
from mapopt.experiments.reporting.searches import SearchTerminal
from mapopt.experiments.searching.changes import Changes
from mapopt.experiments.searching.climbing import SearchEnd, SearchPlan, SearchProgress
from mapopt.experiments.searching.fleets import FleetJob, FleetProgress
from mapopt.experiments.searching.ladders import ladders_of
from mapopt.experiments.searching.outcome import RungOutcome, SearchOutcome, Tried

SMALL: dict[str, Any] = {
    "name": "small",
    "budget": {"images": 64, "rounds": 2},
    "tasks": {"easy": {"images": [16, 8, 8]}},
    "methods": {"baseline": {"search": {"grid": {"lr": [0.1, 0.2]}, "seeds": 1}}},
}
PLAN = SearchPlan(experiment="small", searches=1, settings=2, images=2000, folder=Path("runs"), seconds=90.0)


def tried(lr: float, *, score: float = 1.0, diverged: int = 0, **val_ap: tuple[float, ...]) -> Tried:
    return Tried(
        setting={"recipe.optimizer": "adamw", "knobs.lr": lr},
        changes=Changes(knobs={"lr": lr}, recipe={"optimizer": "adamw"}),
        val_ap=dict(val_ap),
        score=score,
        diverged=diverged,
    )


def rung(*settings: Tried, number: int = 1, rungs: int = 1) -> RungOutcome:
    return RungOutcome(
        method="baseline",
        tasks=tuple(settings[0].val_ap),
        number=number,
        rungs=rungs,
        images=12_800,
        seeds=len(next(iter(settings[0].val_ap.values()))),
        tried=settings,
    )


def show(*events: Any) -> None:
    with SearchTerminal() as terminal:
        for event in events:
            terminal(event)


def test_a_rung_before_the_last_shows_its_best_and_the_last_shows_all(capsys: pytest.CaptureFixture[str]) -> None:
    settings = [tried(0.1 * number, score=1 - 0.1 * number, easy=(0.3,)) for number in range(1, 6)]
    show(rung(*settings, rungs=2))
    first = capsys.readouterr().out
    assert first.startswith("baseline on easy: rung 1 of 2, 5 settings, 1 seed, 12,800 images a run; the best:\n")
    assert [lr for lr in ("0.1", "0.2", "0.3", "0.4", "0.5") if f"lr {lr}" in first] == ["0.1", "0.2", "0.3"]
    show(rung(*settings, number=2, rungs=2))
    last = capsys.readouterr().out
    assert "images a run:\n" in last
    assert "lr 0.5" in last
    assert ".300  optimizer adamw, lr 0.1" in last, "of one seed there is no interval"


def test_intervals_and_diverged_runs_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    show(
        rung(
            tried(0.1, easy=(0.3, 0.32, 0.31, 0.33), hard=(0.05,) * 4),
            tried(9.0, diverged=3, easy=(0.0,) * 4, hard=(0.0,) * 4),
        )
    )
    out = capsys.readouterr().out
    assert re.search(r"1\.000  \.315 \[\.29\d, \.3[34]\d\]  \.050 \[\.050, \.050\] +optimizer adamw, lr 0\.1", out)
    assert re.search(r" 3  optimizer adamw, lr 9", out)


def test_what_was_chosen_stands_beside_its_cost_and_beside_the_best_of_each_task(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rungs = (rung(tried(0.1, easy=(0.3,), hard=(0.05,)), tried(0.4, easy=(0.32,), hard=(0.01,))),)
    costs: dict[str, Any] = {"asked": "", "runs": 28, "images": 25_600, "seconds": 300.0}
    outcome = SearchOutcome(method="baseline", tasks=("easy", "hard"), rungs=rungs, processor_seconds=240.0, **costs)
    show(outcome, SearchEnd(paths=(Path("runs/searched.yaml"),), unread=("plateau",)))
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "baseline on 2 tasks: 28 runs, 25,600 images, 4 min of the processor; chosen: optimizer adamw, lr 0.1",
        "  easy: val AP .300; of this task alone .320 with optimizer adamw, lr 0.4",
        "  hard: val AP .050, the best of this task, too",
        "wrote runs/searched.yaml",
    ]
    assert lines[4].startswith("The configuration has other settings of plateau, which go before these: remove them")
    show(SearchOutcome(method="baseline", tasks=("easy",), rungs=rungs, processor_seconds=None, **costs))
    assert "5 min by the clock" in capsys.readouterr().out


def test_a_piped_search_says_how_far_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setattr(waiting, "EVERY", 0.05)
    (ladder,) = ladders_of(load_experiment(SMALL))
    jobs = [job for each in ladder.jobs([{"knobs.lr": 0.1}, {"knobs.lr": 0.2}], ladder.rungs[0]) for job in each]
    fleet = FleetJob(tuple(jobs))
    with SearchTerminal() as terminal:
        terminal(PLAN)
        terminal(SearchProgress(images=500, runs=4, missing=2, fleets=1))
        terminal(SearchProgress(images=1000, fleet=FleetProgress(fleet, 500, 0.1)))
        time.sleep(0.5)
        terminal(SearchProgress(images=2000, fleet=FleetProgress(fleet, 1500, 0.25, done=True)))
        terminal(WorkerDied(None, "exit status 5"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "small: 1 search of 2 settings, 2,000 images in all; runs are kept in runs",
        "this takes about 68 s",
        "4 runs needed now, 2 missing, in 1 fleet",
    ]
    assert any(re.fullmatch(r"searching: 1000 of 2000 images, .* gone, about .* left", line) for line in lines), (
        "a sign of life"
    )
    assert "2 runs of muon, mal, batch 16: best val AP .250" in lines
    assert lines[-1] == "a worker process died (exit status 5); its runs begin once more"


def test_a_search_that_is_all_there_says_nothing_of_time(capsys: pytest.CaptureFixture[str]) -> None:
    show(PLAN, SearchProgress(images=2000, runs=4, missing=0, fleets=0))
    assert len(capsys.readouterr().out.splitlines()) == 1
