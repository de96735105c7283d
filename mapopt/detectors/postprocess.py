"""From raw outputs to reported boxes: score threshold, class-wise suppression, limit per image, all images at once.

Suppression runs through `torchvision.ops.nms` on boxes moved apart, so that one call serves many images and classes
without comparing them: in blocks, because the cost of a call grows with the square of its boxes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import nms

from mapopt.detectors.base import Boxes

_CANDIDATES = 300
_BLOCK = 300  # half the time of blocks of 1000, measured on one core; below 150 calls cost more than they save
_BLOCK_CUDA = 30000


@torch.no_grad()
def postprocess(
    boxes: Tensor, scores: Tensor, score_threshold: Tensor, nms_iou: Tensor, *, limit: int, size: tuple[int, int]
) -> Boxes:
    """Selects the boxes to report.

    Args:
        boxes: ``[lanes, batch, locations, 4]`` xyxy pixels.
        scores: ``[lanes, batch, locations, classes]`` in [0, 1].
        score_threshold: ``[lanes]``; smaller scores are dropped.
        nms_iou: ``[lanes]``; of two boxes of a class that overlap more, the weaker is dropped.
        limit: boxes per image.
        size: (height, width) to clip to.
    """
    lanes, batch, locations, classes = scores.shape
    pairs = locations * classes
    flat = scores.reshape(lanes * batch, pairs).float()
    keep = min(_CANDIDATES, pairs)
    top, index = flat.topk(keep, dim=1)
    threshold = score_threshold.to(top).repeat_interleave(batch)[:, None]
    reported = (top >= threshold) & torch.isfinite(top)
    image, rank = reported.nonzero(as_tuple=True)
    location = index[image, rank].div(classes, rounding_mode="floor")
    label = index[image, rank] % classes
    frame = torch.tensor([size[1], size[0], size[1], size[0]], device=boxes.device, dtype=boxes.dtype)
    group, order = (image * classes + label).sort(stable=True)
    image, location, label = image[order], location[order], label[order]
    score = top[reported][order]
    chosen = boxes.reshape(lanes * batch, locations, 4)[image, location].clamp(min=0).minimum(frame).float()
    kept = _suppress(chosen, score, group, nms_iou[image // batch], max(size))
    kept = kept[score[kept].argsort(descending=True, stable=True)]
    kept = kept[image[kept].argsort(stable=True)]
    kept = kept[_rank_in_group(image[kept]) < limit]
    return Boxes(chosen[kept], score[kept], label[kept], image[kept] // batch, image[kept] % batch)


def _suppress(boxes: Tensor, scores: Tensor, groups: Tensor, thresholds: Tensor, side: int) -> Tensor:
    """Runs suppression inside groups, which stand in ascending order; returns the positions that stay, ascending."""
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


def _rank_in_group(groups: Tensor) -> Tensor:
    """Returns how many earlier entries share an entry's group; equal groups stand together."""
    position = torch.arange(len(groups), device=groups.device)
    first = torch.ones_like(groups, dtype=torch.bool)
    first[1:] = groups[1:] != groups[:-1]
    start = torch.where(first, position, 0).cummax(0).values if len(groups) else position
    return position - start
