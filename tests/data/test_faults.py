"""Faults are as many and of the kinds that were asked for, and everything else stays as it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mapopt.data import Annotations, ShapesConfig, make_shapes
from mapopt.data.faults import FAULTS, mislabel
from mapopt.errors import ConfigError, DataError

TRUE = make_shapes(ShapesConfig(), seed=3, count=60).annotations


def rows(annotations: Annotations) -> set[tuple[float, ...]]:
    """Returns every object as a tuple of numbers."""
    columns = np.column_stack([annotations.boxes, annotations.labels, annotations.images, annotations.area])
    return {tuple(row) for row in columns.tolist()}


def iou(first: np.ndarray, other: np.ndarray) -> float:
    width = max(0.0, min(first[2], other[2]) - max(first[0], other[0]))
    height = max(0.0, min(first[3], other[3]) - max(first[1], other[1]))
    both = width * height
    return both / ((first[2] - first[0]) * (first[3] - first[1]) + (other[2] - other[0]) * (other[3] - other[1]) - both)


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.37, 1.0])
def test_the_number_of_faults_is_exact_and_divided_evenly(fraction: float) -> None:
    noted, counts = mislabel(TRUE, fraction=fraction, seed=0)
    total = len(TRUE.ids)
    assert sum(counts.values()) == round(fraction * total)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len(noted.ids) == total - counts["missing"] + counts["spurious"]
    assert len(rows(TRUE) - rows(noted)) == counts["missing"] + counts["shifted"] + counts["swapped"]
    assert len(rows(noted) - rows(TRUE)) == counts["shifted"] + counts["swapped"] + counts["spurious"]


def test_a_seed_gives_the_same_faults_and_another_seed_others() -> None:
    first, again, other = (mislabel(TRUE, fraction=0.4, seed=seed)[0] for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_swapped_boxes_have_another_class_and_the_same_place() -> None:
    noted, counts = mislabel(TRUE, fraction=0.5, seed=0, faults=["swapped"])
    assert (noted.labels != TRUE.labels).sum() == counts["swapped"] == round(0.5 * len(TRUE.ids))
    assert np.array_equal(noted.boxes, TRUE.boxes)
    assert set(noted.labels.tolist()) <= {0, 1, 2}


def test_shifted_boxes_lie_beside_their_object_and_inside_the_image() -> None:
    # Far from any edge, where nothing is cut off.
    middle = np.array([100.0, 100, 140, 130])
    true = replace(TRUE, boxes=np.tile(middle, (len(TRUE.ids), 1)), widths=np.full(60, 400), heights=np.full(60, 400))
    noted, _ = mislabel(true, fraction=1.0, seed=0, faults=["shifted"])
    overlaps = [iou(box, middle) for box in noted.boxes]
    assert min(overlaps) > 0.14
    assert max(overlaps) < 0.4
    sides = noted.boxes[:, 2:] - noted.boxes[:, :2]
    assert np.allclose(sides, [40, 30])
    cut, _ = mislabel(TRUE, fraction=1.0, seed=0, faults=["shifted"])
    assert cut.boxes.min() >= 0
    assert cut.boxes.max() <= 48
    assert np.allclose(cut.area, (cut.boxes[:, 2:] - cut.boxes[:, :2]).prod(axis=1))


def test_spurious_boxes_look_like_objects_and_hide_where_little_else_is() -> None:
    noted, counts = mislabel(TRUE, fraction=0.1, seed=0, faults=["spurious"])
    added = np.arange(len(TRUE.ids), len(noted.ids))
    assert len(added) == counts["spurious"]
    assert noted.keep(np.arange(len(TRUE.ids))) == TRUE
    sides, true_sides = (boxes[:, 2:] - boxes[:, :2] for boxes in (noted.boxes[added], TRUE.boxes))
    assert all(np.isclose(true_sides, side).all(axis=1).any() for side in sides)
    for row in added:
        others = TRUE.boxes[TRUE.images == noted.images[row]]
        assert all(iou(noted.boxes[row], other) < 0.1 for other in others)


def test_crowds_stay_as_they_are() -> None:
    crowd = np.arange(len(TRUE.ids)) % 2 == 0
    noted, counts = mislabel(replace(TRUE, crowd=crowd), fraction=1.0, seed=0, faults=["missing"])
    assert counts == {"missing": int((~crowd).sum())}
    assert noted == replace(TRUE, crowd=crowd).keep(crowd)


def test_what_cannot_be_done_is_said() -> None:
    with pytest.raises(ConfigError, match="unknown fault of annotations 'mising': did you mean 'missing'"):
        mislabel(TRUE, fraction=0.1, seed=0, faults=["mising"])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="each once"):
        mislabel(TRUE, fraction=0.1, seed=0, faults=["missing", "missing"])
    with pytest.raises(ConfigError, match="expected 0 to 1"):
        mislabel(TRUE, fraction=1.1, seed=0)
    single = make_shapes(ShapesConfig(classes=1), seed=3, count=4).annotations
    with pytest.raises(DataError, match="Leave 'swapped' out"):
        mislabel(single, fraction=0.1, seed=0)
    assert mislabel(single, fraction=0.5, seed=0, faults=[fault for fault in FAULTS if fault != "swapped"])[0] != single
