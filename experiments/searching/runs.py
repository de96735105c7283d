"""The runs of a search as files: each is kept the moment it is there, so that a search that is killed goes on.

A run is known by what decides its numbers (settings, images, budget, seed; see `mapopt.experiments.comparison.keys`),
and not by the search that asked for it: a space that grows, or another method with the same setting, finds it there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mapopt.errors import ConfigError, StoreError
from mapopt.experiments.comparison.jobs import Job
from mapopt.files import read_record, write_record
from mapopt.settings import from_mapping, to_mapping
from mapopt.training import RunResult

FORMAT, VERSION = "mapopt search run", 1
FOLDER = "searches"


@dataclass(frozen=True, kw_only=True)
class SearchRun:
    """What one run of a search came to."""

    asked: str
    """Hash of what was asked for."""
    made_by: dict[str, Any]
    """What computed it."""
    task: str
    seed: int
    recipe: dict[str, Any]
    knobs: dict[str, float]
    controller: dict[str, Any]
    status: str
    """finished, stopped or diverged."""
    val_ap: float
    """At the selected round; 0 of a run that diverged."""
    curve: tuple[float, ...]
    """Val AP of every round."""
    images: int
    """Trained on."""
    seconds: float
    """By the clock, its part of its fleet's."""
    processor_seconds: float | None

    @property
    def diverged(self) -> bool:
        """Whether a loss or gradient was not finite."""
        return self.status == "diverged"


def name_of(job: Job) -> str:
    """Returns what the run of a job with one seed is known by."""
    return f"{job.keys.asked}-{job.seeds[0]}"


class SearchRuns:
    """The runs of the searches of one experiment, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, job: Job) -> Path:
        """Returns where the run of a job is, or will be."""
        return self.folder / f"{name_of(job)}.json"

    def write(self, job: Job, result: RunResult) -> SearchRun:
        """Keeps a run, and returns it."""
        last = result.history[-1]
        run = SearchRun(
            asked=job.keys.asked,
            made_by=job.keys.made_by.as_dict(),
            task=job.task,
            seed=job.seeds[0],
            recipe=to_mapping(job.recipe),
            knobs=job.knobs.as_dict(),
            controller=to_mapping(job.controller),
            status=result.status,
            val_ap=result.val.ap,
            curve=tuple(played.val.ap for played in result.history),
            images=last.images,
            seconds=last.seconds,
            processor_seconds=last.processor_seconds,
        )
        write_record(self.path(job), {"format": FORMAT, "version": VERSION, **asdict(run)})
        return run

    def kept(
        self, jobs: Sequence[Job], *, accept_stored: bool = False, redo: bool = False
    ) -> tuple[dict[str, SearchRun], list[Job]]:
        """Returns the runs that are there, by what they are known by, and the jobs whose runs are not.

        Args:
            jobs: what is asked for, each with one seed.
            accept_stored: count what other code made.
            redo: train again what other code made.

        Raises:
            ConfigError: `accept_stored` and `redo` contradict each other.
            StoreError: a run cannot be read; or other code made some, and nothing was said about that.
        """
        if accept_stored and redo:
            raise ConfigError(
                "--accept-stored counts what other code made and --redo trains it again: give one of them"
            )
        there: dict[str, SearchRun] = {}
        older = []
        for job in jobs:
            run = self._read(job) if self.path(job).exists() else None
            if run is None:
                continue
            if run.made_by != job.keys.made_by.as_dict():
                older.append(job)
                if redo:
                    continue
            there[name_of(job)] = run
        if older and not accept_stored and not redo:
            raise StoreError(
                f"{self.folder}: {len(older)} runs of {len(jobs)} were made by other code than what "
                f"{jobs[0].keys.made_by} computes. Give --accept-stored to count them, or --redo to train them again."
            )
        return there, [job for job in jobs if name_of(job) not in there]

    def _read(self, job: Job) -> SearchRun:
        path, remedy = self.path(job), "Remove it to train the run again."
        record = read_record(
            path, what="a run that `mapopt search` kept", format=FORMAT, version=VERSION, remedy=remedy
        )
        content = {name: value for name, value in record.items() if name not in ("format", "version")}
        try:
            run: SearchRun = from_mapping(SearchRun, content, str(path))
        except ConfigError as error:
            raise StoreError(f"{path}: is no run of a search ({error}). {remedy}") from None
        if (run.asked, run.seed) != (job.keys.asked, job.seeds[0]):
            raise StoreError(f"{path}: is another run than its name says. {remedy}")
        return run
