"""Detections put in the two orders that the metric needs: by image to be matched, by score to be counted.

Every detector ("lane") that is evaluated in the same call adds its own images and its own categories, so that many
lanes are one larger problem and cost no loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mapopt.errors import DataError
from mapopt.metrics.boxes import Detections, GroundTruth
from mapopt.metrics.groups import GroundTruthIndex
from mapopt.metrics.orders import order_by_class_and_score, stable_order
from mapopt.metrics.pairs import check_pair


@dataclass(frozen=True, eq=False, kw_only=True)
class Layout:
    """One or more lanes, ready to be matched.

    "Class" numbers run over the categories of all lanes, one lane after the other. Detections are in class order:
    by class, then falling score, then image, then as given. ``turn`` lists them in group order instead: by image and
    category, then falling score. Detections of unknown categories and beyond the limit per group are left out.

    Attributes:
        class_starts: ``[lanes + 1]`` the first class of every lane.
        truth_corners: ``[4, g]`` ground truths of all lanes, in group order.
        truth_box_area: ``[g]`` width times height.
        truth_area: ``[g]`` the area that decides small, medium and large.
        truth_crowd: ``[g]`` True for a crowd.
        truth_class: ``[g]`` classes.
        boxes: ``[n, 4]`` detections of all lanes as they were given; the only column that is not sorted, for few of
            them ever meet a ground truth.
        box_area: ``[d]`` width times height.
        scores: ``[d]`` scores.
        classes: ``[d]`` classes, ascending.
        rank: ``[d]`` place by score within the group, from 0.
        source: ``[d]`` row of ``boxes``.
        turn: ``[d]`` positions in group order.
        turn_start: ``[d]`` for every detection of ``turn``, the first ground truth of its group.
        turn_count: ``[d]`` and how many ground truths the group has.
    """

    class_starts: NDArray[np.int64]
    truth_corners: NDArray[np.float64]
    truth_box_area: NDArray[np.float64]
    truth_area: NDArray[np.float64]
    truth_crowd: NDArray[np.bool_]
    truth_class: NDArray[np.int64]
    boxes: NDArray[np.float64]
    box_area: NDArray[np.float64]
    scores: NDArray[np.float64]
    classes: NDArray[np.int64]
    rank: NDArray[np.int64]
    source: NDArray[np.int64]
    turn: NDArray[np.int64]
    turn_start: NDArray[np.int64]
    turn_count: NDArray[np.int64]

    @property
    def classes_total(self) -> int:
        """Number of classes of all lanes together."""
        return int(self.class_starts[-1])


def lay_out(truths: Sequence[GroundTruth], lanes: Sequence[Detections], *, limit: int) -> Layout:
    """Sorts detections of all lanes and finds the ground truths of their groups.

    Args:
        truths: One ground truth for every lane; the same object may stand for several.
        lanes: The lanes' detections.
        limit: Detections per image and category that are kept, best scores first.

    Raises:
        DataError: If a detection lies in an image that the ground truth does not list.
    """
    for truth, detections in zip(truths, lanes, strict=True):
        check_pair(truth, detections)
    indices = [truth.index for truth in truths]
    class_starts = _starts([len(index.categories) for index in indices])
    image_starts = _starts([len(index.images) for index in indices])
    group_starts = _starts([len(index.categories) * len(index.images) for index in indices])
    image_parts, class_parts, group_parts = [], [], []
    for lane, (index, detections) in enumerate(zip(indices, lanes, strict=True)):
        image, category = _places(index, detections)
        image_parts.append(image + image_starts[lane])
        group_parts.append(image * len(index.categories) + (category + group_starts[lane]))
        class_parts.append(category + class_starts[lane])
        if category.min(initial=0) < 0:
            class_parts[-1][category < 0] = -1
    image, class_of, group = _joined(image_parts), _joined(class_parts), _joined(group_parts)
    scores = _joined([detections.scores for detections in lanes])
    boxes = _joined([detections.boxes for detections in lanes])
    source = np.flatnonzero(class_of >= 0)

    # Equal scores go by image, then as given; most callers give images in order.
    if (image[1:] < image[:-1]).any():
        source = source[stable_order(image[source], int(image_starts[-1]))]
    source = source[order_by_class_and_score(class_of[source], scores[source], int(class_starts[-1]))]
    turn = stable_order(group[source], int(group_starts[-1]))
    group = group[source[turn]]
    first = np.flatnonzero(np.append(True, group[1:] != group[:-1]))[: len(group)]
    sizes = np.diff(np.append(first, len(group)))
    truth_start, truth_count = _spans(indices, group[first], group_starts)
    rank = np.arange(len(group)) - np.repeat(first, sizes)
    start, count = np.repeat(truth_start, sizes), np.repeat(truth_count, sizes)
    if sizes.max(initial=0) > limit:
        kept = rank < limit
        turn, rank, start, count = turn[kept], rank[kept], start[kept], count[kept]
        place = np.zeros(len(source), np.int64)
        place[turn] = 1
        source, turn = source[place > 0], (np.cumsum(place) - 1)[turn]
    rank_by_class = np.empty_like(rank)
    rank_by_class[turn] = rank
    return Layout(
        class_starts=class_starts,
        truth_corners=np.concatenate([index.corners for index in indices], axis=1),
        truth_box_area=_joined([index.box_area for index in indices]),
        truth_area=_joined([index.area for index in indices]),
        truth_crowd=_joined([index.crowd for index in indices]),
        truth_class=_joined([index.category + first for index, first in zip(indices, class_starts, strict=False)]),
        boxes=boxes,
        box_area=((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))[source],
        scores=scores[source],
        classes=class_of[source],
        rank=rank_by_class,
        source=source,
        turn=turn,
        turn_start=start,
        turn_count=count,
    )


def _places(index: GroundTruthIndex, detections: Detections) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns image and category indices of one lane, -1 for a category that is not evaluated."""
    image = index.images(detections.image_ids)
    if len(image) and image.min() < 0:
        row = int(np.argmin(image))
        raise DataError(
            f"detection {row} lies in image {detections.image_ids[row]}, which the ground truth does not list: "
            "give GroundTruth all images that were searched as `images`"
        )
    return image, index.categories(detections.labels)


def _spans(
    indices: Sequence[GroundTruthIndex], group: NDArray[np.int64], group_starts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns for ascending groups of all lanes where their ground truths start and how many there are."""
    truth_starts = _starts([len(index.crowd) for index in indices])
    cuts = np.searchsorted(group, group_starts)
    spans = [index.span(group[cuts[lane] : cuts[lane + 1]] - group_starts[lane]) for lane, index in enumerate(indices)]
    starts = [start + truth_starts[lane] for lane, (start, _) in enumerate(spans)]
    return _joined(starts), _joined([count for _, count in spans])


def _joined(parts: list[NDArray]) -> NDArray:
    """Joins the lanes' columns; one lane alone is not copied."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _starts(sizes: list[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
