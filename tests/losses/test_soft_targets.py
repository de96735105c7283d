"""Losses whose target says how well score and box fit, against their formulas written out entry by entry."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from mapopt import losses
from mapopt.errors import ConfigError, DataError
from mapopt.losses import Lists, PointwiseLoss, TaskAlignedBCELoss, check_loss
from mapopt.losses.testing import PROPERTIES, check_parameter

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


def task_aligned_targets(
    scores: list[float], labels: list[float], objects: list[int], *, alpha: float, beta: float
) -> list[float]:
    """The targets of a list, by loops over its positives and those of the same object."""
    targets = []
    for place, label in enumerate(labels):
        others = [j for j, other in enumerate(labels) if other > 0 and objects[j] == objects[place]]
        if label <= 0:
            targets.append(0.0)
            continue
        aligned = {j: chance(scores[j]) ** alpha * labels[j] ** beta for j in others}
        targets.append(aligned[place] / max(aligned.values()) * max(labels[j] for j in others))
    return targets


def objects_of(labels: Tensor, seed: int) -> Tensor:
    """A few objects, each with several of the positives; other entries have none or one that does not matter."""
    generator = torch.Generator().manual_seed(seed)
    return torch.where(
        labels > 0, torch.randint(0, 3, labels.shape, generator=generator), torch.randint(-1, 3, labels.shape)
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("alpha", "beta", "focus"), [(1.0, 6.0, 0.0), (0.5, 6.0, 0.0), (1.0, 6.0, 2.0)])
def test_task_aligned_bce(
    alpha: float, beta: float, focus: float, seed: int, small_list: Callable[..., tuple[Tensor, Tensor]]
) -> None:
    scores, labels = small_list(seed)
    objects = objects_of(labels, seed)
    loss = TaskAlignedBCELoss(alpha, beta, focus=focus)
    value = loss(scores, labels, facts={"objects": objects})
    (gradient,) = torch.autograd.grad(value, scores)
    numbers, step = scores.tolist(), 1e-5
    targets = task_aligned_targets(numbers, labels.tolist(), objects.tolist(), alpha=alpha, beta=beta)

    def cost(score: float, target: float) -> float:
        return abs(target - chance(score)) ** focus * cross_entropy(score, target)

    total = max(1.0, sum(targets))
    pairs = list(zip(numbers, targets, strict=True))
    slopes = [(cost(score + step, target) - cost(score - step, target)) / (2 * step) for score, target in pairs]
    assert sum(targets) > 1
    assert value.item() == pytest.approx(sum(cost(*pair) for pair in pairs) / total, rel=1e-9)
    np.testing.assert_allclose(gradient.numpy(), np.array(slopes) / total, rtol=1e-5, atol=1e-9)


def test_the_best_of_an_object_has_its_largest_iou_for_a_target_and_no_list_sees_another() -> None:
    scores, labels = torch.zeros(2, 4), torch.tensor([[0.8, 0.4, 0.0, 0.6], [0.2, 0.9, 0.0, 0.6]])
    lists = Lists(scores, labels, facts={"objects": torch.tensor([0, 0, 0, 1])})
    targets = TaskAlignedBCELoss().targets(lists)
    assert targets[:, [0, 3]].tolist()[0] == pytest.approx([0.8, 0.6])
    assert targets[1].tolist() == pytest.approx([0.9 * (2 / 9) ** 6, 0.9, 0.0, 0.6], rel=1e-5)
    assert targets[0, 1].item() == pytest.approx(0.8 / 64)


def test_targets_keep_their_size_where_nothing_fits_yet() -> None:
    lists = Lists(
        torch.tensor([-30.0, -31.0]), torch.tensor([0.01, 0.01]), facts={"objects": torch.zeros(2, dtype=int)}
    )
    assert TaskAlignedBCELoss().targets(lists)[0].tolist() == pytest.approx([0.01, 0.01 * math.exp(-1)], rel=1e-4)


def test_the_sum_is_divided_by_the_targets_but_never_by_less_than_1() -> None:
    scores = torch.zeros(3)
    for labels in ([0.9, 0.8, 0.0], [0.3, 0.0, 0.0]):
        value = TaskAlignedBCELoss()(scores, torch.tensor(labels))
        assert value.item() == pytest.approx(3 * math.log(2) / max(1.0, sum(labels)))


class OneObject(TaskAlignedBCELoss):
    """Every list has a single object."""

    def evaluate(self, lists: Lists) -> dict[str, Tensor]:
        lists.facts["objects"] = torch.zeros_like(lists.labels, dtype=torch.int64)
        return super().evaluate(lists)


@pytest.mark.parametrize("property_", PROPERTIES)
@pytest.mark.parametrize("focus", [0.0, 2.0])
def test_objects_leave_the_properties_of_the_family(focus: float, property_: str) -> None:
    check_loss(OneObject(focus=focus), properties=[property_], exact=False)


@pytest.mark.parametrize(("name", "values"), [("alpha", (0.5, 2.0)), ("beta", (1.0, 6.0)), ("focus", (0.0, 2.0))])
def test_lists_can_have_exponents_of_their_own(name: str, values: tuple[float, float]) -> None:
    check_parameter(OneObject(), name, values, seed=5)


def test_facts_that_do_not_fit_are_named_and_those_of_empty_lists_do_no_harm() -> None:
    loss = TaskAlignedBCELoss()
    with pytest.raises(DataError, match=r"objects have shape \[3\], which does not broadcast to the scores' \[2, 4\]"):
        loss(torch.zeros(2, 4), torch.ones(2, 4), facts={"objects": torch.zeros(3)})
    assert loss(torch.zeros(2, 0), torch.zeros(2, 0), facts={"objects": torch.zeros(2, 1)}).item() == 0
    given = loss(torch.zeros(4), torch.ones(4), facts={"objects": [0, 0, 1, 1]})
    assert given == loss(torch.zeros(4), torch.ones(4))
