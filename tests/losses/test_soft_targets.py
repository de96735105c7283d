"""Losses whose target says how well score and box fit, against their formulas written out entry by entry."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from mapopt import losses
from mapopt.errors import ConfigError
from mapopt.losses import PointwiseLoss

Cost = Callable[[float, float, float], float]
"""What an entry costs: of its score, its label, and the score that its target and held weights are made of."""


def chance(score: float) -> float:
    return 1 / (1 + math.exp(-score))


def cross_entropy(score: float, target: float) -> float:
    return -target * math.log(chance(score)) - (1 - target) * math.log(1 - chance(score))


def matchability_aware(power: float) -> Cost:
    def cost(score: float, label: float, held: float) -> float:
        if label > 0:
            return cross_entropy(score, label**power)
        return chance(held) ** power * -math.log(1 - chance(score))

    return cost


def iou_aware(alpha: float, gamma: float) -> Cost:
    def cost(score: float, label: float, held: float) -> float:
        if label > 0:
            return cross_entropy(score, max(0.01, chance(held) ** alpha * label ** (1 - alpha)))
        return chance(score) ** gamma * -math.log(1 - chance(score))

    return cost


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("loss", "cost"),
    [
        (losses.MatchabilityAwareLoss(), matchability_aware(1.5)),
        (losses.MatchabilityAwareLoss(power=3.0), matchability_aware(3.0)),
        (losses.IoUAwareBCELoss(), iou_aware(0.25, 2.0)),
        (losses.IoUAwareBCELoss(alpha=0.6, gamma=1.0), iou_aware(0.6, 1.0)),
    ],
)
def test_each_entry_costs_what_the_formula_says_and_its_target_is_a_constant(
    loss: PointwiseLoss, cost: Cost, seed: int, small_list: Callable[..., tuple[Tensor, Tensor]]
) -> None:
    scores, labels = small_list(seed)
    value = loss(scores, labels)
    (gradient,) = torch.autograd.grad(value, scores)
    numbers, step = list(zip(scores.tolist(), labels.tolist(), strict=True)), 1e-5
    positives = sum(label > 0 for _, label in numbers)
    expected = sum(cost(score, label, score) for score, label in numbers) / positives
    slopes = [
        (cost(score + step, label, score) - cost(score - step, label, score)) / (2 * step) for score, label in numbers
    ]
    assert value.item() == pytest.approx(expected, rel=1e-9)
    np.testing.assert_allclose(gradient.numpy(), np.array(slopes) / positives, rtol=1e-6, atol=1e-9)


def test_a_badly_fitting_match_still_teaches_where_varifocal_loss_hardly_looks() -> None:
    labels = torch.tensor([0.05, 0.0], dtype=torch.float64)
    slopes = []
    for loss in (losses.MatchabilityAwareLoss(), losses.VarifocalLoss()):
        scores = torch.tensor([2.0, -9.0], dtype=torch.float64, requires_grad=True)
        slopes.append(torch.autograd.grad(loss(scores, labels), scores)[0][0].item())
    assert slopes[0] == pytest.approx(chance(2.0) - 0.05**1.5)
    assert slopes[0] > 10 * slopes[1] > 0


def test_the_target_of_a_positive_that_nothing_speaks_for_is_a_hundredth() -> None:
    scores = torch.tensor([-30.0], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(losses.IoUAwareBCELoss()(scores, torch.tensor([0.001])), scores)
    assert gradient.item() == pytest.approx(-0.01)


def test_a_power_of_0_is_refused() -> None:
    with pytest.raises(ConfigError, match="MatchabilityAwareLoss got power=0; expected a number above 0"):
        losses.MatchabilityAwareLoss(power=0)(torch.zeros(2), torch.ones(2))
