"""What holds for every message."""

from __future__ import annotations

import pickle

from mapopt.errors import DataError, MapoptError


def test_a_message_that_can_be_read_is_what_was_said() -> None:
    said = "/a/file.json: line 3\nof two lines, and a path of 300 characters: " + "x" * 300
    assert str(DataError(said)) == said


def test_long_words_and_messages_lose_their_middle() -> None:
    assert str(MapoptError(f"bbox is {'9' * 5000}; expected 4 numbers")) == (
        f"bbox is {'9' * 200}...{'9' * 132}; expected 4 numbers"
    )
    long = str(MapoptError("name " * 5000 + "and the end"))
    assert len(long) < 2000
    assert long.startswith("name name")
    assert long.endswith("name and the end")


def test_what_cannot_be_printed_is_spelt() -> None:
    assert str(MapoptError("no file a\x00b\x1b[31m\udcff")) == r"no file a\x00b\x1b[31m\udcff"


def test_errors_travel_between_processes() -> None:
    error = pickle.loads(pickle.dumps(DataError("x" * 900)))
    assert str(error) == str(DataError("x" * 900))
    assert str(MapoptError()) == ""
