"""Recognizes categories and images that results number otherwise than the ground truth does, from the boxes.

Boxes that fit the objects of another category, or of another image, far better than their own are the mark of ids that
count from another number or in another order. AP is then near 0 and looks like a bad detector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapopt.metrics import Detections, GroundTruth, evaluate, match

_FITS = 0.5
"""IoU from which a box is one of an object."""
_FEWEST = 5
"""Boxes that fit an object: fewer say nothing."""
_CLEAR = 0.6
"""Fraction of a category's boxes, or of an image's objects, that another numbering must explain."""
_MOVED = 0.25
"""And the largest fraction of these that the ids as they are may explain."""
_IMAGES = 64
"""Images that are looked at, those with most boxes."""
_BOXES = 20
"""Boxes of an image that are looked at, those with the best scores."""
_OBJECTS = 3
"""Objects that an image must have to be recognized by them."""
_SHOWN = 3


@dataclass(frozen=True, eq=False, kw_only=True)
class Numbered:
    """Boxes of results under both numberings.

    Attributes:
        boxes: ``[n, 4]`` corners.
        scores: ``[n]``.
        image: ``[n]`` position of the id in `image_values`.
        category: ``[n]`` position of the id in `category_values`.
        image_values: Ids of images in the results.
        category_values: Ids of categories in the results.
        image_places: The position in the ground truth of each, -1 for none.
        category_places: The same of categories.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    image: NDArray[np.int64]
    category: NDArray[np.int64]
    image_values: Sequence[Any]
    category_values: Sequence[Any]
    image_places: NDArray[np.int64]
    category_places: NDArray[np.int64]


def explain_categories(results: Numbered, truth: GroundTruth, ids: Sequence[Any], names: Sequence[str]) -> str:
    """Says how the categories seem to be numbered; empty where the ids fit as they are.

    Args:
        results: The boxes.
        truth: The ground truth, by positions.
        ids: Of the ground truth's categories.
        names: Of the ground truth's categories.
    """
    image = results.image_places[results.image]
    rows = np.flatnonzero(image >= 0)
    if len(rows) < _FEWEST:
        return ""
    one_label = np.zeros(len(truth), np.int64)
    objects = GroundTruth(truth.boxes, one_label, truth.image_ids, crowd=truth.crowd, images=truth.images)
    boxes = Detections(results.boxes[rows], results.scores[rows], np.zeros(len(rows), np.int64), image[rows])
    table = match(objects, boxes, iou_thresholds=[_FITS])
    fits = table.correct[:, 0]
    counts = np.zeros((len(results.category_values), len(ids)), np.int64)
    np.add.at(counts, (results.category[rows[fits]], truth.labels[table.truth[fits, 0]]), 1)
    total, same = int(counts.sum()), _explained(counts, results.category_places)
    if total < _FEWEST:
        return ""
    better, how = _best_numbering(counts, results, list(ids))
    if better is None:
        return ""
    explained = _explained(counts, better)
    moved = np.flatnonzero((better != results.category_places) & (counts.sum(axis=1) > 0))
    pairs = [f"{results.category_values[row]} is {ids[better[row]]} ({names[better[row]]})" for row in moved[:_SHOWN]]
    more = ", ..." if len(moved) > _SHOWN else ""
    regardless = evaluate(objects, boxes, mode="reward").ap
    before, after = (_ap(truth, results, rows, image, places) for places in (results.category_places, better))
    return (
        f"the boxes fit, but the categories seem to be numbered otherwise: of {total} boxes on an object {same} have "
        f"its category, and {explained} would with {how}: {', '.join(pairs)}{more}. AP is {before:.3f}, regardless of "
        f"category {regardless:.3f}, and {after:.3f} with that numbering: correct the ids of the results"
    )


def explain_images(results: Numbered, truth: GroundTruth, ids: Sequence[Any]) -> str:
    """Says how the images seem to be numbered; empty where the ids fit as they are, or nothing explains them.

    Args:
        results: The boxes.
        truth: The ground truth, by positions.
        ids: Of the ground truth's images.
    """
    sampled, fits = _image_fits(results, truth, len(ids))
    objects = np.bincount(truth.image_ids[~truth.crowd], minlength=len(ids))
    if not len(sampled):
        return ""
    own = results.image_places[sampled]
    as_is = np.where(own >= 0, fits[np.arange(len(sampled)), own], 0.0)
    weight = np.where(own >= 0, objects[own], 1)
    if weight.sum() < _FEWEST:
        return ""
    identity = float((as_is * weight).sum() / weight.sum())
    for shift in _shifts([results.image_values[row] for row in sampled], ids):
        place = {value: position for position, value in enumerate(ids)}
        moved = np.array([place.get(results.image_values[row] + shift, -1) for row in sampled])
        fit = np.where(moved >= 0, fits[np.arange(len(sampled)), moved], 0.0)
        count = np.where(moved >= 0, objects[moved], 0)
        explained = float((fit * count).sum() / max(count.sum(), 1))
        if count.sum() >= _FEWEST and explained >= 0.4 and identity <= _MOVED * explained:
            return (
                f"the images seem to be numbered otherwise: the boxes fit {identity:.0%} of the objects of their own "
                f"images, and {explained:.0%} with every image id {_by(shift)}. Correct the ids of the results"
            )
    best = fits.argmax(axis=1)
    top = np.sort(fits, axis=1)[:, -2:]
    alone = top[:, -1] if fits.shape[1] == 1 else np.where(top[:, 0] <= _CLEAR * top[:, 1], top[:, 1], 0.0)
    clear = (best != own) & (alone >= _CLEAR) & (as_is <= _MOVED * alone) & (objects[best] >= _OBJECTS)
    # Images that trade places recognize each other; a single stray one may be chance.
    targets = {int(own[row]) for row in np.flatnonzero(clear)}
    clear &= np.array([int(place) in targets for place in best]) | (clear.mean() >= 0.5)
    if clear.sum() < 2:
        return ""
    pairs = [
        f"{results.image_values[sampled[row]]} fit those of {ids[best[row]]}" for row in np.flatnonzero(clear)[:_SHOWN]
    ]
    return (
        f"the images seem to be numbered otherwise: in {clear.sum()} of {len(sampled)} images the boxes fit the "
        f"objects of another one (the boxes of image {', of image '.join(pairs)}). Correct the ids of the results"
    )


