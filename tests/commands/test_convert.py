"""`mapopt convert` prints what it wrote, and says in one line what is wrong with what it was given."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from mapopt.cli import main


@pytest.fixture
def cells(tmp_path):
    """Returns a COCO folder of two sets with an image each."""
    for name, box in (("train", [1, 2, 10, 12]), ("val", [0, 0, 5, 5])):
        (tmp_path / "cells" / "images").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), "red" if name == "val" else "blue").save(tmp_path / "cells/images" / f"{name}.png")
        data = {
            "images": [{"id": 1, "file_name": f"{name}.png", "width": 40, "height": 30}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 7, "bbox": box}],
            "categories": [{"id": 7, "name": "red cell"}],
        }
        (tmp_path / "cells" / f"{name}.json").write_text(json.dumps(data))
    return tmp_path / "cells"


def test_what_was_written_is_printed(cells, tmp_path, capsys):
    assert main(["convert", str(cells), "--to", "yolo", "--out", str(tmp_path / "new")]) == 0
    said = capsys.readouterr().out
    assert "red cell" in said
    assert "YOLO's classes count from 0: category 7 ('red cell') is class 0" in said
    assert said.endswith(f"YOLO in {tmp_path / 'new'}\n")
    assert (tmp_path / "new" / "labels" / "train" / "train.txt").read_text().startswith("0 ")


def test_what_is_wrong_is_said_in_one_line(cells, tmp_path, refused):
    out = ["--out", tmp_path / "new"]
    assert "--to is missing: give it. Expected coco, voc or yolo" in refused("convert", cells, *out)
    assert "--to is 'cococo': expected coco, voc or yolo" in refused("convert", cells, "--to", "cococo", *out)
    assert "no such file or folder" in refused("convert", tmp_path / "nowhere", "--to", "voc", *out)
    assert "unknown flag '--fromat'" in refused("convert", cells, "--fromat", "voc", *out)
    (tmp_path / "empty").mkdir()
    assert "is no data set of a known layout" in refused("convert", tmp_path / "empty", "--to", "voc", *out)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "x").write_text("")
    assert "Give --overwrite to replace the data set in it" in refused("convert", cells, "--to", "voc", *out)
