"""Runs of a few seconds that the tests of several commands look at."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mapopt.cli import main

TINY = [
    *("--figures", "False"),
    *("--scenes.size", "32", "--scenes.object-size", "8", "16", "--scene-counts", "16", "8", "8", "--device", "cpu"),
    *("--recipe.batch-size", "8", "--images", "64", "--rounds", "4"),
]
"""Flags of a run of 8 steps."""


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run; tests only read it."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    assert main(["train", *TINY, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must be refused; returns what it says."""

    def run(*arguments: object) -> str:
        assert main([str(argument) for argument in arguments]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"mapopt {arguments[0]}: error: ")
        assert said.count("\n") == 1, "one line"
        assert "Traceback" not in said
        return said.removeprefix(f"mapopt {arguments[0]}: error: ").rstrip("\n")

    return run
