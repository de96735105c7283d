"""How the packages stand to each other: who may import whom, what is installed, and what an import costs."""

import ast
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = {"mapopt": "mapopt", "envs": "mapopt.envs", "agents": "mapopt.agents", "experiments": "mapopt.experiments"}
"""Top-level folders, and what they are installed as."""

LINKS = {
    "src/mapopt": "../mapopt",
    "mapopt/envs": "../envs",
    "mapopt/agents": "../agents",
    "mapopt/experiments": "../experiments",
}
"""The links that make one package of the folders, all relative, and where they lead."""

LAYERS = {
    "mapopt.errors": 0,
    "mapopt.bounds": 0,
    "mapopt.collectives": 0,
    "mapopt.compiling": 0,
    "mapopt.devices": 0,
    "mapopt.documents": 0,
    "mapopt.ffmpeg": 0,
    "mapopt.fields": 0,
    "mapopt.files": 0,
    "mapopt.former_names": 0,
    "mapopt.lazy": 0,
    "mapopt.locks": 0,
    "mapopt.machine_code": 0,
    "mapopt.native": 0,
    "mapopt.output": 0,
    "mapopt.passes": 0,
    "mapopt.paths": 0,
    "mapopt.processes": 0,
    "mapopt.registry": 0,
    "mapopt.settings": 0,
    "mapopt.sources": 0,
    "mapopt.stopwatch": 0,
    "mapopt.trackers": 0,
    "mapopt.vectors": 0,
    "mapopt.waiting": 0,
    "mapopt.weights": 0,
    "mapopt.wording": 0,
    "mapopt.losses": 1,
    "mapopt.metrics": 1,
    "mapopt.postprocessing": 2,
    "mapopt.data": 2,
    "mapopt.detectors": 3,
    "mapopt.training": 4,
    "mapopt.evaluation": 5,
    "mapopt.verbs": 5,
    "mapopt.drawing": 6,
    "mapopt.commands": 7,
    "mapopt.envs": 7,
    "mapopt.agents": 9,
    "mapopt.experiments": 10,
    "mapopt": 11,
    "mapopt.cli": 12,
    "mapopt.__main__": 13,
}
"""A module imports from its own part and from those of a smaller number.

Parts of one number are strangers: losses and metrics; post-processing and data; the commands and the environments.
"""

STRANGERS = [("mapopt.envs.detector_training", "mapopt.envs.post_processing")]
"""Pairs of packages of which neither imports the other, though they lie in one part."""


def modules() -> Iterator[tuple[str, Path]]:
    """Yields the installed name and the file of every module."""
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            inner = path.relative_to(ROOT / folder).with_suffix("").parts
            yield ".".join([package, *(part for part in inner if part != "__init__")]), path


def part_of(module: str) -> str:
    """Returns the part that a module belongs to."""
    fitting = [part for part in LAYERS if module == part or (part != "mapopt" and module.startswith(f"{part}."))]
    if not fitting:
        raise AssertionError(f"{module} belongs to no part: add it to LAYERS, and to the design")
    return max(fitting, key=len)


def imports_of(path: Path, module: str) -> set[str]:
    """Returns the modules of ours that a file imports, wherever in it."""
    imported_names: set[str] = set()
    known = {name for name, _ in MODULES}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported_names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            base = node.module or ""
            names = {f"{base}.{alias.name}" for alias in node.names}
            imported_names |= {name if name in known else base for name in names}
    top = {name.split(".")[0] for name in imported_names}
    assert not top & {"envs", "agents", "experiments"}, f"{path}: import mapopt.envs and the like, never envs"
    return {name for name in imported_names if name.split(".")[0] == "mapopt"} - {module}


MODULES = list(modules())


@pytest.mark.parametrize(("module", "path"), MODULES, ids=[name for name, _ in MODULES])
def test_imports_point_one_way(module: str, path: Path) -> None:
    ours = part_of(module)
    for imported in imports_of(path, module):
        theirs = part_of(imported)
        if ours != theirs and LAYERS[ours] == LAYERS[theirs] == 0:
            continue
        assert ours == theirs or LAYERS[theirs] < LAYERS[ours], f"{module} imports {imported}"


@pytest.mark.parametrize(("first", "second"), STRANGERS)
def test_strangers_do_not_import_each_other(first: str, second: str) -> None:
    for ours, theirs in ((first, second), (second, first)):
        for module, path in MODULES:
            if module == ours or module.startswith(f"{ours}."):
                met = {name for name in imports_of(path, module) if name == theirs or name.startswith(f"{theirs}.")}
                assert not met, f"{module} imports {met}"


def test_no_import_goes_in_a_circle() -> None:
    graph = {module: imports_of(path, module) - {module} for module, path in MODULES}
    done: set[str] = set()
    trail: list[str] = []

    def visit(module: str) -> None:
        assert module not in trail, " -> ".join([*trail[trail.index(module) :], module])
        if module in done:
            return
        trail.append(module)
        for imported in sorted(graph.get(module, ())):
            visit(imported)
        trail.pop()
        done.add(module)

    for module in sorted(graph):
        visit(module)


def imports_when_imported(path: Path) -> set[str]:
    """Returns the modules that a file imports when it is imported itself: not inside functions, nor for checkers."""

    def visit(nodes: Sequence[ast.stmt]) -> Iterator[str]:
        for node in nodes:
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from (node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names))
            elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                yield from visit(node.orelse)
            elif isinstance(node, ast.If | ast.Try | ast.With):
                yield from visit([*node.body, *getattr(node, "orelse", [])])

    return set(visit(ast.parse(path.read_text()).body))


