"""The labels that detectors contradict, each once, under the kind that explains it best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mapopt.data.annotations import Annotations
from mapopt.data.truth import truth_by_position
from mapopt.evaluation.label_audit.appearance import Appearance
from mapopt.evaluation.label_audit.confidence import assess
from mapopt.evaluation.label_audit.evidence import gather
from mapopt.evaluation.label_audit.planting import PLANTED
from mapopt.evaluation.label_audit.trust import trust_of
from mapopt.metrics import Detections
from mapopt.metrics.match_table import match
from mapopt.metrics.overlaps import pair_iou

_TRUSTED = 0.3
"""Trust from which on a right detection shows how well boxes fit."""
_FEW = 20
_NOTHING_SEEN = 0.8
"""What confidence that a label has no object counts beside confidence that its object is another or elsewhere."""
_OTHERWISE = 0.75
"""Typical IoU where so few are trusted that it is not known."""


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A label that is probably wrong, or missing.

    Attributes:
        kind: of finding.
        confidence: how sure that is, 0 to 1.
        number: what of `Evidence` tells it; orders suspects of one confidence.
        image: a position.
        label: the object, a position; -1 where it is missing.
        other: the earlier label of an object that has two; -1 else.
        detection: what is seen instead; -1 where nothing is.
        category: the class that a swapped label should have; -1 for other kinds.
    """

    kind: str
    confidence: float
    number: float
    image: int
    label: int = -1
    other: int = -1
    detection: int = -1
    category: int = -1


@dataclass(frozen=True, eq=False, kw_only=True)
class Suspects:
    """What is suspected, and what it rests on.

    Attributes:
        all: the suspects, by kind and falling confidence.
        rate: kind -> the fraction of the labels that are wrong in this way, as far as the numbers allow for.
        fits: ``[m]`` IoUs of trusted right detections with their labels, ascending.
        trust: ``[D]`` see `mapopt.evaluation.label_audit.trust`.
    """

    all: tuple[Suspect, ...]
    rate: dict[str, float]
    fits: NDArray[np.float64]
    trust: NDArray[np.float64]


def find_suspects(
    annotations: Annotations,
    detections: Detections,
    *,
    seed: int = 0,
    confidence: float = 0.5,
    looks: Appearance | None = None,
) -> Suspects:
    """Returns the labels that detections contradict.

    Args:
        annotations: the labels.
        detections: of images that their detectors did not learn from; images and labels are positions.
        seed: of the faults that are planted to learn how the detector sees them.
        confidence: the least; 0 returns every label under one kind, and every detection without a label.
        looks: what the pictures in boxes look like, see `mapopt.evaluation.label_audit.looking`.
    """
    truth = truth_by_position(annotations)
    trust = trust_of(truth, detections)
    fits = _fits(annotations, detections, trust)
    typical = float(np.median(fits)) if len(fits) >= _FEW else _OTHERWISE
    evidence = gather(truth, detections, trust, typical=typical, looks=looks)
    verdict = assess(annotations, detections, trust, evidence, typical=typical, seed=seed, looks=looks)
    numbers = {
        "labeled_twice": evidence.twice,
        "swapped_class": evidence.other_class,
        "badly_placed": evidence.elsewhere,
        "spurious": evidence.unseen,
    }
    kinds = list(numbers)
    sure = np.stack([verdict.label[kind] for kind in kinds])
    # What says what is seen instead explains more than that nothing is.
    explains = np.where(np.array(kinds) == "spurious", _NOTHING_SEEN, 1.0)
    best = (sure * explains[:, None]).argmax(axis=0)
    suspects, used = [], np.zeros(len(detections), dtype=bool)
    for row in np.flatnonzero((sure[best, np.arange(len(best))] >= confidence) & ~annotations.crowd).tolist():
        kind = kinds[best[row]]
        by = {"swapped_class": evidence.by_class, "badly_placed": evidence.by_place}.get(kind)
        detection = -1 if by is None else int(by[row])
        if sure[best[row], row] >= 0.5 and detection >= 0:
            used[detection] = True
        suspects.append(
            Suspect(
                kind=kind,
                confidence=float(sure[best[row], row]),
                number=float(numbers[kind][row]),
                image=int(annotations.images[row]),
                label=row,
                other=int(evidence.by_label[row]) if kind == "labeled_twice" else -1,
                detection=detection,
                category=int(evidence.category[row]) if kind == "swapped_class" else -1,
            )
        )
    seen = (verdict.detection >= confidence) & (evidence.unlabeled > 0) & ~used
    for row in np.flatnonzero(seen).tolist():
        suspects.append(
            Suspect(
                kind="overlooked",
                confidence=float(verdict.detection[row]),
                number=float(evidence.unlabeled[row]),
                image=int(detections.image_ids[row]),
                detection=row,
            )
        )
    suspects.sort(key=lambda each: (PLANTED.index(each.kind), -each.confidence, -each.number))
    return Suspects(all=tuple(suspects), rate=verdict.rate, fits=fits, trust=trust)


def _fits(annotations: Annotations, detections: Detections, trust: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns how well trusted right detections fit their labels, ascending."""
    if not len(detections):
        return np.zeros(0)
    table = match(truth_by_position(annotations), detections, iou_thresholds=[0.5], limit=max(1, len(detections)))
    rows = np.flatnonzero(table.correct[:, 0] & (trust >= _TRUSTED))
    return np.sort(pair_iou(detections.boxes[rows], annotations.boxes[table.truth[rows, 0]]))
