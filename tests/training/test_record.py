"""The record of a run: files that hold every finished round, and lines that a person reads."""

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mapopt.training.budget import Budget
from mapopt.training.fleet import Fleet
from mapopt.training.history import Interval, Round, Scores
from mapopt.training.knobs import Knobs
from mapopt.training.record import ProgressPrinter, Recorder, describe_round
from mapopt.training.task import Task

BUDGET = Budget(images=1280, rounds=20)


def make_round(index: int, *, ap: float = 0.25, ramp: bool = False, diverged: bool = False) -> Round:
    interval = Interval(
        images=64,
        steps=4,
        seconds=0.5,
        class_loss=0.75,
        box_loss=0.5,
        gradient_norm=3.21,
        gradient_norm_max=4.0,
        clipped=0.25,
        update_ratio=0.001,
        diverged=diverged,
    )
    return Round(
        index=index,
        knobs=Knobs(lr=0.05).settled(),
        ramp_from=Knobs(lr=0.1).settled() if ramp else None,
        interval=interval,
        val=Scores(ap=ap, ap50=0.5, ap75=0.125, ar100=0.375, per_category=(0.2, 0.3)),
        images=64 * (index + 1),
        evaluated=8 * (index + 1),
        seconds=1.5 * (index + 1),
    )


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "rounds.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_round_is_kept_as_it_was(tmp_path: Path) -> None:
    rounds = [make_round(0), make_round(1, ramp=True), make_round(2, diverged=True)]
    recorder = Recorder(tmp_path)
    for count, played in enumerate(rounds, start=1):
        recorder(0, played)
        lines = (tmp_path / "rounds.jsonl").read_text().splitlines()
        assert [Round.from_dict(json.loads(line)) for line in lines] == rounds[:count]
        assert len(rows(tmp_path)) == count
    assert {path.name for path in tmp_path.iterdir()} == {"rounds.jsonl", "rounds.csv"}, "nothing temporary stays"


def test_the_table_has_every_number_in_a_column_of_its_own(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, categories=("disc", "box"))
    recorder(0, make_round(0))
    recorder(0, make_round(1, ramp=True))
    first, second = rows(tmp_path)
    assert first.keys() == second.keys()
    assert (first["index"], first["images"], first["knobs.lr"], first["val.ap"]) == ("0", "64", "0.05", "0.25")
    assert (first["val.category.disc"], first["val.category.box"]) == ("0.2", "0.3")
    assert first["interval.diverged"] == "False"
    assert (first["ramp_from.lr"], second["ramp_from.lr"]) == ("", "0.1"), "empty where the knobs stood still"
    # Tables from before there were these are those of today while they change nothing.
    late = {"knobs.step_ratio", "knobs.augment_kinds"}
    assert {f"knobs.{name}" for name in Knobs().as_dict()} - first.keys() == late


def test_points_inside_a_round_have_columns_of_their_own(tmp_path: Path) -> None:
    ramp = make_round(1, ramp=True)
    recorder = Recorder(tmp_path)
    recorder(0, make_round(0))
    recorder(0, replace(ramp, via=((0.25, Knobs(lr=0.3).settled()), (0.5, Knobs(lr=0.2).settled()))))
    first, second = rows(tmp_path)
    assert [second[f"via.{number}.{name}"] for number in (1, 2) for name in ("fraction", "lr")] == [
        *("0.25", "0.3"),
        *("0.5", "0.2"),
    ]
    assert first["via.1.lr"] == ""


def test_a_resumed_record_goes_on_after_its_history(tmp_path: Path) -> None:
    Recorder(tmp_path, history=[make_round(0), make_round(1)]).write()
    assert len(rows(tmp_path)) == 2
    Recorder(tmp_path, history=[make_round(0)])(0, make_round(1, ap=0.5))
    assert [row["val.ap"] for row in rows(tmp_path)] == ["0.25", "0.5"]