def test_matplotlib_is_imported_in_the_drawing_package_alone() -> None:
    for module, path in MODULES:
        if not module.startswith("mapopt.drawing."):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                assert not any(name.split(".")[0] == "matplotlib" for name in names), module


def test_what_imports_matplotlib_is_imported_only_to_draw() -> None:
    drawing = {
        module for module, path in MODULES
        if any(name.split(".")[0] == "matplotlib" for name in imports_when_imported(path))
    }  # fmt: skip
    assert "mapopt.drawing.pages" in drawing
    for module, path in MODULES:
        met = imports_when_imported(path) & drawing
        assert not met or module.startswith("mapopt.drawing."), f"{module} imports {met}: do so inside a function"


def test_the_bottom_is_flat() -> None:
    reading = {"mapopt.errors", "mapopt.documents", "mapopt.paths"}
    below = {
        "mapopt.errors": set(),
        "mapopt.compiling": {"mapopt.native"},
        "mapopt.devices": {"mapopt.bounds", "mapopt.errors"},
        "mapopt.files": reading,
        "mapopt.locks": {"mapopt.errors", "mapopt.files"},
        "mapopt.native": {"mapopt.machine_code"},
        "mapopt.output": {"mapopt.errors", "mapopt.locks"},
        "mapopt.registry": {"mapopt.errors", "mapopt.settings"},
        "mapopt.settings": reading | {"mapopt.fields"},
        "mapopt.weights": {"mapopt.errors", "mapopt.files", "mapopt.paths"},
        "mapopt.waiting": {"mapopt.stopwatch"},
        "mapopt.passes": {"mapopt.stopwatch", "mapopt.waiting"},
    }
    for module, path in MODULES:
        if LAYERS[part_of(module)] == 0:
            assert imports_of(path, module) <= below.get(module, {"mapopt.errors"}), module


def test_every_folder_that_is_a_package_is_installed() -> None:
    there = {module for module, path in MODULES if path.name == "__init__.py"}
    assert set(SETTINGS["tool"]["setuptools"]["packages"]) == there


def test_no_folder_of_code_lacks_its_init() -> None:
    for _, path in MODULES:
        assert (path.parent / "__init__.py").is_file(), path


def test_links_put_the_folders_where_they_are_imported() -> None:
    """A link that git wrote as a plain file (`core.symlinks` off) fails here, as it does in a build."""
    assert SETTINGS["tool"]["setuptools"]["package-dir"] == {"": "src"}
    for folder, package in FOLDERS.items():
        assert (ROOT / "src").joinpath(*package.split(".")).resolve() == ROOT / folder
    links = sorted(path for top in ("src", *FOLDERS) for path in (ROOT / top).rglob("*") if path.is_symlink())
    assert {path.relative_to(ROOT).as_posix(): path.readlink().as_posix() for path in links} == LINKS


@pytest.mark.parametrize("module", ["mapopt", "mapopt.cli", "mapopt.settings"])
def test_importing_the_library_is_light(module: str) -> None:
    heavy = ("torch", "torchvision", "gymnasium", "stable_baselines3", "matplotlib", "tyro", "rich")
    code = f"import sys, {module}; print(*[name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    "module",
    ["mapopt.drawing", "mapopt.evaluation.printed", "mapopt.experiments.reporting.figures", "mapopt.commands.evaluate"],
)
def test_matplotlib_waits_for_something_to_draw(module: str) -> None:
    code = f"import sys, {module}; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.split() == ["False"]


@pytest.mark.slow
def test_training_needs_neither_agents_nor_figures() -> None:
    unwanted = ("gymnasium", "stable_baselines3", "matplotlib", "pandas")
    code = f"import sys, mapopt.training.session; print(*[name for name in {unwanted} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.split() == []


@pytest.mark.slow
def test_wheel_and_source_distribution_hold_the_package_once_and_nothing_beside_it(tmp_path: Path) -> None:
    pytest.importorskip("build", reason="the wheel is made by the package `build`")
    pytest.importorskip("setuptools", reason="the wheel is made by setuptools, which this environment lacks")
    source = tmp_path / "source"
    for folder in (*FOLDERS, "src"):
        unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / folder, source / folder, symlinks=True, ignore=unwanted)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    # without --wheel: the source distribution first, and the wheel from that
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, "PIP_NO_INDEX": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"mapopt", f"mapopt-{SETTINGS['project']['version']}.dist-info"}
    expected = set()
    for folder, package in FOLDERS.items():
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".yaml", ".json", ".safetensors", ".npz", ".typed") and path.is_file():
                expected.add(f"{package.replace('.', '/')}/{path.relative_to(ROOT / folder).as_posix()}")
    assert expected <= set(names), sorted(expected - set(names))
    assert len(names) == len(set(names))
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as packed:
        members = packed.getmembers()
    assert all(member.isfile() or member.isdir() for member in members), "a link in the source distribution"
    inner = [member.name.split("/", 1)[-1] for member in members if member.isfile()]
    code = {name.removeprefix("src/") for name in inner if name.endswith(".py") and not name.startswith("tests/")}
    assert code == {name for name in names if name.endswith(".py")}, "the source distribution holds every file once"
    assert len([name for name in inner if name.endswith("envs/sb3.py")]) == 1
