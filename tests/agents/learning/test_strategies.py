"""Searches without gradients: they find what they are asked for, and go on from their numbers alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mapopt.agents.learning.strategies import Cma, CmaSettings, EsSettings, EvolutionStrategy, numbers_of, put_numbers
from mapopt.errors import AgentError

GOAL = np.array([0.5, -1.0, 0.25, 0.0, 2.0])


def bent(candidates: np.ndarray) -> np.ndarray:
    """A valley a thousand times steeper in one direction than in another."""
    return -((candidates - GOAL) ** 2 @ np.geomspace(1, 1000, 5))


def make(kind: str) -> Any:
    if kind == "cma_es":
        return Cma(5, CmaSettings(sigma=0.5))
    return EvolutionStrategy(5, EsSettings(sigma=0.1, learning_rate=0.03))


def search(strategy: Any, generations: range, value: Any = bent) -> None:
    for generation in generations:
        candidates = strategy.ask(np.random.default_rng(generation), 12)
        strategy.tell(candidates, value(candidates))


def test_cma_es_takes_on_the_shape_of_a_valley() -> None:
    strategy = make("cma_es")
    search(strategy, range(250))
    np.testing.assert_allclose(strategy.mean, GOAL, atol=1e-6)
    steep, flat = strategy.covariance[4, 4], strategy.covariance[0, 0]
    assert flat / steep > 100
    unbent = make("cma_es")
    search(unbent, range(250), lambda candidates: -((candidates - GOAL) ** 2).sum(axis=1))
    assert unbent.sigma < 1e-5, "the step grows short where the goal is near"


def test_an_evolution_strategy_climbs() -> None:
    strategy = make("es")
    search(strategy, range(300), lambda candidates: -((candidates - GOAL) ** 2).sum(axis=1))
    assert np.abs(strategy.mean - GOAL).max() < 0.15
    candidates = strategy.ask(np.random.default_rng(0), 5)
    np.testing.assert_allclose(candidates[:2] + candidates[2:4], np.tile(2 * strategy.mean, (2, 1)))
    assert np.array_equal(candidates[4], strategy.mean)


@pytest.mark.parametrize("kind", ["cma_es", "es"])
def test_only_the_order_of_values_counts(kind: str) -> None:
    first, second = make(kind), make(kind)
    search(first, range(5))
    search(second, range(5), lambda candidates: np.exp(bent(candidates) / 1e4) - 7)
    assert np.array_equal(first.mean, second.mean)


def test_where_nothing_differs_an_evolution_strategy_stays() -> None:
    strategy = make("es")
    search(strategy, range(3), lambda candidates: np.zeros(len(candidates)))
    np.testing.assert_allclose(strategy.mean, 0.0, atol=1e-12)


@pytest.mark.parametrize("kind", ["cma_es", "es"])
def test_a_search_goes_on_from_its_numbers_bit_for_bit(kind: str) -> None:
    whole, parts, rest = make(kind), make(kind), make(kind)
    search(whole, range(9))
    search(parts, range(4))
    put_numbers(rest, {name: part.copy() for name, part in numbers_of(parts).items()}, "here")
    search(rest, range(4, 9))
    for name, part in numbers_of(whole).items():
        assert np.array_equal(part, numbers_of(rest)[name]), name


def test_numbers_that_make_no_distribution_are_refused() -> None:
    for change in ({"sigma": np.array(0.0)}, {"mean": np.full(5, np.nan)}, {"generation": np.array(-1.0)}):
        with pytest.raises(AgentError, match="are not finite, or make no distribution"):
            put_numbers(make("cma_es"), {**numbers_of(make("cma_es")), **change}, "here")
