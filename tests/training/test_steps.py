"""Steps of an interval: parts of a batch, the knobs on the way, and the images that no cut changes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mapopt.training.batches import make_batch, make_plan
from mapopt.training.device_set import DeviceSet
from mapopt.training.fleet import Fleet, Trainer
from mapopt.training.knobs import Knobs
from mapopt.training.steps import StepPlan, step_size
from mapopt.training.task import Task

MakeTask = Callable[..., Task]
CPU = torch.device("cpu")


@given(st.integers(1, 200), st.floats(0.25, 1.0))
def test_a_step_is_a_divisor_of_the_batch_and_the_nearest_to_its_quarter_half_or_whole(
    batch: int, fraction: float
) -> None:
    size = step_size(batch, fraction)
    assert batch % size == 0
    part = min((0.25, 0.5, 1.0), key=lambda part: abs(np.log2(part / fraction)))
    if batch * part == int(batch * part):
        assert size == batch * part
    divisors = [count for count in range(1, batch + 1) if batch % count == 0]
    assert abs(np.log2(size / (batch * part))) == min(abs(np.log2(count / (batch * part))) for count in divisors)


def test_batches_that_a_quarter_does_not_divide_have_the_parts_that_are_written() -> None:
    assert [[step_size(batch, part) for part in (0.25, 0.5, 1.0)] for batch in (16, 6, 5, 2, 1)] == [
        [4, 8, 16],
        [2, 3, 6],
        [1, 5, 5],
        [1, 1, 2],
        [1, 1, 1],
    ]


def test_knobs_move_over_each_lanes_own_steps() -> None:
    start, ends = Knobs(lr=0.1), [Knobs(lr=0.3, batch_fraction=part) for part in (1.0, 0.5)]
    plan = StepPlan(ends, [start, start], images=16, batch_size=8, device=CPU)
    assert (plan.sizes, plan.steps) == ([8, 4], [2, 4])
    rates = torch.stack([plan.at(step)["lr"] for step in range(4)])
    torch.testing.assert_close(rates[:2, 0], torch.tensor([0.15, 0.25]))
    torch.testing.assert_close(rates[:, 1], torch.tensor([0.125, 0.175, 0.225, 0.275]))
    assert [len(values) for values in plan.per_image("augment")] == [16, 16]


def test_the_nth_image_of_a_run_is_the_same_whatever_the_parts(small_splits: object) -> None:
    images = DeviceSet(small_splits.train, CPU)  # type: ignore[attr-defined]
    plan = make_plan([1, 1], [5, 5], [images, images], [np.full(16, 0.7)] * 2, CPU)
    whole, objects = make_batch([images] * 2, plan, [0, 0], [16, 16], size=16)
    assert objects.counted is None
    for start in range(0, 16, 2):
        part, some = make_batch([images] * 2, plan, [start, start // 2 * 4 % 16], [2, 4], size=4)
        assert some.counted is not None
        assert some.counted.tolist() == [[True, True, False, False], [True] * 4]
        assert torch.equal(part[0, :2], whole[0, start : start + 2])
        assert torch.equal(some.boxes[0, :2], objects.boxes[0, start : start + 2])
        assert torch.equal(some.labels[0, :2], objects.labels[0, start : start + 2])
        assert (some.labels[0, 2:] == -1).all()
        assert torch.equal(part[1], whole[1, start // 2 * 4 % 16 :][:4])


@pytest.mark.parametrize(
    "recipe",
    [{}, {"loss": "rank_sort", "memory": 300, "ema": 0.9}, {"loss": "ap", "optimizer": "adamw", "scope": "image"}],
    ids=str,
)
def test_half_a_batch_trains_as_a_batch_of_half_the_size(recipe: dict[str, object], make_task: MakeTask) -> None:
    half, small = Trainer(make_task(batch_size=8, **recipe)), Trainer(make_task(batch_size=4, **recipe))
    start, end = Knobs(lr=0.01), Knobs(lr=0.05)
    half.set_knobs(end.replace(batch_fraction=0.5)), small.set_knobs(end)
    reports = [half.train(32, ramp_from=start.replace(batch_fraction=0.5)), small.train(32, ramp_from=start)]
    assert [interval.steps for interval in reports] == [8, 8]
    for name in ("class_loss", "gradient_norm", "gradient_ratio", "weight_norm", "update_ratio"):
        assert getattr(reports[0], name) == pytest.approx(getattr(reports[1], name), rel=1e-3), name
    first, second = half.snapshot().tensors, small.snapshot().tensors
    for name in ("weights", "optimizer.first"):
        torch.testing.assert_close(first[name], second[name], rtol=1e-3, atol=1e-4)
    for name in second:
        if name.startswith("buffer.memory"):
            torch.testing.assert_close(first[name], second[name], rtol=1e-2, atol=1e-2)


def test_a_lane_that_is_done_sits_out_while_the_others_finish(make_task: MakeTask) -> None:
    fleet, short = Fleet(make_task(), [1, 2]), Fleet(make_task(), [1, 2])
    fleet.set_knobs([Knobs(), Knobs(batch_fraction=0.25)])
    fleet.train(8), short.train(8)
    assert fleet.images == [8, 8]
    for name, tensor in short.snapshot(0).tensors.items():
        assert torch.equal(tensor, fleet.snapshot(0).tensors[name]), name


def test_a_resting_lane_makes_nobody_wait_and_takes_no_step(make_task: MakeTask) -> None:
    fleet = Fleet(make_task(), [1, 2])
    fleet.set_knobs([Knobs(), Knobs(batch_fraction=0.25)])
    before = fleet.snapshot(1).tensors["weights"]
    calls = []
    engine = fleet._place[0][0]
    step, engine._step = engine._step, lambda *a: calls.append(a) or step(*a)  # type: ignore[method-assign, func-returns-value]
    fleet.train(8, active=[True, False])
    assert len(calls) == 2
    assert torch.equal(before, fleet.snapshot(1).tensors["weights"])
    fleet.train(8, active=[False, False])
    assert len(calls) == 2
    assert fleet.images == [8, 0]


@pytest.mark.slow
def test_a_detector_without_lanes_is_given_smaller_batches() -> None:
    from mapopt.data import ShapesConfig, make_shapes_splits
    from mapopt.training.recipe import Recipe

    splits = make_shapes_splits(ShapesConfig(size=64), seed=0, train=4, val=2, test=2)
    trainers = []
    for batch, fraction in ((4, 0.5), (2, 1.0)):
        recipe = Recipe(detector="fcos_resnet18", loss="ap", batch_size=batch)
        trainer = Trainer(Task(name="t", splits=splits, recipe=recipe, knobs=Knobs(batch_fraction=fraction)))
        assert trainer.train(4).steps == 2
        trainers.append(trainer)
    for name, tensor in trainers[0].snapshot().tensors.items():
        assert torch.equal(tensor, trainers[1].snapshot().tensors[name]), name


def test_images_of_lanes_that_rest_are_black_and_change_no_other_lane(small_splits: object) -> None:
    images = DeviceSet(small_splits.train, CPU)  # type: ignore[attr-defined]
    strengths = [np.full(8, 0.7)] * 3
    everyone = make_plan([1, 2, 3], [0, 0, 0], [images] * 3, strengths, CPU)
    some = everyone.of(range(3), playing=[0, 2])
    whole, _ = make_batch([images] * 3, everyone, [0] * 3, [4] * 3, size=4)
    part, _ = make_batch([images] * 3, some, [0] * 3, [4] * 3, size=4)
    assert torch.equal(part[[0, 2]], whole[[0, 2]])
    assert not part[1].any()
    assert whole[1].any()


def test_a_ramp_has_the_knobs_of_the_middle_of_every_step() -> None:
    plan = StepPlan([Knobs(lr=0.3)], [Knobs(lr=0.1)], images=16, batch_size=4, device=CPU)
    assert [float(plan.at(step)["lr"][0]) for step in range(4)] == pytest.approx([0.125, 0.175, 0.225, 0.275])
