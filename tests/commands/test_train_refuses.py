"""What `mapopt train` refuses, before it writes anything."""

from collections.abc import Callable
from pathlib import Path

import pytest

Refused = Callable[..., str]


TINY = [
    *("--figures", "False"),
    *("--scenes.size", "32", "--scenes.object-size", "8", "16", "--scene-counts", "16", "8", "8", "--device", "cpu"),
    *("--recipe.batch-size", "8", "--images", "64", "--rounds", "4"),
]


BAD = [
    (["--images", "100"], "images is 100: expected 4 rounds of whole steps of 8, such as 96 or 128"),
    (["--images", "0"], "images is 0: expected a whole number from 1 to"),
    (["--rounds", "0"], "rounds is 0: expected a whole number from 1 to"),
    (["--seed", "-1"], "seed is -1: expected a whole number from 0 to 4294967295"),
    (["--seed", "99999999999"], "seed is 99999999999: expected a whole number from 0 to 4294967295"),
    (["--data-seed", "-1"], "data_seed is -1: expected a whole number from 0 to 4294967295"),
    (["--scene-counts", "16", "0", "8"], "scene_counts is 0: expected a whole number from 1 to"),
    (["--size", "32", "99999"], "size is 99999: expected a whole number from 1 to 16384"),
    (["--threads", "100000"], "threads is 100000: expected a whole number from 1 to 1024"),
    (["--recipe.auxiliary", "ap", "-1"], "auxiliary loss 'ap' has the weight -1.0: expected 0 to 1000000"),
    (["--recipe.auxiliary", "ap", "nan"], "auxiliary loss 'ap' has the weight nan: expected 0 to 1000000"),
    (["--recipe.memory", "999999999"], "memory is 999999999: expected a number of scores up to 100000000"),
    (["--recipe.batch-size", "0"], "batch_size is 0: expected a whole number from 1 to 1048576"),
    (["--patience", "-1"], "patience is -1: expected 0, which never stops, or more rounds"),
    (["--threads", "0"], "threads is 0: expected a whole number from 1 to 1024"),
    (["--knobs.lr", "50"], "knob lr is 50: expected 1e-05 to 3"),
    (["--controller", "shedule"], "unknown controller 'shedule': did you mean 'schedule'?"),
    (
        ["--controller", "own"],
        "unknown controller 'own'. Known: agent, autopilot, best_of_n, constant, ",
    ),
    (["--recipe.loss", "focl"], "unknown loss 'focl': did you mean 'focal'?"),
    (["--recipe.detector", "tinny"], "unknown detector 'tinny': did you mean 'tiny'?"),
    (["--recipe.ema", "2"], "ema is 2.0: expected 0 (no average) or a decay below 1"),
    (["--scenes.size", "36"], "images of 36x36 pixels for detector 'tiny': expected"),
    (["--scenes.noise", "2"], "noise is 2.0. Expected a number from 0 to 0.5"),
    (["--plateau.factor", "0.5"], "--plateau is given, but --controller is schedule: give --controller plateau"),
    (["--controller", "constant", "--schedule.final", "0.5"], "--schedule is given, but --controller is constant"),
    (["--size", "64", "64"], "images of 64 x 64 pixels, but the scenes are drawn 32 x 32: give --scenes.size 64"),
    (["--data-limit", "3"], "--data-limit is given, but it says nothing about --data shapes: leave it out"),
    (["--invalid", "drop"], "--invalid is given, but it says nothing about --data shapes: leave it out"),
    (["--data", "nowhere"], "--scenes is given, but it says nothing about --data nowhere: leave it out"),
    (["--resume", "--overwrite"], "--resume goes on with what is there and --overwrite replaces it: give one of them"),
    (["--device", "tpu"], "unknown device 'tpu': did you mean 'cpu'?"),
]


@pytest.mark.parametrize(("flags", "message"), BAD, ids=[" ".join(flags) for flags, _ in BAD])
def test_what_is_wrong_is_said_before_anything_is_written(
    tmp_path: Path, refused: Refused, flags: list[str], message: str
) -> None:
    assert refused("train", *TINY, *flags, "--out", tmp_path / "run").startswith(message)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_in_use_is_left_alone(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "thesis.txt").write_text("dear")
    assert "is not empty. Give --resume to go on" in refused("train", *TINY, "--out", tmp_path)
    assert "holds no run to resume (no config.yaml)" in refused("train", *TINY, "--out", tmp_path, "--resume")
    assert "is a file. Give --out a folder" in refused("train", *TINY, "--out", tmp_path / "thesis.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_damaged_checkpoint_is_not_resumed(trained: Path, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "config.yaml").write_bytes((trained / "config.yaml").read_bytes())
    (tmp_path / "last.pt").write_bytes((trained / "last.pt").read_bytes()[:2000])
    said = refused("train", *TINY, "--out", tmp_path, "--resume")
    assert said.startswith(f"{tmp_path / 'last.pt'}: cannot be read as a checkpoint")
