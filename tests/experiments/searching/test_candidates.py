"""Settings become methods: every field of a recipe and of a controller, knobs, and what is nested in them."""

from __future__ import annotations

from typing import Any

import pytest

from mapopt.data import Augmentation
from mapopt.errors import ConfigError
from mapopt.experiments.comparison.config import MethodConfig, load_experiment
from mapopt.experiments.comparison.controllers import ControllerConfig
from mapopt.experiments.searching.candidates import candidate, check_search, described, with_changes
from mapopt.experiments.searching.changes import Changes, changes_of
from mapopt.experiments.searching.settings import SearchConfig, Searched
from mapopt.settings import from_mapping, to_mapping
from mapopt.training import Recipe, Schedule

METHOD = MethodConfig(
    recipe=Recipe(loss="ap", loss_settings={"delta": 0.5}, auxiliary={"correlation": 0.2}),
    knobs={"lr": 0.1, "augment": 0.4},
    controller=ControllerConfig(schedule=Schedule(warmup=0.1)),
)

SETTINGS: dict[str, tuple[dict[str, Any], MethodConfig]] = {
    "nothing": ({}, METHOD),
    "knobs": (
        {"knobs.lr": 0.3, "knobs.assign_iou": 0.25},
        MethodConfig(
            recipe=METHOD.recipe,
            knobs={"lr": 0.3, "augment": 0.4, "assign_iou": 0.25},
            controller=METHOD.controller,
        ),
    ),
    "kinds of augmentation, and where it ends": (
        {"recipe.augmentation.mosaic": 0.5, "recipe.augmentation.rotate": 10, "controller.augment_until": 0.9},
        MethodConfig(
            recipe=Recipe(
                loss="ap",
                loss_settings={"delta": 0.5},
                auxiliary={"correlation": 0.2},
                augmentation=Augmentation(mosaic=0.5, rotate=10.0),
            ),
            knobs=METHOD.knobs,
            controller=ControllerConfig(schedule=Schedule(warmup=0.1), augment_until=0.9),
        ),
    ),
    "fields of the recipe": (
        {"recipe.optimizer": "adamw", "recipe.ema": 0.99, "recipe.batch_size": 32},
        MethodConfig(
            recipe=Recipe(
                loss="ap",
                loss_settings={"delta": 0.5},
                auxiliary={"correlation": 0.2},
                optimizer="adamw",
                ema=0.99,
                batch_size=32,
            ),
            knobs=METHOD.knobs,
            controller=METHOD.controller,
        ),
    ),
    "a key of a mapping": (
        {"recipe.loss_settings.gradient": "exact", "recipe.optimizer_settings.beta2": 0.9},
        MethodConfig(
            recipe=Recipe(
                loss="ap",
                loss_settings={"delta": 0.5, "gradient": "exact"},
                auxiliary={"correlation": 0.2},
                optimizer_settings={"beta2": 0.9},
            ),
            knobs=METHOD.knobs,
            controller=METHOD.controller,
        ),
    ),
    "a whole mapping, in place of the method's own": (
        {"recipe.loss_settings": {"gradient": "exact"}, "recipe.auxiliary": {}},
        MethodConfig(
            recipe=Recipe(loss="ap", loss_settings={"gradient": "exact"}),
            knobs=METHOD.knobs,
            controller=METHOD.controller,
        ),
    ),
    "a section of the controller": (
        {"controller.schedule.shape": "steps", "controller.patience": 3},
        MethodConfig(
            recipe=METHOD.recipe,
            knobs=METHOD.knobs,
            controller=ControllerConfig(schedule=Schedule(warmup=0.1, shape="steps"), patience=3),
        ),
    ),
    "both numbers of a pair": (
        {"controller.schedule.milestones.0": 0.3, "controller.schedule.milestones.1": 0.7},
        MethodConfig(
            recipe=METHOD.recipe,
            knobs=METHOD.knobs,
            controller=ControllerConfig(schedule=Schedule(warmup=0.1, milestones=(0.3, 0.7))),
        ),
    ),
    "one number of a pair": (
        {"controller.schedule.milestones.1": 0.7},
        MethodConfig(
            recipe=METHOD.recipe,
            knobs=METHOD.knobs,
            controller=ControllerConfig(schedule=Schedule(warmup=0.1, milestones=(0.6, 0.7))),
        ),
    ),
    "a pair as a whole": (
        {"controller.schedule.milestones": [0.2]},
        MethodConfig(
            recipe=METHOD.recipe,
            knobs=METHOD.knobs,
            controller=ControllerConfig(schedule=Schedule(warmup=0.1, milestones=(0.2,))),
        ),
    ),
    "another kind of controller": (
        {"controller.kind": "plateau", "controller.plateau.rounds": 3, "slow": True},
        MethodConfig(
            recipe=METHOD.recipe,
            knobs=METHOD.knobs,
            controller=ControllerConfig(
                kind="plateau", schedule=Schedule(warmup=0.1), settings={"rounds": 3}
            ),
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_changes_what_it_names_and_nothing_else(name: str) -> None:
    setting, expected = SETTINGS[name]
    assert candidate(METHOD, setting, "a setting") == expected


@pytest.mark.parametrize("name", SETTINGS)
def test_what_a_file_keeps_of_a_setting_makes_the_same_method(name: str) -> None:
    setting, expected = SETTINGS[name]
    changes = changes_of(METHOD, setting)
    kept = Searched(**vars(changes), runs=1, images=1, seconds=1.0)
    read: Searched = from_mapping(Searched, to_mapping(kept), "file")
    again = Changes(knobs=read.knobs, recipe=read.recipe, controller=read.controller)
    assert with_changes(METHOD, again, "file") == expected


def test_the_numbers_of_a_pair_that_is_not_there_make_one() -> None:
    changes = changes_of(METHOD, {"controller.settings.pair.0": 0.2, "controller.settings.pair.1": 0.5})
    assert changes.controller == {"settings": {"pair": [0.2, 0.5]}}
    method = MethodConfig(controller=ControllerConfig())
    object.__setattr__(method.controller.schedule, "milestones", None)
    changes = changes_of(method, {"controller.schedule.milestones.1": 0.5, "controller.schedule.milestones.0": 0.2})
    assert changes.controller == {"schedule": {"milestones": [0.2, 0.5]}}


def test_a_setting_is_described_in_one_line() -> None:
    setting = {"recipe.loss": "ap", "knobs.lr": 0.02, "controller.schedule.milestones": [0.2, 0.5], "ramped": True}
    assert described(setting) == "loss ap, lr 0.02, schedule.milestones [0.2, 0.5], ramped True"
    assert described({"recipe.class_balance": None, "recipe.loss_settings": {"delta": 0.5}}) == (
        "class_balance none, loss_settings {delta: 0.5}"
    )
    assert described({}) == "as it is"


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"knobs.lrr": [1]}, "unknown knob in the search space 'lrr': did you mean 'lr'"),
        ({"recip.loss": ["ap"]}, "recip.loss in the search space: unknown part 'recip': did you mean 'recipe'"),
        ({"recipe.los": ["ap"]}, "recipe.los in the search space: unknown field 'los': did you mean 'loss'"),
        ({"controller.schedul.warmup": [0.1]}, "unknown field 'schedul': did you mean 'schedule'"),
        ({"controller.schedule.warm": [0.1]}, "unknown field 'warm': did you mean 'warmup'"),
        ({"recipe.loss.delta": [0.1]}, "recipe.loss.delta in the search space: loss is a single value, so name loss"),
        ({"recipe.ema": ["much"]}, "recipe.ema in the search space: ema is 'much': expected a number"),
        ({"recipe.batch_size": [8.5]}, "batch_size is 8.5: expected a whole number"),
        ({"recipe.batch_size": {"low": 8, "high": 16}}, "batch_size is 8.0: expected a whole number"),
        ({"controller.schedule.shape": ["cosin"]}, "shape is 'cosin': expected cosine, steps or constant"),
        ({"recipe.loss_settings.delta": [[1]]}, r"loss_settings.delta is \[1\]: expected a whole number or a number"),
        ({"recipe.loss": ["qualty"]}, "a setting of the search space, loss qualty: .*unknown loss 'qualty'"),
        ({"recipe.ema": {"low": 0.5, "high": 1.5}}, "a setting of the search space, ema 1.5: .*ema is 1.5"),
        ({"controller.schedule.warmup": [2.0]}, r"schedule.warmup 2: .*warmup is 2.0: expected 0 to 1"),
        (
            {"recipe.class_balance": ["weights"], "recipe.scope": ["image"]},
            "class_balance weights.*: .*class_balance is 'weights' with loss 'ap' and scope 'image'",
        ),
        (
            {"a": [1, 2], "b": {"choices": [1], "when": {"a": 1}}, "knobs.lr": {"when": {"a": 2, "b": 1}}},
            "knobs.lr in the search space was never 1e-05 in 2000 draws: look at what its when asks for",
        ),
    ],
)
def test_what_makes_no_method_is_named_before_anything_is_trained(space: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_experiment(
            {
                "name": "small",
                "budget": {"images": 128, "rounds": 4},
                "tasks": {"shapes": {}},
                "methods": {"baseline": {"recipe": {"loss": "ap"}, "search": {"space": space}}},
            }
        )


def test_what_depends_on_another_choice_is_tried_beside_it() -> None:
    space = {
        "recipe.loss": ["ap", "focal"],
        "recipe.class_balance": {"choices": ["none", "weights"], "when": {"recipe.loss": "focal"}},
    }
    method = MethodConfig(recipe=Recipe(loss="ap", scope="image"))
    check_search(method, SearchConfig(space=space))
    space["recipe.class_balance"] = ["none", "weights"]
    with pytest.raises(ConfigError, match="a setting of the search space, loss ap, class_balance weights"):
        check_search(method, SearchConfig(space=space))


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"grid": {"lr": [0.1]}, "space": {"knobs.lr": [0.1]}}, "both a grid and a space: give one of them"),
        ({"of": "other", "space": {"knobs.lr": [0.1]}}, "has a space, and takes over the settings of 'other'"),
        ({"strategy": "gird"}, "unknown search strategy 'gird': did you mean 'grid'"),
        ({"scorer": "rang"}, "unknown scorer 'rang': did you mean 'rank'"),
        ({"seeds": 0}, "seeds is 0: expected a whole number from 1"),
        ({"tasks": "both"}, "tasks is 'both': expected each or all"),
        ({"settings": -1}, "settings is -1: expected a whole number from 0"),
        ({"halving": {"rungs": [{"budgets": 1}]}}, "unknown key in search.halving.rungs.0 'budgets': did you mean"),
        ({"halving": {"rungs": [{"budget": 2}]}}, "budget of a rung is 2.0"),
        (
            {"space": {"knobs.lr": [0.1]}, "known": [{"knobs.lr": 0.2}]},
            "known setting 1 of the search: knobs.lr is 0.2: expected one of 0.1",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_search_is_one_line(search: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_search(METHOD, from_mapping(MethodConfig, {"search": search}, "file").search)
