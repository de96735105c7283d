"""Curves give the evaluator's AP, and their points are what a score threshold really does."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mapopt.errors import ConfigError, DataError
from mapopt.metrics import AREA_RANGES, Detections, GroundTruth, evaluate, match, precision_recall


def mirrored(truth: GroundTruth, lane: Detections) -> tuple[GroundTruth, Detections]:
    """Numbers the images backwards: equal scores of different images change places, nothing else."""
    return (
        GroundTruth(
            truth.boxes,
            truth.labels,
            -truth.image_ids,
            crowd=truth.crowd,
            area=truth.area,
            images=-truth.images,
            categories=truth.categories,
        ),
        Detections(lane.boxes, lane.scores, lane.labels, -lane.image_ids),
    )


def as_coco(value: float) -> float:
    """Undefined numbers are -1 in reports."""
    return -1.0 if math.isnan(value) else value


def kept(lane: Detections, mask: np.ndarray) -> Detections:
    return Detections(lane.boxes[mask], lane.scores[mask], lane.labels[mask], lane.image_ids[mask])


def test_average_precision_has_the_evaluators_bits_at_every_threshold_and_area(hard_scene) -> None:
    for seed in range(60):
        truth, lane = hard_scene(seed)
        report = evaluate(truth, lane)
        for area, limits in enumerate(AREA_RANGES.values()):
            table = match(truth, lane, area_range=limits)
            for number, iou in enumerate(report.iou_thresholds.tolist()):
                curves = precision_recall(truth, lane, iou=iou, table=table)
                undefined = np.where(np.isnan(curves.interpolated), -1, curves.interpolated)  # as pycocotools has it
                assert np.array_equal(undefined, report.precision[number, :, :, area, -1].T), (seed, iou)
                name = report.area_names[area]
                assert as_coco(curves.average_precision) == report.average_precision(iou=iou, area=name)
        alone = precision_recall(truth, lane, iou=0.5)
        assert [as_coco(ap) for ap in alone.category_average_precision] == list(report.per_category50.values())
        assert np.allclose(as_coco(alone.mean_interpolated.mean()), report.ap50, atol=1e-12)


def test_a_score_threshold_does_what_the_curve_says(hard_scene) -> None:
    for seed in range(40):
        truth, lane = hard_scene(seed)
        levels = np.concatenate([np.unique(lane.scores)[::7], [-np.inf, 0.1, np.inf]])
        curves = precision_recall(truth, lane)
        at_levels = curves.at(levels)
        for place, level in enumerate(levels):
            table = match(truth, kept(lane, lane.scores >= level), iou_thresholds=[0.5])
            labels = lane.labels[lane.scores >= level]
            for number, category in enumerate(truth.categories.tolist()):
                mine = labels == category
                right, wrong = int(table.correct[mine].sum()), int(table.wrong[mine].sum())
                total = int((table.counted & (truth.labels == category)).sum())
                got = (at_levels.precision[number, place], at_levels.recall[number, place], at_levels.f1[number, place])
                if not total:
                    assert np.isnan(got).all()
                else:
                    precision = right / (right + wrong) if right + wrong else math.nan
                    expected = (precision, right / total, 2 * right / (right + wrong + total))
                    assert np.array_equal(got, expected, equal_nan=True)
        for number, category in enumerate(truth.categories.tolist()):
            curve = curves.threshold_curve(category)
            assert (np.diff(curve.scores) < 0).all()
            same = curves.at(curve.scores)
            assert np.allclose(curve.precision, same.precision[number], atol=1e-12)
            assert np.array_equal(curve.recall, same.recall[number])
            assert np.allclose(curve.f1, same.f1[number], atol=1e-12)
        defined = at_levels.f1[~np.isnan(at_levels.f1[:, 0])]
        assert np.allclose(at_levels.mean_f1, defined.mean(axis=0) if len(defined) else math.nan, equal_nan=True)


def test_thresholds_do_not_depend_on_the_order_of_equal_scores(hard_scene) -> None:
    moved = 0
    for seed in range(60):
        truth, lane = hard_scene(seed)
        first, second = precision_recall(truth, lane), precision_recall(*mirrored(truth, lane))
        for category in truth.categories.tolist():
            curve, other = first.threshold_curve(category), second.threshold_curve(category)
            for name in ("scores", "precision", "recall", "f1"):
                assert np.array_equal(getattr(curve, name), getattr(other, name))
            moved += not np.array_equal(first.curve(category).recall, second.curve(category).recall)
    assert moved > 10


def test_every_detection_that_counts_is_a_point() -> None:
    truth = GroundTruth(
        [[0, 0, 10, 10], [20, 0, 30, 10], [50, 50, 90, 90]], [1, 1, 1], [1, 1, 1], crowd=[False, False, True]
    )
    boxes = [[0, 0, 10, 10], [0, 0, 10, 10], [60, 60, 70, 70], [20, 0, 30, 10]]
    curve = precision_recall(truth, Detections(boxes, [0.9, 0.8, 0.7, 0.6], [1] * 4, [1] * 4)).curve(1)
    assert curve.scores.tolist() == [0.9, 0.8, 0.6]
    assert np.allclose(curve.precision, [1, 1 / 2, 2 / 3], atol=1e-12)
    assert curve.recall.tolist() == [0.5, 0.5, 1.0]
    assert np.allclose(curve.f1, [2 / 3, 1 / 2, 4 / 5], atol=1e-12)


def test_the_pooled_curve_ranks_all_categories_together() -> None:
    truth = GroundTruth([[0, 0, 10, 10], [20, 0, 30, 10]], [1, 2], [1, 1], categories=[1, 2, 3])
    boxes = [[0, 0, 10, 10], [70, 70, 80, 80], [20, 0, 30, 10], [0, 0, 10, 10]]
    curves = precision_recall(truth, Detections(boxes, [0.9, 0.8, 0.7, 0.95], [1, 2, 2, 3], [1] * 4))
    pooled = curves.pooled.curve(-1)  # category 3 has no ground truth and counts nowhere
    assert pooled.scores.tolist() == [0.9, 0.8, 0.7]
    assert np.allclose(pooled.precision, [1, 1 / 2, 2 / 3], atol=1e-12)
    assert pooled.recall.tolist() == [0.5, 0.5, 1.0]


def test_nothing_found_is_0_and_nothing_to_find_undefined() -> None:
    truth = GroundTruth([[0, 0, 10, 10]], [1], [1], categories=[1, 2])
    curves = precision_recall(truth, Detections([], [], [], []))
    assert curves.category_average_precision.tolist() == pytest.approx([0, math.nan], nan_ok=True)
    assert curves.average_precision == 0
    assert np.array_equal(curves.at([0.5]).f1, [[0], [math.nan]], equal_nan=True)
    assert len(curves.curve(1).scores) == len(curves.threshold_curve(2).scores) == len(curves.pooled.curve(-1).f1) == 0
    nothing = GroundTruth([], [], [], images=[1], categories=[1])
    curves = precision_recall(nothing, Detections([[0, 0, 1, 1]], [0.5], [1], [1]))
    assert math.isnan(curves.average_precision)
    assert np.isnan(curves.at([0.5]).mean_f1).all()
    assert len(curves.curve(1).scores) == len(curves.pooled.curve(-1).scores) == 0
    assert math.isnan(precision_recall(GroundTruth([], [], []), Detections([], [], [], [])).average_precision)


def test_what_makes_no_sense_is_refused() -> None:
    truth, lane = GroundTruth([[0, 0, 10, 10]], [1], [1]), Detections([[0, 0, 10, 10]], [0.5], [1], [1])
    table = match(truth, lane)
    with pytest.raises(ConfigError, match=r"no matches at IoU 0.52: the table has \[0.5, .*name one of them"):
        precision_recall(truth, lane, iou=0.52, table=table)
    with pytest.raises(ConfigError, match="1 detections and 1 ground truths, but 0 and 1 were given: give the table"):
        precision_recall(truth, Detections([], [], [], []), table=table)
    with pytest.raises(ConfigError, match=r"iou_thresholds are \[0.0\]: expected at least one number in \(0, 1\]"):
        precision_recall(truth, lane, iou=0.0)
    with pytest.raises(ConfigError, match=r"category 4 is not evaluated: the ground truth has \[1\]"):
        precision_recall(truth, lane).curve(4)
    with pytest.raises(ConfigError, match=r"thresholds have shape \(1,\): expected a list of scores without NaN"):
        precision_recall(truth, lane).at([np.nan])
    with pytest.raises(DataError, match="detection 0 lies in image 2"):
        precision_recall(truth, Detections([[0, 0, 1, 1]], [0.5], [1], [2]))


def test_a_threshold_of_the_table_may_be_named_in_decimals() -> None:
    truth, lane = GroundTruth([[0, 0, 10, 10]], [1], [1]), Detections([[0, 0, 10, 10]], [0.5], [1], [1])
    table = match(truth, lane)
    decimals = [hundredths / 100 for hundredths in range(50, 100, 5)]
    assert decimals != table.iou_thresholds.tolist()
    named = [precision_recall(truth, lane, iou=iou, table=table).iou for iou in decimals]
    assert named == table.iou_thresholds.tolist()
