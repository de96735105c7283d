"""The runs of searches: how they are packed into fleets, that packing changes nothing, and how they are kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mapopt.errors import ConfigError, StoreError
from mapopt.experiments.comparison.config import Experiment, load_experiment
from mapopt.experiments.comparison.jobs import Job
from mapopt.experiments.searching.fleets import FleetJob, FleetProgress, pack, train_fleet_job
from mapopt.experiments.searching.ladders import Ladder, ladders_of
from mapopt.experiments.searching.runs import SearchRun, SearchRuns, name_of
from mapopt.training import Recipe


@pytest.fixture
def ladder(small: Experiment) -> Ladder:
    return ladders_of(small)[0]


def jobs_of(ladder: Ladder, count: int, **changes: Any) -> list[Job]:
    """Returns so many runs that differ in the warm-up and may train together."""
    settings = [{"controller.schedule.warmup": number / 100} for number in range(count)]
    (task, *_) = ladder.tasks
    listed = replace(ladder, tasks=(task,)).jobs(settings, ladder.rungs[0])
    return [replace(job, **changes) for each in listed for job in each]


def test_runs_of_one_recipe_and_one_kind_of_images_train_together(ladder: Ladder) -> None:
    settings = [
        {"recipe.optimizer": "sgd", "controller.schedule.warmup": 0.0},
        {"recipe.optimizer": "adamw", "knobs.lr": 0.05},
        {"recipe.optimizer": "sgd", "controller.schedule.warmup": 0.1},
    ]
    jobs = [job for rung in ladder.rungs for each in ladder.jobs(settings, rung) for job in each]
    fleets = pack(jobs, lanes=8, workers=1)
    assert sorted(name_of(job) for fleet in fleets for job in fleet.jobs) == sorted(map(name_of, jobs))
    for fleet in fleets:
        kinds = {(job.recipe.optimizer, job.task, job.budget) for job in fleet.jobs}
        assert len(kinds) == 1, "easy has 3 classes and hard 6"
    assert len(fleets) == 2 * 2 * 2
    assert [fleet.images for fleet in fleets] == sorted((fleet.images for fleet in fleets), reverse=True)


def test_tasks_with_images_of_one_kind_train_together(ladder: Ladder) -> None:
    data = replace(ladder.experiment.tasks["hard"], images=(32, 8, 8))
    easier = replace(data, scenes=replace(data.scenes, clutter=0.0))
    tasks = {"hard": data, "easier": easier, "longer": replace(data, images=(32, 9, 8))}
    wide = replace(ladder, experiment=replace(ladder.experiment, tasks=tasks), tasks=tuple(tasks))
    jobs = wide.jobs([{}], ladder.rungs[0])[0]
    shared = [sorted(job.task for job in fleet.jobs) for fleet in pack(jobs, lanes=8, workers=1)]
    assert sorted(shared) == [["easier", "hard"], ["longer"]]


@pytest.mark.parametrize(
    ("runs", "lanes", "workers", "expected"),
    [
        (8, 8, 1, [8]),
        (9, 8, 1, [5, 4]),
        (20, 8, 1, [7, 7, 6]),
        (8, 8, 2, [4, 4]),
        (8, 8, 4, [4, 4]),
        (3, 8, 2, [3]),
        (1, 8, 2, [1]),
    ],
)
def test_fleets_are_even_and_smaller_where_workers_would_have_nothing(
    runs: int, lanes: int, workers: int, expected: list[int], ladder: Ladder
) -> None:
    fleets = pack(jobs_of(ladder, runs), lanes=lanes, workers=workers)
    assert [len(fleet.jobs) for fleet in fleets] == expected


def test_lanes_that_train_in_turn_are_kept_in_turn(ladder: Ladder) -> None:
    fleets = pack(jobs_of(ladder, 3, recipe=Recipe(detector="resnet18", batch_size=4)), lanes=8, workers=1)
    assert [len(fleet.jobs) for fleet in fleets] == [1, 1, 1]


@pytest.fixture(scope="module")
def trained(
    content: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Job], list[FleetProgress]]:
    """Three runs that trained together, and what was reported of them."""
    folder = tmp_path_factory.mktemp("searches")
    jobs = jobs_of(ladders_of(load_experiment(content))[0], 3)
    events: list[FleetProgress] = []
    train_fleet_job(FleetJob(tuple(jobs)), events.append, folder=folder, device="cpu")
    return folder, jobs, events


def test_a_run_does_not_depend_on_what_it_trains_with(trained: tuple[Path, list[Job], Any], tmp_path: Path) -> None:
    folder, jobs, _ = trained
    together, missing = SearchRuns(folder).kept(jobs)
    assert not missing
    train_fleet_job(FleetJob((jobs[1],)), lambda event: None, folder=tmp_path, device="cpu")
    alone = SearchRuns(tmp_path).kept([jobs[1]])[0]

    def numbers(run: SearchRun) -> Any:
        return replace(run, seconds=0.0, processor_seconds=0.0)

    name = name_of(jobs[1])
    assert numbers(alone[name]) == numbers(together[name])
    assert max(run.val_ap for run in together.values()) > 0
    assert len({run.curve for run in together.values()}) == 3
    assert together[name].val_ap == max(together[name].curve), "of the round that was selected"
    assert (together[name].images, len(together[name].curve)) == (64, 4)


def test_a_fleet_says_how_far_it_is(trained: tuple[Path, list[Job], list[FleetProgress]]) -> None:
    _, jobs, events = trained
    assert [event.images for event in events] == [3 * 16, 3 * 32, 3 * 48, 3 * 64]
    assert [event.done for event in events] == [False, False, False, True]
    assert events[-1].fleet.jobs == tuple(jobs)


def test_the_test_split_is_left_alone(ladder: Ladder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mapopt.training import Fleet

    asked: list[str] = []
    score, evaluate = Fleet.score, Fleet.evaluate
    monkeypatch.setattr(Fleet, "score", lambda self, split, **more: asked.append(split) or score(self, split, **more))
    monkeypatch.setattr(
        Fleet, "evaluate", lambda self, split, **more: asked.append(split) or evaluate(self, split, **more)
    )
    train_fleet_job(FleetJob(tuple(jobs_of(ladder, 1))), lambda event: None, folder=tmp_path, device="cpu")
    assert asked == ["val"] * 4


def written(folder: Path, job: Job) -> Path:
    return SearchRuns(folder).path(job)


def changed(trained: tuple[Path, list[Job], Any], place: Path, change: Any) -> tuple[SearchRuns, list[Job]]:
    """Returns a copy of the folder in which the record of the first run is another."""
    folder, jobs, _ = trained
    for path in folder.iterdir():
        (place / path.name).write_bytes(path.read_bytes())
    path = written(place, jobs[0])
    record = json.loads(path.read_text())
    change(record)
    from mapopt.files import write_record

    write_record(path, {name: value for name, value in record.items() if name != "checksum"})
    return SearchRuns(place), jobs


def test_what_other_code_made_is_counted_or_trained_again_by_name(
    trained: tuple[Path, list[Job], Any], tmp_path: Path
) -> None:
    runs, jobs = changed(trained, tmp_path, lambda record: record["made_by"].update(code=0))
    with pytest.raises(
        StoreError, match=r"1 runs of 3 were made by other code than what mapopt .*Give --accept-stored"
    ):
        runs.kept(jobs)
    assert len(runs.kept(jobs, accept_stored=True)[0]) == 3
    there, missing = runs.kept(jobs, redo=True)
    assert (len(there), missing) == (2, [jobs[0]])
    with pytest.raises(ConfigError, match="give one of them"):
        runs.kept(jobs, accept_stored=True, redo=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.update(seed=7), "is another run than its name says. Remove it to train the run again"),
        (lambda record: record.update(version=9), "is of version 9: expected|is of version 9; expected a run that"),
        (lambda record: record.update(val_ap="high"), "is no run of a search .*val_ap is 'high': expected a number"),
        (lambda record: record.pop("curve"), "is no run of a search .*curve is missing"),
        (lambda record: record.update(format="else"), "is something else; expected a run that `mapopt search` kept"),
    ],
)
def test_a_record_that_is_something_else_is_one_line(
    change: Any, message: str, trained: tuple[Path, list[Job], Any], tmp_path: Path
) -> None:
    runs, jobs = changed(trained, tmp_path, change)
    with pytest.raises(StoreError, match=message):
        runs.kept(jobs)


def test_a_damaged_record_is_one_line(trained: tuple[Path, list[Job], Any], tmp_path: Path) -> None:
    runs, jobs = changed(trained, tmp_path, lambda record: None)
    path = runs.path(jobs[0])
    text = path.read_text()
    path.write_text(text.replace('"status": "finished"', '"status": "diverged"'))
    with pytest.raises(StoreError, match=r"not what its checksum says.*Remove it to train the run again"):
        runs.kept(jobs)
    path.write_text(text[: len(text) // 2])
    with pytest.raises(StoreError, match="is not JSON; expected a run that `mapopt search` kept"):
        runs.kept(jobs)
