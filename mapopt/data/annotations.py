"""Holds who is where in a set of images: sizes, categories and boxes, one numpy column each.

The whole set is a handful of arrays, never a list of dictionaries, so metrics, samplers and audits work on columns.
Objects point to their image and category by *position*; the ids of the file stay beside them, whatever they are
(0-based, with gaps), for writing the same file again.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mapopt.data.invalid import show_box, wrong_boxes
from mapopt.errors import DataError

_COLUMNS: dict[str, type] = {
    "image_ids": np.int64,
    "widths": np.int64,
    "heights": np.int64,
    "category_ids": np.int64,
    "boxes": np.float64,
    "labels": np.int64,
    "images": np.int64,
    "crowd": np.bool_,
    "area": np.float64,
    "ids": np.int64,
}


@dataclass(frozen=True, eq=False)
class Annotations:
    """Images, categories and objects of one set; checked when made, read-only after.

    Two sets are equal where all columns are, wherever the images lie.

    Attributes:
        image_ids: int64 ``[I]``, unique.
        file_names: ``I`` unique names, relative to `root`.
        widths: int64 ``[I]``, pixels.
        heights: int64 ``[I]``, pixels.
        category_ids: int64 ``[K]``, unique, of any kind.
        category_names: ``K`` unique names.
        boxes: float64 ``[N, 4]``, corners (left, top, right, bottom) in pixels.
        labels: int64 ``[N]``, each object's position in the categories, 0 to K - 1.
        images: int64 ``[N]``, each object's position in the images, 0 to I - 1.
        crowd: bool ``[N]``, True where a box stands for a group: no object to learn, and no false alarm when detected.
        area: float64 ``[N]``, square pixels; of the mask where the file has one, else of the box. AP by size uses it.
        ids: int64 ``[N]``, unique.
        root: the folder that the file names are relative to; None where the images are in memory only.
        remarks: sentences on what was done to the files' content, such as what was left out; not compared.

    Raises:
        DataError: a column contradicts another; the message names the annotation or the image.
    """

    image_ids: NDArray[np.int64]
    file_names: tuple[str, ...]
    widths: NDArray[np.int64]
    heights: NDArray[np.int64]
    category_ids: NDArray[np.int64]
    category_names: tuple[str, ...]
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    images: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    area: NDArray[np.float64]
    ids: NDArray[np.int64]
    root: Path | None = None
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for column, dtype in _COLUMNS.items():
            values: NDArray[Any] = np.array(getattr(self, column), dtype=dtype)
            values = values.reshape(-1, 4) if column == "boxes" else values.reshape(-1)
            values.flags.writeable = False
            object.__setattr__(self, column, values)
        object.__setattr__(self, "file_names", tuple(self.file_names))
        object.__setattr__(self, "category_names", tuple(self.category_names))
        object.__setattr__(self, "remarks", tuple(self.remarks))
        object.__setattr__(self, "root", None if self.root is None else Path(self.root))
        self._check_lengths()
        self._check_images_and_categories()
        self._check_objects()

    def __len__(self) -> int:
        """Returns the number of images."""
        return len(self.image_ids)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Annotations):
            return NotImplemented
        names = [field.name for field in fields(self) if field.name not in ("root", "remarks")]
        return all(np.array_equal(np.asarray(getattr(self, n)), np.asarray(getattr(other, n))) for n in names)

    __hash__ = None  # type: ignore[assignment]

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many objects each category has, ``[K]``; crowds are not counted."""
        return np.bincount(self.labels[~self.crowd], minlength=len(self.category_ids)).astype(np.int64)

    def select(self, image_positions: ArrayLike) -> Annotations:
        """Returns the set of some images, in the order given, with their objects and all categories.

        Args:
            image_positions: positions, or ``[I]`` booleans.

        Raises:
            DataError: a position does not exist, or comes twice.
        """
        chosen = np.asarray(image_positions)
        chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64).reshape(-1)
        if len(chosen) and (chosen.min() < 0 or chosen.max() >= len(self)):
            raise DataError(f"image positions {chosen.min()} to {chosen.max()} were asked for; there are {len(self)}.")
        place = np.full(len(self), -1, dtype=np.int64)
        place[chosen] = np.arange(len(chosen))
        if len(np.unique(chosen)) < len(chosen):
            raise DataError("an image was selected twice. Give each position once.")
        wanted = np.flatnonzero(place[self.images] >= 0)
        wanted = wanted[np.argsort(place[self.images[wanted]], kind="stable")]
        return self._subset(chosen, wanted, place)

    def keep(self, objects: ArrayLike) -> Annotations:
        """Returns the same images and categories with only some objects.

        Args:
            objects: ``[N]`` booleans, or positions.
        """
        chosen = np.asarray(objects)
        chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64).reshape(-1)
        return self._subset(np.arange(len(self)), chosen, np.arange(len(self)))

    def with_remarks(self, *remarks: str) -> Annotations:
        """Returns the same annotations with more remarks; empty ones are left out."""
        return replace(self, remarks=(*self.remarks, *filter(None, remarks)))

    def without_repeats(self) -> Annotations:
        """Returns the set with one of every box that is there several times: image, category, crowd and corners equal.

        The first stays; a remark says how many were left out.
        """
        columns = (self.images, self.labels, self.crowd, *self.boxes.T)
        _, firsts = np.unique(np.stack(columns, axis=1).astype(np.float64), axis=0, return_index=True)
        if len(firsts) == len(self.ids):
            return self
        firsts.sort()
        again = int(np.setdiff1d(np.arange(len(self.ids)), firsts)[0])
        return self.keep(firsts).with_remarks(
            f"{number_of(len(self.ids) - len(firsts), 'box', 'boxes')} given twice, with the same category and "
            f"corners, counted once, for instance in image '{self.file_names[self.images[again]]}'."
        )

    def _subset(self, images: NDArray[np.int64], objects: NDArray[np.int64], place: NDArray[np.int64]) -> Annotations:
        """Returns some images with some objects; `place` is each image's new position."""
        return Annotations(
            image_ids=self.image_ids[images],
            file_names=tuple(self.file_names[position] for position in images),
            widths=self.widths[images],
            heights=self.heights[images],
            category_ids=self.category_ids,
            category_names=self.category_names,
            boxes=self.boxes[objects],
            labels=self.labels[objects],
            images=place[self.images[objects]],
            crowd=self.crowd[objects],
            area=self.area[objects],
            ids=self.ids[objects],
            root=self.root,
            remarks=self.remarks,
        )

    def _check_lengths(self) -> None:
        for count, names in (
            (len(self.image_ids), ("file_names", "widths", "heights")),
            (len(self.category_ids), ("category_names",)),
            (len(self.ids), ("boxes", "labels", "images", "crowd", "area")),
        ):
            for name in names:
                if len(getattr(self, name)) != count:
                    raise DataError(
                        f"column '{name}' has {len(getattr(self, name))} entries, but its ids have {count}. "
                        "Give one entry for each image, category or object."
                    )

    def _check_images_and_categories(self) -> None:
        if len(self.image_ids) == 0:
            raise DataError("holds no image. Expected at least one.")
        if len(self.category_ids) == 0:
            raise DataError("holds no category. Expected at least one.")
        for kind, values in (
            ("image id", self.image_ids),
            ("category id", self.category_ids),
            ("file name", np.array(self.file_names)),
            ("category name", np.array(self.category_names)),
        ):
            twice = first_repeated(values)
            if twice is not None:
                raise DataError(f"{kind} {values[twice]!s} is used twice. Give each its own.")
        empty = np.flatnonzero((self.widths <= 0) | (self.heights <= 0))
        if len(empty):
            i = int(empty[0])
            raise DataError(
                f"image '{self.file_names[i]}' is {self.widths[i]} x {self.heights[i]} pixels. "
                "Expected a positive width and height."
            )

    def _check_objects(self) -> None:
        twice = first_repeated(self.ids)
        if twice is not None:
            raise DataError(f"annotation id {self.ids[twice]} is used twice. Give each annotation its own.")
        for column, count, kind in (
            (self.images, len(self.image_ids), "image"),
            (self.labels, len(self.category_ids), "category"),
        ):
            stray = np.flatnonzero((column < 0) | (column >= count))
            if len(stray):
                i = int(stray[0])
                raise DataError(f"annotation {self.ids[i]}: {kind} position {column[i]} is not in 0 to {count - 1}.")
        bad = ~np.isfinite(self.boxes).all(axis=1)
        bad |= wrong_boxes(self.boxes, self.widths[self.images], self.heights[self.images])
        if bad.any():
            i = int(np.flatnonzero(bad)[0])
            image = self.images[i]
            raise DataError(
                f"annotation {self.ids[i]} (image '{self.file_names[image]}', {self.widths[image]} x "
                f"{self.heights[image]} pixels): box {show_box(self.boxes[i])} has no area or is outside. "
                "Settle such boxes first: mapopt.data.settle_boxes."
            )
        bad = ~(np.isfinite(self.area) & (self.area >= 0))
        if bad.any():
            i = int(np.flatnonzero(bad)[0])
            raise DataError(f"annotation {self.ids[i]}: area {self.area[i]} is not a finite number of at least 0.")


def number_of(count: int, noun: str, nouns: str) -> str:
    """Returns a number with its noun.

    >>> number_of(1, "box", "boxes"), number_of(2, "box", "boxes")
    ('1 box', '2 boxes')
    """
    return f"{count} {noun if count == 1 else nouns}"


def first_repeated(values: NDArray[np.generic]) -> int | None:
    """Returns the position of the first value that came before, None where all differ.

    >>> first_repeated(np.array([3, 5, 3, 5]))
    2
    """
    _, firsts = np.unique(values, return_index=True)
    if len(firsts) == len(values):
        return None
    repeated = np.ones(len(values), dtype=bool)
    repeated[firsts] = False
    return int(np.flatnonzero(repeated)[0])
