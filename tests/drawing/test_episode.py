"""Rendering: a line says the last round, a picture has one layout from the first round to the last."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mapopt.drawing.episode import draw_scene
from mapopt.drawing.scenes import RenderedImage, RenderedKnob, RenderScene, describe_scene
from mapopt.training.knobs import Knobs, ranges

WHITE = 255


def scene(*, knobs: int = 2, played: int = 3, rounds: int = 6, size: int = 32) -> RenderScene:
    rendered = []
    for name in list(ranges())[:knobs]:
        value = Knobs().get(name)
        rendered.append(RenderedKnob(name=name, values=(value,) * played, range=ranges()[name]))
    image = RenderedImage(
        pixels=np.full((size, size, 3), 90, dtype=np.uint8),
        true_boxes=np.array([[4.0, 4.0, 20.0, 20.0]]),
        true_labels=np.array([1]),
        boxes=np.array([[5.0, 5.0, 19.0, 22.0], [1.0, 1.0, 5.0, 5.0]]),
        scores=np.array([0.25, 0.75]),
        labels=np.array([0, 1]),
    )
    return RenderScene(
        title="shapes-train-0: an instance",
        rounds=rounds,
        ap=tuple(0.05 * (place + 1) for place in range(played)),
        knobs=tuple(rendered),
        categories=("disc", "box"),
        image=image,
    )


def test_a_line_says_the_round_its_ap_and_the_knobs() -> None:
    assert describe_scene(scene()) == "round 3/6: val AP 0.150; lr 0.2, weight_decay 0.0005"
    assert describe_scene(scene(played=0)) == "round 0/6: shapes-train-0: an instance"


@pytest.mark.parametrize("knobs", [0, 1, 2, 4, 5, 9, 12, 15, 16])
@pytest.mark.parametrize("played", [0, 1, 6])
def test_every_number_of_knobs_and_rounds_makes_a_picture_of_one_size(knobs: int, played: int) -> None:
    drawn = draw_scene(scene(knobs=knobs, played=played))
    assert drawn.shape == (540, 960, 3)
    assert drawn.dtype == np.uint8
    assert (drawn[:8] == WHITE).all()
    assert (drawn[-3:] == WHITE).all()
    assert (drawn[:, -12:] == WHITE).all()
    assert (drawn[:, :4] == WHITE).all()


def test_a_picture_is_a_function_of_its_scene() -> None:
    assert np.array_equal(draw_scene(scene()), draw_scene(scene()))
    assert not np.array_equal(draw_scene(scene()), draw_scene(scene(played=4)))


def test_scales_stand_still_from_round_to_round() -> None:
    # Left of the panels are the names of the scales alone, below them those of the rounds.
    early, late = draw_scene(scene(played=1)), draw_scene(scene(played=4))
    assert np.array_equal(early[60:, :48], late[60:, :48])
    assert np.array_equal(early[520:], late[520:])


def test_a_larger_picture_is_the_same_one_enlarged() -> None:
    small, large = draw_scene(scene()), draw_scene(scene(), width=1920)
    assert large.shape == (1080, 1920, 3)
    shrunk = large.reshape(540, 2, 960, 2, 3).mean(axis=(1, 3))
    # The image apart: it is enlarged by whole factors, which are not twice each other.
    assert np.abs(shrunk - small)[:, :580].mean() < 4


def test_an_image_is_enlarged_by_a_whole_factor_without_smoothing() -> None:
    board = np.where(np.add.outer(np.arange(32), np.arange(32)) % 2, 200, 20).astype(np.uint8)
    shown = scene()
    assert shown.image is not None
    bare = dataclasses.replace(
        shown.image,
        pixels=np.repeat(board[..., None], 3, axis=2),
        true_boxes=np.zeros((0, 4)),
        true_labels=np.zeros(0, dtype=int),
    )
    drawn = draw_scene(dataclasses.replace(shown, image=bare))
    factor = 344 // 32
    assert np.array_equal(
        drawn[82 : 82 + 32 * factor, 596 : 596 + 32 * factor, 0], board.repeat(factor, axis=0).repeat(factor, axis=1)
    )


def test_as_many_of_the_strongest_boxes_are_drawn_as_there_are_objects() -> None:
    shown = scene()
    assert shown.image is not None
    only = dataclasses.replace(
        shown.image, boxes=shown.image.boxes[1:], scores=shown.image.scores[1:], labels=shown.image.labels[1:]
    )
    assert np.array_equal(draw_scene(shown), draw_scene(dataclasses.replace(shown, image=only)))


def test_what_was_set_for_other_figures_changes_nothing() -> None:
    import matplotlib

    before = draw_scene(scene())
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9, "axes.facecolor": "black"}):
        assert np.array_equal(draw_scene(scene()), before)
        assert matplotlib.rcParams["font.size"] == 30
