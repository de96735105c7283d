"""One policy for boxes that cannot be right."""

from __future__ import annotations

import numpy as np
import pytest

from mapopt.data import settle_boxes
from mapopt.errors import ConfigError, DataError

BOXES = np.array([[1.0, 1, 5, 5], [-4, 1, 5, 5], [3, 3, 3, 9], [12, 1, 15, 5], [8, 8, 10.3, 10]])
SIZE = np.full(5, 10)


def settle(invalid: str, boxes: np.ndarray = BOXES) -> tuple[np.ndarray, np.ndarray]:
    return settle_boxes(boxes, SIZE, SIZE, invalid=invalid, name=lambda i: f"box number {i}")  # type: ignore[arg-type]


def test_an_error_names_the_first_wrong_box_counts_the_others_and_says_how_to_go_on():
    with pytest.raises(DataError, match=r"^box number 1: .*\(-4, 1, 5, 5\).*reaches out.* 2 more .*'clip'.*'drop'"):
        settle("error")
    with pytest.raises(DataError, match=r"^box number 0: .*has no area\. Correct"):
        settle("error", BOXES[[2, 0, 0, 0, 0]])
    with pytest.raises(DataError, match="One more box is wrong"):
        settle("error", BOXES[[2, 2, 0, 0, 0]])


def test_clipping_cuts_what_reaches_out_and_leaves_out_what_has_no_area_then():
    boxes, keep = settle("clip")
    assert keep.tolist() == [True, True, False, False, True]
    assert boxes[keep].tolist() == [[1, 1, 5, 5], [0, 1, 5, 5], [8, 8, 10.3, 10]]


def test_dropping_leaves_out_every_wrong_box_and_changes_none():
    boxes, keep = settle("drop")
    assert keep.tolist() == [True, False, False, False, True]
    assert (boxes == BOXES).all()


@pytest.mark.parametrize("invalid", ["error", "clip", "drop"])
def test_good_boxes_pass_every_policy_unchanged(invalid):
    boxes, keep = settle(invalid, BOXES[[0, 4, 0, 4, 0]])
    assert keep.all()
    assert (boxes == BOXES[[0, 4, 0, 4, 0]]).all()


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_number_that_is_not_finite_can_only_be_dropped(number):
    boxes = BOXES[[0, 4, 0, 4, 0]].copy()
    boxes[3, 2] = number
    for invalid in ("error", "clip"):
        with pytest.raises(DataError, match=r"box number 3: .* not finite.*--invalid drop"):
            settle(invalid, boxes)
    settled, keep = settle("drop", boxes)
    assert keep.tolist() == [True, True, True, False, True]
    assert (settled[keep] == boxes[keep]).all()


def test_an_unknown_policy_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match="did you mean 'clip'"):
        settle("clop")
