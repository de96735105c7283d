"""Reads the sets of a folder for an audit: COCO, Pascal VOC and YOLO, whatever is wrong with them."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mapopt.data.auditing.raw import RawRows, RawSet
from mapopt.data.coco import images_folder, read_coco, section, without_root
from mapopt.data.files import blame, read_json, read_text
from mapopt.data.folders import check_layout
from mapopt.data.image_files import image_size
from mapopt.data.layouts import Layout, find_sets
from mapopt.data.masks import around
from mapopt.data.paths import find_names
from mapopt.data.voc import (
    CLASSES_FILE,
    CORNERS,
    VocSheets,
    flag_of,
    folder_of,
    number_in,
    parse_sheet,
    picture_name,
    read_voc,
    read_voc_folder,
    split_names,
)
from mapopt.data.yolo import find_label_file, images_of, parse_line, read_yolo_data
from mapopt.data.yolo_data import YoloData
from mapopt.errors import ConfigError, DataError


def read_raw_sets(data: str | Path, *, layout: Layout = "auto") -> list[RawSet]:
    """Returns every set of a folder as its files say it.

    Args:
        data: a folder of COCO, Pascal VOC or YOLO, a YOLO ``data.yaml``, or a COCO ``.json``.
        layout: which kind of folder it is; ``"auto"`` finds out, and refuses a folder that is of two kinds.

    Raises:
        DataError: nothing is recognized, or a file cannot be read at all.
        ConfigError: the folder is of several kinds, or of one that is not audited.
    """
    path = Path(data)
    check_layout(path, layout)
    sets_there = find_sets(path, layout, "error")
    sets = []
    for part, reader in sets_there.readers.items():
        if not isinstance(reader, partial) or reader.func not in _READERS:
            raise ConfigError(
                f"{path}: is {sets_there.what}, which is not audited as it is. Write it as COCO first, with "
                "`mapopt convert`."
            )
        sets.append(_READERS[reader.func](part, *reader.args))
    return sets


def _coco(part: str, path: Path) -> RawSet:
    data = read_json(path)
    rows = RawRows(part)
    with blame(path):
        images, objects, categories = (section(data, key) for key in ("images", "annotations", "categories"))
    categories, _ = without_root(categories, objects)
    names = {entry["id"]: str(entry.get("name") or entry["id"]) for entry in categories if type(entry.get("id")) is int}
    places = {number: position for position, number in enumerate(names)}
    owners: dict[Any, int] = {}
    file_names: list[str] = []
    sizes: list[tuple[int, int]] = []
    for number, entry in enumerate(images):
        name, key = entry.get("file_name"), entry.get("id")
        if not isinstance(name, str) or not name or type(key) not in (int, float, str):
            rows.report("unreadable_label", f"{path.name}: entry {number} of the images", "has no file name or no id")
            continue
        if key in owners:
            rows.report("unreadable_label", f"{path.name}: image {key}", "has the id of an earlier image", name)
            continue
        owners[key] = len(file_names)
        file_names.append(name)
        sizes.append((_whole(entry.get("width")), _whole(entry.get("height"))))
    if not file_names:
        raise DataError(f"{path}: lists no image. Expected a COCO file with images.")
    root = images_folder(path, None, file_names)
    file_names = find_names(file_names, root)
    for number, entry in enumerate(objects):
        place = f"{path.name}: annotation {entry.get('id', f'number {number + 1}')}"
        image = owners.get(entry.get("image_id")) if _hashable(entry.get("image_id")) else None
        if image is None:
            rows.report("unknown_image", place, f"is of image {entry.get('image_id')!r}, which is not listed")
            continue
        label = places.get(entry.get("category_id")) if _hashable(entry.get("category_id")) else None
        if label is None:
            said = f"is of category {entry.get('category_id')!r}, which is not listed"
            rows.report("unknown_category", place, said, file_names[image])
            continue
        try:
            box: Any = entry.get("bbox") or around(entry.get("segmentation"), place, sizes[image])
        except DataError:
            box = None
        if not _is_box(box):
            rows.report("unreadable_label", place, f"has the box {box!r}", file_names[image])
            continue
        left, top, width, height = map(float, box)
        area: Any = entry.get("area")
        rows.add(
            [left, top, left + width, top + height],
            label,
            image,
            place,
            crowd=bool(entry.get("iscrowd")),
            area=float(area) if type(area) in (int, float) else np.nan,
        )
    return rows.finish(file_names, [root / name for name in file_names], sizes, names)


def _voc(part: str, folder: Path, entry: str) -> RawSet:
    notes = folder_of(folder, ("Annotations", "annotations_voc"), "the XML files")
    pictures = next(
        (folder / name for name in ("JPEGImages", "images") if os.path.isdir(folder / name)), folder / "JPEGImages"
    )
    return _sheets(part, VocSheets(folder, notes, pictures), split_names(folder, entry))


def _voc_folder(part: str, sheets: VocSheets) -> RawSet:
    return _sheets(part, sheets, sorted(path.with_suffix("").name for path in sheets.notes.glob("*.xml")))


def _sheets(part: str, sheets: VocSheets, keys: list[str]) -> RawSet:
    rows = RawRows(part)
    file_names: list[str] = []
    sizes: list[tuple[int, int]] = []
    listed = sheets.folder / CLASSES_FILE
    known = [line.strip() for line in read_text(listed).splitlines() if line.strip()] if listed.is_file() else None
    categories = list(known or [])
    for key in keys:
        path = sheets.notes / f"{key}.xml"
        try:
            root = parse_sheet(path)
        except DataError as error:
            rows.report("unreadable_label", path.name, _bare(error, path))
            continue
        file_names.append(picture_name(key, (root.findtext("filename") or "").strip(), sheets.pictures))
        sizes.append((_whole(root.findtext("size/width")), _whole(root.findtext("size/height"))))
        for number, element in enumerate(root.findall("object"), start=1):
            name = (element.findtext("name") or "").strip()
            place = f"{path.name}: object {number} ({name})"
            if not name or (known is not None and name not in known):
                rows.report(
                    "unknown_category", place, f"has the category {name!r}, which is not listed", file_names[-1]
                )
                continue
            try:
                box = [number_in(element.findtext(f"bndbox/{corner}"), place, corner) for corner in CORNERS]
                difficult = flag_of(element.findtext("difficult"), place)
            except DataError as error:
                rows.report("unreadable_label", place, _bare(error, place), file_names[-1])
                continue
            if not np.isfinite(box).all():
                rows.report("unreadable_label", place, f"has the box {box}", file_names[-1])
                continue
            categories += [] if name in categories else [name]
            rows.add(box, categories.index(name), len(file_names) - 1, place, crowd=difficult)
    if known is None:
        order = sorted(categories)
        rows.labels = [order.index(categories[label]) for label in rows.labels]
        categories = order
    if not file_names:
        raise DataError(f"{sheets.notes}: none of {len(keys)} XML files can be read. Check the folder.")
    paths = [sheets.pictures / name for name in file_names]
    return rows.finish(file_names, paths, sizes, dict(enumerate(categories, start=1)))


def _yolo(part: str, data: YoloData, entry: str) -> RawSet:
    rows = RawRows(part)
    root, files = images_of(data, entry)
    places = {number: position for position, number in enumerate(data.names)}
    sizes: list[tuple[int, int]] = []
    for image, file in enumerate(files):
        name = os.path.relpath(file, root)
        try:
            size = image_size(file)
        except DataError:
            # The image itself is a finding of its own.
            sizes.append((0, 0))
            continue
        sizes.append(size)
        label_file = find_label_file(file)
        try:
            lines = [] if label_file is None else read_text(label_file).splitlines()
        except DataError as error:
            rows.report("unreadable_label", str(label_file), _bare(error, label_file or file), name)
            continue
        for number, text in enumerate(lines, start=1):
            if not text.strip():
                continue
            place = f"{label_file.name if label_file else ''}, line {number}"
            try:
                label, fractions = parse_line(text, place, data.keypoints)
            except DataError as error:
                rows.report("unreadable_label", place, _bare(error, place), name)
                continue
            if label not in places:
                rows.report("unknown_category", place, f"is of class {label}, which data.yaml does not name", name)
            elif not np.isfinite(fractions).all():
                rows.report("unreadable_label", place, f"has the box {text.split()[1:]}", name)
            else:
                box = np.round(np.array(fractions) * (*size, *size), 6).tolist()
                rows.add(box, places[label], image, place)
    names = [os.path.relpath(file, root) for file in files]
    return rows.finish(names, list(files), sizes, dict(data.names))


_READERS: dict[Any, Any] = {read_coco: _coco, read_voc: _voc, read_voc_folder: _voc_folder, read_yolo_data: _yolo}
"""Reader for training -> what reads the same for an audit."""


def _whole(value: Any) -> int:
    """Returns a size as files say it; 0 where they say none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return 0
    return int(number) if np.isfinite(number) and 0 < number < 2**31 else 0


def _hashable(value: Any) -> bool:
    return isinstance(value, int | float | str)


def _is_box(box: Any) -> bool:
    return (
        isinstance(box, list)
        and len(box) == 4
        and all(type(number) in (int, float) and np.isfinite(number) for number in box)
    )


def _bare(error: DataError, place: object) -> str:
    """Returns a message without the place that it begins with."""
    return str(error).removeprefix(f"{place}").lstrip(":, ").rstrip(".")
