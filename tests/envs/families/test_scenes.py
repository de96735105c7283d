"""The families of procedural scenes have the difficulty that they say, and only that."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

from mapopt.data import ShapesConfig
from mapopt.envs.families import ImbalancedFamily, NoisyLabelsFamily, ShapesFamily, SmallObjectsFamily, make_family
from mapopt.errors import ConfigError


def test_classes_are_as_imbalanced_as_the_description_says() -> None:
    family = ImbalancedFamily(images=(400, 8, 8), count=6, factor=(5.0, 20.0))
    said, measured = [], []
    for number in range(family.count):
        instance = family.instance(number)
        counts = instance.task.splits.train.annotations.counts
        match = re.search(r"classes ([\d.]+) times .*: (\d+) disc, (\d+) box, (\d+) triangle", str(instance))
        assert match is not None
        assert [int(count) for count in match.groups()[1:]] == counts.tolist()
        said.append(float(match[1]))
        measured.append(counts[0] / counts[-1])
    assert 5 <= min(said) < max(said) <= 20
    assert max(said) > 1.3 * min(said)
    # About 1300 objects: the rarest class has some 60 to 200, so its frequency is known to a seventh or better.
    assert np.allclose(measured, said, rtol=0.35)


def test_objects_are_small_and_the_fraction_said_is_the_fraction_there() -> None:
    family = SmallObjectsFamily(images=(64, 16, 16), count=6, largest=(6.0, 14.0), under=7)
    ends = []
    for number in range(family.count):
        instance = family.instance(number)
        match = re.search(r"of 4 to ([\d.]+) of 48 pixels, (\d+)% of (\d+) objects under 7 pixels", str(instance))
        assert match is not None
        for _, images in instance.task.splits.named():
            boxes = images.annotations.boxes
            assert (boxes[:, 2:] - boxes[:, :2]).max() <= float(match[1]) + 0.05
        boxes = instance.task.splits.train.annotations.boxes
        longer = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
        assert int(match[3]) == len(boxes)
        assert abs(100 * (longer < 7).sum() / len(boxes) - int(match[2])) <= 0.5
        ends.append(float(match[1]))
    assert 6 <= min(ends) < max(ends) <= 14


def test_only_train_annotations_are_wrong_and_as_many_as_drawn() -> None:
    parameters = {"images": (64, 16, 16), "count": 4}
    noisy, clean = NoisyLabelsFamily(fraction=(0.2, 0.4), **parameters), ShapesFamily(variety=0.0, **parameters)  # type: ignore[arg-type]
    fractions = []
    for number in range(4):
        wrong, right = noisy.instance(number), clean.instance(number).task.splits
        splits = wrong.task.splits
        for (_, ours), (_, theirs) in zip(splits.named(), right.named(), strict=True):
            assert torch.equal(ours.pixels, theirs.pixels)
        assert splits.val.annotations == right.val.annotations
        assert splits.test.annotations == right.test.annotations
        assert splits.train.annotations != right.train.annotations
        match = re.search(r"(\d+) of (\d+) train boxes wrong on purpose \((\d+) missing, \d+ shifted, ", str(wrong))
        assert match is not None
        assert int(match[2]) == len(right.train.annotations.ids)
        assert splits.note in str(wrong)
        fractions.append(int(match[1]) / int(match[2]))
    assert 0.19 < min(fractions) < max(fractions) < 0.41


def test_no_variety_keeps_every_instance_at_the_middle() -> None:
    scenes = ShapesConfig(noise=0.05, imbalance=3.0)
    family = ShapesFamily(variety=0.0, scenes=scenes)
    assert family.scenes_of(np.random.default_rng(0)) == scenes
    assert ShapesFamily(scenes=scenes).scenes_of(np.random.default_rng(0)) != scenes


@pytest.mark.parametrize(
    ("family", "settings", "message"),
    [
        (ShapesFamily, {"variety": 1.5}, r"variety is 1.5. Expected a number from 0 to 1"),
        (ImbalancedFamily, {"factor": (0.5, 2.0)}, r"factor is \(0.5, 2.0\): expected two numbers from 1 to 100"),
        (ImbalancedFamily, {"factor": (20.0, 5.0)}, "the lower one first"),
        (ImbalancedFamily, {"factor": 5.0}, "expected two numbers"),
        (ImbalancedFamily, {"factor": (5.0, float("nan"))}, "expected two numbers"),
        (ImbalancedFamily, {"scenes": ShapesConfig(imbalance=3.0)}, "scenes.imbalance is 3.0.* give factor"),
        (ImbalancedFamily, {"scenes": ShapesConfig(classes=1)}, "scenes of 1 class cannot be imbalanced"),
        (SmallObjectsFamily, {"largest": (3.0, 8.0)}, "largest is .* from 4 to 48"),
        (SmallObjectsFamily, {"under": 0}, "under is 0. Expected a number from 1 to 48"),
        (SmallObjectsFamily, {"scenes": ShapesConfig(object_size=(4.0, 8.0))}, "scenes.object_size is .* give largest"),
        (NoisyLabelsFamily, {"fraction": (0.1, 1.5)}, "fraction is .* from 0 to 1"),
        (NoisyLabelsFamily, {"faults": ("swaped",)}, "unknown entry of faults 'swaped': did you mean 'swapped'"),
        (NoisyLabelsFamily, {"faults": ()}, "at least one of missing, shifted, swapped, spurious, each once"),
        (NoisyLabelsFamily, {"faults": "missing"}, "expected a list of at least one"),
        (NoisyLabelsFamily, {"scenes": ShapesConfig(classes=1)}, "'swapped', but scenes of 1 class"),
        (NoisyLabelsFamily, {"scenes": ShapesConfig(label_noise=0.1)}, "scenes.label_noise is 0.1.* give fraction"),
    ],
)
def test_wrong_settings_are_refused(family: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        family(**settings)


def test_instances_of_units_differ_in_the_scale_of_the_losses_and_in_momentum() -> None:
    family = make_family("units", images=(16, 8, 8), count=40, units=(0.2, 5.0), momenta=(0.0, 0.97))
    knobs = [family.instance(number).task.knobs for number in range(40)]
    default = family.recipe.settle(family.knobs)
    factors = [each.box_weight / default.box_weight for each in knobs]
    # One factor for both weights: their ratio is the recipe's.
    assert factors == pytest.approx([each.get("class_weight") / default.get("class_weight") for each in knobs])
    assert 0.2 <= min(factors) < 0.5
    assert 2 < max(factors) <= 5
    assert 0 <= min(each.momentum for each in knobs) < 0.3
    assert 0.9 < max(each.momentum for each in knobs) <= 0.97


def test_instances_of_budgets_have_budgets_of_very_different_lengths() -> None:
    family = make_family("budgets", images=(16, 8, 8), count=40)
    budgets = {family.budget_of(number).images for number in range(40)}  # type: ignore[union-attr]
    assert budgets == {800, 1600, 3200, 6400, 12800}
