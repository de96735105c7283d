"""Makes annotations fit for another layout, and says what that layout cannot hold.

COCO holds everything that `Annotations` has. Pascal VOC has no ids and no area of a mask; a crowd is written as an
object that is difficult, which is treated the same way here. YOLO has neither crowds nor sizes: its boxes are fractions
of the upright image, so that boxes which were drawn on the stored view of a turned photograph turn with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mapopt.data.annotations import Annotations, number_of
from mapopt.data.common_categories import same_categories
from mapopt.data.image_files import image_orientation, image_size
from mapopt.data.image_names import fitting_names
from mapopt.errors import DataError

_NAMES = {"coco": "COCO", "voc": "Pascal VOC", "yolo": "YOLO"}


def prepare(
    sets: Mapping[str, Annotations], to: Literal["coco", "voc", "yolo"], places: Mapping[str, Sequence[Path]]
) -> tuple[dict[str, Annotations], list[str]]:
    """Returns sets that a layout can hold, and what was changed or lost for it, a sentence each.

    Args:
        sets: the sets by name.
        to: the layout.
        places: the image files of every set, in order; empty where they are not at hand.

    Raises:
        DataError: an image is missing or of another size than its annotations say, and the layout needs it.
    """
    remarks: list[str] = [f"In the {name} set: {remark}" for name, notes in sets.items() for remark in notes.remarks]
    if to == "coco":
        prepared, renamed = fitting_names(sets, to)
        return prepared, [*remarks, *renamed]
    prepared, said = same_categories(sets)
    remarks += said
    areas = sum(
        int((np.abs(notes.area - _box_areas(notes.boxes)) > 1e-6 * notes.area + 1e-3).sum()) for notes in sets.values()
    )
    if areas:
        remarks.append(
            f"{number_of(areas, 'object has an area', 'objects have areas')} of a mask, which {_NAMES[to]} cannot "
            "hold: the area of the box counts from now on."
        )
    crowds = sum(int(notes.crowd.sum()) for notes in sets.values())
    if crowds and to == "voc":
        remarks.append(
            f"{number_of(crowds, 'crowd is', 'crowds are')} written as difficult, which Pascal VOC neither rewards nor "
            "punishes."
        )
    if crowds and to == "yolo":
        prepared = {name: notes.keep(~notes.crowd) for name, notes in prepared.items()}
        remarks.append(
            f"{number_of(crowds, 'crowd or difficult object was', 'crowds or difficult objects were')} left out, which "
            "YOLO cannot hold: detections there count as false alarms from now on."
        )
    if to == "yolo":
        prepared, said = _for_yolo(prepared, places)
        remarks += said
    prepared, renamed = fitting_names(prepared, to)
    return prepared, [*remarks, *renamed]


def turned_boxes(boxes: NDArray[np.float64], orientation: int, size: tuple[int, int]) -> NDArray[np.float64]:
    """Returns boxes on the stored view of a photograph as they are on its upright view.

    Args:
        boxes: ``[n, 4]`` corners in pixels of the stored view.
        orientation: EXIF's, 1 to 8.
        size: (width, height) of the stored view.

    >>> turned_boxes(np.array([[0.0, 0.0, 10.0, 5.0]]), 6, (40, 30)).tolist()
    [[25.0, 0.0, 30.0, 10.0]]
    """
    width, height = size
    left, top, right, bottom = boxes.T
    if orientation in (2, 3):
        left, right = width - right, width - left
    if orientation in (3, 4):
        top, bottom = height - bottom, height - top
    if orientation in (5, 6, 7, 8):
        x = (height - bottom, height - top) if orientation in (6, 7) else (top, bottom)
        y = (width - right, width - left) if orientation in (7, 8) else (left, right)
        (left, right), (top, bottom) = x, y
    return np.stack([left, top, right, bottom], axis=1)


def _for_yolo(
    sets: Mapping[str, Annotations], places: Mapping[str, Sequence[Path]]
) -> tuple[dict[str, Annotations], list[str]]:
    """Returns sets whose boxes lie on the upright images, and whose categories count from 0."""
    prepared, turned, remarks = {}, 0, []
    for name, notes in sets.items():
        boxes, widths, heights = notes.boxes.copy(), notes.widths.copy(), notes.heights.copy()
        for position, place in enumerate(places[name]):
            annotated = (int(widths[position]), int(heights[position]))
            upright = image_size(place)
            if upright == annotated:
                continue
            if upright[::-1] != annotated:
                raise DataError(
                    f"{place}: is {upright[0]} x {upright[1]} pixels, but its annotations say {annotated[0]} x "
                    f"{annotated[1]}, and YOLO goes by the image. Use the images that were annotated, or correct the "
                    "annotations."
                )
            with Image.open(place) as file:
                orientation = image_orientation(file)
            rows = notes.images == position
            boxes[rows] = turned_boxes(boxes[rows], orientation, annotated)
            widths[position], heights[position] = upright
            turned += 1
        ids = np.arange(len(notes.category_ids))
        prepared[name] = replace(notes, boxes=boxes, widths=widths, heights=heights, category_ids=ids)
    first = next(iter(sets.values()))
    ids = first.category_ids.tolist()
    if ids != list(range(len(ids))):
        remarks.append(
            f"YOLO's classes count from 0: category {ids[0]} ('{first.category_names[0]}') is class 0, and so on."
        )
    if turned:
        remarks.append(
            f"The boxes of {number_of(turned, 'photograph', 'photographs')} were turned with their images, as noted in "
            "the file (EXIF)."
        )
    return prepared, remarks


def _box_areas(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
