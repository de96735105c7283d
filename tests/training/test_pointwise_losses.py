"""The pointwise losses of today's detectors train the tiny one: a few dozen steps find what no fresh head finds."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mapopt.data import ShapesConfig, Splits, make_shapes_splits
from mapopt.training import Fleet, Knobs, Recipe, Task, Trainer

TRAINED: list[dict[str, Any]] = [
    {"loss": "mal"},
    {"loss": "ia_bce"},
    {"loss": "task_aligned_bce"},
    {"loss": "task_aligned_bce", "assignment": "task_aligned"},
    {"loss": "task_aligned_bce", "assignment": "task_aligned", "loss_settings": {"focus": 2.0}},
    {"loss": "rank_sort", "assignment": "task_aligned"},
    {"loss": "ecm"},
    {"loss": "efl"},
]


@pytest.fixture(scope="module")
def easy() -> Splits:
    scenes = ShapesConfig(object_size=(16, 24), occlusion=0, clutter=0)
    return make_shapes_splits(scenes, seed=0, train=64, val=32, test=8)


@pytest.mark.parametrize("given", TRAINED, ids=str)
def test_a_few_dozen_steps_find_objects(given: dict[str, Any], easy: Splits) -> None:
    recipe = Recipe(optimizer="adamw", batch_size=8, **given)
    trainer = Trainer(Task(name="easy", splits=easy, recipe=recipe, knobs=Knobs(lr=0.01)), seed=0)
    before = trainer.evaluate().ap50
    interval = trainer.train(8 * 40)
    assert not interval.diverged
    assert trainer.evaluate().ap50 > before + 0.1


def test_a_lane_counts_the_objects_of_its_own_data() -> None:
    splits = [
        make_shapes_splits(ShapesConfig(imbalance=imbalance), seed=0, train=32, val=8, test=8)
        for imbalance in (1.0, 20.0)
    ]
    tasks = [Task(name="counted", splits=own, recipe=Recipe(loss="ecm", batch_size=8)) for own in splits]
    fleet = Fleet(tasks, [0, 1])

    def frequencies() -> torch.Tensor:
        return fleet.detectors[0].loss.facts.frequencies  # type: ignore[attr-defined]

    counts = [torch.from_numpy(own.train.annotations.counts) for own in splits]
    assert not torch.equal(*counts)
    torch.testing.assert_close(frequencies(), torch.stack([own / own.sum() for own in counts]).float())
    fleet.reset(1, 1, tasks[0])
    torch.testing.assert_close(frequencies()[1], frequencies()[0])


def test_what_a_loss_remembers_belongs_to_a_lane(easy: Splits) -> None:
    task = Task(name="easy", splits=easy, recipe=Recipe(loss="efl", batch_size=8))
    fleet = Fleet(task, [0, 1])
    fleet.train(32)
    state = [fleet.snapshot(lane).tensors["buffer.loss.raised"] for lane in (0, 1)]
    assert all(kept.shape == (3,) and (kept > 0).any() for kept in state)
    assert not torch.equal(*state)
    fleet.evaluate("val"), fleet.losses("val")
    fleet.train(32, active=[True, False])
    rested, trained = (fleet.snapshot(lane).tensors["buffer.loss.raised"] for lane in (1, 0))
    assert torch.equal(rested, state[1])
    assert not torch.equal(trained, state[0])
    fleet.restore(0, fleet.snapshot(1))
    assert torch.equal(fleet.snapshot(0).tensors["buffer.loss.raised"], state[1])
    fleet.reset(1, 1)
    assert not fleet.snapshot(1).tensors["buffer.loss.raised"].any()