def test_a_record_without_a_round_is_empty_files(tmp_path: Path) -> None:
    Recorder(tmp_path).write()
    assert (tmp_path / "rounds.jsonl").read_text() == ""
    assert rows(tmp_path) == []


def test_a_record_is_of_one_lane(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, lane=1)
    recorder(0, make_round(0, ap=0.1))
    assert not list(tmp_path.iterdir())
    recorder(1, make_round(0, ap=0.9))
    assert [row["val.ap"] for row in rows(tmp_path)] == ["0.9"]


def test_a_round_is_a_line() -> None:
    assert describe_round(make_round(2), BUDGET) == (
        "round  3/20  images  192  val AP 0.2500  AP50 0.5000  lr 0.05  loss 1.2500  gradient 3.21  4.5 s"
    )
    assert describe_round(make_round(2, diverged=True), BUDGET) == "round  3/20  images 192  diverged: not finite"


def test_elsewhere_than_on_a_terminal_progress_is_lines(tmp_path: Path) -> None:
    stream = io.StringIO()
    with ProgressPrinter(BUDGET, stream=stream) as printer:
        for index in range(3):
            printer(0, make_round(index))
    first, *lines = stream.getvalue().splitlines()
    assert first == "how long this takes is known after the first of the rounds"
    for index, line in enumerate(lines):
        assert line.startswith(describe_round(make_round(index), BUDGET))
        assert re.search(r"  about \d+\.\d s left$", line)
    assert len(lines) == 3


def test_how_long_it_takes_is_said_at_the_start_where_that_is_known() -> None:
    stream = io.StringIO()
    with ProgressPrinter(BUDGET, history=[make_round(0)], stream=stream, expected=0.1):
        pass
    assert stream.getvalue().startswith("this takes about ")


def test_on_a_terminal_a_bar_stands_below_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    history = [make_round(0, ap=0.5), make_round(1)]
    with ProgressPrinter(BUDGET, history=history, stream=stream) as printer:
        printer(0, make_round(2, ap=0.3))
    text = stream.getvalue()
    assert describe_round(make_round(2, ap=0.3), BUDGET) in text
    assert "best val AP 0.5000" in text
    assert "3/20" in text.split("rounds")[-2], "the bar counts the rounds that were played before"


def test_inside_a_round_the_bar_moves_and_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with ProgressPrinter(BUDGET, history=[make_round(0)], stream=stream) as printer:
        assert printer._progress is not None
        printer.step(16)
        printer._progress.refresh()
        task = printer._progress.tasks[0]
        # A third of the seconds of the first round were training.
        assert task.completed == pytest.approx(1 + 16 / 64 / 3)
        printer.step(64)
        printer._progress.refresh()
        assert task.completed == pytest.approx(1 + 1 / 3)
        printer(0, make_round(1))
        assert (task.completed, task.fields["inside"]) == (2, "")
    text = stream.getvalue()
    assert "image 16 of 64" in text
    assert "evaluating" in text


def test_a_line_elsewhere_says_how_far_a_round_is_and_what_is_left() -> None:
    with ProgressPrinter(BUDGET, history=[make_round(0)], stream=io.StringIO()) as printer:
        waiting = printer._waiting
        waiting._began -= 10.0
        assert re.fullmatch(r"training: 1 of 20 rounds, 10 s gone", waiting.describe())
        printer.step(32)
        said = waiting.describe()
        # A sixth of a round took ten seconds, and 18 5/6 are left.
        assert re.fullmatch(r"training: 1 of 20 rounds, image 32 of 64 in round 2, 10 s gone, about 19 min left", said)
        printer(0, make_round(1))
        assert "image" not in waiting.describe()


def test_a_fleet_says_after_every_step_how_many_images_are_trained(make_task: Callable[..., Task]) -> None:
    fleet, seen = Fleet(make_task(), [0, 1]), list[int]()
    fleet.on_step = seen.append
    fleet.train(12)
    fleet.train(4)
    assert seen == [4, 8, 12, 4]
