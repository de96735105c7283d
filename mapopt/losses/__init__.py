"""Scores and labels in, a differentiable surrogate of 1 - AP out.

One signature for the whole family: ``loss(scores, labels, where=None)`` on logits ``[..., n]``, leading dimensions
being independent lists. `LOSSES` names the members, `BOX_LOSSES` the losses between boxes that stand beside them.
`ScoreMemory`, `gather_lists` and `split_by_iou` change what a list is, before any of the losses sees it.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from mapopt.errors import ConfigError, unknown_name
from mapopt.losses.alrp import ALRPLoss
from mapopt.losses.average_precision import APLoss
from mapopt.losses.base import ListLoss
from mapopt.losses.blackbox import BlackboxAPLoss
from mapopt.losses.boxes import BOX_LOSSES, giou_loss, smooth_l1_loss
from mapopt.losses.histogram_ap import FastAPLoss, QuantizedAPLoss
from mapopt.losses.lambda_ap import LambdaAPLoss
from mapopt.losses.listwise import ListMLELoss, ListNetLoss
from mapopt.losses.pairwise_error import APELoss
from mapopt.losses.parameterized import ParameterizedAPLoss
from mapopt.losses.plackett_luce import PlackettLuceAPLoss
from mapopt.losses.pointwise import BCELoss, FocalLoss, PointwiseLoss
from mapopt.losses.quality import CorrelationLoss, QualityFocalLoss, VarifocalLoss
from mapopt.losses.rank_sort import BucketedRankSortLoss, RankSortLoss
from mapopt.losses.smooth_ranks import ApproxNDCGLoss, SmoothAPLoss
from mapopt.losses.sums.transforms import IOU_THRESHOLDS, ScoreMemory, gather_lists, split_by_iou

LOSSES: dict[str, type[ListLoss]] = {
    # Ranking: what a score is worth depends on the other scores.
    "ap": APLoss,
    "alrp": ALRPLoss,
    "rank_sort": RankSortLoss,
    "bucketed_rank_sort": BucketedRankSortLoss,
    "smooth_ap": SmoothAPLoss,
    "fast_ap": FastAPLoss,
    "quantized_ap": QuantizedAPLoss,
    "blackbox_ap": BlackboxAPLoss,
    "ape": APELoss,
    "parameterized_ap": ParameterizedAPLoss,
    "listnet": ListNetLoss,
    "listmle": ListMLELoss,
    "approx_ndcg": ApproxNDCGLoss,
    "lambda_ap": LambdaAPLoss,
    "plackett_luce_ap": PlackettLuceAPLoss,
    # Pointwise: the baselines.
    "focal": FocalLoss,
    "bce": BCELoss,
    "quality_focal": QualityFocalLoss,
    "varifocal": VarifocalLoss,
    # Auxiliary: beside another loss.
    "correlation": CorrelationLoss,
}


def make_loss(name: str, settings: Mapping[str, int | float | bool | str] | None = None) -> ListLoss:
    """Makes a loss from its name and its parameters, as a configuration file has them.

    Args:
        name: key of `LOSSES`.
        settings: parameters of its constructor that differ from the defaults.

    Raises:
        ConfigError: the name or a parameter is unknown.

    >>> make_loss("ap", {"gradient": "exact"})
    APLoss(delta=1.0, interpolate=True, gradient=exact)
    """
    if name not in LOSSES:
        raise ConfigError(unknown_name("loss", name, LOSSES))
    parameters = inspect.signature(LOSSES[name]).parameters.values()
    known = [one.name for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    for parameter in settings or {}:
        if parameter not in known:
            raise ConfigError(unknown_name(f"parameter of loss '{name}'", parameter, known))
    return LOSSES[name](**(settings or {}))


__all__ = [
    "BOX_LOSSES",
    "IOU_THRESHOLDS",
    "LOSSES",
    "ALRPLoss",
    "APELoss",
    "APLoss",
    "ApproxNDCGLoss",
    "BCELoss",
    "BlackboxAPLoss",
    "BucketedRankSortLoss",
    "CorrelationLoss",
    "FastAPLoss",
    "FocalLoss",
    "LambdaAPLoss",
    "ListMLELoss",
    "ListNetLoss",
    "ParameterizedAPLoss",
    "PlackettLuceAPLoss",
    "PointwiseLoss",
    "QualityFocalLoss",
    "QuantizedAPLoss",
    "RankSortLoss",
    "RankingLoss",
    "ScoreMemory",
    "SmoothAPLoss",
    "VarifocalLoss",
    "gather_lists",
    "giou_loss",
    "make_loss",
    "smooth_l1_loss",
    "split_by_iou",
]
