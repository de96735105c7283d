"""A search climbs its rungs: which settings go on, on which runs, what is chosen, and what it all cost."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mapopt.agents.search.halving import Halving, Rung
from mapopt.errors import ConfigError
from mapopt.experiments.comparison.config import SEARCH_SEEDS, Experiment, load_experiment
from mapopt.experiments.comparison.jobs import Job
from mapopt.experiments.searching.ladders import Ladder, asked_of, ladders_of
from mapopt.experiments.searching.outcome import RungOutcome
from mapopt.experiments.searching.runs import name_of
from mapopt.experiments.searching.settings import SearchConfig
from mapopt.settings import to_mapping
from mapopt.training import Budget

WIDE: dict[str, Any] = {"knobs.lr": {"low": 0.001, "high": 1.0}, "knobs.class_weight": {"low": 0.1, "high": 1.0}}

BATCHES: dict[str, Any] = {"space": {"recipe.batch_size": [4, 32]}}


def ladder_of(experiment: Experiment, **changes: Any) -> Ladder:
    """Returns the baseline's ladder, with other settings of its search."""
    method = experiment.methods["baseline"]
    search = replace(method.search, **changes)
    return ladders_of(replace(experiment, methods={"baseline": replace(method, search=search)}))[0]


def closeness(job: Job) -> float:
    """A val AP that is higher the nearer the learning rate is to .05."""
    return 0.3 - abs(np.log10(job.knobs.lr / 0.05)) / 10


@pytest.mark.parametrize(("name", "package"), [("tpe", "optuna"), ("cma_es", "cmaes")])
def test_a_search_by_scores_that_goes_on_proposes_the_same_again(
    name: str, package: str, small: Experiment, climber: Any
) -> None:
    pytest.importorskip(package, reason=f"{package} is not installed: pip install mapopt[search]")
    ladder = ladder_of(small, space=WIDE, strategy=name, strategy_settings={"batch": 4}, settings=18, halving=Halving())
    outcome = climber.climb(ladder, closeness)
    assert len(climber.waves) >= 3, "scores are given between batches"
    assert len(outcome.tried) == 18
    assert climber.climb_again(ladder) == outcome, "with the runs that are there, and with no others"


def test_the_best_of_a_rung_go_on_to_the_next_with_its_budget_and_seeds(small: Experiment, climber: Any) -> None:
    rungs: list[RungOutcome] = []
    halving = Halving(rungs=(Rung(budget=0.25, seeds=1), Rung(settings=4, budget=0.5), Rung(settings=2, seeds=3)))
    ladder = ladder_of(small, space=WIDE, strategy_settings={}, settings=9, halving=halving)
    outcome = climber.climb(replace(ladder, report=rungs.append), closeness)
    assert [len(rung.tried) for rung in rungs] == [9, 4, 2]
    assert [(rung.images, rung.seeds) for rung in rungs] == [(32, 1), (64, 2), (128, 3)]
    assert outcome.rungs == tuple(rungs)
    for before, after in itertools.pairwise(rungs):
        assert [tried.setting for tried in after.tried] == [tried.setting for tried in before.tried[: len(after.tried)]]
    rates = [tried.setting["knobs.lr"] for tried in rungs[0].tried]
    assert rates == sorted(rates, key=lambda rate: abs(np.log10(rate / 0.05)))
    assert outcome.best.setting["knobs.lr"] == rates[0]
    budgets = [{job.budget for job in wave} for wave in climber.waves]
    assert budgets == [{Budget(images=images, rounds=4)} for images in (32, 64, 128)], "whole runs of their length"
    for wave, seeds in zip(climber.waves, (1, 2, 3), strict=True):
        counts = Counter((job.task, job.seeds[0]) for job in wave)
        assert set(counts) == {(task, SEARCH_SEEDS + n) for task in ("easy", "hard") for n in range(seeds)}
        assert len(set(counts.values())) == 1


def test_a_rung_of_the_same_budget_goes_on_with_the_runs_that_are_there(small: Experiment, climber: Any) -> None:
    halving = Halving(rungs=(Rung(seeds=1), Rung(settings=3, seeds=4)))
    outcome = climber.climb(ladder_of(small, space=WIDE, strategy_settings={}, settings=6, halving=halving), closeness)
    first, second = ({name_of(job) for job in wave} for wave in climber.waves)
    assert len(first & second) == 3 * 2
    assert outcome.runs == len(first | second) == 6 * 2 + 3 * 2 * 3
    assert outcome.images == outcome.runs * 128
    assert outcome.seconds == 2.0 * outcome.runs
    assert outcome.processor_seconds == 1.0 * outcome.runs


