"""Mapillary Vistas: boxes around instances, of the classes that have some, from its folders and 16-bit files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mapopt.data import audit, convert, load_splits
from mapopt.data.layouts import find_sets, layouts_of, read_part
from mapopt.errors import ConfigError, DataError

LABELS = [
    {"name": "animal--bird", "readable": "Bird", "instances": True},
    {"name": "construction--road", "readable": "Road", "instances": False},
    {"name": "object--vehicle--car", "readable": "Car", "instances": True},
    {"name": "void--unlabeled", "readable": "Unlabeled", "instances": False},
]


def write_set(folder: Path, version: str, *, images: int = 2, size: tuple[int, int] = (40, 30)) -> None:
    """Writes a set: on a road a bird, the first of its class, and two cars, of which one is in two pieces."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / version / "instances").mkdir(parents=True, exist_ok=True)
    width, height = size
    for number in range(images):
        values = np.full((height, width), 256, dtype=np.uint16)
        values[2:5, 3:9] = 0
        values[10:20, 5:15] = 2 * 256
        values[10:12, 30:34] = values[24:28, 36:40] = 2 * 256 + 7
        Image.new("RGB", size, (90, 90, 90 + number)).save(folder / "images" / f"i{number}.jpg")
        Image.fromarray(values).save(folder / version / "instances" / f"i{number}.png")


@pytest.fixture
def vistas(tmp_path: Path) -> Path:
    folder = tmp_path / "vistas"
    folder.mkdir()
    for version in ("v1.2", "v2.0"):
        (folder / f"config_{version}.json").write_text(json.dumps({"labels": LABELS}))
        write_set(folder / "training", version, images=4)
        write_set(folder / "validation", version)
    (folder / "testing" / "images").mkdir(parents=True)
    return folder


def test_every_instance_has_the_box_around_its_pixels(vistas: Path) -> None:
    assert find_sets(vistas, "auto", "error").what == "Mapillary Vistas v2.0"
    notes = read_part(vistas, "train")
    assert notes.category_names == ("animal--bird", "object--vehicle--car")
    assert len(notes) == 4
    first = notes.keep(notes.images == 0)
    assert first.boxes.tolist() == [[3, 2, 9, 5], [5, 10, 15, 20], [30, 10, 40, 28]]
    assert first.labels.tolist() == [0, 1, 1]
    assert first.area.tolist() == [18, 100, 24]
    assert notes.widths.tolist() == [40] * 4
    assert notes.heights.tolist() == [30] * 4
    assert not notes.crowd.any()


def test_its_sets_are_loaded_for_training(vistas: Path) -> None:
    splits = load_splits(vistas, size=(32, 32))
    assert [len(images) for _, images in splits.named()] == [4, 1, 1], "val is divided where there is no test set"
    assert layouts_of(vistas) == [("vistas", "Mapillary Vistas v2.0")]


def test_without_version_2_the_older_labels_are_read(vistas: Path) -> None:
    (vistas / "config_v2.0.json").unlink()
    assert find_sets(vistas, "auto", "error").what == "Mapillary Vistas v1.2"
    (vistas / "config_v1.2.json").rename(vistas / "config.json")
    write_set(vistas / "training", "")
    assert find_sets(vistas, "auto", "error").what == "Mapillary Vistas"


def test_images_without_instances_are_left_out_with_a_remark(vistas: Path) -> None:
    (vistas / "training" / "v2.0" / "instances" / "i1.png").unlink()
    notes = read_part(vistas, "train")
    assert notes.file_names == ("images/i0.jpg", "images/i2.jpg", "images/i3.jpg")
    assert "1 image has no instances, for instance i1.png." in notes.remarks


@pytest.mark.parametrize("stored", [False, True])
def test_a_map_may_show_a_turned_photograph_either_way(vistas: Path, stored: bool) -> None:
    photograph = vistas / "training" / "images" / "i0.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30) if stored else (30, 40), (90, 90, 90)).save(photograph, exif=exif)
    notes = read_part(vistas, "train")
    assert (notes.widths[0], notes.heights[0]) == (40, 30)
    assert (load_splits(vistas, size=(30, 40)).train.pixels[0] == 90).all(), "it fills its frame"


def test_it_is_audited_as_coco(vistas: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"is Mapillary Vistas v2\.0, which is not audited as it is\. Write it as COCO"
    ):
        audit(vistas)
    convert(vistas, to="coco", out=tmp_path / "coco")
    assert audit(tmp_path / "coco").counts.get("unreadable_label", 0) == 0
    assert read_part(tmp_path / "coco", "train").boxes.tolist() == read_part(vistas, "train").boxes.tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("size", r"i0\.png: is 20 x 30 pixels, and its image 40 x 30\. Expected one of the same size"),
        ("color", r"i0\.png: is no PNG file of 16 bits with one channel\. Expected class \* 256 \+ instance"),
        ("damaged", r"i0\.png: cannot be read .* It may be damaged"),
        ("nothing", r"instances: holds no PNG file of an image in .*images\. Check the folder"),
        ("labels", r"config_v2\.0\.json: has no labels with names\. Expected the file that comes with Mapillary"),
        ("instances", r"config_v2\.0\.json: none of its labels has instances"),
    ],
)
def test_what_is_wrong_is_said(vistas: Path, change: str, message: str) -> None:
    folder = vistas / "training" / "v2.0" / "instances"
    if change == "size":
        Image.fromarray(np.zeros((30, 20), dtype=np.uint16)).save(folder / "i0.png")
    elif change == "color":
        Image.new("RGB", (40, 30)).save(folder / "i0.png")
    elif change == "damaged":
        (folder / "i0.png").write_bytes((folder / "i0.png").read_bytes()[:40])
    elif change == "nothing":
        for file in folder.iterdir():
            file.unlink()
    else:
        labels = [] if change == "instances" else {"a": 1}
        (vistas / "config_v2.0.json").write_text(json.dumps({"labels": labels}))
    with pytest.raises(DataError, match=message):
        read_part(vistas, "train")
