"""Packages whose names are imported when they are asked for, so that a command's flags are read without torch.

A package's ``__init__`` names its parts twice: as imports for type checkers, which run nothing, and as a table for
Python. A test holds the two together. ``from package import name`` works as ever.

    if TYPE_CHECKING:
        from mapopt.data.images import ImageSet as ImageSet
    else:
        __getattr__, __dir__, __all__ = attach(__name__, {"ImageSet": "mapopt.data.images"})
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def attach(package: str, names: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Returns a package's ``__getattr__``, ``__dir__`` and ``__all__`` (PEP 562).

    Args:
        package: its ``__name__``.
        names: what it offers, and the module that each is in; a submodule is in the package itself. Another name must
            not be that of a submodule: importing the submodule would put it in the name's place.

    >>> get, _, offered = attach("mapopt", {"ConfigError": "mapopt.errors"})
    >>> get("ConfigError").__name__, offered
    ('ConfigError', ['ConfigError'])
    """

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if names[name] == package:
            return importlib.import_module(f"{package}.{name}")
        value = getattr(importlib.import_module(names[name]), name)
        # From now on the name is found without asking here.
        setattr(sys.modules[package], name, value)
        return value

    def listing() -> list[str]:
        return sorted({*vars(sys.modules[package]), *names})

    return get, listing, sorted(names)
