"""What evaluation promises beyond its numbers: lanes, modes, order, and errors."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys

import numpy as np
import pytest

from mapopt.errors import ConfigError
from mapopt.metrics import STATS, Detections, GroundTruth, evaluate, evaluate_lanes, evaluator
from mapopt.metrics.settings import Settings


def scene(seed: int, *, images: int = 6, classes: int = 3) -> tuple[GroundTruth, Detections]:
    generator = np.random.default_rng(seed)

    def boxes(count: int) -> np.ndarray:
        corner = generator.uniform(0, 60, (count, 2))
        return np.concatenate([corner, corner + generator.uniform(5, 40, (count, 2))], axis=1)

    real = boxes(4 * images)
    labels, image_ids = generator.integers(0, classes, len(real)), np.repeat(np.arange(images), 4)
    truth = GroundTruth(real, labels, image_ids, images=range(images), categories=range(classes))
    pick = generator.integers(0, len(real), 60)
    predicted = np.sort((real[pick] + generator.normal(0, 2, (60, 4))).reshape(60, 2, 2), axis=1).reshape(60, 4)
    scores = generator.integers(0, 20, 60) / 20
    return truth, Detections(predicted, scores, labels[pick], image_ids[pick])


def same(first, second) -> bool:
    return all(
        np.array_equal(getattr(first, name), getattr(second, name)) for name in ("precision", "recall", "scores")
    )


@pytest.mark.parametrize("mode", ["full", "reward"])
def test_lanes_with_one_ground_truth_are_evaluated_as_if_alone(mode) -> None:
    truth, _ = scene(0)
    lanes = [scene(seed)[1] for seed in range(5)] + [Detections([], [], [], [])]
    for lane, report in zip(lanes, evaluate_lanes(truth, lanes, mode=mode), strict=True):
        assert same(report, evaluate(truth, lane, mode=mode))


def test_lanes_with_their_own_ground_truths_are_evaluated_as_if_alone() -> None:
    pairs = [scene(seed, images=2 + seed, classes=1 + seed) for seed in range(5)]
    reports = evaluate_lanes([truth for truth, _ in pairs], [lane for _, lane in pairs])
    for (truth, lane), report in zip(pairs, reports, strict=True):
        assert same(report, evaluate(truth, lane))
        assert list(report.per_category) == truth.categories.tolist()


@pytest.mark.parametrize(("detections", "numbers"), [(0, 10**9), (10**9, 0), (200, 10**9), (10**9, 10**5)])
def test_lanes_are_evaluated_alike_however_few_go_together(monkeypatch, detections: int, numbers: int) -> None:
    pairs = [scene(seed) for seed in range(6)]
    truths, lanes = [truth for truth, _ in pairs], [lane for _, lane in pairs]
    monkeypatch.setattr(evaluator, "_MAX_BLOCK_DETECTIONS", detections)
    monkeypatch.setattr(evaluator, "_MAX_BLOCK_NUMBERS", numbers)
    parts = list(evaluator._parts(truths, lanes, Settings.of()))
    assert [lane for part in parts for lane in range(part.start, part.stop)] == list(range(6))
    assert len(parts) > 1
    assert all(part.stop > part.start for part in parts)
    for (truth, lane), report in zip(pairs, evaluate_lanes(truths, lanes), strict=True):
        assert same(report, evaluate(truth, lane))


def test_no_lanes_give_no_reports() -> None:
    assert evaluate_lanes(scene(0)[0], []) == []


def test_the_order_of_detections_in_different_images_is_irrelevant() -> None:
    truth, lane = scene(1)
    by_image = np.argsort(lane.image_ids, kind="stable")
    moved = Detections(*(column[by_image] for column in (lane.boxes, lane.scores, lane.labels, lane.image_ids)))
    assert same(evaluate(truth, lane), evaluate(truth, moved))


def test_any_increasing_change_of_scores_changes_no_precision() -> None:
    truth, lane = scene(2)
    shifted = Detections(lane.boxes, 3 * lane.scores - 1, lane.labels, lane.image_ids)
    first, second = evaluate(truth, lane), evaluate(truth, shifted)
    assert np.array_equal(first.precision, second.precision)
    assert not np.array_equal(first.scores, second.scores)


def test_detections_of_unlisted_categories_do_not_count() -> None:
    truth, lane = scene(3)
    more = Detections(
        np.concatenate([lane.boxes, [[0, 0, 5, 5]]]),
        np.append(lane.scores, 1.0),
        np.append(lane.labels, 99),
        np.append(lane.image_ids, 0),
    )
    assert same(evaluate(truth, lane), evaluate(truth, more))


def test_perfect_detections_have_ap_one() -> None:
    truth, _ = scene(4)
    report = evaluate(truth, Detections(truth.boxes, np.ones(len(truth)), truth.labels, truth.image_ids))
    # The first of a class scores 1 / (1 + spacing(1)) by definition, not 1.
    assert (report.ap, report.ap50, report.ap75, report.ar100) == pytest.approx((1.0, 1.0, 1.0, 1.0), abs=1e-15)


def test_the_reward_mode_refuses_numbers_it_has_not_measured() -> None:
    truth, lane = scene(5)
    report = evaluate(truth, lane, mode="reward")
    assert list(report.measured()) == ["ap", "ap50", "ap75", "ar100"]
    assert np.isnan(report.stats).tolist() == [name not in report.measured() for name in STATS]
    with pytest.raises(ConfigError, match="area range 'small' was not measured: measured are all"):
        _ = report.ap_small
    with pytest.raises(ConfigError, match=r"10 detections per image were not measured: measured are \(100,\)"):
        _ = report.ar10


def test_one_threshold_is_measured_where_one_is_asked_for() -> None:
    truth, lane = scene(6)
    report = evaluate(truth, lane, iou_thresholds=[0.5])
    assert report.ap == report.ap50 == evaluate(truth, lane).ap50
    assert report.per_category == report.per_category50
    with pytest.raises(ConfigError, match=r"IoU threshold 0.75 was not measured: measured are \[0.5\]"):
        _ = report.ap75


@pytest.mark.parametrize(
    "settings",
    [
        {"iou_thresholds": np.linspace(0.01, 1.0, 100)},
        {"iou_thresholds": np.linspace(0.3, 0.9, 33)},
        {"area_ranges": {"all": (0, 1e10), **{str(i): (40.0 * i, 40.0 * i + 200) for i in range(12)}}},
        {"max_detections": (7, 2, 3, 5)},
    ],
    ids=["100 thresholds", "33 thresholds", "13 ranges", "4 limits"],
)
def test_other_settings_agree_with_pycocotools_too(settings) -> None:
    truth, lane = scene(7)
    assert same(evaluate(truth, lane, **settings), evaluate(truth, lane, backend="pycocotools", **settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"iou_thresholds": [0.0, 0.5]}, r"iou_thresholds are \[0.0, 0.5\]: expected at least one number in \(0, 1\]"),
        ({"iou_thresholds": []}, "expected at least one number"),
        ({"iou_thresholds": [0.7, 0.5]}, "expected ascending order"),
        ({"max_detections": (0, 10)}, r"max_detections are \(0, 10\): expected whole numbers from 1 up"),
        ({"max_detections": (1.5,)}, "expected whole numbers from 1 up"),
        ({"area_ranges": {}}, "area_ranges is empty"),
        ({"area_ranges": {"odd": (5, 1)}}, r"area range 'odd' is \(5, 1\): expected the smaller end first"),
        ({"area_ranges": {"some": (0, 1)}, "mode": "reward"}, "mode 'reward' measures the area range 'all'"),
        ({"mode": "fast"}, "unknown mode 'fast': expected 'full' or 'reward'"),
        ({"backend": "numpi"}, "unknown backend 'numpi': did you mean 'numpy'?"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message) -> None:
    with pytest.raises(ConfigError, match=message):
        evaluate(*scene(8), **settings)


def test_a_ground_truth_for_every_lane_is_demanded() -> None:
    truth, lane = scene(9)
    with pytest.raises(ConfigError, match="2 ground truths for 1 lanes: give one for every lane"):
        evaluate_lanes([truth, truth], [lane])


def test_pycocotools_runs_silently(capsys) -> None:
    evaluate(*scene(10), backend="pycocotools")
    assert capsys.readouterr() == ("", "")


def test_corners_carry_the_rounding_of_stored_widths() -> None:
    # x2 is stored as a width, and x1 + (x2 - x1) may miss it by one bit: enough to miss an IoU of exactly 1/2.
    generator = np.random.default_rng(11)
    x1, x2 = np.sort(np.round(generator.uniform(-3, 3, (2, 2, 10**5)), 1), axis=0)
    width = x2 - x1
    union = width.sum(axis=0)

    def reaches_half(right: np.ndarray) -> np.ndarray:
        intersection = right.min(axis=0) - x1.max(axis=0)
        return intersection / np.maximum(union - intersection, 0.1) >= 0.5

    delicate = np.flatnonzero((width > 0).all(axis=0) & (reaches_half(x2) != reaches_half(x1 + width)))
    assert len(delicate) > 20
    ids, zero, ones = np.arange(len(delicate)), np.zeros(len(delicate)), np.ones(len(delicate))
    real, predicted = (np.stack([x1[i, delicate], zero, x2[i, delicate], ones], axis=1) for i in (0, 1))
    truth, lane = GroundTruth(real, ids, ids), Detections(predicted, ones, ids, ids)
    report = evaluate(truth, lane, iou_thresholds=[0.5])
    assert np.array_equal(report.recall[0, :, 0, -1], reaches_half(x1 + width)[delicate])
    assert same(report, evaluate(truth, lane, iou_thresholds=[0.5], backend="pycocotools"))


def test_a_threshold_of_one_forgives_what_pycocotools_forgives() -> None:
    truth = GroundTruth([[0, 0, 1, 1]] * 2, [1, 2], [1, 1])
    lane = Detections([[0, 0, 1, 1 - 5e-11], [0, 0, 1, 1 - 2e-10]], [0.5, 0.5], [1, 2], [1, 1])
    report = evaluate(truth, lane, iou_thresholds=[1.0])
    assert report.recall[0, :, 0, -1].tolist() == [1.0, 0.0]
    assert same(report, evaluate(truth, lane, iou_thresholds=[1.0], backend="pycocotools"))


@pytest.mark.parametrize("backend", ["numpy", "pycocotools"])
@pytest.mark.parametrize("seed", range(4))
def test_one_category_for_all_is_pycocotools_without_categories(seed: int, backend: str) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    generator = np.random.default_rng(seed)
    boxes = generator.uniform(0, 60, (40, 4))
    boxes[:, 2:] += boxes[:, :2] + 1
    images, labels = generator.integers(1, 6, 40), generator.integers(1, 4, 40)
    crowd = generator.random(40) < 0.1
    truth = GroundTruth(boxes, labels, images, crowd=crowd, images=range(1, 6), categories=range(1, 4))
    rows = generator.integers(0, 40, 120)
    moved = boxes[rows] + np.tile(generator.normal(0, 3, (120, 2)), 2)
    scores = np.round(generator.random(120), 1)  # with many ties
    lane = Detections(moved, scores, generator.integers(1, 5, 120), images[rows])

    def entries(corners, **columns):
        sides = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
        area = (sides[:, 2] * sides[:, 3]).tolist()
        rows = zip(*[column.tolist() for column in columns.values()], sides.tolist(), area, strict=True)
        names = [*columns, "bbox", "area"]
        return [{"id": number, **dict(zip(names, row, strict=True))} for number, row in enumerate(rows, start=1)]

    known, predicted = COCO(), COCO()
    lists = {"images": [{"id": image} for image in range(1, 6)], "categories": [{"id": k} for k in range(1, 4)]}
    with contextlib.redirect_stdout(io.StringIO()):
        known.dataset = lists | {
            "annotations": entries(boxes, image_id=images, category_id=labels, iscrowd=crowd.astype(int))
        }
        predicted.dataset = lists | {
            "annotations": entries(moved, image_id=images[rows], category_id=lane.labels, score=scores)
        }
        known.createIndex()
        predicted.createIndex()
        evaluation = COCOeval(known, predicted, "bbox")
        evaluation.params.useCats = 0
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    report = evaluate(truth, lane, use_categories=False, backend=backend)
    assert report.stats.tolist() == evaluation.stats.tolist()
    assert list(report.per_category) == [-1]
    assert report.ap == report.per_category[-1]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what the C library keeps is asked of Linux")
def test_memory_is_used_again_by_the_next_evaluation() -> None:
    script = (
        "import resource, numpy as np, mapopt.metrics as m;"
        "n = 4000; corner = np.random.default_rng(0).uniform(0, 90, (n, 2)); ids = np.arange(n) // 40;"
        "boxes = np.hstack([corner, corner + 20]); truth = m.GroundTruth(boxes[::8], ids[::8] % 20, ids[::8]);"
        "run = lambda: m.evaluate(truth, m.Detections(boxes, corner[:, 0], ids % 20, ids), backend='numpy').stats;"
        "[run() for _ in range(4)]; before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt;"
        "[run() for _ in range(10)]; print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 200  # several hundred pages an evaluation where they are given back
