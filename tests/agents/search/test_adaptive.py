"""Strategies that learn from scores: they follow from space, seed and scores, stay in the space, and beat chance."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from mapopt.agents.search.reading import read_space
from mapopt.agents.search.space import Setting, Space
from mapopt.agents.search.strategies import STRATEGIES, Random, Scored
from mapopt.errors import ConfigError

for package in ("optuna", "cmaes"):
    pytest.importorskip(package, reason=f"{package} is not installed: pip install mapopt[search]")

ADAPTIVE = ["tpe", "cma_es"]

CONTENT: dict[str, Any] = {
    "recipe.optimizer": ["sgd", "adamw", "muon"],
    "knobs.lr": {
        "cases": [
            {"low": 0.01, "high": 1.0, "log": True, "when": {"recipe.optimizer": "sgd"}},
            {"low": 0.0001, "high": 0.1, "log": True},
        ]
    },
    "knobs.momentum": {"low": 0.5, "high": 0.99, "when": {"recipe.optimizer": "sgd"}},
    "recipe.ema": {"low": 0, "high": 1, "levels": 6},
    "recipe.batch_size": {"low": 1, "high": 9, "whole": True},
    "controller.schedule.milestones": [[0.5, 0.8], [0.6, 0.9]],
}
BEST = {"sgd": 0.2, "adamw": 0.004, "muon": 0.02}


@pytest.fixture
def space() -> Space:
    return read_space(CONTENT)


def make(name: str, space: Space, seed: int = 0, **settings: Any) -> Any:
    return STRATEGIES.make(name, {"space": space, "seed": seed, **settings})


def value(setting: Setting) -> float:
    """A quadratic function of the logarithm of the learning rate and of the numbers, with a better optimizer."""
    optimizer = setting["recipe.optimizer"]
    reached = 0.45 + 0.05 * (optimizer == "muon") - 0.1 * np.log10(setting["knobs.lr"] / BEST[optimizer]) ** 2
    reached -= 0.1 * (setting["recipe.ema"] - 0.8) ** 2 + 0.002 * (setting["recipe.batch_size"] - 6) ** 2
    return float(reached - (setting.get("knobs.momentum", 0.9) - 0.9) ** 2)


def scored(settings: list[Setting]) -> list[Scored]:
    """Scores as a search gives them: relative to the best so far, so those of before change."""
    best = max(map(value, settings))
    return [Scored(setting, value(setting) / best) for setting in settings]


def searched(strategy: Any, count: int, known: tuple[Setting, ...] = ()) -> list[Setting]:
    """Asks as a search does."""
    tried = list(known)
    while len(tried) < count:
        left = count - len(tried)
        tried += strategy.ask(min(left, strategy.batch) if strategy.batch else left)
        strategy.tell(scored(tried))
    return tried


@pytest.mark.parametrize("name", ADAPTIVE)
def test_the_same_seed_and_scores_give_the_same_settings_of_the_space_and_none_twice(name: str, space: Space) -> None:
    tried = searched(make(name, space), 24)
    assert searched(make(name, space), 24) == tried
    assert searched(make(name, space, 1), 24) != tried
    for setting in tried:
        space.check(setting, "asked")
        assert ("knobs.momentum" in setting) == (setting["recipe.optimizer"] == "sgd")
    assert all(tried.count(setting) == 1 for setting in tried)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_settings_of_a_batch_are_the_same_however_many_are_asked_for_at_once(name: str, space: Space) -> None:
    whole, parts = make(name, space), make(name, space)
    first = whole.ask(whole.batch)
    assert [setting for _ in first for setting in parts.ask(1)] == first
    for strategy in (whole, parts):
        strategy.tell(scored(first))
    second = whole.ask(4)
    assert parts.ask(1) + parts.ask(3) == second
    assert all(second.count(setting) == 1 and setting not in first for setting in second)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_other_scores_give_other_settings(name: str, space: Space) -> None:
    given, other = make(name, space), make(name, space)
    first = given.ask(given.batch)
    assert other.ask(other.batch) == first
    given.tell(scored(first))
    other.tell([Scored(each.setting, -each.score) for each in scored(first)])
    assert given.ask(4) != other.ask(4)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_where_nothing_was_learned_it_goes_on(name: str, space: Space) -> None:
    strategy = make(name, space)
    for _ in range(2):
        first = strategy.ask(strategy.batch)
        strategy.tell([Scored(setting, 1.0) for setting in first])
    assert len(strategy.ask(4)) == 4


@pytest.mark.parametrize("name", ADAPTIVE)
def test_settings_without_a_score_yet_are_not_asked_for_again(name: str, space: Space) -> None:
    strategy = make(name, space)
    first = strategy.ask(strategy.batch)
    strategy.tell(scored(first[: len(first) // 2]))
    more = strategy.ask(6)
    assert all(more.count(setting) == 1 and setting not in first for setting in more)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_with_as_many_settings_it_comes_nearer_to_the_best_than_random(name: str, space: Space) -> None:
    def missing(name: str) -> float:
        """How far the best of 40 settings is from the highest value, mean over seeds."""
        return float(np.mean([0.5 - max(map(value, searched(make(name, space, seed), 40))) for seed in range(4)]))

    assert missing(name) < 0.75 * missing("random")


def test_tpe_begins_with_the_settings_of_random_and_hears_of_the_known_ones(space: Space) -> None:
    tpe = make("tpe", space, startup=6, batch=3)
    assert tpe.batch == 6
    first = tpe.ask(6)
    assert first == Random(space, seed=0).ask(6)
    assert tpe.batch == 3
    known: Setting = {"recipe.optimizer": "muon", "knobs.lr": 0.02}
    without, beside = make("tpe", space, startup=6, batch=3), tpe
    without.ask(6)
    without.tell(scored(first))
    beside.tell([Scored(known, 1.0), *[Scored(each.setting, 0.9 * each.score) for each in scored(first)]])
    assert beside.ask(3) != without.ask(3)


def test_a_generation_of_cma_es_is_so_large_as_its_author_has_it(space: Space) -> None:
    # An optimizer, two cases of the learning rate, momentum, average, batch size and milestones: 4 + 3 ln 7.
    assert make("cma_es", space).batch == 9
    assert make("cma_es", space, batch=12).batch == 12


@pytest.mark.parametrize("name", ADAPTIVE)
def test_a_small_space_is_tried_to_its_end_and_then_said_to_be_exhausted(name: str) -> None:
    space = read_space({"knobs.lr": [0.1, 0.2], "recipe.loss": ["ap", "bce"], "recipe.ema": [0.5]})
    strategy = make(name, space)
    tried = strategy.ask(4)
    strategy.tell([Scored(setting, 1.0) for setting in tried])
    assert {(setting["knobs.lr"], setting["recipe.loss"]) for setting in tried} == {
        (rate, loss) for rate in (0.1, 0.2) for loss in ("ap", "bce")
    }
    with pytest.raises(ConfigError, match="draws in a row gave none beside the 4 settings"):
        strategy.ask(1)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("tpe", {"batch": 0}, "batch is 0: expected a whole number from 1"),
        ("tpe", {"startup": 0}, "startup is 0: expected a whole number from 1"),
        ("tpe", {"candidates": 0}, "candidates is 0: expected a whole number from 1"),
        ("tpe", {"spread": 1}, "unknown setting of search strategy 'tpe' 'spread'"),
        ("cma_es", {"batch": 3}, "batch is 3: expected a whole number from 4"),
        ("cma_es", {"spread": 0}, "spread is 0: expected a fraction of the ranges"),
    ],
)
def test_what_no_strategy_takes_is_one_line(name: str, settings: dict[str, Any], message: str, space: Space) -> None:
    with pytest.raises(ConfigError, match=message):
        make(name, space, **settings)


def test_a_space_without_a_choice_is_refused() -> None:
    with pytest.raises(ConfigError, match="'cma_es' has nothing to choose: every name of the space has a single value"):
        make("cma_es", read_space({"knobs.lr": [0.1]}))


@pytest.mark.parametrize(("name", "package"), [("tpe", "optuna"), ("cma_es", "cmaes")])
def test_a_package_that_is_absent_is_named_with_its_remedy(
    name: str, package: str, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf'needs {package}, .* not installed: pip install "mapopt\[search\]"'):
        make(name, space)
