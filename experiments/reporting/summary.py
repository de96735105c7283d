"""A comparison in numbers, as values: per task and method how good it was, how sure that is, and what it cost.

Undefined numbers are NaN, such as the AP of a category without ground truth, and null in JSON.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mapopt.errors import ConfigError
from mapopt.experiments.comparison.stored_run import Cost
from mapopt.metrics.statistics import LEVEL, RESAMPLES, Estimate

if TYPE_CHECKING:
    import pandas

VERSION = 4

SEED = 0
"""Of the resampling: a comparison is summarized to the same digits wherever it is read."""


@dataclass(frozen=True, kw_only=True)
class Versus:
    """A method beside the reference method."""

    difference: Estimate | None
    """In test AP, on the seeds that both have; None if they have no seed in common."""
    rarest: Estimate | None
    """The same in the AP of the task's rarest category; None where that is unknown, and over several tasks."""
    rarest_third: Estimate | None
    """The same in the mean AP of the task's rarest third of the categories; None likewise."""
    pairs: int
    """How many seeds those are."""
    improvement: Estimate
    """Probability that a run of the method beats a run of the reference."""


@dataclass(frozen=True, kw_only=True)
class MethodSummary:
    """A method on a task. Numbers without an interval are interquartile means over the seeds."""

    method: str
    label: str
    seeds: tuple[int, ...]
    diverged: int
    stopped: int
    """Runs that ended early by their own decision."""
    ap: Estimate
    """On the test split."""
    ap50: Estimate
    ap75: Estimate
    ar100: Estimate
    per_category: tuple[float, ...]
    rarest: Estimate | None
    """Test AP of the task's rarest category; None where that is unknown."""
    rarest_third: Estimate | None
    """Mean test AP of the rarest third of the task's categories, rounded up; None where that is unknown."""
    perfect_boxes: Estimate
    """Test AP if every box near an object of its category were that object's; NaN in runs that did not keep it."""
    perfect_ranking: Estimate
    """Test AP if the same boxes were ranked by how well they fit; NaN likewise."""
    class_loss: float
    """The class loss without its weight on the test images, batch by batch as in training; NaN likewise."""
    val_ap: Estimate
    gap: Estimate
    """Val - test AP of the same weights, over the runs that did not diverge."""
    images: float
    """Trained on, mean over the runs."""
    evaluated: float
    """Images evaluated, mean over the runs."""
    seconds: float
    """By the clock, mean over the runs."""
    step_seconds: float
    """Median over all rounds of all runs of what a training step took by the clock; NaN for runs that are in no
    store."""
    search: Cost
    training: Cost
    devices: tuple[str, ...]
    versus: Versus | None
    """None for the reference itself, and where there is none."""
    processor_seconds: float = math.nan
    """Of the processor, mean over the runs; NaN where one of them has only the clock's."""
    step_processor_seconds: float = math.nan
    """Of the processor for a training step, as `step_seconds`; NaN likewise."""


@dataclass(frozen=True, kw_only=True)
class TaskSummary:
    """All methods on a task, the best test AP first."""

    task: str
    categories: tuple[str, ...]
    rarest: str | None
    """Name of the category with the fewest training objects, where they are known."""
    objects: tuple[int, ...] | None
    """Training objects per category, where they are known."""
    methods: tuple[MethodSummary, ...]
    limit: Literal["box", "class"] | None = None
    """What the reference method would gain more AP from, perfect boxes or a perfect ranking of its own; of the best
    method where there is no reference, and None where it was not measured."""

    @property
    def imbalanced(self) -> bool:
        """Whether the rarest category has less than half of the objects of the average category."""
        return self.objects is not None and min(self.objects) < sum(self.objects) / len(self.objects) / 2


