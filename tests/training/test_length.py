"""Budgets in epochs and hours come to images that are stored; a time limit leaves a run that goes on as if unbroken."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from mapopt.cli import main
from mapopt.training import deadline, length
from mapopt.training.checkpoint import Checkpoint
from mapopt.training.settings import TrainSettings

SCENES = ["train", "--scene-counts", "20", "8", "8", "--recipe.batch-size", "4", "--rounds", "3"]


def played(out: Path, *words: str, status: int = 0) -> Path:
    assert main([*SCENES, "--out", str(out), *words]) == status
    return out


def config(out: Path) -> dict[str, object]:
    content = yaml.safe_load((out / "config.yaml").read_text())
    assert isinstance(content, dict)
    return content


def same_weights(first: Path, second: Path) -> bool:
    first_run, other = (Checkpoint.load(folder / "last.pt").snapshot.tensors["weights"] for folder in (first, second))
    return torch.equal(first_run, other)


def test_epochs_are_images_of_whole_rounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = played(tmp_path / "run", "--epochs", "2")
    assert "2 epochs of 20 images: 36 images in 3 rounds" in capsys.readouterr().out
    stored = config(out)
    assert (stored["images"], stored["rounds"]) == (36, 3)
    assert "epochs" not in stored
    assert same_weights(out, played(tmp_path / "images", "--images", "36"))
    played(out, "--epochs", "2", "--resume")
    assert "this run is finished after 3 rounds" in capsys.readouterr().out
    played(out, "--epochs", "5", "--resume", status=2)
    assert "was begun with images 36, not 96" in capsys.readouterr().err


def test_every_round_has_a_step() -> None:
    settings = TrainSettings(rounds=3)
    assert [settings.whole_rounds(images) for images in (0.1, 71, 73, 480)] == [48, 48, 96, 480]


def test_hours_are_settled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(length, "images_in", lambda *arguments, **named: 50.0)
    out = played(tmp_path / "run", "--hours", "0.001")
    assert config(out)["images"] == 48
    monkeypatch.setattr(length, "images_in", lambda *arguments, **named: pytest.fail("timed again"))
    (out / "result.json").unlink()
    played(out, "--hours", "0.001", "--resume")
    assert config(out)["images"] == 48


def test_hours_are_timed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    monkeypatch.setattr(length, "TIMED_SECONDS", 0.0)
    played(tmp_path / "run", "--hours", "1e-9", status=2)
    assert "hours is 1e-09, and 3 rounds of a step and an evaluation take about" in capsys.readouterr().err
    assert not (tmp_path / "run" / "config.yaml").exists()
    settings = TrainSettings(scene_counts=(8, 4, 4), rounds=2)
    splits, device = settings.load(None), torch.device("cpu")
    short, long = (length.images_in(hours, settings, splits, device) for hours in (0.1, 10.0))
    assert 20 * short < long < 500 * short


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--epochs", "2", "--images", "36"], "images and epochs are given, and each of them is the budget"),
        (["--epochs", "2", "--hours", "1"], "epochs and hours are given"),
        (["--epochs", "0"], "epochs is 0.0: expected a number above 0 and below 1e+06"),
        (["--hours", "nan"], "hours is nan: expected a number above 0"),
        (["--time-limit", "-1"], "time_limit is -1.0: expected a number above 0"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main([*SCENES, "--out", str(tmp_path / "run"), *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(("moments", "rounds"), [(0, 0), (4, 1), (7, 2)])
def test_a_run_whose_time_is_up_goes_on_as_if_unbroken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], moments: int, rounds: int
) -> None:
    whole, broken = played(tmp_path / "whole", "--images", "36"), tmp_path / "broken"
    left = iter([*[0.0] * (moments + 2), *[1e9] * 99])  # three steps a round, and a look before each
    with monkeypatch.context() as patch:
        patch.setattr(deadline, "monotonic", lambda: next(left))
        patch.setattr("mapopt.training.loop._seconds", lambda history: 0.0)
        capsys.readouterr()
        played(broken, "--images", "36", "--time-limit", "1", status=75)
    said = capsys.readouterr().out
    if rounds:
        assert f"came after round {rounds} of 3, which is kept: the same command with --resume goes on" in said
        assert len(Checkpoint.load(broken / "last.pt").history) == rounds
    else:
        assert "came before the first of 3 rounds ended, so nothing is kept" in said
    assert not (broken / "result.json").exists()
    played(broken, "--images", "36", "--resume")
    assert same_weights(whole, broken)


def test_a_round_that_would_take_too_long_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mapopt.training.loop._seconds", lambda history: 7200.0 if history else 0.0)
    out = played(tmp_path / "run", "--images", "36", "--time-limit", "1", status=75)
    assert len(Checkpoint.load(out / "last.pt").history) == 1


def test_a_run_goes_on_with_the_same_images_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], write_set: Callable[..., Path]
) -> None:
    first, other = write_set(tmp_path / "first"), tmp_path / "elsewhere"
    shutil.copytree(first, other)
    words = ["train", "--size", "32", "32", "--recipe.batch-size", "4", "--rounds", "2", "--controller", "constant"]
    out = ["--out", str(tmp_path / "run")]
    assert main([*words, *out, "--data", str(first), "--images", "16"]) == 0
    shutil.rmtree(first)
    longer = ["--rounds", "3", "--images", "24", "--resume"]
    assert main([*words, *out, "--data", str(other), *longer]) == 0
    assert len(Checkpoint.load(tmp_path / "run" / "last.pt").history) == 3
    changed = write_set(tmp_path / "changed", seed=1)
    capsys.readouterr()
    assert main([*words, *out, "--data", str(changed), "--rounds", "4", "--images", "32", "--resume"]) == 2
    assert "the images or annotations are not those that" in capsys.readouterr().err
