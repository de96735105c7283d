"""What AP would be with perfect boxes or a perfect ranking of the same detections."""

from __future__ import annotations

import numpy as np
import pytest

from mapopt.errors import ConfigError
from mapopt.metrics import (
    Detections,
    GroundTruth,
    evaluate,
    measure_limits,
    with_perfect_boxes,
    with_perfect_ranking,
)
from mapopt.metrics.overlaps import pair_iou


def _scene(seed: int) -> tuple[GroundTruth, Detections]:
    generator = np.random.default_rng(seed)
    corner = generator.uniform(0, 60, (40, 2))
    boxes = np.concatenate([corner, corner + generator.uniform(8, 30, (40, 2))], axis=1)
    labels, images = generator.integers(0, 3, 40), generator.integers(0, 5, 40)
    truth = GroundTruth(boxes, labels, images, crowd=np.arange(40) == 7, images=range(5), categories=range(3))
    rows = generator.integers(0, 40, 150)
    moved = boxes[rows] + generator.normal(0, 4, (150, 4))
    moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
    swapped = np.where(generator.random(150) < 0.2, generator.integers(0, 3, 150), labels[rows])
    return truth, Detections(moved, generator.random(150), swapped, images[rows])


@pytest.mark.parametrize("seed", range(5))
def test_perfect_boxes_are_those_of_the_nearest_object_of_the_category(seed: int) -> None:
    truth, detections = _scene(seed)
    perfect = with_perfect_boxes(truth, detections)
    for row in range(len(detections)):
        mine = (truth.image_ids == detections.image_ids[row]) & (truth.labels == detections.labels[row]) & ~truth.crowd
        overlaps = pair_iou(np.repeat(detections.boxes[[row]], mine.sum(), axis=0), truth.boxes[mine])
        near = len(overlaps) > 0 and overlaps.max() >= 0.3
        expected = truth.boxes[mine][overlaps.argmax()] if near else detections.boxes[row]
        np.testing.assert_array_equal(perfect.boxes[row], expected)
    np.testing.assert_array_equal(perfect.scores, detections.scores)


@pytest.mark.parametrize("seed", range(5))
def test_no_other_scores_of_the_same_boxes_beat_the_perfect_ranking(seed: int) -> None:
    truth, detections = _scene(seed)
    best = measure_limits(truth, detections).perfect_ranking
    generator = np.random.default_rng(seed)
    own = with_perfect_ranking(truth, detections)
    for scores in (detections.scores, own.scores + generator.normal(0, 0.05, 150), generator.random(150)):
        other = Detections(detections.boxes, scores, detections.labels, detections.image_ids)
        assert evaluate(truth, other).ap < best
    assert len(np.unique(own.scores[own.scores < 0])) == (own.scores < 0).sum(), "the others keep an order"


def test_objects_that_no_box_is_near_stay_missed() -> None:
    truth = GroundTruth([[0, 0, 10, 10], [50, 50, 60, 60]], [1, 1], [1, 1])
    detections = Detections([[0, 0, 10, 6]], [0.9], [1], [1])
    limits = measure_limits(truth, detections)
    assert limits.perfect_boxes == pytest.approx(51 / 101)
    assert limits.perfect_ranking == pytest.approx(limits.ap)
    assert limits.limit == "box"


def test_where_boxes_fit_and_scores_do_not_the_class_is_the_limit() -> None:
    truth = GroundTruth([[0, 0, 10, 10]], [1], [1])
    detections = Detections([[0, 0, 10, 10], [30, 30, 40, 40]], [0.1, 0.9], [1, 1], [1, 1])
    limits = measure_limits(truth, detections)
    assert (limits.ap, limits.perfect_boxes, limits.perfect_ranking) == pytest.approx((0.5, 0.5, 1.0))
    assert limits.limit == "class"


def test_without_an_object_nothing_is_defined() -> None:
    truth = GroundTruth(np.zeros((0, 4)), [], [], images=[1], categories=[1])
    limits = measure_limits(truth, Detections([[0, 0, 1, 1]], [0.5], [1], [1]))
    assert np.isnan([limits.ap, limits.perfect_boxes, limits.perfect_ranking]).all()


def test_near_is_an_iou() -> None:
    truth = GroundTruth([[0, 0, 10, 10]], [1], [1])
    with pytest.raises(ConfigError, match="near is 0: expected an IoU above 0, up to 1"):
        measure_limits(truth, Detections([[0, 0, 1, 1]], [0.5], [1], [1]), near=0)
