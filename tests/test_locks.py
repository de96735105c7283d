"""Locks of output folders: the second process is refused, and what was killed blocks nobody."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mapopt import locks
from mapopt.errors import StoreError
from mapopt.locks import LOCK_FILE, lock_file, lock_folder

HOLDS = """
import sys, time
from mapopt.locks import {function}
with {function}(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


KILLED = """
import os, signal, sys
os.replace = lambda source, place: os.kill(os.getpid(), signal.SIGKILL)
from mapopt.files import write_text
write_text(sys.argv[1], "half")
"""


def holder(function: str, path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDS.format(function=function), str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize(("function", "lock"), [("lock_folder", lock_folder), ("lock_file", lock_file)])
def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path, function: str, lock) -> None:
    place = tmp_path / "runs" / "mine"
    process = holder(function, place)
    try:
        with pytest.raises(StoreError) as refusal, lock(place):
            pass
        assert str(refusal.value) == (
            f"{place}: another process of mapopt writes here. Wait until it has ended, or choose another --out."
        )
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with lock(place):
        pass


def test_a_lock_leaves_nothing_behind(tmp_path: Path) -> None:
    with lock_folder(tmp_path / "a" / "b"), lock_file(tmp_path / "c" / "d.gif"):
        assert (tmp_path / "a" / "b").is_dir()
    assert list(tmp_path.iterdir()) == []


def test_what_was_written_under_a_lock_stays(tmp_path: Path) -> None:
    with lock_folder(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "result").touch()
    assert (tmp_path / "a" / "b" / "result").exists()


def test_what_a_killed_write_left_is_removed_under_the_lock(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "last.pt")], check=False)
    mine = tmp_path / ".mine"
    mine.touch()
    assert len(list(tmp_path.iterdir())) == 2
    with lock_folder(tmp_path):
        assert list(tmp_path.iterdir()) == [mine]


def test_files_of_one_folder_are_locked_one_by_one(tmp_path: Path) -> None:
    with lock_file(tmp_path / "a.gif"), lock_file(tmp_path / "b.gif"), lock_folder(tmp_path):
        lock = lock_file(tmp_path / "a.gif")
        with pytest.raises(StoreError, match=r"a\.gif: another process of mapopt writes here"):
            lock.__enter__()


def test_where_folders_cannot_be_locked_a_file_in_them_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flock = locks.fcntl.flock

    def of_files(handle: int, how: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(errno.EBADF, "Bad file descriptor")
        flock(handle, how)

    monkeypatch.setattr(locks.fcntl, "flock", of_files)
    with lock_folder(tmp_path):
        assert (tmp_path / LOCK_FILE).is_file()
        with pytest.raises(StoreError, match="another process of mapopt writes here"), lock_folder(tmp_path):
            pass


def test_what_cannot_be_locked_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StoreError, match=r"is a file, or lies below one\. Choose another --out\.$"),
        lock_folder(tmp_path / "file" / "below"),
    ):
        pass

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(locks.os, "open", full)
    with pytest.raises(StoreError, match=r"cannot be written \(No space left on device\)"), lock_folder(tmp_path):
        pass
