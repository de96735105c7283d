"""Annotations without a box get the one around their mask, whatever form it has, and bad masks are one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mapopt.data import read_coco
from mapopt.data.masks import around, with_boxes
from mapopt.errors import DataError
from mapopt.evaluation.ground_truth import read_ground_truth


def runs_of(pixels: np.ndarray) -> list[int]:
    """Returns the uncompressed runs of a mask, by counting."""
    runs, inside = [0], False
    for pixel in pixels.flatten("F").tolist():
        if bool(pixel) != inside:
            runs.append(0)
            inside = not inside
        runs[-1] += 1
    return runs


@pytest.mark.parametrize("fraction", [0.02, 0.3, 0.9, 1.0])
def test_runs_in_both_forms_have_the_box_that_pycocotools_gives_them(fraction: float) -> None:
    random = np.random.default_rng(int(100 * fraction))
    seen = 0
    for _ in range(100):
        height, width = (int(side) for side in random.integers(1, 40, 2))
        pixels = np.asfortranarray(random.random((height, width)) < fraction).astype(np.uint8, order="F")
        if not pixels.any():
            continue
        packed = coco_mask.encode(pixels)
        expected = coco_mask.toBbox(packed).tolist()
        counts = packed["counts"].decode()
        assert around({"size": [height, width], "counts": counts}, "a") == expected
        assert around({"size": [height, width], "counts": runs_of(pixels)}, "a", (width, height)) == expected
        seen += 1
    assert seen > 50


def test_a_large_mask_has_long_numbers_and_differences_below_zero() -> None:
    pixels = np.zeros((3000, 2000), np.uint8, order="F")
    pixels[10:2500, 100:1900] = 1
    pixels[700:1200, 1200:1300] = 0
    packed = coco_mask.encode(pixels)
    given = {"size": [3000, 2000], "counts": packed["counts"].decode()}
    assert around(given, "a") == coco_mask.toBbox(packed).tolist() == [100, 10, 1800, 2490]


def test_polygons_have_the_box_of_all_their_points() -> None:
    assert around([[1, 2, 5, 2, 5, 9], [8, 1, 9, 1, 9, 2]], "a") == [1, 1, 8, 8]
    assert around([1, 2, 5, 2, 5, 9], "a") == [1, 2, 4, 7], "one, without its list"
    for nothing in (None, [], {}.get("x"), [[1, 2]], "text", [[1, 2, 3, 4, 5, "6"]]):
        assert around(nothing, "a") is None, nothing


SQUARE = {"size": [20, 40], "counts": [41, 2, 757]}


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ({}, "annotation 8: the 'size' of its segmentation is None. Expected height and width."),
        ({**SQUARE, "size": [20]}, "annotation 8: the 'size' of its segmentation is [20]. Expected height and width."),
        ({**SQUARE, "size": [0, 40]}, "the 'size' of its segmentation is [0, 40]."),
        ({**SQUARE, "size": [20.0, 40]}, "the 'size' of its segmentation is [20.0, 40]."),
        ({**SQUARE, "size": [40, 20]}, "its segmentation is of 20 x 40 pixels, and its image of 40 x 20."),
        ({**SQUARE, "counts": None}, "the 'counts' of its segmentation are None. Expected numbers, or COCO's text."),
        ({**SQUARE, "counts": [41, 2.0, 757]}, "the 'counts' of its segmentation are "),
        ({**SQUARE, "counts": [41, 2]}, "the 'counts' of its segmentation are of 43 pixels, and its 'size' is of 800."),
        ({**SQUARE, "counts": [-41, 84, 757]}, "Expected one number for all of them."),
        ({**SQUARE, "counts": [800]}, "annotation 8: its segmentation is empty. Expected a pixel, or a box."),
        ({**SQUARE, "counts": ""}, "no text that COCO's tools write"),
        ({**SQUARE, "counts": "`"}, "no text that COCO's tools write"),
        ({**SQUARE, "counts": "\x00"}, "no text that COCO's tools write"),
        ({**SQUARE, "counts": "é"}, "Expected numbers, or COCO's text."),
        ({**SQUARE, "counts": "o" * 30 + "1"}, "no text that COCO's tools write"),
    ],
)
def test_a_mask_that_cannot_be_is_one_line(mask: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as refused:
        around(mask, "annotation 8", (40, 20))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_box_that_is_there_stays_and_the_given_entries_are_left_alone() -> None:
    entries = [{"bbox": [1, 2, 3, 4], "segmentation": SQUARE}, {"segmentation": SQUARE}, {"bbox": []}]
    completed, remark = with_boxes(entries, ["a", "b", "c"], np.zeros((3, 2), int))
    assert [entry.get("bbox") for entry in completed] == [[1, 2, 3, 4], [2, 1, 1, 2], []]
    assert remark == "1 annotation has no box, and gets the one around the mask (segmentation)."
    assert "bbox" not in entries[1]
    assert with_boxes(entries[:1], ["a"], np.zeros((1, 2), int))[1] == ""
    assert with_boxes(entries[1:2] * 2, ["a", "b"], np.zeros((2, 2), int))[1].startswith(
        "2 annotations have no box, and"
    )


def test_both_readers_take_boxes_from_masks_and_say_so(tmp_path: Path) -> None:
    packed = coco_mask.encode(np.asfortranarray(np.pad(np.ones((4, 6), np.uint8), ((5, 11), (10, 24)))))
    masks: list[Any] = [
        {"size": [20, 40], "counts": packed["counts"].decode()},
        SQUARE,
        [[10, 5, 16, 5, 16, 9]],
    ]
    annotations = [{"id": n, "image_id": 1, "category_id": 1, "segmentation": mask} for n, mask in enumerate(masks)]
    truth = {
        "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 20}],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": annotations,
    }
    (tmp_path / "train.json").write_text(json.dumps(truth))
    said = "3 annotations have no box, and get the one around the mask (segmentation)"
    for notes in (read_coco(tmp_path / "train.json"), read_ground_truth(tmp_path / "train.json")):
        assert notes.boxes.tolist() == [[10, 5, 16, 9], [2, 1, 3, 3], [10, 5, 16, 9]]
        assert [remark.rstrip(".") for remark in notes.remarks] == [said]
