"""What is known of every loss without importing it: where it is, its parameters, and whether it is pointwise.

Settings are read and checked from this table, so that a command refuses a wrong flag before it imports torch and before
it writes anything. A test holds the table to the classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mapopt.errors import ConfigError, unknown_name
from mapopt.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """The values that a parameter of a loss may have."""

    kind: type = float
    """float, int, bool or str."""
    above: float = -math.inf
    """What a number has to be larger than."""
    below: float = math.inf
    """What a number has to be smaller than."""
    min: float = -math.inf
    """The smallest number."""
    max: float = math.inf
    """The largest number."""
    words: tuple[str, ...] = ()
    """What a str may be."""

    def expected(self, value: Any) -> str:
        """Returns what was expected if a value is not allowed, else nothing."""
        if self.kind is bool:
            return "" if isinstance(value, bool) else "True or False"
        if self.kind is str:
            return "" if value in self.words else " or ".join(repr(word) for word in self.words)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        inside = number and self.above < value < self.below and self.min <= value <= self.max
        if inside and (self.kind is float or value == int(value)):
            return ""
        text = "a number" if self.kind is float else "a whole number"
        if math.isfinite(self.above):
            text += f" above {self.above:g}"
        if math.isfinite(self.below):
            text += f" and below {self.below:g}"
        if math.isfinite(self.min) and math.isfinite(self.max):
            text += f" from {self.min:g} to {self.max:g}"
        return text


@dataclass(frozen=True, kw_only=True)
class LossEntry:
    """A loss, as far as settings need to know it."""

    where: str
    """Module and name of its class, as ``module:attribute``."""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    """Of its constructor."""
    pointwise: bool = False
    """Whether every score is taken by itself."""
    error_rate: bool = True
    """Whether a ranking loss's value is a fraction of something that went wrong."""
    default_class_weight: float = 1.0
    """Its weight beside a box loss of weight 1, from which a detector starts."""

    @property
    def is_error_rate(self) -> bool:
        """Whether its value is a fraction of something that went wrong; a pointwise loss's never is."""
        return self.error_rate and not self.pointwise


_NUMBER = Parameter()
_POSITIVE = Parameter(above=0)
_INSIDE = Parameter(above=0, below=1)
_FRACTION = Parameter(min=0, max=1)
_FLAG = Parameter(kind=bool)
_GRADIENT = Parameter(kind=str, words=("error-driven", "exact"))
_ERROR_DRIVEN = {"delta": _POSITIVE, "gradient": _GRADIENT}

ERROR_DRIVEN_WEIGHT = 0.25
"""Class weight that error-driven losses start from: their gradient does not shrink as a ranking gets better, so at 1 it
outweighs the boxes' in the end."""

