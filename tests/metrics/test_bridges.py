"""Boxes from COCO files, pycocotools' objects and torchvision's dictionaries."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mapopt.errors import DataError
from mapopt.metrics import Detections, GroundTruth, evaluate

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "coco_val2014"
ANNOTATIONS = FOLDER / "instances_val2014_100.json"
RESULTS = FOLDER / "instances_val2014_fakebbox100_results.json"


def columns(boxes: GroundTruth | Detections) -> list[np.ndarray]:
    names = ("boxes", "labels", "image_ids", *(("crowd", "area") if isinstance(boxes, GroundTruth) else ("scores",)))
    return [getattr(boxes, name) for name in names]


def assert_equal(first: GroundTruth | Detections, second: GroundTruth | Detections) -> None:
    for mine, other in zip(columns(first), columns(second), strict=True):
        assert np.array_equal(mine, other)


def bits(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float64).view(np.int64)


def pycocotools_evaluation(annotations: COCO, results: Any) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(annotations, annotations.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def assert_pycocotools_bits(truth: GroundTruth, detections: Detections, evaluation: COCOeval) -> None:
    report = evaluate(truth, detections)
    assert np.array_equal(bits(report.stats), bits(evaluation.stats))
    for name in ("precision", "recall", "scores"):
        assert np.array_equal(bits(getattr(report, name)), bits(evaluation.eval[name])), name


@pytest.fixture
def coco() -> COCO:
    if not ANNOTATIONS.is_file():
        pytest.skip("shared/data/coco_val2014 is not here")
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(ANNOTATIONS))


def test_coco_files_dictionaries_and_objects_give_pycocotools_numbers_bit_for_bit(coco: COCO) -> None:
    evaluation = pycocotools_evaluation(coco, str(RESULTS))
    entries = json.loads(RESULTS.read_text())
    with contextlib.redirect_stdout(io.StringIO()):
        loaded = coco.loadRes(str(RESULTS))
    truth, detections = GroundTruth.from_coco(ANNOTATIONS), Detections.from_coco(RESULTS)
    assert_pycocotools_bits(truth, detections, evaluation)
    for source in (str(ANNOTATIONS), json.loads(ANNOTATIONS.read_text()), coco):
        assert_equal(GroundTruth.from_coco(source), truth)
    for results in (str(RESULTS), entries, loaded):
        assert_equal(Detections.from_coco(results), detections)
    with np.load(FOLDER / "pycocotools_bbox.npz") as stored:
        assert np.array_equal(bits(evaluate(truth, detections).stats), bits(stored["stats"]))


@pytest.mark.parametrize("seed", range(20))
def test_random_boxes_of_two_decimals_give_pycocotools_numbers_bit_for_bit(seed: int) -> None:
    generator = np.random.default_rng(seed)
    number = 60
    real = np.round(
        np.concatenate([generator.uniform(0, 400, (number, 2)), generator.uniform(5, 150, (number, 2))], 1), 2
    )
    images, labels = generator.integers(10, 15, number), generator.integers(1, 4, number)
    moved = np.round(np.abs(real + generator.normal(0, 4, real.shape)), 2)
    annotations = {
        "images": [{"id": int(image)} for image in range(10, 16)],
        "categories": [{"id": category} for category in (1, 2, 3, 9)],
        "annotations": [
            {
                "id": row + 1,
                "image_id": int(images[row]),
                "category_id": int(labels[row]),
                "bbox": real[row].tolist(),
                "area": float(0.7 * real[row, 2] * real[row, 3]),
                "iscrowd": int(generator.random() < 0.1),
            }
            for row in range(number)
        ],
    }
    results = [
        {
            "image_id": int(images[row]),
            "category_id": int(labels[row]),
            "bbox": moved[row].tolist(),
            "score": round(float(generator.random()), 2),
        }
        for row in range(number)
    ]
    annotated = COCO()
    annotated.dataset = annotations
    with contextlib.redirect_stdout(io.StringIO()):
        annotated.createIndex()
    evaluation = pycocotools_evaluation(annotated, results)
    assert_pycocotools_bits(GroundTruth.from_coco(annotations), Detections.from_coco(results), evaluation)


def test_annotations_without_area_or_crowd_have_the_defaults() -> None:
    content = {
        "images": [{"id": 4}],
        "categories": [{"id": 2}],
        "annotations": [{"image_id": 4, "category_id": 2, "bbox": [0, 0, 3, 5]}],
    }
    truth = GroundTruth.from_coco(content)
    assert (truth.area.tolist(), truth.crowd.tolist()) == ([15.0], [False])
    assert len(Detections.from_coco([])) == 0


def images_of(kind: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    make = {"lists": lambda x: x, "arrays": np.array, "tensors": torch.tensor}[kind]
    targets = [
        {"boxes": make([[0.0, 0.0, 10.0, 10.0], [5.0, 5.0, 9.0, 7.0]]), "labels": make([1, 2])},
        {"boxes": make([]), "labels": make([])},
        {"boxes": make([[1.0, 1.0, 3.0, 3.0]]), "labels": make([1])},
    ]
    predictions = [
        {"boxes": make([[0.0, 0.0, 10.0, 9.0]]), "labels": make([1]), "scores": make([0.5])},
        {"boxes": make([[0.0, 0.0, 1.0, 1.0]]), "labels": make([2]), "scores": make([0.25])},
        {"boxes": make([]), "labels": make([]), "scores": make([])},
    ]
    return targets, predictions


@pytest.mark.parametrize("kind", ["lists", "arrays", "tensors"])
def test_dictionaries_of_torchvision_are_columns_with_images_by_position(kind: str) -> None:
    targets, predictions = images_of(kind)
    truth, detections = GroundTruth.from_dicts(targets), Detections.from_dicts(predictions)
    assert_equal(truth, GroundTruth([[0, 0, 10, 10], [5, 5, 9, 7], [1, 1, 3, 3]], [1, 2, 1], [0, 0, 2]))
    assert truth.images.tolist() == [0, 1, 2]
    assert_equal(detections, Detections([[0, 0, 10, 9], [0, 0, 1, 1]], [0.5, 0.25], [1, 2], [0, 1]))
    assert evaluate(truth, detections).per_category[1] > 0
    assert GroundTruth.from_dicts(targets, categories=[1, 2, 5]).categories.tolist() == [1, 2, 5]


def test_ids_crowds_and_areas_of_dictionaries_are_kept() -> None:
    targets, predictions = images_of("tensors")
    for number, target in enumerate(targets):
        target["image_id"] = torch.tensor([10 + number]) if number else 10
    targets[0] |= {"iscrowd": torch.tensor([0, 1]), "area": torch.tensor([50.0, 8.0])}
    truth = GroundTruth.from_dicts(targets)
    assert truth.images.tolist() == [10, 11, 12]
    assert (truth.crowd.tolist(), truth.area.tolist()) == ([False, True, False], [50.0, 8.0, 4.0])
    assert Detections.from_dicts(predictions, images=[10, 11, 12]).image_ids.tolist() == [10, 11]
    predictions = [prediction | {"image_id": 7 + number} for number, prediction in enumerate(predictions)]
    assert Detections.from_dicts(predictions).image_ids.tolist() == [7, 8]


def test_a_tensor_with_a_gradient_in_half_precision_is_read() -> None:
    boxes = torch.tensor([[0.5, 0.0, 2.0, 1.0]], dtype=torch.bfloat16, requires_grad=True)
    output = {"boxes": boxes, "labels": torch.tensor([1]), "scores": torch.tensor([0.5], dtype=torch.float16)}
    assert Detections.from_dicts([output]).boxes.tolist() == [[0.5, 0.0, 2.0, 1.0]]


def test_no_images_are_no_boxes() -> None:
    assert len(GroundTruth.from_dicts([])) == len(Detections.from_dicts([])) == 0


EMPTY = {"images": [], "categories": [], "annotations": []}
BOX = {"boxes": [[0, 0, 1, 1]], "labels": [1], "scores": [0.5]}


@pytest.mark.parametrize(
    ("make", "source", "message"),
    [
        (GroundTruth.from_coco, 3, "COCO annotations: is of type int; expected COCO annotations, with images"),
        (GroundTruth.from_coco, {"images": []}, "COCO annotations: has no list 'annotations'; expected"),
        (
            GroundTruth.from_coco,
            "missing.json",
            "missing.json: no such file; expected a",
        ),
        (
            GroundTruth.from_coco,
            EMPTY | {"annotations": [{"bbox": [0, 0, -1, 1]}]},
            r"annotation 0 has bbox \[0.0, 0.0, -1.0, 1.0\]: expected a width and a height of at least 0",
        ),
        (
            GroundTruth.from_coco,
            EMPTY | {"annotations": [{"bbox": [0, 0, 1, 1], "category_id": "cat"}]},
            "annotation 0 has category_id 'cat': expected a whole number",
        ),
        (
            GroundTruth.from_coco,
            EMPTY | {"annotations": [{"bbox": [0, 0, 1, 1], "area": "x"}]},
            "annotation 0 has no 'category_id': expected category_id among bbox, area",
        ),
        (
            GroundTruth.from_coco,
            EMPTY | {"annotations": [{"bbox": [0, 0, 1, 1], "category_id": 1, "image_id": 1, "area": "x"}]},
            "annotation 0 has area 'x': expected a number",
        ),
        (Detections.from_coco, EMPTY, "COCO results: is COCO annotations; expected COCO results, a list of objects"),
        (Detections.from_coco, 3, "COCO results: is of type int; expected COCO results"),
        (Detections.from_coco, [3], "result 0 is of type int: expected a dictionary with 'bbox'"),
        (Detections.from_coco, [{"bbox": [0, 0, 1]}], r"result 0 has bbox \[0, 0, 1\]: expected four numbers"),
        (Detections.from_coco, [{"bbox": [0, 0, 1, 1]}], "result 0 has no 'score': expected score among bbox"),
        (Detections.from_coco, [{"bbox": [0, 0, 1, 1], "score": "x"}], "result 0 has score 'x': expected a number"),
        (GroundTruth.from_dicts, BOX, "targets are of type dict: expected a list of dictionaries, one for each image"),
        (GroundTruth.from_dicts, [[]], "target 0 is of type list: expected a dictionary with 'boxes'"),
        (GroundTruth.from_dicts, [{"boxes": [[0, 0, 1, 1]]}], "target 0 has no 'labels': expected labels among boxes"),
        (GroundTruth.from_dicts, [BOX | {"boxes": [0, 1]}], r"target 0 has boxes of shape \(2,\): expected \(n, 4\)"),
        (GroundTruth.from_dicts, [BOX | {"boxes": [[0], [1, 2]]}], r"target 0 has boxes that are no numbers of shape"),
        (
            GroundTruth.from_dicts,
            [BOX, BOX | {"labels": [1, 2]}],
            r"target 1 has labels of shape \(2,\): expected",
        ),
        (GroundTruth.from_dicts, [BOX | {"labels": [[1], [1, 2]]}], "target 0 has labels of different lengths"),
        (
            GroundTruth.from_dicts,
            [BOX, BOX | {"image_id": 1}],
            "target 0 has no 'image_id', but others have",
        ),
        (
            GroundTruth.from_dicts,
            [BOX | {"image_id": 1}, BOX | {"image_id": 1}],
            "image_id 1 is given twice: expected one target for each image",
        ),
        (GroundTruth.from_dicts, [BOX | {"image_id": "a"}], "target 0 has image_id 'a': expected a whole number"),
        (GroundTruth.from_dicts, [BOX | {"labels": [1.5]}], "ground truth labels have type float64: give integers"),
        (Detections.from_dicts, [{"boxes": [], "labels": []}], "prediction 0 has no 'scores': expected scores among"),
        (
            lambda source: Detections.from_dicts(source, images=[1, 2]),
            [BOX],
            r"images have shape \(2,\) for 1 predictions: expected one id for each",
        ),
    ],
)
def test_what_is_wrong_is_named_in_one_line(make: Any, source: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        make(source)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("[{")
    with pytest.raises(DataError, match=r"results.json, line 1, column \d+: is not valid JSON"):
        Detections.from_coco(tmp_path / "results.json")