@dataclass(frozen=True, kw_only=True)
class OverallSummary:
    """A method over all tasks; runs are redrawn within their task."""

    method: str
    label: str
    runs: int
    ap: Estimate
    versus: Versus | None
    of_best: Estimate
    """Test AP as a fraction of the best method's on the same task and seed, mean over them."""
    regret: float
    """The most that it is behind the best method on any task and seed, in test AP."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A whole comparison."""

    experiment: str
    reference: str | None
    """The method that the others are compared with."""
    tasks: tuple[TaskSummary, ...]
    overall: tuple[OverallSummary, ...]
    """Methods that ran on every task, the best first; empty for a single task."""
    notes: tuple[str, ...] = ()
    """What has to be known of the runs, such as that other code made some of them."""

    def as_dict(self) -> dict[str, Any]:
        """Returns the content of ``summary.json``; what is undefined is None."""
        return {
            "version": VERSION,
            "experiment": self.experiment,
            "reference": self.reference,
            "statistic": "interquartile mean",
            "notes": list(self.notes),
            "interval": {"kind": "stratified bootstrap", "level": LEVEL, "resamples": RESAMPLES, "seed": SEED},
            "tasks": [_task_dict(task) for task in self.tasks],
            "overall": [
                {
                    "method": method.method,
                    "label": method.label,
                    "runs": method.runs,
                    "test": {"ap": _plain(method.ap)},
                    "versus_reference": _plain(method.versus),
                    "of_best": _plain(method.of_best),
                    "regret": method.regret,
                }
                for method in self.overall
            ],
        }

    def to_rows(self) -> list[dict[str, Any]]:
        """Returns a flat dictionary per task and method, for a table of one's own; what is undefined is NaN.

        An interval is three entries, such as ``test_ap``, ``test_ap_low`` and ``test_ap_high``.
        """
        return [
            {"experiment": self.experiment, "task": task.task, **_row(method)}
            for task in self.tasks
            for method in task.methods
        ]

    def to_dataframe(self) -> pandas.DataFrame:
        """Returns the rows of `to_rows` as a table of pandas.

        Raises:
            ConfigError: pandas is not installed.
        """
        try:
            import pandas
        except ModuleNotFoundError:
            raise ConfigError(
                'to_dataframe needs pandas, which is not installed: pip install "mapopt[pandas]", or use to_rows'
            ) from None
        return pandas.DataFrame(self.to_rows())


def _task_dict(task: TaskSummary) -> dict[str, Any]:
    return {
        "task": task.task,
        "categories": list(task.categories),
        "rarest": task.rarest,
        "limit": task.limit,
        "objects": None if task.objects is None else dict(zip(task.categories, task.objects, strict=True)),
        "methods": [_method_dict(method, task) for method in task.methods],
    }


def _method_dict(method: MethodSummary, task: TaskSummary) -> dict[str, Any]:
    return {
        "method": method.method,
        "label": method.label,
        "seeds": list(method.seeds),
        "diverged": method.diverged,
        "stopped": method.stopped,
        "test": {
            "ap": _plain(method.ap),
            "ap50": _plain(method.ap50),
            "ap75": _plain(method.ap75),
            "ar100": _plain(method.ar100),
            "per_category": {
                name: _plain(value) for name, value in zip(task.categories, method.per_category, strict=True)
            },
            "rarest": _plain(method.rarest),
            "rarest_third": _plain(method.rarest_third),
            "perfect_boxes": _plain(method.perfect_boxes),
            "perfect_ranking": _plain(method.perfect_ranking),
            "class_loss": _plain(method.class_loss),
        },
        "val": {"ap": _plain(method.val_ap)},
        "gap": _plain(method.gap),
        "images": method.images,
        "evaluated": method.evaluated,
        "seconds": method.seconds,
        "processor_seconds": _plain(method.processor_seconds),
        "step_seconds": _plain(method.step_seconds),
        "step_processor_seconds": _plain(method.step_processor_seconds),
        "search": dataclasses.asdict(method.search),
        "training": dataclasses.asdict(method.training),
        "devices": list(method.devices),
        "versus_reference": _plain(method.versus),
    }


def _row(method: MethodSummary) -> dict[str, Any]:
    versus = method.versus
    return {
        "method": method.method,
        "label": method.label,
        "runs": len(method.seeds),
        "diverged": method.diverged,
        "stopped": method.stopped,
        **_flat("test_ap", method.ap),
        **_flat("test_ap50", method.ap50),
        **_flat("test_ap75", method.ap75),
        **_flat("test_ar100", method.ar100),
        **_flat("test_ap_rarest", method.rarest),
        **_flat("test_ap_rarest_third", method.rarest_third),
        **_flat("test_ap_perfect_boxes", method.perfect_boxes),
        **_flat("test_ap_perfect_ranking", method.perfect_ranking),
        "test_class_loss": method.class_loss,
        **_flat("val_ap", method.val_ap),
        **_flat("gap", method.gap),
        **_flat("difference", None if versus is None else versus.difference),
        **_flat("improvement", None if versus is None else versus.improvement),
        "pairs": 0 if versus is None else versus.pairs,
        "images": method.images,
        "evaluated": method.evaluated,
        "seconds": method.seconds,
        "processor_seconds": method.processor_seconds,
        "step_seconds": method.step_seconds,
        "step_processor_seconds": method.step_processor_seconds,
        **{f"search_{name}": value for name, value in dataclasses.asdict(method.search).items()},
        **{f"training_{name}": value for name, value in dataclasses.asdict(method.training).items()},
        "devices": ", ".join(method.devices),
    }


def _flat(name: str, estimate: Estimate | None) -> dict[str, float]:
    value, low, high = (math.nan,) * 3 if estimate is None else (estimate.value, estimate.low, estimate.high)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _plain(value: Any) -> Any:
    """Returns dataclasses as dictionaries, and None for what is undefined, as strict JSON has it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return None if isinstance(value, float) and math.isnan(value) else value
