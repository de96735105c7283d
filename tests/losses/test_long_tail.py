"""Losses for long tails, against their formulas written out entry by entry."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mapopt.errors import ConfigError
from mapopt.losses import EffectiveClassMarginLoss

COUNTS = (700, 40, 3)


def chance(score: float) -> float:
    return 1 / (1 + math.exp(-score))


def effective_margin_cost(score: float, label: float, count: int, *, ratio: float = 6.3313) -> float:
    """What an entry costs by the paper: margins of its class's positives and negatives, and its class's weight."""
    positives, negatives = count, sum(COUNTS) * (1 + ratio) - count
    total = positives**0.25 + negatives**0.25
    for_positives, for_negatives = total / negatives**0.25, total / positives**0.25
    of_class, of_rest = for_positives * math.exp(score), for_negatives * math.exp(-score)
    probability = of_class / (of_class + of_rest)
    rarity = negatives / positives
    return rarity * math.log((1 + rarity) / rarity) * -math.log(probability if label > 0 else 1 - probability)


def frequencies_of(classes: Tensor) -> Tensor:
    return (torch.tensor(COUNTS, dtype=torch.float64) / sum(COUNTS))[classes]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ratio", [6.3313, 1.0, 100.0])
def test_effective_class_margins(ratio: float, seed: int, small_list: Callable[..., tuple[Tensor, Tensor]]) -> None:
    scores, labels = small_list(seed)
    classes = torch.arange(len(scores)) % 3
    loss = EffectiveClassMarginLoss(background=ratio)
    value = loss(scores, labels, facts={"frequencies": frequencies_of(classes)})
    expected = sum(
        effective_margin_cost(score, label, COUNTS[category], ratio=ratio)
        for score, label, category in zip(scores.tolist(), labels.tolist(), classes.tolist(), strict=True)
    )
    assert value.item() == pytest.approx(expected / int((labels > 0).sum()), rel=1e-9)
    torch.autograd.gradcheck(
        lambda scores: loss(scores, labels, facts={"frequencies": frequencies_of(classes)}), scores
    )


def test_a_rarer_class_asks_its_positives_for_higher_scores() -> None:
    costs = []
    for frequency in (0.9, 0.1, 0.001):
        loss, facts = EffectiveClassMarginLoss(), {"frequencies": torch.tensor(frequency)}
        negative = loss.lists(torch.tensor([50.0, 0.0]), torch.tensor([1.0, 0.0]), facts=facts)["rank"].item()
        positive = loss.lists(torch.tensor([0.0, -50.0]), torch.tensor([1.0, 0.0]), facts=facts)["rank"].item()
        costs.append((positive, negative))
    assert costs[0][0] < costs[1][0] < costs[2][0]
    assert costs[0][1] > costs[1][1] > costs[2][1]


def test_without_frequencies_there_is_one_class() -> None:
    scores, labels = torch.tensor([0.3, -1.0, 0.5]), torch.tensor([1.0, 0.0, 0.0])
    loss = EffectiveClassMarginLoss()
    assert loss(scores, labels) == loss(scores, labels, facts={"frequencies": torch.ones(3)})
    assert loss(scores, labels) != loss(scores, labels, facts={"frequencies": torch.full((3,), 0.5)})
    with pytest.raises(ConfigError, match="EffectiveClassMarginLoss got background=0; expected a number above 0"):
        EffectiveClassMarginLoss(background=0)(scores, labels)
