"""Finds files that annotations name as they were on another machine: its folders, or Windows' backslashes.

A name is tried as it is written first, so that a folder that is right is never read in another way.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from mapopt.data.annotations import number_of
from mapopt.data.image_files import is_image_name

SPLIT_NAMES = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
"""What files and folders of each split are called."""
_NEVER_LEFT_OUT = re.compile(
    rf"(?<![a-z])({'|'.join(name for names in SPLIT_NAMES.values() for name in names)})(?![a-z])"
)


def find_path(text: str, bases: Sequence[Path]) -> Path | None:
    """Returns the first place that exists of what a file names, None where there is none.

    Args:
        text: the name. Where it leads nowhere, backslashes are taken for slashes, and then leading folders are left out
            one by one; but none that says which split is meant.
        bases: folders that it may be relative to.
    """
    return next((base / name for name in _readings(text) for base in bases if os.path.exists(base / name)), None)


def with_slashes(text: str) -> str:
    r"""Returns a name with slashes for backslashes.

    >>> with_slashes("images\\train")
    'images/train'
    """
    return text.replace("\\", "/")


def find_names(names: Sequence[str], folder: Path) -> list[str]:
    """Returns the names as they are found in a folder of images, or as they are where that finds fewer of them."""
    for read in (str, with_slashes, lambda name: PurePosixPath(with_slashes(name)).name):
        readings = [read(name) for name in names]
        if any(os.path.isfile(folder / name) for name in readings[:8]):
            return readings
    return list(names)


def remark_on_missing(count: int, noun: str, example: Path, missing: str, *, plural: str = "") -> str:
    """Returns the sentence that says what was left out; empty for none.

    >>> remark_on_missing(2, "label file", Path("labels/a.txt"), "no image")
    '2 label files have no image, for instance a.txt.'
    """
    if not count:
        return ""
    verb = "has" if count == 1 else "have"
    return f"{number_of(count, noun, plural or noun + 's')} {verb} {missing}, for instance {example.name}."


def remark_on_unlisted(images: Iterable[Path]) -> str:
    """Says which image files lie beside those of the sets and are in none of them."""
    listed = {path.absolute() for path in images}
    beside = [
        path
        for folder in sorted({path.parent for path in listed})
        if os.path.isdir(folder)
        for path in sorted(folder.iterdir())
        if path not in listed and is_image_name(path) and os.path.isfile(path)
    ]
    if not beside:
        return ""
    be = "is" if len(beside) == 1 else "are"
    return f"{number_of(len(beside), 'image file', 'image files')} {be} in no set, for instance {beside[0].name}."


def _readings(text: str) -> Iterator[str]:
    yield text
    parts = [part for part in with_slashes(text).split("/") if part not in ("", ".")]
    for start, part in enumerate(parts):
        # An absolute path of this machine was the first reading.
        yield "/".join(parts[start:])
        if _NEVER_LEFT_OUT.search(part.lower()):
            return
