"""Passes and parts of unknown length: said once a part is done, and nothing where no command runs."""

from __future__ import annotations

import io
import re
import time

import pytest

from mapopt import passes
from mapopt.passes import Parts, Steps, steps
from mapopt.waiting import Waiting


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_how_long_a_pass_takes_is_said_once_its_second_steps_are_done() -> None:
    stream = io.StringIO()
    with Steps("reading", total=100, unit="images", stream=stream) as work:
        assert stream.getvalue() == "", "nobody knows yet"
        work._began -= 6.0
        work.advance(10)
        assert stream.getvalue() == "", "the first steps do what is done once, too"
        work._began -= 1.0
        work.advance(20)
        work.advance(30)
    assert stream.getvalue() == "reading 100 images takes about 15 s\n"


@pytest.mark.parametrize(("gone", "done"), [(0.4, 10), (40.0, 100)], ids=["a short one", "one that is over"])
def test_a_pass_that_asks_for_no_patience_says_nothing(gone: float, done: int) -> None:
    stream = io.StringIO()
    with Steps("reading", total=100, unit="images", stream=stream) as work:
        for part in (0.5, 1.0):
            work._began -= gone / 2
            work.advance(round(part * done))
    assert stream.getvalue() == ""


def test_a_terminal_gets_a_bar_that_goes_with_the_work() -> None:
    stream = Terminal()
    with Steps("reading", total=100, unit="images", stream=stream) as work:
        work.advance(10)
        work._began -= 20.0
        work.advance(25)
        assert work._bar is not None
        assert work._bar.tasks[0].completed == 25
    assert stream.getvalue().startswith("reading 100 images takes about ")
    assert "25/100" in stream.getvalue()
    assert work._bar.finished or not work._bar.live.is_started


def test_a_library_says_nothing_unasked(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "LONG", 0.0)
    for watched in (False, True):
        command = Waiting("command", announce=False) if watched else io.StringIO()
        with command, steps("reading", 3, "images") as work:
            work.advance(1)
            time.sleep(0.01)
            work.advance(2)
        out, error = capsys.readouterr()
        assert (out, bool(re.fullmatch(r"reading 3 images takes about 0\.\d s\n", error))) == ("", watched)


def test_parts_say_how_long_all_of_them_take_and_after_each_what_is_left() -> None:
    stream = io.StringIO()
    with Parts("bench", {"small": 10.0, "large": 60.0, "last": 20.0}, stream=stream) as parts:
        assert stream.getvalue() == "this takes about 90 s: small, large, last\n"
        parts._began -= 20.0  # twice as long as was expected
        parts.done("small")
        slower = (20.0 + 18.0) / (10.0 + 18.0)  # a fifth of the whole is doubt
        assert parts.left == pytest.approx(80.0 * slower, abs=0.5)
        parts._began -= 30.0
        assert parts.left == pytest.approx(80.0 * slower - 30.0, abs=0.5)
        parts._began -= 150.0
        assert parts.left is None, "the next takes longer than the first let expect"
        parts.done("large")
        parts.done("last")
    _, second, third = stream.getvalue().splitlines()
    assert re.fullmatch(r"bench: 1 of 3 parts, 20 s gone, about 10[89] s left", second)
    assert re.match(r"bench: 2 of 3 parts, 3 min gone, about \d\d s left", third)
