"""The images of one lane on its device, with their objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch

from mapopt.data import ImageSet
from mapopt.data.augmentation.pictures import Objects, Picture
from mapopt.data.truth import truth_by_position
from mapopt.metrics import GroundTruth


class DeviceSet:
    """One image set with pixels and padded targets on a device."""

    def __init__(self, images: ImageSet, device: torch.device) -> None:
        self.images = images
        self.pixels = images.pixels.to(device)
        targets = images.targets()
        self.boxes = targets.boxes.to(device)
        self.labels = targets.labels.to(device)
        self.crowd = targets.crowd.to(device)
        self.scale = np.asarray(images.scale, dtype=np.float64)

    def __len__(self) -> int:
        return len(self.pixels)

    def fetch(self, positions: Sequence[int]) -> Callable[[int], Picture]:
        """Returns what gives the image at each of some positions, with its objects."""
        images = self.pixels.index_select(0, torch.tensor(positions, device=self.pixels.device))
        rows = {position: row for row, position in enumerate(positions)}

        def picture(position: int) -> Picture:
            boxes, labels, crowd = (column[position] for column in self._columns)
            real, (width, height) = labels >= 0, self._contents[position].tolist()
            return Picture(
                images[rows[position]], Objects.whole(boxes[real], labels[real], crowd[real]), (width, height)
            )

        return picture

    @cached_property
    def _columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        boxes, labels, crowd = (column.cpu().numpy() for column in (self.boxes, self.labels, self.crowd))
        return boxes, labels, crowd

    @cached_property
    def _contents(self) -> np.ndarray:
        """(Width, height) of each image in its frame ``[I, 2]``."""
        notes, (height, width) = self.images.annotations, self.images.size
        sides = np.stack([notes.widths, notes.heights], axis=1) * self.scale[:, None]
        return np.clip((sides + 1e-3).astype(np.int64), 1, (width, height))

    @cached_property
    def truth(self) -> GroundTruth:
        """The objects in original pixels; images and categories are named by their positions."""
        return truth_by_position(self.images.annotations)
