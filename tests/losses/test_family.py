"""What holds for every member of the family; a new member joins by one line."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mapopt import losses
from mapopt.errors import ConfigError, DataError
from mapopt.losses import LOSSES, APLoss, ListLoss, RankSortLoss
from mapopt.losses.testing import PROPERTIES, check_loss, check_parameter

MEMBERS: dict[str, ListLoss] = {
    "ap": losses.APLoss(),
    "ap, not interpolated": losses.APLoss(delta=0.7, interpolate=False),
    "ap, exact": losses.APLoss(gradient="exact"),
    "alrp": losses.ALRPLoss(),
    "alrp, exact": losses.ALRPLoss(gradient="exact"),
    "rank_sort": losses.RankSortLoss(),
    "rank_sort, exact": losses.RankSortLoss(gradient="exact"),
    "bucketed_rank_sort": losses.BucketedRankSortLoss(),
    "mean_ap": losses.MeanAPLoss(),
    "mean_ap, coco": losses.MeanAPLoss(thresholds="coco", floor=0.0),
    "mean_ap, exact": losses.MeanAPLoss(gradient="exact"),
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
    "mal": losses.MatchabilityAwareLoss(),
    "ia_bce": losses.IoUAwareBCELoss(),
    "task_aligned_bce": losses.TaskAlignedBCELoss(),
    "task_aligned_bce, focused": losses.TaskAlignedBCELoss(focus=2.0),
    "ecm": losses.EffectiveClassMarginLoss(),
    "efl": losses.EqualizedFocalLoss(),
    "correlation": losses.CorrelationLoss(),
    "correlation, pearson": losses.CorrelationLoss("pearson"),
}
# The gradient is not the derivative of the value on purpose, beyond those that say so by `gradient`.
INEXACT = [
    *["bucketed_rank_sort", "blackbox_ap", "ape", "parameterized_ap", "parameterized_ap, bent"],
    *["lambda_ap", "lambda_ap, normalized", "plackett_luce_ap", "mal", "ia_bce"],
]
# One subgradient of many at ties.
KINKED = ["ap, exact", "alrp, exact", "rank_sort, exact", "mean_ap, exact", "parameterized_ap, bent"]
# A bin that holds positives only counts as much as it holds: a positive may gain by staying with others.
HISTOGRAMS = ["fast_ap", "quantized_ap", "quantized_ap, tie-aware"]
SIGMOID = ["smooth_ap", *HISTOGRAMS, "correlation", "correlation, pearson"]  # of each score
NOISY = ["plackett_luce_ap"]  # the noise is made from the scores
ZERO_WITHOUT_NEGATIVES = [
    *["ap", "ap, not interpolated", "ap, exact", "smooth_ap", "fast_ap", "quantized_ap", "blackbox_ap", "lambda_ap"],
    *["lambda_ap, normalized", "plackett_luce_ap", "parameterized_ap"],
    *["mean_ap", "mean_ap, coco", "mean_ap, exact"],
]


def value_and_gradient(
    loss: ListLoss, scores: Tensor, labels: Tensor, where: Tensor | None = None
) -> tuple[dict[str, Tensor], Tensor]:
    scores = scores.clone().requires_grad_()
    values = loss.lists(scores, labels, where)
    sum(value.sum() for value in values.values()).backward()
    return {name: value.detach() for name, value in values.items()}, scores.grad


def test_every_member_is_tested() -> None:
    assert set(LOSSES.values()) == {type(loss) for loss in MEMBERS.values()}


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("property_", PROPERTIES)
def test_the_family_has_its_properties(name: str, property_: str) -> None:
    loss = MEMBERS[name]
    check_loss(
        loss,
        properties=[property_],
        exact=False if name in INEXACT else None,
        direction="any" if name in HISTOGRAMS else None,
        differences_only=not loss.pointwise and name not in SIGMOID + NOISY,
        smooth_at_ties=name not in KINKED,
    )


@pytest.mark.parametrize("name", ZERO_WITHOUT_NEGATIVES)
def test_without_a_negative_ap_is_perfect(name: str) -> None:
    values, gradient = value_and_gradient(MEMBERS[name], torch.tensor([1.0, -2.0, 0.3]), torch.ones(3))
    assert values["rank"].item() == 0
    assert not gradient.any()


@pytest.mark.parametrize(
    ("loss", "name", "values"),
    [
        (losses.APLoss(), "delta", (0.5, 2.0)),
        (losses.APLoss(gradient="exact"), "delta", (0.5, 2.0)),
        (losses.ALRPLoss(), "delta", (0.5, 2.0)),
        (losses.RankSortLoss(), "delta", (0.5, 2.0)),
        (losses.RankSortLoss(gradient="exact"), "delta", (0.5, 2.0)),
        (losses.BucketedRankSortLoss(), "delta", (0.5, 2.0)),
        (losses.MeanAPLoss(), "delta", (0.5, 2.0)),
        (losses.MeanAPLoss(), "floor", (0.1, 0.7)),
        (losses.MeanAPLoss(gradient="exact", thresholds="coco"), "floor", (0.1, 0.7)),
        (losses.SmoothAPLoss(), "temperature", (0.01, 0.1)),
        (losses.BlackboxAPLoss(), "strength", (1.0, 30.0)),
        (losses.BlackboxAPLoss(), "margin", (0.0, 0.5)),
        (losses.APELoss(), "steepness", (2.0, 4.0)),
        *[
            (losses.ParameterizedAPLoss(), name, (0.3, 0.8))
            for name in vars(losses.ParameterizedAPLoss())
            if name.endswith(("_x", "_y", "delta"))
        ],
        (losses.ApproxNDCGLoss(), "temperature", (0.1, 1.0)),
        (losses.LambdaAPLoss(), "temperature", (0.5, 1.0)),
        (losses.PlackettLuceAPLoss(samples=2), "temperature", (0.5, 1.0)),
        (losses.FocalLoss(), "alpha", (0.25, 0.5)),
        (losses.FocalLoss(), "gamma", (0.0, 2.0)),
        (losses.QualityFocalLoss(), "beta", (1.0, 2.0)),
        (losses.VarifocalLoss(), "alpha", (0.75, 0.5)),
        (losses.VarifocalLoss(), "gamma", (0.0, 2.0)),
        (losses.MatchabilityAwareLoss(), "power", (1.0, 1.5)),
        (losses.IoUAwareBCELoss(), "alpha", (0.0, 0.25)),
        (losses.IoUAwareBCELoss(), "gamma", (0.0, 2.0)),
        (losses.TaskAlignedBCELoss(), "focus", (0.0, 2.0)),
        (losses.EffectiveClassMarginLoss(), "background", (1.0, 6.3313)),
        (losses.EqualizedFocalLoss(), "alpha", (0.25, 0.5)),
        (losses.EqualizedFocalLoss(), "base_gamma", (1.0, 2.0)),
    ],
    ids=lambda value: str(value)[:40],
)
def test_lanes_can_have_parameters_of_their_own(loss: ListLoss, name: str, values: tuple[float, float]) -> None:
    check_parameter(loss, name, values, seed=5)


@pytest.mark.parametrize("kind", [APLoss, RankSortLoss])
def test_a_parameter_out_of_range_is_named(kind: Callable[..., ListLoss]) -> None:
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
@pytest.mark.parametrize("name", MEMBERS)
def test_a_gpu_gives_what_the_cpu_gives(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 3, 700, generator=generator)
    labels = torch.rand(2, 3, 700, generator=generator) * (torch.rand(2, 3, 700, generator=generator) < 0.1)
    where = torch.rand(2, 3, 700, generator=generator) < 0.9
    values, gradient = value_and_gradient(MEMBERS[name], scores, labels, where)
    there, there_gradient = value_and_gradient(MEMBERS[name], scores.cuda(), labels.cuda(), where.cuda())
    for part, value in values.items():
        torch.testing.assert_close(there[part].cpu(), value, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(there_gradient.cpu(), gradient, rtol=1e-4, atol=1e-6)
