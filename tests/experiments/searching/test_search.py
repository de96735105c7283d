"""`search` from Python: what it leaves is read by the comparison, and a search that was stopped goes on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from mapopt.errors import ConfigError, StoreError
from mapopt.experiments.comparison import keys
from mapopt.experiments.comparison.compare import compare
from mapopt.experiments.comparison.jobs import make_job
from mapopt.experiments.comparison.options import make_experiment
from mapopt.experiments.comparison.store import Store
from mapopt.experiments.searching import climbing
from mapopt.experiments.searching.climbing import SearchEnd, SearchPlan, SearchProgress
from mapopt.experiments.searching.fleets import FleetJob, FleetProgress
from mapopt.experiments.searching.outcome import RungOutcome, SearchOutcome
from mapopt.experiments.searching.runs import SearchRuns
from mapopt.experiments.searching.search import search
from mapopt.training import RunResult, Scores

Trained = list[str]
"""What the runs that were trained are known by."""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Trained:
    """Makes up runs in no time: the higher the learning rate, the better, and more on the easy task."""
    trained: Trained = []

    def train(fleet: FleetJob, report: Callable[[Any], None], *, folder: Path, device: str) -> None:
        for job in fleet.jobs:
            runs = SearchRuns(folder)
            ap = min(1.0, job.knobs.lr * (2.0 if job.task == "easy" else 0.5))
            scores = Scores(ap=ap, ap50=ap, ap75=ap, ar100=ap, per_category=())
            played: Any = type("Played", (), {"val": scores, "images": job.budget.images, "seconds": 2.0})
            played.processor_seconds = 1.0
            runs.write(
                job, RunResult(history=(played,), status="finished", reason="", selected=0, val=scores, test=None)
            )
            trained.append(runs.path(job).name)
        report(FleetProgress(fleet, fleet.images, 0.5, done=True))

    monkeypatch.setattr(climbing, "train_fleet_job", train)
    return trained


def options(out: Path, **more: Any) -> Any:
    return {"out": out, "workers": 1, "device": "cpu", **more}


def test_a_search_is_kept_and_not_done_twice(content: dict[str, Any], tmp_path: Path, quick: Trained) -> None:
    outcomes = search(content, **options(tmp_path))
    assert [(outcome.method, outcome.tasks, outcome.runs) for outcome in outcomes] == [
        ("baseline", ("easy", "hard"), 6 * 2 + 2 * 2 * 2),
        ("plateau", ("easy",), 2),
        ("plateau", ("hard",), 2),
    ]
    assert len(quick) == len(set(quick)) == 20 + 4 == len(list((tmp_path / "small" / "searches").iterdir()))
    quick.clear()
    assert search(content, **options(tmp_path)) == outcomes
    assert quick == []
    assert search(content, methods=["plateau"], tasks=["hard"], **options(tmp_path)) == outcomes[2:]


def test_the_comparison_reads_what_was_chosen_and_nothing_is_pasted(
    content: dict[str, Any], tmp_path: Path, quick: Trained
) -> None:
    def experiment() -> Any:
        return make_experiment(content, (), {}, out=tmp_path)

    assert experiment().searched == {}
    (outcome, easy, _) = search(content, **options(tmp_path))
    experiment_now = experiment()
    chosen = experiment_now.chosen("hard", "baseline")
    assert chosen.recipe.optimizer == outcome.best.setting["recipe.optimizer"]
    assert chosen.controller.schedule.warmup == outcome.best.setting["controller.schedule.warmup"]
    assert experiment_now.chosen("easy", "plateau").knobs == {"lr": 0.2}
    job = make_job(experiment_now, "hard", "baseline")
    assert (job.search.runs, job.search.images) == (outcome.runs, outcome.images), "the table states the cost"
    assert job.search.processor_seconds == outcome.runs
    assert make_job(experiment_now, "easy", "plateau").search.runs == easy.runs == 2
    assert make_job(experiment_now, "hard", "borrower").search.runs == outcome.runs
    assert make_experiment(content, ["plateau"], {"tasks": ["hard"]}, out=tmp_path).searched.keys() == {"hard"}

    alone = make_experiment(content, {"borrower": None}, {}, out=tmp_path)
    assert alone.chosen("hard", "borrower") == experiment_now.chosen("hard", "borrower")
    assert alone.outcome("hard", "borrower") == experiment_now.outcome("hard", "baseline"), (
        "lent by who is not compared"
    )

    own = {"hard": {"plateau": {"knobs": {"lr": 0.7}, "runs": 9, "images": 9, "seconds": 9}}}
    mixed = make_experiment({**content, "searched": own}, (), {}, out=tmp_path)
    assert mixed.chosen("hard", "plateau").knobs == {"lr": 0.7}, "what the experiment says goes before"
    assert mixed.chosen("easy", "plateau").knobs == {"lr": 0.2}


def test_what_was_searched_for_something_else_is_refused(
    content: dict[str, Any], tmp_path: Path, quick: Trained
) -> None:
    search(content, **options(tmp_path))
    changed = {**content, "budget": {"images": 256, "rounds": 4}}
    with pytest.raises(StoreError, match=r"searched\.yaml: what it has of method 'baseline' on task 'easy' was"):
        make_experiment(changed, (), {}, out=tmp_path)
    plateau = {"controller": {"kind": "plateau"}, "search": {"grid": {"lr": [0.1, 0.4]}, "seeds": 1}}
    wider = {**content, "methods": {**content["methods"], "plateau": plateau}}
    with pytest.raises(StoreError, match="method 'plateau' on task 'easy' was searched with other settings, images or"):
        make_experiment(wider, (), {}, out=tmp_path)
    with pytest.raises(StoreError, match="run `mapopt search` again, or remove the file"):
        compare(wider, **options(tmp_path))
    quick.clear()
    search(wider, methods=["plateau"], **options(tmp_path))
    assert len(quick) == 2, "of the wider grid only the new learning rate is trained, on either task"
    assert make_experiment(wider, (), {}, out=tmp_path).chosen("easy", "plateau").knobs == {"lr": 0.4}
    without = {**content["methods"], "plateau": {"controller": {"kind": "plateau"}}}
    experiment = make_experiment({**content, "methods": without}, (), {}, out=tmp_path)
    assert experiment.outcome("easy", "plateau") is None, "it has no search any more"


def test_a_setting_that_was_chosen_for_some_tasks_together_is_known_by_them(
    content: dict[str, Any], tmp_path: Path, quick: Trained
) -> None:
    (outcome,) = search(content, methods=["baseline"], tasks=["hard"], **options(tmp_path))
    assert outcome.tasks == ("hard",)
    assert make_experiment(content, (), {}, out=tmp_path).searched["hard"]["baseline"].tasks == ()
    search(content, methods=["baseline"], **options(tmp_path))
    assert make_experiment(content, (), {}, out=tmp_path).searched["hard"]["baseline"].tasks == ("easy", "hard")
    alone = make_experiment(content, (), {"tasks": ["hard"]}, out=tmp_path)
    assert alone.searched["hard"]["baseline"].tasks == ("easy", "hard"), "of the experiment, not of what is compared"
    fewer = {**content, "tasks": {"hard": content["tasks"]["hard"]}}
    with pytest.raises(StoreError, match="method 'baseline' on task 'hard' was searched with other settings"):
        make_experiment(fewer, (), {}, out=tmp_path)


def test_what_is_chosen_is_written_beside_the_configuration_which_keeps_its_comments(
    content: dict[str, Any], tmp_path: Path, quick: Trained
) -> None:
    config = tmp_path / "small.yaml"
    config.write_text("# What is said here stays.\n" + yaml.safe_dump(content, sort_keys=False))
    before = config.read_bytes()
    events: list[Any] = []
    search(config, beside_config=True, **options(tmp_path / "runs", progress=events.append))
    assert config.read_bytes() == before
    assert events[-1] == SearchEnd(
        paths=(tmp_path / "runs" / "small" / "searched.yaml", tmp_path / "small.searched.yaml"), unread=()
    )
    assert make_experiment(config, (), {}).chosen("easy", "plateau").knobs == {"lr": 0.2}
    text = (tmp_path / "small.searched.yaml").read_text()
    assert f"`mapopt search --config {config}`" in text.splitlines()[0]
    with pytest.raises(ConfigError, match="beside_config is for a configuration in a file, and config is of type dict"):
        search(content, beside_config=True, **options(tmp_path))


def test_methods_whose_settings_the_configuration_has_are_named(
    content: dict[str, Any], tmp_path: Path, quick: Trained
) -> None:
    own = {"hard": {"plateau": {"knobs": {"lr": 0.7}, "runs": 9, "images": 9, "seconds": 9}}}
    events: list[Any] = []
    outcomes = search({**content, "searched": own}, **options(tmp_path, progress=events.append))
    assert events[-1].unread == ("plateau",)
    assert outcomes[2].best.setting == {"knobs.lr": 0.2}, "it has no influence on what is searched"


def test_what_happens_is_reported_in_order_and_adds_up(content: dict[str, Any], tmp_path: Path, quick: Trained) -> None:
    events: list[Any] = []
    search(content, **options(tmp_path, progress=events.append))
    plan, *_, end = events
    assert isinstance(plan, SearchPlan)
    assert isinstance(end, SearchEnd)
    assert (plan.searches, plan.settings) == (3, 6 + 2 + 2)
    assert plan.images == 6 * 2 * 64 + 2 * 2 * 2 * 128 + 4 * 128
    assert plan.seconds is not None
    assert plan.seconds > 0
    done = [event.images for event in events if isinstance(event, SearchProgress)]
    assert done == sorted(done)
    assert done[0] == 0
    assert done[-1] == plan.images
    needed = [event for event in events if isinstance(event, SearchProgress) and event.fleet is None]
    assert [(event.runs, event.missing) for event in needed] == [(16, 16), (8, 8)]
    kinds = [type(event) for event in events if isinstance(event, RungOutcome | SearchOutcome)]
    assert kinds == [RungOutcome, RungOutcome, SearchOutcome, RungOutcome, SearchOutcome, RungOutcome, SearchOutcome]
    events.clear()
    search(content, **options(tmp_path, progress=events.append))
    done = [event.images for event in events if isinstance(event, SearchProgress)]
    assert done == [16 * 64 - 4 * 64 + 4 * 128, plan.images]


def test_a_search_that_was_stopped_goes_on_with_the_others(
    content: dict[str, Any], tmp_path: Path, quick: Trained
) -> None:
    whole = search(content, **options(tmp_path / "whole"))
    everything = sorted(quick)
    quick.clear()

    def stop_after(fleets: int) -> Callable[[Any], None]:
        done: list[Any] = []

        def listen(event: Any) -> None:
            if isinstance(event, SearchProgress) and event.fleet is not None:
                done.append(event)
                if len(done) == fleets:
                    raise KeyboardInterrupt

        return listen

    for fleets in (1, 2, 3):
        with pytest.raises(KeyboardInterrupt):
            search(content, **options(tmp_path / "stopped", progress=stop_after(fleets)))
        assert not (tmp_path / "stopped" / "small" / "searched.yaml").exists()
    assert search(content, **options(tmp_path / "stopped")) == whole
    assert sorted(quick) == everything, "nothing was trained twice"


def test_runs_of_other_code_are_refused_until_something_is_said_of_them(
    content: dict[str, Any], tmp_path: Path, quick: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = search(content, **options(tmp_path))
    monkeypatch.setattr(keys, "CODE", keys.CODE + 1)
    quick.clear()
    with pytest.raises(StoreError, match=r"16 runs of 16 were made by other code .* Give accept_stored=True"):
        search(content, **options(tmp_path))
    assert [outcome.best for outcome in search(content, **options(tmp_path), accept_stored=True)] == [
        outcome.best for outcome in outcomes
    ]
    assert quick == []
    search(content, **options(tmp_path), redo=True)
    assert len(quick) == 24
    assert search(content, **options(tmp_path)) == outcomes


def test_another_seed_draws_other_settings(content: dict[str, Any], tmp_path: Path, quick: Trained) -> None:
    first, other = (
        search(content, methods=["baseline"], seed=seed, **options(tmp_path / str(seed)))[0] for seed in (0, 1)
    )
    assert {str(tried.setting) for tried in first.rungs[0].tried} != {
        str(tried.setting) for tried in other.rungs[0].tried
    }
    assert make_experiment(content, (), {}, out=tmp_path / "1").outcome("easy", "baseline") is not None
    with pytest.raises(ConfigError, match="seed is -1: expected a whole number from 0"):
        search(content, seed=-1, **options(tmp_path))


def test_methods_from_python_have_spaces_too(content: dict[str, Any], tmp_path: Path, quick: Trained) -> None:
    mine = {"mine": {"recipe": {"batch_size": 4}, "search": {"grid": {"lr": [0.3]}, "seeds": 1}}}
    (easy, _) = search(content, methods=mine, **options(tmp_path))
    assert (easy.method, easy.best.setting) == ("mine", {"knobs.lr": 0.3})
    assert make_experiment(content, mine, {}, out=tmp_path).chosen("easy", "mine").knobs == {"lr": 0.3}
    assert make_experiment(content, (), {}, out=tmp_path).searched == {}, "it is no method of the experiment"
    wrong = {"mine": {"search": {"space": {"recipe.los": ["ap"]}}}}
    with pytest.raises(ConfigError, match="unknown field 'los': did you mean 'loss'"):
        search(content, methods=wrong, **options(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_what_was_searched_is_trained_and_compared(workers: int, content: dict[str, Any], tmp_path: Path) -> None:
    settings: Any = {"out": tmp_path, "workers": workers, "device": "cpu", "tasks": ["easy"]}
    outcomes = search(content, **settings)
    assert max(tried.mean("easy") for tried in outcomes[0].rungs[0].tried) > 0
    summary = compare(content, **settings)
    best = outcomes[0].best.setting
    for method in summary.tasks[0].methods:
        assert method.search.runs == {"baseline": 6 + 4, "borrower": 6 + 4, "plateau": 2}[method.method]
    run = Store(tmp_path).read("small", "easy", "baseline", 0)
    rate = best.get("knobs.lr", 0.2)
    assert max(played.knobs.lr for played in run.rounds) <= rate
    alone = search(content, methods=["baseline"], **{**settings, "out": tmp_path / "alone", "workers": 1})

    def numbers(outcome: SearchOutcome) -> Any:
        return replace(outcome, seconds=0.0, processor_seconds=0.0)

    assert numbers(alone[0]) == numbers(outcomes[0]), "workers and packing change nothing"


def test_searches_are_studies_of_optuna(content: dict[str, Any], tmp_path: Path, quick: Trained) -> None:
    optuna = pytest.importorskip("optuna", reason="studies are Optuna's, which is in the extra 'search'")
    outcomes = search(content, studies=True, **options(tmp_path))
    storage = f"sqlite:///{tmp_path / 'small' / 'studies.db'}"
    names = optuna.study.get_all_study_names(storage)
    assert names == ["baseline on easy, hard", "plateau on easy", "plateau on hard"]
    study = optuna.load_study(study_name=names[0], storage=storage)
    states = [trial.state.name for trial in study.trials]
    assert (states.count("COMPLETE"), states.count("PRUNED")) == (2, 4)
    best, chosen = study.best_trial, outcomes[0].best
    # Of two tasks of unlike difficulty the search weighs AP relative to the best, which here is the same order.
    assert best.params["controller.schedule.warmup"] == chosen.setting["controller.schedule.warmup"]
    assert best.value == pytest.approx((chosen.mean("easy") + chosen.mean("hard")) / 2)
    assert best.user_attrs["val AP on hard"] == chosen.mean("hard")
    assert sorted(best.intermediate_values) == [1, 2]
    assert not list((tmp_path / "small").glob(".*new*"))
    # Another search writes the file anew, and adds nothing to it.
    search(content, studies=True, **options(tmp_path))
    assert optuna.study.get_all_study_names(storage) == names


def test_studies_without_optuna_are_refused_before_anything_trains(
    content: dict[str, Any], tmp_path: Path, quick: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match="studies needs optuna"):
        search(content, studies=True, **options(tmp_path))
    assert not quick
