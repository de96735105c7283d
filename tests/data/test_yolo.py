"""YOLO folders hold boxes as fractions; corners of six decimals survive it to the last bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mapopt.data import Annotations, read_yolo, write_yolo
from mapopt.errors import DataError


@pytest.fixture
def written(make_annotations, write_images, tmp_path) -> tuple[Annotations, Path]:
    """Returns annotations that YOLO can hold, and a folder that has them as its train split."""
    whole = make_annotations(
        image_ids=[1, 2, 3], category_ids=[0, 5], ids=[1, 2, 3], file_names=("b.png", "a.png", "deep/c.png")
    )
    write_yolo(whole, tmp_path, "train")
    write_images(whole, tmp_path / "images" / "train")
    return whole, tmp_path


def test_what_is_written_is_read_back_in_the_same_order(written):
    whole, folder = written
    assert read_yolo(folder / "data.yaml", "train") == whole


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 10**9)] * 4), min_size=1, max_size=20), st.integers(1, 4000))
def test_corners_of_six_decimals_come_back_to_the_last_bit(tmp_path_factory, corners, width):
    folder = tmp_path_factory.mktemp("yolo")
    fractions = np.sort(np.array(corners).reshape(-1, 2, 2) / 10**9, axis=1).reshape(-1, 4)
    boxes = np.round(fractions * [width, 7, width, 7], 6)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1e-6).round(6)
    sides = boxes[:, 2:] - boxes[:, :2]
    count = len(boxes)
    whole = Annotations(
        image_ids=[1], file_names=("a.png",), widths=[width], heights=[7], category_ids=[0], category_names=("x",),
        boxes=boxes, labels=np.zeros(count), images=np.zeros(count), crowd=np.zeros(count, bool),
        area=sides[:, 0] * sides[:, 1], ids=np.arange(1, count + 1),
    )  # fmt: skip
    write_yolo(whole, folder, "train")
    (folder / "images" / "train").mkdir(parents=True)
    Image.new("L", (width, 7)).save(folder / "images" / "train" / "a.png")
    assert read_yolo(folder / "data.yaml", "train") == whole


def test_a_second_split_goes_beside_the_first(written, write_images, make_annotations):
    whole, folder = written
    write_yolo(whole.select([0]), folder, "val")
    write_images(whole.select([0]), folder / "images" / "val")
    assert read_yolo(folder / "data.yaml", "val") == whole.select([0])
    assert read_yolo(folder / "data.yaml", "train") == whole
    with pytest.raises(DataError, match="has other names"):
        write_yolo(make_annotations(category_names=("cat", "cow")), folder, "test")


@pytest.mark.parametrize(
    "entry",
    [
        {"train": "images/train"},
        {"train": ["images/train"]},
        {"train": "../images/train"},
        {"path": "../not/here", "train": "images/train"},
        {"path": ".", "train": "images/train", "nc": 2, "names": {0: "cat", 5: "dog"}},
    ],
)
def test_the_default_ways_to_name_a_folder_of_images_work(written, entry):
    whole, folder = written
    (folder / "data.yaml").write_text(yaml.safe_dump({"names": {0: "cat", 5: "dog"}, **entry}))
    read = read_yolo(folder / "data.yaml", "train")
    assert read.file_names == ("a.png", "b.png", "deep/c.png")
    assert read.root.resolve() == (folder / "images" / "train").resolve()
    assert sorted(read.boxes.tolist()) == sorted(whole.boxes.tolist())


def test_polygons_count_as_the_box_around_them(written):
    _, folder = written
    (folder / "labels/train/b.txt").write_text("5 0.1 0.2 0.5 0.1 0.3 0.9\n")
    read = read_yolo(folder / "data.yaml", "train")
    assert read.boxes[0].tolist() == [4, 2, 20, 18]


def test_labels_beside_the_images_and_missing_label_files_are_understood(tmp_path):
    (tmp_path / "pictures").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (10, 10)).save(tmp_path / "pictures" / f"{name}.png")
    (tmp_path / "pictures" / "a.txt").write_text("0 .5 .5 .2 .4\n\n")
    (tmp_path / "data.yaml").write_text("names: [x]\ntrain: pictures\n")
    read = read_yolo(tmp_path / "data.yaml", "train")
    assert len(read) == 2
    assert read.boxes.tolist() == [[4, 3, 6, 7]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 .5 .5 .2", "line 2: has 4 numbers"),
        ("0 .5 .5 .2 x", "line 2: .* is not all numbers"),
        ("0.5 .5 .5 .2 .2", "line 2: class 0.5 is not a whole number"),
        ("1 .5 .5 .2 .2", "line 2: class 1 is not in the names of .*data.yaml .0 to 5."),
        ("0 .5 .5 0 .2", "line 2: .*has no area"),
        ("0 .9 .5 .9 .2", "line 2: .*reaches out"),
        ("0 nan .5 .9 .2", "line 2: .*not finite"),
    ],
)
def test_what_is_wrong_is_named_with_the_file_and_the_line(written, line, message):
    _, folder = written
    path = folder / "labels" / "train" / "b.txt"
    path.write_text(f"0 .5 .5 .2 .2\n{line}\n")
    with pytest.raises(DataError, match=rf"b\.txt, {message}"):
        read_yolo(folder / "data.yaml", "train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: images/train", "has no 'names'"),
        ("names: [a, b\ntrain: x", r"data\.yaml, line 2: is not valid YAML"),
        ("names: 3\ntrain: images/train", "'names' is '3'"),
        ("names: []\ntrain: images/train", "'names' is"),
        ("names: [a]\nnc: 2\ntrain: images/train", "'nc' is 2, but there are 1 names"),
        ("names: [a]", "'train' is None"),
        ("names: [a]\ntrain: {x: y}", "'train' is {'x': 'y'}"),
        ("names: [a]\ntrain: [images/train, [x]]", r"'train' is \['images/train', \['x'\]\]"),
        ("names: [a]\nnames: [b]\ntrain: images/train", r"line 2: .*'names' is there twice"),
        ("names: {0: a, 0: b}\ntrain: images/train", r"line 1: .*'0' is there twice"),
        ("names: [a]\nkpt_shape: 17\ntrain: images/train", r"'kpt_shape' is 17\. Expected the number of keypoints"),
        ("names: [a]\ntrain: nowhere", "'train' names nowhere"),
        ("names: [a]\ntrain: labels", "has no image"),
        ("names: [a, a]\ntrain: images/train", "category name a is used twice"),
    ],
)
def test_a_wrong_data_yaml_is_named(written, text, message):
    _, folder = written
    for path in (folder / "labels" / "train").rglob("*.txt"):
        path.write_text("")
    (folder / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=message):
        read_yolo(folder / "data.yaml", "train")


def test_a_listed_image_that_is_missing_is_named(written):
    _, folder = written
    (folder / "images" / "train" / "b.png").unlink()
    with pytest.raises(DataError, match=r"b\.png: no such image"):
        read_yolo(folder / "data.yaml", "train")


def test_crowds_are_refused_because_yolo_cannot_say_them(make_annotations, tmp_path):
    with pytest.raises(DataError, match="annotation 1 is a crowd"):
        write_yolo(make_annotations(crowd=[False, True, False]), tmp_path / "out", "train")
    assert not (tmp_path / "out").exists()
