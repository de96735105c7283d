"""Every mistake gets the cause that its definition names, and every cause the price that putting it right has."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mapopt.errors import ConfigError, DataError
from mapopt.metrics import CAUSES, SPECIAL_CAUSES, Detections, GroundTruth, error_causes, evaluate, match
from mapopt.metrics.overlaps import pair_iou

TRUTH = GroundTruth([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], [1, 1, 2], [1, 1, 1])
GOOD = [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]]


def ap50(truth: GroundTruth, lane: Detections) -> float:
    return evaluate(truth, lane, iou_thresholds=[0.5], max_detections=[10**6]).average_precision(iou=0.5)


def part(lane: Detections, mask: np.ndarray) -> Detections:
    return Detections(lane.boxes[mask], lane.scores[mask], lane.labels[mask], lane.image_ids[mask])


def without(truth: GroundTruth, dropped: np.ndarray) -> GroundTruth:
    columns = (column[~dropped] for column in (truth.boxes, truth.labels, truth.image_ids, truth.crowd, truth.area))
    boxes, labels, image_ids, crowd, area = columns
    return GroundTruth(
        boxes, labels, image_ids, crowd=crowd, area=area, images=truth.images, categories=truth.categories
    )


ONE_CAUSE = {
    # Boxes, scores, labels of the detections; what the repaired ones look like.
    "class": ((GOOD, [0.9, 0.8, 0.7], [1, 2, 2]), (GOOD, [0.9, 0.8, 0.7], [1, 1, 2])),
    "location": (([*GOOD[:2], [40, 0, 50, 4]], [0.9, 0.8, 0.7], [1, 1, 2]), (GOOD, [0.9, 0.8, 0.7], [1, 1, 2])),
    "both": (([*GOOD, [40, 0, 50, 4]], [0.8, 0.6, 0.7, 0.7], [1, 1, 2, 1]), (GOOD, [0.8, 0.6, 0.7], [1, 1, 2])),
    "duplicate": (([*GOOD, [0, 0, 10, 9]], [0.9, 0.7, 0.7, 0.8], [1, 1, 2, 1]), (GOOD, [0.9, 0.7, 0.7], [1, 1, 2])),
    "background": (([*GOOD, [0, 90, 9, 99]], [0.9, 0.7, 0.7, 0.8], [1, 1, 2, 1]), (GOOD, [0.9, 0.7, 0.7], [1, 1, 2])),
}


@pytest.mark.parametrize("cause", ONE_CAUSE)
def test_where_there_is_one_cause_all_is_gained_by_putting_it_right(cause) -> None:
    (given, repaired) = (Detections(*columns, [1] * len(columns[0])) for columns in ONE_CAUSE[cause])
    errors = error_causes(TRUTH, given)
    assert {name: errors.counts[name] for name in CAUSES} == {name: int(name == cause) for name in CAUSES}
    assert errors.average_precision == ap50(TRUTH, given) < 0.95
    for name, gain in errors.delta_average_precision.items():
        if name == cause:
            assert gain == ap50(TRUTH, repaired) - ap50(TRUTH, given) == pytest.approx(1 - errors.average_precision)
        elif name in CAUSES:
            assert gain == 0


def test_a_missed_box_is_no_longer_asked_for() -> None:
    lane = Detections(GOOD[1:], [0.9, 0.8], [1, 2], [1, 1])
    errors = error_causes(TRUTH, lane)
    assert {name: count for name, count in errors.counts.items() if count} == {"missed": 1, "false_negative": 1}
    assert errors.missed.tolist() == [True, False, False]
    assert errors.delta_average_precision["missed"] == pytest.approx(1 - errors.average_precision)
    assert errors.delta_average_precision["false_negative"] == errors.delta_average_precision["missed"]


def slow_causes(truth: GroundTruth, lane: Detections, iou: float, low: float) -> tuple[list[str], list[int], set[int]]:
    """Asks the questions in order, one detection at a time."""
    table = match(truth, lane, iou_thresholds=[iou])
    causes, about, meant = [""] * len(lane), [-1] * len(lane), set()
    for row in np.flatnonzero(table.wrong[:, 0]):
        real = np.flatnonzero((truth.image_ids == lane.image_ids[row]) & table.counted)
        overlaps = pair_iou(np.repeat(lane.boxes[[row]], len(real), axis=0), truth.boxes[real])
        same = truth.labels[real] == lane.labels[row]
        own, other = np.where(same, overlaps, 0), np.where(same, 0, overlaps)
        if len(real) and low <= own.max() < iou:
            causes[row], about[row] = "location", int(real[own.argmax()])
        elif len(real) and other.max() >= iou:
            causes[row], about[row] = "class", int(real[other.argmax()])
        elif len(real) and own.max() >= iou:
            causes[row], about[row] = "duplicate", int(real[own.argmax()])
        elif len(real) and overlaps.max() > low:
            causes[row] = "both"
        else:
            causes[row] = "background"
        if causes[row] in ("location", "class"):
            meant.add(about[row])
    lost = set(np.flatnonzero(table.missed[:, 0]).tolist())
    return causes, about, lost - meant


@pytest.mark.parametrize(("iou", "low"), [(0.5, 0.1), (0.75, 0.3)])
def test_a_slow_loop_finds_the_same_causes(iou, low, confused_scene) -> None:
    seen = dict.fromkeys(CAUSES, 0)
    for seed in range(60):
        truth, lane = confused_scene(seed)
        errors = error_causes(truth, lane, iou=iou, background_iou=low)
        causes, about, missed = slow_causes(truth, lane, iou, low)
        assert [CAUSES[place] if place >= 0 else "" for place in errors.cause] == causes, seed
        assert errors.truth.tolist() == about
        assert set(np.flatnonzero(errors.missed).tolist()) == missed
        for name in CAUSES:
            assert errors.counts[name] == (causes.count(name) if name != "missed" else len(missed))
            assert errors.counts[name] == errors.category_counts[name].sum()
            seen[name] += errors.counts[name]
        assert errors.counts["false_positive"] == sum(map(bool, causes))
    assert min(seen.values()) > 50


def test_what_is_dropped_is_dropped_from_the_evaluators_input(confused_scene) -> None:
    gained = dict.fromkeys((*CAUSES, *SPECIAL_CAUSES), 0)
    for seed in range(40):
        truth, lane = confused_scene(seed)
        errors = error_causes(truth, lane)
        table = match(truth, lane, iou_thresholds=[0.5])
        evaluated = np.zeros(len(lane), bool)
        for image in truth.images:
            for category in truth.categories:
                mine = np.flatnonzero((lane.image_ids == image) & (lane.labels == category))
                evaluated[mine[np.argsort(-lane.scores[mine], kind="stable")][:100]] = True
        base = errors.average_precision
        if math.isnan(base):
            assert ap50(truth, part(lane, evaluated)) == -1  # in a report
            assert np.isnan(list(errors.delta_average_precision.values())).all()
            continue
        assert base == ap50(truth, part(lane, evaluated))
        for name in ("both", "duplicate", "background"):
            fixed = part(lane, evaluated & (errors.cause != CAUSES.index(name)))
            assert errors.delta_average_precision[name] == ap50(truth, fixed) - base
        fixed = part(lane, evaluated & (errors.cause < 0))
        assert errors.delta_average_precision["false_positive"] == ap50(truth, fixed) - base
        for name, dropped in (("missed", errors.missed), ("false_negative", table.missed[:, 0])):
            report = evaluate(
                without(truth, dropped), part(lane, evaluated), iou_thresholds=[0.5], max_detections=[10**6]
            )
            fixed_ap = np.array(list(report.per_category50.values()))
            before = np.array(list(evaluate(truth, lane).per_category50.values()))
            expected = np.where(before == -1, np.nan, np.where(fixed_ap == -1, 0, fixed_ap - before))
            assert np.array_equal(errors.category_delta[name], expected, equal_nan=True)
            assert errors.delta_average_precision[name] == pytest.approx(expected[before >= 0].mean(), abs=1e-12)
        for name, gain in errors.delta_average_precision.items():
            assert -1e-12 <= gain <= 1 - base + 1e-12
            gained[name] += gain > 1e-6
            rows = errors.category_delta[name][~np.isnan(errors.category_delta[name])]
            assert gain == pytest.approx(rows.mean(), abs=1e-12)
            assert (rows > -1e-12).all()
    assert min(gained.values()) > 5


def average_precision(points: list[tuple[float, bool]], total: int) -> float:
    """COCO's AP of one category, recalls compared as they are rounded, from scores without ties."""
    hits = np.cumsum([right for _, right in sorted(points, reverse=True)])
    precision = hits / np.arange(1, len(hits) + 1)
    levels = np.linspace(0, 1, 101)
    return float(np.mean([max(precision[hits / total >= level], default=0) for level in levels]))


