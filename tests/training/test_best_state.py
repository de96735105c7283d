"""`best.pt` holds what detection needs, `last.pt` what resuming needs, and a kill between them costs nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from mapopt.cli import main
from mapopt.training import Checkpoint, LoadedDetector, Trainer
from mapopt.training.evaluated import EVALUATED

FLAGS = ["train", "--scene-counts", "16", "8", "8", "--images", "64", "--rounds", "4", "--controller", "constant"]


def trained(out: Path, *words: str) -> Path:
    assert main([*FLAGS, "--out", str(out), *words]) == 0
    return out


def names(path: Path) -> set[str]:
    return {name for name in torch.load(path, weights_only=True)["tensors"] if not name.startswith("buffer.")}


@pytest.mark.parametrize(
    ("words", "average"),
    [((), False), (("--recipe.ema", "0.5"), True), (("--recipe.optimizer", "schedule_free_adamw"), False)],
)
def test_each_file_holds_what_it_is_for(tmp_path: Path, words: tuple[str, ...], average: bool) -> None:
    out = trained(tmp_path / "run", *words)
    assert names(out / "best.pt") == {EVALUATED}
    kept = names(out / "last.pt")
    assert "weights" in kept
    assert ("average" in kept) == average
    assert any(name.startswith("optimizer.") for name in kept)
    assert (out / "best.pt").stat().st_size < (out / "last.pt").stat().st_size
    best = Checkpoint.load(out / "best.pt")
    weights = LoadedDetector(out / "best.pt", torch.device("cpu")).detector.weights[0]
    assert torch.equal(weights, best.snapshot.tensors[EVALUATED])


@pytest.mark.parametrize("name", ["muon", "schedule_free_adamw", "dog"])
def test_what_detection_needs_is_evaluated_with_the_same_bits(make_task, name: str) -> None:
    trainer, other = Trainer(make_task(optimizer=name), 1), Trainer(make_task(optimizer=name), 2)
    trainer.train(24), other.train(8)
    small = trainer.fleet.for_detection(0)
    assert not small.resumable
    expected = trainer.detect("val")
    other.restore(small)
    given = other.detect("val")
    assert (given.scores == expected.scores).all()
    assert (given.boxes == expected.boxes).all()
    assert torch.equal(other.snapshot().tensors.get(EVALUATED, small.tensors[EVALUATED]), small.tensors[EVALUATED])
    before = other.snapshot().tensors["weights"]
    other.train(8)
    assert not torch.equal(other.snapshot().tensors["weights"], before), "it trains on from there"


def test_a_kill_between_the_two_writes_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mapopt.training.checkpoint import CheckpointFolder

    whole, broken = trained(tmp_path / "whole"), tmp_path / "broken"
    rounds = Checkpoint.load(whole / "best.pt").history
    save = CheckpointFolder.save

    def killed(self: CheckpointFolder, name: str, *state: object) -> None:
        if name == "best" and len(state[1]) == len(rounds):  # type: ignore[arg-type]
            raise KeyboardInterrupt
        save(self, name, *state)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointFolder, "save", killed)
        assert main([*FLAGS, "--out", str(broken)]) == 130
    assert len(Checkpoint.load(broken / "last.pt").history) == len(rounds)
    assert not (broken / "best.pt").is_file() or len(Checkpoint.load(broken / "best.pt").history) < len(rounds)
    trained(broken, "--resume")
    for name in ("best.pt", "last.pt"):
        first, other = (Checkpoint.load(folder / name).snapshot.tensors for folder in (whole, broken))
        assert first.keys() == other.keys()
        assert all(torch.equal(first[key], other[key]) for key in first), name


def test_what_is_for_detection_is_nothing_to_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = trained(tmp_path / "run")
    (out / "result.json").unlink()
    shutil.move(out / "last.pt", out / "kept.pt")
    capsys.readouterr()
    assert main([*FLAGS, "--out", str(out), "--resume"]) == 2
    assert "has best.pt, which is for detection, but no last.pt to go on from" in capsys.readouterr().err
    shutil.move(out / "kept.pt", out / "last.pt")
    rounds = len(Checkpoint.load(out / "best.pt").history)
    (out / "best.pt").unlink()
    code = main([*FLAGS, "--out", str(out), "--resume"])
    said = capsys.readouterr().err
    assert code == (0 if rounds == 4 else 2)
    assert rounds == 4 or f"best.pt: is not there, or not of round {rounds}, which is the best of last.pt" in said


def test_files_from_before_are_read(tmp_path: Path) -> None:
    """They held the whole state in both files, an average always among it."""
    whole, before = trained(tmp_path / "whole"), tmp_path / "before"
    trained(before, "--images", "32", "--rounds", "2")
    checkpoint = Checkpoint.load(before / "last.pt")
    checkpoint.snapshot.tensors["average"] = checkpoint.snapshot.tensors["weights"].clone()
    for name in ("last.pt", "best.pt") if len(Checkpoint.load(before / "best.pt").history) == 2 else ("last.pt",):
        checkpoint.save(before / name)
    trained(before, "--resume")
    first, other = (Checkpoint.load(folder / "last.pt").snapshot.tensors for folder in (whole, before))
    assert all(torch.equal(first[key], other[key]) for key in first)
