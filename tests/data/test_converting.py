"""Converting keeps every box, name and image, says what a layout cannot hold, and never touches its source."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mapopt.data import Annotations, convert, read_sets, write_coco, write_sets, write_voc
from mapopt.data.image_names import numbered
from mapopt.data.preparing import turned_boxes
from mapopt.errors import ConfigError, DataError, StoreError
from mapopt.files import UNFINISHED

NAMES = ("red cell", "Schütze", "10", "no", "white cell")


@st.composite
def annotated(draw) -> Annotations:
    """Draws a set with corners of six decimals, names with spaces, sub-folders and images without objects."""
    images = draw(st.integers(1, 4))
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    count = draw(st.integers(0, 6))
    widths, heights = random.integers(4, 40, (2, images))
    owners = random.integers(0, images, count)
    sizes = np.stack([widths, heights], axis=1)[owners]
    corners = np.sort(random.random((count, 2, 2)), axis=1) * sizes[:, None]
    boxes = np.round(corners.reshape(count, 4), 6)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1e-6).round(6)
    kinds = draw(st.integers(1, len(NAMES)))
    folders = ["", "a b/", "deep/er/"]
    return Annotations(
        image_ids=random.permutation(100)[:images],
        file_names=tuple(f"{folders[number % 3]}picture {number}.png" for number in range(images)),
        widths=widths,
        heights=heights,
        category_ids=random.permutation(50)[:kinds],
        category_names=NAMES[:kinds],
        boxes=boxes,
        labels=random.integers(0, kinds, count),
        images=owners,
        crowd=np.zeros(count, bool),
        area=(boxes[:, 2:] - boxes[:, :2]).prod(axis=1),
        ids=np.arange(1, count + 1),
    )


def write_pictures(notes: Annotations, folder: Path) -> None:
    for name, width, height in zip(notes.file_names, notes.widths.tolist(), notes.heights.tolist(), strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (width, height), len(name)).save(folder / name)


def content(notes: Annotations) -> list[tuple]:
    """What every layout holds of a set: image, category with its id, and corners, in any order."""
    return sorted(
        (notes.file_names[image], notes.category_names[label], int(notes.category_ids[label]), *box)
        for image, label, box in zip(notes.images.tolist(), notes.labels.tolist(), notes.boxes.tolist(), strict=True)
    )


def checksums(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(annotated(), annotated())
def test_a_round_trip_through_all_layouts_gives_the_same_boxes_names_ids_and_images(tmp_path_factory, train, val):
    folder = tmp_path_factory.mktemp("sets")
    val = replace(
        val,
        category_ids=train.category_ids,
        category_names=train.category_names,
        labels=val.labels % len(train.category_ids),
    )
    for name, notes in (("train", train), ("val", val)):
        write_coco(notes, folder / "coco" / f"{name}.json")
        write_pictures(notes, folder / "coco" / "images" / name)
    convert(folder / "coco", folder / "voc", to="voc")
    convert(folder / "voc", folder / "yolo", to="yolo")
    convert(folder / "yolo", folder / "back", to="coco")
    sets = read_sets(folder / "back")
    assert list(sets) == ["train", "val"]
    renamed = {
        numbered(name, 2) if Path(name).with_suffix("") in {Path(n).with_suffix("") for n in train.file_names} else name
        for name in val.file_names
    }
    assert set(sets["val"].file_names) == renamed, "VOC has one folder for all sets"
    assert sets["train"].file_names == train.file_names
    for before, after in ((train, sets["train"]), (val, sets["val"])):
        expected = [(*row[1:],) for row in content(before)]
        assert sorted(expected) == sorted((*row[1:],) for row in content(after))
        assert after.category_names == train.category_names
        assert after.category_ids.tolist() == train.category_ids.tolist()
        assert sorted(after.widths.tolist()) == sorted(before.widths.tolist())
    assert content(train) == content(sets["train"])


@pytest.fixture
def coco(make_annotations, write_images, tmp_path) -> Path:
    """Returns a COCO folder of train and val."""
    for name in ("train", "val"):
        notes = make_annotations(file_names=tuple(f"{name} {letter}.png" for letter in "abc"))
        write_coco(notes, tmp_path / "coco" / f"{name}.json")
        write_images(notes, tmp_path / "coco" / "images" / name)
    return tmp_path / "coco"


@pytest.mark.parametrize("images", ["link", "copy"])
@pytest.mark.parametrize("to", ["coco", "voc", "yolo"])
def test_images_are_linked_or_copied_and_the_source_stays_as_it_is(coco, tmp_path, to, images):
    before = checksums(coco)
    written = convert(coco, tmp_path / "new", to=to, images=images)
    assert checksums(coco) == before
    for name, notes in read_sets(tmp_path / "new").items():
        for file_name in notes.file_names:
            same = os.path.samefile(notes.root / file_name, coco / "images" / name / file_name)
            assert same == (images == "link")
            assert (notes.root / file_name).read_bytes() == (coco / "images" / name / file_name).read_bytes()
        assert content(written.sets[name]) == content(replace(notes, category_ids=written.sets[name].category_ids))
        assert notes.root.samefile(written.sets[name].root)


def test_without_images_annotations_alone_are_written(coco, tmp_path):
    for path in (coco / "images" / "val").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"no such image; 3 of 3 images of the val set are missing.*images='none'"):
        convert(coco, tmp_path / "new", to="coco")
    assert not (tmp_path / "new").exists()
    convert(coco, tmp_path / "new", to="coco", images="none")
    assert content(read_sets(tmp_path / "new")["val"]) == content(read_sets(coco)["val"])


def test_what_a_layout_cannot_hold_is_said(make_annotations, write_images, tmp_path):
    notes = make_annotations(crowd=[True, False, False], area=[50.0, 800.0, 180.46875])
    write_coco(notes, tmp_path / "coco" / "train.json")
    write_images(notes, tmp_path / "coco" / "images")
    voc = convert(tmp_path / "coco", tmp_path / "voc", to="voc")
    assert any(note.startswith("1 crowd is written as difficult") for note in voc.notes)
    assert any(note.startswith("1 object has an area of a mask, which Pascal VOC cannot hold") for note in voc.notes)
    assert read_sets(tmp_path / "voc")["train"].crowd.tolist() == [True, False, False]
    yolo = convert(tmp_path / "voc", tmp_path / "yolo", to="yolo")
    assert any(note.startswith("1 crowd or difficult object was left out, which YOLO cannot") for note in yolo.notes)
    assert any("YOLO's classes count from 0: category 5 ('cat') is class 0" in note for note in yolo.notes)
    assert len(read_sets(tmp_path / "yolo")["train"].ids) == 2
    assert len(read_sets(tmp_path / "yolo")["train"]) == 3, "an image without objects is kept"
    assert convert(tmp_path / "coco", tmp_path / "again", to="coco").notes == ()


def test_names_that_differ_in_their_ending_alone_stay_apart(make_annotations, write_images, tmp_path):
    notes = make_annotations(file_names=("a.png", "a.bmp", "b.png"))
    write_coco(notes, tmp_path / "coco" / "train.json")
    write_images(notes, tmp_path / "coco" / "images")
    for to in ("voc", "yolo"):
        written = convert(tmp_path / "coco", tmp_path / to, to=to)
        assert written.sets["train"].file_names == ("a.png", "a-2.bmp", "b.png")
        assert any("1 image had a name that another has but for its ending" in note for note in written.notes)
        read = read_sets(tmp_path / to)["train"]
        assert sorted(read.boxes.tolist()) == sorted(notes.boxes.tolist())
        assert (read.root / "a-2.bmp").read_bytes() == (tmp_path / "coco" / "images" / "a.bmp").read_bytes()


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_on_the_stored_view_of_a_photograph_turn_with_it_for_yolo(tmp_path, orientation):
    pixels = np.zeros((30, 40, 3), np.uint8)
    pixels[4:10, 8:20] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "coco" / "images").mkdir(parents=True)
    Image.fromarray(pixels).save(tmp_path / "coco" / "images" / "a.png", exif=exif)
    data = {
        "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [8, 4, 12, 6]}],
        "categories": [{"id": 1, "name": "white"}],
    }
    (tmp_path / "coco" / "train.json").write_text(json.dumps(data))
    written = convert(tmp_path / "coco", tmp_path / "yolo", to="yolo")
    assert any("turned with their images" in note for note in written.notes)
    from mapopt.data.image_files import open_rgb

    read = read_sets(tmp_path / "yolo")["train"]
    upright = np.asarray(open_rgb(read.root / "a.png"))[:, :, 0] > 128
    left, top, right, bottom = read.boxes[0].astype(int)
    assert upright[top:bottom, left:right].all()
    assert upright.sum() == (bottom - top) * (right - left)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_turn_as_pillow_turns_the_pixels(orientation):
    pixels = np.zeros((30, 40), np.uint8)
    pixels[4:10, 8:20] = 255
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = orientation
    from PIL import ImageOps

    turned = np.asarray(ImageOps.exif_transpose(image)) > 0
    left, top, right, bottom = turned_boxes(np.array([[8.0, 4.0, 20.0, 10.0]]), orientation, (40, 30))[0].astype(int)
    assert turned[top:bottom, left:right].all()
    assert turned.sum() == (bottom - top) * (right - left)


def test_a_folder_with_something_in_it_is_left_alone(coco, tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "thesis.txt").write_text("years of work")
    with pytest.raises(StoreError, match=r"is not empty. Give overwrite=True to replace the data set in it"):
        convert(coco, tmp_path / "new", to="voc")
    with pytest.raises(StoreError, match="holds no data set that mapopt wrote"):
        convert(coco, tmp_path / "new", to="voc", overwrite=True)
    (tmp_path / "new" / "thesis.txt").unlink()
    convert(coco, tmp_path / "new", to="voc")
    (tmp_path / "new" / "thesis.txt").write_text("years of work")
    with pytest.raises(StoreError, match=r"holds thesis.txt beside the data set, which would be lost"):
        convert(coco, tmp_path / "new", to="yolo", overwrite=True)
    (tmp_path / "new" / "thesis.txt").unlink()
    convert(coco, tmp_path / "new", to="yolo", overwrite=True)
    assert not (tmp_path / "new" / "Annotations").exists()
    assert len(read_sets(tmp_path / "new")) == 2


@pytest.mark.parametrize("out", ["coco", ".", "coco/new"])
def test_the_source_is_never_written_to(coco, tmp_path, out):
    with pytest.raises(StoreError, match=r"is, holds or lies in .*which is read and stays as it is"):
        convert(coco, tmp_path / out, to="voc", overwrite=True)


def test_a_failure_in_the_middle_leaves_the_old_folder_and_nothing_beside_it(coco, tmp_path, monkeypatch):
    convert(coco, tmp_path / "new", to="coco")
    before = checksums(tmp_path / "new")

    def fail(*arguments):
        raise DataError("no")

    monkeypatch.setattr("mapopt.data.writing.write_voc", fail)
    with pytest.raises(DataError):
        convert(coco, tmp_path / "new", to="voc", overwrite=True)
    assert checksums(tmp_path / "new") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["coco", "new"]


def test_what_a_killed_process_left_is_cleared_away(coco, tmp_path):
    (tmp_path / f".new.abc{UNFINISHED}").mkdir()
    (tmp_path / f".new.abc{UNFINISHED}" / "half.json").write_text("{")
    convert(coco, tmp_path / "new", to="coco")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["coco", "new"]


def test_a_folder_of_two_kinds_is_asked_about(coco, tmp_path):
    write_voc(read_sets(coco)["train"], coco, "train")
    with pytest.raises(
        ConfigError, match=r"can be read as COCO files \(coco\) and as Pascal VOC \(voc\). Say which is"
    ):
        convert(coco, tmp_path / "new", to="yolo")
    assert list(convert(coco, tmp_path / "new", to="coco", layout="coco").sets) == ["train", "val"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"to": "yolov8"}, "unknown layout to write 'yolov8': did you mean 'yolo'"),
        ({"to": "yolo", "images": "move"}, "unknown way to treat images 'move'"),
        ({"to": "yolo", "layout": "cocoo"}, "unknown layout 'cocoo': did you mean 'coco'"),
        ({"to": "yolo", "invalid": "keep"}, "invalid is 'keep'"),
    ],
)
def test_a_setting_that_is_none_is_refused(coco, tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        convert(coco, tmp_path / "new", **settings)


def test_sets_with_other_lists_of_categories_get_the_same(make_annotations, write_images, tmp_path):
    first = make_annotations()
    second = make_annotations(category_ids=[0, 3], category_names=("dog", "cow"), labels=[0, 1, 1])
    written = write_sets({"train": first, "val": second}, tmp_path / "a", to="voc", images="none")
    assert [notes.category_names for notes in written.sets.values()] == [("cat", "dog", "cow")] * 2
    assert written.sets["val"].category_ids.tolist() == [5, 0, 3]
    assert "by name." in " ".join(written.notes)
    other = replace(second, category_ids=np.array([5, 3]))
    written = write_sets({"train": first, "val": other}, tmp_path / "b", to="voc", images="none")
    assert written.sets["val"].category_ids.tolist() == [1, 2, 3]
    assert "contradict each other" in " ".join(written.notes)
    assert read_sets(tmp_path / "b")["val"].counts.tolist() == [0, 1, 2]


def test_real_data_of_three_layouts_say_the_same(blood_cells, tmp_path):
    convert(blood_cells, tmp_path / "yolo", to="yolo", layout="coco", images="link")
    convert(tmp_path / "yolo", tmp_path / "voc", to="voc")
    convert(tmp_path / "voc", tmp_path / "coco", to="coco")
    before, after = read_sets(blood_cells, layout="coco"), read_sets(tmp_path / "coco")
    for name in ("train", "val", "test"):
        assert content(before[name]) == content(after[name])
