"""Knobs that a schedule moves over a run: what it says is what every step has, and what it cannot mean is named."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import torch
import yaml

import mapopt
from mapopt.cli import main
from mapopt.commands.parsing import parse
from mapopt.commands.train import Train
from mapopt.errors import ConfigError
from mapopt.settings import Form, describe, from_mapping, to_mapping
from mapopt.training import Task, Trainer, run
from mapopt.training.budget import Budget, TaskInfo
from mapopt.training.controllers.base import Decision
from mapopt.training.controllers.fixed import Constant, Schedule
from mapopt.training.controllers.moves import KnobMoves
from mapopt.training.controllers.reactive import Patience
from mapopt.training.controllers.registry import CONTROLLERS, make_controller
from mapopt.training.history import Interval, Round, Scores
from mapopt.training.knobs import Knobs, Range, ranges
from mapopt.training.steps import StepPlan
from mapopt.training.testing import check_controller

CPU = torch.device("cpu")
TASK = TaskInfo(name="t", classes=2, train_images=100, batch_size=4, knobs=Knobs(assign_iou=0.3))
LATE = {0: 0, 0.7: 0, 0.75: 1}
JUMP = ((0.0, 0.6), (0.62, 0.6), (0.62, 0.4), (1.0, 0.3))


def decisions(schedule: Schedule, *, rounds: int, task: TaskInfo = TASK) -> list[Decision]:
    """What a schedule decides of the rounds of a run; it looks at their number alone."""
    interval = Interval(
        images=28, steps=7, seconds=1.0, class_loss=1.0, box_loss=1.0, gradient_norm=1.0, gradient_norm_max=1.0,
        clipped=0.0, update_ratio=1e-3, diverged=False,
    )  # fmt: skip
    scores = Scores(ap=0.1, ap50=0.1, ap75=0.1, ar100=0.1, per_category=(0.1, 0.1))
    played = Round(
        index=0, knobs=task.knobs, ramp_from=None, interval=interval, val=scores, images=28, evaluated=1, seconds=1.0
    )  # fmt: skip
    budget = Budget(images=28 * rounds, rounds=rounds)
    return [schedule.decide([played] * number, task, budget) for number in range(rounds)]


def at_every_step(schedule: Schedule, name: str, *, rounds: int = 10) -> np.ndarray:
    """A knob's value at each of 7 steps of every round."""
    plans = [
        StepPlan([made.knobs], [made.ramp_from], [made.via], images=28, batch_size=4, device=CPU).per_image(name)[0]
        for made in decisions(schedule, rounds=rounds)
    ]
    return np.concatenate(plans)[::4]


def middles(rounds: int = 10) -> np.ndarray:
    return (np.arange(7 * rounds) + 0.5) / (7 * rounds)


@pytest.mark.parametrize("rounds", [1, 3, 10, 20])
@pytest.mark.parametrize("name", ["assign_iou", "augment", "nms_iou", "momentum"])
def test_two_values_are_a_straight_line_over_the_run(name: str, rounds: int) -> None:
    values = at_every_step(Schedule(**{name: (0.25, 0.45)}), name, rounds=rounds)  # type: ignore[arg-type]
    np.testing.assert_allclose(values, 0.25 + 0.2 * middles(rounds), rtol=0, atol=1e-12)


@pytest.mark.parametrize("rounds", [1, 3, 10, 20])
def test_points_are_passed_where_they_are_whatever_the_rounds(rounds: int) -> None:
    schedule = Schedule(surrogate_weight=LATE, box_weight=((0.1, 4), (0.33, 1), (0.9, 2)))
    values = at_every_step(schedule, "surrogate_weight", rounds=rounds)
    np.testing.assert_allclose(values, np.interp(middles(rounds), [0, 0.7, 0.75, 1], [0, 0, 1, 1]), rtol=0, atol=1e-12)
    values = at_every_step(schedule, "box_weight", rounds=rounds)
    expected = np.interp(middles(rounds), [0.1, 0.33, 0.9], [4, 1, 2])  # a logarithmic knob, linear; held outside
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rounds", [3, 10, 50])
def test_two_points_at_one_place_are_a_jump(rounds: int) -> None:
    values = at_every_step(Schedule(nms_iou=JUMP), "nms_iou", rounds=rounds)
    at = middles(rounds)
    expected = np.where(at < 0.62, 0.6, 0.4 - 0.1 * (at - 0.62) / 0.38)
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12)


