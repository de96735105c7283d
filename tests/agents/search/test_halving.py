"""How many settings go on, and how they are scored on several tasks of which none may dominate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mapopt.agents.search.halving import Halving, Rung, best_of
from mapopt.agents.search.scoring import SCORERS
from mapopt.errors import ConfigError


def test_every_rung_has_a_fraction_of_the_settings_or_what_it_says() -> None:
    assert Halving(rungs=(Rung(), Rung(), Rung())).counts(96) == [96, 32, 11]
    assert Halving(rungs=(Rung(), Rung(settings=32), Rung(settings=12)), eta=2).counts(96) == [96, 32, 12]
    assert Halving(rungs=(Rung(settings=96), Rung()), eta=2).counts(96) == [96, 48]
    assert Halving(rungs=(Rung(), Rung(), Rung())).counts(2) == [2, 1, 1], "the last one always goes on"
    assert Halving().counts(7) == [7]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Rung(budget=0.0), r"budget of a rung is 0.0: expected a fraction of the images, above 0 up to 1"),
        (lambda: Rung(budget=1.5), "budget of a rung is 1.5"),
        (lambda: Rung(seeds=0), "seeds of a rung is 0: expected a whole number from 1"),
        (lambda: Rung(settings=0), "settings of a rung is 0: expected a whole number from 1"),
        (lambda: Rung(rounds=0), "rounds of a rung is 0: expected a whole number from 1"),
        (lambda: Halving(eta=1.0), "eta is 1.0: expected a number above 1"),
        (lambda: Halving(rungs=(Rung(settings=8),)).counts(9), "first rung has 8 settings where the search has 9"),
        (
            lambda: Halving(rungs=(Rung(), Rung(settings=10))).counts(9),
            "rung 2 has 10 settings after 9: expected no more than before",
        ),
    ],
)
def test_rungs_that_make_no_sense_are_one_line(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_of_equal_scores_the_earlier_is_the_better() -> None:
    assert best_of([0.2, 0.5, 0.5, 0.1], 2) == [1, 2]
    assert best_of([0.2], 5) == [0]


@pytest.mark.parametrize("name", sorted(SCORERS))
def test_the_scale_of_a_task_does_not_matter(name: str) -> None:
    values = np.random.default_rng(0).uniform(0.05, 0.5, (20, 3))
    scores = SCORERS[name](values)
    assert scores.shape == (20,)
    np.testing.assert_allclose(SCORERS[name](values * [1.0, 0.1, 3.0]), scores, rtol=1e-12)
    order = np.random.default_rng(1).permutation(20)
    np.testing.assert_allclose(SCORERS[name](values[order]), scores[order], rtol=1e-12)
    better = values.copy()
    better[7] *= 1.05
    assert SCORERS[name](better)[7] > scores[7]


@pytest.mark.parametrize("name", sorted(SCORERS))
def test_the_best_on_every_task_scores_1(name: str) -> None:
    values = np.array([[0.1, 0.4], [0.3, 0.5], [0.2, 0.1]])
    scores = SCORERS[name](values)
    assert scores.argmax() == 1
    assert scores[1] == 1


def test_relative_is_the_mean_of_the_fractions_of_the_best() -> None:
    np.testing.assert_allclose(SCORERS["relative"](np.array([[0.4, 0.1], [0.3, 0.2]])), [0.75, (0.75 + 1) / 2])
    np.testing.assert_allclose(SCORERS["relative"](np.array([[0.4, 0.0], [0.2, 0.0]])), [1.0, 0.75], rtol=1e-12)


def test_rank_is_the_fraction_of_the_others_that_are_beaten_and_a_tie_is_half() -> None:
    np.testing.assert_allclose(SCORERS["rank"](np.array([[0.4], [0.3], [0.3], [0.1]])), [1, 0.5, 0.5, 0])


@pytest.mark.parametrize("name", sorted(SCORERS))
def test_a_single_setting_is_the_best(name: str) -> None:
    assert SCORERS[name](np.array([[0.4, 0.0]])).tolist() == [1.0]
