"""A page holds its title and its caption, and its look stays in it."""

from __future__ import annotations

import ast
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg

from mapopt.drawing import pages
from mapopt.drawing.pages import new_page, png, save, styled


def test_a_long_title_is_wrapped():
    with styled():
        figure = new_page(
            width=2, height=1, title="What the methods did with the knobs on " + "a long task " * 6, caption=""
        )
    FigureCanvasAgg(figure).draw()
    (title, _) = figure.texts
    assert "\n" in title.get_text()
    assert title.get_window_extent().x1 <= figure.bbox.x1
    assert title.get_window_extent().y0 >= figure.bbox.y0


def test_drawing_changes_no_setting_of_the_process():
    with matplotlib.rc_context({"axes.spines.top": True, "font.size": 3.0}):
        before = dict(matplotlib.rcParams)
        with styled():
            assert not matplotlib.rcParams["axes.spines.top"]
        assert dict(matplotlib.rcParams) == before


def test_a_page_is_saved_in_one_step_with_the_folders_above_it(tmp_path):
    with styled():
        figure = new_page(width=2, height=1, title="A title", caption="A caption.")
        path = save(figure, tmp_path / "new" / "page.png")
        assert path.read_bytes() == png(figure)
    assert [file.name for file in path.parent.iterdir()] == ["page.png"]


def test_no_module_imports_pyplot():
    """pyplot keeps figures and settings in the process, and may look for a display."""
    folder = Path(pages.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names]
                assert not any("pyplot" in name for name in [*names, getattr(node, "module", None) or ""]), path
