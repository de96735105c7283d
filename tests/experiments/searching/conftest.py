"""A small experiment, and searches whose runs are made up in no time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mapopt.experiments.comparison.config import Experiment, load_experiment
from mapopt.experiments.comparison.jobs import Job
from mapopt.experiments.searching.ladders import Ladder
from mapopt.experiments.searching.outcome import SearchOutcome
from mapopt.experiments.searching.runs import SearchRun, name_of

SMALL: dict[str, Any] = {
    "name": "small",
    "budget": {"images": 128, "rounds": 4},
    "tasks": {"easy": {"images": [16, 8, 8]}, "hard": {"images": [16, 8, 8], "scenes": {"classes": 6}}},
    "methods": {
        "baseline": {
            "recipe": {"batch_size": 4},
            "knobs": {"augment": 0.4},
            "search": {
                "tasks": "all",
                "settings": 6,
                "strategy_settings": {"together": 2},
                "seeds": 2,
                "space": {
                    "recipe.optimizer": ["sgd", "adamw"],
                    "knobs.lr": {"low": 0.01, "high": 0.1, "when": {"recipe.optimizer": "adamw"}},
                    "controller.schedule.warmup": {"low": 0, "high": 0.2},
                },
                "halving": {"rungs": [{"budget": 0.5, "seeds": 1}, {"settings": 2}]},
            },
        },
        "plateau": {"controller": {"kind": "plateau"}, "search": {"grid": {"lr": [0.1, 0.2]}, "seeds": 1}},
        "borrower": {"controller": {"kind": "constant"}, "search": {"of": "baseline"}},
    },
    "seeds": 2,
    "lanes": 4,
}

ValAp = Callable[[Job], float]
"""The val AP of a run."""


@pytest.fixture(scope="session")
def content() -> dict[str, Any]:
    """What the file of the experiment holds."""
    return SMALL


@pytest.fixture
def small() -> Experiment:
    return load_experiment(SMALL)


def made_up(job: Job, val_ap: float, **changes: Any) -> SearchRun:
    """A run that nobody trained."""
    values: dict[str, Any] = {
        "asked": job.keys.asked,
        "made_by": job.keys.made_by.as_dict(),
        "task": job.task,
        "seed": job.seeds[0],
        "recipe": {},
        "knobs": job.knobs.as_dict(),
        "controller": {},
        "status": "finished",
        "val_ap": val_ap,
        "curve": (val_ap,),
        "images": job.budget.images,
        "seconds": 2.0,
        "processor_seconds": 1.0,
    }
    return SearchRun(**{**values, **changes})


class Climber:
    """Gives a ladder the runs that it needs."""

    def __init__(self) -> None:
        self.waves: list[list[Job]] = []
        """What was asked for, wave by wave."""
        self.runs: dict[str, SearchRun] = {}
        """What was given in the last climb."""

    def climb(self, ladder: Ladder, val_ap_of: ValAp, **changes: Any) -> SearchOutcome:
        self.runs = {}

        def train(jobs: list[Job]) -> None:
            self.waves.append(jobs)
            self.runs |= {name_of(job): made_up(job, val_ap_of(job), **changes) for job in jobs}

        return self._climb(ladder, train)

    def climb_again(self, ladder: Ladder) -> SearchOutcome:
        """Climbs with the runs that are there, and with no others."""
        return self._climb(ladder, lambda jobs: None)

    def _climb(self, ladder: Ladder, train: Callable[[list[Job]], None]) -> SearchOutcome:
        climb = ladder.climb()
        jobs = next(climb)
        while True:
            train(jobs)
            try:
                jobs = climb.send(self.runs)
            except StopIteration as end:
                outcome: SearchOutcome = end.value
                return outcome


@pytest.fixture
def climber() -> Climber:
    return Climber()
