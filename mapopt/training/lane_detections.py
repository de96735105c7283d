"""The boxes of many lanes on the host: in one transfer, each lane's own, in the images' original pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from mapopt.collectives import ALONE, Processes
from mapopt.detectors.interface import Detector, KnobTable
from mapopt.metrics import Detections, GroundTruth, Report, evaluate_lanes
from mapopt.postprocessing.boxes import Boxes
from mapopt.training.batches import expect_images
from mapopt.training.device_set import DeviceSet

_BATCH_PIXELS = 512 * 48 * 48
"""Pixels per evaluation batch, over all lanes; bounds the memory."""


def images_together(size: tuple[int, int], *, lanes: int, images: int = 0, processes: Processes = ALONE) -> int:
    """Returns how many images of each lane are evaluated at a time.

    Args:
        size: (height, width) of the images.
        lanes: that are evaluated together.
        images: how many there are to evaluate, and
        processes: that share them, so that each has some.

    >>> images_together((48, 48), lanes=2), images_together((4000, 4000), lanes=1)
    (256, 1)
    """
    fits = max(1, int(_BATCH_PIXELS / (size[0] * size[1])) // lanes)
    return min(fits, -(-images // processes.count)) if processes.several else fits


def detect_in_batches(
    detector: Detector,
    sets: Sequence[DeviceSet],
    knobs: KnobTable,
    *,
    size: tuple[int, int],
    processes: Processes = ALONE,
) -> list[Boxes]:
    """Returns the boxes of a process's part of the images, of all lanes, batch by batch.

    Args:
        detector: with the weights to evaluate.
        sets: the images of each lane, equally many.
        knobs: values per lane.
        size: (height, width) of the images.
        processes: that look at one part of the images after the other.
    """
    parts = []
    batch = images_together(size, lanes=len(sets), images=len(sets[0]), processes=processes)
    starts = processes.part(range(0, len(sets[0]), batch))
    for start in starts:
        images = torch.stack([own.pixels[start : start + batch] for own in sets]).float()
        expect_images(sets, start + batch, batch if start != starts[-1] else 0)
        boxes = detector.detect(images, knobs)
        parts.append(Boxes(boxes.boxes, boxes.scores, boxes.labels, boxes.lanes, boxes.images + start))
    return parts


def detections_by_lane(parts: list[Boxes], sets: list[DeviceSet], *, processes: Processes = ALONE) -> list[Detections]:
    """Brings the boxes to the host in one transfer and gives each lane its own, in original pixels.

    Args:
        parts: the boxes of batches, in the order of the images.
        sets: the images of each lane.
        processes: that have looked at one part of the images after the other.
    """
    columns = [
        torch.stack(
            [*(column.double() for column in (*part.boxes.T, part.scores, part.labels, part.images, part.lanes))]
        )
        for part in parts
    ]
    table_of_own = (
        torch.cat(columns, 1) if columns else torch.zeros((8, 0), dtype=torch.float64, device=sets[0].boxes.device)
    )
    table = processes.join_rows(table_of_own.T).T.cpu().numpy()
    if len(parts) > 1 or processes.several:
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


def evaluate_detections(
    truths: Sequence[GroundTruth], detections: list[Detections], *, mode: Literal["full", "reward"]
) -> list[Report]:
    """Evaluates the boxes of lanes, each on its own ground truth, of which lanes with the same data have one."""
    first = truths[0]
    return evaluate_lanes(first if all(truth is first for truth in truths) else list(truths), detections, mode=mode)
