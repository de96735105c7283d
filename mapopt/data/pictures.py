"""Images to detect objects in, in whatever form they come: files, folders, videos, PIL images, arrays or tensors.

`PictureSet` reads them a part at a time and in order, so that a folder of any size and a video of any length can be
gone through.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mapopt.data.annotations import Annotations
from mapopt.data.image_files import as_rgb, image_size, open_rgb
from mapopt.data.images import ImageSet
from mapopt.data.pixels import letterbox, letterbox_scale
from mapopt.data.videos import Video, check_used, count_pictures, find_sources
from mapopt.errors import DataError

Picture: TypeAlias = str | Path | Image.Image | NDArray[Any] | Tensor
"""An image or video file, or a folder of them; a PIL image; an array ``[h, w, 3]`` or ``[h, w]``; or a tensor
``[3, h, w]``. Numbers are whole from 0 to 255, or floating from 0 to 1."""

TOGETHER = 256
"""Images in memory at once."""


class PictureSet:
    """Images without objects, the frames of videos among them.

    Args:
        pictures: one of them or several. A folder stands for the images and videos in it, a video for its frames, an
            array or a tensor with four dimensions for several images.
        bits: how many bits of files with 16 bits are in use; as in training, so that the detector sees the same.
        every: take every so many frames of a video.

    Raises:
        DataError: something is no image, a file is missing, or a folder holds no image.
        ConfigError: there is a video and the extra `video` is not installed, or `every` makes no sense here.
    """

    def __init__(
        self, pictures: Picture | Video | Sequence[Picture | Video], *, bits: int = 16, every: int = 1
    ) -> None:
        self._bits = bits
        self._items: list[Path | Image.Image | Video] = []
        given = pictures if isinstance(pictures, Sequence) and not isinstance(pictures, str) else [pictures]
        for picture in given:
            self._items += _opened(picture, position=len(self._items), every=every)
        check_used(every, self._items)
        if not self._items:
            raise DataError("no image was given: give a file, a folder, a PIL image, an array or a tensor")
        names = [_name(item, position) for position, item in enumerate(self._items)]
        unique = len(set(names)) == len(names)
        self._names = names if unique else [f"{position}: {name}" for position, name in enumerate(names)]

    def __len__(self) -> int:
        """Returns the number of images; those of videos are counted the first time, by decoding them."""
        return count_pictures(self._items)

    def __iter__(self) -> Iterator[Image.Image]:
        """Yields the images in order, each with its own size."""
        return (image for _, image in self._named())

    def notes(self, categories: Sequence[str]) -> Annotations:
        """Returns the images' names and sizes as annotations without an object, with ids from 1 up."""
        names: list[str] = []
        sizes: list[tuple[int, int]] = []
        for item, name in zip(self._items, self._names, strict=True):
            if isinstance(item, Video):
                names += [f"{name}#{number}" for number in item.numbers.tolist()]
                sizes += [item.known.size] * len(item)
            else:
                names.append(name)
                sizes.append(item.size if isinstance(item, Image.Image) else image_size(item))
        return _notes(names, sizes, categories, first=1)

    def moments(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Returns each image's frame in its video, ``[I]``, -1 for what is no frame, and its seconds there, ``[I]``."""
        frames = [item.numbers if isinstance(item, Video) else np.array([-1]) for item in self._items]
        seconds = [item.seconds if isinstance(item, Video) else np.array([0.0]) for item in self._items]
        return np.concatenate(frames), np.concatenate(seconds)

    def parts(
        self, categories: Sequence[str], size: tuple[int, int], *, together: int = TOGETHER
    ) -> Iterator[tuple[int, ImageSet]]:
        """Yields the images at one size, some at a time, each time with the position of the first.

        Args:
            categories: names of the annotations' categories.
            size: (height, width) that they are fitted into.
            together: how many at once.
        """
        pictures = self._named()
        start = 0
        while True:
            names, sizes, pixels, scales = list[str](), list[tuple[int, int]](), list[Tensor](), list[float]()
            for name, image in islice(pictures, together):
                width, height = image.size
                names.append(name)
                sizes.append((width, height))
                scales.append(float(letterbox_scale(np.array([width]), np.array([height]), size=size)[0]))
                pixels.append(letterbox(image, size=size, scale=scales[-1]))
            if not names:
                return
            notes = _notes(names, sizes, categories, first=start + 1)
            scale = torch.tensor(scales, dtype=torch.float32)
            yield start, ImageSet(annotations=notes, size=size, pixels=torch.stack(pixels), scale=scale)
            start += len(names)

    def _named(self) -> Iterator[tuple[str, Image.Image]]:
        """Yields the images in order, each with its name."""
        for item, name in zip(self._items, self._names, strict=True):
            if isinstance(item, Video):
                yield from ((f"{name}#{number}", frame) for number, frame in item.frames())
            else:
                yield name, item if isinstance(item, Image.Image) else open_rgb(item, bits=self._bits)


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


def _name(item: Path | Image.Image | Video, position: int) -> str:
    if isinstance(item, Image.Image):
        return f"image {position}"
    return str(item.path if isinstance(item, Video) else item)


def _notes(
    names: Sequence[str], sizes: Sequence[tuple[int, int]], categories: Sequence[str], *, first: int
) -> Annotations:
    """Returns images' names and sizes as annotations without an object, with ids from `first` up."""
    none = np.zeros(0, dtype=np.int64)
    columns = np.array(sizes, dtype=np.int64).reshape(-1, 2)
    return Annotations(
        image_ids=np.arange(first, first + len(names)),
        file_names=tuple(names),
        widths=columns[:, 0],
        heights=columns[:, 1],
        category_ids=np.arange(1, len(categories) + 1),
        category_names=tuple(categories),
        boxes=np.zeros((0, 4)),
        labels=none,
        images=none,
        crowd=none.astype(bool),
        area=none.astype(float),
        ids=none,
    )


def _opened(picture: Any, *, position: int, every: int) -> Sequence[Path | Image.Image | Video]:
    """Returns paths and videos as they are, and what is in memory as PIL images in RGB."""
    if isinstance(picture, str | Path):
        return find_sources([picture], every=every)
    if isinstance(picture, Video):
        return [picture]
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
