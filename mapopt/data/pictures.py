"""Images to detect objects in, in whatever form they come: files, folders, PIL images, arrays or tensors.

`PictureSet` reads them a part at a time, so that a folder of any size can be gone through.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mapopt.data.annotations import Annotations
from mapopt.data.image_files import as_rgb, find_images, image_size, open_rgb
from mapopt.data.images import ImageSet
from mapopt.data.pixels import letterbox, letterbox_scale
from mapopt.errors import DataError

Picture: TypeAlias = str | Path | Image.Image | NDArray[Any] | Tensor
"""A file or a folder of files; a PIL image; an array ``[h, w, 3]`` or ``[h, w]``; or a tensor ``[3, h, w]``. Numbers
are whole from 0 to 255, or floating from 0 to 1."""

TOGETHER = 256
"""Images in memory at once."""


class PictureSet:
    """Images without objects.

    Args:
        pictures: one of them or several. A folder stands for the images in it, an array or a tensor with four
            dimensions for several images.
        bits: how many bits of files with 16 bits are in use; as in training, so that the detector sees the same.

    Raises:
        DataError: something is no image, a file is missing, or a folder holds no image.
    """

    def __init__(self, pictures: Picture | Sequence[Picture], *, bits: int = 16) -> None:
        self._bits = bits
        self._items: list[Path | Image.Image] = []
        given = pictures if isinstance(pictures, Sequence) and not isinstance(pictures, str) else [pictures]
        for picture in given:
            self._items += _opened(picture, position=len(self._items))
        if not self._items:
            raise DataError("no image was given: give a file, a folder, a PIL image, an array or a tensor")

    def __len__(self) -> int:
        """Returns the number of images."""
        return len(self._items)

    def notes(self, categories: Sequence[str]) -> Annotations:
        """Returns the images' names and sizes as annotations without an object, with ids from 1 up."""
        sizes = np.array([item.size if isinstance(item, Image.Image) else image_size(item) for item in self._items])
        names = [f"image {i}" if isinstance(item, Image.Image) else str(item) for i, item in enumerate(self._items)]
        if len(set(names)) < len(names):
            names = [f"{i}: {name}" for i, name in enumerate(names)]
        none = np.zeros(0, dtype=np.int64)
        return Annotations(
            image_ids=np.arange(1, len(self) + 1),
            file_names=tuple(names),
            widths=sizes[:, 0],
            heights=sizes[:, 1],
            category_ids=np.arange(1, len(categories) + 1),
            category_names=tuple(categories),
            boxes=np.zeros((0, 4)),
            labels=none,
            images=none,
            crowd=none.astype(bool),
            area=none.astype(float),
            ids=none,
        )

    def parts(
        self, notes: Annotations, size: tuple[int, int], *, together: int = TOGETHER
    ) -> Iterator[tuple[int, ImageSet]]:
        """Yields the images at one size, some at a time, each time with the position of the first.

        Args:
            notes: what `notes` returned.
            size: (height, width) that they are fitted into.
            together: how many at once.
        """
        for start in range(0, len(self), together):
            some = np.arange(start, min(start + together, len(self)))
            chosen = notes.select(some)
            scale = letterbox_scale(chosen.widths, chosen.heights, size=size)
            pixels = torch.stack(
                [
                    letterbox(self.rgb(int(position)), size=size, scale=float(factor))
                    for position, factor in zip(some, scale, strict=True)
                ]
            )
            yield start, ImageSet(annotations=chosen, size=size, pixels=pixels, scale=torch.from_numpy(scale))

    def rgb(self, position: int) -> Image.Image:
        """Returns an image, with its own size."""
        item = self._items[position]
        return item if isinstance(item, Image.Image) else open_rgb(item, bits=self._bits)


def picture_rgb(picture: Any, name: str) -> Image.Image:
    """Returns a single image in RGB: a file's, a PIL image, an array or a tensor.

    Args:
        picture: the image.
        name: what messages call it.

    Raises:
        DataError: it is something else.
    """
    if isinstance(picture, str | Path):
        return open_rgb(picture)
    arrays = _in_memory(picture, name)
    if len(arrays) != 1 or getattr(picture, "ndim", 3) > 3:
        raise DataError(f"{name} has the shape {list(picture.shape)}: expected a single image")
    return arrays[0]


def _opened(picture: Any, *, position: int) -> Sequence[Path | Image.Image]:
    """Returns paths as they are, and what is in memory as PIL images in RGB."""
    if isinstance(picture, str | Path):
        return find_images([picture])
    return _in_memory(picture, f"image {position}")


def _in_memory(picture: Any, name: str) -> Sequence[Image.Image]:
    if isinstance(picture, Image.Image):
        return [as_rgb(picture, name)]
    if isinstance(picture, Tensor):
        # Channels come first in a tensor, and last in an array.
        values = picture.detach().cpu()
        picture = (values.movedim(-3, -1) if values.ndim >= 3 else values).numpy()
    if not isinstance(picture, np.ndarray):
        raise DataError(
            f"{name} is of type {type(picture).__name__}: expected a path, a PIL image, an array or a tensor"
        )
    arrays = picture if picture.ndim == 4 else picture[None]
    return [_from_array(array, name) for array in arrays]


def _from_array(array: NDArray[Any], name: str) -> Image.Image:
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3) or 0 in array.shape:
        raise DataError(
            f"{name} has the shape {list(array.shape)}: expected an array [height, width, 3] or [height, width], or a "
            "tensor [3, height, width]"
        )
    top = 1.0 if np.issubdtype(array.dtype, np.floating) else 255
    if not (array.min() >= 0 and array.max() <= top):
        raise DataError(
            f"{name} holds numbers from {array.min():g} to {array.max():g}: expected whole numbers from 0 to 255, or "
            "floating ones from 0 to 1"
        )
    bytes_ = np.round(array * 255).astype(np.uint8) if top == 1.0 else array.astype(np.uint8)
    return Image.fromarray(np.broadcast_to(bytes_, (*bytes_.shape[:2], 3)).copy())
