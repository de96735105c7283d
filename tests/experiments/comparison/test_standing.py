"""What a comparison makes of stored runs: whose code they are from, what was asked for, and where reports go."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mapopt.agents import Agent
from mapopt.cli import main
from mapopt.errors import ConfigError, StoreError
from mapopt.experiments.comparison import keys
from mapopt.experiments.comparison.compare import compare, plot
from mapopt.experiments.comparison.expected import expected_seconds
from mapopt.experiments.comparison.jobs import Job, Plan, all_jobs, make_job
from mapopt.experiments.comparison.options import make_experiment
from mapopt.experiments.comparison.standing import missing_jobs
from mapopt.experiments.comparison.store import Store
from mapopt.files import write_json

SMALL: dict[str, Any] = {
    "name": "small",
    "budget": {"images": 32, "rounds": 2},
    "tasks": {"shapes": {"images": [16, 8, 8]}},
    "methods": {
        "baseline": {"search": {"grid": {"lr": [0.1]}, "seeds": 1}},
        "plateau": {"controller": {"kind": "plateau"}},
    },
    "seeds": 2,
    "lanes": 1,
}


def jobs_of(config: Any = SMALL, *, device: str = "cpu", methods: Any = ()) -> list[Job]:
    return all_jobs(make_experiment(config, methods, {}), device=device)


@pytest.fixture
def fill(tmp_path: Path, make: Any) -> Callable[..., Store]:
    """Returns what stores made-up runs of all jobs; changes may be given by name."""

    def fill(jobs: list[Job], **changes: Any) -> Store:
        store = Store(tmp_path / "runs")
        for job in jobs:
            for seed in job.seeds:
                known = {"key": job.key, "asked": job.keys.asked, "made_by": job.keys.made_by.as_dict()}
                place = {"experiment": job.experiment, "task": job.task, "method": job.method, "seed": seed}
                run = make.run(**{**known, **place, "categories": ("disc", "box", "triangle"), **changes})
                store.write(run, make.rounds())
        return store

    return fill


def _seeds(jobs: list[Job]) -> list[tuple[str, int]]:
    return [(job.method, seed) for job in jobs for seed in job.seeds]


def test_what_is_missing_takes_turns_by_method(tmp_path: Path) -> None:
    missing, standing = missing_jobs(jobs_of({**SMALL, "seeds": 3}), Store(tmp_path), lanes=1)
    assert _seeds(missing) == [
        *(("baseline", 0), ("plateau", 0)),
        *(("plateau", 1), ("baseline", 1)),
        *(("baseline", 2), ("plateau", 2)),
    ]
    assert [standing.today, standing.older, standing.other] == [[], [], []]


@pytest.mark.parametrize("change", [{"code": 0}, {"mapopt": "0.0.9"}, {"torch": "1.0"}, {"device": "cuda"}])
def test_what_other_code_made_is_refused_until_something_is_said(
    change: dict[str, Any], fill: Callable[..., Store]
) -> None:
    jobs = jobs_of()
    made_by = replace(jobs[0].keys.made_by, **change)
    former = replace(jobs[0].keys, made_by=made_by)
    store = fill(jobs[:1], made_by=made_by.as_dict(), key=former.whole)
    with pytest.raises(StoreError, match=r"2 of 2 stored runs were made by other code \(2 by mapopt") as error:
        missing_jobs(jobs, store, lanes=2)
    assert "Give --accept-stored to count them as they are, or --redo to train them again" in str(error.value)
    assert str(made_by) in str(error.value)
    missing, _ = missing_jobs(jobs, store, lanes=2, accept_stored=True)
    assert [job.method for job in missing] == ["plateau"]
    missing, _ = missing_jobs(jobs, store, lanes=2, redo=True)
    assert [job.method for job in missing] == ["baseline", "plateau"]
    with pytest.raises(ConfigError, match="give one of them"):
        missing_jobs(jobs, store, lanes=2, redo=True, accept_stored=True)


def test_runs_of_former_versions_are_known_by_their_key_and_said_to_be_theirs(fill: Callable[..., Store]) -> None:
    jobs = jobs_of()
    store = fill(jobs[:1], made_by={}, asked="", key=jobs[0].keys.former)
    with pytest.raises(StoreError, match="by an earlier mapopt that did not say"):
        missing_jobs(jobs, store, lanes=2)
    (note,) = plot(SMALL, out=store.root).notes
    assert "2 of 2 stored runs were made by other code" in note


def test_what_was_asked_for_otherwise_is_done_anew_and_in_no_report(fill: Callable[..., Store]) -> None:
    """A report over runs of other keys would show numbers of settings that nobody asked for."""
    store = fill(jobs_of())
    other = {**SMALL, "methods": {**SMALL["methods"], "plateau": {"controller": "plateau", "knobs": {"lr": 0.3}}}}
    other["methods"]["plateau"] = {"controller": {"kind": "plateau"}, "knobs": {"lr": 0.3}}
    missing, standing = missing_jobs(jobs_of(other), store, lanes=2)
    assert (_seeds(missing), len(standing.other)) == ([("plateau", 0), ("plateau", 1)], 2)
    summary = plot(other, out=store.root)
    assert [method.method for method in summary.tasks[0].methods] == ["baseline"]
    assert summary.notes == ("2 stored runs were asked for with other settings, images or agents: left out",)
    assert plot(SMALL, out=store.root).notes == ()


def test_a_plot_takes_runs_of_any_device(fill: Callable[..., Store]) -> None:
    jobs = jobs_of(device="cuda:1")
    assert jobs[0].keys.made_by.device == "cuda"
    store = fill(jobs)
    assert plot(SMALL, out=store.root).notes == ()
    with pytest.raises(StoreError, match="on cuda"):
        compare(SMALL, out=store.root, device="cpu")


def test_the_report_of_a_part_leaves_that_of_the_whole(fill: Callable[..., Store]) -> None:
    store = fill(jobs_of())
    plot(SMALL, out=store.root)
    whole = store.root / "small" / "summary.json"
    before = whole.read_bytes()
    plot(SMALL, out=store.root, methods=["baseline"])
    plot(SMALL, out=store.root, seeds=1)
    assert whole.read_bytes() == before
    parts = sorted((store.root / "small" / "selections").iterdir())
    assert [part.name[:-9] for part in parts] == ["baseline+plateau_shapes_1-seeds", "baseline_shapes_2-seeds"]
    assert all((part / "summary.json").is_file() for part in parts)
    assert [run.method for run in store.runs("small")] == ["baseline"] * 2 + ["plateau"] * 2
    plot(SMALL, out=store.root, reference="plateau")
    assert json.loads(whole.read_text())["reference"] == "plateau", "the whole may be reported anew"
    shutil.rmtree(store.root / "small" / "shapes" / "plateau")
    plot(SMALL, out=store.root, methods=["baseline"])
    assert len(json.loads(whole.read_text())["tasks"][0]["methods"]) == 1, "what is gone covers nothing"


@pytest.fixture
def agent() -> Agent:
    layers = ((np.ones((3, 2), np.float32), np.zeros(3, np.float32)), (np.ones((1, 3), np.float32), np.zeros(1)))
    return Agent(layers, ("lr",), 4.0, {}, ("progress", "knob_lr"), ((0.1,), (0.2,)))


@pytest.mark.parametrize("kind", ["agent", "replay"])
@pytest.mark.parametrize(
    "change",
    [
        {"layers": "biases"},
        {"scale": 2.0},
        {"baseline": {"warmup": 0.5}},
        {"open_loop": ((0.1,), (0.3,))},
        {"observation": ("progress", "val_ap")},
        {"activation": "relu"},
    ],
)
def test_a_key_holds_the_whole_agent(change: dict[str, Any], kind: str, agent: Agent, tmp_path: Path) -> None:
    def job(name: str, saved: Agent) -> Job:
        saved.save(tmp_path / name)
        return job_of_agent(tmp_path / name, kind)

    if change == {"layers": "biases"}:
        change = {"layers": tuple((weight, bias + 0.5) for weight, bias in agent.layers)}
    first = job("agent", agent)
    assert job("agent", agent).key == first.key
    assert job("folder/other", agent).key == first.key, "wherever it lies"
    assert job("agent", replace(agent, **change)).key != first.key


def job_of_agent(path: Path, kind: str = "agent") -> Job:
    """Returns a job whose only method is an agent of a file."""
    methods = {"baseline": {"controller": {"kind": kind, "agent": str(path)}}}
    return make_job(make_experiment({**SMALL, "methods": methods}, (), {}), "shapes", "baseline")


def test_runs_whose_keys_held_the_path_of_an_agent_count_as_long_as_it_lies_there(
    agent: Agent, tmp_path: Path, fill: Callable[..., Store]
) -> None:
    for name in ("agent", "moved"):
        agent.save(tmp_path / name)
    job, moved = (replace(job_of_agent(tmp_path / name), seeds=(0, 1)) for name in ("agent", "moved"))
    assert job.keys.by_path
    assert job.keys.by_path not in (job.keys.asked, moved.keys.by_path)
    store = fill([job], key="f" * 16, asked=job.keys.by_path)
    lacking, standing = missing_jobs([job], store, lanes=4)
    assert (lacking, len(standing.today)) == ([], 2)
    assert len(missing_jobs([moved], store, lanes=4)[1].other) == 2, "what it held was the path, not where it is now"
    fill([job], key="f" * 16, asked=job.keys.by_path, made_by={**job.keys.made_by.as_dict(), "code": 0})
    assert len(missing_jobs([job], store, lanes=4, accept_stored=True)[1].older) == 2
    assert job_of_agent(Path("ppo-shapes")).keys.by_path == ""


def test_a_raised_version_of_the_code_is_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    first = jobs_of()[0].keys
    monkeypatch.setattr(keys, "CODE", keys.CODE + 1)
    second = jobs_of()[0].keys
    assert (second.asked, second.former) == (first.asked, first.former)
    assert second.whole != first.whole


def test_flags_say_what_is_to_become_of_stored_runs(
    fill: Callable[..., Store], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = jobs_of()
    store = fill(jobs, made_by={}, asked="", key=jobs[0].keys.former)
    store = fill(jobs[1:], made_by={}, asked="", key=jobs[1].keys.former)
    config = tmp_path / "small.yaml"
    write_json(config, SMALL)
    flags = ["compare", "--config", str(config), "--out", str(store.root), "--device", "cpu"]
    assert main(flags) == 2
    error = capsys.readouterr().err
    assert "Give --accept-stored" in error
    assert len(error.strip().splitlines()) == 1
    assert main([*flags, "--accept-stored"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "4 of 4 stored runs were made by other code" in out
    assert main([*flags, "--accept-stored", "--redo"]) == 2
    assert "give one of them" in capsys.readouterr().err


def test_how_long_it_takes_is_known_from_runs_like_it(fill: Callable[..., Store]) -> None:
    jobs = jobs_of()
    blind = expected_seconds(jobs, [], workers=1)
    assert blind is not None
    assert expected_seconds(jobs, [], workers=2) == pytest.approx(blind / 2)
    store = fill(jobs)
    runs = [replace(run, images=32, seconds=4.0 if run.method == "plateau" else 2.0) for run in store.runs("small")]
    assert expected_seconds(jobs, runs, workers=1) == pytest.approx(2 * 2.0 + 2 * 4.0)
    assert expected_seconds(jobs_of(device="cuda"), [], workers=1) is None


def test_a_plan_says_what_makes_room(fill: Callable[..., Store], monkeypatch: pytest.MonkeyPatch) -> None:
    store = fill(jobs_of())
    other = {**SMALL, "methods": {"baseline": {"knobs": {"lr": 0.3}}}}
    events: list[Any] = []
    compare(other, out=store.root, device="cpu", workers=1, progress=events.append)
    plan = events[0]
    assert isinstance(plan, Plan)
    assert (plan.missing, plan.replaced, plan.note) == (2, 2, "")
    assert plan.seconds is not None
    run = store.read("small", "shapes", "baseline", 0)
    assert run.made_by["device"] == "cpu"
    assert run.processor_seconds is not None
    assert all(played.interval.processor_seconds is not None for played in run.rounds)
