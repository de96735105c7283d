"""Checks, without a model, whether boxes belong to their pictures: edges of boxes lie on edges of what they enclose.

In each image the sides of the boxes are compared with the same boxes in another place: those of the next image, and the
image's own, mirrored. Boxes of a file for another picture are no better than the next image's; where augmentation has
mirrored pictures and left the boxes behind, their mirror image is better.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mapopt.data.images import ImageSet
from mapopt.detectors.dense.geometry import pairwise_iou
from mapopt.training.diagnosis.case import Case, network_boxes
from mapopt.training.diagnosis.findings import Finding, measured
from mapopt.training.diagnosis.kinds import KINDS

_FEWEST = 20
"""Images below which nothing is said: the mean of fewer differences has no reliable error."""

_ELSEWHERE = 0.3
"""Mean IoU below which boxes are elsewhere: of portraits, each alone in the middle, all boxes are alike."""


@dataclass(frozen=True, eq=False)
class _Sides:
    """How much more edge lies under the sides of boxes than elsewhere in the picture, per image."""

    next: NDArray[np.float64]
    """Of the boxes of the next image."""
    variants: dict[str, NDArray[np.float64]]
    """Of the image's own, as they are and mirrored."""
    differs: dict[str, NDArray[np.bool_]]
    """Where the own boxes are elsewhere than those of the next image, or mirrored: else nothing can be compared."""


def check_placement(case: Case) -> Iterator[Finding]:
    """Yields by how many standard errors boxes lie better than others would, and how many lie better mirrored."""
    sides = _sides(case.images["train"])
    compared = sides.differs["next"]
    if compared.sum() < _FEWEST:
        return
    scores = {name: _standard_errors(values, sides.next, compared) for name, values in sides.variants.items()}
    best = max(scores, key=lambda name: scores[name])
    yield measured(
        "strange_boxes",
        scores[best],
        f"boxes lie no better on the edges in their pictures than boxes of other pictures do: {scores[best]:.1f} "
        f"standard errors better over {compared.sum()} train images; annotations and images do not belong together",
        "check how file names and ids lead from the annotations to the images; mapopt audit draws them",
    )
    for how in ("sideways", "upside down"):
        apart = sides.differs[how]
        # Boxes that are nowhere right are better mirrored in half of the images, too.
        if apart.sum() < _FEWEST or scores[best] < KINDS["strange_boxes"].threshold:
            continue
        fraction = float((sides.variants[how] > sides.variants["own"])[apart].mean())
        yield measured(
            "left_behind",
            fraction,
            f"in {fraction:.0%} of {apart.sum()} train images the boxes lie better on the edges when they are mirrored "
            f"{how}: pictures were flipped, and the boxes left behind",
            "flip the boxes with the image (in your transform, or where the augmented files were written)",
        )


def _standard_errors(values: NDArray[np.float64], others: NDArray[np.float64], kept: NDArray[np.bool_]) -> float:
    gain = (values - others)[kept]
    return float(gain.mean()) / max(float(gain.std(ddof=1)) / len(gain) ** 0.5, 1e-9)


def _sides(images: ImageSet) -> _Sides:
    boxes, _, owners = network_boxes(images)
    own_boxes = [boxes[owners == image].numpy().astype(np.float64) for image in range(len(images))]
    extents = _extents(images)
    busy = [image for image, rows in enumerate(own_boxes) if len(rows)]
    columns: dict[str, list[float]] = {"own": [], "next": [], "sideways": [], "upside down": []}
    differs: dict[str, list[bool]] = {name: [] for name in columns}
    for place, image in enumerate(busy):
        width, height = extents[image]
        across, down = _edges(images.pixels[image, :, : int(height), : int(width)].numpy())
        rows = own_boxes[image]
        other = busy[(place + 1) % len(busy)]
        moved = own_boxes[other] * np.tile(extents[image] / extents[other], 2)
        variants = {
            "own": rows,
            "next": moved,
            "sideways": np.stack([width - rows[:, 2], rows[:, 1], width - rows[:, 0], rows[:, 3]], axis=1),
            "upside down": np.stack([rows[:, 0], height - rows[:, 3], rows[:, 2], height - rows[:, 1]], axis=1),
        }
        for name, variant in variants.items():
            columns[name].append(_under(variant, across, down))
            overlap = pairwise_iou(torch.from_numpy(rows), torch.from_numpy(variant)).amax(1)
            differs[name].append(float(overlap.mean()) < _ELSEWHERE)
    values = {name: np.array(column) for name, column in columns.items()}
    return _Sides(values.pop("next"), values, {name: np.array(column) for name, column in differs.items()})


def _extents(images: ImageSet) -> NDArray[np.float64]:
    """Returns width and height of each picture without its margin, in the network's pixels, ``[I, 2]``."""
    notes, scale = images.annotations, images.scale.numpy().astype(np.float64)
    sizes = np.stack([notes.widths, notes.heights], axis=1) * scale[:, None]
    return np.maximum(4, np.floor(np.minimum(sizes + 0.5, images.size[::-1])))


def _edges(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns how strong upright and level edges are, less their mean, as sums over all above and to the left."""
    gray = pixels.astype(np.float64).mean(axis=0)
    across, down = np.zeros_like(gray), np.zeros_like(gray)
    across[:, 1:-1] = np.log1p(np.abs(gray[:, 2:] - gray[:, :-2]))
    down[1:-1] = np.log1p(np.abs(gray[2:] - gray[:-2]))
    # A side may be a pixel beside its edge.
    across[:, 1:-1] = np.maximum(across[:, 1:-1], np.maximum(across[:, :-2], across[:, 2:]))
    down[1:-1] = np.maximum(down[1:-1], np.maximum(down[:-2], down[2:]))
    return across - across.mean(), down - down.mean()


def _under(boxes: NDArray[np.float64], across: NDArray[np.float64], down: NDArray[np.float64]) -> float:
    """Returns the mean strength of the edges under the sides of boxes; sides at the picture's edge do not count."""
    height, width = across.shape
    values = []
    for left, top, right, bottom in np.rint(boxes).astype(np.int64).tolist():
        for x in (left, right - 1):
            if 1 <= x < width - 1:
                values.append(across[max(top, 0) : max(bottom, top + 1), x])
        for y in (top, bottom - 1):
            if 1 <= y < height - 1:
                values.append(down[y, max(left, 0) : max(right, left + 1)])
    means = [float(part.mean()) for part in values if len(part)]
    return float(np.mean(means)) if means else 0.0
