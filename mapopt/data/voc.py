"""Reads and writes Pascal VOC folders: one XML file for each image, and lists of names for the splits.

Corners are taken as they are, as most tools do, though the original devkit counts pixels from 1: writing and reading
keeps them to the last bit. VOC has no ids (they are counted from 1 here) and no area (it is the box's). Objects marked
``difficult``, which VOC neither rewards nor punishes, become crowds, which are treated the same way here.
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from mapopt.data.annotations import Annotations, first_repeated
from mapopt.data.files import blame, read_text, read_xml_text
from mapopt.data.image_files import image_size, image_suffixes, is_image_name
from mapopt.data.invalid import Invalid, settle_boxes
from mapopt.data.paths import remark_on_missing
from mapopt.errors import DataError, unknown_name
from mapopt.files import write_text
from mapopt.paths import check_inside

CORNERS = ("xmin", "ymin", "xmax", "ymax")
_FLAGS = {"0": False, "1": True, "false": False, "true": True, "": False}
CLASSES_FILE = "classes.txt"


def read_voc(
    folder: str | Path, split: str, *, categories: Sequence[str] | None = None, invalid: Invalid = "error"
) -> Annotations:
    """Reads one split of a Pascal VOC folder.

    Args:
        folder: holds ``Annotations`` (or ``annotations_voc``), ``ImageSets/Main`` and ``JPEGImages`` (or ``images``).
        split: the name of a list in ``ImageSets/Main``, such as ``"train"``.
        categories: names in the order wanted. Where it is None, those in ``classes.txt``, and without such a file all
            that any XML file of the folder has, sorted; so every split has the same.
        invalid: what to do with boxes outside their image or without area: ``"error"``, ``"clip"`` or ``"drop"``.

    Raises:
        DataError: a file is missing or wrong; the message names the file and the object.
    """
    folder = Path(folder)
    notes = folder_of(folder, ("Annotations", "annotations_voc"), "the XML files")
    pictures = next(
        (folder / name for name in ("JPEGImages", "images") if os.path.isdir(folder / name)), folder / "JPEGImages"
    )
    names = split_names(folder, split)
    known = tuple(categories) if categories is not None else _category_names(folder, notes)
    return _read_sheets(VocSheets(folder, notes, pictures), names, known, invalid=invalid)


@dataclass(frozen=True)
class VocSheets:
    """XML files that no list divides.

    Attributes:
        folder: the data set, which has all categories.
        notes: the folder of the XML files.
        pictures: the folder of the images; may be the same.
    """

    folder: Path
    notes: Path
    pictures: Path


def read_voc_folder(sheets: VocSheets, *, invalid: Invalid = "error") -> Annotations:
    """Reads a folder of XML files without lists: every one that has its image.

    XML files without image and images without XML file are left out, and remarked on.

    Raises:
        DataError: a file is wrong, or no XML file has an image; the message names the file and the object.
    """
    there = sorted(path.with_suffix("").name for path in sheets.notes.glob("*.xml"))
    pictures: dict[str, Path] = {}
    for path in sorted(filter(is_image_name, sheets.pictures.iterdir())) if os.path.isdir(sheets.pictures) else ():
        pictures.setdefault(path.stem, path)
    names = [name for name in there if name in pictures]
    if not names:
        raise DataError(
            f"{sheets.notes}: none of {len(there)} XML files has an image in {sheets.pictures}. Expected images of the "
            "same names."
        )
    bare = [name for name in there if name not in pictures]
    beside = sorted(set(pictures) - set(there))
    known = _category_names(sheets.folder, sheets.folder)
    return _read_sheets(sheets, names, known, invalid=invalid).with_remarks(
        remark_on_missing(len(bare), "XML file", Path(f"{bare[0]}.xml" if bare else ""), "no image and was left out"),
        remark_on_missing(
            len(beside), "image", pictures[beside[0]] if beside else Path(), "no XML file and was left out"
        ),
    )


def _read_sheets(
    places_of: VocSheets, names: Sequence[str], known: tuple[str, ...], *, invalid: Invalid
) -> Annotations:
    folder, notes, pictures = places_of.folder, places_of.notes, places_of.pictures
    sheets = [_read_sheet(notes / f"{name}.xml", name, pictures) for name in names]
    places = {name: position for position, name in enumerate(known)}
    owners = [(image, number) for image, sheet in enumerate(sheets) for number in range(len(sheet.names))]

    def describe(index: int) -> str:
        image, number = owners[index]
        return f"{notes / names[image]}.xml: object {number + 1} ({sheets[image].names[number]})"

    labels = []
    for index, (image, number) in enumerate(owners):
        name = sheets[image].names[number]
        if name not in places:
            raise DataError(f"{describe(index)}: {unknown_name('category', name, known)}. Add it, or correct the file.")
        labels.append(places[name])
    images = np.array([image for image, _ in owners], dtype=np.int64)
    widths, heights = (np.array([sheet.size[side] for sheet in sheets], dtype=np.int64) for side in (0, 1))
    boxes = np.array([box for sheet in sheets for box in sheet.boxes], dtype=np.float64).reshape(-1, 4)
    boxes, keep = settle_boxes(boxes, widths[images], heights[images], invalid=invalid, name=describe)
    with blame(folder):
        return Annotations(
            image_ids=np.arange(1, len(sheets) + 1),
            file_names=tuple(sheet.file_name for sheet in sheets),
            widths=widths,
            heights=heights,
            category_ids=np.arange(1, len(known) + 1),
            category_names=known,
            boxes=boxes[keep],
            labels=np.array(labels, dtype=np.int64)[keep],
            images=images[keep],
            crowd=np.array([crowd for sheet in sheets for crowd in sheet.difficult], dtype=bool)[keep],
            area=np.prod(boxes[keep, 2:] - boxes[keep, :2], axis=1),
            ids=np.arange(1, len(boxes) + 1)[keep],
            root=pictures,
        )


def write_voc(annotations: Annotations, folder: str | Path, split: str) -> None:
    """Writes one split of a Pascal VOC folder: ``Annotations``, ``ImageSets/Main`` and ``classes.txt``.

    The images are not copied; they belong into ``JPEGImages``, under their file names. The list of the split is written
    last, so a split that is there is whole.

    Raises:
        DataError: two images would share an XML file, or the folder has other classes.
    """
    folder = Path(folder)
    keys = [_key(name) for name in annotations.file_names]
    twice = first_repeated(np.array(keys))
    if twice is not None:
        raise DataError(
            f"image '{annotations.file_names[twice]}' has the same name as another but for its ending. "
            "VOC has one XML file for each name: rename one of them."
        )
    for name in annotations.category_names:
        if name != name.strip() or "\n" in name:
            raise DataError(f"category name {name!r} begins or ends with a space, which VOC cannot keep. Rename it.")
    listed = "".join(f"{name}\n" for name in annotations.category_names)
    classes = folder / CLASSES_FILE
    if os.path.exists(classes) and read_text(classes) != listed:
        raise DataError(f"{classes}: lists other classes than these annotations have. Choose another folder.")
    write_text(classes, listed)
    order = np.argsort(annotations.images, kind="stable")
    ends = np.searchsorted(annotations.images[order], np.arange(len(keys)), side="right")
    for image, (key, end) in enumerate(zip(keys, ends.tolist(), strict=True)):
        objects = order[ends[image - 1] if image else 0 : end]
        check_inside(key, "an image's file name", error=DataError)
        write_text(folder / "Annotations" / f"{key}.xml", _sheet_text(annotations, image, objects.tolist()))
    write_text(folder / "ImageSets" / "Main" / f"{split}.txt", "".join(f"{key}\n" for key in keys))


def split_names(folder: Path, split: str) -> list[str]:
    """Returns the names in the list of a split.

    Raises:
        DataError: there is no such list, or it is empty.
    """
    path = folder / "ImageSets" / "Main" / f"{split}.txt"
    names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not names:
        raise DataError(f"{path}: lists no image. Expected one name on each line.")
    return names


@dataclass(frozen=True)
class _Sheet:
    """What one XML file says."""

    file_name: str
    size: tuple[int, int]
    names: list[str]
    boxes: list[list[float]]
    difficult: list[bool]


def _read_sheet(path: Path, key: str, pictures: Path) -> _Sheet:
    root = parse_sheet(path)
    file_name = picture_name(key, (root.findtext("filename") or "").strip(), pictures)
    names, boxes, difficult = [], [], []
    for number, element in enumerate(root.findall("object"), start=1):
        name = (element.findtext("name") or "").strip()
        if not name:
            raise DataError(f"{path}: object {number} has no name. Add it.")
        box = [
            number_in(element.findtext(f"bndbox/{corner}"), f"{path}: object {number} ({name})", corner)
            for corner in CORNERS
        ]
        names.append(name)
        boxes.append(box)
        difficult.append(flag_of(element.findtext("difficult"), f"{path}: object {number} ({name})"))
    width, height = (number_in(root.findtext(f"size/{side}") or "0", str(path), side) for side in ("width", "height"))
    size = (int(width), int(height)) if width >= 1 and height >= 1 else image_size(pictures / file_name)
    return _Sheet(file_name, size, names, boxes, difficult)


def parse_sheet(path: Path) -> ElementTree.Element:
    """Returns the outermost element of an XML file.

    Raises:
        DataError: there is no such file, or it is not XML.
    """
    try:
        return ElementTree.fromstring(read_xml_text(path))
    except ElementTree.ParseError as error:
        line, column = error.position
        raise DataError(
            f"{path}, line {line}, column {column}: is not valid XML. Expected a Pascal VOC annotation; "
            "correct or replace it."
        ) from None


def picture_name(key: str, noted: str, pictures: Path) -> str:
    """Returns an image's name: the noted one if it belongs to the XML file, else whatever image has the same stem."""
    folder, stem = PurePosixPath(key).parent, PurePosixPath(key).name
    fitting = PurePosixPath(noted).stem == stem and PurePosixPath(noted).name == noted
    choices = ([noted] if fitting else []) + [
        stem + ending for suffix in image_suffixes() for ending in (suffix, suffix.upper())
    ]
    name = next((name for name in choices if os.path.isfile(pictures / folder / name)), choices[0])
    return (folder / name).as_posix()


