"""Sets of images from a torch ``Dataset`` of ``(image, target)``, as in torchvision's tutorial of detectors.

Every item is read once and kept at one size; whatever random augmentation a data set does itself is frozen by that, so
give it without: augmentation is a knob here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mapopt.data.dicts import Categories, CategoryNames, annotations_from_dicts, columns_of, find_categories
from mapopt.data.images import ImageSet
from mapopt.data.invalid import Invalid
from mapopt.data.memory import check_memory
from mapopt.data.pictures import picture_rgb
from mapopt.data.pixels import letterbox, letterbox_scale
from mapopt.data.splits import Splits, divide
from mapopt.errors import ConfigError, DataError


class DetectionDataset(Protocol):
    """What is taken for a data set: a length, and an image with its target at every position.

    An image is a PIL image, an array ``[h, w, 3]`` or a tensor ``[3, h, w]``; for a target see
    `mapopt.data.annotations_from_dicts`.
    """

    def __len__(self) -> int:
        """Returns the number of images."""

    def __getitem__(self, index: int, /) -> tuple[Any, Mapping[str, Any]]:
        """Returns an image and its target."""


def images_from_dataset(
    dataset: DetectionDataset,
    *,
    size: tuple[int, int],
    categories: CategoryNames | None = None,
    invalid: Invalid = "error",
) -> ImageSet:
    """Reads a data set of images and targets.

    Args:
        dataset: the data set.
        size: (height, width) that the images are fitted into.
        categories: names, for labels 1 to n or 0 to n - 1, or the name of each label; by default categories are called
            by their labels.
        invalid: what to do with boxes outside their image or without area: ``"error"``, ``"clip"`` or ``"drop"``.

    Raises:
        DataError: an item is not an image and a target; the message names it.
    """
    items = _read(dataset, np.arange(_length(dataset, "data set")), "data set", size)
    return _image_set(items, find_categories([items.labels], categories), size, invalid)


def splits_from_datasets(
    train: DetectionDataset,
    val: DetectionDataset,
    test: DetectionDataset | None = None,
    *,
    size: tuple[int, int],
    categories: CategoryNames | None = None,
    invalid: Invalid = "error",
    limit: int | None = None,
    seed: int = 0,
) -> Splits:
    """Reads data sets to train on, to select by and to test on.

    Args:
        train: what the detector learns from.
        val: what rewards, selects and stops.
        test: read once, for the published number; without it `val` is divided into two halves by the seed.
        size: (height, width) that the images are fitted into.
        categories: names, for labels 1 to n or 0 to n - 1, or the name of each label; by default categories are called
            by their labels.
        invalid: what to do with boxes outside their image or without area: ``"error"``, ``"clip"`` or ``"drop"``.
        limit: at most so many images of each set, drawn by `seed`.
        seed: decides which images `limit` takes, and how `val` is divided.

    Raises:
        DataError: an item is not an image and a target, an image is in two sets, or a set has no object.
        ConfigError: `limit` is not possible.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}. Expected at least 1 image of each set, or None for all.")
    parts = {"train": np.arange(_length(train, "train")), "val": np.arange(_length(val, "val"))}
    remarks = []
    if test is None:
        if len(parts["val"]) < 2:
            raise DataError("there is no test set, and one val image cannot be divided. Give a test set.")
        parts["val"], parts["test"] = divide(len(parts["val"]), seed=seed)
        remarks.append(f"No test set was given: the val set is divided into two halves by seed {seed}.")
    else:
        parts["test"] = np.arange(_length(test, "test"))
    if limit is not None:
        remarks.append(f"At most {limit} images of each set are used, drawn by seed {seed}.")
    sources = {"train": train, "val": val, "test": val if test is None else test}
    items = {
        name: _read(sources[name], _limited(positions, limit, [seed, number]), name, size)
        for number, (name, positions) in enumerate(parts.items())
    }
    known = find_categories([read.labels for read in items.values()], categories)
    return Splits(
        **{name: _image_set(read, known, size, invalid) for name, read in items.items()}, note=" ".join(remarks)
    )


def is_dataset(value: object) -> bool:
    """Says whether something has the methods of a data set with a length."""
    return hasattr(value, "__getitem__") and hasattr(value, "__len__") and not isinstance(value, str | Mapping)


@dataclass(frozen=True, eq=False)
class _Items:
    """Items of one data set: ``[n, 3, height, width]`` pixels, ``[n, 2]`` heights and widths before, and targets."""

    name: str
    pixels: Tensor
    sizes: NDArray[np.int64]
    targets: Sequence[Mapping[str, Any]]
    labels: NDArray[np.int64]


def _length(dataset: Any, name: str) -> int:
    if not is_dataset(dataset):
        raise DataError(
            f"{name}: is of type {type(dataset).__name__}. Expected a data set of (image, target) with a length and "
            "positions, such as torch.utils.data.Dataset."
        )
    if not len(dataset):
        raise DataError(f"{name}: has no item. Expected at least one image.")
    return len(dataset)


def _limited(positions: NDArray[np.int64], limit: int | None, seed: Sequence[int]) -> NDArray[np.int64]:
    if limit is None or limit >= len(positions):
        return positions
    return positions[np.sort(np.random.default_rng(seed).permutation(len(positions))[:limit])]


def _read(dataset: DetectionDataset, positions: NDArray[np.int64], name: str, size: tuple[int, int]) -> _Items:
    if min(size) < 1:
        raise ConfigError(f"size is {size}: expected a positive height and width")
    check_memory([len(positions)], size, flags="size or limit")
    pixels = torch.empty((len(positions), 3, *size), dtype=torch.uint8)
    sizes, targets = np.empty((len(positions), 2), dtype=np.int64), []
    for row, position in enumerate(positions.tolist()):
        image, target = _item(dataset, position, name)
        picture = picture_rgb(image, f"{name}, item {position}: the image")
        sizes[row] = picture.height, picture.width
        scale = letterbox_scale(sizes[row, 1], sizes[row, 0], size=size)
        pixels[row] = letterbox(picture, size=size, scale=float(scale))
        targets.append(target)
    try:
        labels = columns_of(targets)["labels"]
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    return _Items(name, pixels, sizes, targets, labels)


def _item(dataset: DetectionDataset, position: int, name: str) -> tuple[Any, Mapping[str, Any]]:
    try:
        item: Any = dataset[position]
    except Exception as error:
        lines = str(error).splitlines() or [""]
        raise DataError(f"{name}, item {position}: cannot be read ({type(error).__name__}: {lines[0]})") from error
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise DataError(f"{name}, item {position}: is of type {type(item).__name__}. Expected a pair (image, target).")
    image, target = item
    if not isinstance(target, Mapping):
        raise DataError(
            f"{name}, item {position}: its target is of type {type(target).__name__}. Expected a dictionary with boxes "
            "and labels; torchvision.datasets.wrap_dataset_for_transforms_v2 makes them of CocoDetection's."
        )
    return image, target


def _image_set(items: _Items, categories: Categories, size: tuple[int, int], invalid: Invalid) -> ImageSet:
    try:
        annotations = annotations_from_dicts(items.targets, sizes=items.sizes, categories=categories, invalid=invalid)
    except DataError as error:
        raise DataError(f"{items.name}: {error}") from None
    scale = letterbox_scale(annotations.widths, annotations.heights, size=size)
    return ImageSet(annotations=annotations, size=size, pixels=items.pixels, scale=torch.from_numpy(scale))
