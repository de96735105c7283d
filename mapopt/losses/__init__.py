"""Scores and labels in, a differentiable surrogate of 1 - AP out.

One signature for the whole family: ``loss(scores, labels, where=None)`` on logits ``[..., n]``, leading dimensions
being independent lists. `LOSSES` names the members, `BOX_LOSSES` the losses between boxes that stand beside them.
`ScoreMemory`, `gather_lists` and `split_by_iou` change what a list is, before any of the losses sees it. A loss of your
own is a `ListLoss`, or any function of scores, labels and where; `check_loss` tests it.
"""

from typing import TYPE_CHECKING

from mapopt.lazy import attach

if TYPE_CHECKING:
    from mapopt.losses.alrp import ALRPLoss as ALRPLoss
    from mapopt.losses.average_precision import APLoss as APLoss
    from mapopt.losses.base import ListLoss as ListLoss
    from mapopt.losses.blackbox import BlackboxAPLoss as BlackboxAPLoss
    from mapopt.losses.boxes import giou_loss as giou_loss
    from mapopt.losses.boxes import smooth_l1_loss as smooth_l1_loss
    from mapopt.losses.callables import as_list_loss as as_list_loss
    from mapopt.losses.histogram_ap import FastAPLoss as FastAPLoss
    from mapopt.losses.histogram_ap import QuantizedAPLoss as QuantizedAPLoss
    from mapopt.losses.lambda_ap import LambdaAPLoss as LambdaAPLoss
    from mapopt.losses.listwise import ListMLELoss as ListMLELoss
    from mapopt.losses.listwise import ListNetLoss as ListNetLoss
    from mapopt.losses.long_tail import EffectiveClassMarginLoss as EffectiveClassMarginLoss
    from mapopt.losses.long_tail import EqualizedFocalLoss as EqualizedFocalLoss
    from mapopt.losses.mean_average_precision import MeanAPLoss as MeanAPLoss
    from mapopt.losses.pairwise_error import APELoss as APELoss
    from mapopt.losses.parameterized import ParameterizedAPLoss as ParameterizedAPLoss
    from mapopt.losses.plackett_luce import PlackettLuceAPLoss as PlackettLuceAPLoss
    from mapopt.losses.pointwise import BCELoss as BCELoss
    from mapopt.losses.pointwise import FocalLoss as FocalLoss
    from mapopt.losses.pointwise import PointwiseLoss as PointwiseLoss
    from mapopt.losses.quality import CorrelationLoss as CorrelationLoss
    from mapopt.losses.quality import QualityFocalLoss as QualityFocalLoss
    from mapopt.losses.quality import VarifocalLoss as VarifocalLoss
    from mapopt.losses.rank_sort import BucketedRankSortLoss as BucketedRankSortLoss
    from mapopt.losses.rank_sort import RankSortLoss as RankSortLoss
    from mapopt.losses.registry import BOX_LOSSES as BOX_LOSSES
    from mapopt.losses.registry import LOSSES as LOSSES
    from mapopt.losses.registry import make_box_loss as make_box_loss
    from mapopt.losses.registry import make_loss as make_loss
    from mapopt.losses.smooth_ranks import ApproxNDCGLoss as ApproxNDCGLoss
    from mapopt.losses.smooth_ranks import SmoothAPLoss as SmoothAPLoss
    from mapopt.losses.soft_targets import IoUAwareBCELoss as IoUAwareBCELoss
    from mapopt.losses.soft_targets import MatchabilityAwareLoss as MatchabilityAwareLoss
    from mapopt.losses.soft_targets import TaskAlignedBCELoss as TaskAlignedBCELoss
    from mapopt.losses.sums.lists import Lists as Lists
    from mapopt.losses.sums.transforms import IOU_THRESHOLDS as IOU_THRESHOLDS
    from mapopt.losses.sums.transforms import ScoreMemory as ScoreMemory
    from mapopt.losses.sums.transforms import gather_lists as gather_lists
    from mapopt.losses.sums.transforms import split_by_iou as split_by_iou
    from mapopt.losses.table import LOSS_TABLE as LOSS_TABLE
    from mapopt.losses.table import LossEntry as LossEntry
    from mapopt.losses.table import check_loss_settings as check_loss_settings
    from mapopt.losses.testing import check_loss as check_loss
else:
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "ALRPLoss": "mapopt.losses.alrp",
            "APLoss": "mapopt.losses.average_precision",
            "ListLoss": "mapopt.losses.base",
            "BlackboxAPLoss": "mapopt.losses.blackbox",
            "giou_loss": "mapopt.losses.boxes",
            "smooth_l1_loss": "mapopt.losses.boxes",
            "FastAPLoss": "mapopt.losses.histogram_ap",
            "QuantizedAPLoss": "mapopt.losses.histogram_ap",
            "LambdaAPLoss": "mapopt.losses.lambda_ap",
            "ListMLELoss": "mapopt.losses.listwise",
            "ListNetLoss": "mapopt.losses.listwise",
            "EffectiveClassMarginLoss": "mapopt.losses.long_tail",
            "EqualizedFocalLoss": "mapopt.losses.long_tail",
            "MeanAPLoss": "mapopt.losses.mean_average_precision",
            "as_list_loss": "mapopt.losses.callables",
            "APELoss": "mapopt.losses.pairwise_error",
            "ParameterizedAPLoss": "mapopt.losses.parameterized",
            "PlackettLuceAPLoss": "mapopt.losses.plackett_luce",
            "BCELoss": "mapopt.losses.pointwise",
            "FocalLoss": "mapopt.losses.pointwise",
            "PointwiseLoss": "mapopt.losses.pointwise",
            "CorrelationLoss": "mapopt.losses.quality",
            "QualityFocalLoss": "mapopt.losses.quality",
            "VarifocalLoss": "mapopt.losses.quality",
            "BucketedRankSortLoss": "mapopt.losses.rank_sort",
            "RankSortLoss": "mapopt.losses.rank_sort",
            "BOX_LOSSES": "mapopt.losses.registry",
            "LOSSES": "mapopt.losses.registry",
            "make_box_loss": "mapopt.losses.registry",
            "make_loss": "mapopt.losses.registry",
            "ApproxNDCGLoss": "mapopt.losses.smooth_ranks",
            "SmoothAPLoss": "mapopt.losses.smooth_ranks",
            "IoUAwareBCELoss": "mapopt.losses.soft_targets",
            "MatchabilityAwareLoss": "mapopt.losses.soft_targets",
            "TaskAlignedBCELoss": "mapopt.losses.soft_targets",
            "Lists": "mapopt.losses.sums.lists",
            "IOU_THRESHOLDS": "mapopt.losses.sums.transforms",
            "ScoreMemory": "mapopt.losses.sums.transforms",
            "gather_lists": "mapopt.losses.sums.transforms",
            "split_by_iou": "mapopt.losses.sums.transforms",
            "LOSS_TABLE": "mapopt.losses.table",
            "LossEntry": "mapopt.losses.table",
            "check_loss_settings": "mapopt.losses.table",
            "check_loss": "mapopt.losses.testing",
        },
    )
