"""YOLO rows with keypoints are boxes with keypoints, whatever the count of their numbers, where kpt_shape says so."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mapopt.data import read_part, read_yolo
from mapopt.errors import DataError

DATA = Path(__file__).parent / "pose_rows"


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_the_boxes_are_those_of_rows_without_keypoints(part: str) -> None:
    posed, plain = read_part(DATA / "data", part), read_part(DATA / "plain", part)
    assert posed == plain
    assert part != "train" or posed.boxes[0].tolist() == [32, 15, 70, 37]


def test_a_row_of_another_length_is_refused(tmp_path: Path) -> None:
    shutil.copytree(DATA / "data", tmp_path / "data")
    (tmp_path / "data" / "labels" / "train" / "p001.txt").write_text("1 .5 .5 .2 .2 .1 .1 .2 .2\n")
    with pytest.raises(
        DataError, match=r"p001\.txt, line 1: has 9 numbers\. Expected 13: class x y width height and 4"
    ):
        read_yolo(tmp_path / "data" / "data.yaml", "train")
    (tmp_path / "data" / "labels" / "train" / "p001.txt").write_text("1 .5 .5 .2 .2 .1 .1 .2 .2 .3\n")
    text = (tmp_path / "data" / "data.yaml").read_text()
    (tmp_path / "data" / "data.yaml").write_text("".join(line for line in text.splitlines(True) if "kpt" not in line))
    with pytest.raises(DataError, match=r"has 10 numbers\. .*rows with keypoints need kpt_shape"):
        read_yolo(tmp_path / "data" / "data.yaml", "train")
