"""Each loss against its formula written out plainly, over all pairs of a small list."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from mapopt import losses
from mapopt.errors import ConfigError


def differences(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """s_j - s_i for positives i (rows), and which j is i itself."""
    return scores[None, :] - scores[labels > 0][:, None], torch.eye(len(scores), dtype=torch.bool)[labels > 0]


@pytest.mark.parametrize("seed", range(3))
def test_smooth_ap(seed: int, small_list: Callable[..., Any], assert_same: Callable[..., None]) -> None:
    scores, labels = small_list(seed)
    difference, own = differences(scores.sigmoid(), labels)
    step = (difference / 0.05).sigmoid().masked_fill(own, 0.0)
    positives, negatives = step[:, labels > 0].sum(-1), step[:, labels == 0].sum(-1)
    expected = 1 - ((1 + positives) / (1 + positives + negatives)).mean()
    assert_same(losses.SmoothAPLoss(0.05)(scores, labels), expected, scores)


@pytest.mark.parametrize("seed", range(3))
def test_exact_ap_loss(seed: int, small_list: Callable[..., Any], assert_same: Callable[..., None]) -> None:
    scores, labels = small_list(seed)
    difference, _ = differences(scores, labels)
    step = (difference / 2 + 0.5).clamp(0, 1)
    positives, negatives = step[:, labels > 0].sum(-1) + 0.5, step[:, labels == 0].sum(-1)
    precision = positives / (positives + negatives)
    order = scores.detach()[labels > 0].argsort()
    expected = 1 - precision[order].cummax(0).values.mean()
    assert_same(losses.APLoss(gradient="exact")(scores, labels), expected, scores)


@pytest.mark.parametrize("seed", range(3))
def test_exact_alrp_sends_gradients_to_scores_and_labels(
    seed: int, small_list: Callable[..., Any], assert_same: Callable[..., None]
) -> None:
    scores, labels = small_list(seed)
    labels.requires_grad_()
    positive = labels.detach() > 0
    difference, own = differences(scores, labels)
    step = (difference / 2 + 0.5).clamp(0, 1).masked_fill(own, 1.0)
    false = step[:, ~positive].sum(-1)
    rank = step[:, positive].sum(-1) + false
    errors = (1 - labels[positive]) / 0.5
    parts = losses.ALRPLoss(gradient="exact").components(scores, labels)
    assert_same(parts["classification"], (false / rank).mean(), scores, labels)
    expected = ((step[:, positive] * errors).sum(-1) / rank).mean()
    assert_same(parts["localization"], expected, scores, labels)


@pytest.mark.parametrize("seed", range(3))
def test_error_driven_alrp(seed: int, small_list: Callable[..., Any]) -> None:
    scores, labels = small_list(seed)
    labels.requires_grad_()
    positive = labels.detach() > 0
    difference, own = differences(scores.detach(), labels)
    step = (difference / 2 + 0.5).clamp(0, 1).masked_fill(own, 0.0)
    false, errors = step[:, ~positive].sum(-1), (1 - labels[positive]) / 0.5
    rank = 1 + step[:, positive].sum(-1) + false
    update = {"classification": false / rank, "localization": (step[:, positive] * errors).sum(-1).detach() / rank}
    sharp = ((difference > 0) | own)[:, positive].double()
    value = {"classification": (false / rank).mean(), "localization": ((sharp * errors).sum(-1) / rank).mean()}
    parts = losses.ALRPLoss().components(scores, labels)
    for name, part in parts.items():
        assert part.item() == pytest.approx(value[name].item(), abs=1e-12)
        expected = torch.zeros_like(scores)
        pushed = update[name] * (false > 1e-5) / positive.sum()
        expected[positive] = -pushed
        expected[~positive] = (pushed / false.clamp(min=1e-5)) @ step[:, ~positive]
        (gradient,) = torch.autograd.grad(part, scores, retain_graph=True)
        torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)
    (ours,) = torch.autograd.grad(parts["localization"], labels)
    (theirs,) = torch.autograd.grad(value["localization"], labels)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_adaptive_pairwise_error(seed: int, small_list: Callable[..., Any], assert_same: Callable[..., None]) -> None:
    scores, labels = small_list(seed)
    quality = labels[labels > 0]
    difference, _ = differences(scores, labels)
    inside = difference > -4 / 3
    against = inside & ((labels == 0) | (labels < quality[:, None]))
    rank = ((3 * difference).sigmoid() * inside).sum(-1).detach()
    errors = (torch.nn.functional.softplus(3 * difference, threshold=1e9) * against).sum(-1) / 3
    expected = (quality * errors / rank)[against.any(-1)].mean()
    assert_same(losses.APELoss(3.0)(scores, labels), expected, scores)


def test_adaptive_pairwise_errors_gradient_is_largest_on_the_worst_pair() -> None:
    for dtype in (torch.float32, torch.float64):
        gradients = []
        for gap in (1.0, 5.0, 50.0, 1000.0):
            scores = torch.tensor([0.0, gap], dtype=dtype, requires_grad=True)
            losses.APELoss()(scores, torch.tensor([1.0, 0.0])).backward()
            gradients.append(scores.grad[1].item())
        assert gradients == sorted(gradients)
        assert gradients[-1] == pytest.approx(1 / 1.5)


def bent(values: Tensor, x: float, y: float) -> Tensor:
    return torch.where(values < x, values / x * y, y + (values - x) / (1 - x) * (1 - y))


@pytest.mark.parametrize("seed", range(3))
def test_parameterized_ap(seed: int, small_list: Callable[..., Any]) -> None:
    points = {"rank": (0.3, 0.6), "error": (0.7, 0.4), "quality": (0.5, 0.2), "other": (0.2, 0.5), "weight": (0.6, 0.9)}
    named = {f"{name}_{axis}": point["xy".index(axis)] for name, point in points.items() for axis in "xy"}
    scores, labels = small_list(seed)
    labels.requires_grad_()
    difference, _ = differences(scores, labels)
    place = (difference / 3 + 0.5).clamp(0, 1)
    quality = labels[labels > 0]
    rank = bent(place, *points["rank"]).sum(-1).detach()
    error = (bent(place, *points["error"]) * (1 - bent(labels, *points["other"]))).sum(-1)
    expected = {
        "rank": (bent(quality, *points["weight"]) * error / rank).mean(),
        "localization": (1 - bent(quality, *points["quality"])).mean(),
    }
    parts = losses.ParameterizedAPLoss(1.5, **named).components(scores, labels)
    for name, value in parts.items():
        kept = torch.autograd.grad(expected[name], (scores, labels), retain_graph=True, allow_unused=True)
        ours = torch.autograd.grad(value, (scores, labels), retain_graph=True, allow_unused=True)
        assert value.item() == pytest.approx(expected[name].item(), abs=1e-12)
        if kept[0] is not None:
            torch.testing.assert_close(ours[0], kept[0], rtol=1e-9, atol=1e-12)
        positive = labels.detach() > 0  # a negative's label is no quality of a box
        torch.testing.assert_close(ours[1][positive], kept[1][positive], rtol=1e-9, atol=1e-12)


def test_parameterized_ap_names_an_inner_point_outside_the_square() -> None:
    with pytest.raises(ConfigError, match=r"rank_x=0.5 and rank_y=1.0; expected both between 0 and 1"):
        losses.ParameterizedAPLoss(rank_y=1.0)(torch.zeros(2), torch.ones(2))
    with pytest.raises(ConfigError, match=r"got error_x=0.0; expected a number above 0"):
        losses.ParameterizedAPLoss(error_x=0.0)(torch.zeros(2), torch.ones(2))


@pytest.mark.parametrize("seed", range(3))
def test_listnet(seed: int, small_list: Callable[..., Any], assert_same: Callable[..., None]) -> None:
    scores, labels = small_list(seed)
    expected = -(labels / labels.sum() * scores.log_softmax(-1)).sum()
    assert_same(losses.ListNetLoss()(scores, labels), expected, scores)


@pytest.mark.parametrize("seed", range(3))
def test_listmle(seed: int, small_list: Callable[..., Any], assert_same: Callable[..., None]) -> None:
    scores, labels = small_list(seed)
    labels = (labels * 4).ceil() / 4  # tied labels
    surprises = [scores[labels <= labels[i]].logsumexp(0) - scores[i] for i in labels.nonzero()[:, 0]]
    assert_same(losses.ListMLELoss()(scores, labels), torch.stack(surprises).mean(), scores)


def test_listmle_is_the_likelihood_of_the_order_where_labels_differ() -> None:
    scores, labels = torch.tensor([0.3, -1.0, 2.0, 0.0]), torch.tensor([0.9, 0.5, 0.0, 0.0])
    chance = scores.softmax(0)[0] * scores[1:].softmax(0)[0]
    assert losses.ListMLELoss()(scores, labels).item() == pytest.approx(-chance.log().item() / 2)


@pytest.mark.parametrize("seed", range(3))
def test_approximate_ndcg(seed: int, small_list: Callable[..., Any], assert_same: Callable[..., None]) -> None:
    scores, labels = small_list(seed)
    difference, own = differences(scores, labels)
    rank = 1 + (difference / 0.3).sigmoid().masked_fill(own, 0.0).sum(-1)
    gains = 2 ** labels[labels > 0] - 1
    best = (gains.sort(descending=True).values / torch.log2(torch.arange(2, len(gains) + 2).double())).sum()
    expected = 1 - (gains / torch.log2(1 + rank)).sum() / best
    assert_same(losses.ApproxNDCGLoss(0.3)(scores, labels), expected, scores)


@pytest.mark.parametrize("seed", range(3))
def test_lambda_rank_weighs_pairs_by_what_swapping_them_does_to_ap(
    seed: int, small_list: Callable[..., Any], assert_same: Callable[..., None], average_precision: Callable[..., float]
) -> None:
    scores, labels = small_list(seed, size=15)
    now = average_precision(scores.detach(), labels > 0)
    expected = torch.zeros((), dtype=torch.float64)
    for i, j in itertools.product((labels > 0).nonzero()[:, 0].tolist(), (labels == 0).nonzero()[:, 0].tolist()):
        swapped = scores.detach().clone()
        swapped[[i, j]] = swapped[[j, i]]
        change = abs(average_precision(swapped, labels > 0) - now)
        expected = expected + change * torch.nn.functional.softplus((scores[j] - scores[i]) / 0.7)
    assert_same(losses.LambdaAPLoss(0.7)(scores, labels), expected, scores)


@pytest.mark.parametrize("seed", range(3))
def test_normalized_lambda_rank_is_a_mean_over_pairs(
    seed: int, small_list: Callable[..., Any], average_precision: Callable[..., float]
) -> None:
    scores, labels = small_list(seed, size=15)
    plain, mean = losses.LambdaAPLoss()(scores, labels), losses.LambdaAPLoss(normalize=True)(scores, labels)
    (plain_gradient,) = torch.autograd.grad(plain, scores)
    (mean_gradient,) = torch.autograd.grad(mean, scores)
    now = average_precision(scores.detach(), labels > 0)
    weight = 0.0
    for i, j in itertools.product((labels > 0).nonzero()[:, 0].tolist(), (labels == 0).nonzero()[:, 0].tolist()):
        swapped = scores.detach().clone()
        swapped[[i, j]] = swapped[[j, i]]
        weight += abs(average_precision(swapped, labels > 0) - now)
    torch.testing.assert_close(mean, plain / weight)
    torch.testing.assert_close(mean_gradient, plain_gradient / weight)


@pytest.mark.parametrize("seed", range(3))
def test_pointwise_losses(seed: int, small_list: Callable[..., Any], assert_same: Callable[..., None]) -> None:
    scores, labels = small_list(seed)
    chance, positive = scores.sigmoid(), labels > 0
    cross = torch.nn.functional.binary_cross_entropy_with_logits(scores, positive.double(), reduction="none")
    soft = torch.nn.functional.binary_cross_entropy_with_logits(scores, labels, reduction="none")
    right = torch.where(positive, chance, 1 - chance)
    alpha = torch.where(positive, 0.25, 0.75).double()
    for loss, expected in [
        (losses.BCELoss(), cross),
        (losses.FocalLoss(), alpha * (1 - right) ** 2 * cross),
        (losses.QualityFocalLoss(), (labels - chance).abs() ** 2 * soft),
        (losses.VarifocalLoss(), torch.where(positive, labels * soft, 0.75 * chance**2 * soft)),
    ]:
        assert_same(loss(scores, labels), expected.sum() / positive.sum(), scores)


def test_correlation_is_that_of_the_textbook(small_list: Callable[..., Any], assert_same: Callable[..., None]) -> None:
    scores, labels = small_list(0)
    chance, quality = scores.sigmoid()[labels > 0], labels[labels > 0]
    pearson = torch.corrcoef(torch.stack([chance, quality]))[0, 1]
    assert_same(losses.CorrelationLoss("pearson")(scores, labels), 1 - pearson, scores)
    scores = scores.detach().requires_grad_()
    chance = scores.sigmoid()[labels > 0]
    mean = chance.mean() - quality.mean()
    together = ((chance - chance.mean()) * (quality - quality.mean())).mean()
    concordance = 2 * together / (chance.var(correction=0) + quality.var(correction=0) + mean**2)
    assert_same(losses.CorrelationLoss()(scores, labels), 1 - concordance, scores)


def test_correlation_needs_two_positives_that_differ() -> None:
    single = losses.CorrelationLoss()(torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.0]))
    assert single.item() == 0
    scores = torch.zeros(3, requires_grad=True)
    same = losses.CorrelationLoss("pearson")(scores, torch.tensor([0.5, 0.5, 0.0]))
    same.backward()
    assert same.item() == 1
    assert not scores.grad.any()
    with pytest.raises(ConfigError, match="got coefficient='spearman'; expected 'concordance' or 'pearson'"):
        losses.CorrelationLoss("spearman")(scores, torch.tensor([0.5, 0.6, 0.0]))
