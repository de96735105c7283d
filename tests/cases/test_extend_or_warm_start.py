"""A finished run gets more rounds where its controller permits it, and other runs start from its weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mapopt.cli import main

DATA = Path(__file__).parent / "extend_or_warm_start" / "data"
FLAGS = ["--data", str(DATA), "--size", "48", "64", "--recipe.batch-size", "8", "--device", "cpu", "--figures", "False"]


def rounds(folder: Path) -> int:
    return int(json.loads((folder / "result.json").read_text())["rounds"])


def test_a_run_gets_more_rounds_or_another_starts_from_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short, longer = ["--images", "16", "--rounds", "2"], ["--images", "32", "--rounds", "4"]
    run, other = tmp_path / "run", tmp_path / "other"
    assert main(["train", *FLAGS, *short, "--controller", "constant", "--out", str(run)]) == 0
    assert main(["train", *FLAGS, *longer, "--controller", "constant", "--out", str(run), "--resume"]) == 0
    assert rounds(run) == 4
    assert main(["train", *FLAGS, *short, "--out", str(other), "--start-from", str(run / "best.pt")]) == 0
    assert rounds(other) == 2
    capsys.readouterr()
    assert main(["train", *FLAGS, *longer, "--out", str(other), "--resume", "--start-from", str(run / "best.pt")]) == 2
    assert f"begin another run from its weights with --start-from {other / 'best.pt'}" in capsys.readouterr().err
