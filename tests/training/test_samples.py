"""Training samples are a function of the images seen before: parts of them are those of the whole, in less memory."""

from __future__ import annotations

import numpy as np
import pytest

from mapopt.data import Splits
from mapopt.training import Budget, Knobs, Recipe
from mapopt.training.diagnosis import choices
from mapopt.training.diagnosis.case import Case
from mapopt.training.samples import training_samples


@pytest.mark.parametrize("augmentation", [{}, {"mosaic": 1.0}, {"mixup": 0.5, "copy_paste": 1.0}])
def test_samples_in_parts_are_those_of_the_whole(augmentation: dict[str, float], small_splits: Splits) -> None:
    recipe = Recipe.of(augmentation=augmentation)
    whole = training_samples(small_splits.train, recipe, np.full(20, 0.5))
    parts = [
        sample
        for seen in range(0, 20, 8)
        for sample in training_samples(small_splits.train, recipe, np.full(min(8, 20 - seen), 0.5), seen=seen)
    ]
    assert len(parts) == 20
    for sample, other in zip(whole, parts, strict=True):
        assert sample.position == other.position
        np.testing.assert_array_equal(sample.after.pixels, other.after.pixels)
        np.testing.assert_array_equal(sample.after.boxes, other.after.boxes)


def test_a_diagnosis_makes_few_samples_at_a_time(small_splits: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    # All 128 at once were 2 GB at 640 pixels, more than the training itself.
    asked: list[int] = []

    def counted(*given: object, **named: object) -> object:
        asked.append(len(given[2]))  # type: ignore[arg-type]
        return training_samples(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(choices, "training_samples", counted)
    case = Case(
        name="t",
        data="shapes",
        splits=small_splits,
        recipe=Recipe(),
        knobs=Knobs(),
        budget=Budget(images=320, rounds=2),
        sample=40,
    )
    (finding,) = choices.check_lost_objects(case)
    assert asked == [16, 16, 8]
    assert "in 40 training samples" in finding.message
