"""Confusions are counted by the rule that the documentation states, as a slow loop shows."""

from __future__ import annotations

import numpy as np
import pytest

from mapopt.errors import ConfigError, DataError
from mapopt.metrics import ConfusionMatrix, Detections, GroundTruth, confusion_matrix
from mapopt.metrics.overlaps import pair_iou


def slow_counts(truth: GroundTruth, lane: Detections, threshold: float, iou: float, limit: int) -> np.ndarray:
    """Goes image by image: names, keeps, counts."""
    categories = truth.categories.tolist()
    counts = np.zeros((len(categories) + 1, len(categories) + 1), int)
    for image in truth.images.tolist():
        real = [row for row in range(len(truth)) if truth.image_ids[row] == image]
        evaluated = []
        for category in categories:
            mine = [r for r in range(len(lane)) if lane.image_ids[r] == image and lane.labels[r] == category]
            evaluated += sorted(mine, key=lambda row: -lane.scores[row])[:limit]
        kept = [row for row in sorted(evaluated) if lane.scores[row] >= threshold]
        named: dict[int, list[tuple[float, float, int]]] = {row: [] for row in real}
        for detection in kept:
            overlaps = []
            for row in real:
                overlap = pair_iou(lane.boxes[[detection]], truth.boxes[[row]])[0]
                if not truth.crowd[row] and overlap >= iou:
                    overlaps.append((overlap, -row))
            if overlaps:
                overlap, row = max(overlaps)
                named[-row].append((overlap, lane.scores[detection], -detection))
        taken = {row: -max(rivals)[2] for row, rivals in named.items() if rivals}
        for row in real:
            if not truth.crowd[row]:
                named_as = categories.index(lane.labels[taken[row]]) if row in taken else -1
                counts[categories.index(truth.labels[row]), named_as] += 1
        for detection in kept:
            inside = [
                row
                for row in real
                if truth.crowd[row]
                and truth.labels[row] == lane.labels[detection]
                and pair_iou(lane.boxes[[detection]], truth.boxes[[row]], np.array([True]))[0] >= iou
            ]
            if detection not in taken.values() and not inside:
                counts[-1, categories.index(lane.labels[detection])] += 1
    return counts


def check_sums(matrix: ConfusionMatrix, truth: GroundTruth, lane: Detections) -> None:
    wanted = [int(((truth.labels == category) & ~truth.crowd).sum()) for category in truth.categories]
    assert matrix.counts[:-1].sum(axis=1).tolist() == wanted
    shown = [int((matrix.counted & (lane.labels == category)).sum()) for category in truth.categories]
    assert matrix.counts[:, :-1].sum(axis=0).tolist() == shown
    assert matrix.counts[-1, -1] == 0
    matched = np.flatnonzero(matrix.truth >= 0)
    assert len(np.unique(matrix.truth[matched])) == len(matched) == matrix.counts[:-1, :-1].sum()


@pytest.mark.parametrize(("threshold", "iou", "limit"), [(-np.inf, 0.5, 100), (0.25, 0.3, 100), (0.0, 0.7, 4)])
def test_a_slow_loop_counts_the_same(threshold, iou, limit, confused_scene) -> None:
    confused = 0
    for seed in range(30):
        truth, lane = confused_scene(seed)
        matrix = confusion_matrix(truth, lane, score_threshold=threshold, iou=iou, limit=limit)
        assert np.array_equal(matrix.counts, slow_counts(truth, lane, threshold, iou, limit)), seed
        check_sums(matrix, truth, lane)
        inner = matrix.counts[:-1, :-1]
        confused += int(inner.sum() - np.trace(inner))
    assert confused > 10


