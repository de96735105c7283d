"""What an agent sees of a run: scale-free numbers from the history, by name, the same in training and in use.

`observe` is a pure function, and environment and deployed policy both call it; so a policy cannot be trained on one
thing and shown another. An agent keeps the names it was trained on: a new feature never changes what an old agent sees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from gymnasium.spaces import Box

from mapopt.errors import ConfigError, unknown_name
from mapopt.training.budget import Budget, TaskInfo
from mapopt.training.history import Measure, Round
from mapopt.training.knobs import ranges

LIMIT = 5.0
"""Logarithms and differences are clipped to ``[-LIMIT, LIMIT]``."""

KNOBS = "knobs"
"""Stands for ``knob_NAME`` of every knob that is an action."""


@dataclass(frozen=True)
class View:
    """A run as features see it, after one round at least."""

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
        """Tune AP before the first round, which is 0, and after every round."""
        return [0.0, *(one.val.ap for one in self.history)]

    def ap_before(self, rounds: int) -> float:
        """Returns the tune AP a number of rounds before the last; 0 before the beginning."""
        return self.aps[-1 - rounds] if rounds < len(self.history) else 0.0


@dataclass(frozen=True)
class Feature:
    """One number that an agent may see."""

    name: str
    meaning: str
    low: float
    high: float
    value: Callable[[View], float]
    measure: Measure | None = None
    """What has to be measured for it beside AP."""


FEATURES: tuple[Feature, ...] = (
    Feature("progress", "rounds played / rounds of the budget", 0, 1, lambda run: len(run.history) / run.budget.rounds),
    Feature("ap", "tune AP of the last round", 0, 1, lambda run: run.now.val.ap),
    Feature(
        "ap_gain", "10 x (tune AP - that of the round before)", -5, 5, lambda run: 10 * (run.aps[-1] - run.aps[-2])
    ),
    Feature(
        "ap_below_best", "10 x (best tune AP so far - tune AP)", 0, 5, lambda run: 10 * (max(run.aps) - run.aps[-1])
    ),
    Feature("ap_trend", "10 x mean gain of tune AP over the last 4 rounds", -5, 5, lambda run: _trend(run.aps[-5:])),
    Feature("ap50", "tune AP50 of the last round", 0, 1, lambda run: run.now.val.ap50),
    Feature(
        "ap75_to_ap50",
        "AP75 / AP50: how well found objects are localised",
        0,
        1,
        lambda run: run.now.val.ap75 / run.now.val.ap50 if run.now.val.ap50 > 0 else 0.0,
    ),
    Feature("ar100", "tune AR100: the AP that perfect scores would allow", 0, 1, lambda run: run.now.val.ar100),
    Feature("ap_spread", "standard deviation of AP over categories", 0, 0.5, lambda run: _spread(run.now)),
    Feature(
        "class_loss_log",
        "ln(class loss / class loss of the first round)",
        -5,
        5,
        lambda run: _log_ratio(run.now.interval.class_loss, run.history[0].interval.class_loss),
    ),
    Feature(
        "class_loss_change",
        "ln(class loss / that of the round before)",
        -5,
        5,
        lambda run: _log_ratio(run.now.interval.class_loss, run.before.interval.class_loss),
    ),
    Feature(
        "box_loss_log",
        "ln(box loss / box loss of the first round)",
        -5,
        5,
        lambda run: _log_ratio(run.now.interval.box_loss, run.history[0].interval.box_loss),
    ),
    Feature(
        "box_loss_change",
        "ln(box loss / that of the round before)",
        -5,
        5,
        lambda run: _log_ratio(run.now.interval.box_loss, run.before.interval.box_loss),
    ),
    Feature(
        "gradient_norm_log",
        "ln(mean gradient norm / that of the first round)",
        -5,
        5,
        lambda run: _log_ratio(run.now.interval.gradient_norm, run.history[0].interval.gradient_norm),
    ),
    Feature(
        "gradient_spike",
        "ln(largest / mean gradient norm of the round)",
        -5,
        5,
        lambda run: _log_ratio(run.now.interval.gradient_norm_max, run.now.interval.gradient_norm),
    ),
    Feature("clipped", "share of the steps whose gradient was clipped", 0, 1, lambda run: run.now.interval.clipped),
    Feature(
        "update_log",
        "log10(step length / length of the weights) + 3",
        -5,
        5,
        lambda run: math.log10(max(run.now.interval.update_ratio, 1e-8)) + 3,
    ),
    Feature(
        "epochs_log",
        "log10(1 + epochs of the training set seen)",
        0,
        5,
        lambda run: math.log10(1 + run.now.images / run.task.train_images),
    ),
    Feature(
        "gradient_ratio_log",
        "log10(gradient norm / length of the weights) + 1; 0 in records without it",
        -5,
        5,
        lambda run: _log10(run.now.interval.gradient_ratio, 1),
    ),
    Feature(
        "weight_norm_log",
        "ln(length of the weights / that after the first round); 0 in records without it",
        -5,
        5,
        lambda run: _log_ratio(run.now.interval.weight_norm, run.history[0].interval.weight_norm),
    ),
    Feature(
        "ap_1_before", "tune AP one round before the last; 0 before the beginning", 0, 1, lambda run: run.ap_before(1)
    ),
    Feature("ap_2_before", "tune AP two rounds before the last", 0, 1, lambda run: run.ap_before(2)),
    Feature("ap_3_before", "tune AP three rounds before the last", 0, 1, lambda run: run.ap_before(3)),
    Feature("ap_4_before", "tune AP four rounds before the last", 0, 1, lambda run: run.ap_before(4)),
    Feature(
        "calibration_error",
        "expected calibration error of tune detections; 0 where nothing is detected",
        0,
        1,
        lambda run: _measured(run.now, "calibration_error", "calibration"),
        "calibration",
    ),
    Feature(
        "f1",
        "tune F1 at IoU .5 of all reported boxes",
        0,
        1,
        lambda run: _measured(run.now, "f1", "operating_point"),
        "operating_point",
    ),
    Feature(
        "best_f1",
        "the same at the best score threshold of every category",
        0,
        1,
        lambda run: _measured(run.now, "best_f1", "operating_point"),
        "operating_point",
    ),
    Feature(
        "lrp",
        "localisation recall precision error of all reported boxes, 0 good and 1 bad",
        0,
        1,
        lambda run: _measured(run.now, "lrp", "operating_point"),
        "operating_point",
    ),
    Feature(
        "optimal_lrp",
        "the same at the best score threshold of every category",
        0,
        1,
        lambda run: _measured(run.now, "optimal_lrp", "operating_point"),
        "operating_point",
    ),
)
"""Every number there is, but for the knobs: ``knob_NAME`` is the present value of any knob, on [-1, 1]."""

DEFAULT_FEATURES: tuple[str, ...] = (*(one.name for one in FEATURES if one.measure is None), KNOBS)
"""All that costs nothing: features without a measure, and the knobs that are actions."""

_BY_NAME = {one.name: one for one in FEATURES}
_KNOB = "knob_"


def observation_names(features: Sequence[str] | None, knobs: Sequence[str]) -> tuple[str, ...]:
    """Returns the name of every entry of an observation.

    Args:
        features: names in `FEATURES`, ``knob_NAME`` for any knob, and ``"knobs"`` for those that are actions; None is
            `DEFAULT_FEATURES`.
        knobs: those that are actions.

    Raises:
        ConfigError: a feature is unknown or named twice, or there is none.

    >>> observation_names(("ap", "knobs", "knob_momentum"), ("lr", "augment"))
    ('ap', 'knob_lr', 'knob_augment', 'knob_momentum')
    """
    names: list[str] = []
    for name in DEFAULT_FEATURES if features is None else features:
        names += [_KNOB + knob for knob in knobs] if name == KNOBS else [name]
    known = [*_BY_NAME, *(_KNOB + knob for knob in ranges()), KNOBS]
    for name in names:
        if name not in known:
            raise ConfigError(unknown_name("feature", name, known))
    if not names or len(set(names)) != len(names):
        raise ConfigError(f"features are {', '.join(names) or 'none'}: expected at least one, each named once")
    return tuple(names)


def observation_space(names: Sequence[str]) -> Box:
    """Returns the box that observations of these names lie in."""
    low = [_BY_NAME[name].low if name in _BY_NAME else -1.0 for name in names]
    high = [_BY_NAME[name].high if name in _BY_NAME else 1.0 for name in names]
    return Box(np.array(low, np.float32), np.array(high, np.float32), dtype=np.float32)


def needed_measures(names: Iterable[str]) -> tuple[Measure, ...]:
    """Returns what has to be measured in every round so that these features can be seen."""
    return tuple(sorted({measure for name in names if name in _BY_NAME and (measure := _BY_NAME[name].measure)}))


def observe(history: Sequence[Round], task: TaskInfo, budget: Budget, names: Sequence[str]) -> np.ndarray:
    """Describes a run so far.

    Args:
        history: the rounds played. Before the first, everything but the knobs is 0.
        task: what is trained.
        budget: what may be spent.
        names: what to look at; see `observation_names`.

    Returns:
        float32 ``[names]``, each clipped to its feature's range.

    Raises:
        ConfigError: a feature needs a measure that the rounds were played without.
    """
    knobs = history[-1].knobs if history else task.knobs
    run = View(history, task, budget)
    values = np.zeros(len(names))
    for place, name in enumerate(names):
        if name.startswith(_KNOB):
            knob = name.removeprefix(_KNOB)
            values[place] = ranges()[knob].to_unit(getattr(knobs, knob))
        elif history:
            feature = _BY_NAME[name]
            values[place] = min(max(feature.value(run), feature.low), feature.high)
    return values.astype(np.float32)


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
