"""What looks at the images of an audit: a trained detector, or lanes that are trained at hand, out of fold."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from mapopt.data.annotations import Annotations
from mapopt.data.auditing.audit import Audit
from mapopt.data.images import ImageSet
from mapopt.evaluation.label_audit.pool import Pool
from mapopt.evaluation.label_audit.settings import FoldSettings
from mapopt.metrics import Detections
from mapopt.passes import steps

TOGETHER = 256
"""Images in memory at once where a given detector looks at them."""

_SIDE = 12
"""Pixels in the frames that the shorter side of half of the objects has at least, if frames may be so large."""
_SHORTEST, _LONGEST = 96, 288
_MULTIPLE = 32

_ALIKE = ("leak_file", "leak_picture", "same_file", "same_picture")


def fitting_size(annotations: Annotations) -> tuple[int, int]:
    """Returns the (height, width) of frames in which half of the objects have sides of 12 pixels, 288 at the most."""
    wide, high = float(np.median(annotations.widths)), float(np.median(annotations.heights))
    sides = (annotations.boxes[:, 2:] - annotations.boxes[:, :2])[~annotations.crowd].min(axis=1)
    longer = max(wide, high)
    needed = _SIDE / max(1.0, float(np.median(sides))) * longer if len(sides) else _SHORTEST
    side = min(_LONGEST, max(_SHORTEST, needed))
    height, width = (max(_MULTIPLE, math.ceil(side * part / longer / _MULTIPLE) * _MULTIPLE) for part in (high, wide))
    return height, width


def alike(audit: Audit, pool: Pool) -> Iterator[tuple[int, int]]:
    """Yields pairs of the pool's images that the audit found to be the same or nearly so."""
    place = {
        (int(part), int(image)): position
        for position, (part, image) in enumerate(zip(pool.part, pool.image, strict=True))
    }
    names = {
        raw.part: (number, {name: i for i, name in enumerate(raw.file_names)}) for number, raw in enumerate(audit.sets)
    }
    for finding in audit.findings:
        if finding.kind not in _ALIKE or finding.other is None:
            continue
        pair = []
        for part, name in ((finding.part, finding.image), finding.other):
            number, images = names[part]
            pair.append(place.get((number, images.get(name, -1)), -1))
        if min(pair) >= 0:
            yield pair[0], pair[1]


def detect_with_model(
    pool: Pool, model: Path, *, device: torch.device, detector: str | None = None
) -> tuple[Detections, tuple[str, ...]]:
    """Returns the boxes of a trained detector in all images, by positions, and what is to be said about it.

    Args:
        pool: the images.
        model: a checkpoint, or the folder of a run.
        device: where it runs.
        detector: what it is, if it is none of ours; see `mapopt.load`.

    Raises:
        CheckpointError: there is none, or it has other categories.
    """
    from mapopt.training.run_files import checkpoint_path
    from mapopt.training.trained_detector import TrainedDetector

    trained = TrainedDetector(checkpoint_path(model), device, detector=detector)
    columns = []
    with steps("detecting in", len(pool), "images") as work:
        for start in range(0, len(pool), TOGETHER):
            some = np.arange(start, min(start + TOGETHER, len(pool)))
            images = ImageSet.read(pool.annotations.select(some), size=trained.size, bits=trained.bits)
            result = trained.detect_as(images)
            columns.append((result.boxes, result.scores, result.labels, result.image_ids + start))
            work.advance(int(some[-1]) + 1)
    detections = Detections(*(np.concatenate(column) for column in zip(*columns, strict=True)))
    return detections, (f"Looked at by the detector of {model}.",)


def detect_with_folds(
    audit: Audit, pool: Pool, settings: FoldSettings, *, device: torch.device
) -> tuple[Detections, tuple[str, ...]]:
    """Returns the boxes that lanes see in images they did not learn from, by positions, and what is to be said.

    Raises:
        DataError: the images cannot be divided into so many folds.
    """
    from mapopt.evaluation.label_audit.folds import detect_out_of_fold

    size = settings.size or fitting_size(pool.annotations)
    images = ImageSet.read(pool.annotations, size=size)
    detections = detect_out_of_fold(images, alike(audit, pool), settings, device=device)
    said = (
        f"Looked at by {settings.folds} lanes of the tiny detector at {size[0]} x {size[1]} pixels, each trained on "
        f"{settings.budget(len(images))} images of the other folds."
    )
    return detections, (said,)
