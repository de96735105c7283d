"""What an agent may be shown of a run: scale-free numbers by name, each with its range and its meaning.

An agent keeps the names it was trained on: a new feature never changes what an old agent is shown.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np

from mapopt.envs.detector_training.context import GROUPED
from mapopt.errors import ConfigError
from mapopt.registry import Choice, Registry, check_settings

if TYPE_CHECKING:
    from mapopt.training.budget import Budget, TaskInfo
    from mapopt.training.history import Measure, Round

LIMIT = 5.0
"""Logarithms and differences are clipped to ``[-LIMIT, LIMIT]``."""

FeatureValue = Callable[["Sequence[Round]", "TaskInfo", "Budget"], float]
"""A function of the rounds played (one at least), what is trained, and what may be spent."""


@dataclass(frozen=True)
class Feature:
    """One number that an agent may be shown.

    One of your own is an object of this class; an object of any class with the same attributes, of which `measure`,
    `meaning` and `at_start` may be missing; or just a function with the arguments of `value`, whose range is
    ``[-LIMIT, LIMIT]``.
    """

    name: str
    meaning: str
    low: float
    """What is below is clipped to it."""
    high: float
    """What is above is clipped to it."""
    value: FeatureValue
    """Called as ``value(history, task, budget)``, after one round at least unless it is defined `at_start`."""
    measure: Measure | None = None
    """What has to be measured for it beside AP."""
    at_start: bool = False
    """Whether it is defined before the first round; all others are 0 there."""
    group: str = ""
    """The group that it is shown with, where somebody asks for that; empty for those that are shown by default."""

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        """Pickles one of ours by its name: how it is computed lies in this module and not in the file."""
        return (_by_name, (self.name,)) if _BY_NAME.get(self.name) is self else super().__reduce_ex__(protocol)


def _problem(part: Any) -> str:
    if isinstance(part, Feature) or callable(getattr(part, "value", None)) or inspect.isroutine(part):
        return ""
    return "has no value(history, task, budget): expected a Feature, a class with that method, or such a function"


def make_feature(given: Any) -> Feature:
    """Makes a feature.

    Args:
        given: a name in `FEATURES`; ``module:attribute``, a class or a function of (history, task, budget); one of
            these with settings, as a `Choice`; or a finished `Feature`.

    Raises:
        ConfigError: the feature is unknown, is no feature, or does not take a setting; or one of your own has a name of
            ours or no range.

    >>> def images_left(history, task, budget):
    ...     return 1 - history[-1].images / budget.images
    >>> make_feature(images_left).name
    'images_left'
    """
    if isinstance(given, str) and given in FEATURES:
        return FEATURES[given]
    name, settings = (given.name, given.settings) if isinstance(given, Choice) else (given, {})
    part = FEATURES.find(name)
    if inspect.isroutine(part):
        if settings:
            check_settings(partial(part, None, None, None), settings, f"feature '{name}'")
        meaning = (inspect.getdoc(part) or part.__name__).splitlines()[0]
        value = partial(part, **settings) if settings else part
        return _checked(Feature(part.__name__, meaning, -LIMIT, LIMIT, value))
    made = FEATURES.make(given)
    if not isinstance(made, Feature):
        made = Feature(
            name=getattr(made, "name", _snake(type(made).__name__)),
            meaning=getattr(made, "meaning", "") or (inspect.getdoc(made) or "").partition("\n")[0],
            low=getattr(made, "low", -LIMIT),
            high=getattr(made, "high", LIMIT),
            value=made.value,
            measure=getattr(made, "measure", None),
            at_start=bool(getattr(made, "at_start", False)),
        )
    return _checked(made)


def _checked(feature: Feature) -> Feature:
    """Returns a feature of somebody's own if its name and its range can be used."""
    if not re.fullmatch(r"[A-Za-z]\w*", str(feature.name)) or feature.name.startswith(KNOB):
        raise ConfigError(f"a feature is called {feature.name!r}: expected a name such as images_left, without {KNOB}")
    if feature.name in FEATURES and feature is not FEATURES[feature.name]:
        raise ConfigError(f"feature '{feature.name}' is one of ours: give your own another name")
    if not (math.isfinite(feature.low) and math.isfinite(feature.high) and feature.low < feature.high):
        raise ConfigError(
            f"feature '{feature.name}' has the range {feature.low} to {feature.high}: expected two numbers, the lower "
            "one first"
        )
    return feature


