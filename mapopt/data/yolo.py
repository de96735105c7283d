"""Reads and writes YOLO folders: a ``data.yaml``, and one text file of boxes for each image.

What ``data.yaml`` says is read by `mapopt.data.yolo_data`, which knows other forms of it, too. The boxes of the files
are fractions of the image, so sizes are read from the images. A corner is held to a millionth of a pixel, far finer
than the fractions in the files, which makes reading undo writing: corners given to six decimals come back to the last
bit. YOLO has no ids (they are counted from 1), no area (it is the box's) and no crowds.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from mapopt.data.annotations import Annotations
from mapopt.data.files import blame, read_text
from mapopt.data.image_files import image_size, is_image_name
from mapopt.data.invalid import Invalid, settle_boxes
from mapopt.data.paths import find_path, remark_on_missing
from mapopt.data.yolo_data import YoloData, read_yolo_file
from mapopt.errors import DataError
from mapopt.files import write_text
from mapopt.paths import check_inside

_DECIMALS = 6


def read_yolo(data_yaml: str | Path, split: str, *, invalid: Invalid = "error") -> Annotations:
    """Reads one split of a YOLO folder.

    Labels are looked for where the path of the image has ``labels`` for ``images``, else beside the image; an image
    without a label file has no object. Polygons (segmentation labels) count as the box around them. Where the file has
    a ``kpt_shape``, rows are boxes with keypoints, which are not kept.

    Args:
        data_yaml: the file with ``names`` (a list, or ids with names), ``path`` (optional) and the splits' entries: a
            folder of images, a text file that lists them, or several of these; or darknet's ``obj.data``.
        split: the name of an entry: ``"train"``, ``"val"`` or ``"test"``.
        invalid: what to do with boxes outside their image or without area: ``"error"``, ``"clip"`` or ``"drop"``.

    Raises:
        DataError: a file is missing or wrong; the message names the file and the line.
    """
    return read_yolo_data(read_yolo_file(Path(data_yaml)), split, invalid=invalid)


def read_yolo_data(data: YoloData, split: str, *, invalid: Invalid = "error") -> Annotations:
    """Reads one split of a YOLO folder whose file was read already; see `read_yolo`."""
    path, names = data.path, data.names
    root, files = images_of(data, split)
    sizes = np.array([image_size(file) for file in files], dtype=np.int64).reshape(-1, 2)
    places = {number: position for position, number in enumerate(names)}
    rows: list[list[float]] = []
    labels, images, where = [], [], []
    label_files = [find_label_file(file) for file in files]
    for image, label_file in enumerate(label_files):
        if label_file is None:
            continue
        for line, text in enumerate(read_text(label_file).splitlines(), start=1):
            if not text.strip():
                continue
            number, row = parse_line(text, f"{label_file}, line {line}", data.keypoints)
            if number not in places:
                raise DataError(
                    f"{label_file}, line {line}: class {number} is not in the names of {path} "
                    f"({min(places)} to {max(places)}). Add the name or correct the line."
                )
            labels.append(places[number])
            images.append(image)
            rows.append(row)
            where.append((label_file, line))
    owner = np.array(images, dtype=np.int64)
    extent = np.concatenate([sizes, sizes], axis=1)[owner]
    boxes = np.round(np.array(rows, dtype=np.float64).reshape(-1, 4) * extent, _DECIMALS)
    boxes, keep = settle_boxes(
        boxes,
        extent[:, 0],
        extent[:, 1],
        invalid=invalid,
        name=lambda i: f"{where[i][0]}, line {where[i][1]}",
        form="fractions",
    )
    with blame(path):
        return Annotations(
            image_ids=np.arange(1, len(files) + 1),
            file_names=tuple(PurePosixPath(os.path.relpath(file, root)).as_posix() for file in files),
            widths=sizes[:, 0],
            heights=sizes[:, 1],
            category_ids=np.array(list(names)),
            category_names=tuple(names.values()),
            boxes=boxes[keep],
            labels=np.array(labels, dtype=np.int64)[keep],
            images=owner[keep],
            crowd=np.zeros(int(keep.sum()), dtype=bool),
            area=np.prod(boxes[keep, 2:] - boxes[keep, :2], axis=1),
            ids=np.arange(1, len(boxes) + 1)[keep],
            root=root,
        ).with_remarks(*_what_is_missing(data, split, files, label_files))


def write_yolo(annotations: Annotations, folder: str | Path, split: str) -> None:
    """Writes one split of a YOLO folder: labels, a list of the images, and its entry in ``data.yaml``.

    The images are not copied; they belong into ``images/<split>``, under their file names. ``data.yaml`` is written
    last, so a split that it names is whole.

    Raises:
        DataError: there are crowds, or the folder has other names.
    """
    folder = Path(folder)
    if annotations.crowd.any():
        raise DataError(
            f"annotation {annotations.ids[annotations.crowd][0]} is a crowd, which YOLO files cannot say. "
            "Leave crowds out first: annotations.keep(~annotations.crowd)."
        )
    path = folder / "data.yaml"
    names = dict(zip(annotations.category_ids.tolist(), annotations.category_names, strict=True))
    data: dict[str, Any] = {"names": names}
    if os.path.exists(path):
        stored = read_yolo_file(path)
        if stored.names != names:
            raise DataError(f"{path}: has other names than these annotations. Choose another folder.")
        data = {**stored.other, **stored.entries, **data}
    extent = np.stack([annotations.widths, annotations.heights], axis=1)[annotations.images]
    middle = (annotations.boxes[:, :2] + annotations.boxes[:, 2:]) / 2 / extent
    sides = (annotations.boxes[:, 2:] - annotations.boxes[:, :2]) / extent
    lines: list[list[str]] = [[] for _ in range(len(annotations))]
    for image, label, row in zip(
        annotations.images.tolist(),
        annotations.category_ids[annotations.labels].tolist(),
        np.concatenate([middle, sides], axis=1).tolist(),
        strict=True,
    ):
        lines[image].append(" ".join([str(label), *(repr(value) for value in row)]) + "\n")
    for name, text in zip(annotations.file_names, lines, strict=True):
        check_inside(name, "an image's file name", error=DataError)
        write_text(_label_file(folder / "images" / split / name), "".join(text))
    write_text(folder / f"{split}.txt", "".join(f"./images/{split}/{name}\n" for name in annotations.file_names))
    data[split] = f"{split}.txt"
    write_text(path, yaml.safe_dump(data, sort_keys=False, allow_unicode=True))


def images_of(data: YoloData, split: str) -> tuple[Path, list[Path]]:
    """Returns the folder that file names are relative to, and the images of a split in order."""
    path = data.path
    entry = data.entries.get(split)
    entries = [text for text in (entry if isinstance(entry, list) else [entry]) if isinstance(text, str)]
    if not entries or (isinstance(entry, list) and len(entries) < len(entry)):
        raise DataError(f"{path}: '{split}' is {entry!r}. Expected a folder of images, or a text file that lists them.")
    files: list[Path] = []
    folders: list[Path] = []
    for text in entries:
        place = find_path(text, data.bases)
        if place is None:
            raise DataError(
                f"{path}: '{split}' names {text}, but {data.bases[0] / text} does not exist. Correct the entry or "
                "'path'."
            )
        if os.path.isdir(place):
            folders.append(place)
            files += sorted(filter(is_image_name, place.rglob("*")))
        else:
            listed = [line.strip() for line in read_text(place).splitlines() if line.strip()]
            bases = [place.parent, *data.bases]
            files += [find_path(name, bases) or place.parent / name for name in listed]
            folders.append(place.parent / "images" / split)
    if not files:
        raise DataError(f"{path}: '{split}' ({', '.join(entries)}) has no image. Check the folder.")
    root = folders[0] if all(file.is_relative_to(folders[0]) for file in files) else path.parent
    return root, files


def find_label_file(image: Path) -> Path | None:
    """Returns the label file of an image, None where it has none."""
    return next((file for file in (_label_file(image), image.with_suffix(".txt")) if os.path.exists(file)), None)


def _what_is_missing(
    data: YoloData, split: str, files: Sequence[Path], label_files: Sequence[Path | None]
) -> tuple[str, str]:
    """Says which images have no label file, and which label files of the split's folders have no image."""
    bare = [file for file, label_file in zip(files, label_files, strict=True) if label_file is None]
    entry = data.entries[split]
    places = (find_path(text, data.bases) for text in (entry if isinstance(entry, list) else [entry]))
    # A list of images says itself what belongs to it.
    folders = {
        folder
        for place in places
        if place and os.path.isdir(place)
        for folder in (place, _label_file(place / "x").parent)
    }
    stray = sorted(
        {file for folder in folders for file in folder.rglob("*.txt") if _holds_labels(file)} - set(label_files)
    )
    return (
        remark_on_missing(len(bare), "image", bare[0] if bare else Path(), "no label file and counts as empty"),
        remark_on_missing(len(stray), "label file", stray[0] if stray else Path(), "no image"),
    )


