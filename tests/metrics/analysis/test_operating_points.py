"""Score thresholds are the best of all there are, as trying every one of them shows."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask

from mapopt.errors import ConfigError
from mapopt.metrics import (
    Detections,
    GroundTruth,
    OperatingPoints,
    Performance,
    f1_and_lrp,
    find_operating_points,
    match,
)

FIELDS = tuple(Performance.__dataclass_fields__)


def brute_force(truth: GroundTruth, lane: Detections, category: int, iou: float, level: float) -> dict[str, float]:
    """Drops detections below the level, matches the others anew, and writes the paper's formulas down."""
    mine = (lane.scores >= level) & (lane.labels == category)
    left = Detections(lane.boxes[mine], lane.scores[mine], lane.labels[mine], lane.image_ids[mine])
    table = match(truth, left, iou_thresholds=[iou])
    total = int((table.counted & (truth.labels == category)).sum())
    right, wrong = int(table.correct.sum()), int(table.wrong.sum())
    error = 0.0
    for row in np.flatnonzero(table.correct[:, 0]):
        box, real = left.boxes[row], truth.boxes[table.truth[row, 0]]
        sides = [[*corners[:2], *(corners[2:] - corners[:2])] for corners in (box, real)]
        error += 1 - mask.iou(np.array(sides[:1]), np.array(sides[1:]), [0])[0, 0]
    missed = total - right
    return {
        "threshold": level,
        "precision": right / (right + wrong) if right + wrong else np.nan,
        "recall": right / total,
        "f1": 2 * right / (2 * right + wrong + missed),
        "lrp": (error / (1 - iou) + wrong + missed) / (right + wrong + missed),
        "lrp_localization": error / right if right else np.nan,
        "lrp_false_positive": 1 - right / (right + wrong) if right + wrong else np.nan,
        "lrp_false_negative": 1 - right / total,
    }


def numbers(points: OperatingPoints) -> np.ndarray:
    performances = (points.best_f1, points.optimal_lrp, points.unfiltered)
    return np.stack([getattr(performance, name) for performance in performances for name in FIELDS])


@pytest.mark.parametrize("iou", [0.5, 0.75])
def test_the_optimum_is_found_by_trying_all_scores(iou, hard_scene) -> None:
    compared = 0
    for seed in range(30):
        truth, lane = hard_scene(seed)
        points = find_operating_points(truth, lane, iou=iou)
        for number, category in enumerate(truth.categories.tolist()):
            if not points.positives[number]:
                for point in (points.best_f1, points.optimal_lrp, points.unfiltered):
                    assert all(np.isnan(getattr(point, name)[number]) for name in FIELDS)
                continue
            counted = ~match(truth, lane, iou_thresholds=[iou]).ignored[:, 0] & (lane.labels == category)
            levels = [np.inf, *np.unique(lane.scores[counted])[::-1].tolist()]
            tried = [brute_force(truth, lane, category, iou, level) for level in levels]
            best = max(tried, key=lambda point: point["f1"])
            lowest = min(tried, key=lambda point: round(point["lrp"], 12))
            for expected, point in (
                (best, points.best_f1),
                (lowest, points.optimal_lrp),
                (tried[-1], points.unfiltered),
            ):
                got = {name: getattr(point, name)[number] for name in FIELDS}
                assert got == pytest.approx(expected, abs=1e-12, nan_ok=True), (seed, category)
            compared += 0 < best["f1"] < 1
    assert compared > 15


def test_no_bit_depends_on_the_order_of_equal_scores_or_on_other_categories(hard_scene) -> None:
    for seed in range(40):
        truth, lane = hard_scene(seed)
        columns = {"crowd": truth.crowd, "area": truth.area, "categories": truth.categories}
        backwards = GroundTruth(truth.boxes, truth.labels, -truth.image_ids, images=-truth.images, **columns)
        moved = Detections(lane.boxes, lane.scores, lane.labels, -lane.image_ids)
        points, other = find_operating_points(truth, lane), find_operating_points(backwards, moved)
        assert np.array_equal(numbers(points), numbers(other), equal_nan=True)
        assert np.array_equal(numbers(points.pooled), numbers(other.pooled), equal_nan=True)
        for number, category in enumerate(truth.categories.tolist()):
            mine = lane.labels == category
            alone = Detections(lane.boxes[mine], lane.scores[mine], lane.labels[mine], lane.image_ids[mine])
            single = find_operating_points(truth, alone)
            assert np.array_equal(numbers(single)[:, number], numbers(points)[:, number], equal_nan=True)


def test_the_parts_explain_the_error(hard_scene) -> None:
    for seed in range(60):
        truth, lane = hard_scene(seed)
        points = find_operating_points(truth, lane)
        point = points.optimal_lrp
        shown = np.flatnonzero(point.lrp_localization >= 0)
        hits = (point.recall * points.positives)[shown]
        kept, total = hits / point.precision[shown], points.positives[shown]
        weighed = (
            hits / 0.5 * point.lrp_localization[shown]
            + kept * point.lrp_false_positive[shown]
            + total * point.lrp_false_negative[shown]
        )
        assert np.allclose(point.lrp[shown], weighed / (kept + total - hits), atol=1e-12)


