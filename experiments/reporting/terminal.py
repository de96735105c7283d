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
from mapopt.experiments.reporting.report import MethodSummary, OverallSummary, Summary, TaskSummary, Versus
from mapopt.metrics.statistics import LEVEL, Estimate

_HEADING = f"AP [{LEVEL:.0%}]"
_LABEL = 24  # widest method name on one line: with it the widest table has 138 columns
_FEW = 5


def print_summary(summary: Summary, console: Console) -> None:
    """Prints a comparison: per task results and costs, then all tasks together if there are several."""
    for task in summary.tasks:
        print_table(_results(task, summary.reference), console)
        print_table(_costs(task), console)
    if summary.overall:
        print_table(_overall(summary), console)
    for line in _legend(summary):
        console.print(Text(line, style="dim"))


def _results(task: TaskSummary, reference: str | None) -> Table:
    table = new_table(f"{task.task}: results on the test split", gap=1)
    failures = any(one.diverged for one in task.methods)
    table.add_column("method", max_width=_LABEL)
    for heading in ("runs", *(["di-\nverged"] if failures else []), _HEADING, "AP50", "AP75"):
        table.add_column(heading, justify="right")
    if task.rarest is not None:
        table.add_column(f"AP of {task.rarest if len(task.rarest) <= 10 else 'rarest'}\n[{LEVEL:.0%}]", justify="right")
    for heading in ("tune\nAP", "gap"):
        table.add_column(heading, justify="right")
    compared = _add_versus(table, reference)
    for one in task.methods:
        table.add_row(
            _label(one, reference),
            str(len(one.seeds)),
            *([Text(str(one.diverged or UNKNOWN), style="bold red")] if failures else []),
            _interval(one.ap),
            short(one.ap50.value),
            short(one.ap75.value),
            *([] if one.rarest is None else [_rarest(one.rarest, one.versus)]),
            short(one.val_ap.value),
            short(one.gap.value, signed=True),
            *_versus_cells(one.versus, compared),
        )
    return table


def _costs(task: TaskSummary) -> Table:
    table = new_table(f"{task.task}: cost")
    table.add_column("method", max_width=_LABEL)
    for heading in (
        *("trained\nimages a run", "evaluated\nimages a run", "time\na run", "time\na step"),
        *("search\nruns", "search\nimages", "search\ntime"),
        *("agent's training\nimages", "agent's training\ntime"),
    ):
        table.add_column(heading, justify="right")
    for one in task.methods:
        searched, trained = one.search, one.training
        table.add_row(
            one.label,
            f"{one.images:,.0f}",
            f"{one.evaluated:,.0f}",
            duration(one.seconds),
            UNKNOWN if math.isnan(one.step_seconds) else f"{1000 * one.step_seconds:.1f} ms",
            *(
                [f"{searched.runs:,}", f"{searched.images:,}", duration(searched.seconds)]
                if searched.images
                else [""] * 3
            ),
            *([f"{trained.images:,}", duration(trained.seconds)] if trained.images else [""] * 2),
        )
    return table


def _overall(summary: Summary) -> Table:
    table = new_table(f"all {len(summary.tasks)} tasks together")
    table.add_column("method", max_width=_LABEL)
    for heading in ("runs", _HEADING):
        table.add_column(heading, justify="right")
    compared = _add_versus(table, summary.reference)
    for one in summary.overall:
        table.add_row(
            _label(one, summary.reference), str(one.runs), _interval(one.ap), *_versus_cells(one.versus, compared)
        )
    return table


def _legend(summary: Summary) -> list[str]:
    lines = [
        "The test split is read once a run, at its end, with the weights of the round that had the best tune AP.",
        f"AP is AP@[.5:.95], interquartile mean over the seeds; [ ] is its {LEVEL:.0%} bootstrap interval. "
        "gap: tune AP − test AP of the same weights.",
    ]
    if summary.reference is not None:
        lines.append(
            f"vs {summary.reference}: difference in test AP on common seeds, coloured where its interval excludes 0. "
            f"P(better): probability that a run beats one of {summary.reference}."
        )
    methods = [one for task in summary.tasks for one in task.methods]
    if any(one.versus is not None and one.versus.rarest is not None for one in methods):
        lines.append(
            "The rarest category has the fewest training objects; its AP is coloured where the interval of its "
            f"difference to {summary.reference}'s on common seeds, in summary.json, excludes 0."
        )
    if any(one.diverged for one in methods):
        lines.append("A diverged run counts as AP 0; the gap leaves it out.")
    else:
        lines.append("No run diverged.")
    if min(len(one.seeds) for one in methods) < _FEW:
        lines.append(f"Fewer than {_FEW} runs show little: their intervals are as wide as that makes them.")
    lines.append(
        "Times are a run's share of its fleet's wall time, on " + ", ".join(_devices(summary)) + "; a step's is the "
        "median over all rounds of all runs, without evaluation."
    )
    return lines


def _devices(summary: Summary) -> list[str]:
    return sorted({device for task in summary.tasks for one in task.methods for device in one.devices})


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


def _interval(one: Estimate, *, signed: bool = False, digits: int = 3) -> str:
    value, low, high = (short(each, signed=signed, digits=digits) for each in (one.value, one.low, one.high))
    return f" {value} [{low}, {high}]"


def _label(one: MethodSummary | OverallSummary, reference: str | None) -> Text:
    return Text(one.label, style="bold" if one.method == reference else "")


def _rarest(one: Estimate, versus: Versus | None) -> Text | str:
    if one.value < 0:
        return UNKNOWN
    return Text(_interval(one), style=_sign(versus.rarest) if versus is not None and versus.rarest is not None else "")


def _sign(difference: Estimate) -> str:
    """Returns the colour of a difference that is one."""
    return "green" if difference.low > 0 else "red" if difference.high < 0 else ""
