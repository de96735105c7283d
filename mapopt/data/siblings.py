"""Finds the source of an image by its name: pictures that augmentation made of one photograph belong into one set.

Roboflow calls them ``name_jpg.rf.HASH.jpg``; other tools add a word such as ``_aug_3``, ``_flipped`` or ``-rot90``.
What the rules do not know is said by a pattern or a file of your own.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from mapopt.data.files import read_json, read_text
from mapopt.errors import ConfigError, DataError, shown

_ROBOFLOW = re.compile(r"^(?P<name>.+)\.rf\.[0-9A-Za-z]{6,}$")
_AUGMENTED = re.compile(
    r"^(?P<name>.+?)(?:[-_. ]+(?:aug(?:ment(?:ed|ation)?)?|[hv]?flip(?:ped)?(?:[-_]?[hvlrud]{1,2})?|mirror(?:ed)?|"
    r"rot(?:ate[d]?)?|bright(?:ness|er)?|dark(?:er)?|blur(?:red)?|nois[ey]|contrast|hue|saturation|gr[ae]y(?:scale)?|"
    r"crop(?:ped)?|shear|cutout|mosaic|copy)[-_]?\d*(?:[-_]\d+)*)+$",
    re.IGNORECASE,
)


def source_of(file_name: str) -> str:
    """Returns what an image was made of, by its name: the name without what tools of augmentation add to it.

    >>> source_of("train/IMG_7_jpg.rf.0a1b2c3d4e5f.jpg"), source_of("cell-12_aug_3.png"), source_of("cell-12.png")
    ('IMG_7_jpg', 'cell-12', 'cell-12')
    """
    stem = PurePosixPath(file_name).stem
    for pattern in (_ROBOFLOW, _AUGMENTED):
        match = pattern.match(stem)
        stem = match["name"] if match else stem
    return stem


def groups_of(file_names: Sequence[str], group: str) -> tuple[NDArray[np.int64], str]:
    """Returns ``[I]`` numbers, the same for images that belong together, and how they came about as a sentence.

    Args:
        file_names: of the images.
        group: ``"image"`` (each for itself), ``"source"`` (see `source_of`), ``"folder"`` (of the name), a file that
            says the group of every image (``.csv`` with a line ``file_name,group`` each, or a ``.json`` object), or a
            regular expression whose first bracket, or whole, is the group in the name.

    Raises:
        ConfigError: the expression is none, or fits no name.
        DataError: the file cannot be read or lacks an image.
    """
    if group == "image":
        return np.arange(len(file_names)), "every image for itself"
    if group == "source":
        keys, how = [source_of(name) for name in file_names], "images of one source together, by their names"
    elif group == "folder":
        keys, how = [PurePosixPath(name).parent.as_posix() for name in file_names], "images of one folder together"
    elif os.path.isfile(group) or group.endswith((".csv", ".json")):
        keys, how = _by_file(file_names, Path(group)), f"images of one group together, as {group} says"
    else:
        keys, how = _by_pattern(file_names, group), f"images of one group together, by the pattern {group}"
    numbers = np.unique(np.array(keys), return_inverse=True)[1].reshape(-1)
    return numbers.astype(np.int64), f"{how} ({int(numbers.max(initial=-1)) + 1} groups)"


def _by_pattern(file_names: Sequence[str], text: str) -> list[str]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ConfigError(
            f"group is {shown(text)}, which is no regular expression ({error}): expected image, source, folder, a file "
            "or an expression such as '^(.+)_frame'"
        ) from None
    matches = [pattern.search(name) for name in file_names]
    fitting = sum(match is not None for match in matches)
    if not fitting:
        raise ConfigError(
            f"group is {shown(text)}, which fits no name of an image, for instance not '{file_names[0]}': expected "
            "image, source, folder, a file that is there, or an expression that fits"
        )
    # What fits nowhere is a group of its own, under a name that no group has.
    return [
        f"g{match[1] if pattern.groups else match[0]}" if match else f"i{name}"
        for name, match in zip(file_names, matches, strict=True)
    ]


def _by_file(file_names: Sequence[str], path: Path) -> list[str]:
    if path.suffix == ".json":
        data = read_json(path)
        if not isinstance(data, dict):
            raise DataError(f"{path}: is no object in braces. Expected the group of every file name.")
        table = {str(name): str(value) for name, value in data.items()}
    else:
        rows = [row for row in csv.reader(read_text(path).splitlines()) if row]
        wrong = next((number for number, row in enumerate(rows, start=1) if len(row) < 2), None)
        if wrong is not None or not rows:
            raise DataError(f"{path}, line {wrong or 1}: expected a file name and its group, with a comma between.")
        table = {row[0].strip(): row[1].strip() for row in rows}
    missing = [name for name in file_names if name not in table and PurePosixPath(name).name not in table]
    if missing:
        raise DataError(
            f"{path}: says no group of image '{missing[0]}' ({len(missing)} of {len(file_names)} images are missing). "
            "Add a line for each."
        )
    return [table[name] if name in table else table[PurePosixPath(name).name] for name in file_names]
