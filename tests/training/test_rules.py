"""The six rules a trainer is held to (determined, knobs are not state, no scheduler inside, no dead knob, failure is a
value, controllers see history only)."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mapopt.data.augmentation.settings import NONE, Augmentation
from mapopt.training.budget import Budget
from mapopt.training.checkpoint import Checkpoint, CheckpointFolder
from mapopt.training.controllers.fixed import Constant, Schedule
from mapopt.training.fleet import Fleet, Trainer
from mapopt.training.knobs import Knobs, ranges
from mapopt.training.loop import run
from mapopt.training.task import Task

MakeTask = Callable[..., Task]


def weights_of(trainer: Trainer) -> torch.Tensor:
    return trainer.snapshot().tensors["weights"]


# Rule 1: determined


@pytest.mark.parametrize(
    ("recipe", "fraction"),
    [
        ({"ema": 0.9}, 1.0),
        ({"loss": "rank_sort", "memory": 500}, 1.0),
        ({"loss": "ap", "balance": "gradients"}, 1.0),
        ({"class_balance": "sampling"}, 1.0),
        ({"augmentation": Augmentation(mosaic=0.5, mixup=0.5, copy_paste=0.5, rotate=20, cut_out=0.5)}, 0.5),
        ({"class_balance": "weights"}, 1.0),
        ({"loss": "efl"}, 0.5),
        ({"class_balance": "repeat-factor", "repeat_threshold": 1.0}, 1.0),
        ({"class_balance": "repeat-factor", "repeat_threshold": 1.0, "ema": 0.9}, 0.5),
        ({"ema": 0.9, "loss": "rank_sort", "memory": 500}, 0.5),
    ],
    ids=str,
)
def test_one_call_of_24_steps_equals_4_calls_of_6_with_evaluations_and_foreign_numbers_between(
    recipe: dict[str, object], fraction: float, make_task: MakeTask
) -> None:
    task = make_task(**recipe)
    whole, parts = Trainer(task, seed=1), Trainer(task, seed=1)
    for trainer in (whole, parts):
        trainer.set_knobs(task.knobs.replace(batch_fraction=fraction))
    whole.train(24 * 4)
    for _ in range(4):
        parts.train(6 * 4)
        parts.evaluate("val")
        torch.rand(7), np.random.default_rng().random(3), random.random()
    for name, tensor in whole.snapshot().tensors.items():
        assert torch.equal(tensor, parts.snapshot().tensors[name]), name


def test_another_seed_gives_other_weights(make_task: MakeTask) -> None:
    first, second = Trainer(make_task(), seed=1), Trainer(make_task(), seed=2)
    first.train(8), second.train(8)
    assert not torch.equal(weights_of(first), weights_of(second))


@pytest.mark.parametrize(
    "recipe",
    [
        {"optimizer": "adamw", "ema": 0.9},
        {"loss": "ap", "memory": 400},
        {"loss": "efl", "assignment": "task_aligned"},
        {"loss": "ap", "memory": 400, "ema": 0.9, "knobs": {"batch_fraction": 0.25}},
    ],
    ids=str,
)
def test_a_run_resumed_from_disk_equals_the_unbroken_one(
    recipe: dict[str, object], make_task: MakeTask, tmp_path: Path
) -> None:
    task, budget = make_task(**recipe), Budget(images=8 * 6, rounds=6)

    def folder(name: str) -> CheckpointFolder:
        return CheckpointFolder(
            folder=tmp_path / name, recipe=task.recipe, categories=("a", "b", "c"), size=(48, 48), settings={}
        )

    run(Trainer(task, seed=5), Schedule(), budget, checkpoints=folder("whole"))
    half = Trainer(task, seed=5)

    class Stop(Exception):
        pass

    def stop_after_three(lane: int, played: object) -> None:
        if played.index == 2:  # type: ignore[attr-defined]
            raise Stop

    with pytest.raises(Stop):
        run(half, Schedule(), budget, checkpoints=folder("broken"), observer=stop_after_three)
    saved = Checkpoint.load(tmp_path / "broken" / "last.pt")
    best = Checkpoint.load(tmp_path / "broken" / "best.pt")
    resumed = Trainer(task, seed=99)
    resumed.restore(saved.snapshot)
    run(resumed, Schedule(), budget, history=saved.history, best=best.snapshot, checkpoints=folder("broken"))
    for name in ("last.pt", "best.pt"):
        whole = Checkpoint.load(tmp_path / "whole" / name)
        other = Checkpoint.load(tmp_path / "broken" / name)
        assert whole.snapshot.tensors.keys() == other.snapshot.tensors.keys()
        for key, tensor in whole.snapshot.tensors.items():
            assert torch.equal(tensor, other.snapshot.tensors[key]), (name, key)
        assert [played.val for played in whole.history] == [played.val for played in other.history]


@pytest.mark.parametrize(
    "recipe",
    [
        {"loss": "focal"},
        {"loss": "ap"},
        {"loss": "rank_sort"},
        {"loss": "rank_sort", "memory": 300},
        {"loss": "efl", "assignment": "task_aligned"},
        {"loss": "ap", "soft_labels": True},
        {"class_balance": "weights"},
        {"class_balance": "weights", "loss": "ap"},
        {"class_balance": "repeat-factor", "repeat_threshold": 1.0},
    ],
    ids=str,
)
def test_lanes_do_not_depend_on_their_number_or_place(recipe: dict[str, object], make_task: MakeTask) -> None:
    task = make_task(**recipe)
    pair, many = Fleet(task, [4, 9]), Fleet(task, [7, 9, 1, 4, 5])
    alone = Trainer(task, seed=4)
    pair.train(16), many.train(16), alone.train(16)
    assert torch.equal(pair.snapshot(0).tensors["weights"], many.snapshot(3).tensors["weights"])
    assert torch.equal(pair.snapshot(1).tensors["weights"], many.snapshot(1).tensors["weights"])
    assert torch.equal(pair.snapshot(0).tensors["weights"], weights_of(alone))


FRACTIONS = {7: 1.0, 9: 0.5, 1: 0.25, 4: 0.25, 5: 0.5}
"""Seeds, and the parts of the batch that they train on below."""


@pytest.mark.parametrize(
    "recipe",
    [
        {"loss": "focal", "optimizer": "adamw"},
        {"loss": "ap", "ema": 0.9, "batch_size": 8},
        {"loss": "rank_sort", "memory": 300},
        {"loss": "efl", "assignment": "task_aligned"},
        {"loss": "ap", "soft_labels": True},
    ],
    ids=str,
)
def test_lanes_with_parts_of_the_batch_do_not_depend_on_their_number_or_place(
    recipe: dict[str, object], make_task: MakeTask
) -> None:
    task = make_task(**recipe)
    full, pair, many = Fleet(task, [7, 2]), Fleet(task, [4, 9]), Fleet(task, [7, 9, 1, 4, 5])
    alone = Trainer(task, seed=4)
    for fleet, seeds in ((pair, [4, 9]), (many, [7, 9, 1, 4, 5]), (alone.fleet, [4])):
        fleet.set_knobs([Knobs(batch_fraction=FRACTIONS[seed]) for seed in seeds])
    for images in (16, 32):
        reports = many.train(images)
        pair.train(images), alone.train(images), full.train(images)
        size = task.recipe.batch_size
        assert [interval.steps for interval in reports] == [images / size / FRACTIONS[seed] for seed in (7, 9, 1, 4, 5)]
    for name, tensor in alone.snapshot().tensors.items():
        assert torch.equal(tensor, many.snapshot(3).tensors[name]), name
        assert torch.equal(tensor, pair.snapshot(0).tensors[name]), name
        assert torch.equal(pair.snapshot(1).tensors[name], many.snapshot(1).tensors[name]), name
        assert torch.equal(full.snapshot(0).tensors[name], many.snapshot(0).tensors[name]), name


def test_evaluation_leaves_no_trace(make_task: MakeTask) -> None:
    trainer = Trainer(make_task(ema=0.9), seed=0)
    trainer.train(8)
    before, stream = trainer.snapshot(), torch.get_rng_state()
    first = trainer.evaluate("test")
    assert torch.equal(stream, torch.get_rng_state())
    for name, tensor in trainer.snapshot().tensors.items():
        assert torch.equal(tensor, before.tensors[name]), name
    assert np.array_equal(first.precision, trainer.evaluate("test").precision)


def test_a_lane_continues_in_another_lane(make_task: MakeTask) -> None:
    fleet = Fleet(make_task(), [1, 2])
    fleet.train(8)
    fleet.restore(1, fleet.snapshot(0))
    fleet.train(8)
    assert torch.equal(fleet.snapshot(0).tensors["weights"], fleet.snapshot(1).tensors["weights"])


def test_a_lane_that_rests_remembers_what_it_had(make_task: MakeTask) -> None:
    task = make_task(loss="rank_sort", memory=100)
    fleet, other = Fleet(task, [1, 2]), Fleet(task, [1, 2])
    fleet.train(8), other.train(8)
    fleet.train(8, active=[True, False])
    for name, tensor in fleet.snapshot(1).tensors.items():
        assert torch.equal(tensor, other.snapshot(1).tensors[name]), name
    scores = "buffer.memory.scores"
    assert not torch.equal(fleet.snapshot(0).tensors[scores], other.snapshot(0).tensors[scores])


def test_a_lane_that_starts_afresh_has_forgotten(make_task: MakeTask) -> None:
    trainer = Trainer(make_task(loss="rank_sort", memory=100), seed=1)
    trainer.train(8)
    assert trainer.snapshot().tensors["buffer.memory.where"].any()
    trainer.reset(1)
    assert not trainer.snapshot().tensors["buffer.memory.where"].any()


# Rule 2: knobs are not state


def test_a_restored_snapshot_brings_its_knobs_back_only_if_asked(make_task: MakeTask) -> None:
    trainer = Trainer(make_task(), seed=0)
    trainer.set_knobs(Knobs(lr=0.01))
    old = trainer.snapshot()
    trainer.set_knobs(Knobs(lr=0.5))
    trainer.restore(old, keep_knobs=True)
    assert trainer.knobs.lr == 0.5
    trainer.restore(old)
    assert trainer.knobs.lr == 0.01


def test_the_learning_rate_that_is_set_is_the_one_that_is_used_at_every_step(make_task: MakeTask) -> None:
    task = make_task(clip=1e9)
    trainer = Trainer(task, seed=0)
    trainer.set_knobs(Knobs(lr=1e-5, momentum=0.0, weight_decay=1e-7))
    before = weights_of(trainer)
    trainer.train(4)
    small = (weights_of(trainer) - before).norm()
    trainer.reset(0)
    trainer.set_knobs(Knobs(lr=1e-3, momentum=0.0, weight_decay=1e-7))
    trainer.train(4)
    assert (weights_of(trainer) - before).norm() == pytest.approx(100 * float(small), rel=2e-2)


# Rule 3: no torch learning-rate scheduler inside


def test_no_torch_scheduler_is_imported_anywhere_in_the_library() -> None:
    root = Path(__file__).resolve().parents[2] / "mapopt"
    assert not [path for path in root.rglob("*.py") if "lr_scheduler" in path.read_text()]


def test_a_ramp_moves_the_learning_rate_step_by_step(make_task: MakeTask) -> None:
    task = make_task(clip=1e9)
    ramped, stepped = Trainer(task, seed=0), Trainer(task, seed=0)
    start, end = Knobs(lr=0.1), Knobs(lr=0.3)
    ramped.set_knobs(end)
    ramped.train(16, ramp_from=start)
    for step in range(4):
        stepped.set_knobs(Knobs(lr=0.1 + 0.2 * (step + 0.5) / 4))
        stepped.train(4)
    torch.testing.assert_close(weights_of(ramped), weights_of(stepped), rtol=1e-5, atol=1e-7)


# Rule 4: no knob without effect

TURNED = {
    "lr": 0.3, "weight_decay": 0.05, "momentum": 0.5, "box_weight": 3.0, "class_weight": 3.0, "focal_gamma": 0.5,
    "surrogate_weight": 0.5, "assign_iou": 0.85, "augment": 0.9, "nms_iou": 0.2, "score_threshold": 0.5,
    "soft_nms_sigma": 0.3, "detections": 5.0, "batch_fraction": 0.5, "temperature": 3.0, "step_ratio": 0.01,
    "augment_kinds": 0.2,
}  # fmt: skip


def test_every_knob_is_turned_below() -> None:
    assert set(TURNED) == set(ranges())


@pytest.mark.parametrize("name", TURNED)
def test_a_knob_changes_the_weights_or_the_report(name: str, make_task: MakeTask) -> None:
    kinds = Augmentation(mosaic=1.0) if name == "augment_kinds" else NONE
    task = make_task(loss="ap" if name in ("surrogate_weight", "temperature") else "focal", augmentation=kinds)
    # Where boxes are suppressed by Soft-NMS, the IoU of hard suppression is ignored.
    start = task.knobs.replace(soft_nms_sigma=0.0) if name == "nms_iou" else task.knobs
    default, turned = Trainer(task, seed=0), Trainer(task, seed=0)
    default.set_knobs(start)
    default.train(32)
    turned.set_knobs(start.replace(**{name: TURNED[name]}))
    turned.train(32)
    if name in ("nms_iou", "score_threshold", "detections", "soft_nms_sigma"):
        assert torch.equal(weights_of(default), weights_of(turned))
        default_scores, turned_scores = (trainer.detect("test").scores for trainer in (default, turned))
        if name == "soft_nms_sigma":
            assert not np.array_equal(turned_scores, default_scores)
        else:
            assert len(turned_scores) < len(default_scores)
    else:
        assert not torch.equal(weights_of(default), weights_of(turned))


# Rule 5: failure is a value


@pytest.mark.parametrize("loss", ["focal", "rank_sort"])
def test_a_non_finite_loss_is_found_before_the_optimizer_steps(loss: str, make_task: MakeTask) -> None:
    fleet = Fleet(make_task(loss=loss), [0, 1])
    fleet.train(8)
    engine, lane = fleet._place[0]
    with torch.no_grad():
        engine.detector.weights[lane, :50] = float("nan")
    broken = fleet.snapshot(0).tensors["weights"].clone()
    first, second = fleet.train(8)
    assert first.diverged
    assert not second.diverged
    assert torch.equal(fleet.snapshot(0).tensors["weights"].nan_to_num(9.0), broken.nan_to_num(9.0))
    assert torch.isfinite(fleet.snapshot(1).tensors["weights"]).all()


def test_a_diverged_lane_leaves_its_neighbors_bits_alone(make_task: MakeTask) -> None:
    task = make_task()
    healthy, mixed = Fleet(task, [0, 1]), Fleet(task, [2, 1])
    with torch.no_grad():
        mixed._place[0][0].detector.weights[0] = float("inf")
    healthy.train(16), mixed.train(16)
    assert torch.equal(healthy.snapshot(1).tensors["weights"], mixed.snapshot(1).tensors["weights"])


def test_a_diverged_run_is_recorded_as_such_and_ends(make_task: MakeTask) -> None:
    trainer = Trainer(make_task(), seed=0)
    with torch.no_grad():
        trainer.fleet._place[0][0].detector.weights[0] = float("nan")
    result = run(trainer, Constant(), Budget(images=32, rounds=4))
    assert result.status == "diverged"
    assert len(result.history) == 1
    assert result.history[0].interval.diverged
    assert result.history[0].val.ap == 0.0
    assert result.test is None


# Rule 6: controllers see history only


def test_a_controller_decides_the_same_from_a_reread_history(make_task: MakeTask) -> None:
    from mapopt.training.controllers.reactive import Plateau
    from mapopt.training.history import Round

    task, budget = make_task(), Budget(images=32, rounds=8)
    result = run(Trainer(task, seed=0), Plateau(rounds=1), budget)
    copied = [Round.from_dict(played.as_dict()) for played in result.history]
    for played in range(len(copied)):
        decision = Plateau(rounds=1).decide(copied[:played], task.info, budget)
        assert decision.knobs.settled() == result.history[played].knobs