def flag_of(text: str | None, where: str) -> bool:
    """Returns what ``difficult`` says."""
    value = _FLAGS.get((text or "0").strip().lower())
    if value is None:
        raise DataError(f"{where}: difficult is {text!r}. Expected 0 or 1.")
    return value


def number_in(text: str | None, where: str, name: str) -> float:
    """Returns the number that an element holds.

    Raises:
        DataError: it is missing, or no number.
    """
    try:
        return float(text or "")
    except ValueError:
        given = "missing" if text is None else repr(text)
        raise DataError(f"{where}: {name} is {given}. Expected a number of pixels.") from None


def _category_names(folder: Path, notes: Path) -> tuple[str, ...]:
    classes = folder / CLASSES_FILE
    if os.path.isfile(classes):
        return tuple(line.strip() for line in read_text(classes).splitlines() if line.strip())
    names = {
        (name.text or "").strip() for path in notes.rglob("*.xml") for name in parse_sheet(path).iterfind("object/name")
    }
    return tuple(sorted(names - {""}))


def folder_of(folder: Path, names: Sequence[str], what: str) -> Path:
    """Returns the first of some folders that is there.

    Raises:
        DataError: none is there.
    """
    for name in names:
        if os.path.isdir(folder / name):
            return folder / name
    raise DataError(f"{folder}: has no folder {' or '.join(names)}. Expected {what} there; check the path.")


