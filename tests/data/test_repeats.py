"""The order of samples where images are repeated: epochs of one length, and every image as often as its number says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapopt.data.order import sample_order

REPEATS = np.array([1.0, 1.0, 2.5, 1.3, 4.0, 1.0])
LENGTH = 11  # the sum, 10.8, rounded


def counts_of(seed: int, epoch: int) -> np.ndarray:
    return np.bincount(sample_order(seed, epoch * LENGTH, LENGTH, 6, repeats=REPEATS), minlength=6)


def test_every_image_comes_as_often_as_its_number_says_rounded_down_or_up() -> None:
    expected = REPEATS * LENGTH / REPEATS.sum()
    counts = np.stack([counts_of(3, epoch) for epoch in range(400)])
    assert (counts.sum(1) == LENGTH).all()
    assert ((counts == np.floor(expected)) | (counts == np.ceil(expected))).all()
    assert counts.mean(0) == pytest.approx(expected, abs=0.1)  # four standard errors of a fair coin
    assert len(np.unique(counts, axis=0)) > 3, "rounded anew in every epoch"


@given(st.integers(0, 50), st.integers(0, 200), st.lists(st.integers(1, 30), min_size=1, max_size=5))
def test_the_order_follows_from_seed_and_images_seen_however_it_is_cut(seed: int, start: int, cuts: list[int]) -> None:
    whole = sample_order(seed, start, sum(cuts), 6, repeats=REPEATS)
    firsts = start + np.cumsum([0, *cuts[:-1]])
    parts = [sample_order(seed, int(first), cut, 6, repeats=REPEATS) for first, cut in zip(firsts, cuts, strict=True)]
    assert np.array_equal(whole, np.concatenate(parts))


def test_nothing_repeated_is_the_plain_order_bit_for_bit() -> None:
    assert np.array_equal(sample_order(5, 3, 100, 17, repeats=np.ones(17)), sample_order(5, 3, 100, 17))


def test_another_seed_and_another_epoch_give_another_order() -> None:
    first, second, other = (
        sample_order(seed, start, 11, 6, repeats=REPEATS) for seed, start in ((0, 0), (0, 11), (1, 0))
    )
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other)
