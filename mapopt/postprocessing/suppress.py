"""From raw outputs to reported boxes: score threshold, class-wise suppression, limit per image, all images at once.

Hard suppression is a compiled loop over the groups of an image and a class; on a GPU it is `torchvision.ops.nms` on
boxes moved apart, so that one call serves many groups without comparing them: in blocks, because the cost of a call
grows with the square of its boxes. Candidates and what is done to them are two functions, so that who tries many
settings on the same candidates takes them once.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import nms

from mapopt.compiling import load_kernels
from mapopt.postprocessing.boxes import Boxes
from mapopt.postprocessing.soft_nms import soften

CANDIDATES = 300
"""Pairs of a location and a class, per image, that suppression looks at: the strongest."""

_BLOCK = 300  # half the time of blocks of 1000, measured on one core; below 150 calls cost more than they save
_BLOCK_CUDA = 30000


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
    frame = torch.tensor([size[1], size[0], size[1], size[0]], device=boxes.device, dtype=boxes.dtype)
    order = (image * classes + label).argsort(stable=True)
    image, location, label = image[order], location[order], label[order]
    chosen = boxes.reshape(lanes * batch, locations, 4)[image, location].clamp(min=0).minimum(frame).float()
    return Boxes(chosen, top[reported][order], label, image.div(batch, rounding_mode="floor"), image % batch)


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
    of its score, is dropped. ``nms_iou`` has no say there. On CUDA, such lanes go through the host.

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
    boxes, score, label = candidates.boxes, candidates.scores, candidates.labels
    lane, image = candidates.lanes, candidates.images
    group, place = _numbered(lane, image, label), _numbered(lane, image)
    softened = (soft_nms_sigma > 0)[lane] if (soft_nms_sigma > 0).any() else None
    if softened is None:
        kept = _suppress(boxes, score, group, nms_iou[lane], side)
    else:
        hard, soft = (~softened).nonzero().squeeze(1), softened.nonzero().squeeze(1)
        score = score.clone()
        score[soft] = soften(boxes[soft], score[soft], group[soft], soft_nms_sigma[lane[soft]])
        limits = score_threshold.to(score)
        limits = limits[lane[soft]] if limits.ndim == 1 else limits[lane[soft], label[soft]]
        soft = soft[(score[soft] >= limits) & (score[soft] >= 0)]
        hard = hard[_suppress(boxes[hard], score[hard], group[hard], nms_iou[lane[hard]], side)]
        kept = torch.cat([hard, soft]).sort().values
    kept = kept[score[kept].argsort(descending=True, stable=True)]
    kept = kept[place[kept].argsort(stable=True)]
    kept = kept[_rank_in_group(place[kept]) < detections.to(score).round()[lane[kept]]]
    return Boxes(boxes[kept], score[kept], label[kept], lane[kept], image[kept])


def _suppress(boxes: Tensor, scores: Tensor, groups: Tensor, thresholds: Tensor, side: int) -> Tensor:
    """Runs suppression inside groups, which stand in ascending order; returns the positions that stay, ascending."""
    kernels = load_kernels("mapopt.postprocessing.nms_kernels") if boxes.device.type == "cpu" else None
    if kernels is None:
        return _suppress_in_blocks(boxes, scores, groups, thresholds, side)
    names = groups.numpy()
    starts = np.flatnonzero(np.append(True, names[1:] != names[:-1]))[: len(names)]
    bounds = np.append(starts, len(names)).astype(np.int64)
    kept = kernels.keep_strongest(boxes.double().numpy(), bounds, thresholds.double().numpy()[starts])
    return torch.from_numpy(np.flatnonzero(kept))


def _suppress_in_blocks(boxes: Tensor, scores: Tensor, groups: Tensor, thresholds: Tensor, side: int) -> Tensor:
    # Moved apart along a diagonal, boxes of different groups cannot meet; float64 keeps the overlaps within them.
    apart = boxes.double() + (groups.double() * (side + 1.0))[:, None]
    kept = [torch.zeros(0, dtype=torch.int64, device=boxes.device)]
    for value in thresholds.unique().tolist():
        members = (thresholds == value).nonzero().squeeze(1)
        for block in members.split(_block_sizes(groups[members])):
            kept.append(block[nms(apart[block], scores[block].double(), value)])
    return torch.cat(kept).sort().values


def _block_sizes(groups: Tensor) -> list[int]:
    """Cuts ascending groups into runs of whole groups, each of about a block's boxes."""
    block = _BLOCK if groups.device.type == "cpu" else _BLOCK_CUDA
    sizes = [0]
    for count in torch.unique_consecutive(groups, return_counts=True)[1].tolist():
        if sizes[-1] and sizes[-1] + count > block:
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
