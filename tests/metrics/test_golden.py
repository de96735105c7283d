"""The evaluator gives pycocotools' stored numbers, bit for bit."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from mapopt.metrics import Detections, GroundTruth, Report, evaluate

ROOT = Path(__file__).resolve().parents[2]
CASES = sorted((ROOT / "tests" / "golden" / "average_precision").glob("case*.npz"))
COCO = ROOT.parent / "shared" / "data" / "coco_val2014"
BACKENDS = [
    "numpy",
    pytest.param("numba", marks=pytest.mark.skipif(not find_spec("numba"), reason="numba is not installed")),
    "pycocotools",
]
QUANTITIES = ("stats", "precision", "recall", "scores")


def differing_bits(got: np.ndarray, expected: np.ndarray) -> int:
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype == np.float64
    return int((np.ascontiguousarray(got).view(np.int64) != np.ascontiguousarray(expected).view(np.int64)).sum())


def load(path: Path) -> tuple[GroundTruth, Detections, dict[str, np.ndarray]]:
    with np.load(path) as stored:
        case = dict(stored)
    truth = GroundTruth(
        case["gt_boxes"],
        case["gt_labels"],
        case["gt_image_ids"],
        crowd=case["gt_iscrowd"],
        area=case["gt_area"],
        images=case["image_ids"],
        categories=case["category_ids"],
    )
    return truth, Detections(case["dt_boxes"], case["dt_scores"], case["dt_labels"], case["dt_image_ids"]), case


def expect_same(report: Report, expected: dict[str, np.ndarray]) -> None:
    for quantity in QUANTITIES:
        assert differing_bits(getattr(report, quantity), expected[quantity]) == 0, quantity


def test_the_golden_cases_are_there() -> None:
    assert len(CASES) == 16


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_every_golden_number_is_met_bit_for_bit(path: Path, backend: str) -> None:
    truth, detections, expected = load(path)
    expect_same(evaluate(truth, detections, backend=backend), expected)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_reward_mode_gives_the_bits_of_the_full_mode(path: Path) -> None:
    truth, detections, _ = load(path)
    full, reward = evaluate(truth, detections), evaluate(truth, detections, mode="reward")
    assert reward.measured() == {name: full.measured()[name] for name in ("ap", "ap50", "ap75", "ar100")}
    assert reward.per_category == full.per_category
    assert reward.per_category50 == full.per_category50
    assert differing_bits(reward.precision, full.precision[..., :1, -1:]) == 0


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_category_has_the_ap_that_it_has_when_evaluated_alone(path: Path) -> None:
    truth, detections, _ = load(path)
    report = evaluate(truth, detections)
    for category, ap in report.per_category.items():
        mine = truth.labels == category
        alone = GroundTruth(
            truth.boxes[mine],
            truth.labels[mine],
            truth.image_ids[mine],
            crowd=truth.crowd[mine],
            area=truth.area[mine],
            images=truth.images,
            categories=[category],
        )
        assert evaluate(alone, detections, backend="pycocotools").ap == ap


@pytest.mark.skipif(not COCO.is_dir(), reason="the COCO fixture is not beside the repository")
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_published_demo_of_coco_is_met_bit_for_bit(backend: str) -> None:
    annotations = json.loads((COCO / "instances_val2014_100.json").read_text())
    results = json.loads((COCO / "instances_val2014_fakebbox100_results.json").read_text())

    def columns(rows: list[dict], *names: str) -> list[np.ndarray]:
        boxes = np.array([row["bbox"] for row in rows])
        boxes[:, 2:] += boxes[:, :2]
        return [boxes, *(np.array([row[name] for row in rows]) for name in names)]

    boxes, labels, image_ids, crowd, area = columns(
        annotations["annotations"], "category_id", "image_id", "iscrowd", "area"
    )
    truth = GroundTruth(
        boxes,
        labels,
        image_ids,
        crowd=crowd,
        area=area,
        images=[image["id"] for image in annotations["images"]],
        categories=[category["id"] for category in annotations["categories"]],
    )
    report = evaluate(truth, Detections(*columns(results, "score", "category_id", "image_id")), backend=backend)
    with np.load(COCO / "pycocotools_bbox.npz") as expected:
        expect_same(report, dict(expected))
    assert f"{report.ap:.3f} {report.ap50:.3f} {report.ap75:.3f}" == "0.505 0.697 0.573"
