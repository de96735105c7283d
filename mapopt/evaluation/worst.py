"""The images that cost most AP: which they are, and what is wrong in each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mapopt.evaluation.inputs import NamedGroundTruth
from mapopt.metrics import Detections, MatchTable, image_costs
from mapopt.metrics.engines import Backend


@dataclass(frozen=True, kw_only=True)
class WorstImage:
    """One image.

    Attributes:
        image: What the metrics call it.
        position: Its position among the annotations' images.
        id: Its own id.
        file_name: Empty where it is unknown.
        cost: What AP gains without it.
        objects: Annotated boxes without crowds.
        missed: Those that no detection takes.
        false_positives: Detections that take nothing, of those that reach the pooled best F1's score threshold.
    """

    image: int
    position: int
    id: Any
    file_name: str
    cost: float
    objects: int
    missed: int
    false_positives: int


def worst_images(
    truth: NamedGroundTruth,
    detections: Detections,
    table: MatchTable,
    *,
    count: int,
    threshold: float,
    limit: int,
    backend: Backend,
) -> tuple[WorstImage, ...]:
    """Returns the images that cost most AP, the worst first; fewer where not so many cost any.

    Args:
        truth: The annotated boxes.
        detections: What the detector predicts.
        table: Their matches at one IoU threshold, at which mistakes are counted.
        count: How many images.
        threshold: The score from which a detection would be used.
        limit: Detections per image and category.
        backend: Of AP.
    """
    costs = image_costs(truth.boxes, detections, backend="auto" if backend == "pycocotools" else backend, limit=limit)
    order = np.argsort(-np.nan_to_num(costs, nan=-1.0), kind="stable")[:count]
    kept = detections.scores >= threshold
    taken = np.zeros(len(truth.boxes), bool)
    taken[table.truth[kept & table.correct[:, 0], 0]] = True
    positions = {image: position for position, image in enumerate(truth.image_ids.tolist())}
    images = []
    for place in order[costs[order] > 0].tolist():
        image = int(truth.boxes.images[place])
        objects = (truth.boxes.image_ids == image) & table.counted
        alarms = (detections.image_ids == image) & kept & table.wrong[:, 0]
        position = positions[image]
        images.append(
            WorstImage(
                image=image,
                position=position,
                id=truth.notes.image_ids.tolist()[position],
                file_name=truth.notes.file_names[position],
                cost=float(costs[place]),
                objects=int(objects.sum()),
                missed=int((objects & ~taken).sum()),
                false_positives=int(alarms.sum()),
            )
        )
    return tuple(images)
