"""IoUs of pairs have pycocotools' bits, and no overlapping pair of an image is forgotten."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask

from mapopt.errors import DataError
from mapopt.metrics import Detections, GroundTruth
from mapopt.metrics.layout import lay_out
from mapopt.metrics.matching import overlapping_pairs
from mapopt.metrics.overlaps import best_of_each, image_pairs, pair_iou


def with_sides(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def test_every_iou_has_pycocotools_bits(hard_scene) -> None:
    compared = 0
    for seed in range(40):
        truth, detections = hard_scene(seed)
        if not len(truth) or not len(detections):
            continue
        expected = mask.iou(with_sides(detections.boxes), with_sides(truth.boxes), truth.crowd.astype(int).tolist())
        row, column = np.indices(expected.shape).reshape(2, -1)
        got = pair_iou(detections.boxes[row], truth.boxes[column], truth.crowd[column])
        assert np.array_equal(got, np.nan_to_num(expected).ravel()), seed
        compared += int((got > 0).sum())

        same_image = detections.image_ids[:, None] == truth.image_ids
        pairs = image_pairs(truth, detections, minimum=0.1)
        expected_pairs = np.argwhere(same_image & (np.nan_to_num(expected) >= 0.1))
        assert sorted(zip(pairs.detection.tolist(), pairs.truth.tolist(), strict=True)) == [
            tuple(pair) for pair in expected_pairs.tolist()
        ]
        assert np.array_equal(pairs.iou, expected[pairs.detection, pairs.truth])
    assert compared > 1000


def test_pairs_of_a_layout_are_those_of_equal_image_and_category(hard_scene) -> None:
    pairs_seen = 0
    for seed in range(20):
        truth, lane = hard_scene(seed)
        layout = lay_out([truth], [lane], limit=10**6)
        position, target, iou = overlapping_pairs(layout, 0.5)
        rows = zip(layout.source[position].tolist(), truth.index.source[target].tolist(), iou.tolist(), strict=True)
        pairs = image_pairs(truth, lane, minimum=0.5)
        pairs = pairs.where(lane.labels[pairs.detection] == truth.labels[pairs.truth])
        expected = zip(pairs.detection.tolist(), pairs.truth.tolist(), pairs.iou.tolist(), strict=True)
        assert sorted(rows) == sorted(expected)
        pairs_seen += len(iou)
    assert pairs_seen > 100


def test_pairs_ignore_categories_but_not_unknown_images() -> None:
    truth = GroundTruth([[0, 0, 10, 10]], [1], [1], images=[1, 2])
    lane = Detections([[0, 0, 10, 10]] * 2, [0.5, 0.6], [7, 7], [1, 2])
    assert image_pairs(truth, lane, minimum=0.5).detection.tolist() == [0]
    with pytest.raises(DataError, match="detection 0 lies in image 3"):
        image_pairs(truth, Detections([[0, 0, 1, 1]], [0.5], [1], [3]), minimum=0.5)


def test_the_best_entry_of_every_key_is_chosen() -> None:
    keys, first, second = np.array([2, 1, 2, 1, 2]), np.array([1, 5, 3, 5, 3]), np.array([0, 1, 2, 3, 2])
    assert best_of_each(keys, first, second).tolist() == [3, 2]
    assert best_of_each(keys[:0], first[:0]).tolist() == []
