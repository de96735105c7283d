"""Puts sets together into one: categories by name, images under names that are free, new ids throughout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapopt.data.annotations import Annotations, number_of
from mapopt.data.common_categories import same_categories
from mapopt.data.image_names import numbered
from mapopt.errors import DataError


@dataclass(frozen=True, eq=False)
class Joined:
    """Several sets as one.

    Attributes:
        notes: all images and objects; without a folder, because the images lie where they were.
        files: the file of every image, by its name in `notes`; empty where the sets have no images.
        remarks: what was done, a sentence each.
    """

    notes: Annotations
    files: Mapping[str, Path]
    remarks: tuple[str, ...]


def join(named: Sequence[tuple[str, Annotations]]) -> Joined:
    """Returns all images and objects of several sets as one.

    Categories of the same name are one category, in the order in which they first come; their ids stay where all sets
    agree on them, else they count from 1. Images and objects get ids from 1. An image whose name an earlier one has
    gets its own set's name in front, and a number where that is taken too.

    Args:
        named: sets with the names that tell them apart, at least one.

    Raises:
        DataError: some sets have a folder of images and others have none.
    """
    sets = [notes for _, notes in named]
    bare = [name for name, notes in named if notes.root is None]
    if bare and len(bare) < len(named):
        raise DataError(f"{bare[0]}: has no folder of images, others have. Give every set its images, or none.")
    categories, about_ids = same_categories({str(place): notes for place, notes in enumerate(sets)})
    joint = list(categories.values())
    file_names, about_names = _file_names(named)
    firsts = np.cumsum([0, *(len(notes) for notes in sets)])
    files = {
        new: notes.root / old
        for notes, names in zip(sets, file_names, strict=True)
        for new, old in zip(names, notes.file_names, strict=True)
        if notes.root is not None
    }
    columns: dict[str, NDArray[Any]] = {
        column: np.concatenate([getattr(notes, column) for notes in joint])
        for column in ("widths", "heights", "boxes", "labels", "crowd", "area")
    }
    whole = Annotations(
        image_ids=np.arange(1, firsts[-1] + 1),
        file_names=tuple(name for names in file_names for name in names),
        widths=columns["widths"],
        heights=columns["heights"],
        category_ids=joint[0].category_ids,
        category_names=joint[0].category_names,
        boxes=columns["boxes"],
        labels=columns["labels"],
        images=np.concatenate([notes.images + first for notes, first in zip(sets, firsts[:-1], strict=True)]),
        crowd=columns["crowd"],
        area=columns["area"],
        ids=np.arange(1, len(columns["labels"]) + 1),
    )
    said = [f"In {name}: {remark}" for name, notes in named for remark in notes.remarks]
    return Joined(whole, files, (*said, *about_ids, *about_names))


def _file_names(named: Sequence[tuple[str, Annotations]]) -> tuple[list[list[str]], list[str]]:
    """Returns names for the images of every set that no two have, and what was renamed."""
    taken: set[str] = set()
    renamed: list[tuple[str, str]] = []
    names = []
    for name, notes in named:
        own = []
        for file_name in notes.file_names:
            free, number = file_name, 2
            if free in taken:
                path = PurePosixPath(file_name)
                free = in_front = path.with_name(f"{name}-{path.name}").as_posix()
                while free in taken:
                    free, number = numbered(in_front, number), number + 1
                renamed.append((file_name, free))
            taken.add(free)
            own.append(free)
        names.append(own)
    if not renamed:
        return names, []
    then, now = renamed[0]
    return names, [
        f"{number_of(len(renamed), 'image has a name', 'images have names')} that an earlier set has, and the name of "
        f"their own set in front now, for instance '{then}' is '{now}'."
    ]
