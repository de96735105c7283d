"""Losses of hard ranks, of sampled rankings and of histograms, against their definitions."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from mapopt import losses
from mapopt.errors import ConfigError
from mapopt.losses.sums.lists import middle_ranks


def test_blackbox_value_is_one_minus_ap_without_a_margin(
    small_list: Callable[..., Any], average_precision: Callable[..., float]
) -> None:
    for seed in range(5):
        scores, labels = small_list(seed)
        value = losses.BlackboxAPLoss(margin=0.0)(scores, labels)
        assert value.item() == pytest.approx(1 - average_precision(scores.detach(), labels > 0), abs=1e-12)


def test_blackbox_gradient_is_the_change_of_ranks_after_a_step() -> None:
    scores = torch.tensor([0.0, 0.1, 0.2, 1.0], dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([1.0, 0.0, 0.0, 0.0])
    loss = losses.BlackboxAPLoss(strength=4.0, margin=0.0)
    loss(scores, labels).backward()
    # The positive has rank 4 of 4 and AP 1/4: d loss / d rank = 1/16, a step of 4/16 lifts it over two negatives. The
    # rank among positives is 1 before and after.
    assert scores.grad.tolist() == [(2 - 4) / 4, (4 - 3) / 4, (3 - 2) / 4, 0.0]
    (doubled,) = torch.autograd.grad(2 * loss(scores, labels), scores)
    assert torch.equal(doubled, 2 * scores.grad)


def test_blackbox_gradient_goes_through_the_ranks_among_positives_too() -> None:
    scores = torch.tensor([0.1, 0.0, -9.0], dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([1.0, 1.0, 0.0])
    losses.BlackboxAPLoss(strength=4.0, margin=0.0)(scores, labels).backward()
    # d loss / d own rank = -1/2 and -1/4: steps of -2 and -1 swap the two positives. Their ranks among all stay.
    assert scores.grad.tolist() == [(2 - 1) / 4, (1 - 2) / 4, 0.0]
    alone = torch.tensor([0.1, 0.0], dtype=torch.float64, requires_grad=True)
    losses.BlackboxAPLoss(strength=4.0, margin=0.0)(alone, torch.ones(2)).backward()
    assert not alone.grad.any()


@pytest.mark.parametrize("loss", [losses.FastAPLoss(10), losses.QuantizedAPLoss(11)])
def test_on_the_center_of_a_bin_the_gradient_is_the_mean_of_both_sides(loss: losses.ListLoss) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(20, generator=generator, dtype=torch.float64)
    scores[3] = 0.0  # the sigmoid is 1/2, the sixth of eleven centres
    labels = (torch.rand(20, generator=generator) < 0.4).double()
    slopes = []
    for side in (-1e-9, 1e-9, 0.0):
        moved = scores.clone()
        moved[3] += side
        moved.requires_grad_()
        slopes.append(torch.autograd.grad(loss(moved, labels), moved)[0][3].item())
    assert abs(slopes[0] - slopes[1]) > 1e-3
    assert slopes[2] == pytest.approx((slopes[0] + slopes[1]) / 2, abs=1e-6)


def test_middle_ranks_average_ties() -> None:
    scores = torch.tensor([[1.0, 3.0, 1.0, 1.0, -torch.inf, 5.0], [0.0] * 6])
    assert middle_ranks(scores).tolist() == [[4.0, 2.0, 4.0, 4.0, 6.0, 1.0], [3.5] * 6]


def test_plackett_luce_is_an_unbiased_estimate_of_expected_ap_and_its_gradient(
    average_precision: Callable[..., float],
) -> None:
    scores = torch.tensor([0.5, -0.3, 1.0, 0.0], dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([1.0, 1.0, 0.0, 0.0])
    expected = torch.zeros((), dtype=torch.float64)
    for order in itertools.permutations(range(4)):
        chance = torch.stack([scores[list(order[k:])].log_softmax(0)[0] for k in range(4)]).sum().exp()
        value = -torch.tensor(order, dtype=torch.float64).argsort().double()
        expected = expected + chance * (1 - average_precision(value, labels > 0))
    (gradient,) = torch.autograd.grad(expected, scores)
    # The model knows differences of scores only, the noise the scores themselves: shifts make independent draws.
    shifted = (scores.detach() + torch.linspace(0, 1, 5000, dtype=torch.float64)[:, None]).requires_grad_()
    values = losses.PlackettLuceAPLoss(samples=2).lists(shifted, labels.expand(5000, 4))["rank"]
    values.sum().backward()
    estimates = torch.cat([values.detach()[:, None], shifted.grad], 1)
    error = estimates.std(0) / len(estimates) ** 0.5
    truth = torch.cat([expected.detach()[None], gradient])
    assert ((estimates.mean(0) - truth).abs() < 4 * error).all()
    assert (gradient.abs() > 4 * error[1:]).any(), "the test must be able to distinguish the gradient from nothing"


def test_plackett_luce_draws_anew_when_scores_or_seed_change_and_only_then(small_list: Callable[..., Any]) -> None:
    scores, labels = small_list(0, size=60)
    loss = losses.PlackettLuceAPLoss()
    first = loss(scores, labels).item()
    torch.rand(3)
    assert loss(scores, labels).item() == first
    assert loss(scores + 1e-6, labels).item() != first
    assert losses.PlackettLuceAPLoss(seed=1)(scores, labels).item() != first
    values = torch.tensor([losses.PlackettLuceAPLoss(2, seed=seed)(scores, labels).item() for seed in range(150)])
    assert abs(torch.corrcoef(torch.stack([values[1:], values[:-1]]))[0, 1]) < 0.3, "seeds share no rankings"
    with pytest.raises(ConfigError, match="got samples=1; expected a whole number of at least 2"):
        losses.PlackettLuceAPLoss(samples=1)(scores, labels)


@pytest.mark.parametrize("kind", [losses.FastAPLoss, losses.QuantizedAPLoss])
def test_histograms_name_a_number_of_bins_that_is_none(kind: type) -> None:
    for bins in (0, 2.5):
        with pytest.raises(ConfigError, match=f"{kind.__name__} got bins={bins}; expected a whole number"):
            kind(bins)(torch.zeros(2), torch.ones(2))
