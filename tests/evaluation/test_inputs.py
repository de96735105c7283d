"""Results that cannot belong to the ground truth are refused, with the entry and what was expected."""

from __future__ import annotations

import json

import pytest

from mapopt.data import read_coco
from mapopt.errors import DataError
from mapopt.evaluation.inputs import named_ground_truth, read_predictions

TRUTH = {
    "images": [{"id": 5 + n, "file_name": f"{n}.jpg", "width": 100, "height": 50} for n in range(4)],
    "categories": [{"id": 1, "name": "cat"}, {"id": 7, "name": "dog"}],
    "annotations": [
        {"id": n, "image_id": 5 + n, "category_id": (1, 7)[n % 2], "bbox": [60, 20, 30, 25]} for n in range(4)
    ],
}
RESULTS = [{"image_id": 5 + n, "category_id": (1, 7)[n % 2], "bbox": [60, 20, 30, 24], "score": 0.5} for n in range(4)]


@pytest.fixture
def read(tmp_path):
    """Reads a ground truth and results that are given as values."""

    def reader(results, truth=TRUTH, **flags):
        (tmp_path / "truth.json").write_text(json.dumps(truth))
        (tmp_path / "results.json").write_text(json.dumps(results))
        known = named_ground_truth(read_coco(tmp_path / "truth.json"), name="truth.json", **flags.pop("naming", {}))
        return read_predictions(tmp_path / "results.json", known, **flags)

    return reader


def changed(**entry):
    return [*RESULTS[:3], {**RESULTS[3], **entry}]


def test_predictions_have_the_ids_of_the_file_or_positions(read):
    assert read(RESULTS).detections.labels.tolist() == [1, 7, 1, 7]
    by_position = read(RESULTS, naming={"by_position": True}).detections
    assert by_position.labels.tolist() == [0, 1, 0, 1]
    assert by_position.image_ids.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([], "results.json: holds no box. A detector that detects nothing has AP 0; check that this one ran."),
        (
            changed(image_id=99),
            "results.json: entry 3 is of image 99, which truth.json does not list (its 4 ids run from 5 to 8), like 1 "
            "of 4 entries. Give the ground truth of these results, or --unknown drop to leave such entries out.",
        ),
        (
            changed(category_id=2),
            "results.json: entry 3 is of category 2, which truth.json does not list (its 2 ids run from 1 to 7), like "
            "1 of 4 entries. Give the ground truth of these results, or --unknown drop to leave such entries out.",
        ),
        (
            [{**entry, "category_id": n % 2} for n, entry in enumerate(RESULTS)],
            "results.json: entry 0 is of category 0, which truth.json does not list (its 2 ids run from 1 to 7), like "
            "2 of 4 entries. Expected the ids of the annotation file; these seem to be positions from 0.",
        ),
        (
            [{**entry, "bbox": [60, 20, 90, 45]} for entry in RESULTS],
            "results.json: 4 of 4 boxes end far outside of their image; the first is entry 0, (60, 20, 90, 45) in "
            "100 x 50 pixels. Read as left, top, right and bottom they fit. Expected left, top, width and height: "
            "subtract left from right, and top from bottom.",
        ),
        (
            [{**entry, "bbox": [600, 200, 300, 240]} for entry in RESULTS],
            "results.json: 4 of 4 boxes end far outside of their image; the first is entry 0, (600, 200, 300, 240) in "
            "100 x 50 pixels. Expected pixels: left, top, width and height, of the original image; check that these "
            "boxes are not in pixels of the network's input, and that annotations and images belong together.",
        ),
        (
            [{**entry, "bbox": [0.6, 0.4, 0.3, 0.5]} for entry in RESULTS],
            "results.json: all boxes lie between 0 and 1, as fractions of the image. Expected pixels: left, top, width "
            "and height, each multiplied by the image's width or height.",
        ),
    ],
)
def test_what_cannot_belong_to_the_ground_truth_is_named(read, results, message):
    with pytest.raises(DataError) as caught:
        read(results)
    assert str(caught.value).endswith(message)


def test_a_few_boxes_over_the_edge_are_the_detectors_own(read):
    assert len(read(changed(bbox=[90, 20, 60, 20])).detections) == 4


def test_strangers_are_dropped_when_asked(read):
    predictions = read(changed(image_id=99), unknown="drop")
    assert (len(predictions.detections), predictions.left_out) == (3, 1)
    assert read(changed(category_id=2), unknown="drop").left_out == 1
    with pytest.raises(DataError, match=r"image 99.* like 4 of 4 entries\. Nothing is left\."):
        read([{**entry, "image_id": 99} for entry in RESULTS], unknown="drop")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annotations": []}, "truth.json: has no object to find, so that AP is undefined"),
        ({"annotations": [{**TRUTH["annotations"][0], "iscrowd": 1}]}, "has no object to find"),
        ({"annotations": TRUTH["annotations"][:1] * 2}, "annotation id 0 is used twice. Give each annotation its own."),
        ({"images": TRUTH["images"][:1] * 2}, "annotation 1: image id 6 is not in the file's list"),
        ({"images": [*TRUTH["images"], TRUTH["images"][0]]}, "image id 5 is used twice. Give each its own."),
        ({"categories": [*TRUTH["categories"], {"id": 7, "name": "fox"}]}, "category id 7 is used twice."),
        ({"categories": TRUTH["categories"][:1]}, "annotation 1: category id 7 is not in the file's list"),
        ({"images": []}, "annotation 0: image id 5 is not in the file's list of image ids (0 of them)"),
    ],
)
def test_a_ground_truth_that_contradicts_itself_is_refused(read, change, message):
    with pytest.raises(DataError) as caught:
        read(RESULTS, {**TRUTH, **change})
    assert message in str(caught.value)
