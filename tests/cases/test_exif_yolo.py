"""YOLO labels of a photograph that its EXIF data turn were drawn on the upright view."""

from __future__ import annotations

from pathlib import Path

from mapopt.data import load_splits, read_part
from mapopt.data.pictures import PictureSet

DATA = Path(__file__).parent / "exif_yolo" / "data"


def test_the_red_object_is_inside_its_box() -> None:
    splits = load_splits(DATA, size=(96, 128))
    left, top, right, bottom = (int(value) for value in splits.train.targets().boxes[0][0])
    red, green, blue = splits.train.pixels[0][:, top:bottom, left:right].float().mean((1, 2)).tolist()
    assert red > 180
    assert max(green, blue) < 90
    assert splits.note == "In the train set: 1 image turned upright, as noted in the file (EXIF)."


def test_predict_takes_the_same_view() -> None:
    photograph = PictureSet(DATA / "images" / "train" / "p001.jpg")
    notes = read_part(DATA, "train")
    assert next(iter(photograph)).size == (notes.widths[0], notes.heights[0])
