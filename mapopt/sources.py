"""The source of the user's own parts: the file of a part's module, and the files of what that imports of their own.

An edited loss is another run, and so is a loss whose helper was edited. What is installed, and Python's own library,
is not followed. A part of an installed package, such as one of torch's optimizers, is known by its module and by the
hashes of all files that were installed with it.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator
from importlib import metadata
from importlib.metadata import packages_distributions
from pathlib import Path

_INSTALLED = tuple({str(Path(sysconfig.get_path(name)).resolve()) for name in ("purelib", "platlib", "stdlib")})


def module_hash(name: str) -> str:
    """Returns a hash of the files that a module is written in; empty for one without, and for one that is not there.

    Args:
        name: of the module, which need not be imported.
    """
    digests = [hashlib.sha256(content).hexdigest() for content in contents(name)]
    if len(digests) == 1:
        # What a part in a single file was known by when imports were not followed.
        return digests[0][:16]
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:16] if digests else ""


def contents(name: str) -> list[bytes]:
    """Returns what is in the files of a module; of an installed one also the list of what was installed with it."""
    files = source_files(name)
    read = [file.read_bytes() for file in files]
    return [*read, *_records(name)] if files and _is_installed(files[0]) else read


def source_files(name: str) -> list[Path]:
    """Returns the file of a module, first, and those of the user's own modules that it imports.

    Of a module that is installed, it is the first alone.
    """
    files: dict[str, Path] = {}
    waiting = [name]
    while waiting:
        module = waiting.pop(0)
        if module in files:
            continue
        file = _file_of(module)
        if file is None or (files and not _is_own(file, module)):
            continue
        files[module] = file
        if _is_installed(file):
            break
        waiting += sorted(set(_imports(file, module)) - files.keys())
    return list(dict.fromkeys(files.values()))


def _is_own(file: Path, module: str) -> bool:
    top = module.partition(".")[0]
    return top != "mapopt" and top not in sys.stdlib_module_names and not _is_installed(file)


def _is_installed(file: Path) -> bool:
    return any(str(file).startswith(place) for place in _INSTALLED)


def _records(name: str) -> Iterator[bytes]:
    """Yields the list of files, with hashes, of every distribution that an installed module may be from."""
    top = name.partition(".")[0]
    # Of ours nothing is followed: what code computes a run is kept beside it.
    for distribution in sorted(set(packages_distributions().get(top, []))) if top != "mapopt" else ():
        known = metadata.distribution(distribution)
        yield (known.read_text("RECORD") or known.version).encode()


def _file_of(module: str) -> Path | None:
    """Returns the Python file of a module; None for one without, and for one that is not there."""
    place = getattr(sys.modules.get(module), "__file__", None)
    if place is None and module not in sys.modules:
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError, AttributeError):
            return None
        place = None if spec is None or not spec.has_location else spec.origin
    file = Path(place).resolve() if place else None
    return file if file is not None and file.suffix == ".py" and file.is_file() else None


def _imports(file: Path, module: str) -> Iterator[str]:
    """Yields the names of modules that a file may import, wherever in it that stands."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return
    parts = module.split(".")
    inside = parts if file.name == "__init__.py" else parts[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (part for alias in node.names for part in _with_parents(alias.name))
        elif isinstance(node, ast.ImportFrom):
            above = inside[: len(inside) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            if base:
                yield from _with_parents(base)
                yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")


def _with_parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: count + 1]) for count in range(len(parts))]
