"""The tables of `mapopt bench ap`, and what its figure shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from mapopt.drawing.rows import TimesPage, TimesPanel
from mapopt.evaluation.text_tables import new_table
from mapopt.experiments.bench.peers.sets import SetSize

if TYPE_CHECKING:
    from mapopt.experiments.bench.evaluator_cost import EvaluatorCost

_NONE = "–"


def table(rows: Sequence[EvaluatorCost], size: SetSize) -> Table:
    """Returns the table of one set: times, ratios of them, memory, and how far the numbers are from pycocotools'."""
    slow, best = _total(rows, "pycocotools"), _best(rows)
    costs = new_table(
        f"{rows[0].set}: {size.images} images, {size.categories} categories, {size.objects:g} objects and "
        f"{size.detections} detections in each; milliseconds of the processor, one thread each",
        caption=_verdict(rows),
    )
    costs.add_column("evaluator")
    costs.add_column("version")
    for heading in ("convert", "evaluate", "total", "× ours", "× faster", "extra MB", "difference"):
        costs.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        if row.total is None or row.convert is None or row.evaluate is None:
            costs.add_row(Text.assemble(row.evaluator, (f": {row.problem}", "yellow")), *[_NONE] * 8)
            continue
        costs.add_row(
            Text(row.evaluator, style="bold" if row.ours else ""),
            row.version,
            _milliseconds(row.convert),
            _milliseconds(row.evaluate),
            _milliseconds(row.total),
            f"{row.total / best:.2f}" if best and row.whole else _NONE,
            (f"{slow / row.total:.0f}" if slow > 100 * row.total else f"{slow / row.total:.3g}") if slow else _NONE,
            _NONE if row.memory is None else f"{row.memory / 1e6:.0f}",
            _difference(row.difference),
        )
    return costs


def times_page(rows: Sequence[EvaluatorCost]) -> TimesPage:
    """Returns the figure of the times from arrays to the twelve numbers, a panel a set and a row an evaluator."""
    whole = {(row.set, row.evaluator): row.total for row in rows if row.whole and row.total is not None}
    names = tuple(dict.fromkeys(evaluator for _, evaluator in whole))
    return TimesPage(
        name="ap",
        title="Time from arrays in memory to COCO's twelve numbers",
        caption="Milliseconds of the processor with one thread, conversion included, on a logarithmic scale; the "
        "fastest of several turns in one run. Sets are random; numbers above dots are times the first row.",
        panels=tuple(
            TimesPanel(set=name, times={evaluator: 1e3 * time for (of, evaluator), time in whole.items() if of == name})
            for name in dict.fromkeys(name for name, _ in whole)
        ),
        names=names,
        highlighted=frozenset(name for name in names if name.startswith("mapopt")),
    )


def _verdict(rows: Sequence[EvaluatorCost]) -> str:
    """Says what the columns compare, and how ours stands to pycocotools and to the fastest other package."""
    text = "× faster is than pycocotools, and difference the largest between its twelve numbers and these"
    best, slow = _best(rows), _total(rows, "pycocotools")
    others = [row for row in rows if row.whole and row.total and not row.ours and row.evaluator != "pycocotools"]
    if best and slow:
        text += f"\nours is {slow / best:.0f} times faster than pycocotools"
    if best and others:
        fastest = min(others, key=lambda row: row.total or 0)
        text += (
            f"; {fastest.evaluator}, the fastest of the others, takes {(fastest.total or 0) / best:.2f} times as long"
        )
    return text


def _best(rows: Sequence[EvaluatorCost]) -> float:
    """Returns our own smallest total with all twelve numbers; 0 where there is none."""
    return min((row.total for row in rows if row.ours and row.whole and row.total), default=0.0)


def _total(rows: Sequence[EvaluatorCost], name: str) -> float:
    return next((row.total for row in rows if row.evaluator == name and row.total), 0.0)


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.2f}" if seconds < 0.1 else f"{1e3 * seconds:.0f}"


def _difference(difference: float | None) -> Text:
    if difference is None:
        return Text(_NONE)
    return Text("none", style="green") if difference == 0 else Text(f"{difference:.0e}")
