"""Decides which detection takes which ground truth, for all images, area ranges and IoU thresholds at once.

Every combination of area range and IoU threshold is one bit ("track") of a 64-bit word: a word of a ground truth says
in which tracks it is taken, so one operation on words does the work of all tracks. Only pairs that reach the smallest
threshold are looked at. The rule is COCO's: detections choose in the order of their scores; each takes the free
ground truth with the largest IoU, the later one of two equals, and an ignored one only where no regular one is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mapopt.metrics.groups import corners_as_pycocotools
from mapopt.metrics.layout import Layout
from mapopt.metrics.orders import stable_order

# Pairs are formed in blocks of this size, which stay in the processor's cache.
_PAIRS_PER_BLOCK = 1 << 15

# Roundings are far smaller than what this leaves; the smallest width that a box can share with another is positive.
_SLACK = 1 - 1e-9
_SMALLEST = 5e-324


@dataclass(frozen=True, eq=False)
class Matches:
    """Who took whom; every detection has at most one ground truth in a track.

    Attributes:
        detection: ``[p]`` positions of detections in class order.
        truth: ``[p]`` ground truths, in group order.
        tracks: ``[p]`` uint64, the tracks in which this pair was matched; never 0.
    """

    detection: NDArray[np.int64]
    truth: NDArray[np.int64]
    tracks: NDArray[np.uint64]


def match_pairs(layout: Layout, thresholds: NDArray[np.float64], ignored: NDArray[np.uint64], ranges: int) -> Matches:
    """Matches detections to ground truths.

    Args:
        layout: The detections and ground truths.
        thresholds: ``[t]`` ascending IoU thresholds.
        ignored: ``[g]`` uint64, the tracks in which a ground truth is ignored; bit ``range * t + threshold``.
        ranges: Number of area ranges; ``ranges * t`` is at most 64.
    """
    detection, truth, level = _candidates(layout, thresholds)
    reached = tracks_up_to_level(len(thresholds), ranges)[level]
    crowd = layout.truth_crowd[truth]

    # A detection with one candidate competes for nothing else. Where all rivals for a ground truth are like that,
    # the k-th of them gets the thresholds that it reaches and none before it does: a running maximum.
    choices = np.bincount(detection, minlength=len(layout.turn))
    contested = np.zeros(len(layout.truth_crowd), bool)
    contested[truth[choices[detection] > 1]] = True
    lone = ~contested[truth]
    won = np.zeros_like(reached)
    won[lone] = _settle_lone(truth[lone], level[lone], reached[lone], crowd[lone])
    rest = np.flatnonzero(~lone)
    if len(rest):
        won[rest] = _settle_contested(
            layout, detection[rest], truth[rest], reached[rest], ignored[truth[rest]], crowd[rest]
        )
    taken = won != 0
    return Matches(layout.turn[detection[taken]], truth[taken], won[taken])


def overlapping_pairs(
    layout: Layout, threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Returns the pairs of a group whose IoU reaches a threshold above 0, taken or not.

    Gives positions of detections in class order, ground truths in group order, and IoUs (of a crowd, the part of the
    detection that lies inside it).
    """
    blocks = [_overlapping(layout, *block, threshold) for block in _pair_blocks(layout)]
    if not blocks:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    place, truth, iou = (np.concatenate(columns) for columns in zip(*blocks, strict=True))
    return layout.turn[place], truth, iou


@cache
def tracks_up_to_level(thresholds: int, ranges: int) -> NDArray[np.uint64]:
    """Returns ``[thresholds + 1]`` words: entry l has the first l thresholds of every range set."""
    words = [sum(((1 << level) - 1) << (r * thresholds) for r in range(ranges)) for level in range(thresholds + 1)]
    tracks = np.array(words, np.uint64)
    tracks.flags.writeable = False
    return tracks


