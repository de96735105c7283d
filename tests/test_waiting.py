"""What a long command says while it works: how long it takes, what is left, and that it is still there."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path

import pytest

from mapopt import cli, waiting
from mapopt.waiting import Waiting


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes half a minute a twentieth of a second."""
    monkeypatch.setattr(waiting, "EVERY", 0.05)


def wait_for(stream: io.StringIO, pattern: str) -> str:
    """Returns what was printed, once it has a line like the pattern."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if re.search(pattern, stream.getvalue(), re.MULTILINE):
            return stream.getvalue()
        time.sleep(0.01)
    raise AssertionError(f"{stream.getvalue()!r} has no {pattern}")


def test_the_start_says_about_how_long() -> None:
    stream = io.StringIO()
    with Waiting("training", total=4, expected=300.0, stream=stream):
        pass
    assert stream.getvalue() == "this takes about 5 min\n"
    stream = io.StringIO()
    with Waiting("training", total=4, unit="iterations", stream=stream):
        pass
    assert stream.getvalue() == "how long this takes is known after the first of the iterations\n"
    stream = io.StringIO()
    with Waiting("training", total=4, done=4, stream=stream):
        pass
    assert stream.getvalue() == "", "nothing is left to do"


def test_what_is_left_follows_from_what_was_done() -> None:
    stream = io.StringIO()
    with Waiting("training", total=10, done=2, expected=1000.0, stream=stream) as work:
        assert work.left == pytest.approx(1000, abs=5)
        work._began -= 2000.0
        assert work.remaining() == "", "it takes longer than was expected"
        work._began += 2000.0 - 40.0
        work.advance(4)
        assert work.left == pytest.approx(40 / 2 * 6, abs=1)
        assert re.fullmatch(r"training: 4 of 10 rounds, 4\d s gone, about 12\d s left|.* 2 min left", work.describe())
        work.advance(10)
        assert work.remaining() == ""


@pytest.mark.usefixtures("quick")
def test_a_piped_command_shows_a_sign_of_life() -> None:
    stream = io.StringIO()
    with Waiting("training", total=10, stream=stream) as work:
        text = wait_for(stream, r"^training: 0 of 10 rounds, 0\.\d s gone$")
        assert text.startswith("how long this takes")
        work.advance(5)
        wait_for(stream, r"^training: 5 of 10 rounds, .* gone, about .* left$")
    after = stream.getvalue()
    time.sleep(0.2)
    assert stream.getvalue() == after, "what has ended says nothing"


@pytest.mark.usefixtures("quick")
def test_an_inner_one_speaks_for_those_around_it() -> None:
    outside, inside = io.StringIO(), io.StringIO()
    with Waiting("command", stream=outside, announce=False):
        with Waiting("training", total=3, stream=inside):
            wait_for(inside, "^training: 0 of 3")
            assert outside.getvalue() == ""
        wait_for(outside, r"^command: .* gone$")


@pytest.mark.usefixtures("quick")
def test_a_terminal_has_a_bar_and_a_quiet_one_nothing() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal, quiet = Terminal(), io.StringIO()
    with Waiting("training", total=3, stream=terminal, announce=False):
        time.sleep(0.2)
    with Waiting("training", total=3, stream=quiet, announce=False, quiet=True):
        time.sleep(0.2)
    assert (terminal.getvalue(), quiet.getvalue()) == ("", "")


@pytest.mark.usefixtures("quick")
def test_every_command_says_that_it_still_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mapopt.commands.evaluate import Evaluate

    monkeypatch.setattr(Evaluate, "run", lambda _: time.sleep(1.0))
    assert cli.main(["evaluate", "--out", str(tmp_path)]) == 0
    out, error = capsys.readouterr()
    assert out == ""
    assert re.match(r"mapopt evaluate: \d\.\d s gone\n", error)


def test_a_reader_that_left_ends_no_work() -> None:
    stream = io.StringIO()
    with Waiting("training", total=3, stream=stream):
        stream.close()
