"""Scores and labels at the edge of what there is: infinite, huge, -0.0, outside their domain, of another type."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mapopt import losses
from mapopt.errors import ConfigError, DataError
from mapopt.losses import LOSSES, APLoss, FocalLoss, ListLoss, RankSortLoss, as_list_loss, make_loss
from mapopt.losses.sums import engines, ranking
from mapopt.losses.sums.domain import compressed


def hinge(scores: Tensor, labels: Tensor, where: Tensor) -> Tensor:
    gaps = scores[labels == 0] - scores[labels > 0][:, None] + 1.0
    return gaps.clamp(min=0).mean()


MEMBERS: dict[str, ListLoss] = {
    **{name: make_loss(name) for name in LOSSES},
    "ap, exact": APLoss(gradient="exact"),
    "alrp, exact": losses.ALRPLoss(gradient="exact"),
    "rank_sort, exact": RankSortLoss(gradient="exact"),
    "mean_ap, exact": losses.MeanAPLoss(gradient="exact"),
    "mean_ap, coco": losses.MeanAPLoss(thresholds="coco", floor=0.0),
    "parameterized_ap, bent": losses.ParameterizedAPLoss(rank_x=0.3, error_x=0.6, quality_x=0.4, other_y=0.7),
    "quantized_ap, tie-aware": losses.QuantizedAPLoss(tie_aware=True),
    "lambda_ap, normalized": losses.LambdaAPLoss(normalize=True),
    "own": as_list_loss(hinge),
}
# Losses of torch's own operations; the others have autograd functions of their own.
DIFFERENTIABLE = [
    *["listnet", "listmle", "focal", "bce", "quality_focal", "varifocal", "mal", "ia_bce", "task_aligned_bce"],
    *["ecm", "efl", "correlation"],
]
EXTREMES = (-math.inf, math.inf, -1e4, 1e4, -1e38, 1e38)


def problem(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(40, generator=generator, dtype=torch.float64) * 2
    labels = torch.rand(40, generator=generator, dtype=torch.float64)
    labels = labels * (torch.rand(40, generator=generator) < 0.2)
    labels[0], labels[1], labels[2] = 0.8, 0.0, 0.5
    return scores.to(dtype), labels.to(dtype)


def value_and_gradient(loss: ListLoss, scores: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    """Returns those of the first list."""
    scores = scores.clone().requires_grad_()
    value = sum(value.reshape(-1)[0] for value in loss.lists(scores, labels).values())
    (gradient,) = torch.autograd.grad(value, scores)
    return value.item(), gradient.reshape(-1, scores.shape[-1])[0]


@pytest.mark.parametrize("extreme", EXTREMES)
@pytest.mark.parametrize("entry", ["positive", "negative"])
@pytest.mark.parametrize("name", MEMBERS)
def test_an_extreme_score_gives_the_same_finite_numbers_by_pairs_and_by_bins_or_nan(
    name: str, entry: str, extreme: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores, labels = problem()
    scores[0 if entry == "positive" else 1] = extreme
    by_bins, gradient_by_bins = value_and_gradient(MEMBERS[name], scores.expand(2, -1), labels.expand(2, -1))
    monkeypatch.setattr(ranking, "_few", lambda scores: 10**6)
    with engines.without_kernels():
        value, gradient = value_and_gradient(MEMBERS[name], scores, labels)
    if math.isinf(extreme) and not (entry == "negative" and extreme < 0):
        assert math.isnan(value)
        assert math.isnan(by_bins)
        return
    assert math.isfinite(value)
    assert gradient.isfinite().all()
    assert by_bins == pytest.approx(value, rel=1e-5, abs=1e-6)
    torch.testing.assert_close(gradient_by_bins, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", [40, 700])
@pytest.mark.parametrize("name", MEMBERS)
def test_an_extreme_list_leaves_the_bits_of_the_others_alone(name: str, size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    scores = torch.randn((2, 3, size), generator=generator) * 2
    labels = torch.rand((2, 3, size), generator=generator) * (torch.rand((2, 3, size), generator=generator) < 0.2)
    scores[0, 0, 0], scores[0, 0, 1] = 1e20, -1e12  # far from the others, and no reason for float64
    where = torch.rand((2, 3, size), generator=generator) < 0.9
    labels[..., 0], where[..., 0] = 0.5, True

    def others(first: float, second: float, ignored: float) -> tuple[Tensor, Tensor]:
        given = scores.clone()
        given[1, 1, 0], given[1, 1, 1] = first, second
        given = torch.where(where, given, ignored).requires_grad_()
        values = torch.stack(list(MEMBERS[name].lists(given, labels, where).values()))
        (gradient,) = torch.autograd.grad((values * torch.arange(1.0, 7.0).view(2, 3)).sum(), given)
        keep = torch.ones(2, 3, dtype=torch.bool)
        keep[1, 1] = False
        assert values.dtype == torch.float32
        return values[:, keep], gradient[keep]

    ordinary = others(0.3, -0.2, 0.0)
    for first, second, ignored in ((1e38, -0.2, 0.0), (3e30, -3e38, 0.0), (1e38, math.nan, 0.0), (0.3, -0.2, 3e38)):
        for given, expected in zip(others(first, second, ignored), ordinary, strict=True):
            assert torch.equal(given, expected), (first, second, ignored)


@pytest.mark.parametrize(
    "name", [name for name in MEMBERS if name != "plackett_luce_ap"]
)  # its noise comes from the scores
def test_a_masked_negative_is_one_at_the_bottom(name: str) -> None:
    scores, labels = problem()
    low, masked = scores.clone(), scores.clone()
    low[1], masked[1] = -1e4, -math.inf
    value, gradient = value_and_gradient(MEMBERS[name], low, labels)
    there, gradient_there = value_and_gradient(MEMBERS[name], masked, labels)
    assert there == pytest.approx(value, rel=1e-5)
    torch.testing.assert_close(gradient_there, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["ap", "rank_sort", "alrp", "bucketed_rank_sort", "mean_ap", "parameterized_ap"])
def test_huge_scores_are_ranked_as_smaller_ones_in_the_same_order(name: str) -> None:
    places = torch.tensor([[3.0, 1.0, 5.0, 2.0, 4.0, 0.0]], dtype=torch.float64)
    labels = torch.tensor([[0.9, 0.3, 0.0, 0.0, 0.6, 0.0]], dtype=torch.float64)
    huge = (10 ** (31 + places) * torch.where(places < 2, -1, 1)).float().double()
    huge[places == 0], huge[places == 1] = -1e37, -1e33
    for compiled in (False, True):
        with engines.without_kernels():
            if compiled:
                engines.load_kernels()
            expected = MEMBERS[name].lists(100 * places, labels)
            for part, value in MEMBERS[name].lists(huge, labels).items():
                torch.testing.assert_close(value, expected[part])


def test_compressed_scores_keep_their_order_and_the_ordinary_ones_their_bits() -> None:
    scores = torch.tensor([-3e38, -5e9, -4.2e9, -1.5, 0.0, 2.0**32, 2.0**32 * 1.01, 1e30, 3e38], dtype=torch.float32)
    moved = compressed(scores)
    assert (moved.diff() > 100).sum() == 7
    assert torch.equal(moved[2:6], scores[2:6])
    assert moved.abs().max() < 2.0**40


@pytest.mark.parametrize("name", MEMBERS)
def test_minus_zero_equals_zero(name: str) -> None:
    scores, labels = problem(torch.float64)
    scores[[0, 1, 3, 4, 7]] = 0.0
    value, gradient = value_and_gradient(MEMBERS[name], scores, labels)
    negated, labels_negated = scores.clone(), torch.where(labels == 0, -0.0, labels)
    negated[[1, 3, 7]] = -0.0
    there, gradient_there = value_and_gradient(MEMBERS[name], negated, labels_negated)
    assert there == value
    assert torch.equal(gradient_there, gradient)


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize(
    ("labels_of", "message"),
    [
        (lambda labels: 2 * (labels > 0).float() - 1, r"labels are -1 and \+1, .* pass \(labels > 0\)"),
        (lambda labels: 255 * (labels > 0).float(), "labels go up to 255; expected 0 .* where=False"),
        (lambda labels: (7 * labels).ceil(), "labels go up to [67]; expected 0 .* one list per class"),
        (lambda labels: torch.where(labels > 0, math.inf, 0.0), "labels go up to"),
        (lambda labels: torch.cat([labels[:-2], torch.tensor([math.nan, 3.0])]), "labels go up to 3"),
    ],
    ids=["minus one", "ignore index", "class numbers", "infinite", "beside NaN"],
)
def test_labels_outside_their_domain_are_refused(
    name: str, labels_of: Callable[[Tensor], Tensor], message: str
) -> None:
    scores, labels = problem()
    with pytest.raises(DataError, match=message) as caught:
        MEMBERS[name](scores, labels_of(labels))
    assert "\n" not in str(caught.value)


def test_labels_that_do_not_count_may_be_anything() -> None:
    scores, labels = problem()
    where = torch.ones(40, dtype=torch.bool)
    where[5:8] = False
    expected = APLoss()(scores, labels, where)
    for ignored in (255.0, -1.0, math.inf, math.nan):
        assert APLoss()(scores, labels.masked_fill(~where, ignored), where) == expected


def test_labels_that_round_to_just_above_1_are_positives() -> None:
    scores, labels = problem()
    assert APLoss()(scores, labels.masked_fill(labels > 0, 1.0 + 1e-6)) == APLoss()(scores, (labels > 0).float())


def test_a_list_without_negatives_beside_one_with_some_is_no_other_convention() -> None:
    labels = torch.tensor([[1.0, -1.0, -1.0], [1.0, 0.0, -1.0]])
    assert APLoss()(torch.zeros(2, 3), labels).isfinite()


def test_where_is_no_weight() -> None:
    scores, labels = problem()
    with pytest.raises(DataError, match=r"where has values between 0\.5 and 1; expected bool"):
        APLoss()(scores, labels, torch.linspace(0.5, 1.0, 40))
    whole = torch.ones(40)
    whole[3] = 0
    assert APLoss()(scores, labels, whole) == APLoss()(scores, labels, whole.bool())


@pytest.mark.parametrize("name", MEMBERS)
def test_arrays_and_lists_of_numbers_are_tensors(name: str) -> None:
    scores, labels = problem()
    where = torch.ones(40, dtype=torch.bool)
    expected = MEMBERS[name](scores, labels, where)
    for given in (np.asarray, lambda values: values.tolist()):
        assert MEMBERS[name](*[given(values) for values in (scores, labels, where)]).item() == expected.item()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("scores", [0.0]), "scores are a str that is no tensor; expected a tensor, an array or lists of numbers"),
        (([[0.0, 1.0], [2.0]], [0.0]), "scores are a list that is no tensor"),
        (([0.0], None), "labels are a NoneType that is no tensor"),
        ((np.array(["a"]), [0.0]), "scores are a ndarray that is no tensor"),
        (([0.0, 1.0], [0.0, 1.0], {"no": "mask"}), "where are a dict that is no tensor"),
        (([0, 1], [0, 1]), r"scores are torch.int64 of shape \[2\]"),
        (([0.0, 1.0], torch.tensor([0j, 1j])), "labels are torch.complex64; expected numbers"),
        ((torch.zeros(2), torch.zeros(2, device="meta")), "labels are on meta but scores on cpu"),
        ((torch.zeros(2), torch.zeros(2), torch.zeros(2, device="meta")), "where are on meta but scores on cpu"),
    ],
)
def test_what_is_no_list_is_said_in_one_line(given: tuple[Any, ...], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        APLoss()(*given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", ["forward", "components", "lists"])
@pytest.mark.parametrize("name", MEMBERS)
def test_compiled_equals_not_compiled(name: str, method: str) -> None:
    loss = MEMBERS[name]
    scores, labels = (torch.stack([values, values.flip(0)]) for values in problem())

    def step(scores: Tensor) -> Tensor:
        values = getattr(loss, method)(scores * 1.5, labels)
        return (values if method == "forward" else sum(value.sum() for value in values.values())) * 2

    results = []
    for called in (step, torch.compile(step, backend="eager")):
        leaf = scores.clone().requires_grad_()
        value = called(leaf)
        value.backward()
        results.append((value.item(), leaf.grad))
    assert results[1][0] == results[0][0]
    assert torch.equal(results[1][1], results[0][1])
    assert results[0][1].any() or name == "blackbox_ap"  # whose ranking has to change


def test_a_loss_that_is_compiled_itself_has_its_gradient() -> None:
    scores, labels = problem()
    gradients = []
    for loss in (RankSortLoss(), torch.compile(RankSortLoss(), backend="eager")):
        leaf = scores.clone().requires_grad_()
        loss(leaf, labels).backward()
        gradients.append(leaf.grad)
    assert torch.equal(*gradients)


def test_a_full_graph_is_refused_by_the_compiler() -> None:
    scores, labels = problem()
    whole = torch.compile(lambda scores: RankSortLoss()(scores, labels), backend="eager", fullgraph=True)
    with pytest.raises(Exception, match="ranking losses are not traced"):
        whole(scores.requires_grad_())


@pytest.mark.parametrize("name", MEMBERS)
def test_torch_func_gives_the_gradient_or_says_what_to_do(name: str) -> None:
    scores, labels = problem()
    leaf = scores.clone().requires_grad_()
    MEMBERS[name](leaf, labels).backward()
    transformed = torch.func.grad(lambda scores: MEMBERS[name](scores, labels))
    if name in (*DIFFERENTIABLE, "own"):
        torch.testing.assert_close(transformed(scores), leaf.grad)
        return
    with pytest.raises(ConfigError, match=r"was called under torch\.func, .* use torch\.autograd\.grad or backward"):
        transformed(scores)


def test_an_error_of_an_own_loss_stays_what_it_is() -> None:
    def broken(scores: Tensor, labels: Tensor, where: Tensor) -> Tensor:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match=r"^mine$"):
        as_list_loss(broken)(*problem())


@pytest.mark.parametrize("loss", [APLoss(), FocalLoss()])
def test_vmap_is_refused_with_the_way_to_have_it(loss: ListLoss) -> None:
    scores, labels = (values.expand(2, -1) for values in problem())
    with pytest.raises(ConfigError, match=r"under torch.vmap, .* leading dimensions are lists already"):
        torch.vmap(loss)(scores, labels)
