"""The kinds of data: a good original of each, how to spoil it, and the public reader that gets it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from fuzz_mutations import ANY, REFUSE, replaced, spoil_bytes, spoil_text, strange_value, write_strange
from PIL import Image
from pycocotools import mask

from mapopt.data import (
    Annotations,
    load_splits,
    read_coco,
    read_part,
    read_voc,
    read_yolo,
    write_coco,
    write_voc,
    write_yolo,
)

Spoil = Callable[[random.Random, Path], tuple[str, str]]


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes:
        make: writes a good one into a folder.
        spoil: changes the copy of a good one; returns what it did and whether a reader must refuse the result.
        read: hands it to the public reader; returns what was read, to be compared.
    """

    make: Callable[[Path], None]
    spoil: Spoil
    read: Callable[[Path], Any]


def annotations(first: int) -> Annotations:
    boxes = np.array([[4.0, 4, 20, 16], [10, 6, 28, 22], [2, 2, 9, 9], [12, 8, 30, 20]])
    return Annotations(
        image_ids=first + np.arange(2),
        file_names=(f"{first}.png", f"{first + 1}.png"),
        widths=np.full(2, 32),
        heights=np.full(2, 24),
        category_ids=np.array([1, 2]),
        category_names=("cat", "dog"),
        boxes=boxes,
        labels=np.array([0, 1, 0, 1]),
        images=np.array([0, 0, 1, 1]),
        crowd=np.zeros(4, bool),
        area=(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
        ids=first + np.arange(4),
    )


def _pictures(folder: Path, first: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in (first, first + 1):
        pixels = np.random.default_rng(number).integers(0, 255, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def _make_coco(folder: Path) -> None:
    for split, first in (("train", 1), ("val", 11)):
        _pictures(folder / split, first)
        write_coco(annotations(first), folder / split / "_annotations.coco.json")


def spoil_json(name: str, wrong: Callable[[random.Random, Any], tuple[str, Any]] | None = None) -> Spoil:
    """Spoils a JSON file: as text, at some place, or in a way that is documented as wrong."""

    def spoil(rng: random.Random, folder: Path) -> tuple[str, str]:
        path = folder / name
        way = rng.choice(["text", "strange", "strange", "wrong", "wrong"] if wrong else ["text", "strange", "strange"])
        if way == "text":
            return spoil_text(rng, path)
        what, value = (wrong if way == "wrong" and wrong else strange_value)(rng, json.loads(path.read_text()))
        write_strange(path, value)
        return what, REFUSE if way == "wrong" else ANY

    return spoil


def _wrong_coco(rng: random.Random, data: Any) -> tuple[str, Any]:
    section, key, value = rng.choice(
        [
            *[
                ("annotations", "bbox", box)
                for box in ([1, 2, 3], "1 2 3 4", [1, 2, "x", 4], [1, 2, -3, 4], [1, 2, 0, 4])
            ],
            *[
                ("annotations", "bbox", box)
                for box in ([float("nan"), 2, 3, 4], [1, 2, float("inf"), 4], [500, 2, 3, 4])
            ],
            *[("annotations", "category_id", other) for other in (99, "cat", None, 1.5)],
            *[("annotations", "image_id", other) for other in (99, [1], None)],
            *[("images", "width", size) for size in (0, -32, "wide")],
            *[("images", "file_name", name) for name in (None, 7, [])],
            *[("categories", "name", name) for name in (None, 7)],
        ]
    )
    data[section][rng.randrange(len(data[section]))][key] = value
    return f"{section}.{key} = {value!r}", data


def _make_voc(folder: Path) -> None:
    _pictures(folder / "JPEGImages", 1)
    write_voc(annotations(1), folder, "train")


def _spoil_voc(rng: random.Random, folder: Path) -> tuple[str, str]:
    sheet = rng.choice(sorted((folder / "Annotations").glob("*.xml")))
    way = rng.choice(["text", "list", "wrong", "wrong", "bomb", "tag"])
    if way == "text":
        return spoil_text(rng, sheet)
    if way == "list":
        return "list", spoil_text(rng, folder / "ImageSets" / "Main" / "train.txt")[1].replace(REFUSE, ANY)
    text = sheet.read_text()
    if way == "bomb":
        entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
        sheet.write_text(f'<!DOCTYPE x [<!ENTITY e0 "aaaaaaaaaa">{entities}]>' + text.replace("cat", "&e11;"))
        return "entities in entities", REFUSE
    if way == "tag":
        tag = rng.choice(["name", "bndbox", "object", "size", "filename", "annotation", "xmin"])
        sheet.write_text(text.replace(f"<{tag}>", f"<{tag}x>", 1).replace(f"</{tag}>", f"</{tag}x>", 1))
        return f"no {tag}", REFUSE if tag in ("xmin", "name", "bndbox") else ANY
    number = rng.choice(["nan", "inf", "left", "", "-500", "9e99", "1e400"])
    start = text.index("<xmin>")
    sheet.write_text(text[:start] + f"<xmin>{number}</xmin>" + text[text.index("</xmin>") + 7 :])
    return f"xmin {number}", REFUSE


def _make_yolo(folder: Path) -> None:
    for split, first in (("train", 1), ("val", 11)):
        _pictures(folder / "images" / split, first)
        write_yolo(annotations(first), folder, split)


def _spoil_labels(rng: random.Random, folder: Path) -> tuple[str, str]:
    path = rng.choice(sorted((folder / "labels" / "train").glob("*.txt")))
    if rng.random() < 0.25:
        what, verdict = spoil_text(rng, path)
        # No file and an empty one are an image without objects.
        return what, ANY if what in ("missing", "empty", "blank", "device") else verdict
    row = rng.choice(
        [
            *["0 .5 .5 .2", "0 .5 .5", "0", "cat .5 .5 .2 .2", "7 .5 .5 .2 .2", "-1 .5 .5 .2 .2", "0.5 .5 .5 .2 .2"],
            *[
                "0 nan .5 .2 .2",
                "0 .5 inf .2 .2",
                "0 .5 .5 0 .2",
                "0 .5 .5 -.2 .2",
                "0 1.5 .5 .2 .2",
                "0 .5 .5 1e400 1",
            ],
            *[
                "0 .5 .5 .2 .2 .9 x",
                "0,.5,.5,.2,.2",
                "0 16 12 8 8",
                "0 .5 .5 .2 .2x",
                "1e30 .5 .5 .2 .2",
                "nan 0 0 1 1",
            ],
        ]
    )
    path.write_text(rng.choice(["", path.read_text()]) + row + "\n")
    return f"row '{row}'", REFUSE


def _bomb() -> str:
    lines = ["a: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"b{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    return "\n".join(lines) + "\n"


@cache
def _parsed(text: str) -> Any:
    """Returns what a good YAML file holds, which nobody may change; every seed spoils a copy of the same file."""
    return yaml.safe_load(text)


def spoil_yaml(name: str, wrong: dict[str, Any], *, unknown: bool) -> Spoil:
    """Spoils a YAML file: as text, at some place, with a bomb of aliases, or by a wrong value of a key."""

    def spoil(rng: random.Random, folder: Path) -> tuple[str, str]:
        path = folder / name
        way = rng.choice(["text", "strange", "strange", "bomb", "wrong", "wrong", "unknown", "syntax"])
        if way == "text":
            what, verdict = spoil_text(rng, path)
            return what, ANY if what in ("empty", "blank", "device") else verdict
        if way == "bomb":
            path.write_text(_bomb() + path.read_text())
            return "aliases of aliases", REFUSE if unknown else ANY
        if way == "syntax":
            path.write_text(
                path.read_text() + rng.choice(["a: [", "\t- b", "x: *nothing", "!!python/name:os.x", "a: b: c"])
            )
            return "syntax", REFUSE
        if way == "unknown":
            path.write_text(path.read_text() + "no_such_key: 1\n")
            return "unknown key", REFUSE if unknown else ANY
        data = _parsed(path.read_text())
        if way == "strange":
            what, data = strange_value(rng, data)
        else:
            key, value = rng.choice([(key, value) for key, values in wrong.items() for value in values])
            what = f"{key} = {value!r}"
            data = replaced(data, tuple(key.split(".")), lambda container, last: container.__setitem__(last, value))
        path.write_text(yaml.safe_dump(data))
        return what, REFUSE if way == "wrong" else ANY

    return spoil


def _spoil_image(rng: random.Random, folder: Path) -> tuple[str, str]:
    path = rng.choice(sorted(folder.glob("*/*.png")))
    if rng.random() < 0.2:  # a header that says 2 thousand million pixels
        content = bytearray(path.read_bytes())
        content[16:24] = (60_000).to_bytes(4, "big") * 2
        path.write_bytes(bytes(content))
        return "60000 x 60000", REFUSE
    what, verdict = spoil_bytes(rng, path)
    return what, REFUSE if verdict == REFUSE else ANY


def _read_images(folder: Path) -> None:
    load_splits(folder, size=(24, 32))


def _coco(folder: Path) -> Annotations:
    return read_coco(folder / "train" / "_annotations.coco.json")


def _labels(folder: Path) -> Annotations:
    return read_yolo(folder / "data.yaml", "train")


DATA_YAML = {"names": (3, None, "cat", [], [None], [["cat"]]), "train": ("no/such", 7, None)}


def _make_fiftyone(folder: Path) -> None:
    _pictures(folder / "data", 1)
    boxes = [{"label": label, "bounding_box": [0.1, 0.2, 0.5, 0.4 + label / 4]} for label in (0, 1)]
    write_strange(folder / "labels.json", {"classes": ["cat", "dog"], "labels": {"1": boxes, "2": boxes[:1]}})


def _wrong_fiftyone(rng: random.Random, data: Any) -> tuple[str, Any]:
    key, value = rng.choice(
        [
            *[("bounding_box", box) for box in ([0.1, 0.2, 0.3], "0 0 1 1", [0.1, 0.2, "x", 0.4], {}, None)],
            *[("bounding_box", box) for box in ([0.9, 0.2, 0.5, 0.4], [0.1, 0.2, -0.5, 0.4], [0.1, 0.2, 0.0, 0.4])],
            *[("bounding_box", [0.1, 0.2, 0.3, number]) for number in (float("nan"), float("inf"))],
            *[("label", label) for label in (2, -1, None, 0.5, [], True)],
        ]
    )
    data["labels"][rng.choice("12")][0][key] = value
    return f"{key} = {value!r}", data


def _make_masks(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    runs = {"size": [24, 32], "counts": [100, 4, 20, 4, 640]}
    packed = {**runs, "counts": mask.frPyObjects(runs, 24, 32)["counts"].decode()}
    masks: list[Any] = [runs, packed, [[4, 4, 20, 4, 20, 16]]]
    notes = [{"id": n, "image_id": 1, "category_id": 1, "segmentation": given} for n, given in enumerate(masks)]
    images = [{"id": 1, "file_name": "1.png", "width": 32, "height": 24}]
    categories = [{"id": 1, "name": "cat"}]
    write_strange(folder / "masks.json", {"images": images, "annotations": notes, "categories": categories})


def _wrong_mask(rng: random.Random, data: Any) -> tuple[str, Any]:
    key, value = rng.choice(
        [
            *[("size", size) for size in ([24], [32, 24], [0, 32], [24.0, 32], [2**40, 2**40], None, "24 32")],
            *[("counts", counts) for counts in ([], [100, 4], [768], [-4, 772], [2**70], None, {}, "", "\x00", "~~~~")],
        ]
    )
    data["annotations"][rng.randrange(2)]["segmentation"][key] = value
    return f"{key} = {value!r}", data


DATA_KINDS: dict[str, Kind] = {
    "coco": Kind(_make_coco, spoil_json("train/_annotations.coco.json", _wrong_coco), _coco),
    "voc": Kind(_make_voc, _spoil_voc, lambda folder: read_voc(folder, "train")),
    "yolo": Kind(_make_yolo, _spoil_labels, _labels),
    "data.yaml": Kind(_make_yolo, spoil_yaml("data.yaml", DATA_YAML, unknown=False), _labels),
    "images": Kind(_make_coco, _spoil_image, _read_images),
    "fiftyone": Kind(_make_fiftyone, spoil_json("labels.json", _wrong_fiftyone), read_part),
    "masks": Kind(_make_masks, spoil_json("masks.json", _wrong_mask), lambda folder: read_coco(folder / "masks.json")),
}
