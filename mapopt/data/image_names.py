"""Finds names under which images can lie in a folder of another layout: inside it, and a label file's name for each.

Pascal VOC has one XML file for each name without its ending, over all sets; YOLO has one text file for each, in every
set. Where two images would have the same, the later ones get a number, in the order of the sets, so that the same
folder always becomes the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePath, PurePosixPath

from mapopt.data.annotations import Annotations, number_of
from mapopt.data.layouts import Layout


def fitting_names(sets: Mapping[str, Annotations], layout: Layout) -> tuple[dict[str, Annotations], list[str]]:
    """Returns sets whose file names the layout can hold, and what was renamed, a sentence each."""
    taken: set[str] = set()
    fitted, outside, again = {}, [], []
    for name, notes in sets.items():
        if layout != "voc":
            taken = set()
        names = []
        for file_name in notes.file_names:
            inner = _inside(file_name)
            outside += [(file_name, inner)] if inner != file_name else []
            free = _free(inner, taken, layout)
            again += [(inner, free)] if free != inner else []
            taken.add(_key(free, layout))
            names.append(free)
        fitted[name] = replace(notes, file_names=tuple(names))
    remarks = [
        _remark(outside, "had a name that leads out of its folder or has white space at an end"),
        _remark(again, "had a name that another has but for its ending or its set"),
    ]
    return fitted, [remark for remark in remarks if remark]


def numbered(name: str, number: int) -> str:
    """Returns a file name with a number before its ending.

    >>> numbered("deep/a.jpg", 2)
    'deep/a-2.jpg'
    """
    path = PurePosixPath(name)
    return path.with_name(f"{path.stem}-{number}{path.suffix}").as_posix()


def _free(name: str, taken: set[str], layout: Layout) -> str:
    free, number = name, 2
    while _key(free, layout) in taken:
        free, number = numbered(name, number), number + 1
    return free


def _key(name: str, layout: Layout) -> str:
    """Returns what may be there once only."""
    return name if layout == "coco" else PurePosixPath(name).with_suffix("").as_posix()


def _inside(name: str) -> str:
    """Returns a name that leads to a place inside of a folder, and that a list of names can hold."""
    path = PurePath(name)
    if path.is_absolute() or ".." in path.parts:
        name = path.name
    return PurePosixPath("/".join(" ".join(part.split()) for part in PurePosixPath(name).parts)).as_posix()


def _remark(renamed: list[tuple[str, str]], why: str) -> str:
    if not renamed:
        return ""
    then, now = renamed[0]
    return f"{number_of(len(renamed), 'image', 'images')} {why}, and was renamed, for instance '{then}' to '{now}'."
