"""Draws the pages of a comparison: each a figure that explains itself in its caption."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import singledispatch
from pathlib import Path

from matplotlib.figure import Figure

from mapopt.drawing import comparison_plots as plots
from mapopt.drawing.pages import new_page, save, styled
from mapopt.drawing.rows import AnyPage, CurvesPage, KnobsPage, OverallPage, PicturesPage, ProfilesPage, ScoresPage
from mapopt.drawing.styles import Style, task_marks

_MANY = 12
"""Rows from which on they are closer."""


def save_comparison(pages: Sequence[AnyPage], styles: Mapping[str, Style], folder: Path) -> list[Path]:
    """Draws pages into PNG files.

    Args:
        pages: each becomes ``<name>.png``.
        styles: of every method.
        folder: made where it is not there.

    Returns:
        The files, in the order of the pages.

    Raises:
        StoreError: a file cannot be written.
    """
    with styled():
        return [save(draw_page(page, styles), folder / f"{page.name}.png") for page in pages]


@singledispatch
def draw_page(page: AnyPage, styles: Mapping[str, Style]) -> Figure:
    """Returns the figure of one page."""
    raise TypeError(f"there is no figure of {type(page).__name__}")


@draw_page.register
def _scores(page: ScoresPage, styles: Mapping[str, Style]) -> Figure:
    height = 0.9 + _row(len(page.rows)) * len(page.rows)
    figure = new_page(width=11.0, height=height, title=page.title, caption=page.caption)
    plots.final_scores(page.rows, figure.subplots(), styles)
    return figure


@draw_page.register
def _overall(page: OverallPage, styles: Mapping[str, Style]) -> Figure:
    marks = task_marks(len(page.tasks))
    figure = new_page(
        width=11.0,
        height=0.9 + _row(len(page.rows)) * len(page.rows),
        title=page.title,
        caption=page.caption,
        key=plots.task_handles(page.tasks, marks),
    )
    plots.overall_scores(page.rows, figure.subplots(), marks)
    return figure


@draw_page.register
def _curves(page: CurvesPage, styles: Mapping[str, Style]) -> Figure:
    figure = new_page(width=9.5, height=4.6, title=page.title, caption=page.caption)
    axes = figure.subplots()
    plots.learning_curves(page.curves, axes, styles)
    axes.set_xlabel("images trained" if page.against == "images" else "seconds")
    return figure


@draw_page.register
def _profiles(page: ProfilesPage, styles: Mapping[str, Style]) -> Figure:
    figure = new_page(width=9.5, height=4.6, title=page.title, caption=page.caption)
    plots.performance_profiles(page.curves, figure.subplots(), styles)
    return figure


@draw_page.register
def _knobs(page: KnobsPage, styles: Mapping[str, Style]) -> Figure:
    table = page.trajectories
    columns = 1 if len(table) == 1 else 2 if len(table) <= 4 else 3
    rows = math.ceil(len(table) / columns)
    handles = plots.method_handles(table[0].curves, styles)
    # An empty place in the grid is the best one for the legend.
    spare = len(table) < rows * columns
    figure = new_page(
        width=9.5 if columns < 3 else 12.0,
        height=0.5 + (3.8 if columns == 1 else 2.7) * rows,
        title=page.title,
        caption=page.caption,
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


@draw_page.register
def _pictures(page: PicturesPage, styles: Mapping[str, Style]) -> Figure:
    rows = page.rows
    columns = max(len(row.pictures) for row in rows)
    height, width = rows[0].pictures[0].pixels.shape[:2]
    # In inches; large pictures hold more and smaller objects.
    side = 1.75 if max(height, width) <= 96 else 2.4
    figure = new_page(
        width=1.7 + columns * side,
        height=len(rows) * (side * min(2.0, height / width) + 0.06),
        title=page.title,
        caption=page.caption,
        key=plots.category_handles([picture for row in rows for picture in row.pictures], page.categories),
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


def _row(rows: int) -> float:
    """Returns the height of a row in inches."""
    return 0.52 if rows <= _MANY else 0.38
