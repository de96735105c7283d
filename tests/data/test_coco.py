"""COCO files are read with any ids, and written so that reading gives back every bit."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mapopt.data import Annotations, read_coco, write_coco
from mapopt.data.coco import _extent
from mapopt.errors import DataError


def content() -> dict:
    return {
        "images": [
            {"id": 4, "file_name": "a.png", "width": 40, "height": 20},
            {"id": 0, "file_name": "b.png", "width": 30, "height": 30},
        ],
        "annotations": [
            {"id": 8, "image_id": 0, "category_id": 90, "bbox": [1.1, 2.2, 3.3, 4.4], "area": 9.5, "iscrowd": 1},
            {"id": 2, "image_id": 4, "category_id": 0, "bbox": [0, 0, 40, 20]},
        ],
        "categories": [{"id": 90, "name": "dog"}, {"id": 0, "name": "cat"}],
    }


def write(path, data) -> str:
    path.write_text(json.dumps(data))
    return str(path)


def test_ids_of_any_kind_become_positions_and_missing_fields_their_defaults(tmp_path):
    read = read_coco(write(tmp_path / "x.json", content()))
    assert read.image_ids.tolist() == [4, 0]
    assert read.category_ids.tolist() == [90, 0]
    assert read.labels.tolist() == [0, 1]
    assert read.images.tolist() == [1, 0]
    assert read.crowd.tolist() == [True, False]
    assert read.area.tolist() == [9.5, 800.0]
    assert read.boxes.tolist() == [[1.1, 2.2, 1.1 + 3.3, 2.2 + 4.4], [0, 0, 40, 20]]


def test_a_file_that_is_read_and_written_says_the_same(tmp_path):
    data = content()
    data["annotations"][1].update(area=800.0, iscrowd=0)
    write_coco(read_coco(write(tmp_path / "x.json", data)), tmp_path / "y.json")
    assert json.loads((tmp_path / "y.json").read_text()) == data


def test_annotations_that_are_written_and_read_are_equal(make_annotations, tmp_path):
    whole = make_annotations(crowd=[False, True, False], area=[50.5, 800.0, 1 / 3])
    write_coco(whole, tmp_path / "x.json")
    assert read_coco(tmp_path / "x.json") == whole
    without_objects = whole.keep([])
    write_coco(without_objects, tmp_path / "x.json")
    assert read_coco(tmp_path / "x.json") == without_objects


corner = st.floats(0, 500) | st.integers(0, 500).map(float) | st.integers(0, 50000).map(lambda n: n / 100)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(corner, corner, corner, corner), min_size=1, max_size=8))
@example([(1.4900000000000002, 0.0, 18.3, 1.0)])
@example([(-0.3, -0.1, 3.9999999999999996, 1.0)])
def test_every_box_comes_back_to_the_last_bit(tmp_path_factory, corners):
    boxes = np.sort(np.array(corners).reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    # Boxes that are all smaller than a pixel are taken for fractions.
    boxes = np.concatenate([[[0, 0, 500, 500]], boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]])
    count = len(boxes)
    whole = Annotations(
        image_ids=[1], file_names=("a",), widths=[500], heights=[500], category_ids=[0], category_names=("x",),
        boxes=boxes, labels=np.zeros(count), images=np.zeros(count), crowd=np.zeros(count, bool),
        area=np.full(count, 2.0), ids=np.arange(count),
    )  # fmt: skip
    path = tmp_path_factory.mktemp("coco") / "x.json"
    write_coco(whole, path)
    assert read_coco(path) == whole


def test_an_edited_box_counts_for_more_than_the_exact_corners_beside_it(tmp_path):
    data = broken(lambda d: d["annotations"][1].update(corners=[0.0, 0.0, 30.0, 20.0]))
    assert read_coco(write(tmp_path / "x.json", data)).boxes[1].tolist() == [0, 0, 40, 20]


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 64000), st.integers(1, 64000))
def test_a_width_of_two_decimals_comes_back_as_it_was(left, width):
    low = np.array([left / 100])
    assert _extent(low, low + width / 100)[0] == width / 100


def test_images_are_looked_for_in_the_default_places(tmp_path, make_annotations, write_images):
    whole = make_annotations()
    for layout, folder in (("one", "one/images"), ("two", "two/val2014"), ("three", "three/annotations")):
        path = tmp_path / layout / "annotations" / "instances_val2014.json"
        write_coco(whole, path)
        write_images(whole, tmp_path / folder)
        assert read_coco(path).root == tmp_path / folder
    assert read_coco(path, tmp_path / "one" / "images").root == tmp_path / "one" / "images"
    with pytest.raises(DataError, match="elsewhere, does not exist"):
        read_coco(path, tmp_path / "elsewhere")


def broken(change) -> dict:
    data = content()
    change(data)
    return data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("images"), "has no list 'images'"),
        (lambda d: d["images"].clear() or d["annotations"].clear(), "holds no image"),
        (lambda d: d["categories"].append(3), "entry 2 of 'categories' is not an object"),
        (
            lambda d: d["annotations"][0].update(category_id=17),
            "annotation 8: category id 17 is not in the file's list",
        ),
        (lambda d: d["annotations"][0].update(image_id=17), "annotation 8: image id 17 is not in the file's list"),
        (lambda d: d["annotations"][0].pop("bbox"), r"annotation 8 \(image .*\): has no box\. .*--invalid drop"),
        (lambda d: d["annotations"][1].pop("id"), "entry 1 of the annotation list has no 'id'"),
        (lambda d: d["annotations"][1].update(id="x"), "entry 1 of the annotation list: 'id' is 'x'"),
        (lambda d: d["annotations"][1].update(id=8), "annotation id 8 is used twice"),
        (lambda d: d["images"].append({**d["images"][0], "file_name": "c"}), "image id 4 is used twice"),
        (lambda d: d["images"][1].update(file_name=7), "image 0: 'file_name' is 7"),
        (lambda d: d["images"][1].update(width="wide"), "image 0: 'width' is 'wide'"),
        (lambda d: d["annotations"][0].update(bbox=[1, 2, 3]), "annotation 8: 'bbox' is .1, 2, 3."),
        (lambda d: d["annotations"][0].update(bbox=[1, 2, 3, "4"]), "annotation 8: 'bbox' is"),
        (lambda d: d["annotations"][0].update(bbox=[1, 2, 3, float("nan")]), "annotation 8 .*not finite"),
        (lambda d: d["annotations"][0].update(area="big"), "annotation 8: 'area' is 'big'"),
        (
            lambda d: d["annotations"][0].update(bbox=[1, 2, 0, 4]),
            "annotation 8 .image 'b.png'.*no area.*invalid='clip'",
        ),
        (lambda d: d["annotations"][0].update(bbox=[1, 2, 99, 4]), "annotation 8 .image 'b.png'.*reaches out"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(tmp_path, change, message):
    path = write(tmp_path / "bad.json", broken(change))
    with pytest.raises(DataError, match=rf"bad\.json: .*{message}"):
        read_coco(path)


def test_a_file_that_is_no_coco_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="has no list 'images'"):
        read_coco(write(tmp_path / "other.json", {"pictures": []}))
    with pytest.raises(DataError, match="is a list, as files of results are"):
        read_coco(write(tmp_path / "list.json", [1, 2]))
    (tmp_path / "empty.json").write_text("\n")
    with pytest.raises(DataError, match=r"empty\.json: is empty"):
        read_coco(tmp_path / "empty.json")


def test_boxes_that_stick_out_are_cut_or_left_out_when_asked(tmp_path):
    data = broken(lambda d: d["annotations"][1].update(bbox=[-10, 5, 60, 10], area=600.0))
    path = write(tmp_path / "x.json", data)
    clipped = read_coco(path, invalid="clip")
    assert clipped.boxes[1].tolist() == [0, 5, 40, 15]
    assert clipped.area.tolist() == [9.5, 400.0]
    assert read_coco(path, invalid="drop").ids.tolist() == [8]


def test_a_whole_number_may_be_written_with_a_point(tmp_path):
    path = write(tmp_path / "x.json", broken(lambda d: d["images"][0].update(width=40.0)))
    assert isinstance(read_coco(path), Annotations)


def test_the_blood_cells_come_back_as_they_were(blood_cells, tmp_path):
    for split, images in (("train", 205), ("val", 87), ("test", 72)):
        source = blood_cells / f"{split}.json"
        read = read_coco(source)
        assert len(read) == images
        assert read.root == blood_cells / "images"
        write_coco(read, tmp_path / "x.json")
        before, after = (json.loads(path.read_text()) for path in (source, tmp_path / "x.json"))
        assert all(before[key] == after[key] for key in ("images", "annotations", "categories"))
