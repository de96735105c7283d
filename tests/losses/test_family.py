"""What holds for every member of the family; a new member joins by one line."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from mapopt import losses
from mapopt.errors import ConfigError, DataError
from mapopt.losses import LOSSES, APLoss, ListLoss, RankSortLoss

MEMBERS: dict[str, ListLoss] = {
    "ap": losses.APLoss(),
    "ap, not interpolated": losses.APLoss(delta=0.7, interpolate=False),
    "ap, exact": losses.APLoss(gradient="exact"),
    "alrp": losses.ALRPLoss(),
    "alrp, exact": losses.ALRPLoss(gradient="exact"),
    "rank_sort": losses.RankSortLoss(),
    "rank_sort, exact": losses.RankSortLoss(gradient="exact"),
    "bucketed_rank_sort": losses.BucketedRankSortLoss(),
    "smooth_ap": losses.SmoothAPLoss(temperature=0.1),
    "fast_ap": losses.FastAPLoss(),
    "quantized_ap": losses.QuantizedAPLoss(),
    "quantized_ap, tie-aware": losses.QuantizedAPLoss(tie_aware=True),
    "blackbox_ap": losses.BlackboxAPLoss(),
    "ape": losses.APELoss(),
    "parameterized_ap": losses.ParameterizedAPLoss(),
    "parameterized_ap, bent": losses.ParameterizedAPLoss(
        rank_x=0.3, error_x=0.6, error_y=0.2, quality_x=0.4, other_y=0.7, weight_y=0.8
    ),
    "listnet": losses.ListNetLoss(),
    "listmle": losses.ListMLELoss(),
    "approx_ndcg": losses.ApproxNDCGLoss(temperature=0.5),
    "lambda_ap": losses.LambdaAPLoss(),
    "lambda_ap, normalized": losses.LambdaAPLoss(normalize=True),
    "plackett_luce_ap": losses.PlackettLuceAPLoss(samples=3),
    "focal": losses.FocalLoss(),
    "bce": losses.BCELoss(),
    "quality_focal": losses.QualityFocalLoss(),
    "varifocal": losses.VarifocalLoss(),
    "correlation": losses.CorrelationLoss(),
    "correlation, pearson": losses.CorrelationLoss("pearson"),
}
NAMES = list(MEMBERS)
# The gradient is the derivative of the value, between kinks; the others take steps or constants on purpose.
EXACT = [
    *["ap, exact", "alrp, exact", "rank_sort, exact", "smooth_ap", "fast_ap", "quantized_ap"],
    *["quantized_ap, tie-aware", "listnet", "listmle", "approx_ndcg", "focal", "bce", "quality_focal", "varifocal"],
    *["correlation", "correlation, pearson"],
]
KINKED = ["ap, exact", "alrp, exact", "rank_sort, exact", "parameterized_ap, bent"]  # one subgradient of many at ties
BOUNDED_SCORES = ["smooth_ap", "fast_ap", "quantized_ap", "quantized_ap, tie-aware"]
POINTWISE = ["focal", "bce", "quality_focal", "varifocal"]
AUXILIARY = ["correlation", "correlation, pearson"]
NOISY = ["plackett_luce_ap"]  # the noise is made from the scores
DIFFERENCES_ONLY = [name for name in NAMES if name not in BOUNDED_SCORES + POINTWISE + AUXILIARY + NOISY]
ZERO_WITHOUT_NEGATIVES = [
    *["ap", "ap, not interpolated", "ap, exact", "smooth_ap", "fast_ap", "quantized_ap", "blackbox_ap", "lambda_ap"],
    "lambda_ap, normalized",
    *["plackett_luce_ap", "parameterized_ap"],
]

every_member = pytest.mark.parametrize("loss", MEMBERS.values(), ids=MEMBERS.keys())


def member(names: list[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("loss", [MEMBERS[name] for name in names], ids=names)


@st.composite
def lists(draw: st.DrawFn, *, ties: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, labels and mask ``[rows, n]``, some rows without positives or without negatives."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    rows, size = draw(st.integers(1, 3)), draw(st.integers(1, 40))
    scores = torch.randn(rows, size, generator=generator, dtype=torch.float64) * draw(st.sampled_from([0.5, 3.0]))
    if ties and draw(st.booleans()):
        scores = scores.round()
    share = torch.tensor([draw(st.sampled_from([0.0, 0.2, 0.5, 1.0])) for _ in range(rows)])[:, None]
    labels = (torch.rand(rows, size, generator=generator) < share) * (
        0.01 + 0.99 * torch.rand(rows, size, generator=generator, dtype=torch.float64)
    )
    where = torch.rand(rows, size, generator=generator) < draw(st.sampled_from([0.7, 1.0]))
    return scores, labels, where


def value_and_gradient(
    loss: ListLoss, scores: Tensor, labels: Tensor, where: Tensor | None = None
) -> tuple[dict[str, Tensor], Tensor]:
    scores = scores.clone().requires_grad_()
    values = loss.lists(scores, labels, where)
    sum(value.sum() for value in values.values()).backward()
    return {name: value.detach() for name, value in values.items()}, scores.grad


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-9, atol=1e-10)


def test_every_member_is_tested() -> None:
    assert set(LOSSES.values()) == {type(loss) for loss in MEMBERS.values()}
    assert all(issubclass(kind, ListLoss) for kind in LOSSES.values())


@every_member
@settings(max_examples=5, deadline=None)
@given(problem=lists(), seed=st.integers(0, 2**31))
def test_the_order_of_entries_and_of_ties_does_not_matter(
    loss: ListLoss, problem: tuple[Tensor, Tensor, Tensor], seed: int
) -> None:
    scores, labels, where = problem
    order = torch.randperm(scores.shape[-1], generator=torch.Generator().manual_seed(seed))
    values, gradient = value_and_gradient(loss, scores, labels, where)
    shuffled, shuffled_gradient = value_and_gradient(loss, scores[:, order], labels[:, order], where[:, order])
    assert_same(values, shuffled)
    kinked = any(MEMBERS[name] is loss for name in KINKED)
    if not kinked or scores.unique().numel() == scores.numel():
        torch.testing.assert_close(gradient[:, order], shuffled_gradient, rtol=1e-9, atol=1e-10)


@every_member
@settings(max_examples=5, deadline=None)
@given(problem=lists(), garbage=st.sampled_from([0.0, 1e4, -1e4, float("nan"), float("inf")]))
def test_ignored_entries_are_as_good_as_absent(
    loss: ListLoss, problem: tuple[Tensor, Tensor, Tensor], garbage: float
) -> None:
    scores, labels, where = problem
    values, gradient = value_and_gradient(loss, scores, labels, where)
    padding = torch.full((scores.shape[0], 7), garbage, dtype=scores.dtype)
    padded, padded_gradient = value_and_gradient(
        loss,
        torch.cat([padding, scores], -1),
        torch.cat([padding.clamp(0, 1), labels], -1),
        torch.cat([torch.zeros_like(padding, dtype=torch.bool), where], -1),
    )
    assert_same(values, padded)
    assert not padded_gradient[:, :7].any()
    assert not gradient[~where].any()
    torch.testing.assert_close(gradient, padded_gradient[:, 7:], rtol=1e-9, atol=1e-10)


@member(DIFFERENCES_ONLY)
@settings(max_examples=5, deadline=None)
@given(problem=lists(), shift=st.sampled_from([-8.0, 0.5, 64.0]))
def test_only_differences_of_scores_matter(
    loss: ListLoss, problem: tuple[Tensor, Tensor, Tensor], shift: float
) -> None:
    scores, labels, where = problem
    scores = (scores * 1024).round() / 1024  # so that the shift is exact
    assert_same(loss.lists(scores, labels, where), loss.lists(scores + shift, labels, where))


@every_member
@settings(max_examples=5, deadline=None)
@given(problem=lists())
def test_a_batch_of_lists_equals_the_lists_one_by_one(loss: ListLoss, problem: tuple[Tensor, Tensor, Tensor]) -> None:
    scores, labels, where = problem
    values, gradient = value_and_gradient(loss, scores, labels, where)
    for row in range(scores.shape[0]):
        alone, alone_gradient = value_and_gradient(loss, scores[row], labels[row], where[row])
        assert_same({name: value[row] for name, value in values.items()}, alone)
        torch.testing.assert_close(gradient[row], alone_gradient, rtol=1e-9, atol=1e-10)
    ranked = ((labels > 0) & where).any(-1)
    means = {name: value[ranked].mean() if ranked.any() else torch.zeros(()) for name, value in values.items()}
    components = loss.components(scores, labels, where)
    for name, mean in means.items():
        assert components[name].item() == pytest.approx(mean.item(), abs=1e-12)
    assert loss(scores, labels, where).item() == pytest.approx(sum(mean.item() for mean in means.values()), abs=1e-12)


@every_member
def test_a_loss_says_whether_it_is_pointwise_and_whether_the_values_of_labels_matter(loss: ListLoss) -> None:
    scores = torch.tensor([0.3, 0.1, -0.2, 1.0, 0.4], dtype=torch.float64)
    labels = torch.tensor([0.9, 0.5, 0.2, 0.0, 0.0], dtype=torch.float64)
    values, gradient = value_and_gradient(loss, scores, labels)
    hard, _ = value_and_gradient(loss, scores, (labels > 0).double())
    assert loss.soft_labels == any((values[name] != hard[name]).item() for name in values)
    moved = scores + torch.tensor([0.0, 0.0, 0.0, -0.5, 0.0])
    _, moved_gradient = value_and_gradient(loss, moved, labels)
    alone = gradient[[0, 1, 2, 4]].equal(moved_gradient[[0, 1, 2, 4]])
    assert loss.pointwise == any(MEMBERS[name] is loss for name in POINTWISE)
    assert alone or not loss.pointwise


@every_member
def test_leading_dimensions_are_kept(loss: ListLoss) -> None:
    generator = torch.Generator().manual_seed(0)
    scores, labels = torch.randn(2, 3, 4, 9, generator=generator), torch.rand(2, 3, 4, 9, generator=generator).round()
    flat = loss.lists(scores.reshape(24, 9), labels.reshape(24, 9))
    for name, value in loss.lists(scores, labels).items():
        assert value.shape == (2, 3, 4)
        assert torch.equal(value.flatten(), flat[name])


@every_member
@pytest.mark.parametrize("shape", [(5,), (3, 7), (2, 0, 4), (3, 0), (0, 5), (0,)], ids=str)
def test_without_a_positive_value_and_gradient_are_zero(loss: ListLoss, shape: tuple[int, ...]) -> None:
    scores = torch.linspace(-3, 3, max(1, torch.Size(shape).numel()))[: torch.Size(shape).numel()].reshape(shape)
    scores.requires_grad_()
    value = loss(scores, torch.zeros(shape))
    value.backward()
    assert value.item() == 0
    assert not scores.grad.any()


@member(ZERO_WITHOUT_NEGATIVES)
def test_without_a_negative_ap_is_perfect(loss: ListLoss) -> None:
    values, gradient = value_and_gradient(loss, torch.tensor([1.0, -2.0, 0.3]), torch.ones(3))
    assert values["rank"].item() == 0
    assert not gradient.any()


@every_member
@pytest.mark.parametrize("scale", [1e4, -1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_extreme_scores_stay_finite(loss: ListLoss, scale: float, dtype: torch.dtype) -> None:
    labels = torch.tensor([[1.0, 0.4, 0.0, 0.0, 0.7, 0.0], [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]], dtype=dtype)
    scores = torch.tensor([[1.0, -1.0, 1.0, -1.0, 1e-4, 0.0], [1.0, -1.0, 0.0, 0.5, 1.0, -1.0]], dtype=dtype) * scale
    values, gradient = value_and_gradient(loss, scores, labels)
    assert all(value.isfinite().all() for value in values.values())
    assert gradient.isfinite().all()


@every_member
def test_a_nan_score_gives_a_nan_loss_in_its_own_list_only(loss: ListLoss) -> None:
    scores = torch.zeros(3, 4)
    scores[0, 1] = scores[2, 0] = torch.nan
    labels = torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(3, 1)
    where = torch.ones(3, 4, dtype=torch.bool)
    where[0, 1] = False
    for value in loss.lists(scores, labels, where).values():
        assert value.isnan().tolist() == [False, False, True]
    assert loss(scores, labels, where).isnan()
    assert loss(scores[1:2], labels[1:2] * torch.nan).isnan()


@every_member
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_within_a_percent_of_single(loss: ListLoss, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(3)
    scores = torch.randn(2, 300, generator=generator).to(dtype)
    labels = torch.rand(2, 300, generator=generator) * (torch.rand(2, 300, generator=generator) < 0.1)
    labels = labels.to(dtype)
    half, half_gradient = value_and_gradient(loss, scores, labels)
    single, gradient = value_and_gradient(loss, scores.float(), labels.float())
    for name in half:
        assert half[name].dtype == torch.float32
        torch.testing.assert_close(half[name], single[name], rtol=0.01, atol=0)
    assert half_gradient.dtype == dtype
    torch.testing.assert_close(half_gradient.float(), gradient, rtol=0.01, atol=0.01 * gradient.abs().max().item())


@member(EXACT)
@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_exact_gradients_are_the_derivative(loss: ListLoss, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = (torch.randn(2, 12, generator=generator, dtype=torch.float64) * 1.5).requires_grad_()
    labels = torch.rand(2, 12, generator=generator, dtype=torch.float64) * (
        torch.rand(2, 12, generator=generator) < 0.4
    )
    assume(not _near_a_kink(loss, scores.detach(), labels))
    assert torch.autograd.gradcheck(
        lambda s: tuple(loss.lists(s, labels).values()), (scores,), eps=1e-6, atol=1e-6, rtol=1e-5
    )


def _near_a_kink(loss: ListLoss, scores: Tensor, labels: Tensor) -> bool:
    """Whether a finite difference would straddle a place where the loss has no derivative, or a nearly upright step."""
    distance = (scores[:, :, None] - scores[:, None, :]).abs()
    if (distance - getattr(loss, "delta", 1.0)).abs().min() < 1e-4:  # the ends of the error-driven ramp
        return True
    if not hasattr(loss, "bins"):
        return False
    intervals = loss.bins - 1 if isinstance(loss, losses.QuantizedAPLoss) else loss.bins
    place = (-scores).sigmoid() * intervals
    if (place - place.round()).abs().min() < 1e-4:  # the centres of the bins
        return True
    shares = (1 - (place[:, :, None] - torch.arange(intervals + 1)).abs()).clamp(min=0)
    content = torch.stack([shares.sum(1), (shares * (labels > 0)[:, :, None]).sum(1)])
    # The published tie-aware formula divides what a bin has above one by itself plus 1e-8: from 0 to 1 in that width.
    return getattr(loss, "tie_aware", False) and bool((content - 1).abs().min() < 1e-3)


@every_member
@settings(max_examples=4, deadline=None)
@given(problem=lists())
def test_each_component_honours_its_own_upstream_weight(loss: ListLoss, problem: tuple[Tensor, Tensor, Tensor]) -> None:
    scores, labels, where = problem
    scores = scores.clone().requires_grad_()
    gradients = {}
    for name, value in loss.lists(scores, labels, where).items():
        gradients[name] = torch.zeros_like(scores)
        if value.requires_grad:  # a localisation part depends on the labels alone
            (gradients[name],) = torch.autograd.grad(value.sum(), scores, retain_graph=True)
    row_weights = torch.arange(1.0, scores.shape[0] + 1, dtype=torch.float64)
    total = sum(
        (weight * row_weights * value).sum()
        for weight, value in enumerate(loss.lists(scores, labels, where).values(), start=2)
    )
    (gradient,) = torch.autograd.grad(total, scores)
    expected = sum(weight * row_weights[:, None] * part for weight, part in enumerate(gradients.values(), start=2))
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("loss", "name", "values"),
    [
        (losses.APLoss(), "delta", [0.5, 2.0]),
        (losses.APLoss(gradient="exact"), "delta", [0.5, 2.0]),
        (losses.ALRPLoss(), "delta", [0.5, 2.0]),
        (losses.RankSortLoss(), "delta", [0.5, 2.0]),
        (losses.RankSortLoss(gradient="exact"), "delta", [0.5, 2.0]),
        (losses.BucketedRankSortLoss(), "delta", [0.5, 2.0]),
        (losses.SmoothAPLoss(), "temperature", [0.01, 0.1]),
        (losses.BlackboxAPLoss(), "strength", [1.0, 30.0]),
        (losses.BlackboxAPLoss(), "margin", [0.0, 0.5]),
        (losses.APELoss(), "steepness", [2.0, 4.0]),
        *[
            (losses.ParameterizedAPLoss(), name, [0.3, 0.8])
            for name in vars(losses.ParameterizedAPLoss())
            if name.endswith(("_x", "_y", "delta"))
        ],
        (losses.ApproxNDCGLoss(), "temperature", [0.1, 1.0]),
        (losses.LambdaAPLoss(), "temperature", [0.5, 1.0]),
        (losses.PlackettLuceAPLoss(samples=2), "temperature", [0.5, 1.0]),
        (losses.FocalLoss(), "alpha", [0.25, 0.5]),
        (losses.FocalLoss(), "gamma", [0.0, 2.0]),
        (losses.QualityFocalLoss(), "beta", [1.0, 2.0]),
        (losses.VarifocalLoss(), "alpha", [0.75, 0.5]),
        (losses.VarifocalLoss(), "gamma", [0.0, 2.0]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_lanes_can_have_parameters_of_their_own(loss: ListLoss, name: str, values: list[float]) -> None:
    generator = torch.Generator().manual_seed(5)
    scores = torch.randn(2, 3, 50, generator=generator)
    labels = torch.rand(2, 3, 50, generator=generator) * (torch.rand(2, 3, 50, generator=generator) < 0.2)
    default = getattr(loss, name)
    apart = []
    for lane, value in enumerate(values):
        setattr(loss, name, value)
        apart.append(value_and_gradient(loss, scores[lane], labels[lane]))
        setattr(loss, name, values[0])
    _, other = value_and_gradient(loss, scores[1], labels[1])
    of_value = loss(scores[1], labels[1]) - sum(value.sum() for value in apart[1][0].values())
    assert of_value != 0 or not torch.equal(apart[1][1], other), "the parameter must matter"
    for shape in [(2, 1), (2, 1, 1)]:
        setattr(loss, name, torch.tensor(values).reshape(shape))
        together, gradient = value_and_gradient(loss, scores, labels)
        for lane in range(2):
            for part, value in apart[lane][0].items():
                torch.testing.assert_close(together[part][lane], value)
            torch.testing.assert_close(gradient[lane], apart[lane][1])
    setattr(loss, name, default)


@pytest.mark.parametrize("kind", [APLoss, RankSortLoss])
def test_a_parameter_out_of_range_is_named(kind: type[ListLoss]) -> None:
    scores, labels = torch.zeros(2, 3), torch.ones(2, 3)
    with pytest.raises(ConfigError, match=f"{kind.__name__} got delta=0; expected a number above 0"):
        kind(delta=0)(scores, labels)
    with pytest.raises(ConfigError, match=f"{kind.__name__} got delta with -1; expected values above 0"):
        kind(delta=torch.tensor([1.0, -1.0]))(scores, labels)
    with pytest.raises(ConfigError, match=r"delta of shape \[3\]; expected .* leading dimensions \[2\]"):
        kind(delta=torch.ones(3))(scores, labels)
    with pytest.raises(ConfigError, match="got gradient='true'; expected 'error-driven' or 'exact'"):
        kind(gradient="true")(scores, labels)


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(DataError, match=r"labels have shape \[4\] but scores \[2, 4\]"):
        APLoss()(torch.zeros(2, 4), torch.zeros(4))
    with pytest.raises(DataError, match=r"where has shape \[3\], which does not broadcast"):
        APLoss()(torch.zeros(2, 4), torch.zeros(2, 4), torch.ones(3))
    with pytest.raises(DataError, match=r"scores are torch.int64 of shape \[2\]"):
        APLoss()(torch.zeros(2, dtype=torch.int64), torch.zeros(2))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@every_member
def test_a_gpu_gives_what_the_cpu_gives(loss: ListLoss) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 3, 700, generator=generator)
    labels = torch.rand(2, 3, 700, generator=generator) * (torch.rand(2, 3, 700, generator=generator) < 0.1)
    where = torch.rand(2, 3, 700, generator=generator) < 0.9
    values, gradient = value_and_gradient(loss, scores, labels, where)
    there, there_gradient = value_and_gradient(loss, scores.cuda(), labels.cuda(), where.cuda())
    for name, value in values.items():
        torch.testing.assert_close(there[name].cpu(), value, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(there_gradient.cpu(), gradient, rtol=1e-4, atol=1e-6)
