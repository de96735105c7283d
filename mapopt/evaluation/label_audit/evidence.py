"""What detections and pictures say of each label and each place without one, as numbers from 0 to 1: no verdict yet.

For a label: is there an object at all, of its class, in its place; for a detection: is there a label that it can be
about. The verdict compares them with those of faults that were planted: `mapopt.evaluation.label_audit.confidence`.

Reference: U. Tkachenko, A. Thyagarajan, J. Mueller, "ObjectLab: Automated Diagnosis of Mislabeled Images in Object
    Detection Data", ICML 2023 Workshop on Data-centric Machine Learning Research, arXiv:2309.00832. There a number for
    overlooked, badly located and swapped boxes each is made of distances of boxes and scores, and pooled for an image.
    Ours are made of calibrated trust and IoU, know which label a detection belongs to, stay with the single label, and
    are for labels without an object and for second labels, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mapopt.evaluation.label_audit.appearance import Appearance
from mapopt.metrics import Detections, GroundTruth
from mapopt.metrics.overlaps import Pairs, best_of_each, image_pairs

TOUCH = 0.1
"""IoU from which on a label and a detection may be about the same object."""
SAME_PLACE = 0.5
"""IoU from which on they are in the same place."""
_NEITHER = 0.02
"""Trust that counts for neither of two sides: what hardly counts as a detection is no rival."""
_LEAN = 30
"""Labels of a class from which on it counts more by itself than by all classes."""
_LOOKS = 2.0
"""What the class that a picture looks like counts beside the class that is detected there."""
_AVERAGE = 0.05
"""What it counts that a class is seen well elsewhere: it orders the many labels of which nothing is seen."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Evidence:
    """Numbers for every label ``[N]`` and every detection ``[D]``.

    Attributes:
        unseen: for a label, how little is seen there, of whatever class.
        other_class: for a label, how much better another class fits than its own.
        elsewhere: for a label, how sure it is that its object is in another place nearby.
        twice: for a label, how sure it is that an earlier one is about the same object.
        unlabeled: for a detection, how sure it is that there is an object that no label is about.
        category: int64 ``[N]``, the class that fits best of the others; -1 where none fits.
        by_class: int64 ``[N]``, the detection of that class; -1 where there is none.
        by_place: int64 ``[N]``, the detection in the other place; -1 where there is none.
        by_label: int64 ``[N]``, the earlier label; -1 where there is none.
    """

    unseen: NDArray[np.float64]
    other_class: NDArray[np.float64]
    elsewhere: NDArray[np.float64]
    twice: NDArray[np.float64]
    unlabeled: NDArray[np.float64]
    category: NDArray[np.int64]
    by_class: NDArray[np.int64]
    by_place: NDArray[np.int64]
    by_label: NDArray[np.int64]


def gather(
    truth: GroundTruth,
    detections: Detections,
    trust: NDArray[np.float64],
    *,
    typical: float,
    looks: Appearance | None = None,
) -> Evidence:
    """Returns what detections say of labels, and what the pictures in their boxes look like.

    Args:
        truth: ``N`` labels.
        detections: ``D`` boxes.
        trust: ``[D]`` probabilities that they are right.
        typical: median IoU of right detections with their labels: from there on a box is in its place.
        looks: what pictures look like, where that is known.
    """
    pairs = image_pairs(truth, detections, minimum=TOUCH)
    same = truth.labels[pairs.truth] == detections.labels[pairs.detection]
    place = np.clip((pairs.iou - 0.3) / max(typical - 0.3, 1e-6), 0, 1)
    strength = trust[pairs.detection]
    # The label of its class that a detection fits best is what it is about, as far as it fits.
    owner, fits = _best(pairs.detection[same], place[same], pairs.truth[same], len(detections))
    foreign = np.where(owner[pairs.detection] == pairs.truth, 0.0, fits[pairs.detection])
    count = len(truth)
    own, _ = _largest(pairs.truth[same], (strength * place)[same], pairs.detection[same], count)
    # Several classes that are seen in a place say that there is something, whatever it is.
    sure = np.sqrt(trust * _something(detections, trust))
    here, _ = _largest(pairs.truth[same], (sure[pairs.detection] * place)[same], pairs.detection[same], count)
    # What hardly counts as a detection still tells an object that is hard to see from none.
    faint = 0.9 * strength + 0.1 * detections.scores[pairs.detection] / max(1e-9, detections.scores.max(initial=0))
    seen, _ = _largest(pairs.truth, faint * np.minimum(1, pairs.iou / SAME_PLACE), pairs.detection, count)
    rivals = strength * place * (1 - foreign)
    other_class, category = _other_class(truth, detections, pairs.where(~same), rivals[~same], own, looks)
    fitting = detections.labels[pairs.detection] == category[pairs.truth]
    _, by_class = _largest(pairs.truth[fitting], rivals[fitting], pairs.detection[fitting], count)
    pull = sure[pairs.detection] * (1 - place) * (1 - foreign) ** 2
    pull = pull / (pull + here[pairs.truth] + _NEITHER)
    elsewhere, by_place = _largest(pairs.truth[same], pull[same], pairs.detection[same], count)
    twice, by_label = _twice(truth, pairs.where(same), strength[same], owner)
    unseen, unlabeled = _how_little(seen, truth), _unlabeled(detections, sure, pairs)
    if looks is not None:
        unseen = (unseen + looks.label[:, -1]) / 2
        unlabeled = np.sqrt(unlabeled) * (1 - looks.detection[:, -1])
    return Evidence(
        unseen=unseen,
        other_class=other_class,
        elsewhere=elsewhere,
        twice=twice,
        unlabeled=unlabeled,
        category=category,
        by_class=by_class,
        by_place=by_place,
        by_label=by_label,
    )


