"""Paths and names of any length, character or kind end in one line, and never lead out of their folder."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mapopt.agents.agent import Agent
from mapopt.agents.learning.settings import AgentTraining
from mapopt.agents.learning.training import train_agent
from mapopt.cli import main
from mapopt.data.files import read_json
from mapopt.errors import ConfigError, DataError, MapoptError, StoreError
from mapopt.experiments import load_experiment
from mapopt.experiments.comparison.store import Store
from mapopt.files import read_record, write_bytes, write_text
from mapopt.metrics import GroundTruth
from mapopt.paths import check_inside, check_name, check_path, read_bytes
from mapopt.settings import load_yaml
from mapopt.training.checkpoint import Checkpoint
from mapopt.training.run_files import checkpoint_path


@pytest.mark.parametrize(
    "name", ["../..", "..", "a/b", "/etc/passwd", "", ".hidden", "-x", "a\0", "a\nb", "x" * 121, "\u00e9" * 110]
)
def test_a_name_never_leaves_its_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the name is .*: expected at most 120 letters") as caught:
        check_name(name, "the name")
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="the agent's name is"):
        train_agent(AgentTraining(iterations=1), tmp_path / "out", name=name)
    with pytest.raises(StoreError, match="the experiment's name is"):
        Store(tmp_path).runs(name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["name", "task", "method"])
def test_the_names_in_an_experiment_never_leave_its_folder(place: str) -> None:
    names = {"name": "mine", "task": "shapes", "method": "baseline", place: "../up"}
    content = {
        "name": names["name"],
        "budget": {"images": 64, "rounds": 2},
        "tasks": {names["task"]: {}},
        "methods": {names["method"]: {}},
        "reference": names["method"],
    }
    with pytest.raises(ConfigError, match=rf"{place}'s name is '\.\./up': expected|experiment's name is '\.\./up'"):
        load_experiment(content)


def test_names_of_files_in_annotations_never_leave_the_folder_they_are_written_to() -> None:
    assert check_inside("a/b.jpg", "it") == "a/b.jpg"
    for name in ("../a.jpg", "a/../../b.jpg", "/a.jpg"):
        with pytest.raises(DataError, match=r"it is .*: expected one without .. that does not begin with /"):
            check_inside(name, "it", error=DataError)


LONG, NULL = "a" * 300, "a\0b"


@pytest.mark.parametrize("path", [LONG, NULL, "b/" * 3000, "\ud800", "/dev/zero", "/dev/null", "."])
def test_whatever_is_no_file_is_one_line_for_every_reader(path: str) -> None:
    for read in (
        lambda: read_record(path, what="a record"),
        lambda: load_yaml(path),
        lambda: read_json(path),
        lambda: GroundTruth.from_coco(path),
        lambda: Agent.load(path),
        lambda: Checkpoint.load(checkpoint_path(path)),
        lambda: read_bytes(path, what="a file", limit=10, error=DataError),
    ):
        with pytest.raises(MapoptError) as caught:
            read()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400


def test_a_pipe_is_not_waited_for_and_a_large_file_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match=r"is a pipe; expected a YAML file with settings\. Give the path of a file"):
        load_yaml(tmp_path / "pipe")
    with open(tmp_path / "large.yaml", "wb") as file:
        file.truncate(10**12)
    with pytest.raises(ConfigError, match=r"has 1,000,000,000,000 bytes; expected .*, of at most 16,777,216"):
        load_yaml(tmp_path / "large.yaml")


@pytest.mark.parametrize("path", [LONG, "x\0y", "b/" * 3000, "\ud800"])
def test_what_no_system_takes_as_a_path_is_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        check_path(path)
    assert len(str(caught.value)) < 300
    with pytest.raises(StoreError, match="cannot be written"):
        write_bytes(tmp_path / path, b"")


def test_flags_say_which_path_is_too_long(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--checkpoint", LONG, "--images", "x"]) == 2
    assert capsys.readouterr().err.startswith("mapopt predict: error: --checkpoint: the path 'aaa")


def test_a_device_is_not_replaced_by_a_file_and_a_long_name_is_written(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreError, match=r"is a pipe\. Give the path of a file"):
        write_bytes(tmp_path / "pipe", b"")
    write_bytes(tmp_path / ("n" * 250), b"1")
    write_text(tmp_path / "list.txt", "caf\udce9.jpg\n")
    assert (tmp_path / "list.txt").read_bytes() == b"caf\xe9.jpg\n"
    with pytest.raises(StoreError, match=r"the character '\\ud800' cannot be written as UTF-8"):
        write_text(tmp_path / "list.txt", "\ud800")
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(("owner", "step"), [(Path, "write_bytes"), (os, "fsync"), (os, "replace")])
def test_a_full_disk_is_one_line_and_leaves_the_old_file(
    owner: object, step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(tmp_path / "a.txt", "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(owner, step, full)
    with pytest.raises(
        StoreError, match=r"a\.txt: cannot be written \(No space left on device\)\. Make room, or choose"
    ):
        write_text(tmp_path / "a.txt", "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.txt", "old")]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has /dev/full")
@pytest.mark.parametrize(
    "words", ["--help", "--version", "bench", "train --help", "train --print-config", "completion bash"]
)
def test_a_full_disk_behind_the_output_is_one_line(words: str) -> None:
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "mapopt", *words.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert (
        "error: the output cannot be written (No space left on device). Make room, or send it elsewhere."
        in ended.stderr
    )


def test_what_the_system_refuses_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/some/file")

    monkeypatch.setattr("mapopt.commands.train.Train.run", refused)
    assert main(["train"]) == 2
    expected = "mapopt train: error: /some/file: cannot be used (Permission denied). Check it, or give another path.\n"
    assert capsys.readouterr().err == expected