def _candidates(
    layout: Layout, thresholds: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Returns the pairs that may match: best ones first within a detection, detections in turn.

    Gives the detection's place in turn, the ground truth, and how many thresholds their IoU reaches.
    """
    blocks = [_overlapping(layout, *block, thresholds[0]) for block in _pair_blocks(layout)]
    if not blocks:
        nothing = np.zeros(0, np.int64)
        return nothing, nothing, nothing
    detection, truth, iou = (np.concatenate(columns) for columns in zip(*blocks, strict=True))
    level = np.searchsorted(thresholds, iou, side="right")
    # Pairs come in turn with ground truths ascending; where a detection has several, the best goes first.
    several = np.zeros(len(detection), bool)
    several[1:] = detection[1:] == detection[:-1]
    several[:-1] |= several[1:]
    several_at = np.flatnonzero(several)
    if len(several_at):
        preferred = np.lexsort((-truth[several_at], -iou[several_at], detection[several_at]))
        truth[several_at] = truth[several_at[preferred]]
        level[several_at] = level[several_at[preferred]]
    return detection, truth, level


def _pair_blocks(layout: Layout) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Yields detections and the ground truths of their groups, block by block.

    A block holds the places in turn, how many ground truths each has, and these one after the other.
    """
    places = np.flatnonzero(layout.turn_count)
    counts = layout.turn_count[places]
    ends = np.cumsum(counts)
    first = 0
    while first < len(places):
        base = ends[first] - counts[first]
        last = max(int(np.searchsorted(ends, base + _PAIRS_PER_BLOCK, side="right")), first + 1)
        block = slice(first, last)
        truth = np.arange(ends[last - 1] - base)
        truth += np.repeat(layout.turn_start[places[block]] - (ends[block] - counts[block] - base), counts[block])
        yield places[block], counts[block], truth
        first = last


def _overlapping(
    layout: Layout, place: NDArray[np.int64], count: NDArray[np.int64], truth: NDArray[np.int64], threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Keeps the pairs whose IoU reaches the threshold; the arithmetic is pycocotools', operation by operation."""
    mine, areas = corners_as_pycocotools(layout.boxes[layout.source[layout.turn[place]]])
    theirs = layout.truth_corners
    # An IoU is at most the part of the detection's width that is covered: that alone excludes nearly all pairs.
    enough = np.maximum((threshold * _SLACK) * (mine[2] - mine[0]), _SMALLEST)
    width = np.minimum(np.repeat(mine[2], count), theirs[2].take(truth))
    width -= np.maximum(np.repeat(mine[0], count), theirs[0].take(truth))
    kept = np.flatnonzero(width >= np.repeat(enough, count))
    row, truth, width = np.repeat(np.arange(len(place)), count)[kept], truth[kept], width[kept]
    height = np.minimum(mine[3][row], theirs[3][truth]) - np.maximum(mine[1][row], theirs[1][truth])
    kept = np.flatnonzero(height > 0)
    row, truth = row[kept], truth[kept]
    intersection = width[kept] * height[kept]
    area = areas[row]
    # A crowd is matched by what lies inside it, however large it is.
    union = np.where(layout.truth_crowd[truth], area, area + layout.truth_box_area[truth] - intersection)
    iou = intersection / union
    kept = np.flatnonzero(iou >= threshold)
    return place[row[kept]], truth[kept], iou[kept]


def _settle_lone(
    truth: NDArray[np.int64], level: NDArray[np.int64], reached: NDArray[np.uint64], crowd: NDArray[np.bool_]
) -> NDArray[np.uint64]:
    """Returns the tracks that each pair wins where no detection has a second choice."""
    if len(truth) == 0:
        return reached
    order = stable_order(truth, int(truth.max()) + 1)
    truth, level = truth[order], level[order]
    # Adding a larger constant for every next ground truth restarts the running maximum there.
    step = int(level.max()) + 1
    best = np.maximum.accumulate(truth * step + level)
    before = np.zeros(len(truth), np.int64)
    same = truth[1:] == truth[:-1]
    before[1:][same] = best[:-1][same] - truth[1:][same] * step
    words = np.zeros(step, np.uint64)
    words[level] = reached[order]
    # Not every level occurs, but a level that comes before does.
    won = np.empty_like(reached)
    won[order] = np.where(crowd[order], reached[order], reached[order] & ~words[before])
    return won


def _settle_contested(
    layout: Layout,
    place: NDArray[np.int64],
    truth: NDArray[np.int64],
    reached: NDArray[np.uint64],
    ignored: NDArray[np.uint64],
    crowd: NDArray[np.bool_],
) -> NDArray[np.uint64]:
    """Returns the tracks that each pair wins, in rounds: one detection of every group chooses in a round.

    Pairs come in turn, best first. In a round no ground truth is named twice at the same choice, so all images move
    together.
    """
    chooser_starts = np.flatnonzero(np.append(True, place[1:] != place[:-1]))
    chooser_of = np.zeros(len(place), np.int64)
    chooser_of[chooser_starts[1:]] = 1
    chooser_of = np.cumsum(chooser_of)
    choice = np.arange(len(place)) - chooser_starts[chooser_of]
    # The first ground truth of the group names the group.
    group = layout.turn_start[place[chooser_starts]]
    group_starts = np.append(True, group[1:] != group[:-1])
    counter = np.arange(len(group))
    round_of = (counter - np.maximum.accumulate(np.where(group_starts, counter, 0)))[chooser_of]

    choices = int(choice.max()) + 1
    step = round_of * choices + choice
    order = stable_order(step, int(step.max()) + 1)
    step = step[order]
    bounds = np.append(np.flatnonzero(np.append(True, step[1:] != step[:-1])), len(step))
    first_choice = choice[order[bounds[:-1]]] == 0
    rounds = np.append(np.flatnonzero(first_choice), len(first_choice))
    truth, chooser = truth[order], chooser_of[order]
    regular, spare = reached[order] & ~ignored[order], reached[order] & ignored[order]
    blocks = np.where(crowd[order], np.uint64(0), ~np.uint64(0))  # a crowd is never used up

    used = np.zeros(len(layout.truth_crowd), np.uint64)
    served = np.zeros(len(chooser_starts), np.uint64)
    won = np.zeros(len(order), np.uint64)
    any_spare = bool(spare.any())
    for start, stop in zip(rounds[:-1].tolist(), rounds[1:].tolist(), strict=True):
        slices = [slice(bounds[i], bounds[i + 1]) for i in range(start, stop)]
        for wanted in (regular, spare) if any_spare else (regular,):
            for part in slices:
                target, who = truth[part], chooser[part]
                gained = wanted[part] & ~(used[target] | served[who])
                won[part] |= gained
                served[who] |= gained
                used[target] |= gained & blocks[part]
    result = np.empty_like(won)
    result[order] = won
    return result
