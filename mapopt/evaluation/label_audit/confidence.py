"""How sure it is that a label is wrong: what is seen of it beside what is seen of labels that were made wrong.

Faults of every kind are planted into a copy of the labels, and the same detections held against it. A number that most
planted faults reach and few labels do is a fault; one that as many labels reach is nothing, however large it is. So a
weak detector, or a class that it hardly finds, gives low confidence by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mapopt.data.annotations import Annotations
from mapopt.data.truth import truth_by_position
from mapopt.evaluation.label_audit.appearance import Appearance
from mapopt.evaluation.label_audit.evidence import SAME_PLACE, Evidence, gather
from mapopt.evaluation.label_audit.planting import PLANTED, Planted, plant
from mapopt.metrics import Detections, GroundTruth
from mapopt.metrics.overlaps import image_pairs

NUMBERS: dict[Planted, str] = {
    "overlooked": "unlabeled",
    "spurious": "unseen",
    "swapped_class": "other_class",
    "badly_placed": "elsewhere",
    "labeled_twice": "twice",
}
"""Kind of finding -> the number of `Evidence` that tells it."""

_FRACTION = 0.04
_ENOUGH = 300
"""Planted faults of each kind, about, if the set is large enough."""
_ROUNDS = 8
_SEEN = (0.3, 0.5, 0.7)
"""Fractions of the planted faults at whose numbers it is estimated how many labels are wrong."""
_LARGEST_RATE = 0.2
"""Fraction of wrong labels that is believed at the most: a detector that tells faults from labels by nothing allows for
any."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Verdict:
    """Confidence from 0 to 1 for every label ``[N]`` and every detection ``[D]``, by kind of finding."""

    label: dict[str, NDArray[np.float64]]
    detection: NDArray[np.float64]
    rate: dict[str, float]
    """Kind -> the fraction of the labels that are wrong in this way, as far as the numbers allow for."""


def assess(
    annotations: Annotations,
    detections: Detections,
    trust: NDArray[np.float64],
    evidence: Evidence,
    *,
    typical: float,
    seed: int,
    looks: Appearance | None = None,
) -> Verdict:
    """Returns how sure it is of each label that it is wrong, and of each detection that its label is missing.

    Args:
        annotations: ``N`` labels.
        detections: ``D`` boxes, images by position.
        trust: ``[D]``, see `mapopt.evaluation.label_audit.trust`.
        evidence: what the detections say of the labels.
        typical: see `gather`.
        seed: of the planted faults.
        looks: see `gather`.
    """
    planted = _planted(annotations, detections, trust, typical=typical, seed=seed, looks=looks)
    label: dict[str, NDArray[np.float64]] = {}
    rate: dict[str, float] = {}
    objects, result = len(annotations.ids), np.zeros(0)
    for kind, name in NUMBERS.items():
        numbers = getattr(evidence, name)
        sure, rate[kind] = _confidence(numbers, planted[kind], objects)
        if kind == "overlooked":
            result = sure
        else:
            label[kind] = np.where(annotations.crowd, 0.0, sure)
    return Verdict(label=label, detection=result, rate=rate)


def _planted(
    annotations: Annotations,
    detections: Detections,
    trust: NDArray[np.float64],
    *,
    typical: float,
    seed: int,
    looks: Appearance | None,
) -> dict[str, NDArray[np.float64]]:
    """Returns the numbers of planted faults, by kind."""
    count = int((~annotations.crowd).sum())
    rounds = int(np.clip(np.ceil(_ENOUGH / max(1.0, _FRACTION * count)), 1, _ROUNDS))
    values: dict[str, list[NDArray[np.float64]]] = {kind: [] for kind in PLANTED}
    for number in range(rounds):
        faults = plant(annotations, fraction=max(_FRACTION, 1 / max(count, 1)), seed=seed + 7919 * number)
        noted = faults.annotations
        own = None if looks is None else looks.planted(faults.origin)
        evidence = gather(truth_by_position(noted), detections, trust, typical=typical, looks=own)
        for kind, name in NUMBERS.items():
            if kind == "overlooked":
                values[kind].append(_best_there(annotations, faults.removed, detections, evidence.unlabeled))
            else:
                values[kind].append(getattr(evidence, name)[faults.kind == kind])
    return {kind: np.concatenate(parts) for kind, parts in values.items()}


def _best_there(
    annotations: Annotations, rows: NDArray[np.int64], detections: Detections, numbers: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns for each removed label the largest number of a detection in its place; 0 where there is none."""
    gone = GroundTruth(
        annotations.boxes[rows], np.zeros(len(rows), int), annotations.images[rows], images=np.arange(len(annotations))
    )
    pairs = image_pairs(gone, detections, minimum=SAME_PLACE)
    best = np.zeros(len(rows))
    np.maximum.at(best, pairs.truth, numbers[pairs.detection])
    return best


def _confidence(
    numbers: NDArray[np.float64], planted: NDArray[np.float64], total: int
) -> tuple[NDArray[np.float64], float]:
    """Returns the confidence of each number ``[n]``, and the estimated fraction of wrong labels.

    Of what reaches a number t, the fraction that are faults is rate * P(planted reach t) * labels / (how many reach
    t): the false discovery rate turned round. The rate is the largest that no number contradicts.

    Args:
        numbers: ``[n]`` of labels, or of detections.
        planted: ``[p]`` numbers of planted faults.
        total: how many labels there are.

    Reference: B. Efron, "Large-Scale Inference", Cambridge University Press 2010, chapter 2 (tail-area false discovery
        rates); the rate in the manner of J. D. Storey, "A direct approach to false discovery rates", JRSS B 64 (2002).
    """
    if not len(planted) or not len(numbers):
        return np.zeros(len(numbers)), 0.0
    levels = np.quantile(planted, [1 - result for result in _SEEN])
    levels = levels[levels > 0]
    if not len(levels):
        return np.zeros(len(numbers)), 0.0
    reaching = count_reaching(planted, levels) / len(planted)
    rate = float(min(_LARGEST_RATE, ((count_reaching(numbers, levels) + 1) / total / reaching).min()))
    expected = rate * total * count_reaching(planted, numbers) / len(planted)
    ratio = expected / np.maximum(count_reaching(numbers, numbers), 1)
    order = np.argsort(numbers, kind="stable")
    sure = np.empty(len(numbers))
    sure[order] = np.maximum.accumulate(np.minimum(ratio[order], 1.0))
    return np.where(numbers > 0, sure, 0.0), rate


def count_reaching(values: NDArray[np.float64], levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns how many values are as large as each level, or larger.

    >>> count_reaching(np.array([0.1, 0.5, 0.5]), np.array([0.0, 0.5, 0.6])).tolist()
    [3.0, 2.0, 0.0]
    """
    return (len(values) - np.searchsorted(np.sort(values), levels, side="left")).astype(np.float64)