KNOB = "knob_"
"""What the feature of a knob begins with: ``knob_lr`` is the present value of lr, on [-1, 1]."""


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


@dataclass(frozen=True)
class _Run:
    """A run as our own features read it, after one round at least."""

    history: Sequence[Round]
    task: TaskInfo
    budget: Budget

    @property
    def now(self) -> Round:
        """The last round."""
        return self.history[-1]

    @property
    def before(self) -> Round:
        """The round before the last, or the first if there is none."""
        return self.history[-2] if len(self.history) > 1 else self.history[-1]

    @property
    def aps(self) -> list[float]:
        """Val AP before the first round, which is 0, and after every round."""
        return [0.0, *(played.val.ap for played in self.history)]

    def ap_before(self, rounds: int) -> float:
        """Returns the val AP a number of rounds before the last; 0 before the beginning."""
        return self.aps[-1 - rounds] if rounds < len(self.history) else 0.0


def _trend(aps: Sequence[float]) -> float:
    return 10 * (aps[-1] - aps[0]) / (len(aps) - 1)


def _spread(now: Round) -> float:
    defined = [value for value in now.val.per_category if value >= 0]
    return float(np.std(defined)) if defined else 0.0


def _log_ratio(value: float, base: float) -> float:
    if not (math.isfinite(value) and math.isfinite(base)):
        return LIMIT
    return math.log(max(value, 1e-9) / max(base, 1e-9))


def _log10(value: float, shift: float) -> float:
    """Returns a shifted logarithm; records of before the number was kept have -1."""
    if value < 0:
        return 0.0
    return math.log10(max(value, 1e-8)) + shift if math.isfinite(value) else LIMIT


def _measured(now: Round, name: str, measure: Measure) -> float:
    """Returns a score that is only there where it was asked for."""
    value: float = getattr(now.val, name)
    # Without a detection there is nothing to be calibrated; a diverged round has no detections.
    undefined = now.interval.diverged or (measure == "calibration" and now.val.ar100 <= 0)
    if value < 0 and not undefined:
        raise ConfigError(
            f"feature '{name}' needs the measure '{measure}', which round {now.index + 1} was played without: "
            f"advance the run with measures=('{measure}',)"
        )
    return value


def _feature(
    name: str, meaning: str, bounds: tuple[float, float], value: Callable[[_Run], float], measure: Measure | None = None
) -> Feature:
    """Returns one of our own features, which are functions of a run."""
    return Feature(name, meaning, *bounds, lambda history, task, budget: value(_Run(history, task, budget)), measure)


