"""Files of every ending that Pillow reads are images, and labels whose image is not there are counted."""

from __future__ import annotations

import shutil
from pathlib import Path

from mapopt.data import load_splits
from mapopt.data.image_files import find_images

DATA = Path(__file__).parent / "image_endings" / "data"


def test_the_stereo_photograph_is_an_image() -> None:
    splits = load_splits(DATA, size=(48, 64))
    assert len(splits.train) == 3
    assert splits.note == ""
    assert len(find_images([DATA / "images" / "train"])) == 3


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    shutil.copytree(DATA, tmp_path / "data")
    (tmp_path / "data" / "images" / "train" / "p001.mpo").rename(tmp_path / "data" / "images" / "train" / "p001.xyz")
    (tmp_path / "data" / "labels" / "val" / "p005.txt").unlink()
    (tmp_path / "data" / "labels" / "train" / "notes.txt").write_text("drawn by hand\n")
    assert load_splits(tmp_path / "data", size=(48, 64)).note == (
        "In the train set: 1 label file has no image, for instance p001.txt. "
        "In the val set: 1 image has no label file and counts as empty, for instance p005.jpg."
    )
