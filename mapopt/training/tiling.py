"""Images looked at in parts that overlap, each as large as the detector's input, so that small objects come out larger.

An image is fitted into a frame that just holds all tiles, and each tile is a piece of it, not scaled again. A box that
ends at a tile's border inside the image is a part of an object that another tile has whole, or that the whole image
shows; so it is left out.

Reference: F. Akyon, S. Altinuc, A. Temizel, "Slicing Aided Hyper Inference and Fine-Tuning for Small Object Detection",
ICIP 2022. Differs: boxes at inner borders are left out, and suppression is the detector's own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from mapopt.data import ImageSet
from mapopt.data.on_demand import PixelsOnDemand
from mapopt.data.pixels import PADDING
from mapopt.errors import ConfigError
from mapopt.postprocessing.boxes import Boxes

MARGIN = 1.0
"""Pixels from a tile's inner border at which a box counts as cut off."""


@dataclass(frozen=True)
class Tiles:
    """How images are cut.

    Args:
        rows: of tiles.
        columns: likewise.
        overlap: fraction of a tile's side that it shares with the next; objects up to that are whole in some tile.
    """

    rows: int
    columns: int
    overlap: float

    def frame(self, size: tuple[int, int]) -> tuple[int, int]:
        """Returns (height, width) of what all tiles of this size cover.

        >>> Tiles(2, 3, 0.25).frame((64, 64))
        (112, 160)
        """
        return tuple(  # type: ignore[return-value]
            side + (count - 1) * self._step(side) for side, count in zip(size, (self.rows, self.columns), strict=True)
        )

    def corners(self, size: tuple[int, int]) -> Iterator[tuple[int, int]]:
        """Yields (top, left) of every tile of this size in the frame."""
        for row in range(self.rows):
            for column in range(self.columns):
                yield row * self._step(size[0]), column * self._step(size[1])

    def _step(self, side: int) -> int:
        return max(1, side - round(self.overlap * side))


def check_frame(images: ImageSet, tiles: Tiles, size: tuple[int, int]) -> None:
    """Raises ConfigError unless images have the size that tiles of a detector's size cover."""
    frame = tiles.frame(size)
    if tuple(images.size) != frame:
        raise ConfigError(
            f"images of {images.size[0]} x {images.size[1]} pixels with {tiles.rows} x {tiles.columns} tiles: expected "
            f"{frame[0]} x {frame[1]}; give a folder, or images at that size"
        )


def tile_of(images: ImageSet, corner: tuple[int, int], size: tuple[int, int]) -> ImageSet:
    """Returns the same tile of all images, for detection alone: their objects are not cut."""
    return dataclasses.replace(images, size=size, pixels=_Tile(images.pixels, corner, size))  # type: ignore[arg-type]


def whole_of(images: ImageSet, size: tuple[int, int]) -> tuple[ImageSet, float]:
    """Returns images scaled down to a size, for detection alone, and the factor."""
    factor = min(size[0] / images.size[0], size[1] / images.size[1])
    pixels = _Whole(images.pixels, factor, size)
    small = dataclasses.replace(images, size=size, pixels=pixels, scale=images.scale * factor)  # type: ignore[arg-type]
    return small, factor


def tile_boxes(boxes: Boxes, corner: tuple[int, int], size: tuple[int, int], frame: tuple[int, int]) -> Boxes:
    """Returns boxes that were detected in a tile as they lie in the frame, without those that its borders cut off."""
    top, left = corner
    low = torch.tensor([-1.0 if at == 0 else MARGIN for at in (left, top)])
    ends = zip((left + size[1], top + size[0]), (frame[1], frame[0]), (size[1], size[0]), strict=True)
    high = torch.tensor([side + 1.0 if end >= whole else side - MARGIN for end, whole, side in ends])
    inside = (boxes.boxes[:, :2] > low).all(1) & (boxes.boxes[:, 2:] < high).all(1)
    kept = boxes.at(inside.nonzero().squeeze(1))
    return dataclasses.replace(kept, boxes=kept.boxes + torch.tensor([left, top, left, top]).to(kept.boxes))


class _Tile:
    """The pixels of one tile of every image, cut when they are asked for."""

    def __init__(self, pixels: Tensor | PixelsOnDemand, corner: tuple[int, int], size: tuple[int, int]) -> None:
        self._pixels, self._corner, self._size = pixels, corner, size
        self.shape, self.dtype = torch.Size((*pixels.shape[:2], *size)), pixels.dtype

    def __getitem__(self, rows: slice) -> Tensor:
        (top, left), (height, width) = self._corner, self._size
        return self._pixels[rows][..., top : top + height, left : left + width]


class _Whole:
    """The pixels of images scaled down, each when it is asked for, at the top left of a gray frame."""

    def __init__(self, pixels: Tensor | PixelsOnDemand, factor: float, size: tuple[int, int]) -> None:
        self._pixels, self._size = pixels, size
        self._inner = tuple(
            min(side, max(1, int(factor * old + 1e-3))) for old, side in zip(pixels.shape[2:], size, strict=True)
        )
        self.shape, self.dtype = torch.Size((*pixels.shape[:2], *size)), pixels.dtype

    def __getitem__(self, rows: slice) -> Tensor:
        images = self._pixels[rows]
        small = interpolate(images.float(), self._inner, mode="bilinear", antialias=True)
        frame = torch.full((*images.shape[:2], *self._size), PADDING, dtype=torch.uint8)
        frame[..., : self._inner[0], : self._inner[1]] = small.round().clamp(0, 255).to(torch.uint8)
        return frame