def test_points_that_are_the_same_but_for_rounding_are_one() -> None:
    schedule = Schedule(warmup=0.0, nms_iou=((0.0, 0.6), (0.35, 0.6), (0.35, 0.4)), augment={0: 0, 0.35 + 1e-12: 1})
    assert [len(made.via) for made in decisions(schedule, rounds=10)] == [0, 0, 0, 2, *[0] * 6]


def test_the_learning_rate_is_what_it_would_be_where_other_knobs_move() -> None:
    plain = Schedule(shape="steps", warmup=0.03, milestones=(0.55,))
    moving = replace(plain, surrogate_weight=LATE, nms_iou=JUMP)
    np.testing.assert_allclose(at_every_step(moving, "lr"), at_every_step(plain, "lr"), rtol=0, atol=1e-12)


def test_a_schedule_that_moves_nothing_decides_as_before() -> None:
    assert Schedule(assign_iou=()) == Schedule()
    assert Schedule().moves == {}
    for made in decisions(Schedule(), rounds=20):
        assert made.knobs.replace(lr=0.2) == TASK.knobs
        assert made.via == ()


def test_an_assignment_that_nobody_sets_becomes_stricter() -> None:
    left_open = replace(TASK, knobs=Knobs())
    assert left_open.knobs.assign_iou is None
    values = [made.knobs.assign_iou for made in decisions(Schedule(), rounds=3, task=left_open)]
    assert values == pytest.approx([0.35, 0.45, 0.55])
    assert decisions(Schedule(), rounds=3, task=left_open)[0].ramp_from.assign_iou == 0.25  # type: ignore[union-attr]
    assert {made.knobs.assign_iou for made in decisions(Schedule(), rounds=3)} == {0.3}, "set as a knob"
    moved = decisions(Schedule(assign_iou=(0.1, 0.4)), rounds=3, task=left_open)
    assert [made.knobs.assign_iou for made in moved] == pytest.approx([0.2, 0.3, 0.4])


def test_it_stays_where_no_schedule_moves_it(make_task: Callable[..., Task]) -> None:
    task = make_task()
    assert task.knobs.assign_iou is None
    played = run(Trainer(task), Constant(), Budget(images=8, rounds=1)).history[0]
    assert played.knobs.assign_iou == 0.4
    moved = run(Trainer(task), Schedule(), Budget(images=16, rounds=2)).history
    assert [played.knobs.assign_iou for played in moved] == pytest.approx([0.4, 0.55])


def test_rounds_meet_at_their_ends_but_where_a_knob_jumps_there() -> None:
    made = decisions(Schedule(assign_iou=(0.25, 0.45), nms_iou=JUMP), rounds=10)
    assert all(first.knobs == second.ramp_from for first, second in itertools.pairwise(made))
    jumping = decisions(Schedule(warmup=0.0, nms_iou=((0.0, 0.6), (0.5, 0.6), (0.5, 0.4), (1.0, 0.4))), rounds=10)
    assert [made.knobs.nms_iou for made in jumping] == [0.6] * 5 + [0.4] * 5, "a round ends with the value before"
    assert not any(made.via for made in jumping)


def test_the_batch_of_a_round_is_that_of_its_end() -> None:
    half = Schedule(batch_fraction=((0.0, 0.25), (0.5, 0.25), (0.5, 1.0), (1.0, 1.0)))
    sizes = [
        StepPlan([made.knobs], [made.ramp_from], [made.via], images=32, batch_size=16, device=CPU).sizes
        for made in decisions(half, rounds=4)
    ]
    assert sizes == [[4], [4], [16], [16]]


def test_every_knob_of_ours_but_the_learning_rate_can_be_moved() -> None:
    names = [name for name in KnobMoves.__dataclass_fields__ if name != "own"]
    assert names == [name for name in ranges() if name != "lr"]
    for name in names:
        low, high = ranges()[name].low, ranges()[name].high
        made = decisions(Schedule(**{name: (low, high)}), rounds=2)  # type: ignore[arg-type]
        assert made[0].ramp_from is not None
        assert [made[0].ramp_from.get(name), made[1].knobs.get(name)] == [low, high]


