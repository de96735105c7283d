"""Knobs: ranges, spaces, and the offsets of which zero is nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapopt.errors import ConfigError
from mapopt.training.knob_space import KnobSpace
from mapopt.training.knob_tensors import stack_knobs
from mapopt.training.knobs import Knobs, Range, blend, ranges

NAMES = list(ranges())


@given(st.sampled_from(NAMES), st.floats(-1, 1))
def test_units_and_values_are_inverse_to_each_other(name: str, unit: float) -> None:
    bounds = ranges()[name]
    value = bounds.from_unit(unit)
    assert bounds.low <= value <= bounds.high
    assert bounds.to_unit(value) == pytest.approx(unit, abs=1e-9)


def test_the_middle_of_a_logarithmic_range_is_its_geometric_mean() -> None:
    assert Range(1e-4, 1e-2, log=True).from_unit(0) == pytest.approx(1e-3)
    assert Range(1.0, 3.0).from_unit(0) == 2.0


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_a_space_sets_the_chosen_knobs_and_no_others(first: float, second: float) -> None:
    space, base = KnobSpace(["lr", "augment"]), Knobs(momentum=0.5)
    knobs = space.from_unit([first, second], base)
    assert list(space.to_unit(knobs)) == pytest.approx([first, second], abs=1e-9)
    assert knobs.replace(lr=base.lr, augment=base.augment) == base


def test_a_zero_offset_returns_the_very_same_knobs() -> None:
    base = Knobs(lr=0.1234567)
    assert KnobSpace(NAMES).shift([0.0] * len(NAMES), base, scale=10) is base


def test_an_offset_is_a_factor_on_logarithmic_knobs_and_a_move_on_linear_ones() -> None:
    moved = KnobSpace(["lr", "augment"]).shift([-1, 1], Knobs(lr=0.1, augment=0.2), scale=10)
    assert moved.lr == pytest.approx(0.01)
    assert moved.augment == pytest.approx(0.7)


@given(st.lists(st.floats(-3, 3), min_size=len(NAMES), max_size=len(NAMES)))
def test_no_offset_leaves_the_ranges(offsets: list[float]) -> None:
    KnobSpace(NAMES).shift(offsets, Knobs(step_ratio=0.01), scale=100)


def test_a_class_weight_that_is_left_open_counts_as_1_until_it_is_filled_in() -> None:
    left_open = Knobs(lr=0.1)
    assert left_open.class_weight is None
    assert left_open.get("class_weight") == left_open.as_dict()["class_weight"] == 1.0
    assert blend(left_open, Knobs(lr=0.2), 0.5).class_weight is None
    assert blend(left_open, Knobs(class_weight=2.0), 0.5).class_weight == 1.5
    filled = left_open.filled_from(Knobs(class_weight=0.25, lr=0.5))
    assert (filled.class_weight, filled.lr) == (0.25, 0.1)
    assert filled.filled_from(Knobs(class_weight=3.0)) is filled
    assert left_open.filled_from(Knobs()) is left_open
    assert left_open.filled_from(Knobs(soft_nms_sigma=0.0)).soft_nms_sigma == 0.0
    assert Knobs().settled() == Knobs(lr=0.2, weight_decay=5e-4, class_weight=1.0, assign_iou=0.4, soft_nms_sigma=0.0)
    with pytest.raises(ConfigError, match="knob augment is None: expected a finite number"):
        Knobs(augment=None)  # type: ignore[arg-type]


def test_a_blend_is_linear_and_ends_where_it_should() -> None:
    start, end = Knobs(lr=0.1, augment=0.0), Knobs(lr=0.2, augment=1.0)
    assert blend(start, end, 0.0) == start
    assert blend(start, end, 1.0) == end
    assert blend(start, end, 0.25).lr == pytest.approx(0.125)


def test_stacked_knobs_stand_lane_by_lane() -> None:
    assert stack_knobs([Knobs(lr=0.1), Knobs(lr=0.3)])["lr"].tolist() == pytest.approx([0.1, 0.3])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lr": 99.0}, "knob lr is 99: expected 1e-05 to 3"),
        ({"lr": math.nan}, "knob lr is nan: expected a finite number"),
        ({"momentum": "fast"}, "expected a finite number"),
        ({"augment": True}, "expected a finite number"),
        ({"learning_rate": 1.0}, "unknown knob 'learning_rate'"),
        ({"momentun": 0.5}, "did you mean 'momentum'"),
    ],
)
def test_wrong_knobs_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Knobs.from_dict(values)


def test_wrong_spaces_are_named() -> None:
    with pytest.raises(ConfigError, match="no knob was chosen"):
        KnobSpace([])
    with pytest.raises(ConfigError, match="named twice"):
        KnobSpace(["lr", "lr"])
    with pytest.raises(ConfigError, match="2 numbers were given for the 1 knobs"):
        KnobSpace(["lr"]).from_unit([0, 0], Knobs())
