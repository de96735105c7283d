"""Which image and category an entry of results means: by id, by name, and where that is ambiguous."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mapopt.errors import ConfigError, DataError
from mapopt.evaluation import Questions, named_ground_truth, read_predictions
from mapopt.evaluation.ground_truth import id_order, read_ground_truth
from mapopt.evaluation.names import category_meaning, image_meaning, match_file_names

TRUTH = {
    "images": [{"id": 5 + n, "file_name": f"a/{n}.jpg", "width": 100, "height": 50} for n in range(4)],
    "categories": [{"id": 1, "name": "cat"}, {"id": 7, "name": "dog"}],
    "annotations": [
        {"id": n, "image_id": 5 + n, "category_id": (1, 7)[n % 2], "bbox": [60, 20, 30, 25]} for n in range(4)
    ],
}
RESULTS = [{"image_id": 1 + n, "category_id": 1 + n % 2, "bbox": [60, 20, 30, 24], "score": 0.5} for n in range(4)]
INDEX = {
    "images": [{"id": 1 + n, "file_name": f"/data/a/{n}.jpg"} for n in range(4)],
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
}


@pytest.fixture
def read(tmp_path):
    """Reads a ground truth, results and perhaps an index that are given as values."""

    def reader(results=RESULTS, truth=TRUTH, index=None, **flags):
        (tmp_path / "truth.json").write_text(json.dumps(truth))
        (tmp_path / "results.json").write_text(json.dumps(results))
        if index is not None:
            (tmp_path / "images.json").write_text(json.dumps(index) if not isinstance(index, str) else index)
        known = named_ground_truth(read_ground_truth(tmp_path / "truth.json"), name="truth.json")
        return read_predictions(tmp_path / "results.json", known, **flags)

    return reader


def test_an_index_beside_the_results_gives_their_names(read):
    predictions = read(index=INDEX)
    assert predictions.detections.image_ids.tolist() == [5, 6, 7, 8]
    assert predictions.detections.labels.tolist() == [1, 7, 1, 7]
    assert predictions.remarks[0].startswith("images are matched by file name: ")


@pytest.mark.parametrize(
    "index",
    [
        "{",
        [],
        {**INDEX, "annotations": []},
        {"images": INDEX["images"]},
        {**INDEX, "images": INDEX["images"][:2]},
        {**INDEX, "images": [{"id": 1}]},
    ],
)
def test_a_file_of_that_name_that_is_not_of_these_results_is_passed_over(read, index):
    with pytest.raises(DataError, match=r"entry 0 is of image 1, which truth.json does not list"):
        read(index=index)


def named(results, images=INDEX["images"], categories=INDEX["categories"]):
    """Adds the names of an index to the entries of results."""
    files = {image["id"]: image["file_name"] for image in images}
    names = {category["id"]: category["name"] for category in categories}
    return [
        {**entry, "file_name": files.get(entry["image_id"]), "category_name": names.get(entry["category_id"])}
        for entry in results
    ]


def test_entries_that_say_names_need_no_index_and_go_before_it(read, tmp_path):
    other = {"images": [{**image, "file_name": f"x/{image['id']}.jpg"} for image in INDEX["images"]]}
    for index in (None, {**INDEX, **other}):
        predictions = read(named(RESULTS), index=index)
        assert predictions.detections.image_ids.tolist() == [5, 6, 7, 8]
        assert predictions.detections.labels.tolist() == [1, 7, 1, 7]
        assert predictions.remarks == (
            f"images are matched by file name: {tmp_path / 'results.json'} says which name each id means",
        )


def test_names_go_before_ids_that_happen_to_fit(read):
    swapped = [{**entry, "image_id": 9 - n, "category_id": 7} for n, entry in enumerate(RESULTS)]
    images = [{"id": 9 - n, "file_name": f"a/{n}.jpg"} for n in range(5)]
    detections = read(named(swapped, images, [{"id": 7, "name": "cat"}]), unknown="drop").detections
    assert detections.image_ids.tolist() == [5, 6, 7, 8]
    assert detections.labels.tolist() == [1] * 4


def test_names_of_one_kind_leave_the_other_to_its_ids(read):
    own = [{**entry, "category_id": (1, 7)[n % 2]} for n, entry in enumerate(RESULTS)]
    assert read(named(own, categories=[])).detections.image_ids.tolist() == [5, 6, 7, 8]
    own = [{**entry, "image_id": 5 + n} for n, entry in enumerate(RESULTS)]
    assert read(named(own, images=[])).detections.labels.tolist() == [1, 7, 1, 7]


def test_names_that_only_some_entries_say_count_for_nothing(read):
    some = [*named(RESULTS[:3]), RESULTS[3]]
    with pytest.raises(DataError, match=r"entry 0 is of image 1, which truth.json does not list"):
        read(some)
    twice = [*named(RESULTS), RESULTS[0]]
    with pytest.raises(DataError, match=r"entry 0 is of image 1, which truth.json does not list"):
        read(twice)


def test_an_id_with_two_names_is_refused(read):
    results = [*named(RESULTS), {**named(RESULTS)[0], "file_name": "/data/b/0.jpg"}]
    with pytest.raises(DataError) as refused:
        read(results)
    assert str(refused.value).endswith(
        "results.json: entry 4 says file_name '/data/b/0.jpg' of image_id 1, which an entry before calls "
        "'/data/a/0.jpg'. Expected one name for an id, or none."
    )


def test_results_in_which_two_images_have_one_file_name_are_refused_in_one_line(read):
    images = [{**image, "file_name": "/data/a/1.jpg"} for image in INDEX["images"]]
    for results, index in ((named(RESULTS, images), None), (RESULTS, {**INDEX, "images": images})):
        with pytest.raises(DataError) as refused:
            read(results, index=index)
        said = str(refused.value)
        assert "images '/data/a/1.jpg' and '/data/a/1.jpg' of the results both are 'a/1.jpg' of the ground" in said
        assert "\n" not in said


def test_a_name_that_the_ground_truth_lacks_is_named(read):
    index = {**INDEX, "images": [{**INDEX["images"][0], "file_name": "/data/x.jpg"}, *INDEX["images"][1:]]}
    with pytest.raises(DataError, match=r"entry 0 is of image '/data/x.jpg', which truth.json does not list"):
        read(index=index)
    assert read(index=index, unknown="drop").left_out == 1
    index = {**INDEX, "categories": [INDEX["categories"][0], {"id": 2, "name": "fox"}]}
    with pytest.raises(DataError, match=r"entry 1 is of category 'fox', which truth.json does not list"):
        read(index=index)


def test_a_ground_truth_without_file_names_is_matched_by_id(read):
    truth = {**TRUTH, "images": [{"id": 1 + n} for n in range(4)]}
    truth["annotations"] = [{**entry, "image_id": entry["image_id"] - 4} for entry in TRUTH["annotations"]]
    assert read(truth=truth, index=INDEX).detections.image_ids.tolist() == [1, 2, 3, 4]


def test_several_images_may_have_one_file_name(read):
    truth = {**TRUTH, "images": [{**image, "file_name": "same.jpg"} for image in TRUTH["images"]]}
    results = [{**entry, "image_id": 5 + n, "category_id": (1, 7)[n % 2]} for n, entry in enumerate(RESULTS)]
    assert len(read(results, truth).detections) == 4
    index = {**INDEX, "images": [{"id": 1 + n, "file_name": "same.jpg"} for n in range(4)]}
    with pytest.raises(DataError, match=r"image 'same.jpg' may be any of 4 images of the ground truth called"):
        read(truth=truth, index=index)


def test_files_are_matched_by_their_longest_common_end():
    known = ["train/1.jpg", "val/1.jpg", "val\\2.jpg"]
    assert match_file_names(["/x/val/1.jpg", "C:\\x\\train\\1.jpg", "2.jpg", "3.jpg"], known) == [1, 0, 2, -1]
    with pytest.raises(DataError, match=r"image '1.jpg' may be any of 2 images"):
        match_file_names(["1.jpg"], known)
    with pytest.raises(DataError, match=r"images 'a/2.jpg' and 'b/2.jpg' of the results both are 'val\\2.jpg'"):
        match_file_names(["a/2.jpg", "b/2.jpg"], known)


def test_texts_of_numbers_are_the_numbers_where_that_explains_all():
    ids = np.array([5, 6])
    meaning = image_meaning(["6", "5"], ids, ["", ""])
    assert meaning.places == (1, 0)
    assert meaning.remark == "image ids are texts in one file and numbers in the other, and are compared as texts"
    assert image_meaning(["6", "9"], ids, ["", ""]).places == (-1, -1)
    assert category_meaning(["dog", "cat"], ids, ["cat", "dog"]).places == (1, 0)


def test_ids_that_are_no_whole_numbers_are_ordered_numbers_first():
    ids = np.empty(4, object)
    ids[:] = ["b", 2.5, "a", 1]
    assert id_order(ids).tolist() == [3, 1, 2, 0]
    assert id_order(np.array([9, 4])).tolist() == [9, 4]


def test_categories_with_one_name_are_called_by_their_ids_too(read, tmp_path):
    truth = {**TRUTH, "categories": [{"id": 1, "name": "cat"}, {"id": 7, "name": "cat"}]}
    (tmp_path / "t.json").write_text(json.dumps(truth))
    assert read_ground_truth(tmp_path / "t.json").category_names == ("cat (id 1)", "cat (id 7)")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": [1, 2, 3]}, "annotation 0: 'bbox' is [1, 2, 3]. Expected four numbers: left, top, width, height."),
        ({"bbox": None}, "annotation 0: 'bbox' is None. Expected four numbers"),
        (
            {"bbox": [1, 2, -3, 4]},
            "annotation 0: 'bbox' is [1, 2, -3, 4]. Expected a width and a height of at least 0.",
        ),
        ({"area": "12"}, "annotation 0: 'area' is '12'. Expected a number of square pixels."),
        ({"area": -1}, "annotation 0: 'area' is -1. Expected a number of square pixels."),
        ({"image_id": [5]}, "annotation 0: 'image_id' is [5]. Expected a number or a text."),
        ({"image_id": "5"}, "annotation 0: image id '5' is not in the file's list of image ids (4 of them)."),
        ({"iscrowd": 2}, "annotation 0: 'iscrowd' is 2. Expected 0, 1, true, false or null."),
    ],
)
def test_what_is_wrong_in_an_annotation_is_named(read, change, message):
    truth = {**TRUTH, "annotations": [{**TRUTH["annotations"][0], **change}, *TRUTH["annotations"][1:]]}
    with pytest.raises(DataError) as caught:
        read(truth=truth)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        ([], "is a list, as files of results are."),
        ({}, "has neither a list of its image ids nor an annotation that names one."),
        ({"images": 3}, "has no list 'images'."),
        ({"images": [4]}, "entry 0 of 'images' is not an object in braces."),
        ({**TRUTH, "annotations": {}}, "has no list 'annotations'."),
        ({**TRUTH, "images": [*TRUTH["images"], TRUTH["images"][0]]}, "image id 5 is used twice. Give each its own."),
        ({**TRUTH, "annotations": [{"image_id": 5}]}, "annotation 0 has no 'category_id'. Add it."),
        ({**TRUTH, "annotations": []}, "has no object to find, so that AP is undefined"),
    ],
)
def test_what_is_no_ground_truth_is_named(read, truth, message):
    with pytest.raises(DataError) as caught:
        read(truth=truth)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"iou": "0.5"}, "iou is '0.5': expected a number"),
        ({"resamples": 10.5}, "resamples is 10.5: expected a whole number"),
        ({"seed": "a", "resamples": 5}, "seed is 'a': expected a whole number"),
        ({"worst": -1}, "worst is -1: expected how many images to list, or 0 for none"),
        ({"worst": True}, "worst is True: expected a whole number"),
        ({"max_detections": (0,)}, r"max_detections are \(0,\): expected whole numbers from 1 up"),
    ],
)
def test_questions_of_another_type_are_refused(settings, message):
    with pytest.raises(ConfigError, match=f"^{message}$"):
        Questions(**settings)
