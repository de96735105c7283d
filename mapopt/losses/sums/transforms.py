"""What may happen to lists before a loss ranks them: one list per IoU threshold, longer lists, lists of all processes.

Each takes and returns ``(scores, labels, where)``, so that they compose with every loss of the family and with each
other: ``loss(*memory(*split_by_iou(scores, labels)))``. Entries that are added are constants. So that a step is as
long as if they had passed on their gradients too, the gradient of the entries that do is scaled up accordingly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn

from mapopt.errors import ConfigError, DataError

ListsOf = tuple[Tensor, Tensor, Tensor]
"""Scores, labels and where."""

IOU_THRESHOLDS = (0.0, 0.5, 0.75)
"""Where `split_by_iou` cuts by default: a positive at all, one for AP50, one for AP75."""


def split_by_iou(
    scores: Tensor, labels: Tensor, where: Tensor | None = None, *, thresholds: Sequence[float] = IOU_THRESHOLDS
) -> ListsOf:
    """Makes a list per IoU threshold, in which a positive is one whose box is at least that good.

    AP is a mean over IoU thresholds, and so is the mean of any surrogate over these lists. This is how a loss that
    only knows positives and negatives uses the IoUs of predicted boxes.

    Args:
        scores: logits ``[..., n]``.
        labels: ``[..., n]``, 0 for negatives and the IoU of a positive's box.
        where: bool ``[..., n]``, False for entries to ignore.
        thresholds: t of them, each in [0, 1); at 0 every positive is one.

    Returns:
        scores, labels and where ``[..., t, n]``; labels are 0 and 1.

    Raises:
        ConfigError: there is no threshold, or one is outside [0, 1).

    >>> _, labels, _ = split_by_iou(torch.zeros(3), torch.tensor([0.0, 0.6, 0.9]))
    >>> labels.tolist()
    [[0.0, 1.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0]]
    """
    if not thresholds or not all(0 <= threshold < 1 for threshold in thresholds):
        raise ConfigError(f"IoU thresholds are {list(thresholds)}; expected at least one, each in [0, 1)")
    bounds = torch.tensor(thresholds, dtype=labels.dtype, device=labels.device)[:, None]
    quality = labels.detach()[..., None, :]
    positive = (quality > 0) & (quality >= bounds)
    # Labels below 0 are ignored by the losses, at every threshold.
    split = torch.where(quality < 0, quality, positive.to(labels.dtype))
    keep = _keep(scores, where)[..., None, :].expand(split.shape)
    return scores[..., None, :].expand(split.shape), split, keep


class ScoreMemory(nn.Module):
    """Lets a list be ranked among the scores of recent steps, so that a batch of two ranks like one of thirty-two.

    A class that is rare has rivals and positives in memory also where the batch has none. What is remembered is as
    old as the steps it took to fill the memory: keep it short where the network moves fast.

    Args:
        size: entries kept for each list, the most recent ones.
        leading: the leading dimensions of the lists, for example ``(classes,)``.
        device: where the memory lives.

    Attributes:
        scores: ``[*leading, size]`` without gradient.
        labels: ``[*leading, size]``.
        where: bool ``[*leading, size]``, False where nothing was remembered yet.

    Raises:
        ConfigError: size is not positive.

    Reference:
        Wang, Zhang, Huang, Scott, "Cross-Batch Memory for Embedding Learning", CVPR 2020, has a memory of embeddings;
        here it is of scores, in lists.

    Example:
        >>> from mapopt.losses import APLoss
        >>> memory, loss = ScoreMemory(6, (1,)), APLoss()
        >>> low, high = torch.tensor([[-3.0, -3.0]]), torch.tensor([[3.0, 3.0]])
        >>> loss(*memory(high, torch.tensor([[0.0, 0.0]]))).item()  # no positive so far
        0.0
        >>> round(loss(*memory(low, torch.tensor([[1.0, 0.0]]))).item(), 2)  # below what was seen before
        0.71
    """

    scores: Tensor
    labels: Tensor
    where: Tensor

    def __init__(self, size: int, leading: Sequence[int] = (), *, device: torch.device | str = "cpu") -> None:
        super().__init__()
        if size < 1:
            raise ConfigError(f"a memory of {size} scores was asked for; expected at least 1 per list")
        shape = (*leading, size)
        self.register_buffer("scores", torch.zeros(shape, device=device))
        self.register_buffer("labels", torch.zeros(shape, device=device))
        self.register_buffer("where", torch.zeros(shape, dtype=torch.bool, device=device))

    def forward(self, scores: Tensor, labels: Tensor, where: Tensor | None = None) -> ListsOf:
        """Returns the lists with what is remembered appended, and remembers their own entries.

        Args:
            scores: logits ``[*leading, n]``.
            labels: ``[*leading, n]``.
            where: bool ``[*leading, n]``.

        Raises:
            DataError: the leading dimensions are not the memory's.
        """
        if scores.shape[:-1] != self.scores.shape[:-1]:
            raise DataError(
                f"scores of shape {list(scores.shape)} for a memory of lists {list(self.scores.shape[:-1])}; expected "
                "the same leading dimensions at every step"
            )
        keep = _keep(scores, where)
        extended = _extended(
            (scores, labels, keep), (self.scores.to(scores.dtype), self.labels.to(labels.dtype), self.where)
        )
        size = self.scores.shape[-1]
        # Newest first: what is too old falls off the end.
        self.scores = extended[0].detach()[..., :size].to(self.scores.dtype).clone()
        self.labels = extended[1].detach()[..., :size].to(self.labels.dtype).clone()
        self.where = extended[2][..., :size].clone()
        return extended


def gather_lists(scores: Tensor, labels: Tensor, where: Tensor | None = None) -> ListsOf:
    """Returns lists with the entries of all processes, so that a ranking spans all GPUs of a distributed training.

    Every process has to call it at the same step, with the same leading dimensions; n may differ. Only this process's
    entries carry a gradient, scaled by the number of processes: once DistributedDataParallel has averaged the
    gradients, they are those of one process with the whole batch. Without an initialised process group, or with one
    process, lists are returned as they are.

    Args:
        scores: logits ``[..., n]``.
        labels: ``[..., n]``.
        where: bool ``[..., n]``.

    Returns:
        scores, labels and where ``[..., m]``, this process's entries first.
    """
    keep = _keep(scores, where)
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return scores, labels, keep
    own, processes = distributed.get_rank(), distributed.get_world_size()
    length = torch.tensor([scores.shape[-1]], device=scores.device)
    lengths = [torch.zeros_like(length) for _ in range(processes)]
    distributed.all_gather(lengths, length)
    longest = int(torch.stack(lengths).max())
    others = [
        [part for rank, part in enumerate(_all_gather(values.detach(), longest, processes)) if rank != own]
        for values in (scores, labels, keep.to(scores.dtype))
    ]
    added_scores, added_labels, added_keep = (torch.cat(parts, dim=-1) for parts in others)
    return (
        torch.cat([_scale_gradient(scores, float(processes)), added_scores], dim=-1),
        torch.cat([_scale_gradient(labels, float(processes)), added_labels], dim=-1),
        torch.cat([keep, added_keep > 0.5], dim=-1),
    )


def _extended(own: ListsOf, added: ListsOf) -> ListsOf:
    """Appends constants; the gradient of the own entries is scaled by all entries that count over the own."""
    counted, more = own[2].sum(-1, keepdim=True), added[2].sum(-1, keepdim=True)
    factor = ((counted + more) / counted.clamp(min=1)).to(own[0].dtype)
    return (
        torch.cat([_scale_gradient(own[0], factor), added[0].expand(*own[0].shape[:-1], -1)], dim=-1),
        torch.cat([_scale_gradient(own[1], factor), added[1].expand(*own[1].shape[:-1], -1)], dim=-1),
        torch.cat([own[2], added[2]], dim=-1),
    )


def _keep(scores: Tensor, where: Tensor | None) -> Tensor:
    if where is None:
        return torch.ones_like(scores, dtype=torch.bool)
    return where.to(torch.bool).expand(scores.shape)


def _all_gather(values: Tensor, length: int, processes: int) -> list[Tensor]:
    padded = nn.functional.pad(values, (0, length - values.shape[-1])).contiguous()
    parts = [torch.empty_like(padded) for _ in range(processes)]
    distributed.all_gather(parts, padded)
    return parts


def _scale_gradient(values: Tensor, factor: Tensor | float) -> Tensor:
    return _ScaledGradient.apply(values, factor) if values.requires_grad else values


class _ScaledGradient(torch.autograd.Function):
    """Returns its input; on the way back the gradient is multiplied."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, factor: Tensor | float) -> Tensor:
        ctx.factor = factor
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        return upstream * ctx.factor, None
