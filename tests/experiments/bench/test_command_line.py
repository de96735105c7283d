"""`mapopt bench cli`: it times processes of its own, and says when a command does not answer as it should."""

import json
from pathlib import Path

import pytest

from mapopt.cli import main
from mapopt.errors import MapoptError
from mapopt.experiments.bench.command_line import processor_seconds


def test_the_answers_of_a_command_are_timed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "cli", "--commands", "bench fleet", "--repeats", "1", "--out", str(tmp_path)]
    assert main(words) == 0
    printed = capsys.readouterr().out
    (cost,) = json.loads((tmp_path / "cli.json").read_text())
    assert cost["command"] == "bench fleet"
    assert 0 < cost["mistyped"] < 60
    assert f"{cost['help']:.2f}" in printed


def test_a_command_that_answers_otherwise_is_named() -> None:
    with pytest.raises(MapoptError, match=r"`mapopt trian` ended with status 2, not 0: mapopt: error: unknown command"):
        processor_seconds(["trian"], status=0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--commands", "trian"], "unknown command 'trian': did you mean 'train'? Known: "),
        (["--repeats", "0"], "--repeats is 0: expected 1 or more"),
    ],
)
def test_what_cannot_be_timed_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "cli", *words]) == 2
    assert capsys.readouterr().err.startswith(f"mapopt bench cli: error: {said}")