@pytest.mark.parametrize("cause", ["class", "location"])
def test_of_several_detections_that_one_box_then_has_the_best_stays(cause, confused_scene) -> None:
    replaced = suppressed = 0
    for seed in range(60):
        truth, lane = confused_scene(seed)
        scores = np.random.default_rng(seed).permutation(len(lane)).astype(float)
        lane = Detections(lane.boxes, scores, lane.labels, lane.image_ids)
        errors = error_causes(truth, lane)
        table = match(truth, lane, iou_thresholds=[0.5])
        points: dict[int, list[tuple[float, bool]]] = {category: [] for category in truth.categories.tolist()}
        chances: dict[int, list[tuple[float, bool]]] = {}
        for row in range(len(lane)):
            if table.correct[row, 0]:
                chances.setdefault(int(table.truth[row, 0]), []).append((scores[row], True))
            elif errors.cause[row] == CAUSES.index(cause):
                chances.setdefault(int(errors.truth[row]), []).append((scores[row], False))
            elif table.wrong[row, 0]:
                points[int(lane.labels[row])].append((scores[row], False))
        for row, rivals in chances.items():
            score, was_right = max(rivals)
            points[int(truth.labels[row])].append((score, True))
            suppressed += len(rivals) > 1
            replaced += not was_right and any(right for _, right in rivals)
        for number, category in enumerate(truth.categories.tolist()):
            total = int((table.counted & (truth.labels == category)).sum())
            if total:
                gain = average_precision(points[category], total) - errors.category_average_precision[number]
                assert errors.category_delta[cause][number] == pytest.approx(gain, abs=1e-9), (seed, category)
    assert suppressed > 30
    assert replaced > 10


