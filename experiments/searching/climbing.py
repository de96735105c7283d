"""Searches that climb their rungs at once: what they need at a time is packed together and trained, wave by wave."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from mapopt.experiments.comparison.executors import run_jobs
from mapopt.experiments.comparison.jobs import Job
from mapopt.experiments.comparison.options import Options, about_stored, device_of, workers_of
from mapopt.experiments.searching.fleets import FleetProgress, pack, train_fleet_job
from mapopt.experiments.searching.ladders import Climb, Ladder
from mapopt.experiments.searching.outcome import RungOutcome, SearchOutcome
from mapopt.experiments.searching.runs import SearchRun, SearchRuns, name_of
from mapopt.training import expected_image_seconds

Report = Callable[[Any], None]


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """What is reported first: how much there is to do."""

    experiment: str
    searches: int
    """Methods, each once for every task that it is searched for by itself."""
    settings: int
    """Of all of them, in their first rungs."""
    images: int
    """Trained on in all, what two rungs or searches share counted twice."""
    folder: Path
    """Where runs are kept."""
    seconds: float | None
    """About how long all of it takes by the clock; None where nothing is known."""


@dataclass(frozen=True, kw_only=True)
class SearchProgress:
    """What is reported when further runs are needed, and while they train."""

    images: int
    """Of the plan's, that are done."""
    runs: int = 0
    """That are needed now; 0 while they train."""
    missing: int = 0
    """Of them, that are not there yet."""
    fleets: int = 0
    """That they train in."""
    fleet: FleetProgress | None = None
    """What one fleet says; None where runs are needed."""


@dataclass(frozen=True, kw_only=True)
class SearchEnd:
    """What is reported last: where the outcome is."""

    paths: tuple[Path, ...]
    unread: tuple[str, ...]
    """Methods for which the configuration has settings of its own, which go before what was found."""


def climb_all(ladders: Sequence[Ladder], folder: Path, options: Options, report: Report) -> list[SearchOutcome]:
    """Climbs all ladders, and returns what came of them in their order.

    Args:
        ladders: of one experiment.
        folder: where runs are kept.
        options: workers, device, and what to do about runs that other code made.
        report: is called with a `SearchPlan`, then with `SearchProgress`, rungs and outcomes as they come.

    Raises:
        MapoptError: a run cannot be read or trained, or other code made some.
    """
    workers, lanes, done = workers_of(options), ladders[0].experiment.lanes, _Done()

    def note(rung: RungOutcome) -> None:
        done.climbed += rung.images * rung.seeds * len(rung.tasks) * len(rung.tried)
        report(rung)

    report(_plan(ladders, folder, workers))
    store, runs = SearchRuns(folder), dict[str, SearchRun]()
    climbs = [replace(ladder, report=note).climb() for ladder in ladders]
    needs: dict[int, list[Job]] = {number: next(climb) for number, climb in enumerate(climbs)}
    outcomes: dict[int, SearchOutcome] = {}
    while needs:
        needed = {name_of(job): job for jobs in needs.values() for job in jobs}
        there, missing = store.kept([job for name, job in needed.items() if name not in runs], **about_stored(options))
        runs |= there
        fleets = pack(missing, lanes=lanes, workers=workers)
        done.begin(sum(job.budget.images for jobs in needs.values() for job in jobs if name_of(job) in runs))
        report(SearchProgress(images=done.images, runs=len(needed), missing=len(missing), fleets=len(fleets)))

        def advance(event: Any) -> None:
            report(done.advanced(event) if isinstance(event, FleetProgress) else event)

        work = partial(train_fleet_job, folder=folder, device=device_of(options))
        run_jobs(work, fleets, advance, workers=workers)
        runs |= store.kept(missing)[0]
        needs = _sent(climbs, needs, runs, outcomes, report)
    return [outcomes[number] for number in range(len(ladders))]


def _sent(
    climbs: Sequence[Climb],
    needs: Mapping[int, list[Job]],
    runs: Mapping[str, SearchRun],
    outcomes: dict[int, SearchOutcome],
    report: Report,
) -> dict[int, list[Job]]:
    """Sends the runs to whoever needed some; returns what is needed next, and adds the outcomes of those at the top."""
    following = {}
    for number in needs:
        try:
            following[number] = climbs[number].send(runs)
        except StopIteration as end:
            outcomes[number] = end.value
            report(end.value)
    return following


class _Done:
    """Counts the images of the plan that are done."""

    def __init__(self) -> None:
        self.climbed = 0
        """In rungs that are over."""
        self._there = 0
        self._fleets: dict[str, int] = {}

    @property
    def images(self) -> int:
        """In all."""
        return self.climbed + self._there + sum(self._fleets.values())

    def begin(self, there: int) -> None:
        """Begins the next wave, of whose images some are there."""
        self._there, self._fleets = there, {}

    def advanced(self, event: FleetProgress) -> SearchProgress:
        """Returns what to report of a fleet."""
        self._fleets[name_of(event.fleet.jobs[0])] = event.images
        return SearchProgress(images=self.images, fleet=event)


def _plan(ladders: Sequence[Ladder], folder: Path, workers: int) -> SearchPlan:
    rates = [_image_seconds(ladder) for ladder in ladders]
    seconds = sum(rate * ladder.images for rate, ladder in zip(rates, ladders, strict=True) if rate is not None)
    return SearchPlan(
        experiment=ladders[0].experiment.name,
        searches=len(ladders),
        settings=sum(ladder.counts[0] for ladder in ladders),
        images=sum(ladder.images for ladder in ladders),
        folder=folder,
        seconds=None if None in rates else seconds / workers,
    )


def _image_seconds(ladder: Ladder) -> float | None:
    """Returns about how many seconds of a core an image of a search takes; None where nothing tells."""
    data = [ladder.experiment.tasks[task] for task in ladder.tasks]
    sizes = [each.size if each.data is not None else (each.scenes.size,) * 2 for each in data]
    if ladder.device != "cpu":
        return None
    rates = [expected_image_seconds(ladder.config.recipe.detector, size) for size in sizes]
    known = [rate for rate in rates if rate is not None]
    return sum(known) / len(known) if len(known) == len(rates) else None
