"""Intervals cover what they say, and exact small cases come out exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from mapopt.errors import MapoptError
from mapopt.metrics.statistics import (
    bootstrap_interval,
    estimate,
    interquartile_mean,
    paired_difference,
    probability_of_improvement,
)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 16, 33])
def test_the_interquartile_mean_is_scipys_trimmed_mean(count):
    values = np.random.default_rng(count).normal(size=(3, count))
    np.testing.assert_allclose(interquartile_mean(values), stats.trim_mean(values, 0.25, axis=-1), rtol=1e-14)


def test_the_interquartile_mean_ignores_a_quarter_at_either_end():
    assert interquartile_mean([-1e9, 1.0, 2.0, 1e9]) == (1 + 2) / 2
    assert interquartile_mean([3.0, 1.0, 8.0]) == (3 + 1 + 8) / 3


def test_the_same_seed_gives_the_same_interval_and_another_a_near_one():
    values = np.random.default_rng(0).normal(size=20)
    first = bootstrap_interval(values, interquartile_mean, seed=3)
    assert first == bootstrap_interval(values, interquartile_mean, seed=3)
    other = bootstrap_interval(values, interquartile_mean, seed=4)
    assert first != other
    np.testing.assert_allclose(first, other, atol=0.1)


def test_an_interval_moves_and_scales_with_the_numbers():
    values = np.random.default_rng(1).normal(size=12)
    low, high = bootstrap_interval(values, interquartile_mean, seed=0)
    moved = bootstrap_interval(3 * values + 5, interquartile_mean, seed=0)
    np.testing.assert_allclose(moved, (3 * low + 5, 3 * high + 5), rtol=1e-12)


@pytest.mark.parametrize("count", [3, 4, 6, 16])
def test_an_interval_covers_the_truth_as_often_as_it_says(count):
    generator = np.random.default_rng(count)
    draws = 400
    hits = 0
    for draw in range(draws):
        low, high = bootstrap_interval(generator.normal(size=count), interquartile_mean, seed=draw, resamples=400)
        hits += low <= 0 <= high
    assert 0.92 < hits / draws < 0.995


def test_with_three_runs_the_interval_is_students():
    values = np.array([0.31, 0.35, 0.30])
    width = stats.t.ppf(0.975, 2) * values.std(ddof=1) / math.sqrt(3)
    low, high = bootstrap_interval(values, interquartile_mean, seed=0, resamples=20000)
    np.testing.assert_allclose((low, high), (values.mean() - width, values.mean() + width), atol=0.003)


def test_a_single_run_has_no_interval():
    low, high = bootstrap_interval([0.3], interquartile_mean, seed=0)
    assert math.isnan(low)
    assert math.isnan(high)
    assert estimate([0.3], seed=0).value == 0.3


def test_a_curve_keeps_its_points_together():
    runs = np.random.default_rng(0).normal(size=9)
    low, high = bootstrap_interval(np.stack([runs, runs + 1, 2 * runs]), interquartile_mean, seed=0)
    np.testing.assert_allclose(low, [low[0], low[0] + 1, 2 * low[0]])
    assert low.shape == high.shape == (3,)


def test_resampling_stays_within_a_task():
    # What differs between tasks only is no uncertainty: every resample has the same runs of each.
    low, high = bootstrap_interval([np.full(5, 0.1), np.full(5, 0.9)], interquartile_mean, seed=0)
    assert low == high == pytest.approx(0.5)
    low, high = bootstrap_interval(np.repeat([0.1, 0.9], 5), interquartile_mean, seed=0)
    assert high - low > 0.3


def test_a_paired_difference_cancels_what_the_seed_decides():
    generator = np.random.default_rng(0)
    seeds = dict(enumerate(generator.normal(size=16)))
    better = {seed: value + 0.05 for seed, value in seeds.items()}
    estimated = paired_difference(better, seeds, seed=0)
    assert estimated is not None
    np.testing.assert_allclose((estimated.value, estimated.low, estimated.high), 0.05)


def test_only_common_seeds_are_paired():
    estimated = paired_difference({1: 0.5, 2: 0.7, 9: 100.0}, {2: 0.4, 1: 0.4, 7: -100.0}, seed=0)
    assert estimated is not None
    assert estimated.value == pytest.approx((0.1 + 0.3) / 2)
    assert paired_difference({1: 0.5}, {2: 0.4}, seed=0) is None


def test_pairs_of_several_tasks_are_pooled_and_a_task_without_pairs_is_left_out():
    estimated = paired_difference([{0: 0.3, 1: 0.3}, {0: 0.9}], [{0: 0.2, 1: 0.2}, {5: 0.0}], seed=0)
    assert estimated is not None
    assert estimated.value == pytest.approx(0.1)


def test_the_probability_of_improvement_counts_pairs_and_half_of_the_ties():
    estimated = probability_of_improvement([1.0, 3.0], [0.0, 2.0, 3.0], seed=0)
    assert estimated.value == pytest.approx((1 + 2.5) / 6)
    mann_whitney = stats.mannwhitneyu([1.0, 3.0], [0.0, 2.0, 3.0]).statistic
    assert estimated.value == pytest.approx(mann_whitney / 6)


def test_the_probability_of_improvement_and_its_opposite_add_up_to_one():
    generator = np.random.default_rng(0)
    ours, theirs = generator.normal(size=8), generator.normal(size=11)
    there = probability_of_improvement(ours, theirs, seed=0)
    back = probability_of_improvement(theirs, ours, seed=0)
    assert there.value + back.value == pytest.approx(1)
    assert 0 <= there.low <= there.value <= there.high <= 1


def test_a_clean_sweep_of_few_runs_leaves_doubt():
    few = probability_of_improvement([0.5, 0.6, 0.7], [0.1, 0.2, 0.3], seed=0)
    many = probability_of_improvement(np.linspace(0.5, 0.6, 16), np.linspace(0.1, 0.2, 16), seed=0)
    assert (few.value, few.high) == (1, 1)
    # Three pairs all agree with probability p ** 3, which is 2.5 % at this p.
    assert few.low == pytest.approx(0.025 ** (1 / 3))
    assert many.low == pytest.approx(0.025 ** (1 / 16))
    swept = probability_of_improvement([0.1, 0.2, 0.3], [0.5, 0.6, 0.7], seed=0)
    assert (swept.low, swept.high) == (0, pytest.approx(1 - 0.025 ** (1 / 3)))


def test_the_probability_of_improvement_is_averaged_over_tasks():
    estimated = probability_of_improvement([[1.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]], seed=0)
    assert estimated.value == (1 + 0.5) / 2


def test_the_probability_of_improvement_covers_the_truth():
    generator = np.random.default_rng(0)
    truth = stats.norm.cdf(0.5 / math.sqrt(2))
    hits = 0
    for draw in range(300):
        estimated = probability_of_improvement(
            generator.normal(0.5, size=10), generator.normal(size=10), seed=draw, resamples=300
        )
        hits += estimated.low <= truth <= estimated.high
    assert 0.92 < hits / 300 < 0.995


def test_a_single_run_a_side_leaves_the_probability_open():
    estimated = probability_of_improvement([1.0], [0.0], seed=0)
    assert estimated.value == 1
    assert math.isnan(estimated.low)


def test_ends_are_kept_between_bounds():
    values = [0.97, 0.99, 1.0]
    free, kept = estimate(values, seed=0), estimate(values, seed=0, bounds=(0, 1))
    assert free.high > 1
    assert (kept.low, kept.high) == (free.low, 1)
    low = estimate([0.0, 0.01, 0.05], seed=0, bounds=(0, 1))
    assert low.low == 0
    assert paired_difference({1: 1.0, 2: 0.1}, {1: 0.0, 2: 0.0}, seed=0, bounds=(-1, 1)).high == 1


def test_an_interval_says_what_computed_it():
    assert estimate([0.1, 0.2, 0.3], seed=0).method == "Student's interval with the bootstrap's standard error"
    assert estimate(np.linspace(0, 1, 8), seed=0).method == "expanded percentile bootstrap"
    assert estimate([0.1], seed=0).method == ""
    assert probability_of_improvement([1.0, 2.0], [0.0, 0.5], seed=0).method.startswith("exact")
    assert probability_of_improvement([1.0, 0.2], [0.0, 0.5], seed=0).method.startswith("Student's")


def width(interval):
    return float(interval[1] - interval[0])


@pytest.mark.parametrize("runs", [2, 3, 5, 8])
def test_pooling_never_narrows_below_what_the_smallest_task_allows(runs):
    generator = np.random.default_rng(runs)
    small, large = generator.normal(0, 1, runs), generator.normal(0, 1, 40)
    mean = lambda values: values.mean(axis=-1)  # noqa: E731
    for tasks in ([small, small + 5], [small] * 6):
        pooled = width(bootstrap_interval(tasks, mean, seed=0))
        alone = width(bootstrap_interval(small, mean, seed=0))
        # The mean of so many equal tasks has the spread of one over the root of their number, and no less doubt.
        assert pooled > 0.8 * alone / math.sqrt(len(tasks))
    quantile = stats.t.ppf(0.975, runs - 1) * math.sqrt(runs / (runs - 1))
    everything = np.concatenate([small, large])
    spread = math.sqrt((small.var() * runs + large.var() * 40) / len(everything) ** 2)
    assert width(bootstrap_interval([small, large], mean, seed=0, resamples=8000)) > 1.7 * min(quantile, 3) * spread


def test_a_task_with_one_run_leaves_the_pooled_interval_open():
    assert np.isnan(bootstrap_interval([[1.0], [0.0, 1.0, 2.0]], interquartile_mean, seed=0)).all()
    assert math.isnan(probability_of_improvement([[1.0], [1.0, 2.0]], [[0.5], [0.1, 3.0]], seed=0).low)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: estimate("abc", seed=0), "values are 'abc': expected numbers, or a list of numbers for each task"),
        (lambda: estimate([], seed=0), r"values are \[\]: expected numbers"),
        (lambda: estimate([[], [1.0]], seed=0), r"values are \[\[\], \[1.0\]\]: expected at least one number of each"),
        (lambda: estimate([1.0, 2.0], seed=0, level=95), "level is 95: expected a fraction between 0 and 1"),
        (lambda: estimate([1.0, 2.0], seed=0, resamples=0.5), "resamples is 0.5: expected a whole number from 1 up"),
    ],
)
def test_what_is_no_number_is_refused(call, message):
    with pytest.raises(MapoptError, match=message):
        call()