def test_one_setting_is_calibrated_across_tasks_and_the_best_of_each_stands_beside_it(
    small: Experiment, climber: Any
) -> None:
    # The easy task wants .1, and its AP is ten times the other's, which wants .4; between them .2 is nearly as good.
    easy = {0.1: 0.50, 0.2: 0.49, 0.4: 0.20}
    hard = {0.1: 0.020, 0.2: 0.048, 0.4: 0.050}

    def val_ap_of(job: Job) -> float:
        return (easy if job.task == "easy" else hard)[job.knobs.lr] + 0.001 * (job.seeds[0] - SEARCH_SEEDS - 0.5)

    ladder = ladder_of(
        small, space={"knobs.lr": [0.1, 0.2, 0.4]}, strategy="grid", strategy_settings={}, settings=0, halving=Halving()
    )
    outcome = climber.climb(ladder, val_ap_of)
    assert outcome.best.setting == {"knobs.lr": 0.2}
    assert outcome.best.score == pytest.approx((0.49 / 0.50 + 0.048 / 0.050) / 2)
    assert outcome.best_on("easy").setting == {"knobs.lr": 0.1}
    assert outcome.best_on("hard").setting == {"knobs.lr": 0.4}
    by_task = outcome.by_task()
    assert {task: searched.knobs for task, searched in by_task.items()} == {"easy": {"lr": 0.2}, "hard": {"lr": 0.2}}
    assert by_task["easy"].val_ap == 0.49
    interval = by_task["easy"].interval
    assert interval is not None
    assert interval[0] < 0.49 < interval[1]
    assert by_task["hard"].runs == 3 * 2 * 2, "the cost is the whole search's"
    assert outcome.searched("easy", outcome.best_on("easy")).knobs == {"lr": 0.1}


def test_a_search_of_each_task_chooses_for_each(small: Experiment, climber: Any) -> None:
    method = small.methods["baseline"]
    search = SearchConfig(space={"knobs.lr": [0.1, 0.4]}, strategy="grid", seeds=1)
    ladders = ladders_of(replace(small, methods={"baseline": replace(method, search=search)}))
    assert [ladder.tasks for ladder in ladders] == [("easy",), ("hard",)]
    best = [
        climber.climb(ladder, lambda job: job.knobs.lr if job.task == "easy" else 1 - job.knobs.lr).best
        for ladder in ladders
    ]
    assert [tried.setting["knobs.lr"] for tried in best] == [0.4, 0.1]
    assert best[0].interval("easy") is None, "nothing is known of the spread of a single seed"


def test_a_diverged_run_counts_as_0_and_is_said(small: Experiment, climber: Any) -> None:
    ladder = ladder_of(small)
    outcome = climber.climb(ladder, lambda job: 0.0, status="diverged", processor_seconds=None)
    assert outcome.best.diverged == 4
    assert outcome.processor_seconds is None


def test_known_settings_are_tried_first_and_count(small: Experiment, climber: Any) -> None:
    known = [{"recipe.optimizer": "adamw", "knobs.lr": 0.02}, {}]
    outcome = climber.climb(ladder_of(small, known=known), lambda job: 0.9 if job.knobs.lr == 0.02 else 0.1)
    assert len(outcome.rungs[0].tried) == 6
    assert outcome.best.setting == known[0]
    assert outcome.best.changes.recipe == {"optimizer": "adamw"}
    assert {} in [tried.setting for tried in outcome.rungs[0].tried], "the method as it is"


def test_a_strategy_is_asked_again_after_it_was_given_scores(small: Experiment, climber: Any) -> None:
    ladder = ladder_of(small, strategy=f"{__name__}:Walker", strategy_settings={}, space=WIDE, settings=7)
    outcome = climber.climb(ladder, closeness)
    assert [len(wave) for wave in climber.waves] == [2 * 2, 4 * 2, 6 * 2, 7 * 2, 2 * 4]
    rates = [job.knobs.lr for job in climber.waves[3] if job.task == "easy"]
    assert rates == [0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.0625], "it goes on from the best"
    assert outcome.best.setting["knobs.lr"] == 0.0625


class Walker:
    """Halves the learning rate of the best so far, with either of two class weights."""

    batch = 2
    total = None

    def __init__(self, space: Any, *, seed: int) -> None:
        self.rate = 1.0

    def ask(self, count: int) -> list[dict[str, Any]]:
        return [{"knobs.lr": self.rate / 2, "knobs.class_weight": weight} for weight in (0.5, 1.0)[:count]]

    def tell(self, tried: Any) -> None:
        self.rate = max(tried, key=lambda scored: scored.score).setting["knobs.lr"]


def test_one_space_for_all_methods_is_an_equal_search(content: dict[str, Any], climber: Any) -> None:
    search = {**content["methods"]["baseline"]["search"], "strategy": "sobol"}
    methods = {
        "focal": {"search": search},
        "ap": {"recipe": {"loss": "ap", "ema": 0.9}, "knobs": {"augment": 0.1}, "search": search},
        "plateau": {"controller": {"kind": "plateau"}, "search": search},
    }
    experiment = load_experiment({**content, "reference": "focal", "methods": methods})
    outcomes = {ladder.method: climber.climb(ladder, lambda job: 0.2) for ladder in ladders_of(experiment, seed=5)}
    settings = {name: [tried.setting for tried in outcome.rungs[0].tried] for name, outcome in outcomes.items()}
    assert settings["focal"] == settings["ap"] == settings["plateau"], "the same settings, drawn once"
    costs = {(outcome.runs, outcome.images) for outcome in outcomes.values()}
    assert costs == {(6 * 2 + 2 * 2 * 2, 6 * 2 * 64 + 2 * 2 * 2 * 128)}
    seeds = {
        ladder.method: {job.seeds[0] for job in wave}
        for ladder, wave in zip(ladders_of(experiment), climber.waves[1::2], strict=True)
    }
    assert set(map(tuple, seeds.values())) == {(SEARCH_SEEDS, SEARCH_SEEDS + 1)}


