"""A torch Dataset of (image, target) is taken where a folder is, whatever the form of its images and labels."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision.tv_tensors import BoundingBoxes

from mapopt.data import (
    ImageSet,
    ShapesConfig,
    Splits,
    annotations_from_dicts,
    images_from_dataset,
    load_splits,
    make_shapes,
    splits_from_datasets,
)
from mapopt.errors import ConfigError, DataError

SIZE = (32, 32)
FORMS = ("uint8", "float", "PIL", "array")


class Scenes(Dataset):
    """Procedural scenes as torchvision's tutorial has pictures: tensors, and targets with labels from 1."""

    def __init__(self, count: int = 6, *, seed: int = 0, first: int = 1, form: str = "uint8", **more: Any) -> None:
        self.images = make_shapes(ShapesConfig(size=32, object_size=(8, 16), objects=(1, 3)), seed=seed, count=count)
        self.first, self.form, self.more = first, form, more

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, dict[str, Any]]:
        notes, pixels = self.images.annotations, self.images.pixels[index]
        mine = notes.images == index
        array = pixels.movedim(0, -1).numpy()
        image = {"uint8": pixels, "float": pixels / 255, "PIL": Image.fromarray(array), "array": array}[self.form]
        target = {
            "boxes": torch.from_numpy(notes.boxes[mine]).float(),
            "labels": torch.from_numpy(notes.labels[mine]) + self.first,
            **{name: value(index, int(mine.sum())) for name, value in self.more.items()},
        }
        return image, target


class Items(list):
    """A data set that is given item by item."""


PIXELS = torch.zeros(3, 20, 30, dtype=torch.uint8)
GOOD = {"boxes": [[2.0, 3.0, 12.0, 9.0]], "labels": [1]}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("first", [0, 1])
def test_scenes_come_back_as_they_were(form: str, first: int) -> None:
    scenes = Scenes(form=form, first=first)
    read = images_from_dataset(scenes, size=SIZE, categories=["disc", "box", "triangle"])
    assert torch.equal(read.pixels, scenes.images.pixels)
    ours, theirs = read.annotations, scenes.images.annotations
    assert ours.category_names == theirs.category_names
    assert ours.category_ids.tolist() == [first, first + 1, first + 2]
    assert ours.labels.tolist() == theirs.labels.tolist()
    assert ours.images.tolist() == theirs.images.tolist()
    np.testing.assert_allclose(ours.boxes, theirs.boxes, rtol=1e-6)
    np.testing.assert_allclose(ours.area, theirs.area, rtol=1e-5)


def test_images_are_fitted_and_boxes_stay_in_their_own_pixels() -> None:
    read = images_from_dataset(Items([(PIXELS, GOOD)]), size=(10, 10))
    assert read.size == (10, 10)
    assert read.scale.tolist() == pytest.approx([1 / 3])
    assert read.annotations.boxes.tolist() == GOOD["boxes"]
    assert (read.annotations.widths.tolist(), read.annotations.heights.tolist()) == ([30], [20])


def test_ids_areas_and_crowds_are_taken_where_they_are_given() -> None:
    more = {
        "image_id": lambda index, count: torch.tensor([90 - index]),
        "area": lambda index, count: torch.full((count,), 5.0),
        "iscrowd": lambda index, count: torch.ones(count, dtype=torch.int64) if index == 2 else [0] * count,
    }
    notes = images_from_dataset(Scenes(**more), size=SIZE).annotations
    assert notes.image_ids.tolist() == [90, 89, 88, 87, 86, 85]
    assert set(notes.area.tolist()) == {5.0}
    assert sorted(set(notes.images[notes.crowd].tolist())) == [2]


def test_categories_without_names_are_called_by_their_labels() -> None:
    items = Items([(PIXELS, {**GOOD, "labels": [7]}), (PIXELS, {**GOOD, "labels": [3]})])
    notes = images_from_dataset(items, size=SIZE).annotations
    assert notes.category_names == ("3", "7")
    assert notes.labels.tolist() == [1, 0]
    named = images_from_dataset(items, size=SIZE, categories={7: "dog", 3: "cat", 5: "fox"}).annotations
    assert named.category_names == ("cat", "fox", "dog")
    assert named.labels.tolist() == [2, 0]


