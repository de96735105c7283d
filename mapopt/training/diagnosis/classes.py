"""Checks of the classes: those without objects, those with few, and those whose names got mixed up."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.optimize import linear_sum_assignment

from mapopt.metrics import Detections
from mapopt.metrics.analysis.confusion import confusion_matrix
from mapopt.training.diagnosis.case import Case
from mapopt.training.diagnosis.findings import Finding, measured

_RARE = 5
"""How many times as frequent another class must be for a class to be starved, rather than the set be small."""

_FEWEST = 20
"""Detections on objects below which nothing is said of their names."""


def check_classes(case: Case) -> Iterator[Finding]:
    """Yields classes that train lacks, classes without any object, and the rarest class."""
    assert case.splits is not None
    names = case.splits.train.annotations.category_names
    train, val, test = (images.annotations.counts for _, images in case.splits.named())
    lacking = np.flatnonzero((train == 0) & (val + test > 0))
    for place in lacking.tolist():
        yield measured(
            "missing_class",
            val[place] + test[place],
            f"'{names[place]}' has no object to learn from in train, and {val[place]} in val and {test[place]} in "
            f"test, so that its AP stays 0, and the mean over {len(names)} classes is at most {1 - 1 / len(names):.2f}",
            f"mapopt split {case.data} --pool --out NEW, which gives every set its fraction of each class",
        )
    unused = np.flatnonzero(train + val + test == 0)
    if len(unused):
        root = 0 in unused.tolist()
        yield measured(
            "root_category" if root else "unused_class",
            len(unused),
            f"{len(unused)} of {len(names)} classes, such as '{names[unused[0]]}', have no object in any set"
            + (": the first is empty, as a root category is that only holds the others together" if root else ""),
            "take the category out of the list of the annotations"
            if root
            else "leave these classes out, or add images",
        )
    here = np.flatnonzero(train > 0)
    rarest = int(here[train[here].argmin()])
    if len(here) > 1 and train.max() >= _RARE * train[rarest]:
        yield measured(
            "starved_class",
            train[rarest],
            f"'{names[rarest]}' has {train[rarest]} objects to learn from, where '{names[int(train.argmax())]}' has "
            f"{train.max()}" + _class_ap(case, rarest),
            "--recipe.class-balance sampling, or more images of the class",
            price=_class_price(case, rarest),
        )


def check_names(case: Case) -> Iterator[Finding]:
    """Yields how many more of the val detections that lie on objects are of their class with names exchanged."""
    truth, detections = case.truth("val"), case.detections("val", last=True)
    count = len(truth.categories)
    if count < 2 or not len(detections):
        return
    threshold = _score_of_as_many(detections, len(truth))
    counts = confusion_matrix(truth, detections, score_threshold=threshold).counts[:count, :count]
    if counts.sum() < _FEWEST:
        return
    true, predicted = linear_sum_assignment(-counts)
    renamed = np.arange(count)
    renamed[predicted] = true
    now, then = float(np.trace(counts) / counts.sum()), float(counts[true, predicted].sum() / counts.sum())
    names = case.images["val"].annotations.category_names
    moved = [f"'{names[old]}' on '{names[new]}'" for old, new in enumerate(renamed.tolist()) if old != new]
    yield measured(
        "mixed_names",
        then - now if then >= 0.5 else 0.0,
        f"classes are mixed up: {now:.0%} of the val detections on objects have the class that is annotated, and "
        f"{then:.0%} with names exchanged: {', '.join(moved[:3])}",
        "compare the lists of categories of the train and val annotations, and correct the ids of one of them",
    )


def _score_of_as_many(detections: Detections, objects: int) -> float:
    """Returns the score that as many detections have as there are objects."""
    ordered = np.sort(detections.scores)[::-1]
    return float(ordered[min(len(ordered), max(1, objects)) - 1])


def _class_price(case: Case, place: int) -> float | None:
    """Returns what AP would gain if a class were as good as the mean of the others."""
    if not case.played:
        return None
    best = max(case.played, key=lambda played: played.val.ap)
    values = [value for value in best.val.per_category if value >= 0]
    own = best.val.per_category[place]
    if own < 0 or len(values) < 2:
        return None
    others = (sum(values) - own) / (len(values) - 1)
    return max(0.0, (others - own) / len(values))


def _class_ap(case: Case, place: int) -> str:
    price = _class_price(case, place)
    if price is None:
        return ""
    best = max(case.played, key=lambda played: played.val.ap)
    return f"; its val AP is {best.val.per_category[place]:.3f} where the mean of all is {best.val.ap:.3f}"
