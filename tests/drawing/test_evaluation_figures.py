"""Figures are whole with few and with many categories: every word inside the page, none on top of another."""

from __future__ import annotations

from itertools import combinations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from mapopt.commands.evaluate import FIGURES
from mapopt.drawing import evaluation_figures as figures
from mapopt.evaluation.measure import Questions, compare


@pytest.fixture(scope="module", params=[3, 60])
def pages(request, evaluated_scene):
    """Every figure of a comparison, laid out."""
    truth, predictions = evaluated_scene(request.param)
    comparison = compare(truth, predictions(1, 0.5), predictions(2, 1.0), Questions(resamples=20))
    kept = []

    def keep(figure):
        FigureCanvasAgg(figure).draw()
        kept.append(figure)
        return b""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "_png", keep)
        names = figures.draw(comparison.ours, comparison)
    return dict(zip(names, kept, strict=True))


def _words(figure):
    """Returns the texts that are drawn, with where; ticks beyond the limits of their axes are not."""
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
    found = [one for one in figure.findobj(Text) if one.get_text().strip() and one.get_visible() and one not in hidden]
    return [(one.get_text(), one.get_window_extent(renderer)) for one in found]


def test_every_figure_is_drawn(pages):
    assert list(pages) == [f"{name}.png" for name in FIGURES]


def test_every_word_is_inside_its_page(pages):
    for name, figure in pages.items():
        width, height = figure.get_size_inches() * figure.dpi
        for text, box in _words(figure):
            inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
            assert inside, f"{name}: {text!r} at {box}"


def test_no_word_is_on_top_of_another(pages):
    for name, figure in pages.items():
        for (one, first), (other, second) in combinations(_words(figure), 2):
            across = min(first.x1, second.x1) - max(first.x0, second.x0)
            down = min(first.y1, second.y1) - max(first.y0, second.y0)
            # Counts in neighbouring cells, and lines of text, may touch.
            assert across < 1.5 or down < 1.5, f"{name}: {one!r} and {other!r}"


def test_two_files_are_called_by_what_tells_them_apart(evaluated_scene):
    truth, predictions = evaluated_scene(3)
    found = compare(truth, predictions(1, 0.5), predictions(2, 0.5), Questions(resamples=0))
    assert figures._names(found) == ("detector 1/results.json", "detector 2/results.json")


def test_the_same_findings_give_the_same_bytes(evaluated_scene):
    truth, predictions = evaluated_scene(3)
    found = compare(truth, predictions(1, 0.5), predictions(2, 0.5), Questions(resamples=0)).ours
    with figures.styled():
        assert figures._png(figures._causes(found, None)) == figures._png(figures._causes(found, None))
