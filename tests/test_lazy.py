"""Packages that import their names when they are asked for offer what a type checker is shown, and nothing else."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from pathlib import Path

import pytest

import mapopt

ROOT = Path(mapopt.__file__).parent
PACKAGES = sorted(
    ".".join(["mapopt", *path.parent.relative_to(ROOT).parts])
    for folder in (ROOT, ROOT / "envs", ROOT / "agents", ROOT / "experiments")
    for path in folder.rglob("__init__.py")
    if "= attach(" in path.read_text()
)


def _branches(package: str) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the modules that a package's names come from: for type checkers, and for Python."""
    file = importlib.import_module(package).__file__
    assert file is not None
    (branch,) = [node for node in ast.parse(Path(file).read_text()).body if isinstance(node, ast.If)]
    typed = {
        alias.asname or alias.name: node.module or ""
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    (call,) = [node for node in ast.walk(branch) if isinstance(node, ast.Call) and ast.unparse(node.func) == "attach"]
    return typed, ast.literal_eval(call.args[1])


@pytest.mark.parametrize("package", sorted(set(PACKAGES)))
def test_a_checker_and_python_are_shown_the_same_names(package: str) -> None:
    typed, table = _branches(package)
    assert typed == table
    module = importlib.import_module(package)
    assert sorted(table) == module.__all__
    for name in table:
        assert getattr(module, name) is getattr(importlib.import_module(table[name]), name)


@pytest.mark.parametrize("package", sorted(set(PACKAGES)))
def test_no_name_is_that_of_a_submodule(package: str) -> None:
    """Importing the submodule would put it in the name's place; unless it is the submodule that is meant."""
    module = importlib.import_module(package)
    others = {name for name, where in _branches(package)[1].items() if where != package}
    assert not {entry.name for entry in pkgutil.iter_modules(module.__path__)} & others
