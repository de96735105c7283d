"""Features in groups that are shown where somebody asks for them: the context of a run, its losses, its steps.

What helps where recipes and budgets differ is the same number all the time where they do not; so agents that were
trained before, and the default observation, know nothing of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mapopt.errors import ConfigError
from mapopt.losses.table import LOSS_TABLE

if TYPE_CHECKING:
    from mapopt.training.budget import Budget, TaskInfo
    from mapopt.training.history import Measure, Round

_KINDS = {
    "adamw": "adaptive",
    "nadamw": "adaptive",
    "schedule_free_adamw": "adaptive",
    "muon": "orthogonal",
    "prodigy": "rate_free",
    "dog": "rate_free",
}
"""Optimizer -> its kind; of any other nothing is known but that it is none of these."""


@dataclass(frozen=True, kw_only=True)
class GroupedFeature:
    """A feature of a group, as `Feature` has it."""

    name: str
    group: str
    meaning: str
    bounds: tuple[float, float]
    value: Callable[[Sequence[Round], TaskInfo, Budget], float]
    measure: Measure | None = None
    at_start: bool = False


def _context(
    name: str, meaning: str, bounds: tuple[float, float], value: Callable[[TaskInfo, Budget], float]
) -> GroupedFeature:
    """Returns a feature that is known before the first round, and never changes."""
    return GroupedFeature(
        name=name,
        group="context",
        meaning=meaning,
        bounds=bounds,
        value=lambda history, task, budget: value(task, budget),
        at_start=True,
    )


def _kind(name: str) -> Callable[[TaskInfo, Budget], float]:
    return lambda task, budget: float(_KINDS.get(task.optimizer) == name)


def _error_rate(task: TaskInfo, budget: Budget) -> float:
    return float(task.loss in LOSS_TABLE and LOSS_TABLE[task.loss].is_error_rate)


def _gap(part: str) -> Callable[[Sequence[Round], TaskInfo, Budget], float]:
    """Returns a feature of how far a loss on the val split lies above that of the training."""

    def value(history: Sequence[Round], task: TaskInfo, budget: Budget) -> float:
        now = history[-1]
        val, weighted = getattr(now.val, f"{part}_loss"), getattr(now.interval, f"{part}_loss")
        if now.interval.diverged or not math.isfinite(weighted):
            return 0.0
        if val < 0:
            _needs("loss", now, f"{part}_loss_gap")
        if not math.isfinite(val):
            return 5.0
        return math.log(max(val, 1e-9) / max(weighted / now.knobs.get(f"{part}_weight"), 1e-9))

    return value


def _step_to_lr(history: Sequence[Round], task: TaskInfo, budget: Budget) -> float:
    now = history[-1]
    return math.log10(max(now.interval.update_ratio, 1e-8) / now.knobs.get("lr")) + 1


def _agreement(history: Sequence[Round], task: TaskInfo, budget: Budget) -> float:
    now = history[-1]
    agreement = now.interval.gradient_agreement
    if agreement is None and now.interval.steps > 1 and not now.interval.diverged:
        _needs("gradient_agreement", now, "gradient_agreement")
    return agreement or 0.0


def _needs(measure: str, now: Round, name: str) -> None:
    raise ConfigError(
        f"feature '{name}' needs the measure '{measure}', which round {now.index + 1} was played without: advance the "
        f"run with measures=('{measure}',)"
    )


GROUPED: tuple[GroupedFeature, ...] = (
    _context("train_images_log", "log10(train images) - 2", (-5, 5), lambda task, _: math.log10(task.train_images) - 2),
    _context(
        "budget_epochs_log",
        "log10(1 + epochs of the whole budget)",
        (0, 5),
        lambda task, budget: math.log10(1 + budget.images / task.train_images),
    ),
    _context(
        "budget_steps_log",
        "log10(steps of the whole budget) - 2",
        (-5, 5),
        lambda task, budget: math.log10(budget.images / task.batch_size) - 2,
    ),
    _context("classes_log", "log10(categories)", (0, 5), lambda task, _: math.log10(task.classes)),
    _context("batch_log", "log10(images of a step) - 1", (-5, 5), lambda task, _: math.log10(task.batch_size) - 1),
    _context("optimizer_adaptive", "1 with AdamW, NadamW and Schedule-Free AdamW", (0, 1), _kind("adaptive")),
    _context("optimizer_orthogonal", "1 with Muon", (0, 1), _kind("orthogonal")),
    _context("optimizer_rate_free", "1 with Prodigy and DoG, which find their rate", (0, 1), _kind("rate_free")),
    _context("loss_error_rate", "1 with a ranking loss whose value is an error rate", (0, 1), _error_rate),
    GroupedFeature(
        name="class_loss_gap",
        group="losses",
        meaning="ln(class loss on the val split / that of the training, without its weight)",
        bounds=(-5, 5),
        value=_gap("class"),
        measure="loss",
    ),
    GroupedFeature(
        name="box_loss_gap",
        group="losses",
        meaning="the same of the box loss",
        bounds=(-5, 5),
        value=_gap("box"),
        measure="loss",
    ),
    GroupedFeature(
        name="step_to_lr_log",
        group="steps",
        meaning="log10(step length / length of the weights / learning rate) + 1",
        bounds=(-5, 5),
        value=_step_to_lr,
    ),
    GroupedFeature(
        name="gradient_agreement",
        group="steps",
        meaning="mean cosine of successive gradients in the round",
        bounds=(-1, 1),
        value=_agreement,
        measure="gradient_agreement",
    ),
)
"""All of them, group by group."""
