"""The tables that a comparison prints: results with their intervals, and beside them what every result cost.

There are two tables a task, so that no number has to be cut at 140 columns; where the terminal is narrower, or is no
terminal, lines run on rather than lose digits.
"""

from __future__ import annotations

import math

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mapopt.evaluation.numbers import UNKNOWN, duration, short
from mapopt.evaluation.text_tables import new_table, print_table
from mapopt.experiments.reporting.summary import MethodSummary, OverallSummary, Summary, TaskSummary, Versus
from mapopt.metrics.statistics import LEVEL, Estimate

_HEADING = f"AP [{LEVEL:.0%}]"
_LABEL = 24  # widest method name on one line: with it the widest table has 138 columns
_FEW = 5
_CLOCK = "*"
"""Marks a time by the clock among those of the processor."""


def print_summary(summary: Summary, console: Console) -> None:
    """Prints a comparison: per task results and costs, then all tasks together if there are several."""
    for task in summary.tasks:
        print_table(_results(task, summary.reference), console)
        if task.limit is not None:
            print_table(_limits(task, summary.reference), console)
        print_table(_costs(task), console)
    if summary.overall:
        print_table(_overall(summary), console)
    for line in _legend(summary):
        console.print(Text(line, style="dim"))


def _results(task: TaskSummary, reference: str | None) -> Table:
    table = new_table(f"{task.task}: results on the test split", gap=1)
    failures = any(method.diverged for method in task.methods)
    table.add_column("method", max_width=_LABEL)
    for heading in ("runs", *(["di-\nverged"] if failures else []), _HEADING, "AP50", "AP75"):
        table.add_column(heading, justify="right")
    if task.rarest is not None:
        table.add_column(f"AP of {task.rarest if len(task.rarest) <= 10 else 'rarest'}\n[{LEVEL:.0%}]", justify="right")
    for heading in ("val\nAP", "gap"):
        table.add_column(heading, justify="right")
    compared = _add_versus(table, reference)
    for method in task.methods:
        table.add_row(
            _label(method, reference),
            str(len(method.seeds)),
            *([Text(str(method.diverged or UNKNOWN), style="bold red")] if failures else []),
            _interval(method.ap),
            short(method.ap50.value),
            short(method.ap75.value),
            *(
                []
                if method.rarest is None
                else [_rarest(method.rarest, None if method.versus is None else method.versus.rarest)]
            ),
            short(method.val_ap.value),
            short(method.gap.value, signed=True),
            *_versus_cells(method.versus, compared),
        )
    return table


def _limits(task: TaskSummary, reference: str | None) -> Table:
    table = new_table(f"{task.task}: what limits AP is the {task.limit}")
    table.add_column("method", max_width=_LABEL)
    for heading in ("AP", "AP75", f"with perfect boxes\n[{LEVEL:.0%}]", f"with perfect ranking\n[{LEVEL:.0%}]"):
        table.add_column(heading, justify="right")
    if task.rarest is not None:
        table.add_column(f"rarest third\n[{LEVEL:.0%}]", justify="right")
    for heading in ("class loss\non test", "1 − AP"):
        table.add_column(heading, justify="right")
    for method in task.methods:
        versus = None if method.versus is None else method.versus.rarest_third
        table.add_row(
            _label(method, reference),
            short(method.ap.value),
            short(method.ap75.value),
            _interval(method.perfect_boxes),
            _interval(method.perfect_ranking),
            *([] if method.rarest_third is None else [_rarest(method.rarest_third, versus)]),
            UNKNOWN if math.isnan(method.class_loss) else f"{method.class_loss:.3g}",
            short(1 - method.ap.value),
        )
    return table


def _costs(task: TaskSummary) -> Table:
    table = new_table(f"{task.task}: cost")
    table.add_column("method", max_width=_LABEL)
    for heading in (
        *("trained\nimages a run", "evaluated\nimages a run", "time\na run", "clock\na run", "time\na step"),
        *("search\nruns", "search\nimages", "search\ntime"),
        *("agent's training\nimages", "agent's training\ntime"),
    ):
        table.add_column(heading, justify="right")
    for method in task.methods:
        searched, trained = method.search, method.training
        step = _step(method)
        table.add_row(
            method.label,
            f"{method.images:,.0f}",
            f"{method.evaluated:,.0f}",
            _time(method.seconds, None if _on_gpu(method) else method.processor_seconds),
            duration(method.seconds),
            UNKNOWN if math.isnan(step) else f"{1000 * step:.1f} ms{_by_clock(method.step_processor_seconds, method)}",
            *(
                [
                    f"{searched.runs:,}",
                    f"{searched.images:,}",
                    _time(searched.seconds, searched.processor_seconds),
                ]
                if searched.images
                else [""] * 3
            ),
            *(
                [f"{trained.images:,}", _time(trained.seconds, trained.processor_seconds)]
                if trained.images
                else [""] * 2
            ),
        )
    return table


def _on_gpu(method: MethodSummary) -> bool:
    return any(not device.startswith("cpu") for device in method.devices)


