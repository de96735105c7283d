"""Draws all figures of a comparison: a set per task, each a PNG that explains itself in its caption."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from mapopt.drawing.style import TASK_COLORS, Family, Style, page, save, styled, styles_of
from mapopt.experiments.comparison.store import StoredRun
from mapopt.experiments.reporting import plots, tables
from mapopt.experiments.reporting.report import Summary, TaskSummary
from mapopt.metrics.statistics import LEVEL

_LINES = 8
"""Methods that a figure can show as lines, beside the reference."""
_PICTURED = 6
"""Methods that a figure can show with pictures, beside the reference."""
_MANY = 12
"""Rows from which on they are closer."""


def draw_all(
    runs: Sequence[StoredRun], folder: Path, summary: Summary, *, families: Mapping[str, Family] | None = None
) -> list[Path]:
    """Draws every figure that the runs have data for.

    Args:
        runs: of one experiment.
        folder: gets ``<task>_<figure>.png``, and ``overall.png`` where there are several tasks.
        summary: of the same runs.
        families: which kind of loss the methods have, for their colours.

    Returns:
        The files, in the order they should be looked at.
    """
    paths = []
    methods = {one.method for task in summary.tasks for one in task.methods}
    # Of one family only, all the other family's colours would be wasted.
    mixed = {name: family for name, family in (families or {}).items() if name in methods}
    mixed = mixed if len(set(mixed.values())) > 1 else {}
    styles = styles_of(methods, mixed)
    note = " Colours: warm for ranking losses, cool for pointwise ones." if mixed and len(methods) > _MANY else ""
    with styled():
        for task in summary.tasks:
            lines = tables.leading(task, summary.reference, count=_LINES)
            drawn = {
                "final": _final(runs, task, summary.reference, styles, note),
                "rarest": _rarest(runs, task, summary.reference, styles, note),
                "images": _curves(runs, lines, "images", _chosen(task, lines, summary.reference), styles),
                "seconds": _curves(runs, lines, "seconds", _chosen(task, lines, summary.reference), styles),
                "knobs": _knobs(runs, lines, _chosen(task, lines, summary.reference), styles),
                "pictures": _pictures(runs, task, summary.reference),
            }
            paths += [
                save(figure, Path(folder) / f"{task.task}_{name}.png")
                for name, figure in drawn.items()
                if figure is not None
            ]
        if summary.overall:
            paths.append(save(_overall(summary), Path(folder) / "overall.png"))
    return paths


def _final(
    runs: Sequence[StoredRun], task: TaskSummary, reference: str | None, styles: Mapping[str, Style], note: str
) -> Figure:
    table = tables.final_scores(runs, task, reference=reference)
    caption = "AP@[.5:.95] on the test split, which each run reads once, at its end. "
    return _scores(table, f"Final test AP on {task.task}", caption, styles, note)


def _rarest(
    runs: Sequence[StoredRun], task: TaskSummary, reference: str | None, styles: Mapping[str, Style], note: str
) -> Figure | None:
    table = tables.rarest_scores(runs, task, reference=reference)
    if not table or not task.imbalanced or task.objects is None:
        return None
    caption = (
        f"AP@[.5:.95] of {task.rarest} alone, on the test split. It has {min(task.objects):,} of the "
        f"{sum(task.objects):,} training objects of {len(task.objects)} categories. "
    )
    return _scores(table, f"Final test AP of {task.rarest}, the rarest category of {task.task}", caption, styles, note)


def _scores(
    table: Sequence[tables.FinalScore], title: str, caption: str, styles: Mapping[str, Style], note: str
) -> Figure:
    caption += (
        f"Small dots: runs, one per seed. Large dot and bar: interquartile mean and its {LEVEL:.0%} bootstrap "
        "interval, in numbers on the right."
    )
    reference = next((row.label for row in table if row.reference), None)
    if reference is not None:
        caption += (
            f" Dashed line: {reference}, the reference. The difference to it is that on common seeds, with an interval "
            "of its own; grey where that includes 0."
        )
    if any(row.diverged for row in table):
        caption += " A diverged run counts as AP 0 in the mean and its interval; its dot would lie left of the axis."
    figure = page(width=11.0, height=0.9 + _row(len(table)) * len(table), title=title, caption=caption + note)
    plots.final_scores(table, figure.subplots(), styles)
    return figure


def _overall(summary: Summary) -> Figure:
    table = tables.overall_scores(summary)
    tasks = [task.task for task in summary.tasks]
    colors = [TASK_COLORS[place % len(TASK_COLORS)] for place in range(len(tasks))]
    caption = (
        f"AP@[.5:.95] on the test split: interquartile mean over the seeds with its {LEVEL:.0%} bootstrap interval, a "
        "colour per task. On the right the same over the runs of all tasks together, by which the rows are ordered."
    )
    if any(row.reference for row in table):
        caption += (
            f" Dashed lines: {next(row.label for row in table if row.reference)}, the reference. The difference to it "
            "is that on common seeds; grey where its interval includes 0."
        )
    figure = page(
        width=11.0,
        height=0.9 + _row(len(table)) * len(table),
        title="Final test AP, task by task",
        caption=caption,
        key=plots.task_handles(tasks, colors),
    )
    plots.overall_scores(table, figure.subplots(), colors)
    return figure


def _row(rows: int) -> float:
    """Returns the height of a row in inches."""
    return 0.52 if rows <= _MANY else 0.38


def _chosen(task: TaskSummary, shown: TaskSummary, reference: str | None) -> str:
    """Says which methods are shown, where it is not all of them."""
    if len(shown.methods) == len(task.methods):
        return ""
    names = [one.method for one in shown.methods]
    best = (
        names[:-1] if names[-1] == reference and names != [one.method for one in task.methods[: len(names)]] else names
    )
    beside = " and the reference" if len(best) < len(names) else ""
    return f" Shown are the {len(best)} of {len(task.methods)} methods with the best test AP{beside}."


def _curves(
    runs: Sequence[StoredRun], task: TaskSummary, against: str, chosen: str, styles: Mapping[str, Style]
) -> Figure | None:
    table = tables.learning_curves(runs, task, against="images" if against == "images" else "seconds")
    if not table:
        return None
    caption = (
        f"AP@[.5:.95] on the tune split after every round: interquartile mean over the seeds, with its {LEVEL:.0%} "
        "bootstrap interval as a band. A run that ended early keeps its last value. "
    )
    if against == "images":
        caption += "Images are those trained on; the search for settings and an agent's own training are not in it."
    else:
        devices = ", ".join(sorted({device for one in task.methods for device in one.devices}))
        caption += (
            f"Seconds are a run's share of its fleet's wall time on {devices}, training and evaluation; the search "
            "for settings and an agent's own training are not in it."
        )
    figure = page(width=9.5, height=4.6, title=f"Tune AP against {against} on {task.task}", caption=caption + chosen)
    axes = figure.subplots()
    plots.learning_curves(table, axes, styles)
    axes.set_xlabel("images trained" if against == "images" else "seconds")
    return figure


def _knobs(runs: Sequence[StoredRun], task: TaskSummary, chosen: str, styles: Mapping[str, Style]) -> Figure | None:
    table = tables.trajectories(runs, task)
    if not table:
        return None
    columns = 1 if len(table) == 1 else 2 if len(table) <= 4 else 3
    rows = math.ceil(len(table) / columns)
    handles = plots.method_handles(table[0].curves, styles)
    # An empty place in the grid is the best one for the legend.
    spare = len(table) < rows * columns
    figure = page(
        width=9.5 if columns < 3 else 12.0,
        height=0.5 + (3.8 if columns == 1 else 2.7) * rows,
        title=f"What the methods did with the knobs on {task.task}",
        caption="Every knob that moved in any run, against the images trained: the median over the runs that were "
        "still going, with their middle half as a band. Within a round a knob stays, or moves linearly, as its method "
        "says. A striped line, or one with several names, is several methods at once." + chosen,
        key=() if spare else handles,
    )
    grid = figure.subplots(rows, columns, squeeze=False)
    for trajectory, axes in zip(table, grid.flat, strict=False):
        plots.knob_trajectory(trajectory, axes, styles)
    for axes in grid.flat[len(table) :]:
        axes.set_axis_off()
    for place, axes in enumerate(grid.flat[: len(table)]):
        if place + columns >= len(table):
            axes.set_xlabel("images trained")
    if spare:
        grid.flat[-1].legend(handles=handles, loc="center left", handlelength=2.6, labelspacing=0.7)
    return figure


def _pictures(runs: Sequence[StoredRun], task: TaskSummary, reference: str | None) -> Figure | None:
    shown = tables.leading(task, reference, count=_PICTURED)
    found = tables.picture_rows(runs, shown)
    if found is None:
        return None
    seed, rows = found
    columns = max(len(row.pictures) for row in rows)
    height, width = rows[0].pictures[0].pixels.shape[:2]
    # In inches; large pictures hold more and smaller objects.
    side = 1.75 if max(height, width) <= 96 else 2.4
    figure = page(
        width=1.7 + columns * side,
        height=len(rows) * (side * min(2.0, height / width) + 0.06),
        title=f"The same test pictures of {task.task}, seen by different methods",
        caption=f"Truth first, then the boxes of each method's run with seed {seed}, and that run's test AP. Colours "
        "are categories, numbers are scores. Of each method its strongest boxes over all these pictures, as many as "
        "there are objects: losses differ in the scale of their scores, so no common threshold would be fair."
        + _chosen(task, shown, reference),
        key=plots.category_handles([one for row in rows for one in row.pictures], task.categories),
    )
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0)  # type: ignore[call-arg]
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for row, line in zip(rows, grid, strict=True):
        for picture, axes in zip(row.pictures, line, strict=True):
            plots.picture(picture, axes)
        name = row.label + (f"\n{row.note}" if row.note else "")
        weight = "bold" if row is rows[0] else "normal"
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=6, fontsize=10, fontweight=weight)
    return figure