def _key(file_name: str) -> str:
    """Returns a file name without its ending: what VOC calls an image."""
    path = PurePosixPath(file_name)
    if path.is_absolute() or ".." in path.parts:
        raise DataError(f"image '{file_name}' lies outside the folder of images. VOC needs names inside it.")
    return path.with_suffix("").as_posix()


def _sheet_text(annotations: Annotations, image: int, objects: list[int]) -> str:
    root = ElementTree.Element("annotation")
    name = PurePosixPath(annotations.file_names[image])
    ElementTree.SubElement(root, "folder").text = "JPEGImages"
    ElementTree.SubElement(root, "filename").text = name.name
    size = ElementTree.SubElement(root, "size")
    for side, value in (("width", annotations.widths[image]), ("height", annotations.heights[image]), ("depth", 3)):
        ElementTree.SubElement(size, side).text = str(value)
    for index in objects:
        element = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(element, "name").text = annotations.category_names[annotations.labels[index]]
        ElementTree.SubElement(element, "difficult").text = str(int(annotations.crowd[index]))
        box = ElementTree.SubElement(element, "bndbox")
        for corner, value in zip(CORNERS, annotations.boxes[index].tolist(), strict=True):
            ElementTree.SubElement(box, corner).text = str(int(value)) if value.is_integer() else repr(value)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"
