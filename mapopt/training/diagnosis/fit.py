"""Checks of what was learned: the train images against the val images, AP against the loss, and what AP is lost to."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mapopt.metrics import evaluate
from mapopt.metrics.analysis.causes import CAUSES, error_causes
from mapopt.training.diagnosis.case import Case
from mapopt.training.diagnosis.findings import Finding, measured

_CHANGES = {
    "class": "--recipe.loss quality_focal or another class loss; look at the confusion matrix of mapopt evaluate",
    "location": "--knobs.box-weight 2, or a larger --size",
    "both": "more images, or a longer run (--images)",
    "duplicate": "--knobs.nms-iou 0.5, or --knobs.soft-nms-sigma 0.5",
    "background": "a longer run (--images), or more images without objects",
    "missed": "a larger --size, or --knobs.assign-iou 0.25, which gives objects more positives",
}
"""Cause -> what to try."""


def check_gap(case: Case) -> Iterator[Finding]:
    """Yields how much higher AP is on the train images than on the val images, and AP on the train images."""
    gap = case.train_ap - case.val_ap
    said = f"AP is {case.train_ap:.3f} on the train images and {case.val_ap:.3f} on the val images"
    assert case.splits is not None
    yield measured(
        "overfitting",
        gap,
        f"{said}: the {len(case.splits.train)} train images are learned by heart",
        "more images, --knobs.augment 0.5, or a smaller detector or budget",
        price=None,
    )
    if case.progress >= 0.9:
        yield measured(
            "underfitting",
            case.train_ap,
            f"{said}, after the whole budget: the detector does not fit even what it was trained on",
            "a longer run (--images), a larger --size, or --recipe.detector resnet18",
        )


def check_stall(case: Case) -> Iterator[Finding]:
    """Yields by what fraction the loss fell over the last third of the rounds, if the best AP did not rise in it."""
    played = case.played
    third = len(played) // 3
    if third < 2:
        return
    before, after = played[: len(played) - third], played[len(played) - third :]
    best_before, best_after = (max(part.val.ap for part in rounds) for rounds in (before, after))
    first, last = (
        float(np.mean([part.interval.class_loss + part.interval.box_loss for part in rounds]))
        for rounds in (before[-third:], after)
    )
    fall = (first - last) / first if first > 0 else 0.0
    stalls = best_after <= best_before + 0.005
    worst = ""
    if case.detector is not None:
        causes = _causes(case)
        worst = "; " + ", ".join(f"{name} mistakes cost {causes[name]:.3f}" for name in _largest(causes)[:2])
    yield measured(
        "stalled",
        fall if stalls else 0.0,
        f"over the last {third} rounds the loss fell by {fall:.0%} and the best val AP stayed at {best_before:.3f}"
        f"{_by_class(case)}{worst}",
        "--recipe.loss quality_focal or a ranking loss such as rank_sort, which is nearer to AP",
    )


def check_causes(case: Case) -> Iterator[Finding]:
    """Yields the cause of mistakes that costs the most, and how loose the boxes are."""
    causes = _causes(case)
    name = _largest(causes)[0]
    report = evaluate(case.truth("val"), case.detections("val"), mode="full")
    by_size = ", ".join(
        f"{size} {value:.3f}"
        for size, value in zip(("small", "medium", "large"), report.stats[3:6].tolist(), strict=True)
        if value >= 0
    )
    yield measured(
        "cause",
        causes[name],
        f"{name} mistakes cost the most: AP50 is {report.ap50:.3f}, and {report.ap50 + causes[name]:.3f} without them; "
        f"AP by size: {by_size}",
        _CHANGES[name],
    )
    if report.ap50 >= 0.3 and case.progress >= 0.5:
        ratio = float(report.ap75 / report.ap50)
        yield measured(
            "loose_boxes",
            ratio,
            f"boxes are loose: AP50 is {report.ap50:.3f} and AP75 {report.ap75:.3f}",
            f"--knobs.box-weight {min(20.0, 2 * case.knobs.box_weight):g}",
        )
        yield measured(
            "metric",
            float(report.ap50 / max(report.ap, 1e-9)),
            f"AP {report.ap:.3f} is COCO's, the mean over IoU .50 to .95; what others call mAP50 is {report.ap50:.3f}",
            "compare AP50 with AP50, or mapopt evaluate, which prints VOC's AP beside COCO's",
        )


def check_val(case: Case) -> Iterator[Finding]:
    """Yields how many objects AP is measured on."""
    assert case.splits is not None
    count = int(case.splits.val.annotations.counts.sum())
    yield measured(
        "small_val",
        count,
        f"val has {count} objects in {len(case.splits.val)} images: AP on it is uncertain, and so is what it selects",
        f"mapopt split {case.data} --pool --fractions 0.7 0.2 0.1 --out NEW, for a larger val set",
    )


def _causes(case: Case) -> dict[str, float]:
    prices = error_causes(case.truth("val"), case.detections("val")).delta_average_precision
    return {name: float(np.nan_to_num(prices[name])) for name in CAUSES}


def _largest(causes: dict[str, float]) -> list[str]:
    return sorted(causes, key=lambda name: -causes[name])


def _by_class(case: Case) -> str:
    """Says which class is worst."""
    assert case.splits is not None
    best = max(case.played, key=lambda played: played.val.ap)
    known = [(value, place) for place, value in enumerate(best.val.per_category) if value >= 0]
    if len(known) < 2:
        return ""
    value, place = min(known)
    return f", lowest for '{case.splits.val.annotations.category_names[place]}' ({value:.3f})"
