"""Draws the images that cost most AP: annotated boxes to the left, what the detector would report to the right."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mapopt.drawing.boxes import draw_boxes
from mapopt.evaluation.worst import WorstImage

if TYPE_CHECKING:
    from mapopt.evaluation.findings import Findings

PictureOf = Callable[[WorstImage], Image.Image | None]
"""Gives an image's pixels, None where they are not at hand."""

_MAX_BOXES = 40
"""Boxes drawn of a detector: more hide the picture."""
_GAP = 8
_BLANK = (96, 96, 96)


def draw_worst(findings: Findings, picture_of: PictureOf) -> dict[str, bytes]:
    """Returns JPEG files by their names in the report's folder, the worst image first."""
    drawn = {}
    for number, image in enumerate(findings.worst, start=1):
        stem = PurePosixPath(image.file_name.replace("\\", "/")).stem or f"image-{image.position}"
        stem = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in stem)[:80]
        buffer = io.BytesIO()
        _pair(findings, image, picture_of(image)).save(buffer, "JPEG", quality=92)
        drawn[f"worst/{number:03d}-{stem}.jpg"] = buffer.getvalue()
    return drawn


def _pair(findings: Findings, image: WorstImage, picture: Image.Image | None) -> Image.Image:
    """Returns both pictures beside each other; boxes are drawn on gray where there is no picture."""
    truth, detections = findings.truth, findings.predictions.detections
    names, order = truth.notes.category_names, np.argsort(truth.category_ids)
    rows = np.flatnonzero(truth.boxes.image_ids == image.image)
    own = np.flatnonzero((detections.image_ids == image.image) & (detections.scores >= findings.score_threshold))
    own = own[np.argsort(-detections.scores[own], kind="stable")[:_MAX_BOXES]]

    def labels(ids: NDArray[np.int64]) -> NDArray[np.int64]:
        return order[np.searchsorted(truth.category_ids[order], ids)]

    if picture is None:
        ends = np.concatenate([truth.boxes.boxes[rows], detections.boxes[own], np.full((1, 4), 32.0)])[:, 2:].max(
            axis=0
        )
        sides = (truth.notes.widths[image.position], truth.notes.heights[image.position])
        width, height = (min(int(side) or int(end) + 1, 4096) for side, end in zip(sides, ends, strict=True))
        picture = Image.new("RGB", (width, height), _BLANK)
    left = draw_boxes(picture, truth.boxes.boxes[rows], labels(truth.boxes.labels[rows]), None, names)
    right = draw_boxes(picture, detections.boxes[own], labels(detections.labels[own]), detections.scores[own], names)
    both = Image.new("RGB", (left.width + _GAP + right.width, left.height), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width + _GAP, 0))
    return both
