"""Every instance of the rescue family starts from exactly one mistake."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from mapopt.envs.families import MISTAKES, RescueFamily
from mapopt.errors import ConfigError
from mapopt.training import Knobs, Recipe
from mapopt.training.budget import Budget
from mapopt.training.controllers.fixed import Schedule

SMALL: dict[str, Any] = {"images": (8, 4, 4)}


def test_every_mistake_appears_equally_often_in_both_splits() -> None:
    for split in ("train", "eval"):
        family = RescueFamily(split=split, **SMALL)  # type: ignore[arg-type]
        counts = Counter(family.mistake_of(number) for number in range(family.count))
        assert counts == dict.fromkeys(MISTAKES, 6)


@pytest.mark.parametrize("split", ["train", "eval"])
def test_one_thing_is_wrong_and_the_description_names_it(split: Any) -> None:
    family, right = RescueFamily(split=split, count=18, **SMALL), Recipe().settle(Knobs())
    for number in range(family.count):
        instance = family.instance(number)
        name = family.mistake_of(number)
        assert f": mistake {name}: " in str(instance)
        knobs = instance.task.knobs.as_dict()
        changed = {knob for knob, value in right.as_dict().items() if knobs[knob] != value}
        assert changed == ({MISTAKES[name].knob} - {""})
        assert (instance.baseline is None) == bool(changed)
        assert all(f"{knob} {knobs[knob]:.3g} instead of" in str(instance) for knob in changed)


@pytest.mark.parametrize(
    ("name", "knob", "low", "high"),
    [
        ("learning-rate-too-high", "lr", 1.0, 1.0),
        ("learning-rate-too-low", "lr", 0.01, 0.01),
        ("box-weight-too-small", "box_weight", 0.1, 0.2),
        ("assignment-too-low", "assign_iou", 0.05, 0.1),
        ("assignment-too-high", "assign_iou", 0.65, 0.8),
        ("no-augmentation", "augment", 0.0, 0.0),
        ("too-much-augmentation", "augment", 0.9, 1.0),
        ("weight-decay-too-strong", "weight_decay", 0.8, 1.0),
    ],
)
def test_the_mistakes_are_those_that_they_are_called(name: str, knob: str, low: float, high: float) -> None:
    family = RescueFamily(knobs=Knobs(lr=0.1, box_weight=2.0), mistakes=(name,), count=4, **SMALL)
    values = {family.instance(number).task.knobs.as_dict()[knob] for number in range(4)}
    assert low == pytest.approx(min(values)) or low < min(values)
    assert high == pytest.approx(max(values)) or high > max(values)
    assert len(values) == (1 if low == high else 4)


def test_without_a_warm_up_the_baseline_begins_at_the_full_learning_rate() -> None:
    instance = RescueFamily(mistakes=("no-warm-up",), count=1, **SMALL).instance(0)
    budget = Budget(images=320, rounds=20)
    assert instance.baseline is not None
    decision = instance.baseline.decide([], instance.task.info, budget)
    assert decision.ramp_from is not None
    assert decision.ramp_from.lr == instance.task.knobs.lr
    default = Schedule().decide([], instance.task.info, budget)
    assert default.ramp_from is not None
    assert default.ramp_from.lr < 0.5 * instance.task.knobs.lr


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 10}, "10 instances of 9 mistakes: expected a multiple.* Give count 9 or 18"),
        ({"count": 4}, "Give count 9, or other mistakes"),
        (
            {"mistakes": ("learning-rate-to-high",)},
            "unknown entry of mistakes 'learning-rate-to-high': did you mean 'learning-rate-too-high'",
        ),
        ({"mistakes": ()}, "expected a list of at least one of learning-rate-too-high"),
        ({"mistakes": ("no-warm-up", "no-warm-up")}, "each once"),
        ({"knobs": Knobs(lr=1.0)}, "mistake 'learning-rate-too-high' cannot be made with knobs.lr 1: it would be 10"),
        ({"knobs": Knobs(augment=0.0)}, "mistake 'no-augmentation' cannot be made with knobs.augment 0"),
        ({"knobs": Knobs(assign_iou=0.7)}, "'assignment-too-high' draws knobs.assign_iou from 0.65 to 0.8, around"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RescueFamily(**SMALL, **settings)


def test_a_mistake_that_cannot_be_made_may_be_left_out() -> None:
    mistakes = tuple(name for name in MISTAKES if name != "no-augmentation")
    family = RescueFamily(knobs=Knobs(augment=0.0), mistakes=mistakes, count=8, **SMALL)
    assert family.instance(0).task.knobs.augment == 0
