"""The boxes of many lanes on the host: in one transfer, each lane's own, in the images' original pixels."""

from __future__ import annotations

import numpy as np
import torch

from mapopt.metrics import Detections
from mapopt.postprocessing.boxes import Boxes
from mapopt.training.device_set import DeviceSet

_BATCH_PIXELS = 512 * 48 * 48
"""Pixels per evaluation batch, over all lanes; bounds the memory."""


def images_together(size: tuple[int, int], *, lanes: int) -> int:
    """Returns how many images of each lane are evaluated at a time.

    Args:
        size: (height, width) of the images.
        lanes: that are evaluated together.

    >>> images_together((48, 48), lanes=2), images_together((4000, 4000), lanes=1)
    (256, 1)
    """
    return max(1, int(_BATCH_PIXELS / (size[0] * size[1])) // lanes)


def detections_by_lane(parts: list[Boxes], sets: list[DeviceSet]) -> list[Detections]:
    """Brings the boxes to the host in one transfer and gives each lane its own, in original pixels.

    Args:
        parts: the boxes of batches, in the order of the images.
        sets: the images of each lane.
    """
    columns = [
        torch.stack(
            [*(column.double() for column in (*part.boxes.T, part.scores, part.labels, part.images, part.lanes))]
        )
        for part in parts
    ]
    table = torch.cat(columns, 1).cpu().numpy()
    if len(parts) > 1:
        table = table[:, np.argsort(table[7].astype(np.int16), kind="stable")]
    bounds = np.searchsorted(table[7], np.arange(len(sets) + 1))
    detections = []
    for own, first, last in zip(sets, bounds[:-1], bounds[1:], strict=True):
        mine = table[:, first:last]
        labels, images = mine[5].astype(np.int64), mine[6].astype(np.int64)
        notes = own.images.annotations
        frame = np.stack([notes.widths, notes.heights, notes.widths, notes.heights])
        boxes = np.minimum(mine[:4] / own.scale[images], frame[:, images])
        detections.append(Detections(np.ascontiguousarray(boxes.T), mine[4], labels, images))
    return detections
