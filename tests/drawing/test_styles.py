"""A method looks the same in every figure, and methods look different from each other."""

from __future__ import annotations

from mapopt.drawing.styles import STYLES, styles_of


def test_a_method_has_the_same_color_whatever_the_others():
    alone, together = styles_of(["agent"]), styles_of([*STYLES, "mine", "yours"])
    assert alone["agent"] == together["agent"]
    assert together["mine"] != together["yours"]
    assert len({style.color for style in together.values()}) == len(STYLES) + 2


def test_many_unknown_methods_still_differ():
    styles = styles_of([f"method{place}" for place in range(20)])
    assert len(set(styles.values())) == 20
