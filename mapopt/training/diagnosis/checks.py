"""Every check by its name: what it looks at, and what it needs for that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from mapopt.training.diagnosis.boxes import check_convention, check_explosion
from mapopt.training.diagnosis.case import Case
from mapopt.training.diagnosis.choices import (
    check_augmentation,
    check_budget,
    check_clipping,
    check_lost_objects,
    check_stop,
    check_unread,
    check_warmup,
)
from mapopt.training.diagnosis.classes import check_classes, check_names
from mapopt.training.diagnosis.findings import Finding
from mapopt.training.diagnosis.fit import check_causes, check_gap, check_stall, check_val
from mapopt.training.diagnosis.images import (
    check_annotations,
    check_ids,
    check_leaks,
    check_likeness,
    check_reading,
)
from mapopt.training.diagnosis.objects import check_assignment, check_sizes
from mapopt.training.diagnosis.placement import check_placement
from mapopt.training.diagnosis.rates import check_collapse, check_divergence, check_steps
from mapopt.training.diagnosis.reporting import check_limit, check_suppression, check_threshold

Need = Literal["settings", "audit", "images", "rounds", "detector"]


@dataclass(frozen=True)
class Check:
    """A check.

    Attributes:
        look: returns every figure that it measures.
        need: what of a case it cannot do without.
    """

    look: Callable[[Case], Iterator[Finding]]
    need: Need


CHECKS: dict[str, Check] = {
    "reading": Check(check_reading, "settings"),
    "ids": Check(check_ids, "audit"),
    "annotations": Check(check_annotations, "audit"),
    "leaks": Check(check_leaks, "audit"),
    "unread": Check(check_unread, "settings"),
    "warmup": Check(check_warmup, "settings"),
    "budget": Check(check_budget, "settings"),
    "augmentation": Check(check_augmentation, "settings"),
    "objects": Check(check_lost_objects, "images"),
    "classes": Check(check_classes, "images"),
    "sizes": Check(check_sizes, "images"),
    "assignment": Check(check_assignment, "images"),
    "likeness": Check(check_likeness, "images"),
    "placement": Check(check_placement, "images"),
    "val": Check(check_val, "images"),
    "divergence": Check(check_divergence, "rounds"),
    "steps": Check(check_steps, "rounds"),
    "clipping": Check(check_clipping, "rounds"),
    "collapse": Check(check_collapse, "rounds"),
    "stop": Check(check_stop, "rounds"),
    "stall": Check(check_stall, "rounds"),
    "threshold": Check(check_threshold, "detector"),
    "limit": Check(check_limit, "detector"),
    "suppression": Check(check_suppression, "detector"),
    "names": Check(check_names, "detector"),
    "convention": Check(check_convention, "detector"),
    "explosion": Check(check_explosion, "detector"),
    "gap": Check(check_gap, "detector"),
    "causes": Check(check_causes, "detector"),
}
"""Every check, in the order in which they are made: first what settings and images say, then rounds and detections."""


def is_there(case: Case, need: Need) -> bool:
    """Returns whether a case has what a check needs."""
    if need == "settings":
        return True
    if need == "audit":
        return case.audit is not None
    if need == "images":
        return case.splits is not None
    if need == "rounds":
        return bool(case.history)
    return case.splits is not None and case.detector is not None
