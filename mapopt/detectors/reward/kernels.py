"""The rewards of many rankings and the gradient of their log-probabilities, compiled; `rewards` writes them down.

Precision changes at hits alone, so a ranking is walked once per IoU threshold, and leaving out an image costs its hits.
Nothing imports this module at the top; see `mapopt.compiling`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mapopt.compiling import compiled

_Doubles = NDArray[np.float64]
_Integers = NDArray[np.int64]

AP, F1, LRP = 0, 1, 2
"""Kinds of rewards."""


@compiled
def object_of(
    box: int, image: int, overlaps: _Doubles, crowd: NDArray[np.bool_], taken: NDArray[np.bool_], threshold: float
) -> int:
    """Returns the object that a box matches, -1 for none, -2 for a crowd.

    Args:
        box: position of the box.
        image: of the box.
        overlaps: ``[n, g]``
        crowd: ``[images, g]``
        taken: ``[images, g]``, objects that boxes before it have matched.
        threshold: smallest IoU.
    """
    best, overlap, is_crowd = -1, threshold, False
    for place in range(overlaps.shape[1]):
        if overlaps[box, place] < threshold:
            continue
        if crowd[image, place]:
            is_crowd = True
        elif not taken[image, place] and overlaps[box, place] >= overlap:
            best, overlap = place, overlaps[box, place]
    return best if best >= 0 or not is_crowd else -2


@compiled
def value_without(
    left_out: int,
    hits: int,
    number: int,
    kind: int,
    recalls: _Doubles,
    ranks: _Integers,
    own: _Integers,
    sources: _Integers,
    fits: _Doubles,
    precision: _Doubles,
) -> float:
    """Returns the reward at one IoU threshold without an image.

    Args:
        left_out: the image; -1 leaves none out.
        hits: boxes that matched an object.
        number: objects that are to be found.
        kind: of reward.
        recalls: at which precision is read.
        ranks: ``[n]`` of hits: boxes up to it, it included.
        own: ``[n, images]`` of hits: how many of these are of each image.
        sources: ``[n]`` of hits: their image.
        fits: ``[n]`` of hits: their IoU.
        precision: ``[n]`` room.
    """
    if number == 0:
        return 0.0
    count, best, error = 0, 0.0, 0.0
    for hit in range(hits):
        if sources[hit] == left_out:
            continue
        rank = ranks[hit] - (own[hit, left_out] if left_out >= 0 else 0)
        count += 1
        if kind == AP:
            precision[count - 1] = count / (rank + 2.220446049250313e-16)
        elif kind == F1:
            best = max(best, 2 * count / (rank + number))
        else:
            error += (1 - fits[hit]) / 0.5
            best = max(best, 1 - (error + (rank - count) + (number - count)) / (rank + number - count))
    if kind != AP:
        return best
    for hit in range(count - 2, -1, -1):
        precision[hit] = max(precision[hit], precision[hit + 1])
    total, place = 0.0, 0
    for recall in recalls:
        while place < count and (place + 1) / number < recall:
            place += 1
        if place == count:
            break
        total += precision[place]
    return total / len(recalls)


@compiled
def reward_rankings(
    orders: _Integers,
    images: _Integers,
    overlaps: _Doubles,
    crowd: NDArray[np.bool_],
    objects: _Integers,
    thresholds: _Doubles,
    kind: int,
    recalls: _Doubles,
    rewards: _Doubles,
) -> None:
    """Computes the rewards of rankings; see `mapopt.detectors.reward.rewards.rewards_of`.

    Args:
        orders: ``[samples, n]`` positions of boxes, best first.
        images: ``[n]``
        overlaps: ``[n, g]``
        crowd: ``[images, g]``
        objects: ``[images]``
        thresholds: IoUs at which boxes are matched.
        kind: of reward.
        recalls: at which precision is read.
        rewards: ``[samples, 1 + images]``, written.
    """
    count, number = len(objects), objects.sum()
    boxes = orders.shape[1]
    taken = np.empty(crowd.shape, np.bool_)
    ranks, sources = np.empty(boxes, np.int64), np.empty(boxes, np.int64)
    own, so_far = np.empty((boxes, count), np.int64), np.empty(count, np.int64)
    fits, precision = np.empty(boxes), np.empty(boxes)
    rewards[:] = 0.0
    for sample in range(orders.shape[0]):
        for threshold in thresholds:
            taken[:], so_far[:] = False, 0
            hits, counted = 0, 0
            for rank in range(boxes):
                box = orders[sample, rank]
                image = images[box]
                met = object_of(box, image, overlaps, crowd, taken, min(threshold, 1 - 1e-10))
                if met == -2:
                    continue
                counted += 1
                so_far[image] += 1
                if met >= 0:
                    taken[image, met] = True
                    ranks[hits], sources[hits], fits[hits] = counted, image, overlaps[box, met]
                    own[hits] = so_far
                    hits += 1
            for left_out in range(-1, count):
                left = number - (objects[left_out] if left_out >= 0 else 0)
                rewards[sample, 1 + left_out] += value_without(
                    left_out, hits, left, kind, recalls, ranks, own, sources, fits, precision
                )
        rewards[sample] /= len(thresholds)


@compiled
def log_of_sum(first: float, second: float) -> float:
    """Returns the logarithm of the sum of two numbers whose logarithms are given; of 0 it is minus infinity."""
    high, low = max(first, second), min(first, second)
    return high if low == -np.inf else high + np.log1p(np.exp(low - high))


@compiled
def add_gradients(
    scores: _Doubles,
    orders: _Integers,
    draws: _Integers,
    images: _Integers,
    advantages: _Doubles,
    gradient: _Doubles,
) -> None:
    """Adds up the gradients of rankings' log-probabilities, each entry times the advantage of its image.

    Args:
        scores: ``[n]`` logits.
        orders: ``[samples, n]`` positions of boxes, best first.
        draws: ``[samples]`` how many draws of each ranking count.
        images: ``[n]``
        advantages: ``[samples, images]``
        gradient: ``[n]``, added to.
    """
    boxes = orders.shape[1]
    left = np.empty(boxes)  # the logarithms of what each draw is normalized by
    for sample in range(orders.shape[0]):
        total = -np.inf
        for rank in range(boxes - 1, -1, -1):
            total = log_of_sum(total, scores[orders[sample, rank]])
            left[rank] = total
        inverse = -np.inf
        for rank in range(boxes):
            box = orders[sample, rank]
            if rank < draws[sample]:
                inverse = log_of_sum(inverse, -left[rank])
            drawn = 1.0 if rank < draws[sample] else 0.0
            gradient[box] += advantages[sample, images[box]] * (drawn - np.exp(scores[box] + inverse))
