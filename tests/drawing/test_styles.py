"""A method looks the same in every figure, and methods look different from each other."""

from __future__ import annotations

from mapopt.drawing.styles import STYLES, TASK_COLORS, styles_of, task_marks


def test_a_method_has_the_same_color_whatever_the_others():
    alone, together = styles_of(["agent"]), styles_of([*STYLES, "mine", "yours"])
    assert alone["agent"] == together["agent"]
    assert together["mine"] != together["yours"]
    assert len({style.color for style in together.values()}) == len(STYLES) + 2


def test_many_unknown_methods_still_differ():
    styles = styles_of([f"method{place}" for place in range(20)])
    assert len(set(styles.values())) == 20


def test_every_task_has_a_mark_of_its_own() -> None:
    assert len(set(task_marks(36))) == 36
    assert [color for color, _ in task_marks(6)] == list(TASK_COLORS)
