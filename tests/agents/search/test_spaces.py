"""Spaces of settings: what a file may say of them, what counts when, and what every dimension returns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mapopt.agents.search.dimensions import Choices, Numbers, same
from mapopt.agents.search.reading import read_space
from mapopt.errors import ConfigError
from mapopt.training.knobs import Range

RANGES = {"knobs.lr": Range(1e-3, 1.0, log=True), "knobs.momentum": Range(0.0, 0.99)}

SPACE: dict[str, Any] = {
    "recipe.optimizer": ["sgd", "adamw", "muon"],
    "knobs.lr": {
        "cases": [
            {"low": 0.1, "high": 1, "when": {"recipe.optimizer": "sgd"}},
            {"low": 0.01, "high": 0.1, "when": {"recipe.optimizer": ["adamw"]}},
        ]
    },
    "ramped": [True, False],
    "knobs.momentum": {"choices": [0.5, 0.9], "when": {"ramped": True, "recipe.optimizer": ["sgd", "muon"]}},
}


def test_every_choice_has_the_same_part_of_the_unit() -> None:
    fractions = np.linspace(0, 1, 300, endpoint=False)
    drawn = [Choices(("a", "b", "c")).at(fraction) for fraction in fractions]
    assert [drawn.count(value) for value in "abc"] == [100, 100, 100]
    assert Choices(("a", "b")).at(1.0) == "b", "the end is the last choice"


@pytest.mark.parametrize("log", [False, True])
def test_numbers_are_spread_evenly_on_their_scale_and_have_few_digits(log: bool) -> None:
    numbers = Numbers(Range(0.01, 1.0, log=log))
    drawn = np.array([numbers.at(fraction) for fraction in np.linspace(0, 1, 1001)])
    assert (drawn[0], drawn[-1]) == (0.01, 1.0)
    middle = 0.1 if log else 0.505
    assert drawn[500] == middle
    assert all(float(f"{value:.3g}") == value for value in drawn)
    assert np.all(np.diff(drawn) >= 0)


def test_levels_are_all_there_is() -> None:
    numbers = Numbers(Range(0.0, 1.0), levels=3)
    assert numbers.values() == (0.0, 0.5, 1.0)
    assert {numbers.at(fraction) for fraction in np.linspace(0, 1, 50)} == {0.0, 0.5, 1.0}
    assert Numbers(Range(0.0, 1.0)).values() == (), "there are too many"
    drawn = [numbers.at(fraction) for fraction in np.linspace(0, 1, 300, endpoint=False)]
    assert [drawn.count(value) for value in (0.0, 0.5, 1.0)] == [100, 100, 100]


def test_whole_numbers_are_whole() -> None:
    numbers = Numbers(Range(8.0, 64.0, log=True), whole=True)
    drawn = {numbers.at(fraction) for fraction in np.linspace(0, 1, 500)}
    assert {type(value) for value in drawn} == {int}
    assert min(drawn) == 8
    assert max(drawn) == 64
    assert numbers.holds(9)
    assert not numbers.holds(9.5)
    assert not numbers.holds(True)


def test_true_is_not_1_and_a_pair_is_a_pair_however_it_is_written() -> None:
    assert same([0.25, 0.45], (0.25, 0.45))
    assert not same([0.25], [0.25, 0.45])
    assert not same(1, True)
    assert Choices((1, 2)).holds(1.0)
    assert not Choices((1, 2)).holds(True)


def test_the_first_case_that_applies_is_the_dimension_and_without_one_a_name_does_not_count() -> None:
    space = read_space(SPACE, RANGES)
    first = space.walk(lambda name, dimension: dimension.at(0.0))
    assert first == {"recipe.optimizer": "sgd", "knobs.lr": 0.1, "ramped": True, "knobs.momentum": 0.5}
    middle = space.walk(lambda name, dimension: dimension.at(0.5))
    assert middle == {"recipe.optimizer": "adamw", "knobs.lr": 0.0316, "ramped": False}
    last = space.walk(lambda name, dimension: dimension.at(0.99))
    assert last == {"recipe.optimizer": "muon", "ramped": False}


def test_a_knobs_range_is_its_own_where_none_is_given() -> None:
    space = read_space({"knobs.lr": {}, "knobs.momentum": {"low": 0.8, "levels": 2}}, RANGES)
    assert space.walk(lambda name, dimension: dimension.at(0.5)) == {"knobs.lr": 0.0316, "knobs.momentum": 0.99}
    linear = read_space({"knobs.lr": {"log": False}}, RANGES)
    assert linear.walk(lambda name, dimension: dimension.at(0.5))["knobs.lr"] == 0.5, "0.5005 of three digits"


def test_a_grid_has_every_setting_that_counts_once() -> None:
    space = read_space({**SPACE, "knobs.lr": {"levels": 2, "when": {"recipe.optimizer": "sgd"}}}, RANGES)
    settings = space.all_settings()
    assert len(settings) == 2 * (2 + 1) + 1 * (1 + 1) + (2 + 1)
    assert all(settings.count(setting) == 1 for setting in settings)
    with pytest.raises(ConfigError, match=r"knobs\.lr in the search space is a range of any numbers.*give levels or"):
        read_space(SPACE, RANGES).all_settings()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"knobs.lr": 3}, "knobs.lr in the search space is 3: expected a list of choices, or low and high of a range"),
        ({"knobs.lr": []}, r"has the choices \[\]: expected a list of at least one"),
        ({"knobs.lr": [0.1, 0.1]}, "has the choice 0.1 twice: give it once"),
        ({"knobs.lr": [5.0]}, "has the choice 5.0: expected 0.001 to 1"),
        ({"knobs.lr": ["fast"]}, "has the choice 'fast': expected 0.001 to 1"),
        ({"knobs.lr": {"lo": 1}}, "unknown key of knobs.lr in the search space 'lo': did you mean 'low'"),
        ({"knobs.lr": {"low": "1"}}, "low is '1': expected a number"),
        ({"knobs.lr": {"low": True}}, "low is True: expected a number"),
        ({"knobs.lr": {"levels": 2.0}}, "levels is 2.0: expected a whole number"),
        ({"knobs.lr": {"levels": 1}}, "levels is 1: expected 2 or more, or none"),
        ({"knobs.lr": {"log": 1}}, "log is 1: expected true or false"),
        ({"knobs.lr": {"low": 0.5, "high": 0.1}}, "a range from 0.5 to 0.1: expected finite numbers, the lower one"),
        ({"knobs.lr": {"low": 1e-4}}, "is 0.0001 to 1: expected inside 0.001 to 1"),
        ({"knobs.lr": {"high": 2}}, "is 0.001 to 2: expected inside 0.001 to 1"),
        ({"knobs.lr": {"choices": [0.1], "low": 1}}, "has choices and low: expected a list of choices or a range"),
        (
            {"recipe.clip": {"low": 1}},
            "recipe.clip in the search space has no high: expected a list of choices, or low",
        ),
        ({"recipe.clip": {}}, "recipe.clip in the search space has no low"),
        ({"knobs.lr": {"when": ["sgd"]}}, r"when is \['sgd'\]: expected names above it, each with its values"),
        ({"knobs.lr": {"when": {"optimiser": 1}}}, "when asks for an unknown name above it 'optimiser'"),
        (
            {"knobs.lr": {"when": {"recipe.loss": "ap"}}, "recipe.loss": ["ap"]},
            "when asks for an unknown name above it 'recipe.loss'",
        ),
        (
            {"recipe.loss": ["ap", "bce"], "knobs.lr": {"when": {"recipe.loss": "apl"}}},
            "when asks for recipe.loss to be 'apl': expected one of 'ap', 'bce'",
        ),
        (
            {"knobs.momentum": {}, "knobs.lr": {"when": {"knobs.momentum": 0.9}}},
            "when asks for knobs.momentum to be 0.9: expected a name with choices",
        ),
        ({"knobs.lr": {"cases": []}}, "expected `cases` and nothing beside it, with a list of mappings"),
        ({"knobs.lr": {"cases": [{}], "low": 1}}, "expected `cases` and nothing beside it"),
        ({"knobs.lr": {"cases": [3]}}, "has the case 3: expected choices, or low and high of a range"),
        ({"knobs.lr": {"cases": [{"cases": [{}]}]}}, "unknown key of case 1 of knobs.lr in the search space 'cases'"),
        (
            {"knobs.lr": {"cases": [{"low": 0.1}, {"low": 9}]}},
            "case 2 of knobs.lr in the search space: a range from 9.0",
        ),
        ({"ramped": [True, False]}, "ramped in the search space sets nothing, and no `when` asks for it"),
    ],
)
def test_what_makes_no_sense_is_named_with_its_place(content: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_space(content, RANGES)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"knobs.l": 0.1}, "known: unknown name 'knobs.l': did you mean 'knobs.lr'"),
        ({"recipe.optimizer": "sdg"}, "known: recipe.optimizer is 'sdg': expected one of 'sgd', 'adamw', 'muon'"),
        ({"recipe.optimizer": "adamw", "knobs.lr": 0.5}, "known: knobs.lr is 0.5: expected 0.01 to 0.1"),
        ({"recipe.optimizer": "muon", "knobs.lr": 0.5}, "known: knobs.lr does not count beside the rest of it"),
        ({"knobs.lr": 0.5}, "known: knobs.lr does not count"),
    ],
)
def test_a_given_setting_is_one_of_the_space(setting: dict[str, Any], message: str) -> None:
    space = read_space(SPACE, RANGES)
    space.check({"recipe.optimizer": "adamw", "knobs.lr": 0.05}, "known")
    with pytest.raises(ConfigError, match=message):
        space.check(setting, "known")
