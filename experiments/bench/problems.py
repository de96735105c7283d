"""Lists of scores to measure losses on: every kind is drawn from a generator that the benchmark owns.

Scores are logits. Labels are 0 for negatives and an IoU between 0.5 and 1 for positives.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

KINDS = ("random", "tied", "separated", "adversarial")
"""What `draw_lists` can draw."""

ADVERSARIES = ("one positive at the bottom", "one negative on top", "huge gaps", "tiny gaps")
"""The adversarial lists, in turn."""


def draw_list(size: int, positives: int, *, seed: int, separation: float = 2.0) -> tuple[Tensor, Tensor]:
    """Returns ``[size]`` scores, normal with the positives that much higher, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    scores, labels = torch.randn(size, generator=generator), torch.zeros(size)
    places = torch.randperm(size, generator=generator)[:positives]
    labels[places] = 0.5 + 0.5 * torch.rand(positives, generator=generator)
    scores[places] += separation
    return scores, labels


def draw_lists(kind: str, number: int, size: int, positives: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Returns float64 scores and labels ``[number, size]``.

    Args:
        kind: ``random``: positives and negatives alike. ``tied``: scores rounded to halves, the positives 0 to 2
            higher. ``separated``: the positives 0 to 4 higher, so that the lists differ in quality. ``adversarial``:
            `ADVERSARIES` in turn.
        number: of lists.
        size: of each list.
        positives: in each list.
        seed: of the draw.
    """
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(number, size, generator=generator, dtype=torch.float64)
    labels = torch.zeros_like(scores)
    places = torch.rand(number, size, generator=generator).argsort(-1)[:, :positives]
    labels.scatter_(-1, places, 0.5 + 0.5 * torch.rand(number, positives, generator=generator, dtype=torch.float64))
    quality = torch.rand(number, 1, generator=generator, dtype=torch.float64)
    positive = labels > 0
    if kind == "tied":
        scores = (2 * (scores + 2 * quality * positive)).round() / 2
    elif kind == "separated":
        scores = scores + 4 * quality * positive
    elif kind == "adversarial":
        scores = torch.stack([_adversary(i % 4, scores[i], places[i], positive[i]) for i in range(number)])
    return scores, labels


def _adversary(which: int, scores: Tensor, places: Tensor, positive: Tensor) -> Tensor:
    if which == 0:
        scores = scores + 6.0 * positive
        scores[places[0]] = -8.0
    elif which == 1:
        scores = scores + 6.0 * positive
        scores[(~positive).nonzero()[0]] = 12.0
    elif which == 2:
        scores = 300.0 * (scores + positive)
    else:
        scores = 1e-4 * (scores + positive)
    return scores


def exact_ap(scores: Tensor, labels: Tensor) -> Tensor:
    """Returns the AP of every list ``[lists]`` by ranking ``[lists, n]`` scores.

    The mean over positives of the precision at the threshold that just keeps them, so what is tied with a positive is
    kept with it, and the order of the input does not matter.

    >>> exact_ap(torch.tensor([[3.0, 2.0, 1.0], [1.0, 1.0, 0.0]]), torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]]))
    tensor([0.8333, 0.5000], dtype=torch.float64)
    """
    ordered, order = scores.sort(dim=-1, descending=True)
    positive = (labels > 0).gather(-1, order)
    kept = torch.searchsorted(-ordered, -ordered, right=True)  # entries at or above each score
    right = positive.cumsum(-1).gather(-1, kept - 1)
    precision = right.double() / kept
    return (precision * positive).sum(-1) / positive.sum(-1).clamp(min=1)


CLASSES = {"frequent": 400, "middle": 40, "rare": 4}
"""Positives of the classes in `draw_batch`."""


def draw_batch(candidates: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Returns what a detector early in training says of a batch with imbalanced classes, ``[classes, candidates]``.

    Scores of a class are normal around its own log-odds, as those of a calibrated detector are, and its positives lie
    1 above; so a rare class has its scores below those of a frequent one.
    """
    rows = [draw_list(candidates, count, seed=seed + i, separation=1.0) for i, count in enumerate(CLASSES.values())]
    odds = torch.tensor([math.log(count / (candidates - count)) for count in CLASSES.values()])
    scores = torch.stack([scores for scores, _ in rows]) + odds[:, None]
    return scores.double(), torch.stack([labels for _, labels in rows]).double()
