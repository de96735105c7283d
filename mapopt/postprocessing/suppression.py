"""From raw outputs to reported boxes: score threshold, class-wise suppression, limit per image, all images at once.

Suppression is a compiled loop over the groups of an image and a class. On a GPU hard suppression is
`torchvision.ops.nms` on boxes moved apart, so that one call serves many groups without comparing them: in blocks,
because the cost of a call grows with the square of its boxes. Candidates and what is done to them are two functions, so
that who tries many settings on the same candidates takes them once.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import nms

from mapopt.compiling import load_kernels
from mapopt.postprocessing import plain_kernels
from mapopt.postprocessing.boxes import Boxes

CANDIDATES = 300
"""Pairs of a location and a class, per image, that suppression looks at: the strongest."""

FLOOR = 1e-3
"""A box whose score has decayed to less than this part of what it was is dropped."""

_LOOPS = ("cpu",)
"""Devices on which the loop over groups suppresses; elsewhere torchvision does, and Soft-NMS goes through the host."""

_BLOCK = 30000


@torch.no_grad()
def postprocess(
    boxes: Tensor,
    scores: Tensor,
    score_threshold: Tensor,
    nms_iou: Tensor,
    *,
    soft_nms_sigma: Tensor,
    detections: Tensor,
    size: tuple[int, int],
) -> Boxes:
    """Selects the boxes to report.

    Args:
        boxes: ``[lanes, batch, locations, 4]`` xyxy pixels.
        scores: ``[lanes, batch, locations, classes]`` in [0, 1].
        score_threshold: ``[lanes]``, or ``[lanes, classes]``; smaller scores are dropped.
        nms_iou: ``[lanes]``; of two boxes of a class that overlap more, the weaker is dropped.
        soft_nms_sigma: ``[lanes]``; above 0, scores of overlapping boxes decay instead; see `suppress`.
        detections: ``[lanes]`` boxes reported per image at most, rounded.
        size: (height, width) to clip to.
    """
    candidates = take_candidates(boxes, scores, score_threshold, size=size)
    return suppress(
        candidates, score_threshold, nms_iou, soft_nms_sigma=soft_nms_sigma, detections=detections, side=max(size)
    )


@torch.no_grad()
def take_candidates(boxes: Tensor, scores: Tensor, score_threshold: Tensor, *, size: tuple[int, int]) -> Boxes:
    """Returns the `CANDIDATES` strongest pairs of every image that reach the threshold, as `suppress` takes them.

    Args:
        boxes: As in `postprocess`, like everything that follows.
        scores: See `postprocess`.
        score_threshold: See `postprocess`.
        size: See `postprocess`.
    """
    image, location, label = strongest_pairs(scores, score_threshold)
    lanes, batch, locations, classes = scores.shape
    frame = torch.tensor([size[1], size[0], size[1], size[0]], device=boxes.device, dtype=boxes.dtype)
    chosen = boxes.reshape(lanes * batch, locations, 4)[image, location].clamp(min=0).minimum(frame).float()
    strength = scores.reshape(lanes * batch, locations, classes)[image, location, label].float()
    return Boxes(chosen, strength, label, image.div(batch, rounding_mode="floor"), image % batch)


@torch.no_grad()
def strongest_pairs(scores: Tensor, score_threshold: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns which pairs `take_candidates` takes: their image ``[m]`` of ``lanes * batch``, location and class.

    Args:
        scores: As in `postprocess`.
        score_threshold: See `postprocess`.
    """
    lanes, batch, locations, classes = scores.shape
    pairs = locations * classes
    flat = scores.reshape(lanes * batch, pairs).float()
    top, index = flat.topk(min(CANDIDATES, pairs), dim=1)
    threshold = score_threshold.to(top).repeat_interleave(batch, dim=0)
    reported = (top >= (threshold[:, None] if threshold.ndim == 1 else threshold.gather(1, index % classes))) & (
        torch.isfinite(top)
    )
    image, rank = reported.nonzero(as_tuple=True)
    location = index[image, rank].div(classes, rounding_mode="floor")
    label = index[image, rank] % classes
    order = (image * classes + label).argsort(stable=True)
    return image[order], location[order], label[order]


@torch.no_grad()
def suppress(
    candidates: Boxes,
    score_threshold: Tensor,
    nms_iou: Tensor,
    *,
    soft_nms_sigma: Tensor,
    detections: Tensor,
    side: int,
) -> Boxes:
    """Selects the boxes to report among candidates.

    Where sigma is above 0, a box is not dropped for a stronger one of its class, but its score decays by
    ``exp(-iou ** 2 / sigma)``, strongest boxes first; what decays under the threshold, or to less than a thousandth
    of its score, is dropped. ``nms_iou`` is ignored there. On CUDA, such lanes go through the host.

    Args:
        candidates: by lane, image and class, then falling score; the threshold has been applied to them.
        score_threshold: As in `postprocess`.
        nms_iou: See `postprocess`.
        soft_nms_sigma: See `postprocess`.
        detections: See `postprocess`.
        side: pixels that no coordinate exceeds.

    Reference: N. Bodla et al., "Soft-NMS - Improving Object Detection With One Line of Code", ICCV 2017. We differ in
        the floor, which is a score of 0.001 there: ranking losses set no scale of scores.
    """
    rows, scores = choose(
        candidates, score_threshold, nms_iou, soft_nms_sigma=soft_nms_sigma, detections=detections, side=side
    )
    return candidates.at(rows).with_scores(scores)


