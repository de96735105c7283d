"""Pascal VOC without lists: XML files beside the images of each split (Roboflow), or in one folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mapopt.data import load_splits
from mapopt.errors import DataError

DATA = Path(__file__).parent / "voc_layouts"


def test_files_beside_the_images_of_each_split_are_read() -> None:
    splits = load_splits(DATA / "roboflow", size=(48, 64))
    assert [len(images) for _, images in splits.named()] == [3, 3, 3]
    assert splits.train.annotations.boxes[0].tolist() == [32, 15, 70, 37]


@pytest.mark.parametrize("layout", ["no_lists", "flat", "fiftyone"])
def test_one_folder_is_divided_by_seed(layout: str, tmp_path: Path) -> None:
    notes, images = {
        "no_lists": ("Annotations", "JPEGImages"),
        "flat": ("", ""),
        "fiftyone": ("labels", "data"),
    }[layout]
    shutil.copytree(DATA / "no_lists" / "Annotations", tmp_path / notes, dirs_exist_ok=True)
    shutil.copytree(DATA / "no_lists" / "JPEGImages", tmp_path / images, dirs_exist_ok=True)
    with pytest.raises(DataError, match=r"no list such as ImageSets/Main/train\.txt.*Divide it by seed: --split"):
        load_splits(tmp_path, size=(48, 64))
    (tmp_path / images / "p001.jpg").unlink()
    (tmp_path / notes / "p002.xml").unlink()
    splits = load_splits(tmp_path, size=(48, 64), split=(0.5, 0.25, 0.25))
    assert sum(len(images) for _, images in splits.named()) == 7
    assert splits.note.startswith(
        "One set is divided into train, val and test sets (0.5, 0.25, 0.25) by seed 0. "
        "1 XML file has no image and was left out, for instance p001.xml. "
        "1 image has no XML file and was left out, for instance p002.jpg."
    )
