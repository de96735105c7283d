"""What commands share: devices by name, and the folder they write to."""

from pathlib import Path

import pytest
import torch

from mapopt.commands.command import Command, check_device, choose_device
from mapopt.commands.output import Output
from mapopt.errors import ConfigError, StoreError


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, expected in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert choose_device("auto") == torch.device(expected)
    assert choose_device("cpu") == torch.device("cpu")


def test_a_gpu_is_taken_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda") == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ConfigError, match="device is 'cuda:2', but there are 2 GPUs: expected cuda:0 to cuda:1"):
        choose_device("cuda:2")


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="device is 'cuda', but torch finds no GPU here: use --device cpu, or auto"):
        choose_device("cuda")
    for name in ("tpu", "cuda:", "cuda:x", "cpu:0", ""):
        with pytest.raises(ConfigError, match=f"unknown device '{name}'"):
            choose_device(name)


def test_threads_are_set_where_they_are_asked_for() -> None:
    before = torch.get_num_threads()
    try:
        choose_device("cpu", threads=2)
        assert torch.get_num_threads() == 2
        choose_device("cpu")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_command_that_says_nothing_of_it_keeps_nothing() -> None:
    assert Command().kept() == "Nothing was kept."
    assert Command(seed=3).settings() == Command(seed=3)
    with pytest.raises(NotImplementedError):
        Command().run()


def test_a_new_or_empty_folder_is_free(tmp_path: Path) -> None:
    Output(tmp_path, ("a.txt",)).check()
    Output(tmp_path / "new", ("a.txt",)).check()
    assert not (tmp_path / "new").exists()


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.txt").touch()
    with pytest.raises(StoreError, match=r"is not empty\. Give --overwrite to replace it, or another --out\.$"):
        Output(tmp_path, ("a.txt",)).check()
    output = Output(tmp_path, ("a.txt", "b.txt"), "b.txt")
    with pytest.raises(StoreError, match=r"is not empty\. Give --resume to go on with the run in it, --overwrite"):
        output.check()
    with pytest.raises(StoreError, match=r"holds no run to resume \(no b.txt\)\. Give the --out of the run\."):
        output.check(resume=True)
    (tmp_path / "b.txt").touch()
    output.check(resume=True)
    output.check(overwrite=True)
    with pytest.raises(ConfigError, match="--resume goes on with what is there and --overwrite replaces it"):
        output.check(resume=True, overwrite=True)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file: is a file\. Give --out a folder\."):
        Output(tmp_path / "file", ()).check(overwrite=True)


def test_only_what_the_command_writes_is_cleared(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for name in ("a.txt", ".a.txt.x1", "mine.txt", ".hidden", "pictures/1.jpg", "pictures/mine.png"):
        (tmp_path / name).touch()
    output = Output(tmp_path, ("a.txt", "pictures/*.jpg"))
    output.clear_unfinished()
    assert (tmp_path / "a.txt").exists()
    assert not (tmp_path / ".a.txt.x1").exists()
    output.clear()
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"mine.txt", ".hidden", "pictures/mine.png"}


def test_what_cannot_be_cleared_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(StoreError, match=r"a\.txt: cannot be removed \(.*\)\. Choose another --out\."):
        Output(tmp_path, ("a.txt",)).clear()


def test_a_device_is_checked_without_asking_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("asked"))
    for name in ("auto", "cpu", "cuda", "cuda:7"):
        check_device(name)
    with pytest.raises(ConfigError, match="unknown device 'tpu': did you mean 'cpu'"):
        check_device("tpu")
    with pytest.raises(ConfigError, match="threads is 0: expected 1 or more"):
        check_device("cpu", threads=0)
