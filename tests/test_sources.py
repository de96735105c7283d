"""The files that a part of the user's own is written in: its module, and what that imports of the user's own."""

from __future__ import annotations

import importlib
import sys
from importlib import metadata
from pathlib import Path

import pytest

from mapopt.sources import contents, module_hash, source_files


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module, a helper, and a package."""
    (tmp_path / "own_part.py").write_text("import json\nimport numpy\nimport mapopt\nfrom own_helper import f\n")
    (tmp_path / "own_helper.py").write_text("def f():\n    from own_package.inner import g\n    return g\n")
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "__init__.py").write_text("")
    (tmp_path / "own_package" / "inner.py").write_text("from . import beside\n\n\ndef g():\n    return beside\n")
    (tmp_path / "own_package" / "beside.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.startswith("own_")]:
        monkeypatch.delitem(sys.modules, name)
    importlib.invalidate_caches()
    return tmp_path


@pytest.mark.parametrize("imported", [False, True])
def test_a_part_is_its_module_and_what_that_imports_of_ones_own(imported: bool, place: Path) -> None:
    if imported:
        importlib.import_module("own_part")
    files = source_files("own_part")
    assert files[0] == place / "own_part.py"
    assert {str(path.relative_to(place)) for path in files} == {
        *("own_part.py", "own_helper.py"),
        *("own_package/__init__.py", "own_package/inner.py", "own_package/beside.py"),
    }


@pytest.mark.parametrize("name", ["own_part.py", "own_helper.py", "own_package/beside.py"])
def test_an_edit_in_any_of_them_is_another_source(name: str, place: Path) -> None:
    before = module_hash("own_part")
    assert module_hash("own_part") == before
    (place / name).write_text((place / name).read_text() + "# edited\n")
    assert module_hash("own_part") != before


@pytest.mark.parametrize("name", ["numpy.random", "torch.optim"])
def test_an_installed_part_is_its_module_and_what_was_installed_with_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [file.name for file in source_files(name)] == ["__init__.py"]
    before = module_hash(name)
    assert len(contents(name)) == 2
    read = metadata.PathDistribution.read_text

    def edited(self: metadata.Distribution, filename: str) -> str:
        return (read(self, filename) or "") + "more.py,sha256=0,1\n"

    monkeypatch.setattr(metadata.PathDistribution, "read_text", edited)
    assert module_hash(name) != before


def test_modules_without_a_file_have_no_source() -> None:
    assert module_hash("sys") == ""
    assert module_hash("nowhere_at_all") == ""
    assert len(source_files("mapopt.errors")) == 1, "of ours nothing is followed: that is what CODE is for"
