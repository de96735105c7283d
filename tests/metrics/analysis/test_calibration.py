"""Calibration errors are what their definitions say, bin by bin."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from mapopt.errors import ConfigError, DataError
from mapopt.metrics import Detections, GroundTruth, match, measure_calibration
from mapopt.metrics.overlaps import pair_iou


def squeezed(lane: Detections) -> Detections:
    """The same detections with scores in [0, 1], both ends included."""
    scores = np.clip((lane.scores + 0.6) / 1.2, 0, 1)
    return Detections(lane.boxes, scores, lane.labels, lane.image_ids)


@pytest.mark.parametrize("bins", [1, 10, 25])
def test_every_bin_is_as_a_loop_fills_it(bins, hard_scene) -> None:
    filled = 0
    for seed in range(40):
        truth, lane = hard_scene(seed)
        lane = squeezed(lane)
        calibration = measure_calibration(truth, lane, bins=bins)
        table = match(truth, lane, iou_thresholds=[0.5])
        edges = np.linspace(0, 1, bins + 1)
        aware = []
        for number, category in enumerate(truth.categories.tolist()):
            diagram = calibration.per_category[number]
            wanted = (table.counted & (truth.labels == category)).any()
            mine = np.flatnonzero((lane.labels == category) & ~table.ignored[:, 0])
            if not wanted or not len(mine):
                assert np.isnan([diagram.expected_calibration_error, diagram.localization_aware_error]).all()
                assert not diagram.counts.any()
                continue
            ece = laece = 0.0
            for place, (low, high) in enumerate(pairwise(edges)):
                last = place == bins - 1
                inside = [r for r in mine if low <= lane.scores[r] and (lane.scores[r] < high or last)]
                assert diagram.counts[place] == len(inside)
                if not inside:
                    assert np.isnan([diagram.score[place], diagram.precision[place], diagram.quality[place]]).all()
                    continue
                right = [row for row in inside if table.correct[row, 0]]
                overlaps = [pair_iou(lane.boxes[[r]], truth.boxes[[table.truth[r, 0]]])[0] for r in right]
                score, precision = lane.scores[inside].mean(), len(right) / len(inside)
                quality = precision * np.mean(overlaps) if right else 0.0
                got = (diagram.score[place], diagram.precision[place], diagram.quality[place])
                assert got == pytest.approx((score, precision, quality))
                ece += len(inside) / len(mine) * abs(score - precision)
                laece += len(inside) / len(mine) * abs(score - quality)
                filled += 1
            assert calibration.category_expected_calibration_error[number] == pytest.approx(ece)
            assert calibration.category_localization_aware_error[number] == pytest.approx(laece)
            aware.append(laece)
        assert calibration.localization_aware_error == pytest.approx(np.mean(aware) if aware else np.nan, nan_ok=True)
        assert calibration.pooled.counts.tolist() == sum(part.counts for part in calibration.per_category).tolist()
    assert filled > 30


def test_scores_that_tell_the_truth_have_no_error() -> None:
    corner = 50.0 * np.arange(10)
    boxes = np.stack([corner, corner * 0, corner + 20, corner * 0 + 20], axis=1)
    truth = GroundTruth(boxes[:7], [1] * 7, [1] * 7)
    calibration = measure_calibration(truth, Detections(boxes, [0.7] * 10, [1] * 10, [1] * 10))
    assert calibration.expected_calibration_error == pytest.approx(0)
    boastful = measure_calibration(truth, Detections(boxes, [1.0] * 10, [1] * 10, [1] * 10))
    assert boastful.expected_calibration_error == pytest.approx(0.3)
    assert boastful.pooled.counts[-1] == 10


def test_bins_are_weighed_by_their_detections_and_categories_pooled() -> None:
    truth = GroundTruth([[0, 0, 10, 10], [20, 0, 30, 10]], [1, 2], [1, 1], categories=[1, 2, 3])
    boxes = [[0, 0, 10, 10], [80, 0, 90, 10], [20, 0, 30, 10], [0, 0, 10, 10]]
    lane = Detections(boxes, [0.9, 0.1, 0.9, 0.9], [1, 1, 2, 3], [1] * 4)
    calibration = measure_calibration(truth, lane, bins=10)
    assert calibration.category_expected_calibration_error == pytest.approx([0.1, 0.1, np.nan], nan_ok=True)
    assert calibration.pooled.counts.tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0, 2]
    assert calibration.expected_calibration_error == pytest.approx(0.1)


def test_nothing_to_compare_is_undefined() -> None:
    truth = GroundTruth([[0, 0, 10, 10]], [1], [1])
    for calibration in (
        measure_calibration(truth, Detections([], [], [], [])),
        measure_calibration(GroundTruth([], [], []), Detections([], [], [], [])),
    ):
        assert np.isnan([calibration.expected_calibration_error, calibration.localization_aware_error]).all()


def test_what_makes_no_sense_is_refused() -> None:
    truth, lane = GroundTruth([[0, 0, 10, 10]], [1], [1]), Detections([[0, 0, 10, 10]], [2.5], [1], [1])
    with pytest.raises(DataError, match=r"score of detection 0 is 2.5: calibration needs probabilities in \[0, 1\]"):
        measure_calibration(truth, lane)
    with pytest.raises(ConfigError, match="bins is 0: expected a whole number from 1 up"):
        measure_calibration(truth, lane, bins=0)
