"""What of a comparison the store has: runs of today, runs that other code made, and runs that were asked for otherwise.

Only the first count by themselves. What other code made is counted only if somebody says so; what was asked for
otherwise (other settings, images or agent) is never counted, and its place is taken by the run that is asked for now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from mapopt.errors import ConfigError, StoreError
from mapopt.experiments.comparison.jobs import Job
from mapopt.experiments.comparison.store import Store
from mapopt.experiments.comparison.stored_run import StoredRun


@dataclass(frozen=True)
class Standing:
    """The stored runs of some jobs."""

    today: list[StoredRun] = field(default_factory=list)
    """What this mapopt would compute again."""
    older: list[StoredRun] = field(default_factory=list)
    """The same was asked for, but other code made it."""
    other: list[StoredRun] = field(default_factory=list)
    """Something else was asked for."""

    def add(self, job: Job, run: StoredRun, *, any_device: bool = False) -> None:
        """Sorts a run of a job's task, method and seeds in.

        Args:
            job: what is asked for.
            run: what is stored.
            any_device: take runs that were made on another kind of device for today's.
        """
        kinds = {"today": self.today, "older": self.older, "other": self.other}
        kinds[_standing(job, run, any_device=any_device)].append(run)

    @property
    def note(self) -> str:
        """Says what was made by other code; empty where nothing was."""
        if not self.older:
            return ""
        count = len(self.older)
        makers = Counter(run.maker for run in self.older)
        by = ", ".join(f"{number} by {maker}" for maker, number in sorted(makers.items()))
        agents = any(not run.made_by and run.training.images for run in self.older)
        held = ", whose keys held no more of an agent than its weights," if agents else ""
        return f"{count} of {count + len(self.today)} stored runs were made by other code ({by}){held} and may differ"


def missing_jobs(
    jobs: Sequence[Job], store: Store, *, lanes: int, accept_stored: bool = False, redo: bool = False
) -> tuple[list[Job], Standing]:
    """Returns what of the jobs the store lacks, in groups of at most so many seeds, and what it has.

    Groups of the same seeds stand together, so that their images are made once, and the methods take turns: every
    other time in the opposite order, so that a machine that gets slower or faster favors none.

    Args:
        jobs: what is asked for.
        store: what there is.
        lanes: the largest group.
        accept_stored: count what other code made.
        redo: train again what other code made.

    Raises:
        ConfigError: `accept_stored` and `redo` contradict each other.
        StoreError: other code made some of the runs, and nothing was said about that; or a run cannot be read.
    """
    if accept_stored and redo:
        raise ConfigError("--accept-stored counts what other code made and --redo trains it again: give one of them")
    standing, groups = Standing(), []
    for job in jobs:
        kept = {seed: store.find(job.experiment, job.task, job.method, seed) for seed in job.seeds}
        mine = Standing()
        for run in kept.values():
            if run is not None:
                mine.add(job, run)
                standing.add(job, run)
        done = {run.seed for run in (*mine.today, *(() if redo else mine.older))}
        lacking = [seed for seed in job.seeds if seed not in done]
        starts = range(0, len(lacking), lanes)
        groups += [replace(job, seeds=tuple(lacking[start : start + lanes])) for start in starts]
    if standing.older and not accept_stored and not redo:
        raise StoreError(
            f"{store.root}: {standing.note} from what {jobs[0].keys.made_by} computes. Give --accept-stored to count "
            "them as they are, or --redo to train them again."
        )
    return _interleaved(groups), standing


def stored_runs(jobs: Sequence[Job], runs: Iterable[StoredRun], *, any_device: bool = False) -> Standing:
    """Returns how some of the runs of an experiment stand to its jobs; runs of no job are left out."""
    wanted = {(job.task, job.method): job for job in jobs}
    standing = Standing()
    for run in runs:
        job = wanted.get((run.task, run.method))
        if job is not None and run.seed in job.seeds:
            standing.add(job, run, any_device=any_device)
    return standing


def _standing(job: Job, run: StoredRun, *, any_device: bool) -> Literal["today", "older", "other"]:
    if run.key == job.key:
        return "today"
    if not run.asked:
        return "older" if run.key == job.keys.former else "other"
    if run.asked not in (job.keys.asked, job.keys.by_path):
        return "other"
    here = {**job.keys.made_by.as_dict(), **({"device": run.made_by.get("device")} if any_device else {})}
    return "today" if run.made_by == here else "older"


def _interleaved(groups: Sequence[Job]) -> list[Job]:
    ordered: list[Job] = []
    for turn, seeds in enumerate(sorted({job.seeds for job in groups})):
        together = [job for job in groups if job.seeds == seeds]
        ordered += together if turn % 2 == 0 else together[::-1]
    return ordered
