"""Losses for long tails, against their formulas written out entry by entry."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from mapopt.errors import ConfigError
from mapopt.losses import LOSSES, EffectiveClassMarginLoss, EqualizedFocalLoss, FocalLoss, make_loss

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


def draw_step(seed: int, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(shape, generator=generator, dtype=torch.float64) * 2
    labels = (torch.rand(shape, generator=generator) < 0.25).double()
    labels[..., 0] = 1.0
    return scores.requires_grad_(), labels


class PlainEqualizedFocal:
    """Equalized focal loss by loops, which takes gradients by differences."""

    def __init__(self, classes: int, *, alpha: float, base: float, scale: float) -> None:
        self.raised, self.lowered = np.zeros(classes), np.zeros(classes)
        self.alpha, self.base, self.scale = alpha, base, scale

    def ratio(self, category: int) -> float:
        if self.raised[category] == self.lowered[category] == 0:
            return 1.0
        return float(min(1.0, self.raised[category] / (self.lowered[category] + 1e-10)))

    def cost(self, score: float, label: float, category: int) -> float:
        gamma = self.base + self.scale * (1 - self.ratio(category))
        right, alpha = (chance(score), self.alpha) if label > 0 else (1 - chance(score), 1 - self.alpha)
        return -alpha * gamma / self.base * (1 - right) ** gamma * math.log(right)

    def step(self, scores: list[float], labels: list[float], classes: list[int]) -> float:
        positives, step = sum(label > 0 for label in labels), 1e-6
        entries = list(zip(scores, labels, classes, strict=True))
        value = sum(self.cost(*entry) for entry in entries) / positives
        slopes = [
            (self.cost(score + step, label, category) - self.cost(score - step, label, category)) / (2 * step)
            for score, label, category in entries
        ]
        for slope, (_, label, category) in zip(slopes, entries, strict=True):
            (self.raised if label > 0 else self.lowered)[category] += abs(slope) / positives
        return value


@pytest.mark.parametrize(("alpha", "base", "scale"), [(0.25, 2.0, 8.0), (0.5, 1.0, 3.0)])
def test_equalized_focal_loss_learns_from_its_own_gradients(alpha: float, base: float, scale: float) -> None:
    loss, classes = EqualizedFocalLoss(alpha, base, scale), torch.arange(24) % 3
    loss.prepare(lanes=1, classes=3)
    plain = PlainEqualizedFocal(3, alpha=alpha, base=base, scale=scale)
    for seed in range(4):
        scores, labels = draw_step(seed, (24,))
        labels[classes == 2] = 0  # a class that is never there
        value = loss(scores, labels, facts={"classes": classes})
        expected = plain.step(scores.tolist(), labels.tolist(), classes.tolist())
        assert value.item() == pytest.approx(expected, rel=1e-6)
        assert loss.ratios[0].tolist() == pytest.approx([plain.ratio(category) for category in range(3)], rel=1e-5)
    assert loss.ratios[0, 2] == 0 < loss.ratios[0, 0] < 1


def test_until_it_is_prepared_it_is_focal_loss_and_so_is_its_first_step() -> None:
    scores, labels = draw_step(0, (3, 20))
    expected = FocalLoss(0.25, 2.0)(scores, labels)
    loss = EqualizedFocalLoss()
    torch.testing.assert_close(loss(scores, labels), expected)
    with pytest.raises(ConfigError, match="EqualizedFocalLoss knows of no classes yet: call prepare"):
        loss.ratios  # noqa: B018
    loss.prepare(lanes=1, classes=3)
    assert loss.ratios.tolist() == [[1.0, 1.0, 1.0]]
    torch.testing.assert_close(loss(scores, labels), expected)
    assert not torch.allclose(loss(scores, labels), expected)
    loss.prepare(lanes=1, classes=3)
    torch.testing.assert_close(loss(scores, labels), expected)


def test_the_gradient_is_that_of_the_value_with_what_is_remembered_held() -> None:
    loss, (scores, labels) = EqualizedFocalLoss(), draw_step(0, (2, 12))
    loss.prepare(lanes=1, classes=2)
    loss(*draw_step(1, (2, 12)))
    torch.autograd.gradcheck(lambda scores: loss.eval()(scores, labels), scores)
    frozen = torch.autograd.grad(loss.eval()(scores, labels), scores)[0]
    learning = torch.autograd.grad(loss.train()(scores, labels), scores)[0]
    assert torch.equal(frozen, learning)


def test_it_learns_neither_in_eval_mode_nor_from_scores_without_a_gradient() -> None:
    loss, (scores, labels) = EqualizedFocalLoss(), draw_step(0, (2, 12))
    loss.prepare(lanes=1, classes=2)
    loss.eval()(scores, labels)
    loss.train()(scores.detach(), labels)
    with torch.no_grad():
        loss(scores * 1.0, labels)
    assert (loss.ratios == 1).all()
    loss(scores, labels)
    assert (loss.ratios < 1).any()


def test_lanes_remember_by_themselves_with_the_same_bits() -> None:
    together, alone, classes = EqualizedFocalLoss(), EqualizedFocalLoss(), torch.arange(24) % 3
    together.prepare(lanes=2, classes=3)
    alone.prepare(lanes=1, classes=3)
    for seed in range(3):
        scores, labels = draw_step(seed, (2, 2, 24))  # lanes, lists, entries
        together.lists(scores, labels, facts={"classes": classes})
        alone.lists(scores[1], labels[1], facts={"classes": classes})
    assert torch.equal(together.ratios[1], alone.ratios[0])
    assert not torch.equal(together.ratios[0], together.ratios[1])


def test_what_is_ignored_and_weights_are_not_remembered() -> None:
    scores, labels = draw_step(0, (1, 12))
    where, kept = torch.ones(1, 12, dtype=torch.bool), []
    where[:, 6:] = False
    for weight, keep, count in ((1.0, None, 6), (1.0, where, 12), (3.0, where, 12)):
        loss = EqualizedFocalLoss(weight=weight)
        loss.prepare(lanes=1, classes=1)
        loss(scores[:, :count], labels[:, :count], keep)
        kept.append(torch.stack(list(loss.remembered().values())))
    assert torch.equal(kept[0], kept[1])
    assert torch.equal(kept[1], kept[2])


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extreme_scores_are_remembered_as_finite_numbers(size: float) -> None:
    loss = EqualizedFocalLoss()
    loss.prepare(lanes=1, classes=2)
    scores = (torch.tensor([[1.0, -1.0, 0.5], [1.0, 1.0, -1.0]]) * size).requires_grad_()
    for _ in range(2):
        value = loss(scores, torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    assert value.isfinite()
    assert loss.ratios.isfinite().all()
    assert torch.autograd.grad(value, scores)[0].isfinite().all()


def test_its_state_goes_with_its_state_dict_and_keeps_it_from_being_made_again() -> None:
    loss, other, (scores, labels) = EqualizedFocalLoss(scale=4.0), EqualizedFocalLoss(scale=4.0), draw_step(0, (2, 12))
    assert LOSSES.choice(loss).settings == {"scale": 4.0}
    for given in (loss, other):
        given.prepare(lanes=1, classes=2)
    loss(scores, labels)
    other.load_state_dict(loss.state_dict())
    assert loss(scores, labels) == other(scores, labels)
    with pytest.raises(ConfigError, match="loss of type EqualizedFocalLoss cannot be made again"):
        LOSSES.choice(loss)


def test_the_scale_matters_once_something_was_seen() -> None:
    values = []
    for scale in (0.0, 8.0):
        loss, (scores, labels) = EqualizedFocalLoss(scale=scale), draw_step(0, (3, 20))
        loss.prepare(lanes=1, classes=3)
        values.append([loss(scores, labels).item() for _ in range(2)])
    assert values[0][0] == values[0][1] == values[1][0] != values[1][1]


@pytest.mark.parametrize(
    ("facts", "lists", "message"),
    [
        (
            None,
            3,
            "prepared for 2 lanes and 2 classes, but got 3 lists and no facts 'classes': expected a list for each",
        ),
        ({"classes": 0}, 3, "prepared for 2 lanes and 2 classes, but got 3 lists: expected a number that 2 divides"),
    ],
)
def test_lists_that_are_not_of_its_classes_are_named(facts: dict | None, lists: int, message: str) -> None:
    loss = make_loss("efl")
    loss.prepare(lanes=2, classes=2)
    with pytest.raises(ConfigError, match=message):
        loss(torch.zeros(lists, 4), torch.ones(lists, 4), facts=facts)


def test_a_loss_without_state_remembers_nothing() -> None:
    loss = make_loss("focal")
    loss.prepare(lanes=2, classes=3)
    assert loss.remembered() == {}