def _ap(
    truth: GroundTruth,
    results: Numbered,
    rows: NDArray[np.int64],
    image: NDArray[np.int64],
    places: NDArray[np.int64],
) -> float:
    labels = places[results.category[rows]]
    known = labels >= 0
    kept = rows[known]
    boxes = Detections(results.boxes[kept], results.scores[kept], labels[known], image[kept])
    return evaluate(truth, boxes, mode="reward").ap


def _explained(counts: NDArray[np.int64], places: NDArray[np.int64]) -> int:
    known = places >= 0
    return int(counts[known, places[known]].sum())


def _best_numbering(
    counts: NDArray[np.int64], results: Numbered, ids: list[Any]
) -> tuple[NDArray[np.int64] | None, str]:
    """Returns the position of each category by the numbering that explains the boxes, and how it is called."""
    places, total = results.category_places, counts.sum()
    same = _explained(counts, places)
    place = {value: position for position, value in enumerate(ids)}
    candidates: list[tuple[int, NDArray[np.int64], str]] = []
    for shift in _shifts(results.category_values, ids):
        shifted = np.array([place.get(value + shift, -1) for value in results.category_values])
        explained = _explained(counts, shifted)
        if explained >= 0.4 * total and same <= _MOVED * explained:
            candidates.append((explained, shifted, f"every category id {_by(shift)}"))
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(counts, maximize=True)
    assigned = places.copy()
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        taken, all_of = counts[row, column], counts[row].sum()
        before = counts[row, places[row]] if places[row] >= 0 else 0
        if taken >= max(4, _CLEAR * all_of) and before <= _MOVED * taken:
            assigned[row] = column
    changed = int((assigned != places).sum())
    # One category taken for another is a mistake; categories that trade places are a numbering.
    used = assigned[assigned >= 0]
    if len(np.unique(used)) == len(used) and (
        changed >= 2 or (changed and ((assigned != places) & (places < 0)).any())
    ):
        how = "two of them swapped" if changed == 2 else "another order"
        candidates.append((_explained(counts, assigned), assigned, how))
    if not candidates:
        return None, ""
    # The simplest of equal ones comes first.
    best = max(explained for explained, _, _ in candidates)
    return next((numbering, how) for explained, numbering, how in candidates if explained == best)


def _shifts(values: Sequence[Any], ids: Sequence[Any]) -> list[int]:
    """Returns the differences that ids counted from another number may have, smallest first."""
    if not all(type(value) is int for value in (*values, *ids)) or not values:
        return []
    shifts = {-1, 1, min(ids) - min(values), max(ids) - max(values)} - {0}
    return sorted(shifts, key=lambda shift: (abs(shift), shift))


def _by(shift: int) -> str:
    return f"{'less' if shift < 0 else 'more'} by {abs(shift)}"


def _image_fits(results: Numbered, truth: GroundTruth, images: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Returns the images looked at, and ``[s, I]`` which fraction of every image's objects their boxes fit."""
    real = ~truth.crowd
    corners, where, labels = truth.boxes[real], truth.image_ids[real], truth.labels[real]
    objects = np.maximum(np.bincount(where, minlength=images), 1)
    counts = np.bincount(results.image, minlength=len(results.image_values))
    sampled = np.argsort(-counts, kind="stable")[:_IMAGES]
    sampled = np.sort(sampled[counts[sampled] > 0])
    fits = np.zeros((len(sampled), images))
    area = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    for row, value in enumerate(sampled.tolist()):
        own = np.flatnonzero(results.image == value)
        own = own[np.argsort(-results.scores[own], kind="stable")[:_BOXES]]
        hit = np.zeros(len(corners), bool)
        for box, category in zip(results.boxes[own], results.category_places[results.category[own]], strict=True):
            overlap = np.minimum(corners[:, 2:], box[2:]) - np.maximum(corners[:, :2], box[:2])
            common = np.clip(overlap, 0, None).prod(axis=1)
            union = area + (box[2:] - box[:2]).prod() - common
            hit |= (common >= _FITS * union) & (union > 0) & ((labels == category) | (category < 0))
        fits[row] = np.bincount(where[hit], minlength=images) / objects
    return sampled, fits
