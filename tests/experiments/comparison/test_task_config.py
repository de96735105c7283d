"""Tasks with a recipe, knobs and a budget of their own: they stand where a method leaves the default."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mapopt.errors import ConfigError, DataError
from mapopt.experiments.comparison.config import Experiment, load_experiment
from mapopt.experiments.comparison.data import splits_of
from mapopt.experiments.comparison.jobs import make_job
from mapopt.experiments.comparison.task_config import TaskConfig
from mapopt.experiments.searching.ladders import ladders_of
from mapopt.training import Recipe

CONTENT: dict[str, Any] = {
    "name": "several",
    "budget": {"images": 64, "rounds": 2},
    "tasks": {
        "plain": {"images": [16, 8, 8]},
        "sgd": {
            "images": [16, 8, 8],
            "recipe": {"optimizer": "sgd", "loss": "focal", "batch_size": 8},
            "knobs": {"momentum": 0.5, "augment": 0.1},
            "budget_factor": 2,
        },
    },
    "methods": {
        "baseline": {},
        "adamw": {"recipe": {"optimizer": "adamw"}, "knobs": {"augment": 0.4}},
        "double": {
            "controller": {"lr_factor": 2},
            "search": {"tasks": "all", "strategy": "grid", "space": {"controller.lr_factor": [0.5, 2]}, "seeds": 1},
        },
    },
}


@pytest.fixture
def several() -> Experiment:
    return load_experiment(CONTENT)


def test_a_folder_that_is_not_there_says_which_flag_names_it() -> None:
    with pytest.raises(
        DataError, match=r"^nowhere: no such file or folder\. Check the path, or give --data the folder"
    ):
        splits_of(TaskConfig(data="nowhere"), 0)


def test_a_task_trains_with_its_own_recipe_knobs_and_budget(several: Experiment) -> None:
    job = make_job(several, "sgd", "baseline")
    assert (job.recipe.optimizer, job.recipe.loss, job.recipe.batch_size) == ("sgd", "focal", 8)
    assert (job.knobs.momentum, job.knobs.augment, job.knobs.lr) == (0.5, 0.1, 0.2)
    assert job.budget.images == 128
    assert make_job(several, "plain", "baseline").recipe == Recipe()
    assert make_job(several, "plain", "baseline").budget.images == 64


def test_what_a_method_is_about_stays(several: Experiment) -> None:
    job = make_job(several, "sgd", "adamw")
    assert (job.recipe.optimizer, job.recipe.loss) == ("adamw", "focal")
    assert (job.knobs.momentum, job.knobs.augment, job.knobs.lr) == (0.5, 0.4, 0.01)


def test_a_factor_multiplies_the_learning_rate_of_every_optimizer(several: Experiment) -> None:
    assert make_job(several, "sgd", "double").knobs.lr == pytest.approx(0.4)
    assert make_job(several, "plain", "double").knobs.lr == pytest.approx(0.16)


def test_a_factor_has_the_key_of_the_rate_that_it_comes_to(several: Experiment) -> None:
    own = replace(several.methods["baseline"], knobs={"lr": 0.16})
    there = replace(several, methods={**several.methods, "own": own})
    assert make_job(there, "plain", "own").key == make_job(there, "plain", "double").key


def test_a_task_without_a_recipe_keeps_the_key_of_before(several: Experiment) -> None:
    bare = replace(several, tasks={"plain": TaskConfig(images=(16, 8, 8))})
    assert make_job(bare, "plain", "baseline").key == make_job(several, "plain", "baseline").key
    assert make_job(several, "sgd", "baseline").key != make_job(several, "plain", "baseline").key


def test_another_detector_brings_its_own_optimizer() -> None:
    assert TaskConfig(recipe={"detector": "resnet18"}).recipe_of(Recipe(), "method").optimizer == "adamw"
    kept = TaskConfig(recipe={"detector": "resnet18"}).recipe_of(Recipe(optimizer="nadamw"), "method")
    assert (kept.detector, kept.optimizer) == ("resnet18", "nadamw")


def test_a_search_over_all_tasks_counts_the_images_of_each(several: Experiment) -> None:
    (ladder,) = ladders_of(several)
    assert ladder.images == 2 * (64 + 128)
    assert {
        job.budget.images for jobs in ladder.jobs([{"controller.lr_factor": 0.5}], ladder.rungs[0]) for job in jobs
    } == {
        64,
        128,
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"recipe": {"optimiser": "sgd"}}, "did you mean 'optimizer'"),
        ({"recipe": {"batch_size": 48}}, "no whole number of steps of 48"),
        ({"budget_factor": 0}, "budget_factor is 0.0: expected a number above 0"),
        ({"budget_factor": 0.7}, "expected at least one round and images that divide"),
        ({"knobs": {"lrr": 1.0}}, "did you mean 'lr'"),
    ],
)
def test_what_makes_no_task_is_said(change: dict[str, Any], said: str) -> None:
    content = {**CONTENT, "tasks": {"sgd": {**CONTENT["tasks"]["sgd"], **change}}}
    with pytest.raises(ConfigError, match=said):
        load_experiment(content)


def test_a_factor_out_of_range_is_said() -> None:
    content = {**CONTENT, "methods": {"baseline": {"controller": {"lr_factor": 0}}}}
    with pytest.raises(ConfigError, match="lr_factor is 0"):
        load_experiment(content)
