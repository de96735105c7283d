"""How faithful a loss is to AP: how well it stands for AP, whether its gradient raises AP, and what it attends to.

Nothing here has a detector in it. The scores themselves are the parameters, so whatever is seen is the loss's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from scipy.stats import spearmanr
from torch import Tensor

from mapopt.experiments.bench.problems import CLASSES, draw_batch, draw_lists, exact_ap
from mapopt.losses import make_loss

LossPerList = Callable[[Tensor, Tensor], Tensor]
"""Scores and labels ``[lists, n]`` to a loss per list ``[lists]``."""

OF_AP = frozenset(
    {
        "ap",
        "smooth_ap",
        "fast_ap",
        "quantized_ap",
        "blackbox_ap",
        "parameterized_ap",
        "plackett_luce_ap",
    }
)
"""Members whose value approximates 1 - AP, so that their distance from it means something."""

LEARNING_RATES = (0.03, 0.1, 0.3)
"""How far the fastest score moves in a step of `descend`; the best of each loss counts."""

_STEP = 0.05  # the same in `measure_fidelity`, small beside the scores' spread of 1


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """How a loss stands for AP on one kind of list.

    Attributes:
        name: the loss.
        kind: of the lists, as in `draw_lists`.
        distance: mean of |loss - (1 - AP)|, None where the loss is on another scale.
        correlation: Spearman's, of the loss and 1 - AP over the lists; 1 is best, None where AP does not vary.
        raised: fraction of the lists that can be better whose AP a small step along the negative gradient raises.
        lowered: fraction of the same lists whose AP it lowers.
    """

    name: str
    kind: str
    distance: float | None
    correlation: float | None
    raised: float
    lowered: float


@dataclass(frozen=True, kw_only=True)
class Descent:
    """How many steps along the normalised negative gradient bring random scores to AP 1.

    Attributes:
        name: the loss.
        steps: median over the seeds at the best rate; None where less than half of them arrived.
        arrived: fraction of the seeds that arrived, at that rate.
        learning_rate: the best of `LEARNING_RATES`.
        ap: mean AP at the end, at that rate.
        limit: steps at the most.
    """

    name: str
    steps: float | None
    arrived: float
    learning_rate: float
    ap: float
    limit: int


@dataclass(frozen=True, kw_only=True)
class Mass:
    """Which fraction of the sum of |gradient| the entries of a class receive.

    Attributes:
        name: the loss.
        scope: ``batch``: one ranking of all classes; ``class``: one each, averaged.
        positives: by class, as in `CLASSES`.
        negatives: by class.
    """

    name: str
    scope: str
    positives: dict[str, float]
    negatives: dict[str, float]


def member(name: str) -> LossPerList:
    """Returns a loss as a loss per list: the sum of its components.

    Args:
        name: of one of ours, or ``module:attribute``.
    """
    loss = make_loss(name)
    return lambda scores, labels: torch.stack(list(loss.lists(scores, labels).values())).sum(0)


def measure_fidelity(name: str, loss: LossPerList, kind: str, *, lists: int, seed: int) -> Fidelity:
    """Compares a loss with the exact AP on `lists` lists of 200 scores, 20 of them positives."""
    scores, labels = draw_lists(kind, lists, 200, 20, seed=seed)
    values, gradient = _with_gradient(loss, scores, labels)
    missing = 1.0 - exact_ap(scores, labels)
    moved = 1.0 - exact_ap(scores - _STEP * _normalized(gradient) * _unit(scores), labels)
    improvable = missing > 1e-12
    number = max(1, int(improvable.sum()))
    varies = bool(missing.std() > 1e-9) and bool(values.std() > 0)
    return Fidelity(
        name=name,
        kind=kind,
        distance=float((values - missing).abs().mean()) if name in OF_AP else None,
        correlation=float(spearmanr(values.numpy(), missing.numpy()).statistic) if varies else None,
        raised=int((improvable & (moved < missing - 1e-12)).sum()) / number,
        lowered=int((improvable & (moved > missing + 1e-12)).sum()) / number,
    )


def descend(name: str, loss: LossPerList, *, seeds: int, limit: int, seed: int) -> Descent:
    """Moves the scores of random lists of 200 with 20 positives against the gradient until AP is 1.

    Every list takes steps of its own, scaled so that the fastest score moves by the learning rate; all losses
    try the same rates, and the one with the fewest median steps (then the highest AP) counts.
    """
    first, labels = draw_lists("random", seeds, 200, 20, seed=seed)
    scores = first.repeat(len(LEARNING_RATES), 1)
    labels = labels.repeat(len(LEARNING_RATES), 1)
    rates = torch.tensor(LEARNING_RATES, dtype=scores.dtype).repeat_interleave(seeds)[:, None]
    arrival = torch.full((len(scores),), torch.inf, dtype=torch.float64)
    for step in range(limit + 1):
        arrival = torch.where(arrival.isinf() & (exact_ap(scores, labels) == 1), float(step), arrival)
        running = arrival.isinf()
        if step == limit or not running.any():
            break
        _, gradient = _with_gradient(loss, scores[running], labels[running])
        scores[running] = scores[running] - rates[running] * _normalized(gradient)
    arrivals = arrival.reshape(len(LEARNING_RATES), seeds)
    reached = exact_ap(scores, labels).reshape(len(LEARNING_RATES), seeds).mean(1)
    medians = arrivals.quantile(0.5, dim=1, interpolation="higher")
    best = min(range(len(LEARNING_RATES)), key=lambda i: (float(medians[i]), -float(reached[i])))
    median = float(medians[best])
    return Descent(
        name=name,
        steps=median if median < torch.inf else None,
        arrived=float(arrivals[best].isfinite().double().mean()),
        learning_rate=LEARNING_RATES[best],
        ap=float(reached[best]),
        limit=limit,
    )


def measure_mass(name: str, loss: LossPerList, *, candidates: int, seed: int) -> list[Mass]:
    """Returns how a loss divides its gradient among classes of different frequency, in both scopes."""
    scores, labels = draw_batch(candidates, seed=seed)
    masses = []
    for scope in ("batch", "class"):
        shape = (1, -1) if scope == "batch" else scores.shape
        _, gradient = _with_gradient(loss, scores.reshape(shape), labels.reshape(shape))
        size = gradient.abs().reshape(scores.shape)
        total = size.sum().clamp_min(torch.finfo(size.dtype).tiny)
        positives, negatives = (
            dict(zip(CLASSES, ((size * part).sum(1) / total).tolist(), strict=True))
            for part in (labels > 0, labels == 0)
        )
        masses.append(Mass(name=name, scope=scope, positives=positives, negatives=negatives))
    return masses


def measure_fidelities(
    losses: dict[str, LossPerList], kinds: Sequence[str], *, lists: int, seed: int
) -> list[Fidelity]:
    """Returns the fidelity of every loss on every kind of list."""
    return [
        measure_fidelity(name, loss, kind, lists=lists, seed=seed) for name, loss in losses.items() for kind in kinds
    ]


def _with_gradient(loss: LossPerList, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    leaf = scores.clone().requires_grad_()
    values = loss(leaf, labels)
    if not values.requires_grad:
        return values, torch.zeros_like(scores)
    values.sum().backward()
    return values.detach(), torch.zeros_like(scores) if leaf.grad is None else leaf.grad


def _normalized(gradient: Tensor) -> Tensor:
    """Scales every list so that its largest entry is 1; a list without a gradient stays."""
    largest = gradient.abs().amax(-1, keepdim=True)
    return torch.where(largest > 0, gradient / largest, 0.0)


def _unit(scores: Tensor) -> Tensor:
    """The spread of each list's scores, so that a small step is small beside it."""
    return scores.std(-1, keepdim=True)
