"""Reads the ground truth of an evaluation: a COCO file in which ids, boxes and categories are enough.

The reader of training data (`mapopt.data.coco`) needs images and so asks for their names and sizes, and mends boxes.
Here nothing is mended: what pycocotools counts is counted, and `AnnotatedSet.remarks` says what is unusual. Ids may be
any value that JSON has, texts among them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapopt.data.coco import images_folder
from mapopt.data.files import blame, read_json
from mapopt.data.invalid import Invalid, settle_boxes, wrong_boxes
from mapopt.data.masks import with_boxes
from mapopt.errors import DataError

UNKNOWN_SIZE = 0
"""Width and height of an image whose size a file does not say."""

_SIDES = ("width", "height")

_ANY_SIZE = 1 << 40
"""Stands for an unknown size where boxes are checked against it: no box reaches out."""

_EXPECTED = "Expected a COCO file with images, annotations and categories."

Id = int | float | str | bool
"""What names an image or a category in a file."""


@dataclass(frozen=True, eq=False, kw_only=True)
class AnnotatedSet:
    """Who is where, as a file says it; objects point to images and categories by position.

    Attributes:
        image_ids: ``[I]`` int64, or objects where an id is no whole number.
        file_names: ``I`` names, empty where the file has none.
        widths: int64 ``[I]`` pixels, `UNKNOWN_SIZE` where the file does not say.
        heights: int64 ``[I]`` the same.
        category_ids: ``[K]`` int64, or objects.
        category_names: ``K`` unique names; "category ID" where the file has none.
        boxes: float64 ``[N, 4]`` corners in pixels.
        labels: int64 ``[N]`` positions in the categories.
        images: int64 ``[N]`` positions in the images.
        crowd: bool ``[N]``.
        area: float64 ``[N]`` square pixels.
        root: The folder of the images, as far as it can be found.
        remarks: What is unusual, a sentence each.
    """

    image_ids: NDArray[Any]
    file_names: tuple[str, ...]
    widths: NDArray[np.int64]
    heights: NDArray[np.int64]
    category_ids: NDArray[Any]
    category_names: tuple[str, ...]
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    images: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    area: NDArray[np.float64]
    root: Path | None = None
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Returns the number of images."""
        return len(self.image_ids)

    def keep(self, objects: NDArray[np.bool_]) -> AnnotatedSet:
        """Returns the same images and categories with only some objects, from ``[N]`` booleans."""
        columns = {name: getattr(self, name)[objects] for name in ("boxes", "labels", "images", "crowd", "area")}
        return replace(self, **columns)

    def select(self, images: NDArray[np.int64]) -> AnnotatedSet:
        """Returns some images, by ascending positions, with their objects and all categories."""
        place = np.full(len(self), -1, np.int64)
        place[images] = np.arange(len(images))
        chosen = self.keep(place[self.images] >= 0)
        return replace(
            chosen,
            image_ids=self.image_ids[images],
            file_names=tuple(self.file_names[position] for position in images.tolist()),
            widths=self.widths[images],
            heights=self.heights[images],
            images=place[chosen.images],
        )


def read_ground_truth(path: str | Path, *, invalid: Invalid = "keep") -> AnnotatedSet:
    """Reads a COCO annotation file for an evaluation.

    Args:
        path: The file. Needed are the ids of images and categories, and ``image_id``, ``category_id`` and ``bbox`` (or
            a mask) of annotations; everything else may be missing.
        invalid: What to do with boxes outside their image or without area: ``"keep"``, as pycocotools does;
            ``"error"``, ``"clip"`` or ``"drop"``.

    Raises:
        DataError: The file is missing or wrong; the message names the annotation or the image.
    """
    path = Path(path)
    data = read_json(path)
    with blame(path):
        # Files of test sets may list images alone.
        objects = _section(data, "annotations") if not isinstance(data, dict) or "annotations" in data else []
        images, categories = (
            _section(data, key) if key in data else _listed(objects, f"{kind}_id", kind)
            for key, kind in (("images", "image"), ("categories", "category"))
        )
        image_places, category_places = (
            _places(entries, kind) for entries, kind in ((images, "image"), (categories, "category"))
        )
        names = [f"annotation {entry.get('id', number)}" for number, entry in enumerate(objects)]
        positions = _positions(objects, names, image_places, "image")
        labels = _positions(objects, names, category_places, "category")
        widths, heights = (np.array([_size(entry.get(side)) for entry in images], np.int64) for side in _SIDES)
        objects, completed = with_boxes(objects, names, np.stack([widths, heights], axis=1)[positions])
        xywh = _boxes(objects, names)
        boxes = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
        file_names = tuple(_text(entry.get("file_name")) for entry in images)
        notes = AnnotatedSet(
            image_ids=_id_column([entry["id"] for entry in images]),
            file_names=file_names,
            widths=widths,
            heights=heights,
            category_ids=_id_column([entry["id"] for entry in categories]),
            category_names=_category_names(categories),
            boxes=boxes,
            labels=labels,
            images=positions,
            crowd=np.array([_crowd(entry, name) for entry, name in zip(objects, names, strict=True)], bool),
            area=_areas(objects, names, xywh[:, 2] * xywh[:, 3]),
            root=images_folder(path, None, file_names),
            remarks=(completed.rstrip("."),) if completed else (),
        )
        return _settled(notes, invalid, lambda i: f"{names[i]} (image {notes.image_ids[positions[i]]})")


