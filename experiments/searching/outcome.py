"""What a search came to: every setting of every rung with its runs, what was chosen, how sure that is, and its cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mapopt.agents.search.halving import best_of
from mapopt.experiments.searching.changes import Changes
from mapopt.experiments.searching.settings import Searched
from mapopt.metrics.statistics import bootstrap_interval

SEED = 0
"""Of the resampling."""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One setting in one rung."""

    setting: dict[str, Any]
    """Dotted name -> value."""
    changes: Changes
    """The same as what it changes in the method."""
    val_ap: dict[str, tuple[float, ...]]
    """Task -> at the selected round, per seed; 0 where a run diverged."""
    score: float
    """By which it was placed, relative to the other settings of its rung."""
    diverged: int
    """Runs of all tasks together."""

    def mean(self, task: str) -> float:
        """Returns the mean val AP on a task."""
        return float(np.mean(self.val_ap[task]))

    def interval(self, task: str) -> tuple[float, float] | None:
        """Returns the ends of the 95 % interval of that mean; None for a single seed, of which nothing is known."""
        if len(self.val_ap[task]) < 2:
            return None
        values = np.array(self.val_ap[task])
        low, high = bootstrap_interval(values, lambda each: each.mean(axis=-1), seed=SEED, bounds=(0.0, 1.0))
        return float(low), float(high)


@dataclass(frozen=True, kw_only=True)
class RungOutcome:
    """One rung of a search."""

    method: str
    tasks: tuple[str, ...]
    number: int
    """From 1."""
    rungs: int
    """Of the search."""
    images: int
    """Of the budget of every run."""
    seeds: int
    tried: tuple[Tried, ...]
    """The best first."""


@dataclass(frozen=True, kw_only=True)
class SearchOutcome:
    """The outcome of the search of one method: on one task, or on all of them together."""

    method: str
    tasks: tuple[str, ...]
    asked: str
    """Hash of what was searched."""
    rungs: tuple[RungOutcome, ...]
    runs: int
    images: int
    """Trained on."""
    seconds: float
    """By the clock."""
    processor_seconds: float | None
    """Of the processor; None where it was not kept."""

    @property
    def tried(self) -> tuple[Tried, ...]:
        """The settings of the last rung, the best first."""
        return self.rungs[-1].tried

    @property
    def best(self) -> Tried:
        """The setting that was chosen for all tasks of the search; of equal ones the one that was tried first."""
        return self.tried[0]

    def best_on(self, task: str) -> Tried:
        """Returns the setting of the last rung with the highest mean val AP on one of the tasks."""
        return self.tried[best_of([tried.mean(task) for tried in self.tried], 1)[0]]

    def searched(self, task: str, chosen: Tried | None = None) -> Searched:
        """Returns what the comparison reads of it for a task.

        Args:
            task: one of the tasks of the search.
            chosen: the setting; by default the one chosen for all tasks.
        """
        tried = chosen or self.best
        ends = tried.interval(task)
        return Searched(
            knobs=tried.changes.knobs,
            recipe=tried.changes.recipe,
            controller=tried.changes.controller,
            runs=self.runs,
            images=self.images,
            seconds=round(self.seconds, 1),
            processor_seconds=None if self.processor_seconds is None else round(self.processor_seconds, 1),
            val_ap=round(tried.mean(task), 4),
            interval=None if ends is None else (round(ends[0], 4), round(ends[1], 4)),
            tasks=self.tasks if len(self.tasks) > 1 else (),
            asked=self.asked,
        )

    def by_task(self) -> Mapping[str, Searched]:
        """Returns what the comparison reads of it, by task."""
        return {task: self.searched(task) for task in self.tasks}
