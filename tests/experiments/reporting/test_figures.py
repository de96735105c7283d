"""Figures are whole: every word inside the page, none on top of another, and the same for the same runs."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from matplotlib.text import Text

from mapopt.drawing import comparison_figures
from mapopt.drawing.styles import STYLES, styles_of
from mapopt.experiments.comparison.store import Store
from mapopt.experiments.reporting.figures import draw_all, pages
from mapopt.experiments.reporting.report import summarize

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
def drawn(runs):
    """Every figure, laid out."""
    return {name.removeprefix("shapes_"): figure for name, figure in _drawn(runs).items()}


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
    return names, _drawn(store.runs("demo"), reference=names[-2], families=families)


def _drawn(runs, reference="baseline", **settings):
    kept = {}

    def keep(figure, path):
        FigureCanvasAgg(figure).draw()
        kept[path.stem] = figure
        return path

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison_figures, "save", keep)
        draw_all(runs, Path("nowhere"), summarize(runs, reference=reference, objects=_known(runs)), **settings)
    return kept


def _known(runs):
    return {task: OBJECTS[task] for task in {run.task for run in runs}}


def _words(figure):
    words = [word for word in figure.findobj(Text) if word.get_text().strip() and word.get_visible()]
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
    return [word for word in words if word not in hidden]


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
def test_every_word_lies_inside_the_page(drawn, name):
    _check_inside(drawn[name])


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
def test_no_word_lies_on_another(drawn, name):
    _check_apart(drawn[name])


def _check_apart(figure):
    boxes = [(word.get_text(), word.get_window_extent()) for word in _words(figure)]
    for (text, box), (other_text, other) in combinations(boxes, 2):
        across = min(box.x1, other.x1) - max(box.x0, other.x0)
        down = min(box.y1, other.y1) - max(box.y0, other.y0)
        assert across <= 1 or down <= 1, f"{text!r} lies on {other_text!r}"


def test_every_method_is_named_in_every_figure(drawn):
    for name in NAMES:
        text = _text(drawn[name])
        for method in STYLES:
            assert f"the method that is called {method}" in text, name


def _text(figure):
    return " ".join(" ".join(word.get_text() for word in _words(figure)).split())


@pytest.mark.parametrize("name", [*NAMES, "overall", "profiles"])
def test_of_two_dozen_methods_the_rows_show_all_and_the_lines_the_best_and_the_reference(crowd, name):
    names, drawn = crowd
    figure = drawn[name if name in ("overall", "profiles") else f"shapes_{name}"]
    _check_inside(figure)
    if name != "pictures":
        _check_apart(figure)
    labels = [f"method {method.replace('_', ' ')}" for method in names]
    shown = [any(word.get_text().startswith(label) for word in _words(figure)) for label in labels]
    text = _text(figure)
    if name in ("final", "rarest", "overall"):
        assert all(shown)
    elif name == "profiles":
        assert "Not shown are the 15 methods that are last over all tasks." in text
        assert sum(re.search(rf"{label}\b", text) is not None for label in labels) == 9
    elif name == "pictures":
        assert "Shown are the 6 of 24 methods with the best test AP and the reference." in text
        assert [label in text for label in labels] == [place < 6 or place == 22 for place in range(24)]
    else:
        assert "Shown are the 8 of 24 methods with the best test AP and the reference." in text
        named = [re.search(rf"{label}\b", text) is not None for label in labels]
        assert named == [place < 8 or place == 22 for place in range(24)]


def test_only_an_imbalanced_task_has_a_figure_of_its_rarest_category(crowd):
    _, drawn = crowd
    assert "shapes_rarest" in drawn
    assert "cells_rarest" not in drawn
    assert "It has 3 of the 33 training objects of 3 categories." in _text(drawn["shapes_rarest"])


def test_ranking_losses_are_warm_and_pointwise_ones_cool_where_there_are_both(crowd):
    names, drawn = crowd
    assert "warm for ranking losses, cool for pointwise" in _text(drawn["shapes_final"])
    styles = styles_of(names, {name: name.split("_")[0] for name in names})
    for name, style in styles.items():
        red, _, blue = to_rgb(style.color)
        assert (red > blue) == name.startswith("ranking") or style.color == "#66a61e", name
    assert len({(style.color, style.dash) for style in styles.values()}) == len(names)


def test_figures_say_what_they_must(drawn):
    def text(name):
        return " ".join(" ".join(word.get_text() for word in drawn[name].texts).split())

    assert "reads once" in text("final")
    assert "95% bootstrap interval" in text("final")
    assert "95% bootstrap interval as a band" in text("images")
    assert "fleet's, by the clock, on cpu" in text("seconds")
    assert "as many as there are objects" in " ".join(text("pictures").split())
    assert any("1 of 2 diverged" in word.get_text() for word in _words(drawn["final"]))


def test_the_learning_rate_is_on_a_log_scale(drawn):
    (axes,) = [axes for axes in drawn["knobs"].axes if axes.get_title(loc="left") == "lr (log scale)"]
    assert axes.get_yscale() == "log"


def test_small_pictures_keep_their_pixels_square(drawn):
    images = [image for axes in drawn["pictures"].axes for image in axes.get_images()]
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
    for place, played in enumerate(rounds):
        moves = dict.fromkeys(names, 0.2 + 0.1 * place)
        changed.append(
            type(played)(**{**vars(played), "knobs": played.knobs.replace(lr=0.1).replace(**moves), "ramp_from": None})
        )
    store.write(make.run(), changed)
    runs = store.runs("demo")
    shown = []
    monkeypatch.setattr(
        comparison_figures, "save", lambda figure, path: (FigureCanvasAgg(figure).draw(), shown.append(figure), path)[2]
    )
    draw_all(runs, tmp_path, summarize(runs))
    titles = [axes.get_title(loc="left").split(" ")[0] for axes in shown[-1].axes]
    assert sorted(title for title in titles if title) == sorted(names)


def test_what_is_shown_is_known_before_anything_is_drawn(runs):
    shown = pages(runs, summarize(runs, reference="baseline", objects=_known(runs)))
    assert [page.name for page in shown] == [f"shapes_{name}" for name in NAMES]
