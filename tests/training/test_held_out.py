"""The losses on a split: what training would see there without augmentation, and no trace of having looked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mapopt.data import ShapesConfig, make_shapes_splits
from mapopt.detectors.interface import Targets
from mapopt.training import Fleet, Knobs, Recipe, Task
from mapopt.training.batches import gather_targets
from mapopt.training.knob_tensors import stack_knobs

KNOBS = Knobs(lr=0.05, class_weight=0.25, box_weight=3.0)


def _fleet(recipe: Recipe, lanes: int = 2) -> Fleet:
    splits = make_shapes_splits(ShapesConfig(), seed=0, train=16, val=12, test=8)
    task = Task(name="demo", splits=splits, recipe=recipe, knobs=KNOBS)
    return Fleet([task] * lanes, range(lanes))


@pytest.mark.parametrize("loss", ["focal", "rank_sort", "quality_focal"])
def test_the_loss_of_a_split_is_the_mean_over_its_batches_without_weights(loss: str) -> None:
    fleet = _fleet(Recipe(loss=loss, batch_size=8))
    fleet.train(16)
    engine = fleet._engines[0]
    sets = [engine._set(lane, "val") for lane in range(2)]
    sums = np.zeros((2, 2))
    for start, end in ((0, 8), (8, 12)):
        index = torch.arange(start, end).expand(2, -1)
        boxes, labels, crowd = (column.unflatten(0, (2, end - start)) for column in gather_targets(sets, index))
        images = torch.stack([own.pixels[start:end] for own in sets]).float()
        terms = engine.detector.losses(images, Targets(boxes, labels, crowd), stack_knobs([KNOBS] * 2, "cpu"), seed=0)
        sums[0] += (terms["class"] / 0.25 * (end - start) / 12).detach().numpy()
        sums[1] += (terms["box"] / 3 * (end - start) / 12).detach().numpy()
    measured = fleet.losses("val")
    assert [own["class_loss"] for own in measured] == pytest.approx(sums[0], rel=1e-5)
    assert [own["box_loss"] for own in measured] == pytest.approx(sums[1], rel=1e-5)
    assert measured[0]["class_loss"] != measured[1]["class_loss"]


@pytest.mark.parametrize("recipe", [Recipe(loss="ap", memory=500, batch_size=8), Recipe(ema=0.9, batch_size=8)])
def test_looking_at_the_losses_changes_nothing(recipe: Recipe) -> None:
    looking, blind = _fleet(recipe), _fleet(recipe)
    for _ in range(3):
        blind.train(16)
        looking.train(16)
        looking.losses("val")
        looking.score("test", measures=("loss", "limits"))
    for lane in range(2):
        for name, value in blind.snapshot(lane).tensors.items():
            assert torch.equal(value, looking.snapshot(lane).tensors[name]), name


def test_scores_hold_what_was_measured_and_nothing_else() -> None:
    fleet = _fleet(Recipe(batch_size=8))
    fleet.train(16)
    plain, measured = fleet.score("val")[1], fleet.score("val", measures=("limits", "loss"), lanes=[1])[0]
    assert (plain.class_loss, plain.box_loss, plain.ap_perfect_boxes, plain.ap_perfect_ranking) == (-1, -1, -1, -1)
    assert measured.class_loss == fleet.losses("val", lanes=[1])[0]["class_loss"] > 0
    assert measured.ap == plain.ap <= min(measured.ap_perfect_boxes, measured.ap_perfect_ranking)
