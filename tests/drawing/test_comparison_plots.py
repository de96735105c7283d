"""Lines of a comparison are seen even where they coincide."""

from __future__ import annotations

import matplotlib
import numpy as np

from mapopt.drawing import comparison_plots as plots
from mapopt.drawing.rows import Curve
from mapopt.drawing.styles import STYLES


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
