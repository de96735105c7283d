"""Images mirrored from left to right inside their frames, and the boxes that are seen in them back in their places.

An image lies at the left of its frame, as letterbox puts it, and does so mirrored: with its padding on the left it
would be like nothing that a detector was trained on.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from mapopt.data import ImageSet
from mapopt.data.on_demand import PixelsOnDemand
from mapopt.postprocessing.boxes import Boxes


class _Mirrored:
    """The pixels of images, each mirrored when it is asked for.

    Args:
        pixels: ``[n, 3, h, w]``, in memory or decoded on demand.
        inner: ``[n]`` columns that are image, and not padding.
    """

    def __init__(self, pixels: Tensor | PixelsOnDemand, inner: Tensor) -> None:
        self._pixels, self._inner = pixels, inner
        self.shape, self.dtype = pixels.shape, pixels.dtype

    def __getitem__(self, rows: slice) -> Tensor:
        images, inner = self._pixels[rows], self._inner[rows][:, None]
        columns = torch.arange(images.shape[-1])[None]
        places = torch.where(columns < inner, inner - 1 - columns, columns)
        return images.gather(3, places[:, None, None].expand(images.shape))


def mirrored_images(images: ImageSet) -> ImageSet:
    """Returns images mirrored, for detection alone: their objects are not."""
    pixels = _Mirrored(images.pixels, inner_columns(images))
    return dataclasses.replace(images, pixels=pixels)  # type: ignore[arg-type]


def mirror_boxes(boxes: Boxes, images: ImageSet) -> Boxes:
    """Returns boxes that were detected in mirrored images as they lie in the images themselves."""
    inner = inner_columns(images)[boxes.images].to(boxes.boxes)
    left, top, right, bottom = boxes.boxes.unbind(1)
    corners = torch.stack([(inner - right).clamp(min=0), top, (inner - left).clamp(min=0), bottom], dim=1)
    return Boxes(corners, boxes.scores, boxes.labels, boxes.lanes, boxes.images)


def inner_columns(images: ImageSet) -> Tensor:
    """Returns how many columns ``[n]`` of every frame are image: what `mapopt.data.pixels.letterbox` fills."""
    scaled = (images.annotations.widths * images.scale.numpy().astype(np.float64) + 1e-3).astype(np.int64)
    return torch.from_numpy(scaled.clip(1, images.size[1]))
