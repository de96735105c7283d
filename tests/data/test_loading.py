"""The common folders are recognized, and what is missing is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mapopt.data import load_splits, write_coco, write_voc, write_yolo
from mapopt.errors import ConfigError, DataError

SIZE = (16, 16)


@pytest.fixture
def sets(make_annotations):
    """Returns annotations of train, val and test, with other file names each."""

    def named(prefix: str):
        names = tuple(f"{prefix}-{letter}.png" for letter in "abc")
        return make_annotations(file_names=names)

    return {split: named(split) for split in ("train", "val", "test")}


def make(layout: str, folder: Path, sets, write_images) -> None:
    for split, notes in sets.items():
        if layout == "coco":
            write_coco(notes, folder / f"{split}.json")
            write_images(notes, folder / "images")
        elif layout == "coco, as published":
            write_coco(notes, folder / "annotations" / f"instances_{split}2017.json")
            write_images(notes, folder / f"{split}2017")
        elif layout == "coco, one folder a split":
            write_coco(notes, folder / split.replace("val", "valid") / "_annotations.coco.json")
            write_images(notes, folder / split.replace("val", "valid"))
        elif layout == "voc":
            write_voc(notes, folder, split)
            write_images(notes, folder / "JPEGImages")
        else:
            write_yolo(notes, folder, split)
            write_images(notes, folder / "images" / split)


LAYOUTS = ["coco", "coco, as published", "coco, one folder a split", "voc", "yolo"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_its_three_sets(layout, sets, write_images, tmp_path):
    make(layout, tmp_path, sets, write_images)
    splits = load_splits(tmp_path, size=SIZE)
    assert splits.note == ""
    for (_, images), name in zip(splits.named(), sets, strict=True):
        assert images.size == SIZE
        assert images.annotations.file_names == sets[name].file_names
        assert sorted(images.annotations.boxes.tolist()) == sorted(sets[name].boxes.tolist())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_without_a_test_set_the_val_set_is_divided_and_the_note_says_so(layout, sets, write_images, tmp_path):
    sets["val"] = sets["val"].select([0, 2])
    del sets["test"]
    make(layout, tmp_path, sets, write_images)
    splits = load_splits(tmp_path, size=SIZE, seed=3)
    assert (len(splits.val), len(splits.test)) == (1, 1)
    names = {*splits.val.annotations.file_names, *splits.test.annotations.file_names}
    assert names == {"val-a.png", "val-c.png"}
    assert "divided into two halves by seed 3" in splits.note
    halves = {load_splits(tmp_path, size=SIZE, seed=seed).val.annotations.file_names for seed in range(8)}
    assert halves == {("val-a.png",), ("val-c.png",)}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_missing_val_set_is_said(layout, sets, write_images, tmp_path):
    make(layout, tmp_path, {"train": sets["train"]}, write_images)
    with pytest.raises(DataError, match=rf"{tmp_path}: has no val set\. Expected one of"):
        load_splits(tmp_path, size=SIZE)


def test_one_val_image_cannot_be_divided(sets, write_images, tmp_path):
    make("coco", tmp_path, {"train": sets["train"], "val": sets["val"].select([0])}, write_images)
    with pytest.raises(DataError, match="one val image cannot be divided"):
        load_splits(tmp_path, size=SIZE)


def test_a_limit_takes_images_by_seed_and_is_noted(sets, write_images, tmp_path):
    make("coco", tmp_path, sets, write_images)

    def chosen(seed: int) -> tuple[str, ...]:
        # Of the three images the second has no object, so two are taken.
        splits = load_splits(tmp_path, size=SIZE, limit=2, seed=seed)
        assert [len(images) for _, images in splits.named()] == [2, 2, 2]
        assert f"At most 2 images of each set are used, drawn by seed {seed}" in splits.note
        return splits.train.annotations.file_names

    assert chosen(1) == chosen(1)
    assert len({chosen(seed) for seed in range(6)}) > 1
    assert load_splits(tmp_path, size=SIZE, limit=3).train.annotations.file_names == sets["train"].file_names
    with pytest.raises(ConfigError, match="limit is 0"):
        load_splits(tmp_path, size=SIZE, limit=0)


def test_a_data_yaml_may_be_named_itself_and_a_layout_chosen(sets, write_images, tmp_path):
    make("coco", tmp_path, sets, write_images)
    make("yolo", tmp_path, sets, write_images)
    assert load_splits(tmp_path / "data.yaml", size=SIZE).train.annotations.category_ids.tolist() == [0, 5]
    assert load_splits(tmp_path, size=SIZE).train.annotations.category_ids.tolist() == [5, 0]
    assert load_splits(tmp_path, size=SIZE, layout="yolo").train.annotations.category_ids.tolist() == [0, 5]
    with pytest.raises(DataError, match="no data set of a known layout"):
        load_splits(tmp_path, size=SIZE, layout="voc")
    with pytest.raises(ConfigError, match="unknown layout 'coc': did you mean 'coco'"):
        load_splits(tmp_path, size=SIZE, layout="coc")


def test_what_is_no_data_set_is_described(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        load_splits(tmp_path / "absent", size=SIZE)
    with pytest.raises(DataError, match=r"known layout \(there is: nothing\)\. Expected one of: COCO.* YOLO.* Vistas"):
        load_splits(tmp_path, size=SIZE)
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DataError, match=r"there is: notes\.txt"):
        load_splits(tmp_path, size=SIZE)
    with pytest.raises(DataError, match="there is: a file"):
        load_splits(tmp_path / "notes.txt", size=SIZE)


def test_two_candidates_for_one_set_are_not_guessed_between(sets, write_images, tmp_path):
    make("coco, as published", tmp_path, sets, write_images)
    shutil.copy(tmp_path / "annotations/instances_train2017.json", tmp_path / "annotations/instances_train2014.json")
    with pytest.raises(DataError, match=r"several train sets \(instances_train2014\.json, instances_train2017\.json\)"):
        load_splits(tmp_path, size=SIZE)


def test_splits_with_an_image_in_common_are_refused(sets, write_images, tmp_path):
    sets["test"] = sets["train"].select([0])
    make("coco", tmp_path, sets, write_images)
    with pytest.raises(DataError, match=r"image 'train-a\.png' is in the train and in the test set"):
        load_splits(tmp_path, size=SIZE)


def test_the_policy_for_invalid_boxes_reaches_the_reader(sets, write_images, tmp_path):
    make("yolo", tmp_path, sets, write_images)
    (tmp_path / "labels" / "train" / "train-a.txt").write_text("0 .5 .5 .5 .5\n0 .9 .5 .9 .5\n")
    with pytest.raises(DataError, match=r"train-a\.txt, line 2"):
        load_splits(tmp_path, size=SIZE)
    assert load_splits(tmp_path, size=SIZE, invalid="drop").train.annotations.counts.sum() == 2
    assert load_splits(tmp_path, size=SIZE, invalid="clip").train.annotations.counts.sum() == 3


def test_the_blood_cells_load_with_their_own_splits(blood_cells):
    splits = load_splits(blood_cells, size=(48, 64), limit=8)
    assert splits.train.annotations.category_names == ("RBC", "WBC", "Platelets")
    assert [len(images) for _, images in splits.named()] == [8, 8, 8]
    with pytest.raises(DataError, match="has no area"):
        load_splits(blood_cells, size=(48, 64), layout="voc")
    cells = load_splits(blood_cells, size=(48, 64), layout="voc", limit=8, invalid="drop")
    assert cells.train.fingerprint != splits.train.fingerprint
    assert (cells.train.pixels == splits.train.pixels).all()
