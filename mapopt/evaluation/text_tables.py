"""The one look of tables on a terminal, which lose no digit however narrow it is."""

from __future__ import annotations

from rich.console import Console
from rich.segment import Segments
from rich.table import Table

_WIDEST = 1000


def new_table(title: str, *, caption: str = "", gap: int = 2) -> Table:
    """Returns an empty table without lines, its title and caption to the left.

    Args:
        title: above it.
        caption: below it.
        gap: characters between two columns.

    >>> table = new_table("scores")
    >>> table.add_column("evaluated"); table.add_row(".353")
    >>> print_table(table, Console(color_system=None))  # doctest: +NORMALIZE_WHITESPACE
    scores
    evaluated
    .353
    """
    return Table(
        title=title,
        caption=caption or None,
        title_justify="left",
        caption_justify="left",
        title_style="bold",
        caption_style="dim",
        box=None,
        pad_edge=False,
        padding=(0, gap, 0, 0),
    )


def print_table(table: Table, console: Console) -> None:
    """Prints a table at its own width, whatever the console's: rich would fold or cut the numbers to fit."""
    wide = console.options.update(width=_WIDEST)
    natural = max(console.width, console.measure(table, options=wide).maximum)
    console.print(Segments(list(console.render(table, wide.update(width=natural)))), crop=False)
    console.print()
