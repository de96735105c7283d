"""`mapopt train` in several processes: the run of one process, written and printed once; all of them end together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mapopt.cli import main
from mapopt.training.checkpoint import Checkpoint

SMALL = [
    *("--figures", "False", "--scenes.size", "32", "--scene-counts", "16", "8", "8", "--device", "cpu"),
    *("--recipe.batch-size", "8", "--images", "64", "--rounds", "4", "--recipe.optimizer", "sgd"),
    *("--knobs.lr", "0.01"),
]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def start(*words: object, torchrun: bool = False) -> subprocess.Popen[str]:
    command = [sys.executable, *(TORCHRUN if torchrun else []), "-m", "mapopt", "train", *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        # Tests that run in the background of a shell ignore Ctrl-C, and so would what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def check_like(folder: Path, other: Path) -> None:
    """Checks that two runs have the same files, and the same numbers but for rounding."""
    names = [sorted(path.name for path in place.iterdir()) for place in (folder, other)]
    assert names[0] == names[1]
    for name in ("best.pt", "last.pt"):
        ours, theirs = (Checkpoint.load(place / name).snapshot.tensors for place in (folder, other))
        for part, tensor in theirs.items():
            torch.testing.assert_close(ours[part], tensor, rtol=0, atol=1e-4, msg=f"{name} {part}")
    ours, theirs = (json.loads((place / "result.json").read_text()) for place in (folder, other))
    assert ours["test"]["ap"] == pytest.approx(theirs["test"]["ap"], abs=1e-4)
    assert (ours["selected"], ours["images"], ours["evaluated"]) == (
        theirs["selected"],
        theirs["images"],
        theirs["evaluated"],
    )


@pytest.mark.slow
def test_two_processes_write_the_run_of_one_once(tmp_path: Path) -> None:
    assert main(["train", *SMALL, "--out", str(tmp_path / "one")]) == 0
    out, said = start(*SMALL, "--processes", 2, "--out", tmp_path / "two").communicate(timeout=600)
    assert out.count("round 1/4") == out.count("test AP") == 1, said
    check_like(tmp_path / "two", tmp_path / "one")


@pytest.mark.slow
def test_torchrun_starts_them_and_a_run_goes_on_with_another_number_of_processes(tmp_path: Path) -> None:
    longer = [*SMALL, "--controller", "constant", "--images", "128", "--rounds", "8"]
    assert main(["train", *longer, "--out", str(tmp_path / "one")]) == 0
    flags = [*SMALL, "--controller", "constant", "--out", str(tmp_path / "two"), "--resume"]
    # A limit so near that no round is played, whatever the machine.
    limited = start(*flags, "--time-limit", "0.0000001", torchrun=True)
    out, said = limited.communicate(timeout=600)
    assert limited.returncode != 0
    assert out.count("the time limit of 1e-07 hours came before the first of 4 rounds ended") == 1, out + said
    both = start(*flags, torchrun=True)
    out, said = both.communicate(timeout=600)
    assert both.returncode == 0, said
    assert out.count("round 1/4") == out.count("test AP") == 1
    assert main(["train", *longer, "--out", str(tmp_path / "two"), "--resume"]) == 0
    check_like(tmp_path / "two", tmp_path / "one")


@pytest.mark.slow
def test_ctrl_c_ends_all_processes_with_one_line(tmp_path: Path) -> None:
    words = [*SMALL, "--images", "80000", "--out", tmp_path / "run", "--processes", 2]
    process = start(*words)
    while not (tmp_path / "run" / "config.yaml").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 130
    assert said.count("interrupted.") == 1
    assert "Traceback" not in said


OWN = '''
import os
import torch
from torchvision.models.detection import ssdlite320_mobilenet_v3_large


class Failing(torch.nn.Module):
    """A detector that fails in the second process, in its third step."""

    def __init__(self, num_classes):
        super().__init__()
        self.layer, self.steps = torch.nn.Conv2d(3, 1, 1), 0

    def forward(self, images, targets=None):
        self.steps += self.training
        if os.environ.get("RANK") == "1" and self.steps == 3:
            raise ValueError("the third step fails")
        value = self.layer(torch.stack(images)).square().mean()
        if self.training:
            return {"class": value, "box": value}
        empty = {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.int64)}
        return [empty] * len(images)
'''


@pytest.mark.slow
def test_an_error_in_one_process_ends_all_of_them_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "failing_in_one.py").write_text(OWN)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    words = [*SMALL, "--recipe.detector", "failing_in_one:Failing", "--recipe.loss", "torchvision"]
    process = start(*words, "--out", tmp_path / "run", "--processes", 2)
    said = process.communicate(timeout=600)[1]
    assert process.returncode != 0
    assert "process 1 of 2: ValueError: the third step fails" in said
    assert said.count("mapopt train: error:") == 1


def test_a_batch_that_the_processes_cannot_divide_is_refused_at_once(
    tmp_path: Path, refused: Callable[..., str]
) -> None:
    said = refused("train", *SMALL, "--out", tmp_path / "run", "--processes", "3")
    assert said == "batch_size is 8 with 3 processes: expected a multiple of them, such as 6 or 9"
    assert refused("train", "--processes", "0") == "processes is 0: expected a whole number from 1 to 1024"
    assert not (tmp_path / "run").exists()


def test_processes_under_torchrun_must_be_those_it_started(
    tmp_path: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    said = refused("train", *SMALL, "--out", tmp_path / "run", "--processes", "4")
    assert said == "processes is 4, but torchrun has started 2: leave it out, or give the same"
