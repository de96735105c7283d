"""Knobs that somebody's own part declares: they stand beside ours from the task to the records."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mapopt.errors import CheckpointError, ConfigError
from mapopt.settings import from_mapping, to_mapping
from mapopt.training import (
    Budget,
    Checkpoint,
    CheckpointFolder,
    Constant,
    Decision,
    Knobs,
    KnobSpace,
    Range,
    Recipe,
    Recorder,
    Replay,
    Round,
    Schedule,
    Task,
    Trainer,
    blend,
    ranges,
    run,
)
from mapopt.training.knob_tensors import stack_knobs
from mapopt.training.own_knobs import declared_knobs

MakeTask = Callable[..., Task]
OWN = {"sharpness": Range(1.0, 100.0, log=True)}

SHARP = """
from mapopt.training import Range


def loss(scores, labels, where, sharpness=2.0):
    return sharpness * scores.sum()


loss.knobs = {"sharpness": Range(1.0, 3.0)}
"""


class Sharper:
    """Turns the own knob from round to round."""

    def decide(self, history, task, budget) -> Decision:
        before = task.knobs.replace(sharpness=10.0 + len(history))
        return Decision(knobs=task.knobs.replace(sharpness=11.0 + len(history)), ramp_from=before)


def test_a_task_knows_the_knobs_of_its_own_parts_and_fills_in_their_values(
    own_optimizer: str, make_task: MakeTask
) -> None:
    task = make_task(optimizer=own_optimizer)
    assert task.knobs.get("sharpness") == 10.0
    assert dict(task.ranges) == dict(task.info.ranges) == ranges() | OWN
    assert make_task(optimizer=own_optimizer, knobs={"own": {"sharpness": 2.0}}).knobs.get("sharpness") == 2.0
    assert make_task().knobs == Recipe().settle(Knobs())
    assert make_task().ranges == ranges()


def test_an_own_knob_is_read_and_turned_as_ours_are() -> None:
    knobs = Knobs(class_weight=1.0, own={"sharpness": 2}).settled()
    turned = knobs.replace(sharpness=3.0, lr=0.1)
    assert (turned.get("sharpness"), turned.get("lr"), turned.lr) == (3.0, 0.1, 0.1)
    assert knobs.get("sharpness") == 2.0
    assert list(turned.as_dict()) == [*ranges(), "sharpness"]
    assert Knobs.from_record(turned.as_dict()) == turned
    assert Knobs.from_dict({"sharpness": 3.0}, ranges() | OWN).own == {"sharpness": 3.0}
    assert hash(turned) == hash(Knobs(lr=0.1, class_weight=1.0).settled())
    assert turned != Knobs(lr=0.1, class_weight=1.0).settled()


def test_a_space_a_blend_and_a_table_hold_own_knobs() -> None:
    known, low, high = ranges() | OWN, Knobs(own={"sharpness": 1.0}), Knobs(own={"sharpness": 100.0})
    space = KnobSpace(["lr", "sharpness"], known)
    assert space.to_unit(low)[1] == -1.0
    assert space.from_unit([0.0, 0.0], low).get("sharpness") == pytest.approx(10.0)
    assert space.shift([0.0, 0.5], low, scale=4.0).get("sharpness") == pytest.approx(2.0)
    assert space.shift([0.0, 1.0], high, scale=4.0).get("sharpness") == 100.0
    assert space != KnobSpace(["lr", "sharpness"], ranges() | {"sharpness": Range(1.0, 50.0)})
    assert blend(low, high, 0.5).get("sharpness") == 50.5
    assert stack_knobs([low, high])["sharpness"].tolist() == [1.0, 100.0]


def test_an_own_knob_reaches_every_step(own_optimizer: str, make_task: MakeTask) -> None:
    task = make_task(optimizer=own_optimizer)
    default, turned, ramped, stepped = (Trainer(task, seed=0) for _ in range(4))
    end = task.knobs.replace(sharpness=50.0)
    turned.set_knobs(end), ramped.set_knobs(end)
    default.train(16), turned.train(16), ramped.train(16, ramp_from=task.knobs)
    for step in range(4):
        stepped.set_knobs(blend(task.knobs, end, (step + 0.5) / 4))
        stepped.train(4)
    weights = [trainer.snapshot().tensors["weights"] for trainer in (default, turned, ramped, stepped)]
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])
    torch.testing.assert_close(weights[2], weights[3], rtol=1e-5, atol=1e-7)


def test_records_and_replays_hold_own_knobs(own_optimizer: str, make_task: MakeTask, tmp_path: Path) -> None:
    task, budget = make_task(optimizer=own_optimizer), Budget(images=16, rounds=2)
    recorder = Recorder(tmp_path)
    result = run(Trainer(task, seed=0), Sharper(), budget, observer=recorder)
    assert [played.knobs.get("sharpness") for played in result.history] == [11.0, 12.0]
    reread = [Round.from_dict(json.loads(line)) for line in (tmp_path / "rounds.jsonl").read_text().splitlines()]
    assert reread == list(result.history)
    with (tmp_path / "rounds.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["knobs.sharpness"] for row in rows] == ["11.0", "12.0"]
    assert [row["ramp_from.sharpness"] for row in rows] == ["10.0", "11.0"]
    again = run(Trainer(task, seed=0), Replay.of(reread), budget)
    assert [played.val for played in again.history] == [played.val for played in result.history]


def test_a_checkpoint_keeps_own_knobs_as_numbers_and_imports_nothing(
    own_optimizer: str, make_task: MakeTask, tmp_path: Path
) -> None:
    task, budget = make_task(optimizer=own_optimizer), Budget(images=8, rounds=2)
    folder = CheckpointFolder(folder=tmp_path, recipe=task.recipe, categories=("a",), size=(48, 48), settings={})
    run(Trainer(task, seed=0), Sharper(), budget, checkpoints=folder)
    module = own_optimizer.partition(":")[0]
    del sys.modules[module]
    checkpoint = Checkpoint.load(tmp_path / "last.pt")
    assert checkpoint.recipe == task.recipe
    assert checkpoint.snapshot.knobs.own == checkpoint.history[-1].knobs.own == {"sharpness": 12.0}
    assert module not in sys.modules


def test_a_state_with_other_knobs_does_not_fit(own_optimizer: str, make_task: MakeTask) -> None:
    trainer = Trainer(make_task(optimizer=own_optimizer))
    snapshot = trainer.snapshot()
    foreign = type(snapshot)(snapshot.tensors, snapshot.seed, snapshot.seen, Knobs(), snapshot.diverged)
    with pytest.raises(CheckpointError, match=r"knobs are not the task's: knob sharpness has no value"):
        trainer.restore(foreign)


def test_without_own_knobs_files_are_as_they_were() -> None:
    assert "own" not in to_mapping(Knobs())
    assert "optimizer_settings" not in to_mapping(Recipe())
    assert from_mapping(Knobs, to_mapping(Knobs(own={"m": 1.0})), "file") == Knobs(own={"m": 1.0})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda task: Trainer(task).set_knobs(Knobs()), "knob sharpness has no value: start from the task's knobs"),
        (lambda task: Trainer(task).set_knobs(Knobs(own={"sharpness": 500.0})), "knob sharpness is 500: expected 1 to"),
        (lambda task: task.knobs.replace(sharpnes=2.0), "unknown knob 'sharpnes': did you mean 'sharpness'"),
        (lambda task: task.knobs.get("sharpnes"), "unknown knob 'sharpnes': did you mean 'sharpness'"),
        (lambda task: Knobs(own={"sharpness": float("nan")}), "knob sharpness is nan: expected a finite number"),
        (lambda task: Knobs(own={"lr": 0.1}), "own knob 'lr': expected a name in letters that is none of lr"),
        (lambda task: Knobs.from_dict({"sharpness": 1.0}), "unknown knob 'sharpness'"),
        (lambda task: Knobs.from_dict({"sharpness": 0.0}, task.ranges), "knob sharpness is 0: expected 1 to 100"),
        (lambda task: KnobSpace(["sharpness"]), "unknown knob 'sharpness'"),
    ],
)
def test_wrong_values_are_named(
    make: Callable[[Task], object], message: str, own_optimizer: str, make_task: MakeTask
) -> None:
    with pytest.raises(ConfigError, match=message):
        make(make_task(optimizer=own_optimizer))


@pytest.mark.parametrize("given", [{"margin": 1.0}, {"sharpness": 0.1}], ids=str)
def test_a_task_refuses_own_knobs_that_are_not_its_own_or_out_of_range(
    given: dict[str, float], own_optimizer: str, make_task: MakeTask
) -> None:
    with pytest.raises(ConfigError, match=r"unknown knob 'margin'|knob sharpness is 0.1: expected 1 to 100"):
        make_task(optimizer=own_optimizer, knobs={"own": given})
    with pytest.raises(ConfigError, match=r"unknown knob '(margin|sharpness)'"):
        make_task(knobs={"own": given})


@pytest.mark.parametrize(
    ("knobs", "value", "message"),
    [
        ({"lr": Range(0, 1)}, 0.5, "declares a knob 'lr': expected a name that is none of lr"),
        ({"two words": Range(0, 1)}, 0.5, "declares a knob 'two words': expected a name"),
        ([("m", Range(0, 1))], 0.5, "has knobs of type list: expected name -> mapopt.training.Range"),
        ({"m": (0, 1)}, 0.5, r"declares a knob 'm' as \(0, 1\): expected a mapopt.training.Range"),
        (
            {"m": Range(0, 1)},
            None,
            "declares a knob 'm', but its attribute of that name is None: expected the number to start from",
        ),
        ({"m": Range(0, 1)}, 2.0, "starts its knob 'm' at 2: expected 0 to 1"),
    ],
)
def test_wrong_declarations_are_named(knobs: object, value: object, message: str) -> None:
    part = type("Part", (), {"knobs": knobs, "m": value})
    with pytest.raises(ConfigError, match=f"loss 'mine:Part' {message}"):
        declared_knobs(part, "loss 'mine:Part'")


def test_two_parts_cannot_declare_the_same_knob(own_optimizer: str, own_module: Callable[[str], str]) -> None:
    recipe = Recipe(loss=f"{own_module(SHARP)}:loss", optimizer=own_optimizer)
    with pytest.raises(ConfigError, match=r"optimizer '.*:Lion' declares a knob 'sharpness', as another part does"):
        recipe.ranges()


def test_a_setting_goes_before_the_attribute_of_a_class(own_optimizer: str) -> None:
    part = type("Part", (), {"knobs": {"m": Range(0.0, 1.0)}, "m": 0.5})
    assert declared_knobs(part, "detector 'mine:Part'", {"m": 0.25})["m"].default == 0.25
    assert declared_knobs(part, "detector 'mine:Part'")["m"].turned() == 0.75


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ((2, 1), "from 2 to 1: expected finite numbers, the lower one first"),
        ((0, 1, True), "expected it to begin above 0"),
    ],
)
def test_ranges_that_make_no_sense_are_refused(bounds: tuple[float, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Range(*bounds)


@pytest.mark.parametrize("controller", [Constant(), Schedule()], ids=["constant", "schedule"])
def test_our_controllers_leave_own_knobs_as_the_task_has_them(
    controller: Constant | Schedule, own_optimizer: str, make_task: MakeTask
) -> None:
    task = make_task(optimizer=own_optimizer, knobs={"own": {"sharpness": 3.0}})
    assert controller.decide([], task.info, Budget(images=8, rounds=2)).knobs.own == {"sharpness": 3.0}
