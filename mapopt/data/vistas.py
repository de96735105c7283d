"""Reads Mapillary Vistas: street images, and 16-bit PNG files that say of every pixel which instance it belongs to.

A set's folder has ``images/*.jpg`` and, in version 1.2 and 2.0 under the version's name, ``instances/*.png``; beside
the sets stands ``config_v2.0.json``, ``config_v1.2.json`` or ``config.json``, which names the classes. The test set has
no instances and is left out.

Reference: G. Neuhold et al., "The Mapillary Vistas Dataset for Semantic Understanding of Street Scenes", ICCV 2017.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mapopt.data.annotations import Annotations
from mapopt.data.files import blame, read_json
from mapopt.data.image_files import image_size, is_image_name
from mapopt.data.paths import remark_on_missing
from mapopt.errors import DataError
from mapopt.passes import steps

_VERSIONS = {"v2.0": "config_v2.0.json", "v1.2": "config_v1.2.json", "": "config.json"}
"""Folder of a version's labels, and the file with its classes; the newest first."""
_SETS = {"train": "training", "val": "validation"}
_INSTANCES = 256
"""Instances that a class can have in an image: a pixel is the class's position times this, plus the instance's."""


@dataclass(frozen=True)
class VistasSet:
    """A set of Mapillary Vistas.

    Attributes:
        folder: which holds ``images``.
        instances: which holds a PNG file for each of them.
        config: names the classes.
    """

    folder: Path
    instances: Path
    config: Path


def find_vistas(path: Path) -> tuple[str, dict[str, VistasSet]]:
    """Returns what a folder of Mapillary Vistas is called, by its newest labels, and its sets; nothing of others."""
    for version, config in _VERSIONS.items():
        if not os.path.isfile(path / config):
            continue
        sets = {
            name: VistasSet(path / folder, path / folder / version / "instances", path / config)
            for name, folder in _SETS.items()
            if os.path.isdir(path / folder / "images") and os.path.isdir(path / folder / version / "instances")
        }
        if sets:
            return f"Mapillary Vistas {version}".rstrip(), sets
    return "", {}


def read_vistas(part: VistasSet) -> Annotations:
    """Reads one set: the box around every instance, and its pixels as area.

    Only classes that are annotated instance by instance are categories, in the order of the file that names them.

    Args:
        part: the set.

    Raises:
        DataError: a file is missing, damaged, or of another size than its image.
    """
    from scipy.ndimage import find_objects  # here, because it takes a while to import

    names, category = _classes(part.config)
    files = sorted(file for file in (part.folder / "images").iterdir() if is_image_name(file))
    maps = [part.instances / f"{file.stem}.png" for file in files]
    without = [map_ for map_ in maps if not map_.is_file()]
    pairs = [(file, map_) for file, map_ in zip(files, maps, strict=True) if map_.is_file()]
    if not pairs:
        raise DataError(
            f"{part.instances}: holds no PNG file of an image in {part.folder / 'images'}. Check the folder."
        )
    sizes, rows, labels, area, owners = [], [], [], [], []
    with steps("reading instances in", len(pairs), "images") as work:
        for position, (file, map_) in enumerate(pairs):
            values = _instances(map_, file)
            counts = np.bincount(values.ravel())
            for value, place in enumerate(find_objects(values)):
                label = -1 if place is None else int(category[value // _INSTANCES])
                if place is None or label < 0:
                    continue
                rows.append([place[1].start, place[0].start, place[1].stop, place[0].stop])
                labels.append(label)
                area.append(counts[value + 1])
                owners.append(position)
            sizes.append(values.shape[::-1])
            work.advance(position + 1)
    extents = np.array(sizes, dtype=np.int64).reshape(-1, 2)
    with blame(part.folder):
        return Annotations(
            image_ids=np.arange(1, len(pairs) + 1),
            file_names=tuple(f"images/{file.name}" for file, _ in pairs),
            widths=extents[:, 0],
            heights=extents[:, 1],
            category_ids=np.arange(1, len(names) + 1),
            category_names=names,
            boxes=np.array(rows, dtype=np.float64).reshape(-1, 4),
            labels=np.array(labels, dtype=np.int64),
            images=np.array(owners, dtype=np.int64),
            crowd=np.zeros(len(rows), dtype=bool),
            area=np.array(area, dtype=np.float64),
            ids=np.arange(1, len(rows) + 1),
            root=part.folder,
        ).with_remarks(*_remarks(without))


def _remarks(without: list[Path]) -> list[str]:
    remark = remark_on_missing(len(without), "image", without[0], "no instances") if without else ""
    return [remark] if remark else []


def _instances(path: Path, file: Path) -> NDArray[np.int32]:
    """Returns ``[h, w]`` the values of a file, counted from 1, because 0 is the first instance of the first class."""
    try:
        with Image.open(path) as image:
            values = np.asarray(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read ({error}). It may be damaged: replace it.") from None
    if values.ndim != 2 or values.min() < 0 or values.max() > 0xFFFF:
        raise DataError(f"{path}: is no PNG file of 16 bits with one channel. Expected class * 256 + instance.")
    size, shown = image_size(file), values.shape[::-1]
    # Of a photograph that its camera notes as turned a map may show the stored view, which is decoded where it has the
    # annotated size.
    if shown != size and not (shown == size[::-1] == _stored_size(file)):
        raise DataError(
            f"{path}: is {values.shape[1]} x {values.shape[0]} pixels, and its image {size[0]} x {size[1]}. Expected "
            "one of the same size."
        )
    return values.astype(np.int32) + 1


def _stored_size(file: Path) -> tuple[int, int]:
    with Image.open(file) as image:
        return image.size


def _classes(config: Path) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Returns the categories' names, and ``[256]`` the category of every class, -1 for those without instances."""
    content = read_json(config)
    labels = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(labels, list) or not all(isinstance(label, dict) and "name" in label for label in labels):
        raise DataError(f"{config}: has no labels with names. Expected the file that comes with Mapillary Vistas.")
    chosen = [position for position, label in enumerate(labels[:_INSTANCES]) if label.get("instances") is True]
    if not chosen:
        raise DataError(f"{config}: none of its labels has instances. Expected the file that comes with the data set.")
    category = np.full(_INSTANCES, -1, dtype=np.int64)
    category[chosen] = np.arange(len(chosen))
    return tuple(str(labels[position]["name"]) for position in chosen), category