_OURS: tuple[Feature, ...] = (
    _feature(
        "progress", "rounds played / rounds of the budget", (0, 1), lambda run: len(run.history) / run.budget.rounds
    ),
    _feature("ap", "val AP of the last round", (0, 1), lambda run: run.now.val.ap),
    _feature(
        "ap_gain", "10 x (val AP - that of the round before)", (-5, 5), lambda run: 10 * (run.aps[-1] - run.aps[-2])
    ),
    _feature(
        "ap_below_best", "10 x (best val AP so far - val AP)", (0, 5), lambda run: 10 * (max(run.aps) - run.aps[-1])
    ),
    _feature("ap_trend", "10 x mean gain of val AP over the last 4 rounds", (-5, 5), lambda run: _trend(run.aps[-5:])),
    _feature("ap50", "val AP50 of the last round", (0, 1), lambda run: run.now.val.ap50),
    _feature(
        "ap75_to_ap50",
        "AP75 / AP50: how well detected objects are placed",
        (0, 1),
        lambda run: run.now.val.ap75 / run.now.val.ap50 if run.now.val.ap50 > 0 else 0.0,
    ),
    _feature("ar100", "val AR100: the AP that perfect scores would allow", (0, 1), lambda run: run.now.val.ar100),
    _feature("ap_spread", "standard deviation of AP over categories", (0, 0.5), lambda run: _spread(run.now)),
    _feature(
        "class_loss_log",
        "ln(class loss / class loss of the first round)",
        (-5, 5),
        lambda run: _log_ratio(run.now.interval.class_loss, run.history[0].interval.class_loss),
    ),
    _feature(
        "class_loss_change",
        "ln(class loss / that of the round before)",
        (-5, 5),
        lambda run: _log_ratio(run.now.interval.class_loss, run.before.interval.class_loss),
    ),
    _feature(
        "box_loss_log",
        "ln(box loss / box loss of the first round)",
        (-5, 5),
        lambda run: _log_ratio(run.now.interval.box_loss, run.history[0].interval.box_loss),
    ),
    _feature(
        "box_loss_change",
        "ln(box loss / that of the round before)",
        (-5, 5),
        lambda run: _log_ratio(run.now.interval.box_loss, run.before.interval.box_loss),
    ),
    _feature(
        "gradient_norm_log",
        "ln(mean gradient norm / that of the first round)",
        (-5, 5),
        lambda run: _log_ratio(run.now.interval.gradient_norm, run.history[0].interval.gradient_norm),
    ),
    _feature(
        "gradient_spike",
        "ln(largest / mean gradient norm of the round)",
        (-5, 5),
        lambda run: _log_ratio(run.now.interval.gradient_norm_max, run.now.interval.gradient_norm),
    ),
    _feature(
        "clipped", "fraction of the steps whose gradient was clipped", (0, 1), lambda run: run.now.interval.clipped
    ),
    _feature(
        "update_log",
        "log10(step length / length of the weights) + 3",
        (-5, 5),
        lambda run: math.log10(max(run.now.interval.update_ratio, 1e-08)) + 3,
    ),
    _feature(
        "epochs_log",
        "log10(1 + epochs of the training set seen)",
        (0, 5),
        lambda run: math.log10(1 + run.now.images / run.task.train_images),
    ),
    _feature(
        "gradient_ratio_log",
        "log10(gradient norm / length of the weights) + 1; 0 in records without it",
        (-5, 5),
        lambda run: _log10(run.now.interval.gradient_ratio, 1),
    ),
    _feature(
        "weight_norm_log",
        "ln(length of the weights / that after the first round); 0 in records without it",
        (-5, 5),
        lambda run: _log_ratio(run.now.interval.weight_norm, run.history[0].interval.weight_norm),
    ),
    _feature(
        "ap_1_before", "val AP one round before the last; 0 before the beginning", (0, 1), lambda run: run.ap_before(1)
    ),
    _feature("ap_2_before", "val AP two rounds before the last", (0, 1), lambda run: run.ap_before(2)),
    _feature("ap_3_before", "val AP three rounds before the last", (0, 1), lambda run: run.ap_before(3)),
    _feature("ap_4_before", "val AP four rounds before the last", (0, 1), lambda run: run.ap_before(4)),
    _feature(
        "calibration_error",
        "expected calibration error of val detections; 0 where nothing is detected",
        (0, 1),
        lambda run: _measured(run.now, "calibration_error", "calibration"),
        measure="calibration",
    ),
    _feature(
        "f1",
        "val F1 at IoU .5 of all reported boxes",
        (0, 1),
        lambda run: _measured(run.now, "f1", "operating_point"),
        measure="operating_point",
    ),
    _feature(
        "best_f1",
        "the same at the best score threshold of every category",
        (0, 1),
        lambda run: _measured(run.now, "best_f1", "operating_point"),
        measure="operating_point",
    ),
    _feature(
        "lrp",
        "localization recall precision error of all reported boxes, 0 good and 1 bad",
        (0, 1),
        lambda run: _measured(run.now, "lrp", "operating_point"),
        measure="operating_point",
    ),
    _feature(
        "optimal_lrp",
        "the same at the best score threshold of every category",
        (0, 1),
        lambda run: _measured(run.now, "optimal_lrp", "operating_point"),
        measure="operating_point",
    ),
    *(
        Feature(each.name, each.meaning, *each.bounds, each.value, each.measure, each.at_start, each.group)
        for each in GROUPED
    ),
)

_BY_NAME = {feature.name: feature for feature in _OURS}


def _by_name(name: str) -> Feature:
    return _BY_NAME[name]


FEATURES: Registry[Any] = Registry("feature", _BY_NAME, check=_problem)
"""Every number there is, but for the knobs: ``knob_NAME`` is the present value of any knob, on [-1, 1]."""
