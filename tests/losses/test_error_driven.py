"""The published updates, written out as loops over pairs, against the losses."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mapopt.losses import APLoss, RankSortLoss


def ramp(difference: Tensor, delta: float) -> Tensor:
    return (difference / (2 * delta) + 0.5).clamp(0, 1)


def ap_loss(scores: Tensor, labels: Tensor, delta: float, interpolate: bool) -> tuple[Tensor, Tensor]:
    positives, negatives = scores[labels > 0], scores[labels == 0]
    update, down = torch.zeros_like(positives), torch.zeros_like(negatives)
    best = torch.zeros((), dtype=scores.dtype)
    precisions = []
    for i in positives.argsort():
        above = ramp(negatives - positives[i], delta)
        rank = ramp(positives - positives[i], delta).sum() + 0.5
        precision = rank / (rank + above.sum())
        factor = 1.0
        if interpolate and best > precision:
            factor = (1 - best) / (1 - precision)
            precision = best
        best = precision
        down += factor * above / (rank + above.sum())
        update[i] = precision - 1
        precisions.append(precision)
    gradient = torch.zeros_like(scores)
    gradient[labels > 0], gradient[labels == 0] = update, down
    return 1 - torch.stack(precisions).mean(), gradient / len(positives)


def rank_sort(scores: Tensor, labels: Tensor, delta: float) -> tuple[Tensor, Tensor, Tensor]:
    positives, negatives, quality = scores[labels > 0], scores[labels == 0], labels[labels > 0]
    update, down = torch.zeros_like(positives), torch.zeros_like(negatives)
    ranks, sorts = [], []
    for i in range(len(positives)):
        above, better = ramp(negatives - positives[i], delta), ramp(positives - positives[i], delta)
        ranks.append(above.sum() / (above.sum() + better.sum()))
        if above.sum() > 1e-10:
            update[i] -= ranks[-1]
            down += ranks[-1] * above / above.sum()
        right = better * (quality >= quality[i])
        current = (better * (1 - quality)).sum() / better.sum()
        sorts.append(current - (right * (1 - quality)).sum() / right.sum())
        wrong = better - right
        if wrong.sum() > 1e-10:
            update[i] -= sorts[-1]
            update += sorts[-1] * wrong / wrong.sum()
    gradient = torch.zeros_like(scores)
    gradient[labels > 0], gradient[labels == 0] = update, down
    return torch.stack(ranks).mean(), torch.stack(sorts).mean(), gradient / len(positives)


@st.composite
def problems(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    size = draw(st.integers(1, 50))
    scores = torch.randn(size, generator=generator, dtype=torch.float64) * draw(st.sampled_from([0.3, 1.0, 5.0]))
    if draw(st.booleans()):
        scores = scores.round()
    labels = torch.rand(size, generator=generator, dtype=torch.float64).clamp(min=0.01)
    if draw(st.booleans()):
        labels = (labels * 10).ceil() / 10
    labels = labels * (torch.rand(size, generator=generator) < draw(st.sampled_from([0.1, 0.5, 1.0])))
    labels[0] = labels[0].clamp(min=0.3)
    return scores, labels


@settings(max_examples=40, deadline=None)
@given(problems(), st.sampled_from([0.3, 1.0, 4.0]), st.booleans())
def test_ap_loss_makes_the_published_update(problem: tuple[Tensor, Tensor], delta: float, interpolate: bool) -> None:
    scores, labels = problem
    expected, update = ap_loss(scores, labels, delta, interpolate)
    scores = scores.requires_grad_()
    value = APLoss(delta=delta, interpolate=interpolate)(scores, labels)
    value.backward()
    assert value.item() == pytest.approx(expected.item(), abs=1e-11)
    torch.testing.assert_close(scores.grad, update, rtol=0, atol=1e-11)


@settings(max_examples=40, deadline=None)
@given(problems(), st.sampled_from([0.3, 0.5, 4.0]))
def test_rank_and_sort_makes_the_published_update(problem: tuple[Tensor, Tensor], delta: float) -> None:
    scores, labels = problem
    rank, sort, update = rank_sort(scores, labels, delta)
    scores = scores.requires_grad_()
    parts = RankSortLoss(delta=delta).components(scores, labels)
    sum(parts.values()).backward()
    assert parts["rank"].item() == pytest.approx(rank.item(), abs=1e-11)
    assert parts["sort"].item() == pytest.approx(sort.item(), abs=1e-11)
    torch.testing.assert_close(scores.grad, update, rtol=0, atol=1e-11)


@pytest.mark.parametrize("kind", [APLoss, RankSortLoss])
def test_both_gradients_belong_to_the_same_value(kind: type) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(80, generator=generator, dtype=torch.float64)
    labels = torch.rand(80, generator=generator, dtype=torch.float64) * (torch.rand(80, generator=generator) < 0.2)
    published = kind().components(scores, labels)
    exact = kind(gradient="exact").components(scores, labels)
    for name, value in published.items():
        assert exact[name].item() == pytest.approx(value.item(), abs=1e-12)


@pytest.mark.parametrize("mass", [1e-9, 1e-6, 1e-4])
def test_rank_and_sort_distributes_errors_down_to_the_published_smallest_mass(mass: float) -> None:
    # A negative, or a positive of a lower label, stands so far below that its ramp only just reaches the positive.
    below = (mass - 0.5) * 2 * 0.5
    for labels in ([0.9, 0.0, 0.9], [0.9, 0.3, 0.0]):
        scores = torch.tensor([0.0, below, -50.0], dtype=torch.float64, requires_grad=True)
        quality = torch.tensor(labels, dtype=torch.float64)
        _, _, update = rank_sort(scores.detach(), quality, 0.5)
        RankSortLoss(delta=0.5)(scores, quality).backward()
        assert update[0] < 0
        assert scores.grad[0].item() == pytest.approx(update[0].item(), rel=1e-6)
        assert scores.grad[1].item() == pytest.approx(update[1].item(), rel=1e-6)