def test_a_small_scene_has_the_numbers_that_paper_and_pencil_give() -> None:
    truth = GroundTruth([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], [1, 1, 1], [1, 1, 1])
    boxes = [[0, 0, 10, 8], [80, 80, 90, 90], [20, 0, 30, 6], [80, 0, 90, 10]]
    points = find_operating_points(truth, Detections(boxes, [0.9, 0.8, 0.8, 0.1], [1] * 4, [1] * 4))
    assert points.best_f1.threshold.tolist() == [0.8]
    assert points.mean_f1 == 2 * 2 / (3 + 3)
    # At .9: (.2 / .5 + 2) / 3 = .8; at .8: ((.2 + .4) / .5 + 1 + 1) / 4 = .8; at .1 the sum is 4.2 and of 5, .84.
    assert points.optimal_lrp.lrp == pytest.approx([0.8])
    assert points.unfiltered.lrp == pytest.approx([0.84])
    assert points.unfiltered.threshold.tolist() == [0.1]
    assert points.unfiltered.lrp_localization == pytest.approx([0.3])


def test_pooling_puts_one_threshold_on_all_categories() -> None:
    truth = GroundTruth([[0, 0, 10, 10], [20, 0, 30, 10]], [1, 2], [1, 1], categories=[1, 2, 3])
    boxes = [[0, 0, 10, 9], [20, 0, 30, 8], [70, 0, 80, 10], [0, 0, 10, 10]]
    points = find_operating_points(truth, Detections(boxes, [0.9, 0.3, 0.5, 0.99], [1, 2, 1, 3], [1] * 4))
    assert points.best_f1.f1.tolist() == pytest.approx([1, 1, np.nan], nan_ok=True)
    assert (points.pooled.best_f1.threshold.tolist(), points.pooled.best_f1.f1.tolist()) == ([0.3], [4 / 5])
    assert points.pooled.unfiltered.lrp == pytest.approx([(0.1 / 0.5 + 0.2 / 0.5 + 1) / 3])


def test_where_nothing_is_right_it_is_best_to_keep_nothing() -> None:
    truth = GroundTruth([[0, 0, 10, 10]] * 3, [1, 2, 3], [1, 1, 1])
    # An IoU of exactly 1/2 is right, but as bad as a miss.
    boxes = [[50, 50, 60, 60], [0, 0, 10, 5]]
    points = find_operating_points(truth, Detections(boxes, [0.9, 0.8], [1, 3], [1, 1]))
    assert points.best_f1.threshold.tolist() == [np.inf, np.inf, 0.8]
    assert points.best_f1.f1.tolist() == [0, 0, 1]
    assert points.optimal_lrp.threshold.tolist() == [np.inf] * 3
    assert points.optimal_lrp.lrp.tolist() == [1, 1, 1]
    assert np.isnan([points.optimal_lrp.lrp_localization, points.optimal_lrp.lrp_false_positive]).all()
    assert points.unfiltered.lrp_false_positive.tolist() == pytest.approx([1, np.nan, 0], nan_ok=True)
    assert points.unfiltered.threshold.tolist() == [0.9, np.inf, 0.8]


def test_nothing_to_find_is_undefined() -> None:
    for images in ([], [1]):
        truth = GroundTruth([], [], [], images=images, categories=[1])
        lane = Detections([[0, 0, 1, 1]], [0.5], [1], [1]) if images else Detections([], [], [], [])
        points = f1_and_lrp(truth, lane)
        assert np.isnan([points.best_f1, points.optimal_lrp, points.f1, points.lrp]).all()
        assert find_operating_points(truth, lane).pooled.best_f1.f1.tolist() == pytest.approx([np.nan], nan_ok=True)
    assert np.isnan(f1_and_lrp(GroundTruth([], [], []), Detections([], [], [], [])).best_f1)


def test_a_reward_sees_false_alarms_only_as_given() -> None:
    truth = GroundTruth([[0, 0, 10, 10], [20, 0, 30, 10]], [1, 2], [1, 1])
    boxes = [[0, 0, 10, 9], [20, 0, 30, 10], [70, 0, 80, 10]]
    good = f1_and_lrp(truth, Detections(boxes[:2], [0.9, 0.8], [1, 2], [1] * 2))
    noisy = f1_and_lrp(truth, Detections(boxes, [0.9, 0.8, 0.1], [1, 2, 2], [1] * 3))
    assert (good.best_f1, good.f1) == (noisy.best_f1, 1.0) == (1.0, 1.0)
    assert good.optimal_lrp == noisy.optimal_lrp == good.lrp == pytest.approx((0.2 + 0) / 2)
    assert noisy.f1 == pytest.approx((1 + 2 / 3) / 2)
    assert noisy.lrp == pytest.approx((0.2 + 1 / 2) / 2)


def test_the_areas_and_limits_of_a_table_are_kept() -> None:
    truth = GroundTruth([[0, 0, 10, 10], [0, 0, 200, 200]], [1, 1], [1, 1])
    lane = Detections([[0, 0, 10, 10]], [0.9], [1], [1])
    assert f1_and_lrp(truth, lane, table=match(truth, lane, area_range=(0, 1024))).best_f1 == 1
    assert f1_and_lrp(truth, lane).best_f1 == 2 / 3


def test_an_iou_of_one_is_refused() -> None:
    truth, lane = GroundTruth([[0, 0, 10, 10]], [1], [1]), Detections([[0, 0, 10, 10]], [0.5], [1], [1])
    with pytest.raises(ConfigError, match=r"iou is 1.0: LRP divides by 1 - iou; give a threshold below 1"):
        find_operating_points(truth, lane, iou=1.0)
