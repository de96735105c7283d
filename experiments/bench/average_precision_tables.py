"""The tables and the figure of `mapopt bench ap`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from rich.table import Table
from rich.text import Text

from mapopt.drawing.style import FAINT, INK, page, styled
from mapopt.experiments.bench.peers.sets import SetSize

if TYPE_CHECKING:
    from mapopt.experiments.bench.average_precision_row import Row

_NONE = "–"
_OURS = "#d55e00"


def table(rows: Sequence[Row], size: SetSize) -> Table:
    """Returns the table of one set: times, ratios of them, memory, and how far the numbers are from pycocotools'."""
    slow, best = _total(rows, "pycocotools"), _best(rows)
    found = Table(
        title=f"{rows[0].set}: {size.images} images, {size.categories} categories, {size.objects:g} objects and "
        f"{size.detections} detections in each; milliseconds of the processor, one thread each",
        caption=_verdict(rows),
        title_justify="left",
        caption_justify="left",
        pad_edge=False,
    )
    found.add_column("evaluator")
    found.add_column("version")
    for heading in ("convert", "evaluate", "total", "× ours", "× faster", "extra MB", "difference"):
        found.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        if row.total is None or row.convert is None or row.evaluate is None:
            found.add_row(Text.assemble(row.evaluator, (f": {row.problem}", "yellow")), *[_NONE] * 8)
            continue
        found.add_row(
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
    return found


def draw(rows: Sequence[Row]) -> Figure:
    """Draws the time from arrays to the twelve numbers, a panel a set and a line an evaluator."""
    whole = [row for row in rows if row.whole and row.total is not None]
    sets = list(dict.fromkeys(row.set for row in whole))
    names = list(dict.fromkeys(row.evaluator for row in whole))
    with styled():
        figure = page(
            width=2.6 * len(sets) + 2.2,
            height=0.34 * len(names) + 2.2,
            title="Time from arrays in memory to COCO's twelve numbers",
            caption="Milliseconds of the processor with one thread, conversion included, on a logarithmic scale; the "
            "fastest of several turns in one run. Sets are random; numbers above dots are times the first row.",
        )
        panels = figure.subplots(1, len(sets), sharey=True, squeeze=False)[0]
        for name, axes in zip(sets, panels, strict=True):
            times = {row.evaluator: 1e3 * (row.total or 0) for row in whole if row.set == name}
            first = next(iter(times.values()))
            for evaluator, time in times.items():
                ours = evaluator.startswith("mapopt")
                place = names.index(evaluator)
                axes.plot([time], [place], "o", color=_OURS if ours else FAINT, markersize=7)
                axes.annotate(
                    f"{time / first:.3g}×",
                    (time, place),
                    (0, 6),
                    textcoords="offset points",
                    ha="center",
                    size=7.5,
                    color=INK,
                )
            axes.set_xscale("log")
            axes.set_xlim(min(times.values()) / 2.5, max(times.values()) * 2.5)
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_title(name)
            axes.set_yticks(range(len(names)), names)
            axes.set_ylim(len(names) - 0.5, -0.7)
            axes.set_xlabel("ms")
    return figure


def _verdict(rows: Sequence[Row]) -> str:
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


def _best(rows: Sequence[Row]) -> float:
    """Returns our own least total with all twelve numbers; 0 where there is none."""
    return min((row.total for row in rows if row.ours and row.whole and row.total), default=0.0)


def _total(rows: Sequence[Row], name: str) -> float:
    return next((row.total for row in rows if row.evaluator == name and row.total), 0.0)


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.2f}" if seconds < 0.1 else f"{1e3 * seconds:.0f}"


def _difference(difference: float | None) -> Text:
    if difference is None:
        return Text(_NONE)
    return Text("none", style="green") if difference == 0 else Text(f"{difference:.0e}")
