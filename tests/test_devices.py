"""Devices by name: which there are, and which are not on this machine."""

import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import torch

from mapopt import devices
from mapopt.devices import check_device, choose_device
from mapopt.errors import ConfigError


@pytest.fixture(autouse=True)
def build(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lets torch be built for GPUs, whichever is installed; returns the file that says so."""
    (tmp_path / "version.py").write_text("cuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n")
    spec = ModuleSpec("torch", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    return tmp_path / "version.py"


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ("cuda: Optional[str] = None\nhip: Optional[str] = None\nxpu: Optional[str] = None\n", True),
        ("cuda = None\nhip = None\n", True),
        ("cuda = None\nhip: Optional[str] = '6.4'\n", False),
        ("cuda: Optional[str] = '13.0'\nhip = None\n", False),
        ("cuda = None\n", False),
        ("", False),
    ],
)
def test_a_gpu_is_refused_at_once_where_torch_is_built_for_none(
    said: str, refused: bool, build: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build.write_text(said)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("asked"))
    check_device("cpu")
    check_device("auto")
    if not refused:
        check_device("cuda")
        return
    with pytest.raises(
        ConfigError, match=r"device is 'cuda:1', but the torch that is installed here is built for CPUs"
    ):
        check_device("cuda:1")


def test_a_torch_that_says_nothing_of_how_it_was_built_is_asked_later(
    build: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build.unlink()
    check_device("cuda")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    check_device("cuda")
    monkeypatch.undo()
    assert devices._is_built_for_cpus() == (torch.version.cuda is None and torch.version.hip is None)


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


def test_a_device_is_checked_without_asking_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("asked"))
    for name in ("auto", "cpu", "cuda", "cuda:7"):
        check_device(name)
    with pytest.raises(ConfigError, match="unknown device 'tpu': did you mean 'cpu'"):
        check_device("tpu")
    with pytest.raises(ConfigError, match="threads is 0: expected a whole number from 1 to 1024"):
        check_device("cpu", threads=0)
