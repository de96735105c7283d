"""What tests of figures share: their words, and where these stand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox


@pytest.fixture(scope="session")
def words_of() -> Callable[[Figure], list[tuple[str, Bbox]]]:
    """Returns the texts that are drawn, with where; ticks beyond the limits of their axes are not."""

    def words(figure: Figure) -> list[tuple[str, Bbox]]:
        renderer = FigureCanvasAgg(figure).get_renderer()
        hidden = set()
        for axes in figure.axes:
            for axis in (axes.xaxis, axes.yaxis):
                low, high = sorted(axis.get_view_interval())
                for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                    # Labels of shared axes are drawn once.
                    if not low - 1e-9 <= tick.get_loc() <= high + 1e-9:
                        hidden |= {tick.label1, tick.label2}
                    hidden |= {label for label in (tick.label1, tick.label2) if not label.get_visible()}
        texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
        return [(text.get_text(), text.get_window_extent(renderer)) for text in texts if text not in hidden]

    return words
