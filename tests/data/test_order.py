"""The order of samples is a function of seed and position, and each epoch sees every image once."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mapopt.data.order import sample_order, sample_seed, sample_uniforms


@given(st.integers(0, 2**31), st.integers(0, 1000), st.integers(1, 40), st.integers(1, 50))
def test_an_order_can_be_taken_up_anywhere(seed: int, start: int, count: int, size: int) -> None:
    whole = sample_order(seed, 0, start + count, size)
    assert np.array_equal(whole[start:], sample_order(seed, start, count, size))


def test_every_epoch_sees_every_image_once_and_in_another_order() -> None:
    epochs = sample_order(3, 0, 60, 20).reshape(3, 20)
    assert (np.sort(epochs) == np.arange(20)).all()
    assert not np.array_equal(epochs[0], epochs[1])
    assert not np.array_equal(epochs[0], sample_order(4, 0, 20, 20))


def test_images_are_drawn_by_their_probabilities_and_the_order_can_be_taken_up_anywhere() -> None:
    probabilities = np.array([0.5, 0.0, 0.3, 0.2])
    drawn = sample_order(1, 0, 6000, 4, probabilities=probabilities)
    counts = np.bincount(drawn, minlength=4)
    assert counts[1] == 0
    assert stats.chisquare(counts[[0, 2, 3]], 6000 * probabilities[[0, 2, 3]]).pvalue > 1e-3
    assert np.array_equal(drawn[700:720], sample_order(1, 700, 20, 4, probabilities=probabilities))


def test_uniforms_are_uniform_and_independent_of_how_many_are_asked() -> None:
    numbers = sample_uniforms(9, 0, 4000, 3)
    assert np.array_equal(numbers[100:200, :2], sample_uniforms(9, 100, 100, 2))
    assert stats.kstest(numbers.ravel(), "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(numbers.T)[0, 1]) < 0.05
    assert not np.array_equal(numbers, sample_uniforms(9, 0, 4000, 3, stream=1))


def test_seeds_of_steps_differ() -> None:
    assert len({sample_seed(seed, start) for seed in range(20) for start in range(20)}) == 400


def test_orders_and_numbers_stay_what_they_were() -> None:
    # Runs are compared over versions: whatever changes these numbers changes every run.
    probabilities = np.array([0.1, 0.4, 0.1, 0.2, 0.2])
    drawn = sample_order(7, 3, 16, 5, probabilities=probabilities)
    assert drawn.tolist() == [2, 1, 3, 4, 4, 0, 1, 3, 1, 4, 4, 0, 3, 2, 1, 1]
    assert sample_order(7, 3, 12, 5).tolist() == [1, 3, 3, 0, 2, 1, 4, 0, 2, 1, 3, 4]
    assert sample_uniforms(7, 3, 2, 3).tolist() == [
        [0.5813620586004885, 0.6785771970012126, 0.18702895357737148],
        [0.9717157859695409, 0.4053640777934966, 0.8687267906323812],
    ]
    assert sample_uniforms(7, 3, 1, 2, stream=1).tolist() == [[0.8821591255708113, 0.42780908698146525]]
    assert sample_seed(7, 3) == 5236443900961009