def id_key(value: Any) -> tuple[str, Any] | None:
    """Returns what two equal ids have in common; None for what is no id.

    Some writers say 7.0 for 7. A text is never a number: ``"7"`` is another id than 7.

    >>> id_key(7.0) == id_key(7), id_key("7") == id_key(7), id_key([7])
    (True, False, None)
    """
    if isinstance(value, bool):
        return "flag", value
    if isinstance(value, int | float):
        return ("number", value) if value == value else None
    return ("text", value) if isinstance(value, str) else None


def id_order(ids: NDArray[Any]) -> NDArray[np.int64]:
    """Returns ``[n]`` whole numbers in the order of the ids, which decides between equal scores: the ids, or ranks."""
    if ids.dtype == np.int64:
        return ids
    keys = [id_key(value) or ("", "") for value in ids.tolist()]
    rank = {position: place for place, position in enumerate(sorted(range(len(keys)), key=keys.__getitem__))}
    return np.array([rank[position] for position in range(len(keys))], np.int64)


def _settled(notes: AnnotatedSet, invalid: Invalid, name: Callable[[int], str]) -> AnnotatedSet:
    """Applies the policy for boxes outside their image or without area."""
    widths, heights = (
        np.where(sizes == UNKNOWN_SIZE, _ANY_SIZE, sizes)[notes.images] for sizes in (notes.widths, notes.heights)
    )
    settled, kept = settle_boxes(notes.boxes, widths, heights, invalid=invalid, name=name, form="sizes")
    if invalid != "keep":
        cut = (settled != notes.boxes).any(axis=1)
        sides = settled[:, 2:] - settled[:, :2]
        area = np.where(cut, np.minimum(notes.area, sides[:, 0] * sides[:, 1]), notes.area)
        return replace(notes, boxes=settled, area=area).keep(kept)
    wrong = int(wrong_boxes(notes.boxes, widths, heights).sum())
    if not wrong:
        return notes
    remark = (
        f"{_count(wrong, 'annotated box has', 'annotated boxes have')} no area or a part outside of the image, and "
        f"{'counts' if wrong == 1 else 'count'} as in pycocotools: --invalid error names the first"
    )
    return replace(notes, remarks=(*notes.remarks, remark))


def _section(data: Any, key: str) -> list[dict[str, Any]]:
    if isinstance(data, list):
        raise DataError("is a list, as files of results are. Expected an annotation file with images and categories.")
    if not isinstance(data, dict) or not isinstance(data.get(key), list):
        raise DataError(f"has no list '{key}'. {_EXPECTED}")
    for number, entry in enumerate(data[key]):
        if not isinstance(entry, dict):
            raise DataError(f"entry {number} of '{key}' is not an object in braces. Correct the file.")
    return data[key]


def _listed(objects: Sequence[Mapping[str, Any]], key: str, kind: str) -> list[dict[str, Any]]:
    """Returns the images or categories that annotations name, where the file has no list of them."""
    values = {id_key(entry.get(key)): entry.get(key) for entry in objects}
    values.pop(None, None)
    if not values:
        raise DataError(f"has neither a list of its {kind} ids nor an annotation that names one. {_EXPECTED}")
    return [{"id": values[key_]} for key_ in sorted(values, key=lambda pair: pair or ("", ""))]


