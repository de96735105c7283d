"""Pages for figures: a title above, a caption below, and one look, which reaches no figure of anybody else.

Figures are built from objects alone, so that drawing works without a display and changes nothing in the process it is
called from.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from mapopt.drawing.styles import FAINT, GRID, INK
from mapopt.files import write_bytes

_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "svg.hashsalt": "mapopt",
}


@contextmanager
def styled() -> Iterator[None]:
    """Sets the look of what is drawn inside, and nothing outside."""
    with matplotlib.rc_context(_SETTINGS):
        yield


def new_page(*, width: float, height: float, title: str, caption: str, key: Sequence[Artist] = ()) -> Figure:
    """Returns an empty figure with its title and caption in place.

    Args:
        width: in inches.
        height: in inches, of what is drawn between title and caption.
        title: wrapped to the width, as a rule one line.
        caption: wrapped to the width.
        key: what a legend between drawing and caption explains.
    """
    # A character of the title's 13 bold points is about two thirds as wide as it is high.
    heading = textwrap.wrap(title, int(width * 72 / (13 * 0.68)))
    # A character of the caption's 8.5 points is about half as wide as it is high.
    lines = textwrap.wrap(caption, int(width * 72 / (8.5 * 0.54)))
    names = [str(handle.get_label()).splitlines() for handle in key]
    widest = max((len(line) for name in names for line in name), default=0)
    columns = max(1, min(len(key), int(width / (0.75 + 0.085 * widest))))
    rows = math.ceil(len(key) / columns)
    # A legend fills its columns one after the other, from the top.
    tallest = max((sum(map(len, names[first : first + rows])) for first in range(0, len(key), rows or 1)), default=0)
    text, above = 0.22 + 0.165 * len(lines), 0.18 + 0.24 * len(heading)
    below = text + 0.17 * tallest + 0.07 * rows + (0.12 if key else 0)
    total, margin = height + below + above, 0.1 / width
    figure = Figure(figsize=(width, total), layout="constrained", facecolor="white")
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(rect=(margin, below / total, 1 - 2 * margin, height / total), w_pad=0.06, h_pad=0.06)  # type: ignore[call-arg]
    figure.text(margin, 1 - 0.12 / total, "\n".join(heading), fontsize=13, fontweight="bold", va="top", in_layout=False)
    figure.text(
        margin,
        0.1 / total,
        "\n".join(lines),
        fontsize=8.5,
        color="#555555",
        va="bottom",
        linespacing=1.3,
        in_layout=False,
    )
    if key:
        legend = figure.legend(
            handles=list(key),
            loc="lower left",
            bbox_to_anchor=(0, (text - 0.02) / total),
            ncols=columns,
            handlelength=2.4,
            columnspacing=1.6,
            fontsize=9.5,
        )
        legend.set_in_layout(False)
    return figure


def png(figure: Figure, *, dpi: int = 160) -> bytes:
    """Returns a figure as the content of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi, format="png")
    return buffer.getvalue()


def save(figure: Figure, path: Path) -> Path:
    """Writes a figure as PNG, in one step, and returns its path.

    Raises:
        StoreError: the file cannot be written.
    """
    write_bytes(path, png(figure))
    return path