def test_what_a_search_is_known_by_follows_from_what_it_searches(small: Experiment) -> None:
    def asked_of_ladder(ladder: Ladder) -> str:
        return asked_of(ladder.experiment, ladder.method, ladder.tasks)

    asked = asked_of_ladder(ladder_of(small))
    assert asked_of_ladder(ladder_of(small)) == asked
    assert asked_of_ladder(replace(ladder_of(small), seed=9)) == asked, "another draw of the same search"
    assert asked_of_ladder(replace(ladder_of(small), tasks=("easy",))) != asked
    assert asked_of_ladder(ladder_of(small, settings=7)) != asked
    assert asked_of_ladder(ladder_of(small, space=WIDE)) != asked
    assert asked_of_ladder(ladder_of(replace(small, budget=Budget(images=256, rounds=4)))) != asked
    tasks = {**small.tasks, "hard": replace(small.tasks["hard"], images=(32, 8, 8))}
    assert asked_of_ladder(ladder_of(replace(small, tasks=tasks))) != asked
    method = small.methods["baseline"]
    relabeled = replace(small, methods={**small.methods, "baseline": replace(method, label="another")})
    assert asked_of_ladder(ladder_of(relabeled)) == asked


def test_the_images_of_a_search_are_known_before(small: Experiment, climber: Any) -> None:
    ladder = ladder_of(small)
    assert ladder.images == 6 * 1 * 2 * 64 + 2 * 2 * 2 * 128
    assert climber.climb(ladder, lambda job: 0.1).images == ladder.images


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": 0}, "the search of 'baseline' has settings: 0: expected how many settings strategy 'random' is"),
        ({"settings": 1, "known": [{}]}, "settings: 1: expected .* more than the 1 known ones"),
        (
            {"strategy": "grid", "strategy_settings": {}, "space": {"knobs.lr": [0.1]}},
            "has settings: 6, and strategy 'grid' has 1 of its own: leave settings out",
        ),
        ({"halving": Halving(rungs=(Rung(), Rung(settings=7)))}, "search of 'baseline': rung 2 has 7 settings after 6"),
        (
            {"halving": Halving(rungs=(Rung(budget=0.3),))},
            "has 38 images, 0.3 of the budget, for 4 rounds: expected a number that divides by the rounds",
        ),
        (
            {"halving": Halving(rungs=(Rung(), Rung(budget=0.5))), "known": [{"recipe.batch_size": 32}], **BATCHES},
            "the search of 'baseline', batch_size 32: a round of 16 images is no whole number of steps of 32",
        ),
        ({"settings": 9, **BATCHES}, "the search of 'baseline': 1000 draws in a row gave none beside the 2 settings"),
        ({"strategy_settings": {"togehter": 1}}, "unknown setting of search strategy 'random' 'togehter'"),
        ({"scorer": "nowhere_at_all:score"}, "scorer 'nowhere_at_all:score': there is no module"),
    ],
)
def test_a_search_that_makes_no_sense_is_one_line(
    changes: dict[str, Any], message: str, small: Experiment, climber: Any
) -> None:
    with pytest.raises(ConfigError, match=message):
        climber.climb(ladder_of(small, **changes), lambda job: 0.1)


def test_an_experiment_without_a_space_has_nothing_to_search(small: Experiment) -> None:
    with pytest.raises(ConfigError, match="no method of experiment 'small' has a search space: give one at least"):
        ladders_of(small.only(["borrower"]))


def test_a_grid_of_knobs_is_short_for_a_space(small: Experiment) -> None:
    search = small.methods["plateau"].search
    assert search == SearchConfig(space={"knobs.lr": [0.1, 0.2]}, strategy="grid", seeds=1)
    assert load_experiment(to_mapping(small)) == small


def test_a_task_that_is_called_otherwise_by_now_finds_its_runs(small: Experiment, climber: Any) -> None:
    ladder = ladder_of(small, space=WIDE, strategy_settings={})
    before = climber.climb(ladder, closeness)
    tasks = {"simple": small.tasks["easy"], "difficult": small.tasks["hard"]}
    renamed = ladder_of(replace(small, tasks=tasks), space=WIDE, strategy_settings={})
    after = climber.climb_again(renamed)
    assert after.tasks == ("simple", "difficult")
    assert [tried.score for tried in after.tried] == [tried.score for tried in before.tried]
    assert after.best.val_ap == {"simple": before.best.val_ap["easy"], "difficult": before.best.val_ap["hard"]}
