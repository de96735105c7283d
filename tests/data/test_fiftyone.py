"""FiftyOne's own exports are read as its COCO exports are, with every form that its exporter writes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mapopt.data import load_splits, read_part
from mapopt.data.annotations import Annotations
from mapopt.data.fiftyone import fiftyone_categories, is_fiftyone, read_fiftyone
from mapopt.errors import DataError


def export(
    notes: Annotations, folder: Path, *, listed_classes: bool = True, endings: bool = False, **changes: Any
) -> dict[str, Any]:
    """Writes labels.json as FiftyOne does; returns what is in it."""
    listed = list(notes.category_names)
    labels: dict[str, Any] = {}
    for position, name in enumerate(notes.file_names):
        rows = np.flatnonzero(notes.images == position)
        extent = np.array([notes.widths[position], notes.heights[position]] * 2)
        entries = []
        for row in rows:
            box = notes.boxes[row]
            label = int(notes.labels[row])
            entries.append(
                {
                    "label": label if listed_classes else listed[label],
                    "bounding_box": (np.concatenate([box[:2], box[2:] - box[:2]]) / extent).tolist(),
                    "confidence": None,
                    "attributes": {"color": "red"},
                }
            )
        labels[name if endings else Path(name).stem] = entries or None
    data = {**({"classes": listed} if listed_classes else {}), "labels": labels, **changes}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels.json").write_text(json.dumps(data))
    return data


@pytest.fixture
def notes(make_annotations: Any) -> Annotations:
    """Annotations with boxes inside their images."""
    made: Annotations = make_annotations(boxes=[[1, 2, 11, 12], [0, 0, 40, 20], [3.25, 4.5, 10.125, 30.75]])
    return made


@pytest.mark.parametrize("classes", [True, False])
@pytest.mark.parametrize("endings", [True, False])
def test_boxes_labels_and_empty_images_are_those_that_were_exported(
    classes: bool, endings: bool, notes: Annotations, write_images: Any, tmp_path: Path
) -> None:
    export(notes, tmp_path, listed_classes=classes, endings=endings)
    write_images(notes, tmp_path / "data")
    for path in (tmp_path, tmp_path / "labels.json"):
        read = read_part(path)
        assert read.file_names == notes.file_names
        assert (read.widths.tolist(), read.heights.tolist()) == (notes.widths.tolist(), notes.heights.tolist())
        assert np.allclose(read.boxes, notes.boxes, atol=1e-6)
        named = [read.category_names[label] for label in read.labels]
        assert named == [notes.category_names[label] for label in notes.labels]
        assert read.images.tolist() == notes.images.tolist()
        assert read.remarks == ()


def test_one_export_is_divided_by_seed(make_annotations: Any, write_images: Any, tmp_path: Path) -> None:
    boxes = [[1, 2, 11, 12], [0, 0, 10, 20], [3.25, 4.5, 10.125, 30.75]]
    notes = make_annotations(boxes=boxes, images=[0, 1, 2])
    export(notes, tmp_path)
    write_images(notes, tmp_path / "data")
    splits = load_splits(tmp_path, size=(16, 16), split=(0.34, 0.33, 0.33))
    assert sum(len(images) for _, images in splits.named()) == 3


def test_folders_of_splits_agree_on_their_categories(
    notes: Annotations, make_annotations: Any, write_images: Any, tmp_path: Path
) -> None:
    for split, names in (("train", ("cat", "dog")), ("validation", ("cow", "cat")), ("test", ("dog", "cat"))):
        part = make_annotations(file_names=tuple(f"{split}-{n}.png" for n in range(3)), category_names=names)
        export(part, tmp_path / split)
        write_images(part, tmp_path / split / "data")
    splits = load_splits(tmp_path, size=(16, 16))
    assert splits.train.annotations.category_names == splits.val.annotations.category_names == ("cat", "dog", "cow")
    val = splits.val.annotations
    assert [val.category_names[label] for label in val.labels] == ["cat", "cow", "cat"]


def test_its_coco_exports_are_still_coco(notes: Annotations, write_images: Any, tmp_path: Path) -> None:
    from mapopt.data import write_coco

    for split in ("train", "val"):
        write_coco(notes, tmp_path / split / "labels.json")
        write_images(notes, tmp_path / split / "data")
    assert not is_fiftyone(tmp_path / "train" / "labels.json")
    assert read_part(tmp_path, "val").category_ids.tolist() == [5, 0]


def test_images_and_entries_without_each_other_are_counted(
    notes: Annotations, write_images: Any, tmp_path: Path
) -> None:
    data = export(notes, tmp_path)
    write_images(notes, tmp_path / "data")
    del data["labels"]["b"]
    data["labels"] |= {"gone": [], "lost": None}
    (tmp_path / "labels.json").write_text(json.dumps(data))
    assert read_part(tmp_path).remarks == (
        "1 image has no entry and counts as empty, for instance b.png.",
        "2 entries have no image, for instance gone.",
    )


def test_a_name_without_an_ending_that_two_images_have_means_neither(
    notes: Annotations, write_images: Any, tmp_path: Path
) -> None:
    export(notes, tmp_path)
    write_images(notes, tmp_path / "data")
    shutil.copy(tmp_path / "data" / "a.png", tmp_path / "data" / "a.jpg")
    read = read_part(tmp_path)
    assert "1 entry has no image, for instance a." in read.remarks
    assert len(read.boxes) == 1


BOX = {"label": 0, "bounding_box": [0.1, 0.1, 0.5, 0.5]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": "cat"}, "labels.json: 'classes' is 'cat'. Expected the names of the classes."),
        (
            {"labels": {"a": [{**BOX, "label": 2}]}},
            "image 'a': 'label' is 2. Expected the name of a class, or a position",
        ),
        ({"labels": {"a": [{**BOX, "label": None}]}}, "image 'a': 'label' is None."),
        ({"labels": {"a": [{**BOX, "label": True}]}}, "image 'a': 'label' is True."),
        ({"labels": {"a": [BOX], "b": {}}}, "image 'b': {}. Expected a list of boxes, or null."),
        ({"labels": {"a": [BOX, 3]}}, "image 'a': [{"),
        ({"labels": {"a": [{**BOX, "bounding_box": [0.1, 0.1, 0.5]}]}}, "'bounding_box' is [0.1, 0.1, 0.5]. Expected"),
        ({"labels": {"a": [{**BOX, "bounding_box": [0.8, 0.1, 0.5, 0.5]}]}}, "a box of image 'a'"),
        ({"labels": {"x": [BOX], "y": []}}, "names 2 images, such as 'x', and none of them is in"),
        ({"labels": {"a": [{**BOX, "bounding_box": [0.1, 0.1, 0.5, float("nan")]}]}}, "a box of image 'a'"),
    ],
)
def test_what_is_wrong_is_named(
    change: dict[str, Any], message: str, notes: Annotations, write_images: Any, tmp_path: Path
) -> None:
    export(notes, tmp_path, **change)
    write_images(notes, tmp_path / "data")
    with pytest.raises(DataError) as refused:
        read_part(tmp_path)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (lambda e: [e[0] * 40, e[1] * 20, e[2] * 40, e[3] * 20], "Read as pixels they fit. Expected left, top, width"),
        (
            lambda e: [e[0], e[1], e[0] + e[2], e[1] + e[3]],
            "Read as left, top, right and bottom they fit. Expected left",
        ),
    ],
)
def test_boxes_in_another_form_are_recognized(
    box: Any, message: str, notes: Annotations, write_images: Any, tmp_path: Path
) -> None:
    boxes = [[0.5, 0.4, 0.45, 0.5], [0.6, 0.3, 0.3, 0.6], [0.7, 0.6, 0.25, 0.35], [0.55, 0.5, 0.4, 0.45]]
    export(notes, tmp_path, labels={"a": [{"label": 0, "bounding_box": box(entry)} for entry in boxes]})
    write_images(notes, tmp_path / "data")
    with pytest.raises(DataError, match=message):
        read_part(tmp_path)


def test_an_export_of_labels_alone_has_no_images(notes: Annotations, tmp_path: Path) -> None:
    export(notes, tmp_path)
    with pytest.raises(DataError, match=r"data: no such folder\. Expected the images of"):
        read_part(tmp_path)
    (tmp_path / "data").mkdir()
    with pytest.raises(DataError, match="data: holds no image"):
        read_fiftyone(tmp_path / "labels.json", fiftyone_categories([tmp_path / "labels.json"]))


def test_what_is_no_detection_export_is_not_taken_for_one(tmp_path: Path) -> None:
    for text in ("{", "[]", '{"labels": []}', '{"labels": {"a": null}}', '{"labels": {"a": "cat"}}'):
        (tmp_path / "labels.json").write_text(text)
        assert not is_fiftyone(tmp_path / "labels.json"), text
    assert not is_fiftyone(tmp_path / "none" / "labels.json")
