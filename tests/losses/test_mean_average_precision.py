"""COCO's mean AP in closed form: what it is, its update, its gradients, and the weights of the boxes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mapopt.errors import ConfigError, DataError
from mapopt.losses import APLoss, Lists, MeanAPLoss, make_loss
from mapopt.losses.sums import dominance, engines, ranking

COCO = {"thresholds": "coco", "floor": 0.0}
BARE = {"floor": 0.0}  # q is the label itself
FORMS = ("error-driven", "exact")


def problem(seed: int, *shape: int, positives: float = 0.3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(shape, generator=generator, dtype=torch.float64) * 2
    labels = 0.01 + 0.99 * torch.rand(shape, generator=generator, dtype=torch.float64)
    labels = labels * (torch.rand(shape, generator=generator) < positives)
    labels[..., 0] = 0.8
    return scores, labels


def with_gradient(loss: MeanAPLoss | APLoss, *lists: Tensor) -> tuple[Tensor, Tensor]:
    scores = lists[0].clone().requires_grad_()
    value = loss(scores, *lists[1:])
    value.backward()
    return value.detach(), scores.grad


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("parameters", [{}, BARE, COCO, {"floor": 1.0}], ids=str)
def test_labels_of_1_give_ap_loss_without_interpolation(parameters: dict[str, Any], form: str) -> None:
    scores, labels = problem(0, 3, 80)
    hard = (labels > 0).double()
    value, gradient = with_gradient(MeanAPLoss(0.7, gradient=form, **parameters), scores, hard)
    expected, slopes = with_gradient(APLoss(0.7, interpolate=False, gradient=form), scores, hard)
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-15)
    torch.testing.assert_close(gradient, slopes, rtol=0, atol=1e-15)
    rounded, _ = with_gradient(MeanAPLoss(0.7, gradient=form, **parameters), scores, hard * (1 + 1e-6))
    assert rounded == value, "the overlap of equal boxes may round to just above 1"


def average_precision_at(threshold: float, scores: Tensor, labels: Tensor) -> float:
    """AP as an evaluator has it, without interpolation: a positive whose box is not good enough is a false one."""
    order = scores.argsort(descending=True).tolist()
    right, total = 0, 0.0
    for place, index in enumerate(order, start=1):
        if labels[index] >= threshold and labels[index] > 0:
            right += 1
            total += right / place
    return total / int((labels > 0).sum())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(5))
def test_a_sharp_ramp_gives_the_mean_of_ten_average_precisions(seed: int, form: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randperm(70, generator=generator).double() / 8  # no two closer than the ramp is wide
    _, labels = problem(seed, 70, positives=0.4)
    labels[:4] = torch.tensor([0.5, 0.65, 0.95, 1.0], dtype=torch.float64)  # on the thresholds themselves
    thresholds = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
    mean = sum(average_precision_at(threshold, scores, labels) for threshold in thresholds) / 10
    loss = MeanAPLoss(1e-3, gradient=form, **COCO)
    assert loss(scores, labels).item() == pytest.approx(1 - mean, abs=1e-12)
    half = MeanAPLoss(1e-3, gradient=form, thresholds="coco", floor=0.25)
    at_all = average_precision_at(0.0, scores, labels)
    assert half(scores, labels).item() == pytest.approx(1 - 0.25 * at_all - 0.75 * mean, abs=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_all_thresholds_from_0_to_1_are_many_thresholds(form: str) -> None:
    scores, labels = torch.arange(40.0, dtype=torch.float64).flip(0), problem(1, 40)[1]
    thresholds = [(k + 0.5) / 2000 for k in range(2000)]
    mean = sum(average_precision_at(threshold, scores, labels) for threshold in thresholds) / 2000
    assert MeanAPLoss(1e-3, gradient=form, **BARE)(scores, labels).item() == pytest.approx(1 - mean, abs=1e-3)


@pytest.mark.parametrize("form", FORMS)
def test_box_weights_are_what_the_value_falls_by_with_the_quality_of_a_box(form: str) -> None:
    loss = MeanAPLoss(gradient=form, **BARE)
    for seed in range(3):
        scores, labels = problem(seed, 2, 50)
        weights, step = loss.box_weights(scores, labels), 1e-6
        expected = torch.zeros_like(weights)
        for row, column in (labels > 0).nonzero().tolist():
            up, down = labels.clone(), labels.clone()
            up[row, column] += step
            down[row, column] -= step
            ends = [torch.stack(list(loss.lists(scores, part).values())).sum(0)[row] for part in (down, up)]
            expected[row, column] = (ends[0] - ends[1]) / (2 * step)
        torch.testing.assert_close(weights, expected, rtol=0, atol=1e-8)
        assert not weights[labels == 0].any()


@pytest.mark.parametrize("form", FORMS)
def test_what_labels_pass_on_is_the_box_weights_times_the_slope_of_the_quality(form: str) -> None:
    scores, labels = problem(3, 4, 60)
    labels[1] = 0  # no positive: its mean is not taken
    for parameters, slope in [({}, 0.5), (BARE, 1.0), (COCO, 0.0)]:
        loss = MeanAPLoss(gradient=form, **parameters)
        leaf = labels.clone().requires_grad_()
        value = loss(scores.requires_grad_(), leaf)
        (gradient,) = torch.autograd.grad(value, leaf, allow_unused=True, materialize_grads=True)
        expected = -slope * loss.box_weights(scores, labels) / 3
        torch.testing.assert_close(gradient[labels > 0], expected[labels > 0], rtol=0, atol=1e-14)


def test_box_weights_sum_to_the_ap_of_the_list_with_labels_of_1() -> None:
    scores, labels = problem(4, 2, 3, 60)
    weights = MeanAPLoss().box_weights(scores, labels)
    assert weights.shape == (2, 3, 60)
    precision = 1 - APLoss(interpolate=False).lists(scores, (labels > 0).double())["rank"]
    torch.testing.assert_close(weights.sum(-1), precision, rtol=0, atol=1e-14)


def test_box_weights_leave_out_what_is_ignored_and_do_not_hide_a_nan() -> None:
    scores, labels = problem(5, 2, 30)
    where = torch.rand(2, 30, generator=torch.Generator().manual_seed(0)) < 0.7
    loss = MeanAPLoss()
    weights = loss.box_weights(scores, labels, where)
    assert not weights[~where].any()
    for row in range(2):
        alone = loss.box_weights(scores[row, where[row]], labels[row, where[row]])
        torch.testing.assert_close(weights[row, where[row]], alone, rtol=0, atol=1e-14)
    scores[1, 3], where[1, 3] = torch.nan, True
    weights = loss.box_weights(scores, labels, where)
    assert weights.isnan().all(-1).tolist() == [False, True]
    assert weights[0].isfinite().all()


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 5), (4,)])
def test_box_weights_of_nothing_are_zeros(shape: tuple[int, ...]) -> None:
    weights = MeanAPLoss().box_weights(torch.zeros(shape).requires_grad_(), torch.zeros(shape))
    assert torch.equal(weights, torch.zeros(shape))
    assert not weights.requires_grad


def test_box_weights_check_what_a_loss_checks() -> None:
    with pytest.raises(DataError, match=r"labels have shape \[4\] but scores \[2, 4\]"):
        MeanAPLoss().box_weights(torch.zeros(2, 4), torch.zeros(4))
    with pytest.raises(ConfigError, match=r"under torch.vmap, .* leading dimensions are lists already"):
        torch.vmap(MeanAPLoss().box_weights)(*problem(0, 2, 9))
    weights = MeanAPLoss().box_weights([3.0, 0.0, -3.0], [0.6, 0.0, 0.8])
    torch.testing.assert_close(weights, torch.tensor([2 / 3, 0.0, 1 / 6]))
    half = MeanAPLoss().box_weights(torch.zeros(4).half(), torch.tensor([1.0, 0, 0, 0]).half())
    assert half.dtype == torch.float32


def update(scores: Tensor, labels: Tensor, delta: float) -> tuple[list[float], Tensor]:
    """The errors of the three components and the update of the scores, pair by pair."""
    positive = (labels > 0).nonzero()[:, 0].tolist()
    negative = (labels == 0).nonzero()[:, 0].tolist()
    gradient = torch.zeros_like(scores)
    parts = [0.0, 0.0, 0.0]
    for i in positive:
        above = {j: min(max((scores[j] - scores[i]).item() / (2 * delta) + 0.5, 0.0), 1.0) for j in range(len(scores))}
        rank = 1 + sum(above[j] for j in (*positive, *negative) if j != i)
        quality = labels[i].item()
        false = sum(above[j] for j in negative)
        worse = {j: above[j] * max(quality - labels[j].item(), 0.0) for j in positive}
        parts[0] += 1 - quality
        parts[1] += quality * false / rank
        parts[2] += sum(worse.values()) / rank
        gradient[i] -= (quality * false + sum(worse.values())) / rank
        for j in negative:
            gradient[j] += quality * above[j] / rank
        for j, part in worse.items():
            gradient[j] += part / rank
    return [part / len(positive) for part in parts], gradient / len(positive)


@st.composite
def problems(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    scores, labels = problem(draw(st.integers(0, 2**31)), draw(st.integers(1, 30)))
    if draw(st.booleans()):
        scores, labels = scores.round(), (labels * 4).ceil() / 4  # ties in both
    return scores, labels


@settings(max_examples=30, deadline=None)
@given(problems(), st.sampled_from([0.3, 1.0, 4.0]))
def test_the_error_driven_update_is_the_errors_divided_among_their_causes(
    lists: tuple[Tensor, Tensor], delta: float
) -> None:
    expected, slopes = update(*lists, delta)
    scores = lists[0].clone().requires_grad_()
    parts = MeanAPLoss(delta, **BARE).components(scores, lists[1])
    sum(parts.values()).backward()
    assert [part.item() for part in parts.values()] == pytest.approx(expected, abs=1e-12)
    torch.testing.assert_close(scores.grad, slopes, rtol=0, atol=1e-12)
    assert scores.grad.sum().item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_exact_form_has_the_gradient_of_the_formula(seed: int, assert_same: Callable[..., None]) -> None:
    scores, labels = problem(seed, 40)
    scores.requires_grad_(), labels.requires_grad_()
    positive = labels.detach() > 0
    above = ((scores - scores[positive][:, None]) / 1.4 + 0.5).clamp(0, 1)
    own = torch.eye(int(positive.sum()), dtype=torch.float64)
    quality = (1 + labels[positive]) / 2
    false, among = above[:, ~positive].sum(-1), above[:, positive] * (1 - own) + own
    rank = among.sum(-1) + false
    shared = (among * torch.minimum(quality, quality[:, None])).sum(-1) / rank
    parts = MeanAPLoss(0.7, gradient="exact").components(scores, labels)
    assert_same(sum(parts.values()), 1 - shared.mean(), scores, labels)
    assert_same(parts["localization"], (1 - quality).mean(), labels)
    assert_same(parts["rank"], (quality * false / rank).mean(), scores, labels)
    sort = (among * (quality[:, None] - quality).clamp(min=0)).sum(-1) / rank
    assert_same(parts["sort"], sort.mean(), scores, labels)


@pytest.mark.parametrize("form", FORMS)
def test_all_engines_agree(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scores, labels = problem(0, 3, 300)
    results = []
    for few, compiled in ((0, False), (10**6, False), (0, True)):
        for largest in (0, 90, 10**9):
            monkeypatch.setattr(ranking, "_few", lambda scores, few=few: few)
            monkeypatch.setattr(dominance, "LARGEST_MATRIX", largest)
            leaf = labels.clone().requires_grad_()
            with engines.without_kernels():
                if compiled:
                    engines.load_kernels()
                value, slopes = with_gradient(MeanAPLoss(gradient=form), scores, leaf)
                results.append((value, slopes, leaf.grad, MeanAPLoss().box_weights(scores, labels)))
    for result in results[1:]:
        for part, first in zip(result, results[0], strict=True):
            torch.testing.assert_close(part, first, rtol=1e-10, atol=1e-13)


def test_a_subclass_has_a_quality_of_its_own() -> None:
    class Squared(MeanAPLoss):
        def quality(self, ious: Tensor, lists: Lists) -> Tensor:
            return ious**2

    scores, labels = problem(6, 40)
    loss = make_loss(Squared, {"delta": 0.5})
    torch.testing.assert_close(loss(scores, labels), MeanAPLoss(0.5, **BARE)(scores, labels**2))
    torch.testing.assert_close(loss.box_weights(scores, labels), MeanAPLoss(0.5, **BARE).box_weights(scores, labels**2))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"floor": -0.1}, "MeanAPLoss got floor=-0.1; expected a number from 0 to 1"),
        ({"floor": torch.tensor([0.0, 1.5])}, "MeanAPLoss got floor from 0 to 1.5; expected values from 0 to 1"),
        ({"thresholds": "voc"}, "MeanAPLoss got thresholds='voc'; expected 'uniform' or 'coco'"),
        ({"gradient": "true"}, "MeanAPLoss got gradient='true'; expected 'error-driven' or 'exact'"),
    ],
    ids=str,
)
def test_a_parameter_out_of_range_is_named(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MeanAPLoss(**parameters)(torch.zeros(2, 3), torch.ones(2, 3))
