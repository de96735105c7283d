"""Boxes written in another form are recognized, in annotations of every format as in results."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from mapopt.data import load_splits, read_coco, read_voc, read_yolo, settle_boxes, write_coco, write_voc, write_yolo
from mapopt.data.misplaced import misplaced
from mapopt.errors import DataError

SIZE = np.full((60, 2), 480)


def some(seed: int) -> np.ndarray:
    """Returns 60 boxes in images of 480 x 480, as corners."""
    generator = np.random.default_rng(seed)
    corner = generator.uniform(0, 400, (60, 2))
    side = np.minimum(generator.uniform(5, 200, (60, 2)), 480 - corner)
    return np.concatenate([corner, corner + side], axis=1)


def said(boxes: np.ndarray, form: str) -> str:
    return misplaced(boxes, SIZE[:, 0], SIZE[:, 1], name=lambda i: f"box {i}", form=form)


def as_sizes(boxes: np.ndarray) -> np.ndarray:
    """Returns the corners that come of numbers which are read as left, top, width and height."""
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def as_fractions(numbers: np.ndarray) -> np.ndarray:
    """Returns the corners that come of numbers which are read as center, width and height in fractions."""
    center, sides = numbers[:, :2] * 480, numbers[:, 2:] * 480
    return np.concatenate([center - sides / 2, center + sides / 2], axis=1)


@pytest.mark.parametrize("seed", range(5))
def test_every_form_is_distinguished_from_the_others_wherever_boxes_are(seed):
    right = some(seed)
    sizes = np.concatenate([right[:, :2], right[:, 2:] - right[:, :2]], axis=1)
    for form in ("corners", "sizes", "fractions"):
        assert said(right, form) == ""
    assert "Read as left, top, right and bottom they fit" in said(as_sizes(right), "sizes")
    assert "Read as left, top, width and height they fit" in said(sizes, "corners")
    assert "Read as left, top, right and bottom they fit" in said(as_fractions(right / 480), "fractions")
    center = np.concatenate([(right[:, :2] + right[:, 2:]) / 2, right[:, 2:] - right[:, :2]], axis=1)
    assert "Read as pixels they fit" in said(as_fractions(center), "fractions")
    for form in ("corners", "sizes"):
        assert said(right / 480, form).startswith("all boxes lie between 0 and 1, as fractions")
    assert "not in pixels of the network's input" in said(right * 4, "sizes")
    assert misplaced(right[:0], SIZE[:0, 0], SIZE[:0, 1], name=str) == ""


@pytest.mark.parametrize("invalid", ["error", "clip", "drop"])
def test_annotations_in_another_form_are_refused_under_every_policy(invalid):
    def settle(boxes: np.ndarray, form: str) -> None:
        settle_boxes(boxes, SIZE[:, 0], SIZE[:, 1], invalid=invalid, name=lambda i: f"box {i}", form=form)

    with pytest.raises(DataError, match="as fractions of the image"):
        settle(some(0) / 480, "sizes")
    with pytest.raises(DataError, match=r"the first is box \d+, .*Read as left, top, right and bottom they fit"):
        settle(as_sizes(some(0)), "sizes")


def test_single_mistakes_are_the_policy_s_to_settle():
    boxes = some(0)[:4]
    boxes[:2, 2:] += 480
    kept = settle_boxes(boxes, SIZE[:4, 0], SIZE[:4, 1], invalid="drop", name=str, form="sizes")[1]
    assert kept.tolist() == [False, False, True, True]


def test_the_readers_of_all_formats_look_for_it(make_annotations, write_images, tmp_path):
    notes = make_annotations()
    write_coco(notes, tmp_path / "train.json")
    data = json.loads((tmp_path / "train.json").read_text())
    for entry in data["annotations"]:
        entry["bbox"] = [number / 50 for number in entry["bbox"]]
    (tmp_path / "train.json").write_text(json.dumps(data))
    with pytest.raises(DataError, match=r"train\.json: all boxes lie between 0 and 1"):
        read_coco(tmp_path / "train.json")

    write_voc(notes, tmp_path, "train")
    for path in (tmp_path / "Annotations").glob("*.xml"):
        text = re.sub(r"(<[xy]m..>)([0-9.]+)<", lambda match: f"{match[1]}{float(match[2]) / 50}<", path.read_text())
        path.write_text(text)
    with pytest.raises(DataError, match="all boxes lie between 0 and 1"):
        read_voc(tmp_path, "train")

    write_yolo(notes, tmp_path / "yolo", "train")
    write_images(notes, tmp_path / "yolo" / "images" / "train")
    for name in "ac":
        (tmp_path / "yolo" / "labels" / "train" / f"{name}.txt").write_text("5 12 8 9 6\n5 9 12 7 12\n")
    with pytest.raises(DataError, match=r"Read as pixels they fit"):
        read_yolo(tmp_path / "yolo" / "data.yaml", "train")
    with pytest.raises(DataError, match=r"Expected one of: COCO"):
        load_splits(tmp_path / "yolo" / "labels", size=(16, 16))