def test_boxes_of_torchvision_are_read_in_their_own_format() -> None:
    corners = BoundingBoxes([[2, 3, 12, 9]], format="XYXY", canvas_size=(20, 30))
    assert images_from_dataset(Items([(PIXELS, {**GOOD, "boxes": corners})]), size=SIZE).annotations.boxes.tolist() == (
        [[2, 3, 12, 9]]
    )
    sides = BoundingBoxes([[2, 3, 10, 6]], format="XYWH", canvas_size=(20, 30))
    with pytest.raises(DataError, match="target 0 has boxes in the format XYWH: expected corners, XYXY"):
        images_from_dataset(Items([(PIXELS, {**GOOD, "boxes": sides})]), size=SIZE)


def test_an_image_without_a_box_is_kept() -> None:
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    notes = images_from_dataset(Items([(PIXELS, nothing), (PIXELS, GOOD)]), size=SIZE).annotations
    assert len(notes) == 2
    assert notes.images.tolist() == [1]


def test_splits_have_one_list_of_categories_whatever_each_set_holds() -> None:
    train, val = Scenes(20, seed=1), Scenes(3, seed=2)
    splits = splits_from_datasets(train, val, Scenes(4, seed=3), size=SIZE, categories=["disc", "box", "triangle"])
    assert [len(images) for _, images in splits.named()] == [20, 3, 4]
    assert splits.note == ""
    zero_based = splits_from_datasets(
        Items([(PIXELS, {**GOOD, "labels": [0]})]), Items([(PIXELS + 1, GOOD)]), Items([(PIXELS + 2, GOOD)]),
        size=SIZE, categories=["cat", "dog"],
    )  # fmt: skip
    assert [images.annotations.labels.tolist() for _, images in zero_based.named()] == [[0], [1], [1]]


def test_without_a_test_set_the_val_set_is_divided_and_a_limit_is_drawn() -> None:
    splits = splits_from_datasets(Scenes(9, seed=1), Scenes(8, seed=2), size=SIZE, limit=3, seed=5)
    assert [len(images) for _, images in splits.named()] == [3, 3, 3]
    assert splits.note == (
        "No test set was given: the val set is divided into two halves by seed 5. "
        "At most 3 images of each set are used, drawn by seed 5."
    )
    again = splits_from_datasets(Scenes(9, seed=1), Scenes(8, seed=2), size=SIZE, limit=3, seed=5)
    assert torch.equal(splits.val.pixels, again.val.pixels)