def test_crowds_are_nobodys_cause() -> None:
    truth = GroundTruth([[0, 0, 100, 100], [200, 0, 210, 10]], [1, 1], [1, 1], crowd=[True, False])
    boxes = [[10, 10, 20, 20], [0, 0, 100, 100], [200, 0, 210, 10]]
    errors = error_causes(truth, Detections(boxes, [0.9, 0.8, 0.7], [1, 2, 1], [1] * 3))
    assert not any(errors.counts.values())  # category 2 is not evaluated
    truth = GroundTruth(truth.boxes, [1, 1], [1, 1], crowd=[True, False], categories=[1, 2])
    errors = error_causes(truth, Detections(boxes, [0.9, 0.8, 0.7], [1, 2, 1], [1] * 3))
    assert {name: count for name, count in errors.counts.items() if count} == {"background": 1, "false_positive": 1}
    assert errors.delta_average_precision["background"] == 0


def test_empty_inputs_have_no_causes() -> None:
    nothing = Detections([], [], [], [])
    errors = error_causes(TRUTH, nothing)
    assert (errors.counts["missed"], errors.average_precision) == (3, 0)
    assert set(errors.delta_average_precision.values()) == {0}  # there is no curve to stretch
    errors = error_causes(GroundTruth([], [], []), nothing)
    assert np.isnan(list(errors.delta_average_precision.values())).all()


def test_a_table_may_be_shared() -> None:
    lane = Detections([*GOOD[:2], [40, 0, 50, 8]], [0.9, 0.8, 0.7], [1, 1, 2], [1] * 3)
    table = match(TRUTH, lane)
    assert error_causes(TRUTH, lane, iou=0.75, table=table).counts["location"] == 0
    assert error_causes(TRUTH, lane, iou=0.85, table=table).counts["location"] == 1


def test_what_makes_no_sense_is_refused() -> None:
    lane = Detections(GOOD, [0.9, 0.8, 0.7], [1, 1, 2], [1] * 3)
    for low in (0.0, 0.5):
        message = f"background_iou is {low}: expected a number above 0 and below iou, 0.5"
        with pytest.raises(ConfigError, match=message):
            error_causes(TRUTH, lane, background_iou=low)
    with pytest.raises(DataError, match="lies in image 2"):
        error_causes(TRUTH, Detections(GOOD[:1], [0.9], [1], [2]))
