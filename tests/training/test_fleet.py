"""Fleets of every detector: lanes as one network where they can be, in turn where they cannot, with the same face."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mapopt.data import ShapesConfig, Splits, make_shapes_splits
from mapopt.errors import CheckpointError, ConfigError
from mapopt.training.fleet import Fleet, Trainer
from mapopt.training.knobs import Knobs
from mapopt.training.recipe import Recipe
from mapopt.training.task import Task


@pytest.fixture(scope="module")
def splits() -> Splits:
    return make_shapes_splits(ShapesConfig(size=64), seed=0, train=4, val=2, test=2)


def task_of(detector: str, splits: Splits, **recipe: object) -> Task:
    settings = Recipe(detector=detector, batch_size=2, **recipe)  # type: ignore[arg-type]
    return Task(name="t", splits=splits, recipe=settings, knobs=Knobs(lr=0.01))


@pytest.mark.slow
@pytest.mark.parametrize(
    "detector", ["resnet18", "retinanet_resnet18", "fcos_resnet18", "faster_rcnn_resnet18", "ssdlite"]
)
def test_any_detector_trains_evaluates_and_returns_to_a_snapshot_bit_for_bit(detector: str, splits: Splits) -> None:
    trainer = Trainer(task_of(detector, splits), seed=1)
    before = trainer.snapshot()
    first = trainer.train(4)
    assert first.steps == 2
    assert not first.diverged
    after = trainer.snapshot()
    assert not torch.equal(before.tensors["weights"], after.tensors["weights"])
    assert 0 <= trainer.evaluate("test").ap <= 1
    trainer.restore(before)
    trainer.train(4)
    for name, tensor in trainer.snapshot().tensors.items():
        assert torch.equal(tensor, after.tensors[name]), name


@pytest.mark.slow
def test_lanes_in_turn_equal_trainers(splits: Splits) -> None:
    task = task_of("resnet18", splits)
    fleet = Fleet(task, [3, 4])
    fleet.set_knobs([Knobs(lr=0.01), Knobs(lr=0.05)])
    fleet.train(4)
    alone = Trainer(task, seed=4)
    alone.set_knobs(Knobs(lr=0.05))
    alone.train(4)
    assert torch.equal(fleet.snapshot(1).tensors["weights"], alone.snapshot().tensors["weights"])
    assert len(fleet.evaluate("val")) == 2


def test_the_averaged_weights_are_what_is_evaluated(splits: Splits) -> None:
    plain, averaged = Trainer(task_of("tiny", splits)), Trainer(task_of("tiny", splits, ema=0.9))
    plain.train(8), averaged.train(8)
    assert torch.equal(plain.snapshot().tensors["weights"], averaged.snapshot().tensors["weights"])
    assert not np.array_equal(plain.detect("test").scores, averaged.detect("test").scores)


def test_boxes_come_in_the_original_pixels_of_scaled_images(splits: Splits) -> None:
    from dataclasses import replace

    from mapopt.data import ImageSet

    trainer = Trainer(task_of("tiny", splits))
    before = trainer.detect("test")
    notes = splits.test.annotations
    doubled = replace(notes, boxes=notes.boxes * 2, widths=notes.widths * 2, heights=notes.heights * 2)
    large = ImageSet(doubled, splits.test.size, splits.test.pixels, splits.test.scale / 2)
    trainer = Trainer(replace(trainer.task, splits=replace(splits, test=large)))
    np.testing.assert_allclose(trainer.detect("test").boxes, 2 * before.boxes)


def test_weights_of_the_losses_are_really_applied(splits: Splits) -> None:
    def logged(**knobs: float) -> tuple[float, float]:
        trainer = Trainer(task_of("tiny", splits))
        trainer.set_knobs(Knobs(**{"lr": 1e-5, "class_weight": 1.0, **knobs}))
        interval = trainer.train(2)
        return interval.class_loss, interval.box_loss

    plain, boxes, classes = logged(), logged(box_weight=3.0), logged(class_weight=5.0)
    assert boxes == pytest.approx((plain[0], 3 * plain[1]))
    assert classes == pytest.approx((5 * plain[0], plain[1]))


def test_wrong_fleets_are_named(splits: Splits) -> None:
    task = task_of("tiny", splits)
    with pytest.raises(ConfigError, match="at least one seed"):
        Fleet(task, [])
    with pytest.raises(ConfigError, match="2 tasks were given for 3 seeds"):
        Fleet([task, task], [1, 2, 3])
    with pytest.raises(ConfigError, match="different recipes"):
        Fleet([task, task_of("tiny", splits, clip=3.0)], [1, 2])
    other = make_shapes_splits(ShapesConfig(size=64), seed=0, train=2, val=3, test=2)
    with pytest.raises(ConfigError, match="have val splits of 2 and 3 images: make them equally long"):
        Fleet([task, task_of("tiny", other)], [1, 2])
    with pytest.raises(ConfigError, match="different recipes"):
        Fleet([task_of("resnet18", splits), task_of("resnet18", splits, clip=3.0)], [1, 2])
    with pytest.raises(ConfigError, match="no multiple of the batch size 2"):
        Trainer(task).train(3)
    adamw = Trainer(task_of("tiny", splits, optimizer="adamw"))
    with pytest.raises(CheckpointError, match="does not fit the detector 'tiny'"):
        Trainer(task).restore(adamw.snapshot())


def test_a_lane_goes_on_only_with_a_task_like_the_first(splits: Splits) -> None:
    fleet = Fleet(task_of("tiny", splits), [1, 2])
    before, task = fleet.snapshot(0), fleet.tasks[0]
    small = make_shapes_splits(ShapesConfig(size=48), seed=0, train=4, val=2, test=2)
    fewer = make_shapes_splits(ShapesConfig(size=64, classes=2), seed=0, train=4, val=2, test=2)
    longer = make_shapes_splits(ShapesConfig(size=64), seed=0, train=4, val=2, test=4)
    for other, message in (
        (task_of("tiny", splits, clip=3.0), "different recipes or classes"),
        (task_of("tiny", fewer), "different recipes or classes"),
        (task_of("tiny", small), "images of different sizes"),
        (task_of("tiny", longer), "test splits of 2 and 4 images"),
    ):
        with pytest.raises(ConfigError, match=message):
            fleet.reset(0, 9, other)
    assert fleet.tasks[0] is task
    assert all(torch.equal(tensor, before.tensors[name]) for name, tensor in fleet.snapshot(0).tensors.items())
    more = task_of("tiny", make_shapes_splits(ShapesConfig(size=64), seed=3, train=6, val=2, test=2))
    fleet.reset(0, 9, more)
    fleet.train(4)
    assert fleet.tasks[0] is more
