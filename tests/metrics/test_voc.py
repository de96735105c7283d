"""VOC's AP is what the devkit's algorithm gives, written down again as a loop."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from mapopt.errors import ConfigError, DataError
from mapopt.metrics import Detections, GroundTruth, evaluate, voc_average_precision


def devkit(truth: GroundTruth, lane: Detections, category: int, *, rule: str, iou: float, pixel: float) -> float:
    """Follows VOCevaldet and VOCap line by line; recalls are fractions, so that none is lost by rounding."""
    mine = np.flatnonzero(truth.labels == category)
    difficult, detected = truth.crowd[mine], np.zeros(len(mine), bool)
    order = [row for row in np.argsort(-lane.scores, kind="stable") if lane.labels[row] == category]
    right, wrong = [], []
    for row in order:
        box, largest, at = lane.boxes[row], -np.inf, -1
        for place, real in enumerate(truth.boxes[mine]):
            if truth.image_ids[mine[place]] != lane.image_ids[row]:
                continue
            width = min(box[2], real[2]) - max(box[0], real[0]) + pixel
            height = min(box[3], real[3]) - max(box[1], real[1]) + pixel
            if width > 0 and height > 0:
                union = (box[2] - box[0] + pixel) * (box[3] - box[1] + pixel) + (
                    (real[2] - real[0] + pixel) * (real[3] - real[1] + pixel) - width * height
                )
                if width * height / union > largest:
                    largest, at = width * height / union, place
        right.append(0)
        wrong.append(0)
        if largest >= iou:
            if not difficult[at]:
                if not detected[at]:
                    right[-1], detected[at] = 1, True
                else:
                    wrong[-1] = 1
        else:
            wrong[-1] = 1
    total = int((~difficult).sum())
    hits, kept = np.cumsum(right), np.cumsum(right) + np.cumsum(wrong)
    recall = [Fraction(int(hit), total) for hit in hits]
    precision = [hit / max(number, 1) for hit, number in zip(hits, kept, strict=True)]
    if rule == "11-point":
        levels = [Fraction(tenth, 10) for tenth in range(11)]
        reached = [[p for p, r in zip(precision, recall, strict=True) if r >= level] for level in levels]
        return sum(max(part, default=0) / 11 for part in reached)
    recall, precision = [0, *recall, 1], [0, *precision, 0]
    for place in range(len(precision) - 2, -1, -1):
        precision[place] = max(precision[place], precision[place + 1])
    return sum(float(recall[i] - recall[i - 1]) * precision[i] for i in range(1, len(recall)))


@pytest.mark.parametrize("iou", [0.3, 0.5, 0.75])
def test_the_devkits_loop_gives_the_same(iou, hard_scene) -> None:
    seen = []
    for seed in range(40):
        truth, lane = hard_scene(seed)
        for rule in ("11-point", "area"):
            for inclusive in (True, False):
                voc = voc_average_precision(truth, lane, rule=rule, iou=iou, inclusive=inclusive)
                for number, category in enumerate(truth.categories.tolist()):
                    if not voc.positives[number]:
                        assert np.isnan([voc.per_category[number], voc.recall[number]]).all()
                        continue
                    expected = devkit(truth, lane, category, rule=rule, iou=iou, pixel=float(inclusive))
                    assert voc.per_category[number] == pytest.approx(expected, abs=1e-12), (seed, rule, inclusive)
                    seen.append(expected)
    assert ((np.array(seen) > 0) & (np.array(seen) < 1)).sum() > 80


def test_a_detection_has_one_chance_where_coco_gives_it_a_second() -> None:
    truth = GroundTruth([[0, 0, 100, 100], [0, 10, 100, 110]], [1, 1], [1, 1])
    lane = Detections([[0, 0, 100, 100], [0, 2, 100, 102]], [0.9, 0.8], [1, 1], [1, 1])
    assert evaluate(truth, lane).recall[0, 0, 0, -1] == 1
    assert voc_average_precision(truth, lane).recall.tolist() == [0.5]


def test_a_difficult_object_counts_neither_way_by_its_plain_iou() -> None:
    truth = GroundTruth([[0, 0, 99, 99], [200, 200, 210, 210]], [1, 1], [1, 1], crowd=[True, False])
    same = Detections([[0, 0, 99, 99], [0, 0, 99, 98], [200, 200, 210, 210]], [0.9, 0.8, 0.7], [1] * 3, [1] * 3)
    assert voc_average_precision(truth, same).mean == 1
    part = Detections([[0, 0, 20, 20], [200, 200, 210, 210]], [0.9, 0.7], [1] * 2, [1] * 2)
    assert voc_average_precision(truth, part).mean == 0.5
    assert evaluate(truth, part).ap50 > 0.99


def test_a_recall_of_exactly_three_tenths_is_reached() -> None:
    corner = 50.0 * np.arange(10)
    boxes = np.stack([corner, corner * 0, corner + 20, corner * 0 + 20], axis=1)
    truth = GroundTruth(boxes, [1] * 10, [1] * 10)
    voc = voc_average_precision(truth, Detections(boxes[:3], [0.9, 0.8, 0.7], [1] * 3, [1] * 3), rule="11-point")
    assert voc.mean == pytest.approx(4 / 11)


def test_corners_name_the_last_pixel_by_default() -> None:
    truth, lane = GroundTruth([[0, 0, 9, 9]], [1], [1]), Detections([[0, 0, 9, 4]], [0.9], [1], [1])
    assert voc_average_precision(truth, lane).mean == 1
    assert voc_average_precision(truth, lane, inclusive=False).mean == 0


def test_nothing_found_is_0_and_nothing_to_find_undefined() -> None:
    truth = GroundTruth([[0, 0, 9, 9]], [1], [1], categories=[1, 2])
    for rule in ("11-point", "area"):
        assert voc_average_precision(
            truth, Detections([], [], [], []), rule=rule
        ).per_category.tolist() == pytest.approx([0, np.nan], nan_ok=True)
        unknown = Detections([[0, 0, 9, 9]], [0.9], [7], [1])
        assert voc_average_precision(truth, unknown, rule=rule).mean == 0
    assert np.isnan(voc_average_precision(GroundTruth([], [], []), Detections([], [], [], [])).mean)


def test_what_makes_no_sense_is_refused() -> None:
    truth, lane = GroundTruth([[0, 0, 10, 10]], [1], [1]), Detections([[0, 0, 10, 10]], [0.5], [1], [1])
    with pytest.raises(ConfigError, match="unknown rule 'aera': did you mean 'area'"):
        voc_average_precision(truth, lane, rule="aera")
    with pytest.raises(ConfigError, match=r"iou is 1.5: expected a number in \(0, 1\]"):
        voc_average_precision(truth, lane, iou=1.5)
    with pytest.raises(DataError, match="lies in image 2"):
        voc_average_precision(truth, Detections([[0, 0, 10, 10]], [0.5], [1], [2]))