@pytest.mark.parametrize("form", ["pair", "three", "mapping"])
def test_data_sets_are_loaded_where_a_folder_is(form: str) -> None:
    train, val, test = Scenes(6, seed=1), Scenes(4, seed=2), Scenes(5, seed=3)
    data: Any = {
        "pair": (train, val), "three": [train, val, test], "mapping": {"val": val, "train": train, "test": test}
    }[form]  # fmt: skip
    splits = load_splits(data, size=SIZE, categories=["disc", "box", "triangle"])
    assert [len(images) for _, images in splits.named()] == ([6, 2, 2] if form == "pair" else [6, 4, 5])
    assert splits.train.annotations.category_names == ("disc", "box", "triangle")
    assert load_splits(splits, size=SIZE) is splits


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (3, DataError, "data are of type int. Expected a folder, splits, or data sets"),
        ((Scenes(),), DataError, "data are of type tuple of 1. Expected"),
        ({"train": Scenes()}, DataError, "data have no val set. Expected data sets with the names train, val and"),
        ({"train": Scenes(), "vall": Scenes()}, ConfigError, "unknown split 'vall': did you mean 'val'?"),
        ((Scenes(), 4), DataError, "val: is of type int. Expected a data set of (image, target)"),
        ((Scenes(), Items()), DataError, "val: has no item"),
        ((Scenes(), Scenes(1, seed=1)), DataError, "there is no test set, and one val image cannot be divided"),
        ((Scenes(), Scenes()), DataError, "image 0' of the val set has the same pixels as 'image 1' of the train"),
    ],
)
def test_what_is_no_data_is_said_in_a_line(data: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)) as caught:
        load_splits(data, size=SIZE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([PIXELS], "data set, item 0: is of type Tensor. Expected a pair (image, target)."),
        ([(PIXELS, [{"bbox": [0, 0, 1, 1]}])], "item 0: its target is of type list. Expected a dictionary with boxes"),
        ([(PIXELS, {"labels": [1]})], "data set: target 0 has no 'boxes'"),
        ([(PIXELS, {**GOOD, "labels": [1, 2]})], "data set: target 0 has labels of shape (2,): expected (1,)"),
        ([(PIXELS, {**GOOD, "labels": [1.5]})], "data set: labels are of type float64: expected whole numbers"),
        ([(PIXELS, {**GOOD, "boxes": [[2, 3, 40, 9]]})], "data set: target 0, box 0: in an image of 30 x 20 pixels"),
        ([("nowhere.png", GOOD)], "nowhere.png: no such image"),
        ([(PIXELS[None], GOOD)], "data set, item 0: the image has the shape [1, 3, 20, 30]: expected a single image"),
        ([(PIXELS - 1.0, GOOD)], "data set, item 0: the image holds numbers from -1 to -1"),
        ([(PIXELS, {"boxes": [], "labels": []})], "no target has a box, so that categories are unknown"),
        ([(PIXELS, {**GOOD, "image_id": 3})] * 2, "image_id 3 is given twice"),
    ],
)
def test_a_wrong_item_is_named(items: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        images_from_dataset(Items(items), size=SIZE)
    assert "\n" not in str(caught.value)


def test_an_item_that_fails_is_named_and_keeps_its_cause() -> None:
    class Broken(Items):
        def __getitem__(self, index: Any) -> Any:
            raise KeyError("boxes\nand more")

    with pytest.raises(DataError, match=r"data set, item 0: cannot be read \(KeyError: 'boxes") as caught:
        images_from_dataset(Broken([1]), size=SIZE)
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize(
    ("labels", "categories", "message"),
    [
        ([0, 3], ["a", "b", "c"], "label 3 has no name: expected labels from 0 to 2 for the 3 categories a, b, c"),
        ([4], ["a", "b", "c"], "label 4 has no name: expected labels from 1 to 3 for the 3 categories a, b, c"),
        ([1], {2: "b"}, "label 1 has no name: expected labels from 2 to 2"),
        ([1], [], "label 1 has no name: categories is empty"),
    ],
)
def test_a_label_without_a_name_is_named(labels: list[int], categories: Any, message: str) -> None:
    items = Items([(PIXELS, {**GOOD, "labels": [label]}) for label in labels])
    with pytest.raises(DataError, match=re.escape(message)):
        images_from_dataset(items, size=SIZE, categories=categories)


def test_settings_that_say_nothing_are_refused(tmp_path: Any) -> None:
    splits = splits_from_datasets(Scenes(4, seed=1), Scenes(4, seed=2), size=SIZE)
    with pytest.raises(ConfigError, match=r"splits are at \(32, 32\) pixels, but size is \(16, 16\)"):
        load_splits(splits, size=(16, 16))
    with pytest.raises(ConfigError, match=r"categories are given, but .* has its own: leave them out"):
        load_splits(tmp_path, size=SIZE, categories=["a"])
    with pytest.raises(ConfigError, match="limit is 0"):
        splits_from_datasets(Scenes(), Scenes(), size=SIZE, limit=0)
    with pytest.raises(ConfigError, match=r"size is \(0, 4\): expected a positive height and width"):
        images_from_dataset(Scenes(), size=(0, 4))


def test_dictionaries_alone_make_annotations() -> None:
    notes = annotations_from_dicts([GOOD, {"boxes": [], "labels": []}], sizes=[(20, 30), (10, 10)], categories=["cat"])
    assert (len(notes), notes.category_names, notes.file_names) == (2, ("cat",), ("image 0", "image 1"))
    with pytest.raises(DataError, match="there are 1 sizes for 2 targets: expected one for each"):
        annotations_from_dicts([GOOD, GOOD], sizes=[(20, 30)])
    outside = {**GOOD, "boxes": [[2.0, 3.0, 45.0, 9.0]]}
    cut = annotations_from_dicts([outside], sizes=[(20, 30)], invalid="clip")
    assert cut.boxes.tolist() == [[2, 3, 30, 9]]


def test_targets_are_as_those_of_folders() -> None:
    splits = splits_from_datasets(Scenes(8, seed=1), Scenes(4, seed=2), Scenes(4, seed=3), size=SIZE)
    assert isinstance(splits, Splits)
    assert isinstance(splits.train, ImageSet)
    assert splits.train.targets().labels.max() == 2
