"""Strategies: whatever proposes settings does so inside its space, by its seed alone, and never twice."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from mapopt.agents.search.reading import read_space
from mapopt.agents.search.space import Space
from mapopt.agents.search.strategies import STRATEGIES, Grid, Random, Scored, Sobol
from mapopt.errors import ConfigError

CONTENT: dict[str, Any] = {
    "recipe.optimizer": ["sgd", "adamw"],
    "recipe.loss": ["focal", "ap", "bce", "rank_sort"],
    "ramped": [True, False],
    "knobs.lr": {"low": 0.01, "high": 1.0, "log": True, "levels": 16},
    "knobs.momentum": {"low": 0.5, "high": 0.9, "levels": 8, "when": {"ramped": True}},
}
ADAPTIVE = ("tpe", "cma_es")
"""What they ask for follows from scores, too; see `test_adaptive`."""
NAMES = sorted(set(STRATEGIES) - set(ADAPTIVE))
DRAWING = [name for name in NAMES if name != "grid"]


@pytest.fixture
def space() -> Space:
    return read_space(CONTENT)


def make(name: str, space: Space, seed: int = 0, **settings: Any) -> Any:
    return STRATEGIES.make(name, {"space": space, "seed": seed, **settings})


@pytest.mark.parametrize("name", NAMES)
def test_it_asks_for_settings_of_the_space_and_for_none_twice(name: str, space: Space) -> None:
    asked = make(name, space).ask(120)
    assert len(asked) == 120
    for setting in asked:
        space.check(setting, "asked")
        assert ("knobs.momentum" in setting) == setting["ramped"]
    assert all(asked.count(setting) == 1 for setting in asked)


@pytest.mark.parametrize("name", NAMES)
def test_it_follows_from_its_seed_however_many_are_asked_for_at_once(name: str, space: Space) -> None:
    strategy = make(name, space, 3)
    parts = strategy.ask(5)
    strategy.tell([Scored(setting, float(number)) for number, setting in enumerate(parts)])
    parts += strategy.ask(1) + strategy.ask(10)
    np.random.default_rng(0).random(3)
    assert make(name, space, 3).ask(16) == parts
    assert (make(name, space, 4).ask(16) == parts) == (name == "grid")


def test_a_grid_is_every_combination_once_in_order(space: Space) -> None:
    grid = Grid(space, seed=0)
    assert grid.total == 2 * 4 * 16 * (8 + 1)
    asked = grid.ask(grid.total)
    assert asked == space.all_settings()
    assert grid.ask(3) == []


@pytest.mark.parametrize("name", DRAWING)
def test_every_choice_comes_as_often_as_any_other(name: str, space: Space) -> None:
    asked = make(name, space).ask(256)
    for choices, fraction in (("recipe.loss", 1 / 4), ("recipe.optimizer", 1 / 2), ("knobs.lr", 1 / 16)):
        counts = Counter(setting[choices] for setting in asked)
        expected = 256 * fraction
        # Five standard deviations of a binomial.
        assert all(abs(count - expected) < 5 * np.sqrt(expected * (1 - fraction)) for count in counts.values())
        assert len(counts) == round(1 / fraction)


def test_sobol_leaves_smaller_gaps_than_random() -> None:
    space = read_space({"knobs.lr": {"low": 0, "high": 1}, "knobs.momentum": {"low": 0, "high": 1}})

    def largest_gap(strategy: Any) -> float:
        points = np.array([list(setting.values()) for setting in strategy.ask(64)])
        return float(max(np.diff(np.sort(column)).max() for column in points.T))

    assert np.mean([largest_gap(Sobol(space, seed=seed)) for seed in range(5)]) < 0.035
    assert np.mean([largest_gap(Random(space, seed=seed)) for seed in range(5)]) > 0.05


@pytest.mark.parametrize("name", DRAWING)
def test_settings_that_are_drawn_together_have_one_recipe(name: str) -> None:
    content = {
        "pointwise": [True, False],
        "recipe.loss": {
            "cases": [
                {"choices": ["focal", "bce", "quality_focal"], "when": {"pointwise": True}},
                {"choices": ["ap", "alrp", "rank_sort"]},
            ]
        },
        "recipe.ema": [0.0, 0.5, 0.9, 0.99],
        "knobs.lr": {"low": 0.01, "high": 1},
    }
    space = read_space(content)
    asked = make(name, space, together=4).ask(48)
    recipes = [(setting["pointwise"], setting["recipe.loss"], setting["recipe.ema"]) for setting in asked]
    assert all(len(set(recipes[start : start + 4])) == 1 for start in range(0, 48, 4))
    assert len(set(recipes)) > 6
    assert len({setting["knobs.lr"] for setting in asked}) > 40
    alone = [tuple(list(setting.values())[:3]) for setting in make(name, space).ask(48)]
    assert len(set(alone[:4])) > 1


@pytest.mark.parametrize("name", DRAWING)
@pytest.mark.parametrize("together", [1, 3])
def test_a_space_that_is_exhausted_says_so(name: str, together: int) -> None:
    space = read_space({"knobs.lr": [0.1, 0.2], "recipe.loss": ["ap", "bce"]})
    strategy = make(name, space, together=together)
    assert len(strategy.ask(4)) == 4
    with pytest.raises(
        ConfigError, match="gave none beside the 4 settings that were drawn before: give fewer settings"
    ):
        strategy.ask(1)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("gird", {}, "unknown search strategy 'gird': did you mean 'grid'"),
        ("random", {"togther": 2}, "unknown setting of search strategy 'random' 'togther': did you mean 'together'"),
        ("sobol", {"together": 0}, "together is 0: expected a whole number from 1"),
        ("grid", {"together": 2}, "unknown setting of search strategy 'grid' 'together'"),
        ("mapopt.errors:ConfigError", {}, "search strategy mapopt.errors:ConfigError has no methods ask and tell"),
    ],
)
def test_what_is_no_strategy_is_one_line(name: str, settings: dict[str, Any], message: str, space: Space) -> None:
    with pytest.raises(ConfigError, match=message):
        make(name, space, **settings)
