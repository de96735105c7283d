"""How a schedule's moves are written as flags, in files and in Python, and what is said of those that mean none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml

from mapopt.cli import main
from mapopt.commands.parsing import parse
from mapopt.commands.train import Train
from mapopt.errors import ConfigError
from mapopt.fields import Form, describe
from mapopt.settings import from_mapping, to_mapping
from mapopt.training.controllers.fixed import Schedule
from mapopt.training.controllers.registry import CONTROLLERS, make_controller

LATE = {0: 0, 0.7: 0, 0.75: 1}
JUMP = ((0.0, 0.6), (0.62, 0.6), (0.62, 0.4), (1.0, 0.3))


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


def test_a_form_says_what_is_expected() -> None:
    form = Form(words="as in files", flag="as in flags", metavar="X", read=tuple)
    assert describe(Annotated[int, form]) == "as in files"
    assert describe(Annotated[int, form], flag=True) == "as in flags"