def test_own_knobs_are_moved_like_ours() -> None:
    own = Knobs(own={"margin": 0.5})
    task = replace(TASK, knobs=own, ranges={**ranges(), "margin": Range(0.0, 2.0)})
    made = decisions(Schedule(own={"margin": {0: 0, 0.5: 2}}), rounds=2, task=task)
    assert [decision.knobs.get("margin") for decision in made] == [2.0, 2.0]
    assert made[0].ramp_from is not None
    assert made[0].ramp_from.get("margin") == 0.0
    check_controller(Schedule(own={}, assign_iou=(0.25, 0.45), surrogate_weight=LATE, nms_iou=JUMP))


def test_a_move_has_one_spelling() -> None:
    line = Schedule(assign_iou=(0.25, 0.45))
    for move in ([0.25, 0.45], {0: 0.25, 1: 0.45}, ((0, 0.25), (1, 0.45)), [[0.0, 0.25], [1.0, 0.45]]):
        assert Schedule(assign_iou=move) == line  # type: ignore[arg-type]
    assert hash(Schedule(surrogate_weight=LATE)) == hash(Schedule(surrogate_weight=tuple(LATE.items())))
    assert line.assign_iou == (0.25, 0.45)
    assert Schedule(surrogate_weight=LATE).surrogate_weight == ((0.0, 0.0), (0.7, 0.0), (0.75, 1.0))


SPELLINGS = [
    (["--schedule.assign-iou", "0.25", "0.45"], {"assign_iou": [0.25, 0.45]}, Schedule(assign_iou=(0.25, 0.45))),
    (["--schedule.assign-iou=0:0.25", "1:0.45"], {"assign_iou": {0: 0.25, 1: 0.45}}, Schedule(assign_iou=(0.25, 0.45))),
    (
        ["--schedule.surrogate-weight", "0:0", ".7:0", ".75:1"],
        {"surrogate_weight": {0: 0, 0.7: 0, 0.75: 1}},
        Schedule(surrogate_weight=LATE),
    ),
    (
        ["--schedule.nms-iou", "0:0.6", "0.62:0.6", "0.62:0.4", "1:0.3"],
        {"nms_iou": [[0, 0.6], [0.62, 0.6], [0.62, 0.4], [1, 0.3]]},
        Schedule(nms_iou=JUMP),
    ),
    (
        ["--schedule.own", "margin", "0.1", "0.2", "sharp", "0:1", "0.5:3"],
        {"own": {"margin": [0.1, 0.2], "sharp": {0: 1, 0.5: 3}}},
        Schedule(own={"margin": (0.1, 0.2), "sharp": {0: 1, 0.5: 3}}),
    ),
    (["--schedule.assign-iou"], {"assign_iou": []}, Schedule()),
]


@pytest.mark.parametrize(("flags", "section", "schedule"), SPELLINGS)
def test_flags_files_and_python_say_the_same(
    flags: list[str], section: dict[str, Any], schedule: Schedule, tmp_path: Path
) -> None:
    assert parse(Train, flags, prog="mapopt train").schedule == schedule
    (tmp_path / "flags.yaml").write_text(yaml.safe_dump({"schedule": section}))
    config = ["--config", str(tmp_path / "flags.yaml")]
    assert parse(Train, config, prog="mapopt train").schedule == schedule
    stored = json.loads(json.dumps(to_mapping(schedule)))
    assert from_mapping(Schedule, stored, "stored") == schedule
    assert make_controller("schedule", section) == schedule
    assert make_controller(CONTROLLERS.choice(schedule)) == schedule


def test_a_flag_takes_the_place_of_the_files_move(tmp_path: Path) -> None:
    (tmp_path / "flags.yaml").write_text("schedule: {assign_iou: [0.25, 0.45], nms_iou: {0: 0.6, 0.5: 0.4}}\n")
    words = ["--config", str(tmp_path / "flags.yaml"), "--schedule.assign-iou", "0.3", "0.2"]
    assert parse(Train, words, prog="mapopt train").schedule == Schedule(
        assign_iou=(0.3, 0.2), nms_iou=((0.0, 0.6), (0.5, 0.4))
    )