LOSS_TABLE: dict[str, LossEntry] = {
    # Ranking: what a score costs depends on the other scores.
    "ap": LossEntry(
        where="mapopt.losses.average_precision:APLoss",
        parameters={**_ERROR_DRIVEN, "interpolate": _FLAG},
        default_class_weight=ERROR_DRIVEN_WEIGHT,
    ),
    "alrp": LossEntry(
        where="mapopt.losses.alrp:ALRPLoss", parameters=_ERROR_DRIVEN, default_class_weight=ERROR_DRIVEN_WEIGHT
    ),
    "rank_sort": LossEntry(
        where="mapopt.losses.rank_sort:RankSortLoss", parameters=_ERROR_DRIVEN, default_class_weight=ERROR_DRIVEN_WEIGHT
    ),
    "bucketed_rank_sort": LossEntry(
        where="mapopt.losses.rank_sort:BucketedRankSortLoss",
        parameters=_ERROR_DRIVEN,
        default_class_weight=ERROR_DRIVEN_WEIGHT,
    ),
    "mean_ap": LossEntry(
        where="mapopt.losses.mean_average_precision:MeanAPLoss",
        parameters={
            **_ERROR_DRIVEN,
            "thresholds": Parameter(kind=str, words=("uniform", "coco")),
            "floor": _FRACTION,
        },
        default_class_weight=ERROR_DRIVEN_WEIGHT,
    ),
    "smooth_ap": LossEntry(
        where="mapopt.losses.smooth_ranks:SmoothAPLoss", parameters={"temperature": _POSITIVE, "sigmoid": _FLAG}
    ),
    "fast_ap": LossEntry(
        where="mapopt.losses.histogram_ap:FastAPLoss",
        parameters={"bins": Parameter(kind=int, above=0), "sigmoid": _FLAG},
    ),
    "quantized_ap": LossEntry(
        where="mapopt.losses.histogram_ap:QuantizedAPLoss",
        parameters={"bins": Parameter(kind=int, above=1), "tie_aware": _FLAG, "sigmoid": _FLAG},
    ),
    "blackbox_ap": LossEntry(
        where="mapopt.losses.blackbox:BlackboxAPLoss", parameters={"strength": _POSITIVE, "margin": _NUMBER}
    ),
    "ape": LossEntry(where="mapopt.losses.pairwise_error:APELoss", parameters={"steepness": _POSITIVE}),
    "parameterized_ap": LossEntry(
        where="mapopt.losses.parameterized:ParameterizedAPLoss",
        parameters={
            "delta": _POSITIVE,
            **{
                f"{curve}_{axis}": _INSIDE for curve in ("rank", "error", "quality", "other", "weight") for axis in "xy"
            },
        },
    ),
    "listnet": LossEntry(where="mapopt.losses.listwise:ListNetLoss", error_rate=False),
    "listmle": LossEntry(where="mapopt.losses.listwise:ListMLELoss", error_rate=False),
    "approx_ndcg": LossEntry(where="mapopt.losses.smooth_ranks:ApproxNDCGLoss", parameters={"temperature": _POSITIVE}),
    "lambda_ap": LossEntry(
        where="mapopt.losses.lambda_ap:LambdaAPLoss",
        parameters={"temperature": _POSITIVE, "normalize": _FLAG},
        error_rate=False,
    ),
    "plackett_luce_ap": LossEntry(
        where="mapopt.losses.plackett_luce:PlackettLuceAPLoss",
        parameters={
            "samples": Parameter(kind=int, above=1),
            "temperature": _POSITIVE,
            "seed": Parameter(kind=int),
        },
    ),
    # Pointwise: the baselines.
    "focal": LossEntry(
        where="mapopt.losses.pointwise:FocalLoss",
        parameters={"alpha": _NUMBER, "gamma": _NUMBER, "weight": _NUMBER},
        pointwise=True,
    ),
    "bce": LossEntry(where="mapopt.losses.pointwise:BCELoss", parameters={"weight": _NUMBER}, pointwise=True),
    "quality_focal": LossEntry(
        where="mapopt.losses.quality:QualityFocalLoss",
        parameters={"beta": _POSITIVE, "weight": _NUMBER},
        pointwise=True,
    ),
    "varifocal": LossEntry(
        where="mapopt.losses.quality:VarifocalLoss",
        parameters={"alpha": _NUMBER, "gamma": _NUMBER, "weight": _NUMBER},
        pointwise=True,
    ),
    "mal": LossEntry(
        where="mapopt.losses.soft_targets:MatchabilityAwareLoss",
        parameters={"power": _POSITIVE, "weight": _NUMBER},
        pointwise=True,
        default_class_weight=0.5,
    ),
    "ia_bce": LossEntry(
        where="mapopt.losses.soft_targets:IoUAwareBCELoss",
        parameters={"alpha": _NUMBER, "gamma": _NUMBER, "weight": _NUMBER},
        pointwise=True,
    ),
    "task_aligned_bce": LossEntry(
        where="mapopt.losses.soft_targets:TaskAlignedBCELoss",
        parameters={"alpha": _NUMBER, "beta": _NUMBER, "focus": _NUMBER, "weight": _NUMBER},
        pointwise=True,
    ),
    "ecm": LossEntry(
        where="mapopt.losses.long_tail:EffectiveClassMarginLoss",
        parameters={"background": _POSITIVE, "weight": _NUMBER},
        pointwise=True,
    ),
    "efl": LossEntry(
        where="mapopt.losses.long_tail:EqualizedFocalLoss",
        parameters={"alpha": _NUMBER, "base_gamma": _POSITIVE, "scale": _NUMBER, "weight": _NUMBER},
        pointwise=True,
    ),
    # Auxiliary: beside another loss.
    "correlation": LossEntry(
        where="mapopt.losses.quality:CorrelationLoss",
        parameters={"coefficient": Parameter(kind=str, words=("concordance", "pearson"))},
    ),
}
"""Every loss, in the order of the documentation."""


def start_weight(name: str, settings: Mapping[str, Any] | None = None) -> float | None:
    """Returns the class weight that a detector starts from, as `ListLoss.start_weight`, without making the loss.

    Args:
        name: key of `LOSS_TABLE`; of any other loss nothing is known, and None is returned.
        settings: parameters that differ from the defaults.

    >>> start_weight("ap"), start_weight("ap", {"gradient": "exact"}), start_weight("focal")
    (0.25, 1.0, 1.0)
    """
    if name not in LOSS_TABLE:
        return None
    return 1.0 if (settings or {}).get("gradient") == "exact" else LOSS_TABLE[name].default_class_weight


def check_loss_settings(name: str, settings: Mapping[str, Any] | None = None) -> None:
    """Raises ConfigError unless a loss can be made of a name and of values for its parameters.

    Args:
        name: key of `LOSS_TABLE`; or ``module:attribute``, of which nothing more is known before it is imported.
        settings: parameters that differ from the defaults. Tensors are left to the loss itself.

    >>> check_loss_settings("ap", {"gradient": "x"})
    Traceback (most recent call last):
    mapopt.errors.ConfigError: loss 'ap' got gradient='x': expected 'error-driven' or 'exact'
    """
    Registry("loss", LOSS_TABLE).check_name(name)
    if name not in LOSS_TABLE:
        return
    known = LOSS_TABLE[name].parameters
    for parameter, value in (settings or {}).items():
        if parameter not in known:
            raise ConfigError(unknown_name(f"parameter of loss '{name}'", parameter, known))
        expected = "" if hasattr(value, "shape") else known[parameter].expected(value)
        if expected:
            raise ConfigError(f"loss '{name}' got {parameter}={value!r}: expected {expected}")
