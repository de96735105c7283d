"""Intervals cover what they say, and exact small cases come out exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

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
