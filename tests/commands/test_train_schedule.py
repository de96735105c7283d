"""`mapopt train` with a schedule that bends inside rounds: resumed, replayed, and read from what it left."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mapopt.cli import main
from mapopt.training.checkpoint import Checkpoint, CheckpointFolder
from mapopt.training.history import Round

SHORT = [
    *("--figures", "False"),
    *("--scenes.size", "32", "--scenes.object-size", "8", "16", "--scene-counts", "16", "8", "8", "--device", "cpu"),
    *("--recipe.batch-size", "4", "--images", "320", "--rounds", "20", "--schedule.warmup", "0.02"),
]
"""Flags of a run of 20 rounds of 4 steps, whose warm-up ends inside the first."""


class Killed(BaseException):
    """What ends a run at once."""


def rounds_of(folder: Path) -> list[Round]:
    return [Round.from_dict(json.loads(line)) for line in (folder / "rounds.jsonl").open()]


def assert_same_weights(first: Path, second: Path) -> None:
    for name in ("last.pt", "best.pt"):
        ours, theirs = (Checkpoint.load(folder / name).snapshot.tensors for folder in (first, second))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), name


@pytest.fixture(scope="module")
def bent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "bent"
    assert main(["train", *SHORT, "--out", str(folder)]) == 0
    return folder


def test_a_warm_up_shorter_than_a_round_ends_inside_it(bent: Path) -> None:
    played = rounds_of(bent)
    ((fraction, there),) = played[0].via
    assert (fraction, there.lr) == pytest.approx((0.4, 0.08))
    assert played[0].ramp_from is not None
    assert played[0].ramp_from.lr == pytest.approx(0.008)
    assert not any(later.via for later in played[1:])
    assert Checkpoint.load(bent / "last.pt").history == tuple(played)


def test_it_is_another_run_than_one_whose_warm_up_takes_the_round(bent: Path, tmp_path: Path) -> None:
    assert main(["train", *SHORT, "--schedule.warmup", "0.05", "--out", str(tmp_path / "whole")]) == 0
    bent_first, whole_first = rounds_of(bent)[0], rounds_of(tmp_path / "whole")[0]
    assert bent_first.interval.update_ratio > 1.3 * whole_first.interval.update_ratio, "its mean rate is 1.4 times"


def test_a_run_killed_after_a_bend_is_resumed_bit_for_bit(
    bent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = CheckpointFolder.save

    def dying(self: CheckpointFolder, which: str, snapshot: object, history: tuple[Round, ...]) -> None:
        save(self, which, snapshot, history)  # type: ignore[arg-type]
        if which == "last" and len(history) == 1:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointFolder, "save", dying)
        with pytest.raises(Killed):
            main(["train", *SHORT, "--out", str(tmp_path / "run")])
    assert main(["train", *SHORT, "--out", str(tmp_path / "run"), "--resume"]) == 0
    assert_same_weights(bent, tmp_path / "run")
    assert rounds_of(tmp_path / "run")[0].via == rounds_of(bent)[0].via


def test_its_replay_is_the_same_run_bit_for_bit(bent: Path, tmp_path: Path) -> None:
    replay = ["--controller", "replay", "--controller-settings", "path", str(bent)]
    flags = [word for word in SHORT if word not in ("--schedule.warmup", "0.02")]
    assert main(["train", *flags, *replay, "--out", str(tmp_path / "again")]) == 0
    assert_same_weights(bent, tmp_path / "again")


def test_a_run_is_not_made_longer_where_the_bend_would_have_been_elsewhere(
    tmp_path: Path, refused: Callable[..., str]
) -> None:
    flags = [*SHORT, "--schedule.shape", "constant", "--out", str(tmp_path)]
    assert main(["train", *flags, "--images", "32", "--rounds", "2", "--schedule.warmup", "0.2"]) == 0
    longer = ["--images", "48", "--rounds", "3", "--schedule.warmup", "0.2"]
    said = refused("train", *flags, *longer, "--resume")
    assert "its controller decides round 1 otherwise for a run of another length" in said
