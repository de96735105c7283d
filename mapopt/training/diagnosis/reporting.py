"""Checks of which boxes are reported: AP with another score threshold, limit or suppression, from the same network."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mapopt.postprocessing.settings import MAX_DETECTIONS
from mapopt.training.diagnosis.case import Case
from mapopt.training.diagnosis.findings import Finding, measured

_SUPPRESSIONS = ((0.5, 0.0), (0.6, 0.0), (0.7, 0.0), (0.6, 0.5))
"""IoU of hard suppression and width of Soft-NMS that are tried: the three that are common, and the tiny detector's."""


_LOWEST_AP = 0.005
"""AP below which no fraction of it is taken: on some hundred objects it is a handful of hits."""

_CLEAR_AP = 0.05
"""AP from which on suppressions are compared: below it, which of them is best is noise."""


def check_threshold(case: Case) -> Iterator[Finding]:
    """Yields the AP that the score threshold costs."""
    thresholds = case.settings.score_thresholds
    if not any(thresholds):
        return
    whole = float(case.report("val", score_thresholds=(0.0,) * case.settings.classes).ap)
    lost = whole - case.val_ap
    highest = _highest_score(case)
    cut = f"; the highest score of all is {highest:.3f}" if highest < max(thresholds) else ""
    yield measured(
        "score_threshold",
        _part(lost, whole),
        f"the score threshold {max(thresholds):g} costs AP: {case.val_ap:.3f} with it, {whole:.3f} without{cut}. A "
        "ranking loss sets no scale of scores, and AP needs the low ones, too",
        "--knobs.score-threshold 0",
        price=max(0.0, lost),
    )


def check_limit(case: Case) -> Iterator[Finding]:
    """Yields the AP that the limit of boxes per image costs."""
    if case.settings.detections >= MAX_DETECTIONS:
        return
    more = float(case.report("val", detections=MAX_DETECTIONS).ap)
    crowded = int(np.bincount(case.truth("val").image_ids.astype(np.int64)).max(initial=0))
    yield measured(
        "limit",
        _part(more - case.val_ap, more),
        f"the limit of {case.settings.detections} boxes per image costs AP: {case.val_ap:.3f} with it, {more:.3f} with "
        f"{MAX_DETECTIONS}; an image holds up to {crowded} objects",
        "--knobs.detections 100" if case.settings.detections < 100 else f"--knobs.detections {MAX_DETECTIONS}",
        price=max(0.0, more - case.val_ap),
    )


def check_suppression(case: Case) -> Iterator[Finding]:
    """Yields the AP that another suppression would gain."""
    tried = {pair: float(case.report("val", nms_iou=pair[0], soft_nms_sigma=pair[1]).ap) for pair in _SUPPRESSIONS}
    best = max(tried, key=lambda pair: tried[pair])
    now = (
        f"Soft-NMS of width {case.settings.soft_nms_sigma:g}"
        if case.settings.soft_nms_sigma
        else f"suppression from IoU {case.settings.nms_iou:g} on"
    )
    change = f"--knobs.soft-nms-sigma {best[1]:g}" + ("" if best[1] else f" --knobs.nms-iou {best[0]:g}")
    yield measured(
        "suppression",
        _part(tried[best] - case.val_ap, tried[best]) if tried[best] >= _CLEAR_AP else 0.0,
        f"{now} costs AP: {case.val_ap:.3f}, and {tried[best]:.3f} with {change}",
        change,
        price=max(0.0, tried[best] - case.val_ap),
    )


def _part(lost: float, whole: float) -> float:
    """Returns the fraction of AP that is lost; 0 where there is hardly any to lose, and a fraction would be noise."""
    return lost / whole if whole >= _LOWEST_AP else 0.0


def _highest_score(case: Case) -> float:
    everything = case.detections("val", score_thresholds=(0.0,) * case.settings.classes)
    return float(everything.scores.max(initial=0.0))