def test_a_cat_found_as_a_dog_is_one_confusion() -> None:
    truth = GroundTruth([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], [3, 3, 5], [1, 1, 1])
    boxes = [[0, 0, 10, 10], [20, 0, 30, 9], [80, 0, 90, 10], [0, 0, 10, 9]]
    lane = Detections(boxes, [0.9, 0.8, 0.7, 0.6], [3, 5, 5, 3], [1] * 4)
    matrix = confusion_matrix(truth, lane)
    assert matrix.counts.tolist() == [[1, 1, 0], [0, 0, 1], [1, 1, 0]]
    assert matrix.truth.tolist() == [0, 1, -1, -1]
    assert matrix.normalized().tolist() == [[0.5, 0.5, 0], [0, 0, 1], [0.5, 0.5, 0]]
    assert matrix.normalized("predicted")[:, 0].tolist() == [0.5, 0, 0.5]
    assert confusion_matrix(truth, lane, score_threshold=0.85).counts.tolist() == [[1, 0, 1], [0, 0, 1], [0, 0, 0]]


def test_the_larger_iou_decides_and_the_score_among_equals() -> None:
    truth = GroundTruth([[0, 0, 10, 10]], [1], [1], categories=[1, 2])
    for scores, labels, column in (([0.5, 0.9], [1, 2], 0), ([0.9, 0.5], [1, 2], 0)):
        lane = Detections([[0, 0, 10, 10], [0, 0, 10, 9]], scores, labels, [1, 1])
        assert confusion_matrix(truth, lane).counts[0].argmax() == column
    equal = Detections([[0, 0, 10, 9], [0, 1, 10, 10]], [0.5, 0.9], [1, 2], [1, 1])
    assert confusion_matrix(truth, equal).counts[0].argmax() == 1


def test_of_two_equal_ground_truths_the_earlier_is_named() -> None:
    truth = GroundTruth([[0, 0, 10, 10]] * 2, [2, 1], [1, 1])
    matrix = confusion_matrix(truth, Detections([[0, 0, 10, 10]] * 2, [0.9, 0.8], [1, 1], [1, 1]))
    assert matrix.truth.tolist() == [0, -1]
    assert matrix.counts.tolist() == [[0, 0, 1], [1, 0, 0], [1, 0, 0]]


def test_a_detection_in_a_crowd_of_its_category_counts_neither_way() -> None:
    truth = GroundTruth([[0, 0, 100, 100]], [1], [1], crowd=[True], categories=[1, 2])
    lane = Detections([[0, 0, 10, 10], [50, 50, 60, 60]], [0.9, 0.9], [1, 2], [1, 1])
    matrix = confusion_matrix(truth, lane)
    assert matrix.counts.tolist() == [[0, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert matrix.counted.tolist() == [False, True]


def test_empty_inputs_give_empty_counts() -> None:
    truth, nothing = GroundTruth([[0, 0, 1, 1]], [4], [1]), Detections([], [], [], [])
    assert confusion_matrix(truth, nothing).counts.tolist() == [[0, 1], [0, 0]]
    blank = GroundTruth([], [], [], images=[1])
    unknown = confusion_matrix(blank, Detections([[0, 0, 1, 1]], [0.5], [4], [1]))
    assert (unknown.counts.tolist(), unknown.counted.tolist()) == ([[0]], [False])


def test_what_makes_no_sense_is_refused() -> None:
    truth, lane = GroundTruth([[0, 0, 10, 10]], [1], [1]), Detections([[0, 0, 10, 10]], [0.5], [1], [1])
    with pytest.raises(ConfigError, match=r"iou is 0: expected a number in \(0, 1\]"):
        confusion_matrix(truth, lane, iou=0)
    with pytest.raises(ConfigError, match="score_threshold is NaN: expected a score"):
        confusion_matrix(truth, lane, score_threshold=float("nan"))
    with pytest.raises(ConfigError, match="limit is 0: expected a whole number from 1 up"):
        confusion_matrix(truth, lane, limit=0)
    with pytest.raises(ConfigError, match="unknown normalization 'row'"):
        confusion_matrix(truth, lane).normalized("row")
    with pytest.raises(DataError, match="detection 0 lies in image 2"):
        confusion_matrix(truth, Detections([[0, 0, 10, 10]], [0.5], [1], [2]))
