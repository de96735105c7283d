"""The tables that `mapopt bench losses` prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from mapopt.evaluation.text_tables import new_table
from mapopt.experiments.bench.claims import Claim
from mapopt.experiments.bench.fidelity import LEARNING_RATES, Descent, Fidelity, Mass
from mapopt.experiments.bench.growth import Point, exponent
from mapopt.experiments.bench.loss_peers import OnEmbeddings
from mapopt.experiments.bench.problems import CLASSES

_NONE = "–"


def growth(points: Sequence[Point]) -> Table:
    """Milliseconds, the ratio to ours, megabytes and the fitted exponent, a row per contender."""
    first = points[0]
    positives = (
        f"{100 * first.fraction:.3g} % of the scores positive" if first.fraction else f"{first.positives:,} positives"
    )
    table = new_table(
        f"forward and backward, {positives}: ms (and times ours)",
        caption="ours is the same loss for a published loop, and AP-loss for every other row; MB is the peak that "
        "torch's allocator held beyond the input, at the longest list it was measured at; growth is k in the fit c n^k",
    )
    table.add_column("loss")
    sizes = sorted({point.size for point in points})
    for size in sizes:
        table.add_column(f"n = {size:,}", justify="right")
    for heading in ("MB", "growth"):
        table.add_column(heading, justify="right")
    measured = {(point.name, point.size): point for point in points}
    for name in dict.fromkeys(point.name for point in points):
        row = [measured[name, size] for size in sizes if (name, size) in measured]
        held = [point for point in row if point.bytes is not None]
        power = exponent(row)
        table.add_row(
            name,
            *(_cost(measured.get((name, size)), measured) for size in sizes),
            f"{(held[-1].bytes or 0) / 1e6:.3g}" + ("" if held[-1] is row[-1] else f" (n = {held[-1].size:,})")
            if held
            else _NONE,
            _NONE if power is None else f"{power:.2f}",
        )
    return table


def _cost(point: Point | None, measured: dict[tuple[str, int], Point]) -> str:
    if point is None:
        return _NONE
    if point.seconds is None:
        return point.skipped
    text = f"{1e3 * point.seconds:.2f}" if point.seconds < 0.1 else f"{1e3 * point.seconds:.0f}"
    other = point.ours if point.name not in (point.ours, "") and "loop" in point.name else "ap"
    ours = measured.get((other, point.size))
    if ours is None or not ours.seconds or point.name == other:
        return text
    return f"{text} ({point.seconds / ours.seconds:.3g}×)"


def fidelity(rows: Sequence[Fidelity]) -> list[Table]:
    """A table for each question, a column for each kind of list."""
    kinds = list(dict.fromkeys(row.kind for row in rows))
    tables = []
    for title, caption, cell in (
        ("fidelity: mean |loss − (1 − AP)|", "losses on AP's scale only", _distance),
        (
            "fidelity: rank correlation of the loss and 1 − AP",
            "Spearman's, over lists of differing quality",
            _correlation,
        ),
        (
            "fidelity: a small step along the negative gradient raises AP / lowers it",
            "% of the lists below AP 1",
            _turned,
        ),
    ):
        table = new_table(title, caption=caption)
        table.add_column("loss")
        for kind in kinds:
            table.add_column(kind, justify="right")
        for name in dict.fromkeys(row.name for row in rows):
            cells = {row.kind: cell(row) for row in rows if row.name == name}
            if any(text != _NONE for text in cells.values()):
                table.add_row(name, *(cells[kind] for kind in kinds))
        tables.append(table)
    return tables


def _distance(row: Fidelity) -> str:
    return _NONE if row.distance is None else f"{row.distance:.4f}"


def _correlation(row: Fidelity) -> str:
    return _NONE if row.correlation is None else f"{row.correlation:+.3f}"


def _turned(row: Fidelity) -> str:
    return f"{100 * row.raised:.0f} / {100 * row.lowered:.0f}"


def descent(rows: Sequence[Descent]) -> Table:
    """Steps until AP is 1, fastest first."""
    table = new_table(
        "descent on the scores alone: steps until AP is 1 (200 scores, 20 positives, random start)",
        caption=f"median over the lists at the best of the rates {', '.join(map(str, LEARNING_RATES))}: how far the "
        "fastest score moves in a step",
    )
    table.add_column("loss")
    for heading in ("steps", "arrived", "best rate", "AP at the end"):
        table.add_column(heading, justify="right")
    for row in sorted(rows, key=lambda row: (row.steps is None, row.steps or 0.0, -row.ap)):
        steps = f"not in {row.limit} steps" if row.steps is None else f"{row.steps:.0f}"
        table.add_row(row.name, steps, f"{row.arrived:.0%}", str(row.learning_rate), f"{row.ap:.3f}")
    return table


def mass(rows: Sequence[Mass]) -> Table:
    """Fractions of the gradient by class, with one ranking for all and with one each."""
    table = new_table(
        "fraction of the sum of |gradient|: positives / negatives of each class",
        caption="a simulated batch of 4,000 candidates a class; each class is scored around its own log-odds. One "
        "ranking of all classes beside one per class",
    )
    table.add_column("loss")
    for scope in ("one ranking", "per class"):
        for name, count in CLASSES.items():
            table.add_column(f"{scope}\n{name} ({count})", justify="right")
    for name in dict.fromkeys(row.name for row in rows):
        by_scope = {row.scope: row for row in rows if row.name == name}
        cells = []
        for scope in ("batch", "class"):
            parts = by_scope[scope]
            cells += [f"{_fraction(parts.positives[key])} / {_fraction(parts.negatives[key])}" for key in CLASSES]
        table.add_row(name, *cells)
    return table


def embeddings(rows: Sequence[OnEmbeddings]) -> Table:
    """Losses of pytorch-metric-learning beside ours."""
    table = new_table(
        "pytorch-metric-learning on embeddings: every embedding is a query, ranked by similarity",
        caption="as many classes as members of each, because its Smooth-AP takes one number for the other",
    )
    table.add_column("loss")
    for heading in ("batch", "theirs, ms", "ours, ms", "times ours", "difference of the loss", "cosine of gradients"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row.name,
            str(row.batch),
            f"{1e3 * row.theirs:.2f}",
            f"{1e3 * row.ours:.2f}",
            f"{row.theirs / row.ours:.2f}",
            f"{row.loss_difference:.1e}",
            f"{row.cosine:.6f}",
        )
    return table


def claims(rows: Sequence[Claim]) -> Table:
    """Every claim with its figure and whether it holds."""
    table = new_table("claims")
    table.add_column("claim")
    table.add_column("measured", justify="right")
    table.add_column("")
    colors = {"holds": "green", "FAILS": "bold red", "not measured": "dim"}
    for row in rows:
        table.add_row(row.statement, row.measured or _NONE, Text(row.verdict, style=colors[row.verdict]))
    return table


def _fraction(value: float) -> str:
    return f"{100 * value:.0f}" if value >= 0.095 or value == 0 else f"{100 * value:.1f}"
