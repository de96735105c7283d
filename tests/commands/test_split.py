"""`mapopt split` prints the objects of every class in every set."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from mapopt.cli import main


@pytest.fixture
def cells(tmp_path):
    """Returns a COCO file of 20 images, of which 3 have the rare class."""
    (tmp_path / "images").mkdir()
    for number in range(20):
        Image.new("L", (20, 10), number).save(tmp_path / "images" / f"{number}.png")
    data = {
        "images": [{"id": n, "file_name": f"{n}.png", "width": 20, "height": 10} for n in range(20)],
        "annotations": [
            {"id": n, "image_id": n % 20, "category_id": 1 + (n < 3), "bbox": [1, 1, 5, 5]} for n in range(40)
        ],
        "categories": [{"id": 1, "name": "red"}, {"id": 2, "name": "white"}],
    }
    (tmp_path / "cells.json").write_text(json.dumps(data))
    return tmp_path / "cells.json"


def test_the_split_is_printed_and_the_rare_class_is_everywhere(cells, tmp_path, capsys):
    assert main(["split", str(cells), "--out", str(tmp_path / "new"), "--seed", "3"]) == 0
    said = capsys.readouterr().out
    rows = [line.split() for line in said.splitlines()]
    assert ["white", "1", "1", "1", "3"] in rows
    assert [row[-1] for row in rows if row[:1] in (["objects"], ["images"])] == ["category", "40", "20"]
    assert "Divided into 0.7, 0.15, 0.15 by seed 3, every image for itself." in said


def test_what_is_wrong_is_said_in_one_line(cells, tmp_path, refused):
    out = ["--out", tmp_path / "new"]
    assert "expected two or three positive fractions" in refused("split", cells, *out, "--fractions", "0.5", "0.4")
    assert "unknown flag '--fraction'" in refused("split", cells, *out, "--fraction", "0.5")
    assert "which fits no name of an image" in refused("split", cells, *out, "--group", "scource")
    assert not (tmp_path / "new").exists()
