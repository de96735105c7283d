"""Figures are whole: every word inside the page, none on top of another, and the same for the same runs."""

from __future__ import annotations

import ast
import re
from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from matplotlib.text import Text

from mapopt.drawing.style import STYLES, page, styled, styles_of
from mapopt.experiments.comparison.store import Store
from mapopt.experiments.reporting import figures, plots
from mapopt.experiments.reporting.figures import draw_all
from mapopt.experiments.reporting.report import summarize
from mapopt.experiments.reporting.tables import Curve

NAMES = ("final", "rarest", "images", "seconds", "knobs", "pictures")
OBJECTS = {"shapes": (20, 3, 10), "cells": (10, 9, 10)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, make):
    """Seven methods that end at nearly the same AP, which is the hard case for their names; one run diverged."""
    store = Store(tmp_path_factory.mktemp("runs"))
    for place, method in enumerate(STYLES):
        for seed in range(2):
            status = "diverged" if (method, seed) == ("ap", 1) else "finished"
            ap = 0.3 + 0.001 * place + 0.01 * seed
            rounds = make.rounds(4, ap, 0.1 * (1 + place // 2), diverged=status == "diverged")
            label = f"the method that is called {method}"
            store.write(make.run(method, seed, ap, status=status, label=label), rounds, make.drawn(seed))
    return store.runs("demo")


@pytest.fixture(scope="module")
def pages(runs):
    """Every figure, laid out."""
    found = _pages(runs)
    return {name.removeprefix("shapes_"): figure for name, figure in found.items()}


@pytest.fixture(scope="module")
def crowd(tmp_path_factory, make):
    """Every figure of twenty-four methods on two tasks, laid out; the reference is the last but one."""
    store = Store(tmp_path_factory.mktemp("crowd"))
    names = [f"{family}_{place}" for place in range(12) for family in ("ranking", "pointwise")]
    for place, method in enumerate(names):
        for task in ("cells", "shapes"):
            run = make.run(method, 0, 0.5 - 0.01 * place, task=task, label=f"method {method.replace('_', ' ')}")
            store.write(run, make.rounds(3, 0.5 - 0.01 * place, 0.1 * (1 + place % 2)), make.drawn(0))
    families = {name: name.split("_")[0] for name in names}
    return names, _pages(store.runs("demo"), reference=names[-2], families=families)


def _pages(runs, reference="baseline", **settings):
    kept = {}

    def keep(figure, path):
        FigureCanvasAgg(figure).draw()
        kept[path.stem] = figure
        return path

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "save", keep)
        draw_all(runs, Path("nowhere"), summarize(runs, reference=reference, objects=_known(runs)), **settings)
    return kept


def _known(runs):
    return {task: OBJECTS[task] for task in {run.task for run in runs}}


def _words(figure):
    found = [one for one in figure.findobj(Text) if one.get_text().strip() and one.get_visible()]
    # Ticks beyond the axes' limits exist but are not drawn.
    hidden = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not low <= tick.get_loc() <= high or not axes.axison:
                    hidden |= {tick.label1, tick.label2}
        if not axes.axison:
            hidden |= {axes.xaxis.label, axes.yaxis.label}
    return [one for one in found if one not in hidden]


def test_every_figure_is_a_file_named_by_its_task(runs, tmp_path):
    runs = [run for run in runs if run.method in ("baseline", "agent")]
    folder = tmp_path / "new" / "figures"
    paths = draw_all(runs, folder, summarize(runs, reference="baseline", objects=_known(runs)))
    assert [path.name for path in paths] == [f"shapes_{name}.png" for name in NAMES]
    for path in paths:
        pixels = imread(path)
        assert min(pixels.shape[:2]) > 400
        assert pixels[..., :3].std() > 0.02
        assert (pixels[0, :, :3] == 1).all(), "something touches the page's edge"


@pytest.mark.parametrize("name", NAMES)
def test_every_word_lies_inside_the_page(pages, name):
    _check_inside(pages[name])


def _check_inside(figure):
    page = figure.bbox
    words = _words(figure)
    assert len(words) > 5
    for word in words:
        box = word.get_window_extent()
        assert box.x0 >= page.x0 - 1, word.get_text()
        assert box.x1 <= page.x1 + 1, word.get_text()
        assert box.y0 >= page.y0 - 1, word.get_text()
        assert box.y1 <= page.y1 + 1, word.get_text()


@pytest.mark.parametrize("name", ["final", "rarest", "images", "seconds", "knobs"])
def test_no_word_lies_on_another(pages, name):
    _check_apart(pages[name])


def _check_apart(figure):
    boxes = [(word.get_text(), word.get_window_extent()) for word in _words(figure)]
    for (first, one), (second, other) in combinations(boxes, 2):
        overlap = (
            min(one.x1, other.x1) - max(one.x0, other.x0) > 1 and min(one.y1, other.y1) - max(one.y0, other.y0) > 1
        )
        assert not overlap, f"{first!r} lies on {second!r}"


def test_every_method_is_named_in_every_figure(pages):
    for name in NAMES:
        text = _text(pages[name])
        for method in STYLES:
            assert f"the method that is called {method}" in text, name


def _text(figure):
    return " ".join(" ".join(word.get_text() for word in _words(figure)).split())


@pytest.mark.parametrize("name", [*NAMES, "overall"])
def test_of_two_dozen_methods_the_rows_show_all_and_the_lines_the_best_and_the_reference(crowd, name):
    names, pages = crowd
    figure = pages[name if name == "overall" else f"shapes_{name}"]
    _check_inside(figure)
    if name != "pictures":
        _check_apart(figure)
    labels = [f"method {method.replace('_', ' ')}" for method in names]
    shown = [any(word.get_text().startswith(label) for word in _words(figure)) for label in labels]
    text = _text(figure)
    if name in ("final", "rarest", "overall"):
        assert all(shown)
    elif name == "pictures":
        assert "Shown are the 6 of 24 methods with the best test AP and the reference." in text
        assert [label in text for label in labels] == [place < 6 or place == 22 for place in range(24)]
    else:
        assert "Shown are the 8 of 24 methods with the best test AP and the reference." in text
        found = [re.search(rf"{label}\b", text) is not None for label in labels]
        assert found == [place < 8 or place == 22 for place in range(24)]


def test_only_an_imbalanced_task_has_a_figure_of_its_rarest_category(crowd):
    _, pages = crowd
    assert "shapes_rarest" in pages
    assert "cells_rarest" not in pages
    assert "It has 3 of the 33 training objects of 3 categories." in _text(pages["shapes_rarest"])


def test_ranking_losses_are_warm_and_pointwise_ones_cool_where_there_are_both(crowd):
    names, pages = crowd
    assert "warm for ranking losses, cool for pointwise" in _text(pages["shapes_final"])
    styles = styles_of(names, {name: name.split("_")[0] for name in names})
    for name, style in styles.items():
        red, _, blue = to_rgb(style.color)
        assert (red > blue) == name.startswith("ranking") or style.color == "#66a61e", name
    assert len({(style.color, style.dash) for style in styles.values()}) == len(names)


def test_figures_say_what_they_must(pages):
    def text(name):
        return " ".join(" ".join(word.get_text() for word in pages[name].texts).split())

    assert "reads once" in text("final")
    assert "95% bootstrap interval" in text("final")
    assert "95% bootstrap interval as a band" in text("images")
    assert "wall time on cpu" in text("seconds")
    assert "as many as there are objects" in " ".join(text("pictures").split())
    assert any("1 of 2 diverged" in word.get_text() for word in _words(pages["final"]))


def test_the_learning_rate_is_on_a_log_scale(pages):
    (axes,) = [axes for axes in pages["knobs"].axes if axes.get_title(loc="left") == "lr (log scale)"]
    assert axes.get_yscale() == "log"


def test_a_long_title_is_wrapped():
    with styled():
        figure = page(
            width=2, height=1, title="What the methods did with the knobs on " + "a long task " * 6, caption=""
        )
    FigureCanvasAgg(figure).draw()
    (title, _) = figure.texts
    assert "\n" in title.get_text()
    assert title.get_window_extent().x1 <= figure.bbox.x1
    assert title.get_window_extent().y0 >= figure.bbox.y0


def test_small_pictures_keep_their_pixels_square(pages):
    images = [image for axes in pages["pictures"].axes for image in axes.get_images()]
    assert len(images) == 2 * (1 + len(STYLES))
    assert {image.get_interpolation() for image in images} == {"nearest"}


def test_what_the_runs_do_not_have_is_not_drawn(tmp_path, make):
    store = Store(tmp_path / "runs")
    store.write(make.run(), [])
    runs = store.runs("demo")
    assert [path.name for path in draw_all(runs, tmp_path, summarize(runs))] == ["shapes_final.png"]


@pytest.mark.parametrize("knobs", [1, 2, 5])
def test_any_number_of_knobs_fits_on_a_page(tmp_path, make, knobs, monkeypatch):
    store = Store(tmp_path / "runs")
    names = ("lr", "box_weight", "augment", "momentum", "nms_iou")[:knobs]
    rounds = make.rounds(3)
    changed = []
    for place, one in enumerate(rounds):
        moves = dict.fromkeys(names, 0.2 + 0.1 * place)
        changed.append(
            type(one)(**{**vars(one), "knobs": one.knobs.replace(lr=0.1).replace(**moves), "ramp_from": None})
        )
    store.write(make.run(), changed)
    runs = store.runs("demo")
    shown = []
    monkeypatch.setattr(
        figures, "save", lambda figure, path: (FigureCanvasAgg(figure).draw(), shown.append(figure), path)[2]
    )
    draw_all(runs, tmp_path, summarize(runs))
    titles = [axes.get_title(loc="left").split(" ")[0] for axes in shown[-1].axes]
    assert sorted(title for title in titles if title) == sorted(names)


def test_a_method_has_the_same_color_whatever_the_others():
    alone, together = styles_of(["agent"]), styles_of([*STYLES, "mine", "yours"])
    assert alone["agent"] == together["agent"]
    assert together["mine"] != together["yours"]
    assert len({style.color for style in together.values()}) == len(STYLES) + 2


def test_many_unknown_methods_still_differ():
    found = styles_of([f"method{place}" for place in range(20)])
    assert len(set(found.values())) == 20


def test_lines_that_coincide_show_every_color():
    x = np.arange(5.0)
    same = [
        Curve(method=method, label=method, x=x, middle=x, low=x, high=x) for method in ("baseline", "ap", "rank_sort")
    ]
    other = Curve(method="agent", label="agent", x=x, middle=x + 1, low=x, high=x)
    axes = matplotlib.figure.Figure().subplots()
    plots.learning_curves([*same, other], axes, STYLES)
    lines = {line.get_color(): line for line in axes.get_lines() if line.get_transform() == axes.transData}
    offsets = {lines[STYLES[curve.method].color]._unscaled_dash_pattern[0] for curve in same}
    assert len(offsets) == 3
    assert lines[STYLES["agent"].color].get_linestyle() == "-"


def test_names_are_moved_apart_no_further_than_they_must():
    np.testing.assert_allclose(plots._spread([0.5, 0.1, 0.51], 0.1), [0.455, 0.1, 0.555])
    np.testing.assert_allclose(plots._spread([0.9, 0.2], 0.1), [0.9, 0.2])


def test_drawing_changes_no_setting_of_the_process():
    with matplotlib.rc_context({"axes.spines.top": True, "font.size": 3.0}):
        before = dict(matplotlib.rcParams)
        with styled():
            assert not matplotlib.rcParams["axes.spines.top"]
        assert dict(matplotlib.rcParams) == before


def test_no_module_imports_pyplot():
    folder = Path(figures.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [one.name for one in getattr(node, "names", [])]
                if isinstance(node, ast.Import | ast.ImportFrom)
                else []
            )
            assert not any("pyplot" in name for name in [*names, getattr(node, "module", None) or ""]), path