@torch.no_grad()
def choose(
    candidates: Boxes,
    score_threshold: Tensor,
    nms_iou: Tensor,
    *,
    soft_nms_sigma: Tensor,
    detections: Tensor,
    side: int,
) -> tuple[Tensor, Tensor]:
    """Returns the positions among candidates of the boxes to report, and their scores; see `suppress`.

    Args:
        candidates: As for `suppress`, like all that follows.
        score_threshold: See there.
        nms_iou: See there.
        soft_nms_sigma: See there.
        detections: See there.
        side: See there.
    """
    score, label, lane, image = candidates.scores, candidates.labels, candidates.lanes, candidates.images
    group, place = _numbered(lane, image, label), _numbered(lane, image)
    soft = soft_nms_sigma > 0
    # Hard suppression takes candidates as they are.
    lowest = torch.where(soft if score_threshold.ndim == 1 else soft[:, None], score_threshold.to(score), -torch.inf)
    settings = (nms_iou, soft_nms_sigma, lowest)
    if candidates.boxes.device.type in _LOOPS:
        score, kept = _suppress_in_groups(candidates, group, *settings)
    else:
        score = score.clone()
        chosen = []
        softly = soft[lane]
        hard = (~softly).nonzero().squeeze(1)
        chosen.append(hard[_suppress_in_blocks(candidates.at(hard), group[hard], nms_iou[lane[hard]], side)])
        if softly.any():
            softened = softly.nonzero().squeeze(1)
            score[softened], stays = _suppress_in_groups(candidates.at(softened), group[softened], *settings)
            chosen.append(softened[stays])
        kept = torch.cat(chosen).sort().values
    kept = kept[score[kept].argsort(descending=True, stable=True)]
    kept = kept[place[kept].argsort(stable=True)]
    kept = kept[_rank_in_group(place[kept]) < detections.to(score).round()[lane[kept]]]
    return kept, score[kept]


def _suppress_in_groups(
    candidates: Boxes, groups: Tensor, nms_iou: Tensor, sigma: Tensor, lowest: Tensor
) -> tuple[Tensor, Tensor]:
    """Runs suppression inside groups, which stand in ascending order, on the host.

    Args:
        candidates: by group, then falling score.
        groups: ``[n]``
        nms_iou: ``[lanes]``
        sigma: ``[lanes]``
        lowest: ``[lanes]`` or ``[lanes, classes]`` smallest score reported.

    Returns:
        the scores ``[n]``, and the positions that stay, ascending.
    """
    boxes, scores = (np.ascontiguousarray(values.numpy(force=True)) for values in (candidates.boxes, candidates.scores))
    scores = scores if scores.dtype == np.float64 else scores.astype(np.float32, copy=False)
    starts, bounds = _bounds(groups.numpy(force=True))
    lane = candidates.lanes.numpy(force=True)[starts]
    limits = lowest.numpy(force=True)
    limits = limits[lane] if limits.ndim == 1 else limits[lane, candidates.labels.numpy(force=True)[starts]]
    final, kept = scores.copy(), np.zeros(len(scores), np.bool_)
    nothing = np.empty(0, np.int64)
    kernels = load_kernels("mapopt.postprocessing.suppression_kernels")
    (kernels or plain_kernels).suppress_groups(
        boxes.astype(np.float64),
        scores,
        bounds,
        np.arange(len(starts)),
        nms_iou.numpy(force=True).astype(np.float64)[lane],
        sigma.numpy(force=True).astype(np.float64)[lane],
        limits.astype(scores.dtype),
        FLOOR,
        nothing,
        nothing,
        np.empty(0),
        final,
        kept,
        np.empty(len(scores), np.int64),
        np.empty(len(starts), np.int64),
    )
    device = candidates.boxes.device
    return torch.from_numpy(final).to(candidates.scores), torch.from_numpy(np.flatnonzero(kept)).to(device)


def _bounds(groups: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns where runs of equal numbers begin ``[g]``, and the same with the end ``[g + 1]``."""
    starts = np.flatnonzero(np.append(True, groups[1:] != groups[:-1]))[: len(groups)]
    return starts, np.append(starts, len(groups))


def _suppress_in_blocks(candidates: Boxes, groups: Tensor, thresholds: Tensor, side: int) -> Tensor:
    """Runs hard suppression inside groups where the boxes are; returns the positions that stay, ascending."""
    # Moved apart along a diagonal, boxes of different groups cannot meet; float64 keeps the overlaps within them.
    apart = candidates.boxes.double() + (groups.double() * (side + 1.0))[:, None]
    kept = [torch.zeros(0, dtype=torch.int64, device=apart.device)]
    for value in thresholds.unique().tolist():
        members = (thresholds == value).nonzero().squeeze(1)
        for block in members.split(_block_sizes(groups[members])):
            kept.append(block[nms(apart[block], candidates.scores[block].double(), value)])
    return torch.cat(kept).sort().values


def _block_sizes(groups: Tensor) -> list[int]:
    """Cuts ascending groups into runs of whole groups, each of about a block's boxes."""
    sizes = [0]
    for count in torch.unique_consecutive(groups, return_counts=True)[1].tolist():
        if sizes[-1] and sizes[-1] + count > _BLOCK:
            sizes.append(0)
        sizes[-1] += count
    return sizes


def _numbered(*keys: Tensor) -> Tensor:
    """Numbers the runs of equal keys, from 0."""
    changes = torch.zeros_like(keys[0])
    for key in keys:
        changes[1:] |= (key[1:] != key[:-1]).to(changes.dtype)
    return changes.cumsum(0)


def _rank_in_group(groups: Tensor) -> Tensor:
    """Returns how many earlier entries share an entry's group; equal groups stand together."""
    position = torch.arange(len(groups), device=groups.device)
    first = torch.ones_like(groups, dtype=torch.bool)
    first[1:] = groups[1:] != groups[:-1]
    start = torch.where(first, position, 0).cummax(0).values if len(groups) else position
    return position - start
