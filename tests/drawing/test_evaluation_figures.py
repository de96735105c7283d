"""Figures are whole with few and with many categories: every word inside the page, none on top of another."""

from __future__ import annotations

from itertools import combinations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from mapopt.commands.evaluate import FIGURES
from mapopt.drawing import evaluation_figures as figures
from mapopt.evaluation.findings import Questions, compare


@pytest.fixture(scope="module", params=[3, 60])
def pages(request, evaluated_scene):
    """Every figure of a comparison, laid out."""
    truth, predictions = evaluated_scene(request.param)
    comparison = compare(truth, predictions(1, 0.5), predictions(2, 1.0), Questions(resamples=20))
    kept = []

    def keep(figure, *, dpi):
        FigureCanvasAgg(figure).draw()
        kept.append(figure)
        return b""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "png", keep)
        names = figures.draw_evaluation(comparison.ours, comparison)
    return dict(zip(names, kept, strict=True))


def test_every_figure_is_drawn(pages):
    assert list(pages) == [f"{name}.png" for name in FIGURES]


def test_every_word_is_inside_its_page(pages, words_of):
    for name, figure in pages.items():
        width, height = figure.get_size_inches() * figure.dpi
        for text, box in words_of(figure):
            inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
            assert inside, f"{name}: {text!r} at {box}"


def test_no_word_is_on_top_of_another(pages, words_of):
    for name, figure in pages.items():
        for (text, first), (other, second) in combinations(words_of(figure), 2):
            across = min(first.x1, second.x1) - max(first.x0, second.x0)
            down = min(first.y1, second.y1) - max(first.y0, second.y0)
            # Counts in neighboring cells, and lines of text, may touch.
            assert across < 1.5 or down < 1.5, f"{name}: {text!r} and {other!r}"


def test_two_files_are_called_by_what_distinguishes_them(evaluated_scene):
    truth, predictions = evaluated_scene(3)
    comparison = compare(truth, predictions(1, 0.5), predictions(2, 0.5), Questions(resamples=0))
    assert figures._names(comparison) == ("detector 1/results.json", "detector 2/results.json")


def test_the_same_findings_give_the_same_bytes(evaluated_scene):
    truth, predictions = evaluated_scene(3)
    findings = compare(truth, predictions(1, 0.5), predictions(2, 0.5), Questions(resamples=0)).ours
    with figures.styled():
        assert figures.png(figures._causes(findings, None)) == figures.png(figures._causes(findings, None))
