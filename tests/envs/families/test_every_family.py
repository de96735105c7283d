"""What every family promises: the same bits for a number, disjoint splits, a description, errors that help."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mapopt.envs.families import FAMILIES, Instance, InstanceSplit, NumberedFamily, describe, make_family
from mapopt.envs.families.cache import HELD
from mapopt.errors import ConfigError
from mapopt.training.budget import Budget
from mapopt.training.controllers.fixed import Schedule
from mapopt.training.fleet import Trainer
from mapopt.training.loop import run
from mapopt.training.recipe import Recipe

CASES: dict[str, dict[str, Any]] = {
    "shapes": {},
    "imbalanced": {},
    "small-objects": {},
    "noisy-labels": {},
    "rescue": {},
    "units": {},
    "budgets": {"budgets": ()},
    "shift": {},
    "mixture": {"members": ("shapes", "units", {"name": "rescue", "count": 18})},
    "recipes": {
        "recipe": Recipe(),
        "optimizers": (Recipe().optimizer,),
        "losses": (Recipe().loss,),
        "batches": (4,),
        "sizes": (32, 48),
    },
    "from-data": {"path": "DATA", "size": 48, "crop": (0.4, 0.8)},
}
"""Every family with the settings that it needs; "DATA" stands for a folder of images."""

COMMON: dict[str, Any] = {"images": (16, 8, 8), "count": 9, "recipe": Recipe(batch_size=4)}


@pytest.fixture(params=CASES)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def make(kind: str, data: Path, split: InstanceSplit = "train", **changes: Any) -> NumberedFamily:
    settings = {name: data if value == "DATA" else value for name, value in CASES[kind].items()}
    return make_family(kind, **{**COMMON, **settings, "split": split, **changes})


def bits(instance: Instance) -> tuple[object, ...]:
    """Returns all that an instance is."""
    prints = tuple(images.fingerprint for _, images in instance.task.splits.named())
    return (*prints, instance.task.name, instance.task.knobs, instance.description, instance.budget, instance.baseline)


def pictures(instance: Instance) -> set[str]:
    return {identity for _, images in instance.task.splits.named() for identity in images.identities(by_path=False)}


def test_every_family_is_in_this_matrix() -> None:
    assert CASES.keys() == FAMILIES.keys()


def test_a_number_gives_the_same_bits_whatever_was_asked_before(kind: str, data: Path) -> None:
    family = make(kind, data)
    first = bits(family.instance(2))
    other = bits(family.instance(3))
    HELD.clear()
    assert bits(make(kind, data).instance(2)) == first
    assert len(set(first[:3]) & set(other[:3])) == 0


@pytest.mark.slow
def test_a_fresh_process_gives_the_same_bits() -> None:
    code = (
        "from mapopt.envs.families import make_family\n"
        "one = make_family('noisy-labels', images=(16, 8, 8)).instance(4)\n"
        "print(*[images.fingerprint for _, images in one.task.splits.named()], one, sep='|')"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100, env=environment
    )
    ours = make_family("noisy-labels", images=(16, 8, 8)).instance(4)
    assert done.stdout.strip().split("|") == [*bits(ours)[:3], str(ours)]


def test_no_image_is_in_the_train_and_the_eval_split_of_instances(kind: str, data: Path) -> None:
    seen: dict[str, set[str]] = {"train": set(), "eval": set()}
    for split, images in seen.items():
        family = make(kind, data, split)  # type: ignore[arg-type]
        for number in range(3):
            images |= pictures(family.instance(number))
    assert not seen["train"] & seen["eval"]
    assert min(len(images) for images in seen.values()) > 60


def test_no_image_is_in_two_of_train_val_and_test(kind: str, data: Path) -> None:
    assert len(pictures(make(kind, data).instance(0))) == sum(COMMON["images"])


def test_a_description_is_one_line_of_its_own(kind: str, data: Path) -> None:
    for split in ("train", "eval"):
        family = make(kind, data, split)  # type: ignore[arg-type]
        lines = describe(family, [0, 1, 2]).split("\n")
        assert len(set(lines)) == 3
        for number, line in enumerate(lines):
            instance = family.instance(number)
            assert line == str(instance) == instance.description
            assert line.startswith(f"{kind}-{split}-{number}: ")
            assert instance.task.name == f"{kind}-{split}-{number}"
            assert line.endswith("16 train images")


def test_all_instances_are_described_without_numbers(data: Path) -> None:
    assert len(describe(make("shapes", data, count=4)).split("\n")) == 4


def test_the_task_is_as_it_was_asked_for(kind: str, data: Path) -> None:
    family = make(kind, data)
    task = family.instance(1).task
    assert tuple(len(images) for _, images in task.splits.named()) == COMMON["images"]
    assert task.recipe == COMMON["recipe"]


def test_budgets_are_drawn_by_number_and_said_and_change_nothing_else(kind: str, data: Path) -> None:
    budgets = [Budget(images=16, rounds=2), Budget(images=48, rounds=3), Budget(images=8, rounds=1)]
    plain, varied = make(kind, data, count=18), make(kind, data, count=18, budgets=budgets)
    drawn = [varied.budget_of(number) for number in range(18)]
    assert set(drawn) == set(budgets)
    assert drawn != [make(kind, data, "eval", count=18, budgets=budgets).budget_of(number) for number in range(18)]
    for number in (0, 1, 5):
        without, instance = plain.instance(number), varied.instance(number)
        assert without.budget is None
        assert instance.budget == drawn[number] == make(kind, data, count=9, budgets=budgets).budget_of(number)
        own = instance.budget
        assert str(instance) == f"{without}, {own.images} images in {own.rounds} rounds"  # type: ignore[union-attr]
        assert bits(instance)[:5] == bits(without)[:5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budgets": (Budget(images=24, rounds=4),)}, "a round of 6 images is no whole number of steps of 4"),
        ({"budgets": (64,)}, r"budgets is \(64,\): expected a list of Budget"),
        ({"budgets": 64}, "budgets is 64: expected a list of Budget"),
        ({"count": 0}, "a family of 0 instances: expected 1 to 1000000"),
        ({"count": 2_000_000}, "expected 1 to 1000000"),
        ({"count": 9.0}, "expected 1 to 1000000"),
        ({"split": "evals"}, "unknown split of instances 'evals': did you mean 'eval'"),
        ({"images": (16, 8)}, "expected three whole numbers of at least 1"),
        ({"images": (16, 0, 8)}, "expected three whole numbers of at least 1"),
        ({"images": 16}, "expected three whole numbers of at least 1"),
    ],
)
def test_wrong_settings_are_refused(kind: str, data: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(kind, data, **changes)


@pytest.mark.parametrize("number", [-1, 9, "1", 1.0])
def test_a_number_that_is_not_there_is_refused(kind: str, data: Path, number: Any) -> None:
    with pytest.raises(ConfigError, match=f"instance {number!r} was asked of a family of 9: expected 0 to 8"):
        make(kind, data).instance(number)


def test_numbers_from_numpy_are_numbers(kind: str, data: Path) -> None:
    family = make(kind, data)
    assert bits(family.instance(np.int64(2))) == bits(family.instance(2))  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "number"), [(kind, n) for kind in CASES for n in range(9 if kind == "rescue" else 1)])
def test_a_round_of_training_stays_finite_but_for_too_high_a_learning_rate(kind: str, number: int, data: Path) -> None:
    instance = make(kind, data).instance(number)
    result = run(Trainer(instance.task, seed=0), instance.baseline or Schedule(), Budget(images=32, rounds=1))
    assert len(result.history) == 1
    assert not result.history[0].interval.diverged or "learning-rate-too-high" in str(instance)


def test_names_and_settings_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown family 'imbalance': did you mean 'imbalanced'"):
        make_family("imbalance")
    with pytest.raises(ConfigError, match="unknown setting of family 'shapes' 'varity': did you mean 'variety'"):
        make_family("shapes", varity=1.0)
    with pytest.raises(ConfigError, match="family 'from-data' needs 'path'"):
        make_family("from-data")
