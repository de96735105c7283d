"""How inner loops are compiled, by numba and once on a machine, and how they are loaded where they are first needed.

Importing numba costs 0.4 s, so a module of compiled functions is imported by nobody at the top: `load_kernels` does it.
Floating point stays strict (no fastmath), so that a compiled loop gives the bits that its plain twin gives.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import pickle
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, cast

from mapopt.native import Native, folder_of

Loading = Literal["in use", "read", "compile"]
"""What stands between a process and a native function: nothing but its own file where that is an image, or llvmlite is
imported already; that import where it is not; or compiling."""

_STARTED = "llvmlite.binding"
"""What loads machine code."""

_missing: dict[str, str] = {}
"""Modules that could not be loaded, and why: it is tried once, because a failing import searches the disk."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles at the first call and keeps the result on disk, where a folder can be written at all."""
    import numba

    try:
        dispatcher: Any = numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # numba found no folder for its cache
        return numba.njit(function, nogil=True)
    with suppress(AttributeError):  # a numba that keeps it elsewhere
        _keep_apart(dispatcher._cache._cache_file, Path(inspect.getfile(function)))
    return cast(Callable[..., Any], dispatcher)


def _keep_apart(file: Any, source: Path) -> None:
    """Makes numba keep every signature of a function in a file of its own, whose name says what it was made of.

    numba numbers these files, keeps an index beside them and compares the times of the function's own file alone. A
    process that is killed between both, two that write at once, or a change of a function that is called from another
    file leave machine code to be found under the wrong signature or of a former source, and wrong numbers with it.

    Args:
        file: numba's `IndexDataCacheFile` of the function.
        source: the file that the function is in.
    """
    folder, start = Path(file._cache_path), file._index_name.removesuffix(".nbi")

    def path_of(key: object) -> Path:
        made_of = f"{file._version} {_sources(source)} {key!r}"
        return folder / f"{start}.{hashlib.sha256(made_of.encode()).hexdigest()[:20]}.nbc"

    def save(key: object, data: object) -> None:
        place = path_of(key)
        for old in folder.glob(f"{start}.*.nbc"):
            with suppress(FileNotFoundError):  # another process was here first
                if old.stat().st_mtime < source.stat().st_mtime:
                    old.unlink()
        content = file._dump(data)
        # On a full disk it is compiled again next time.
        with suppress(OSError), file._open_for_write(str(place)) as written:
            written.write(hashlib.sha256(content).digest() + content)

    def load(key: object) -> object:
        try:
            stored = path_of(key).read_bytes()
        except OSError:
            return None
        check, content = stored[:32], stored[32:]
        return pickle.loads(content) if hashlib.sha256(content).digest() == check else None

    file.save, file.load = save, load


@cache
def _sources(source: Path) -> str:
    """Returns a hash of a file and of all kernels in its folder and of ours: they call each other across files."""
    ours = Path(__file__).parent.rglob("*kernels.py")
    files = sorted({source, *source.parent.glob("*kernels.py"), *ours})
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def loading(module: str, function: str) -> Loading:
    """Says what loading a module of native functions will cost, without importing anything.

    Args:
        module: its name.
        function: the one of them that takes longest to compile.
    """
    if not _on_disk(module, function, "o"):
        return "compile"
    return "in use" if _STARTED in sys.modules or _on_disk(module, function, "image") else "read"


@cache
def _on_disk(module: str, function: str, kind: str) -> bool:
    """Whether machine code of a function was kept on disk since its file was last changed, as files of a kind."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return False
    source = Path(spec.origin)
    kept = folder_of(source).glob(f"{source.stem}.{function}-*.{kind}")
    return any(file.stat().st_mtime >= source.stat().st_mtime for file in kept)


def load_kernels(module: str) -> ModuleType | None:
    """Imports a module of compiled functions by its name; returns None where numba is missing or does not work."""
    if module in _missing:
        return None
    try:
        loaded = importlib.import_module(module)
        for function in vars(loaded).values():
            if isinstance(function, Native):
                function.load()
        return loaded
    except ImportError as error:  # numba says so too when it does not know this numpy
        _missing[module] = str(error)
        return None


def why_missing(module: str) -> str:
    """Returns what `load_kernels` met when it could not load a module; empty if it could, or did not try."""
    return _missing.get(module, "")