def _places(entries: Sequence[Mapping[str, Any]], kind: str) -> dict[tuple[str, Any], int]:
    """Returns the position of every id."""
    places: dict[tuple[str, Any], int] = {}
    for number, entry in enumerate(entries):
        key = id_key(entry.get("id"))
        if key is None:
            raise DataError(f"entry {number} of the {kind} list: 'id' is {_short(entry.get('id'))}. {_AN_ID}")
        if places.setdefault(key, number) != number:
            raise DataError(f"{kind} id {entry['id']} is used twice. Give each its own.")
    if not places:
        raise DataError(f"holds no {kind}. Expected at least one.")
    return places


_AN_ID = "Expected a number or a text."


def _positions(
    objects: Sequence[Mapping[str, Any]], names: Sequence[str], places: Mapping[tuple[str, Any], int], kind: str
) -> NDArray[np.int64]:
    """Returns the position of the image or category of each annotation."""
    positions = np.zeros(len(objects), np.int64)
    for row, entry in enumerate(objects):
        if f"{kind}_id" not in entry:
            raise DataError(f"{names[row]} has no '{kind}_id'. Add it.")
        value = entry[f"{kind}_id"]
        key = id_key(value)
        if key is None:
            raise DataError(f"{names[row]}: '{kind}_id' is {_short(value)}. {_AN_ID}")
        if key not in places:
            raise DataError(
                f"{names[row]}: {kind} id {value!r} is not in the file's list of {kind} ids ({len(places)} of them). "
                f"Add the {kind} or remove the annotation."
            )
        positions[row] = places[key]
    return positions


def _boxes(objects: Sequence[Mapping[str, Any]], names: Sequence[str]) -> NDArray[np.float64]:
    for entry, name in zip(objects, names, strict=True):
        value = entry.get("bbox")
        if not isinstance(value, list) or len(value) != 4 or not all(type(number) in (int, float) for number in value):
            raise DataError(f"{name}: 'bbox' is {_short(value)}. Expected four numbers: left, top, width, height.")
        if value[2] < 0 or value[3] < 0:
            raise DataError(f"{name}: 'bbox' is {value}. Expected a width and a height of at least 0.")
    try:
        return np.array([entry["bbox"] for entry in objects], np.float64).reshape(-1, 4)
    except OverflowError:
        raise DataError("a number of a 'bbox' is too large. Expected pixels: left, top, width, height.") from None


def _areas(
    objects: Sequence[Mapping[str, Any]], names: Sequence[str], default: NDArray[np.float64]
) -> NDArray[np.float64]:
    areas = default.copy()
    for row, entry in enumerate(objects):
        value = entry.get("area")
        if value is None:
            continue
        if type(value) not in (int, float) or not 0 <= value < 1e300:
            raise DataError(f"{names[row]}: 'area' is {_short(value)}. Expected a number of square pixels.")
        areas[row] = value
    return areas


def _crowd(entry: Mapping[str, Any], name: str) -> bool:
    value = entry.get("iscrowd")
    if value is None or isinstance(value, bool) or (type(value) in (int, float) and value in (0, 1)):
        return bool(value)
    raise DataError(f"{name}: 'iscrowd' is {_short(value)}. Expected 0, 1, true, false or null.")


def _category_names(categories: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Returns a name for each; what shares its name, or has none, is named by its id."""
    names = [_text(entry.get("name")) for entry in categories]
    return tuple(
        (name if names.count(name) == 1 else f"{name} (id {entry['id']})") if name else f"category {entry['id']}"
        for name, entry in zip(names, categories, strict=True)
    )


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str | int | float) else ""


def _size(value: Any) -> int:
    known = type(value) in (int, float) and 0 < value < _ANY_SIZE and float(value).is_integer()
    return int(value) if known else UNKNOWN_SIZE


def _id_column(values: Sequence[Any]) -> NDArray[Any]:
    """Returns int64 where all are whole numbers, else objects."""
    if all(type(value) is int or (type(value) is float and value.is_integer()) for value in values) and all(
        abs(value) < 2**63 for value in values
    ):
        return np.array([int(value) for value in values], np.int64)
    column = np.empty(len(values), object)
    column[:] = values
    return column


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _count(number: int, one_of: str, several: str) -> str:
    return f"{number} {one_of if number == 1 else several}"
