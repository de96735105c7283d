"""Labels are moved apart, each as little as it must."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from mapopt.drawing.places import spread_apart


def test_names_are_moved_apart_no_further_than_they_must():
    np.testing.assert_allclose(spread_apart([0.5, 0.1, 0.51], 0.1), [0.455, 0.1, 0.555])
    np.testing.assert_allclose(spread_apart([0.9, 0.2], 0.1), [0.9, 0.2])


def test_places_are_moved_apart_and_stay_inside() -> None:
    moved = spread_apart([0.99, 0.98, 0.97, 0.2, 0.0, 0.01], 0.05, low=0.0, high=1.0)
    assert sorted(range(6), key=lambda i: moved[i]) == [4, 5, 3, 2, 1, 0]
    ordered = sorted(moved)
    assert min(high - low for low, high in pairwise(ordered)) >= 0.05 - 1e-12
    assert ordered[0] >= 0
    assert ordered[-1] <= 1
    assert moved[3] == 0.2