def _step(method: MethodSummary) -> float:
    known = not _on_gpu(method) and not math.isnan(method.step_processor_seconds)
    return method.step_processor_seconds if known else method.step_seconds


def _by_clock(processor: float, method: MethodSummary) -> str:
    return _CLOCK if _on_gpu(method) or math.isnan(processor) else ""


def _time(clock: float, processor: float | None) -> str:
    """Returns the processor's time, or the clock's with its mark where the processor's is not known."""
    if processor is None or math.isnan(processor):
        return duration(clock) + _CLOCK
    return duration(processor)


def _overall(summary: Summary) -> Table:
    table = new_table(f"all {len(summary.tasks)} tasks together")
    table.add_column("method", max_width=_LABEL)
    for heading in ("runs", _HEADING):
        table.add_column(heading, justify="right")
    compared = _add_versus(table, summary.reference)
    for heading in (f"of the best\n[{LEVEL:.0%}]", "largest\nregret"):
        table.add_column(heading, justify="right")
    for method in summary.overall:
        table.add_row(
            _label(method, summary.reference),
            str(method.runs),
            _interval(method.ap),
            *_versus_cells(method.versus, compared),
            _interval(method.of_best),
            short(method.regret),
        )
    return table


def _legend(summary: Summary) -> list[str]:
    lines = [
        "The test split is read once a run, at its end, with the weights of the round that had the best val AP.",
        f"AP is AP@[.5:.95], interquartile mean over the seeds; [ ] is its {LEVEL:.0%} bootstrap interval. "
        "gap: val AP − test AP of the same weights.",
    ]
    if summary.reference is not None:
        lines.append(
            f"vs {summary.reference}: difference in test AP on common seeds, colored where its interval excludes 0. "
            f"P(better): probability that a run beats one of {summary.reference}."
        )
    methods = [method for task in summary.tasks for method in task.methods]
    if any(method.versus is not None and method.versus.rarest is not None for method in methods):
        lines.append(
            "The rarest category has the fewest training objects; its AP is colored where the interval of its "
            f"difference to {summary.reference}'s on common seeds, in summary.json, excludes 0."
        )
    if any(task.limit is not None for task in summary.tasks):
        lines.append(
            "With perfect boxes: every box with an IoU of at least .3 to an object of its category gets that object's. "
            "With perfect ranking: the same boxes, sorted by how well they fit. The limit is where the reference would "
            "gain more. Rarest third: mean AP of the categories with the fewest training objects. Class loss: "
            "unweighted, on the test images, batch by batch as in training; of a ranking loss it stands for 1 − AP."
        )
    if summary.overall:
        lines.append(
            "Of the best: test AP as a fraction of the best method's on the same task and seed, mean over them. "
            "Largest regret: the most that a method is behind it, in AP."
        )
    if any(method.diverged for method in methods):
        lines.append("A diverged run counts as AP 0; the gap leaves it out.")
    else:
        lines.append("No run diverged.")
    if min(len(method.seeds) for method in methods) < _FEW:
        lines.append(f"Fewer than {_FEW} runs show little: their intervals are as wide as that makes them.")
    lines.append(
        "Times are of the processor, which other work on the machine does not stretch, a run's part of its fleet's, on "
        + ", ".join(_devices(summary))
        + "; a step's is the median over all rounds of all runs, without evaluation. "
        + f"{_CLOCK} by the clock: on a GPU, and where the processor's time was not kept."
    )
    lines += [f"Note: {note}." for note in summary.notes]
    return lines


def _devices(summary: Summary) -> list[str]:
    return sorted({device for task in summary.tasks for method in task.methods for device in method.devices})


def _add_versus(table: Table, reference: str | None) -> bool:
    if reference is not None:
        table.add_column(f"vs {reference}\n[{LEVEL:.0%}]", justify="right")
        table.add_column(f"P(better)\n[{LEVEL:.0%}]", justify="right")
    return reference is not None


def _versus_cells(versus: Versus | None, compared: bool) -> list[Text | str]:
    if not compared:
        return []
    if versus is None:
        return [Text("reference", style="dim"), ""]
    better = _interval(versus.improvement, digits=2)
    if versus.difference is None:
        return ["no common seed", better]
    return [Text(_interval(versus.difference, signed=True), style=_sign(versus.difference)), better]


def _interval(estimate: Estimate, *, signed: bool = False, digits: int = 3) -> str:
    numbers = (estimate.value, estimate.low, estimate.high)
    value, low, high = (short(number, signed=signed, digits=digits) for number in numbers)
    return f" {value} [{low}, {high}]"


def _label(method: MethodSummary | OverallSummary, reference: str | None) -> Text:
    return Text(method.label, style="bold" if method.method == reference else "")


def _rarest(estimate: Estimate, difference: Estimate | None) -> Text | str:
    if math.isnan(estimate.value):
        return UNKNOWN
    return Text(_interval(estimate), style="" if difference is None else _sign(difference))


def _sign(difference: Estimate) -> str:
    """Returns the color of a difference whose interval excludes 0."""
    return "green" if difference.low > 0 else "red" if difference.high < 0 else ""