def _other_class(
    truth: GroundTruth,
    detections: Detections,
    pairs: Pairs,
    rivals: NDArray[np.float64],
    own: NDArray[np.float64],
    looks: Appearance | None,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Returns ``[N]`` how much better another class fits than a label's own, and which; -1 where none fits."""
    count = len(truth)
    classes = max(int(truth.labels.max(initial=-1)), int(detections.labels.max(initial=-1))) + 1
    if not count or not classes:
        return np.zeros(count), np.full(count, -1)
    seen = np.zeros((count, classes))
    np.maximum.at(seen, (pairs.truth, detections.labels[pairs.detection]), rivals)
    rival = seen.max(axis=1)
    other_class, fits = rival / (rival + own + _NEITHER), seen
    if looks is not None:
        rows = np.arange(count)
        likely = looks.label[:, :-1].astype(np.float64)
        given = likely[rows, truth.labels]
        likely[rows, truth.labels] = 0
        best = likely.max(axis=1)
        other_class = (other_class + _LOOKS * best / (best + given + _NEITHER)) / (1 + _LOOKS)
        fits = likely * _LOOKS
        fits[:, :classes] += seen
    return other_class, np.where(fits.max(axis=1) > 0, fits.argmax(axis=1), -1)


def _best(
    keys: NDArray[np.int64], values: NDArray[np.float64], who: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Returns ``[count]`` who has the largest value of each key, -1 where nobody, and that value, 0 where none."""
    best, value = np.full(count, -1), np.zeros(count)
    rows = best_of_each(keys, values)
    best[keys[rows]], value[keys[rows]] = who[rows], values[rows]
    return best, value


def _largest(
    keys: NDArray[np.int64], values: NDArray[np.float64], who: NDArray[np.int64], count: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Returns ``[count]`` the largest value of each key, and whose it is."""
    best, value = _best(keys, values, who, count)
    return value, np.where(value > 0, best, -1)


def _twice(
    truth: GroundTruth, own: Pairs, strength: NDArray[np.float64], owner: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Returns for every label how sure it is that an earlier one has its object, and the earlier one.

    A detection of its own that fits it better than the earlier one speaks for two objects.
    """
    count = len(truth)
    labels = Detections(truth.boxes, np.zeros(count), truth.labels, truth.image_ids)
    beside = image_pairs(truth, labels, minimum=SAME_PLACE)
    earlier = (beside.truth < beside.detection) & (truth.labels[beside.truth] == truth.labels[beside.detection])
    earlier &= ~truth.crowd[beside.truth] & ~truth.crowd[beside.detection]
    beside = beside.where(earlier)
    mine = (owner[own.detection] == own.truth) & (own.iou >= SAME_PLACE)
    alone, _ = _largest(own.truth[mine], strength[mine], own.detection[mine], count)
    # Of two labels one has the detection; where both have one, there are two objects.
    both = np.minimum(alone[beside.truth], alone[beside.detection])
    return _largest(beside.detection, beside.iou * (1 - both), beside.truth, count)


def _how_little(seen: NDArray[np.float64], truth: GroundTruth) -> NDArray[np.float64]:
    """Returns how little is seen of each label, from 0 to 1; of equals first those whose class is seen best."""
    if not len(truth):
        return np.zeros(0)
    _, place = np.unique(truth.labels, return_inverse=True)
    counts, sums = np.bincount(place), np.bincount(place, weights=seen)
    average = (sums + _LEAN * seen.mean()) / (counts + _LEAN)
    less: NDArray[np.float64] = (1 - seen + _AVERAGE * average[place]) / (1 + _AVERAGE)
    return less


def _something(detections: Detections, trust: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns ``[D]`` probabilities that there is an object in the place of each detection, of whatever class."""
    count = len(detections)
    everywhere = GroundTruth(detections.boxes, np.zeros(count, int), detections.image_ids)
    pairs = image_pairs(everywhere, detections, minimum=SAME_PLACE)
    classes = int(detections.labels.max(initial=0)) + 1
    best = best_of_each(pairs.truth * classes + detections.labels[pairs.detection], trust[pairs.detection])
    none = np.zeros(count)
    np.add.at(none, pairs.truth[best], np.log1p(-np.minimum(trust[pairs.detection[best]], 0.999)))
    something: NDArray[np.float64] = 1 - np.exp(none)
    return something


def _unlabeled(detections: Detections, trust: NDArray[np.float64], pairs: Pairs) -> NDArray[np.float64]:
    """Returns for every detection how sure it is that no label is about its object; of several in a place, one."""
    count = len(detections)
    covered, _ = _largest(pairs.detection, pairs.iou, pairs.truth, count)
    sure = trust * (1 - np.minimum(1, covered / SAME_PLACE))
    rows = np.flatnonzero(sure > 0)
    beside = image_pairs(
        GroundTruth(detections.boxes[rows], np.zeros(len(rows), int), detections.image_ids[rows]),
        Detections(detections.boxes[rows], np.zeros(len(rows)), np.zeros(len(rows), int), detections.image_ids[rows]),
        minimum=SAME_PLACE,
    )
    rank = np.empty(count, dtype=np.int64)
    rank[np.lexsort((-trust, -sure))] = np.arange(count)
    weaker, stronger = rows[beside.detection], rows[beside.truth]
    beaten = np.zeros(count, dtype=bool)
    beaten[weaker[rank[stronger] < rank[weaker]]] = True
    return np.where(beaten, 0.0, sure)
