"""Looks for classes with few objects, and for classes that a set lacks; and counts sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mapopt.data.auditing.findings import Finding
from mapopt.data.auditing.raw import RawSet

FEW = 20
"""Objects of a class in the train set below which it is called rare."""
_SMALL, _MEDIUM = 32**2, 96**2
"""Square pixels up to which COCO calls an object small, and medium."""


def check_classes(raws: Sequence[RawSet]) -> list[Finding]:
    """Returns classes with few objects to learn from, and classes that some sets have and another lacks."""
    counts = objects_by_class(raws)
    findings = []
    for name, by_part in counts.items():
        every = sum(by_part.values())
        first = raws[0].part
        if 0 < by_part[first] < FEW:
            findings.append(
                Finding(
                    "rare_class", first, name, f"has {by_part[first]} objects in the {first} set", float(by_part[first])
                )
            )
        for part, count in by_part.items():
            if count == 0 and every:
                said = f"has no object in the {part} set, and {every} in others"
                findings.append(Finding("missing_class", part, name, said, float(every)))
        if not every:
            findings.append(Finding("rare_class", first, name, "has no object in any set", 0.0))
    return findings


def objects_by_class(raws: Sequence[RawSet]) -> dict[str, dict[str, int]]:
    """Returns how many objects, without crowds, each class has in each set, by name."""
    counts: dict[str, dict[str, int]] = {}
    for raw in raws:
        numbers = np.bincount(raw.labels[~raw.crowd], minlength=len(raw.category_names)).tolist()
        for name, number in zip(raw.category_names, numbers, strict=True):
            by_part = counts.setdefault(name, {other.part: 0 for other in raws})
            by_part[raw.part] += number
    return counts


def size_statistics(raws: Sequence[RawSet]) -> dict[str, Any]:
    """Returns counts by COCO's sizes, and a histogram of the boxes' side relative to their image's, by set.

    The side of a box is the square root of its area, and that of an image likewise; the bins are a twentieth wide.
    """
    statistics: dict[str, Any] = {}
    for raw in raws:
        sides = np.clip(raw.boxes[:, 2:] - raw.boxes[:, :2], 0, None)
        area = sides.prod(axis=1)
        image = raw.sizes.prod(axis=1)[raw.images].astype(np.float64)
        known = (image > 0) & (area > 0)
        relative = np.sqrt(area[known] / image[known])
        statistics[raw.part] = {
            "small": int((area < _SMALL).sum()),
            "medium": int(((area >= _SMALL) & (area < _MEDIUM)).sum()),
            "large": int((area >= _MEDIUM).sum()),
            "relative_side": np.histogram(relative, bins=20, range=(0, 1))[0].tolist(),
        }
    return statistics
