"""Folders as tools export them are read, and nothing in them is left out without a word."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mapopt.data import load_splits, read_coco, read_part, read_voc, read_yolo, write_coco, write_voc, write_yolo
from mapopt.errors import ConfigError, DataError

SIZE = (16, 16)


@pytest.fixture
def sets(make_annotations):
    """Returns annotations of train, val and test, with other file names each."""
    return {
        split: make_annotations(file_names=tuple(f"{split}-{letter}.png" for letter in "abc"))
        for split in ("train", "val", "test")
    }


def change(path: Path, change) -> None:
    """Changes a JSON file."""
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def write_roboflow_yolo(folder: Path, sets, write_images, root: str) -> None:
    """Writes train/images, valid/images and test/images, and a data.yaml that names them below another root."""
    lines = ["names: [dog, x, x2, x3, x4, cat]"]
    for split, notes in sets.items():
        name = split.replace("val", "valid")
        write_yolo(notes, folder / "made", split)
        shutil.copytree(folder / "made" / "labels" / split, folder / name / "labels")
        write_images(notes, folder / name / "images")
        lines.append(f"{split}: {root}{name}/images")
    shutil.rmtree(folder / "made")
    (folder / "data.yaml").write_text("\n".join(lines))


@pytest.mark.parametrize(
    "root", ["../", "./", "", "/home/author/My Project/v3/", "C:\\Users\\author\\set\\", "/content/test-1/"]
)
def test_paths_of_an_author_s_machine_lead_to_the_folder_beside_the_file(root, sets, write_images, tmp_path):
    write_roboflow_yolo(tmp_path, sets, write_images, root)
    if "test-1" in root:
        # What names a split is never left out.
        with pytest.raises(DataError, match=r"'train' names /content/test-1/train/images, but .* does not exist"):
            load_splits(tmp_path, size=SIZE)
        return
    splits = load_splits(tmp_path, size=SIZE)
    assert splits.note == ""
    for (_, images), name in zip(splits.named(), sets, strict=True):
        assert images.annotations.file_names == sets[name].file_names
        assert np.allclose(np.sort(images.annotations.boxes, 0), np.sort(sets[name].boxes, 0))


def test_a_set_that_is_missing_is_not_replaced_by_another(sets, write_images, tmp_path):
    write_roboflow_yolo(tmp_path, sets, write_images, "/home/author/")
    shutil.rmtree(tmp_path / "valid")
    (tmp_path / "images").symlink_to(tmp_path / "train" / "images")
    with pytest.raises(DataError, match="'val' names /home/author/valid/images, but"):
        load_splits(tmp_path, size=SIZE)


def test_roboflow_s_root_category_is_left_out_with_a_remark(sets, write_images, tmp_path):
    for split, notes in sets.items():
        folder = tmp_path / split.replace("val", "valid")
        write_coco(notes, folder / "_annotations.coco.json")
        write_images(notes, folder)

        def add_root(data):
            for entry in data["categories"]:
                entry["supercategory"] = "animals"
            data["categories"].insert(0, {"id": 99, "name": "animals", "supercategory": "none"})

        change(folder / "_annotations.coco.json", add_root)
    splits = load_splits(tmp_path, size=SIZE)
    assert splits.train.annotations.category_names == ("cat", "dog")
    assert "In the train set: The category 'animals' was left out: it only holds the others together." in splits.note
    change(tmp_path / "train" / "_annotations.coco.json", lambda data: data["annotations"][0].update(category_id=99))
    assert len(read_part(tmp_path, "train").category_names) == 3


def test_tables_of_boxes_beside_the_images_are_read(sets, write_images, tmp_path):
    for split, notes in sets.items():
        folder = tmp_path / split.replace("val", "valid")
        write_images(notes, folder)
        lines = ["filename,width,height,class,xmin,ymin,xmax,ymax"]
        for image, label, box in zip(notes.images, notes.labels, notes.boxes.tolist(), strict=True):
            name = notes.category_names[label]
            row = [notes.file_names[image], notes.widths[image], notes.heights[image], name, *box]
            lines.append(",".join(map(str, row)))
        (folder / "_annotations.csv").write_text("\n".join(lines))
    splits = load_splits(tmp_path, size=SIZE)
    for (_, images), name in zip(splits.named(), sets, strict=True):
        assert images.annotations.file_names == sets[name].file_names
        assert images.annotations.boxes.tolist() == sets[name].boxes.tolist()
        assert images.annotations.widths.tolist() == sets[name].widths.tolist()
    table = tmp_path / "train" / "_annotations.csv"
    good = table.read_text()
    for text, message in (
        (good.replace("xmin", "left", 1), r"has no column xmin\. Expected the columns filename, width"),
        (good.replace(",11.0", ",wide"), r"line 2: xmax is 'wide'\. Expected a number of pixels"),
        (good.replace(",11.0,12.0", ",11.0"), r"line 2: has too few entries\. Expected filename, width"),
        (good.replace("a.png,40", "a.png,41", 1), r"line 3: train-a\.png has another size than in a line before"),
    ):
        table.write_text(text)
        with pytest.raises(DataError, match=rf"_annotations\.csv.*{message}"):
            load_splits(tmp_path, size=SIZE)


@pytest.mark.parametrize("layout", ["fiftyone", "fiftyone, one folder a split", "label studio", "odd yaml"])
def test_exports_of_other_tools_are_read(layout, sets, make_annotations, write_images, tmp_path):
    notes = make_annotations(file_names=tuple("abc"[i] + ".png" for i in range(3)))
    if layout == "fiftyone":
        write_coco(notes, tmp_path / "labels.json")
        write_images(notes, tmp_path / "data")
    elif layout == "fiftyone, one folder a split":
        for split in sets:
            write_coco(sets[split], tmp_path / split / "labels.json")
            write_images(sets[split], tmp_path / split / "data")
        assert [len(images) for _, images in load_splits(tmp_path, size=SIZE).named()] == [3, 3, 3]
        return
    elif layout == "label studio":
        notes = make_annotations(category_ids=[0, 1], file_names=("a.png", "b.png", "c.png"))
        write_yolo(notes, tmp_path / "made", "train")
        shutil.copytree(tmp_path / "made" / "labels" / "train", tmp_path / "labels")
        shutil.rmtree(tmp_path / "made")
        write_images(notes, tmp_path / "images")
        (tmp_path / "classes.txt").write_text("cat\ndog\n")
        (tmp_path / "notes.json").write_text("{}")
    else:
        write_yolo(notes, tmp_path, "train")
        write_images(notes, tmp_path / "images" / "train")
        (tmp_path / "data.yaml").rename(tmp_path / "cats.yaml")
    read = read_part(tmp_path)
    assert read.file_names == notes.file_names
    assert sorted(read.boxes.tolist()) == sorted(notes.boxes.tolist())
    assert read.category_names == notes.category_names or layout == "odd yaml"
    with pytest.raises(DataError, match=r"--split 0\.7 0\.15 0\.15"):
        load_splits(tmp_path, size=SIZE)


def test_several_coco_files_are_not_guessed_between(make_annotations, write_images, tmp_path):
    for name in ("one", "two"):
        write_coco(make_annotations(), tmp_path / f"{name}.json")
    with pytest.raises(
        DataError, match=r"has several COCO files \(one\.json, two\.json\)\. Give the one that is meant"
    ):
        load_splits(tmp_path, size=SIZE)
    write_images(make_annotations(), tmp_path)
    with pytest.raises(DataError, match=r"the test set has 1 images but no object|the val set has 1 images but no obj"):
        load_splits(tmp_path / "one.json", size=SIZE, split=(0.4, 0.3, 0.3))


def test_copies_of_a_file_come_into_one_set(make_annotations, write_images, tmp_path):
    names = tuple(f"{number}.png" for number in range(12))
    notes = make_annotations(
        image_ids=range(12),
        file_names=names,
        widths=[40] * 12,
        heights=[20] * 12,
        boxes=[[1, 2, 11, 12]] * 12,
        labels=[0] * 12,
        images=range(12),
        crowd=[False] * 12,
        area=[100.0] * 12,
        ids=range(12),
    )
    write_images(notes, tmp_path)
    for number in range(6):
        shutil.copy(tmp_path / names[number], tmp_path / names[number + 6])
    write_coco(notes, tmp_path / "all.json")
    for seed in range(4):
        splits = load_splits(tmp_path, size=SIZE, split=(0.5, 0.25, 0.25), seed=seed)
        parts = [{int(name[:-4]) % 6 for name in images.annotations.file_names} for _, images in splits.named()]
        assert sum(map(len, parts)) == len(set.union(*parts)) == 6
    with pytest.raises(ConfigError, match="unknown setting of load_splits 'spilt'"):
        load_splits(tmp_path, size=SIZE, spilt=None)


def test_the_same_image_under_another_name_is_a_leak(sets, write_images, tmp_path):
    for split, notes in sets.items():
        write_coco(notes, tmp_path / f"{split}.json")
        write_images(notes, tmp_path / "images")
    shutil.copy(tmp_path / "images" / "train-a.png", tmp_path / "images" / "test-a.png")
    with pytest.raises(
        DataError, match=r"'test-a\.png' of the test set has the same pixels as 'train-a\.png' of the train set"
    ):
        load_splits(tmp_path, size=SIZE)
    for name in ("train-a", "test-a"):
        Image.new("RGB", (40, 20), "blue").save(tmp_path / "images" / f"{name}.png")
    assert len(load_splits(tmp_path, size=SIZE).test) == 3


def test_images_of_no_set_are_counted(sets, write_images, tmp_path):
    for split, notes in sets.items():
        write_voc(notes, tmp_path, split)
        write_images(notes, tmp_path / "JPEGImages")
    Image.new("RGB", (4, 4)).save(tmp_path / "JPEGImages" / "other.png")
    assert load_splits(tmp_path, size=SIZE).note == "1 image file is in no set, for instance other.png."


@pytest.mark.parametrize("layout", ["coco", "voc", "yolo"])
def test_repeated_rows_count_once_with_a_note(layout, sets, write_images, tmp_path):
    for split, notes in sets.items():
        if layout == "coco":
            write_coco(notes, tmp_path / f"{split}.json")
            write_images(notes, tmp_path / "images")
        elif layout == "voc":
            write_voc(notes, tmp_path, split)
            write_images(notes, tmp_path / "JPEGImages")
        else:
            write_yolo(notes, tmp_path, split)
            write_images(notes, tmp_path / "images" / split)
    plain = load_splits(tmp_path, size=SIZE).train.annotations
    if layout == "coco":
        change(tmp_path / "train.json", lambda data: data["annotations"].append({**data["annotations"][0], "id": 77}))
    elif layout == "voc":
        path = tmp_path / "Annotations" / "train-c.xml"
        text = path.read_text()
        item = text[text.index("<object>") : text.index("</object>") + 9]
        path.write_text(text.replace("</annotation>", f"{item}</annotation>"))
    else:
        path = tmp_path / "labels" / "train" / "train-c.txt"
        path.write_text(path.read_text() * 2)
    splits = load_splits(tmp_path, size=SIZE)
    assert sorted(splits.train.annotations.boxes.tolist()) == sorted(plain.boxes.tolist())
    assert splits.note.startswith(
        "In the train set: 1 box given twice, with the same category and corners, counted once, for instance in image"
    )


@pytest.mark.parametrize(("value", "crowd"), [(0, False), (1, True), (True, True), (False, False), (None, False)])
def test_iscrowd_is_a_number_or_a_truth_value(value, crowd, make_annotations, tmp_path):
    write_coco(make_annotations(), tmp_path / "a.json")
    change(tmp_path / "a.json", lambda data: data["annotations"][0].update(iscrowd=value))
    assert read_coco(tmp_path / "a.json", tmp_path).crowd[0] == crowd


@pytest.mark.parametrize("value", ["0", "1", "false", 2, -1, [], {}, [0]])
def test_iscrowd_of_another_type_is_refused(value, make_annotations, tmp_path):
    write_coco(make_annotations(), tmp_path / "a.json")
    change(tmp_path / "a.json", lambda data: data["annotations"][0].update(iscrowd=value))
    with pytest.raises(DataError, match=r"annotation 3: 'iscrowd' is .*\. Expected 0 or 1"):
        read_coco(tmp_path / "a.json", tmp_path)


@pytest.mark.parametrize(("text", "crowd"), [("0", 0), ("1", 1), ("true", 1), ("True", 1), ("false", 0), ("", 0)])
def test_difficult_is_what_it_says(text, crowd, make_annotations, tmp_path):
    write_voc(make_annotations(), tmp_path, "train")
    path = tmp_path / "Annotations" / "c.xml"
    good = path.read_text()
    path.write_text(good.replace("<difficult>0<", f"<difficult>{text}<"))
    assert read_voc(tmp_path, "train").crowd.tolist() == [False, False, bool(crowd)]
    path.write_text(good.replace("<difficult>0<", "<difficult>maybe<"))
    with pytest.raises(DataError, match=r"c\.xml: object 1 \(dog\): difficult is 'maybe'\. Expected 0 or 1"):
        read_voc(tmp_path, "train")


def test_a_photograph_is_upright_in_every_format(make_annotations, write_images, tmp_path):
    """The stated size decides where only the stored view has it; sizes that are read are upright."""
    notes = make_annotations(
        widths=[20, 30, 20], heights=[40, 30, 40], boxes=[[1, 2, 11, 12], [0, 0, 20, 20], [3, 4, 10, 30]]
    )
    write_yolo(notes, tmp_path, "train")
    write_images(notes, tmp_path / "images" / "train")
    exif = Image.Exif()
    exif[0x0112] = 8
    picture = Image.open(tmp_path / "images" / "train" / "a.png").rotate(270, expand=True)
    picture.save(tmp_path / "images" / "train" / "a.png", exif=exif)
    assert picture.size == (40, 20)
    assert sorted(read_yolo(tmp_path / "data.yaml", "train").boxes.tolist()) == sorted(notes.boxes.tolist())