def _holds_labels(file: Path) -> bool:
    """Returns whether the first line of a text file is a row of numbers, as no note or list of names is."""
    try:
        with file.open(encoding="utf-8-sig") as lines:
            words = next((line.split() for line in lines if line.strip()), [])
        return len(words) >= 5 and all(math.isfinite(float(word)) for word in words)
    except (OSError, ValueError):
        return False


def _label_file(image: Path) -> Path:
    parts = list(image.parts[:-1])
    if "images" in parts:
        last = len(parts) - 1 - parts[::-1].index("images")
        parts[last] = "labels"
    return Path(*parts, image.stem + ".txt")


def parse_line(text: str, where: str, keypoints: tuple[int, int] | None) -> tuple[int, list[float]]:
    """Returns a line's class and its corners as fractions."""
    words = text.split()
    try:
        number, values = float(words[0]), [float(word) for word in words[1:]]
    except ValueError:
        raise DataError(f"{where}: {text.strip()!r} is not all numbers. Expected: class x y width height.") from None
    if not number.is_integer():
        raise DataError(f"{where}: class {words[0]} is not a whole number. Expected: class x y width height.")
    if keypoints is not None and len(values) != 4:
        count, numbers = keypoints
        if len(values) != 4 + count * numbers:
            raise DataError(
                f"{where}: has {len(words)} numbers. Expected {5 + count * numbers}: class x y width height and "
                f"{count} keypoints of {numbers} numbers, as kpt_shape says; correct the line or kpt_shape."
            )
        values = values[:4]
    if len(values) == 4:
        x, y, width, height = values
        return int(number), [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    if len(values) >= 6 and len(values) % 2 == 0:
        points: NDArray[np.float64] = np.array(values).reshape(-1, 2)
        return int(number), [*points.min(axis=0).tolist(), *points.max(axis=0).tolist()]
    raise DataError(
        f"{where}: has {len(words)} numbers. Expected five (class x y width height) or a polygon; rows with keypoints "
        "need kpt_shape in data.yaml."
    )