def test_what_does_not_move_is_not_stored() -> None:
    moving = {*to_mapping(Schedule(assign_iou=(0.25, 0.45)))}
    assert moving - {*to_mapping(Schedule())} == {"assign_iou"}
    assert {*to_mapping(Schedule())} == {"shape", "warmup", "warmup_from", "final", "milestones", "factor"}


def test_help_says_how_a_move_is_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "flags.yaml").write_text("schedule: {assign_iou: [0.25, 0.45], nms_iou: {0: 0.6, 0.5: 0.4}}\n")
    assert main(["train", "--config", str(tmp_path / "flags.yaml"), "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "--schedule.assign-iou FIRST LAST|AT:VALUE ... Over the run, in place of --knobs.assign-iou; " in said
    assert "where neither is given. (default: 0.25 0.45)" in said
    assert "with the value at its end. (default: 0:0.6 0.5:0.4)" in said
    assert "--schedule.own NAME FIRST LAST|AT:VALUE ..." in said


FLAGS = [
    (
        "assign-iou 0.25",
        "--schedule.assign-iou is '0.25': expected the first and the last value, or points of progress",
    ),
    ("assign-iou 0.2 0.3 0.4", "--schedule.assign-iou is '0.2 0.3 0.4': expected the first"),
    ("assign-iou low high", "--schedule.assign-iou is 'low high': expected"),
    ("assign-iou 0:0.2 0.3", "--schedule.assign-iou is '0:0.2 0.3': expected"),
    ("assign-iou 0:0.2", "the schedule moves knob assign_iou through one point: give two or more, or set the knob its"),
    ("assign-iou 0.2 2", "the schedule moves knob assign_iou to 2: expected 0.05 to 0.9"),
    (
        "assign-iou 0.2 nan",
        "the schedule moves knob assign_iou by (0.2, nan): expected the first and the last value, o",
    ),
    (
        "assign-iou 0:0.2 1.5:0.3",
        "the schedule moves knob assign_iou at progress 1.5: expected fractions of the run, 0",
    ),
    ("assign-iou -1:0.2 1:0.3", "the schedule moves knob assign_iou at progress -1: expected fractions of the run"),
    ("assign-iou 0:0.2 0.5:0.3 0.3:0.3", "the schedule moves knob assign_iou at progress 0, 0.5, 0.3: expected it to"),
    (
        "assign-iou 0:0.2 1:0.3 1:0.4 1:0.5",
        "at progress 0, 1, 1, 1: expected it to rise; two points at the same are a j",
    ),
    ("asign-iou 0.2 0.3", "unknown flag '--schedule.asign-iou': did you mean '--schedule.assign-iou'?"),
    ("lr 0.2 0.3", "unknown flag '--schedule.lr': did you mean '--knobs.lr'?"),
    ("zzz 0.2 0.3", "unknown flag '--schedule.zzz': the knob 'zzz' of a part of your own is set by --sched"),
    ("own lr 0.2 0.3", "the schedule moves the own knob 'lr': expected a name in letters that is none of lr, weight"),
    ("own 0.2 0.3", "--schedule.own is '0.2 0.3': expected names, each with the first and the last value, or points"),
    ("own margin 0.2", "--schedule.own margin is '0.2': expected the first and the last value"),
    ("own margin 0:0.2", "the schedule moves knob margin through one point"),
]


@pytest.mark.parametrize(("words", "message"), FLAGS)
def test_a_flag_that_means_no_move_is_named(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *f"--schedule.{words}".split(), "--print-config"]) == 2
    assert message in capsys.readouterr().err


SECTIONS = [
    (
        "assign_iou: 0.3",
        "schedule.assign_iou is 0.3: expected the first and the last value, or progress with values, s",
    ),
    ("assign_iou: [0.3]", r"schedule.assign_iou is \[0.3\]: expected the first and the last value"),
    ("assign_iou: {soon: 0.3, 1: 0.4}", "schedule.assign_iou is a section with keys: expected the first and the last"),
    ("assign_iou: {0: low, 1: 0.4}", "schedule.assign_iou is a section with keys: expected"),
    ("assign_iou: {0: 0.3, 1: 2}", "schedule: the schedule moves knob assign_iou to 2: expected 0.05 to 0.9"),
    ("assign_iou: {0: 0.3, 2: 0.3}", "schedule: the schedule moves knob assign_iou at progress 2"),
    ("assign_iou: {0.7: 0.3, .70: 0.4}", "is not valid YAML .two keys are the same number"),
    ("asign_iou: [0.3, 0.4]", "unknown key in schedule 'asign_iou': did you mean 'assign_iou'"),
    ("lr: [0.3, 0.4]", "unknown key in schedule 'lr'"),
]


@pytest.mark.parametrize(("section", "message"), SECTIONS)
def test_a_section_that_means_no_move_is_named(section: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "flags.yaml").write_text(f"schedule: {{{section}}}\n")
    with pytest.raises(ConfigError, match=message):
        parse(Train, ["--config", str(tmp_path / "flags.yaml")], prog="mapopt train")


VALUES = [
    ({"assign_iou": 0.3}, "the schedule moves knob assign_iou by 0.3: expected the first and the last value"),
    ({"assign_iou": "soon"}, "the schedule moves knob assign_iou by 'soon'"),
    ({"assign_iou": (True, False)}, r"the schedule moves knob assign_iou by \(True, False\)"),
    ({"assign_iou": {0: "a", 1: 0.2}}, "the schedule moves knob assign_iou by {0: 'a', 1: 0.2}"),
    ({"own": [("margin", (0, 1))]}, "own is of type list: expected names of own knobs with their moves"),
    ({"own": {"two words": (0, 1)}}, "the schedule moves the own knob 'two words': expected a name in letters"),
    ({"own": {3: (0, 1)}}, "the schedule moves the own knob 3: expected a name in letters"),
    ({"own": {"margin": 3}}, "the schedule moves knob margin by 3: expected the first and the last value"),
]


@pytest.mark.parametrize(("values", "message"), VALUES)
def test_a_value_that_is_no_move_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Schedule(**values)


def test_own_knobs_that_a_task_has_not_are_named() -> None:
    schedule = Schedule(own={"margin": (0.0, 3.0)})
    with pytest.raises(ConfigError, match="unknown knob in the schedule 'margin'"):
        schedule.decide([], TASK, Budget(images=10, rounds=10))
    with pytest.raises(ConfigError, match="the schedule moves knob margin to 3: expected 0 to 2"):
        Patience(controller=schedule).check_knobs({**ranges(), "margin": Range(0.0, 2.0)})


def test_own_knobs_of_another_recipe_are_named_before_anything_is_written(tmp_path: Path) -> None:
    tiny = {"images": 64, "rounds": 2, "scene_counts": (16, 8, 8), "device": "cpu", "patience": 3}
    with pytest.raises(ConfigError, match="unknown knob in the schedule 'margin'"):
        mapopt.train(out=tmp_path / "run", schedule={"own": {"margin": (0.1, 0.5)}}, **tiny)  # type: ignore[arg-type]
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_moves_are_trained_with(own_parts: dict[str, str]) -> None:
    tiny = {"images": 64, "rounds": 2, "scene_counts": (16, 8, 8), "device": "cpu", "loss": own_parts["hinge"]}
    schedule = {"assign_iou": (0.1, 0.8), "own": {"margin": {0.4: 0.5, 0.6: 4.0}}}
    moved = mapopt.train(schedule=schedule, **tiny)  # type: ignore[arg-type]
    still = mapopt.train(**tiny)  # type: ignore[arg-type]
    assert [played.knobs.get("margin") for played in moved.history] == pytest.approx([2.25, 4.0])
    assert [played.knobs.assign_iou for played in moved.history] == pytest.approx([0.45, 0.8])
    assert moved.history[1].interval.class_loss > 1.5 * still.history[1].interval.class_loss


def test_a_schedule_in_hand_is_a_setting_of_train() -> None:
    tiny = {"images": 64, "rounds": 2, "scene_counts": (16, 8, 8), "device": "cpu"}
    run = mapopt.train(controller=Schedule(assign_iou=(0.1, 0.8)), **tiny)  # type: ignore[arg-type]
    assert [played.knobs.assign_iou for played in run.history] == pytest.approx([0.45, 0.8])


def test_a_form_says_what_is_expected() -> None:
    form = Form(words="as in files", flag="as in flags", metavar="X", read=tuple)
    assert describe(Annotated[int, form]) == "as in files"
    assert describe(Annotated[int, form], flag=True) == "as in flags"
