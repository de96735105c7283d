"""Compiled functions are kept as machine code, and loaded without numba."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from mapopt.machine_code import here
from mapopt.native import folder_of

pytestmark = pytest.mark.skipif(not find_spec("numba"), reason="numba is not installed")

MODULE = """
import numpy as np
from mapopt.native import native


def twice(row):
    for i in range(len(row)):
        row[i] *= 2


@native("f8[:,:] i8[:] b1[:] i8", helpers=[twice])
def work(out, places, chosen, offset):
    total = 0
    for i in range(len(places)):
        if chosen[i]:
            total += places[i]
            twice(out[i])
    return total + offset


@native("i8")
def hoard(size):
    return len(np.zeros(size))


@native("i8[:] i8")
def refuse(values, place):
    if place >= len(values):
        raise IndexError("out of range")
    return values[place]
"""

WORK = """
import sys, numpy as np, made
out = np.ones((3, 2))
total = made.work(out, np.array([1, 2, 4]), np.array([True, False, True]), 10)
print(total, out[:, 1].tolist(), *(name for name in ("llvmlite", "numba") if name in sys.modules))
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Returns what a script prints in a process of its own, beside the module."""
    (tmp_path / "made.py").write_text(MODULE)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "kept"))

    def run_script(script: str) -> str:
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run_script


def test_a_function_is_compiled_once_and_then_loaded_without_numba(run, tmp_path: Path) -> None:
    assert run(WORK) == "15 [2.0, 1.0, 2.0] llvmlite numba"
    kinds = ["o", "image"] if here() else ["o"]
    for kind in kinds:
        assert [file.name.split("-")[0] for file in (tmp_path / "kept").glob(f"*.{kind}")] == ["made.work"]
    assert run(WORK) == ("15 [2.0, 1.0, 2.0]" if here() else "15 [2.0, 1.0, 2.0] llvmlite")


@pytest.mark.skipif(not here(), reason="images are made on Linux and x86-64 only")
def test_an_image_that_is_broken_or_cannot_be_run_is_left_to_llvmlite(run, tmp_path: Path) -> None:
    run(WORK)
    (file,) = (tmp_path / "kept").glob("*.image")
    whole = file.read_bytes()
    for broken in (whole[:-1], b"", b"one line", whole.replace(b"entry", b"other")):
        file.write_bytes(broken)
        assert run(WORK) == "15 [2.0, 1.0, 2.0] llvmlite"
        assert file.read_bytes() == whole
    refused = "import mapopt.machine_code\ndef refuse(*_): raise OSError('no memory to execute')\n"
    assert run(f"{refused}mapopt.machine_code.Image.place = refuse\n{WORK}") == "15 [2.0, 1.0, 2.0] llvmlite"
    elsewhere = "import mapopt.native\nmapopt.native.here = lambda: False\n"
    assert run(elsewhere + WORK) == "15 [2.0, 1.0, 2.0] llvmlite"


@pytest.mark.skipif(not here(), reason="images are made on Linux and x86-64 only")
def test_an_image_of_another_processor_or_package_is_not_taken(run) -> None:
    run(WORK)
    other = "import mapopt.native\nmapopt.native._made_by = lambda: ('another',)\n"
    assert run(other + WORK) == "15 [2.0, 1.0, 2.0] llvmlite"
    assert run(other + WORK) == "15 [2.0, 1.0, 2.0]"


def test_what_is_broken_on_disk_or_made_of_another_source_is_compiled_anew(run, tmp_path: Path) -> None:
    run(WORK)
    (file,) = (tmp_path / "kept").glob("*.o")
    whole = file.read_bytes()
    for broken in (whole[:-1], b"", b"one line"):
        for image in (tmp_path / "kept").glob("*.image"):
            image.unlink()
        file.write_bytes(broken)
        assert run(WORK) == "15 [2.0, 1.0, 2.0] llvmlite numba"
        assert hashlib.sha256(file.read_bytes()).digest() == hashlib.sha256(whole).digest()
    (tmp_path / "made.py").write_text(MODULE.replace("*= 2", "*= 3"))
    assert run(WORK) == "15 [3.0, 1.0, 3.0] llvmlite numba"
    assert len(list((tmp_path / "kept").glob("*.o"))) == 1
    assert len(list((tmp_path / "kept").glob("*.image"))) <= 1


def test_a_function_that_allocates_works_but_is_not_kept(run, tmp_path: Path) -> None:
    assert run("import made; print(made.hoard(7))") == "7"
    assert not list((tmp_path / "kept").glob("*.o"))


def test_inputs_of_another_type_or_order_are_taken_and_failure_is_an_error(run) -> None:
    script = "import numpy as np, made; print(made.refuse(np.arange(9, dtype=np.int16)[::-2], {}))"
    assert run(script.format(1)) == "6"
    failing = f"""
try:
    {script.format(9)}
except RuntimeError as error:
    print(error)
"""
    assert run(failing) == "refuse failed"


def test_a_folder_that_cannot_be_written_is_no_obstacle(run, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file, not a folder")
    assert run(WORK) == "15 [2.0, 1.0, 2.0] llvmlite numba"


def test_code_is_kept_where_it_can_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = tmp_path / "made.py"
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/chosen")
    assert folder_of(source) == Path("/chosen")
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    assert folder_of(source) == tmp_path / "__pycache__"
    monkeypatch.setattr("os.access", lambda path, mode: False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert folder_of(source) == Path("/cache/mapopt")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert folder_of(source) == Path.home() / ".cache" / "mapopt"
