"""An audit finds planted faults of every kind, in every layout, and nothing in what is right."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

import mapopt
from mapopt.data import KINDS, convert, mend, read_sets, write_coco
from mapopt.data.auditing.boxes import iou_matrix
from mapopt.data.auditing.placement import placements
from mapopt.errors import ConfigError, DataError

SIZE = (160, 120)


def draw(boxes: list[list[int]], seed: int) -> Image.Image:
    """Returns a noisy picture with a disc in every box."""
    random = np.random.default_rng(seed)
    pixels = random.integers(60, 100, (SIZE[1], SIZE[0], 1)) + random.integers(0, 60, 3)
    # Large patches of brightness, so that no two pictures are alike.
    pixels = pixels + np.kron(random.integers(0, 50, (4, 4)), np.ones((30, 40), int))[:, :, None]
    image = Image.fromarray(pixels.astype(np.uint8))
    for left, top, right, bottom in boxes:
        ImageDraw.Draw(image).ellipse((left, top, right - 1, bottom - 1), fill=(230, 40 + seed % 20, 40))
    return image


def boxes_of(seed: int) -> list[list[int]]:
    random = np.random.default_rng([seed, 1])
    corners = [(15 + 48 * x, 12 + 52 * y) for x in range(3) for y in range(2)]
    chosen = random.permutation(6)[:4].tolist()
    return [[corners[i][0], corners[i][1], corners[i][0] + 18 + i, corners[i][1] + 22 - i] for i in chosen]


def made(folder: Path, change=lambda part, data: None) -> Path:
    """Writes a COCO folder of train and val, changed before it is written."""
    for number, part in enumerate(("train", "val")):
        (folder / "images" / part).mkdir(parents=True)
        data = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "disc"}, {"id": 2, "name": "ring"}]}
        for image in range(24 if part == "train" else 12):
            seed = 100 * number + image
            draw(boxes_of(seed), seed).save(folder / "images" / part / f"{part}{image}.png")
            data["images"].append({"id": image, "file_name": f"{part}{image}.png", "width": 160, "height": 120})
            for place, (left, top, right, bottom) in enumerate(boxes_of(seed)):
                box = [left, top, right - left, bottom - top]
                entry = {"id": len(data["annotations"]), "image_id": image, "category_id": 1 + place % 2, "bbox": box}
                data["annotations"].append(entry)
        change(part, data)
        (folder / f"{part}.json").write_text(json.dumps(data))
    return folder


def of_train(change):
    return lambda part, data: change(data["annotations"], data["images"]) if part == "train" else None


def test_what_is_right_has_no_finding(tmp_path):
    result = mapopt.audit(made(tmp_path / "set"))
    assert result.counts == {}
    assert result.worst is None


def move(objects, images, image, x, y):
    for entry in objects:
        if entry["image_id"] == image:
            entry["bbox"][0] += x
            entry["bbox"][1] += y


PLANTED = {
    "degenerate": of_train(lambda objects, images: objects[5]["bbox"].__setitem__(2, 0)),
    "outside": of_train(lambda objects, images: objects[5]["bbox"].__setitem__(0, 150)),
    "duplicate": of_train(lambda objects, images: objects.append({**objects[5], "id": 999})),
    "near_duplicate": of_train(
        lambda objects, images: objects.append({**objects[5], "id": 999, "bbox": [v + 1 for v in objects[5]["bbox"]]})
    ),
    "two_classes": of_train(
        lambda objects, images: objects.append({**objects[5], "id": 999, "category_id": 3 - objects[5]["category_id"]})
    ),
    "unknown_category": of_train(lambda objects, images: objects[5].update(category_id=7)),
    "unknown_image": of_train(lambda objects, images: objects[5].update(image_id=700)),
    "unreadable_label": of_train(lambda objects, images: objects[5].update(bbox=[1, 2, "x", 3])),
    "wrong_size": of_train(lambda objects, images: images[3].update(width=320, height=240)),
    "shifted_file": of_train(lambda objects, images: move(objects, images, 1, 20, -11)),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_fault_is_found_and_nothing_else(kind, tmp_path):
    result = mapopt.audit(made(tmp_path / "set", PLANTED[kind]))
    assert result.counts == {kind: 1}
    (finding,) = result.findings
    assert finding.part == "train"
    assert finding.severity == KINDS[kind].severity == result.worst
    if kind == "shifted_file":
        assert finding.image == "train1.png"
        shift = np.array(finding.boxes[4]) - np.array(finding.boxes[0])
        assert np.abs(shift - [-20, 11, -20, 11]).max() <= 3


@pytest.mark.parametrize("to", ["voc", "yolo"])
def test_faults_of_boxes_are_found_in_every_layout(to, tmp_path):
    source = convert(made(tmp_path / "set"), tmp_path / "other", to=to).folder
    if to == "voc":
        path = source / "Annotations" / "train1.xml"
        text = path.read_text()
        first = text[text.index("<object>") : text.index("</object>") + 9]
        broken = first.replace("<xmax>", "<xmax>9999").replace("disc", "disk")
        path.write_text(text.replace("</annotation>", f"{first}{broken}</annotation>"))
        expected = {"unknown_category": 1, "duplicate": 1}
    else:
        path = source / "labels" / "train" / "train1.txt"
        line = path.read_text().splitlines()[0]
        path.write_text(f"{path.read_text()}{line}\n9 .5 .5 .1 .1\n0 .5 .5 .1\n0 .99 .5 .1 .1\n")
        expected = {"unreadable_label": 1, "unknown_category": 1, "outside": 1, "duplicate": 1}
    assert mapopt.audit(source).counts == expected


def test_images_that_cannot_be_used_are_found(tmp_path):
    folder = made(tmp_path / "set")
    (folder / "images/train/train0.png").unlink()
    (folder / "images/train/train1.png").write_bytes(b"no image")
    whole = (folder / "images/train/train2.png").read_bytes()
    (folder / "images/train/train2.png").write_bytes(whole[: len(whole) // 2])
    counts = mapopt.audit(folder).counts
    assert counts == {"missing_image": 1, "unreadable_image": 2}
    assert mapopt.audit(folder, images=False).counts == {}


def test_photographs_that_are_turned_are_found(tmp_path):
    folder = made(tmp_path / "set")
    for name, turn in (("train0", 6), ("train1", 3)):
        image = Image.open(folder / f"images/train/{name}.png")
        exif = Image.Exif()
        exif[0x0112] = turn
        image.save(folder / f"images/train/{name}.png", exif=exif)
    result = mapopt.audit(folder)
    assert [finding.image for finding in result.of("turned")] == ["train0.png"]
    assert [finding.image for finding in result.of("turned_upright")] == ["train1.png"]


def test_leaks_are_found_by_file_by_likeness_and_by_source(tmp_path):
    def rename(part, data):
        data["images"][5]["file_name"] = (
            f"{'p' if part == 'train' else 'deep/p'}_jpg.rf.{'ab' * 8 if part == 'val' else 'cd' * 8}.png"
        )

    folder = made(tmp_path / "set", rename)
    images = folder / "images"
    (images / "val/deep").mkdir()
    (images / "train/train5.png").rename(images / f"train/p_jpg.rf.{'cd' * 8}.png")
    (images / "val/val5.png").rename(images / f"val/deep/p_jpg.rf.{'ab' * 8}.png")
    (images / "val/val0.png").write_bytes((images / "train/train0.png").read_bytes())
    # The same picture, brighter and compressed, under the name that it had.
    brighter = Image.open(images / "train/train1.png").point(lambda value: min(255, value + 12))
    brighter.save(images / "val/val1.png", "JPEG", quality=90)
    (images / "train/train7.png").write_bytes((images / "train/train6.png").read_bytes())
    result = mapopt.audit(folder, kinds=("leak_file", "leak_picture", "leak_source", "same_file", "same_picture"))
    assert result.counts == {"leak_file": 1, "leak_picture": 1, "leak_source": 1, "same_file": 1}
    assert result.of("leak_file")[0].other == ("train", "train0.png")
    assert result.of("leak_picture")[0].other == ("train", "train1.png")
    assert result.of("leak_source")[0].image.startswith("deep/p_jpg.rf.")
    assert result.of("same_file")[0].part == "train"


def test_rare_and_missing_classes_and_empty_images_are_found(tmp_path):
    def change(part, data):
        data["categories"].append({"id": 3, "name": "star"})
        if part == "train":
            for entry in data["annotations"][:5]:
                entry["category_id"] = 3
        data["annotations"] = [entry for entry in data["annotations"] if entry["image_id"] != 9]

    result = mapopt.audit(made(tmp_path / "set", change), images=False)
    assert result.counts == {"empty": 2, "rare_class": 1, "missing_class": 1}
    assert result.of("rare_class")[0].figure == 5
    assert "no object in the val set" in result.of("missing_class")[0].message


def test_boxes_in_another_form_are_one_finding_of_the_set(tmp_path):
    def to_corners(part, data):
        for entry in data["annotations"]:
            left, top, width, height = entry["bbox"]
            entry["bbox"] = [left, top, left + width, top + height]

    result = mapopt.audit(made(tmp_path / "set", to_corners), kinds=("misplaced_set",))
    assert {finding.part for finding in result.findings} <= {"train", "val"}
    assert all("Read as left, top, right and bottom they fit" in finding.message for finding in result.findings)


def test_kinds_are_chosen_and_misspelled_ones_refused(tmp_path):
    folder = made(tmp_path / "set", PLANTED["degenerate"])
    assert mapopt.audit(folder, kinds=["outside"]).counts == {}
    with pytest.raises(ConfigError, match=r"unknown kind of finding 'degenrate': did you mean 'degenerate'"):
        mapopt.audit(folder, kinds=["degenrate"])
    with pytest.raises(DataError, match="no such file or folder"):
        mapopt.audit(tmp_path / "nowhere")


def test_threads_find_the_same(tmp_path):
    folder = made(tmp_path / "set", PLANTED["shifted_file"])
    assert mapopt.audit(folder).findings == mapopt.audit(folder, workers=2).findings


def test_the_document_is_json(tmp_path):
    document = mapopt.audit(made(tmp_path / "set", PLANTED["duplicate"])).document()
    read = json.loads(json.dumps(document))
    assert read["counts"] == {"duplicate": 1}
    assert read["findings"][0]["advice"] == "keep one of the boxes"
    assert read["classes"]["ring"] == {"train": 49, "val": 24}
    assert sum(read["sizes"]["train"]["relative_side"]) == 97


def test_a_mended_copy_has_no_error_and_the_old_set_stays(tmp_path):
    def spoil(part, data):
        if part == "train":
            for kind in ("degenerate", "near_duplicate", "unknown_category", "wrong_size"):
                PLANTED[kind](part, data) if kind != "degenerate" else data["annotations"][9]["bbox"].__setitem__(2, 0)
            data["annotations"][20]["bbox"][0] = 150

    folder = made(tmp_path / "set", spoil)
    (folder / "images/train/train8.png").write_bytes(b"no image")
    (folder / "images/val/val0.png").write_bytes((folder / "images/train/train0.png").read_bytes())
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    result = mapopt.audit(folder)
    assert result.worst == "error"
    written = mend(result, tmp_path / "mended")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    again = mapopt.audit(tmp_path / "mended")
    assert again.worst != "error", again.counts
    assert "near_duplicate" not in again.counts
    train = read_sets(tmp_path / "mended")["train"]
    assert len(train) == 22, "the unreadable image and the one that leaked are gone"
    assert train.boxes[:, 2].max() <= 160
    assert any(note.startswith("Mended: 1 x boxes without area") for note in written.notes)


def test_an_image_of_twice_the_size_gets_boxes_of_twice_the_size(tmp_path):
    folder = made(tmp_path / "set", PLANTED["wrong_size"])
    before = read_sets(folder)["train"]
    mend(mapopt.audit(folder), tmp_path / "mended")
    after = read_sets(tmp_path / "mended")["train"]
    rows = before.images == 3
    assert np.allclose(after.boxes[after.images == 3], before.boxes[rows] / 2)
    assert after.widths[3] == 160


def test_iou_is_that_of_two_boxes():
    boxes = np.array([[0.0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]])
    assert np.allclose(iou_matrix(boxes), [[1, 50 / 150, 0], [50 / 150, 1, 0], [0, 0, 1]])


def test_boxes_that_leave_the_image_together_are_a_shifted_file(tmp_path):
    seeds = range(20)
    pictures = [np.asarray(draw(boxes_of(seed), seed).resize((128, 96))) for seed in seeds]
    boxes = [np.array(boxes_of(seed), float) for seed in seeds]
    boxes[4] = boxes[4] + [70, 0, 70, 0]
    gains = [placed.gain for placed in placements(pictures, boxes, [SIZE] * 20)]
    assert np.argmax(gains) == 4
    assert gains[4] > 5 * sorted(gains)[-2]


def test_annotations_that_were_changed_in_memory_are_audited_once_they_are_written(make_annotations, tmp_path):
    notes = make_annotations(boxes=[[1, 2, 11, 12], [1, 2, 11, 12.5], [3.25, 4.5, 10.125, 30.75]], labels=[0, 0, 1])
    write_coco(replace(notes, ids=np.array([1, 2, 3])), tmp_path / "train.json")
    result = mapopt.audit(tmp_path / "train.json", images=False, kinds=["near_duplicate", "duplicate"])
    assert result.counts == {"duplicate": 1}
