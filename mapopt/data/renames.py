"""Renames categories and leaves some out, as a file says: for sets that call the same thing by two names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mapopt.data.annotations import Annotations, number_of
from mapopt.data.files import read_text
from mapopt.documents import parse_yaml
from mapopt.errors import ConfigError, DataError, shown, unknown_name

Renames = Mapping[str, Any]
"""Old name -> new name, or None (in a file: nothing, ``null`` or ``~``) to leave the category out; for all sources, or
the name of a source -> such names for it alone."""


def read_renames(renames: str | Path | Renames | None) -> dict[str, Any]:
    """Returns renames of a YAML file, in which every name is a text as it is written.

    Raises:
        ConfigError: something is no name.
        DataError: the file cannot be read or is no YAML.
    """
    if renames is None:
        return {}
    where = "renames"
    if isinstance(renames, str | Path):
        where = str(renames)
        renames = parse_yaml(read_text(renames), where, error=DataError, texts=True)
    if not isinstance(renames, Mapping):
        raise ConfigError(f"{where} is {shown(renames)}: expected old names with new names")
    return {str(name): _name(value, f"{where}: {name}") for name, value in renames.items()}


def check_renames(renames: Mapping[str, Any], sources: Mapping[str, Sequence[str]]) -> None:
    """Raises an error where a rename names neither a source nor a category.

    Args:
        renames: as `read_renames` returns them.
        sources: the categories of each source.

    Raises:
        ConfigError: as said.
    """
    every = {name for names in sources.values() for name in names}
    for name, value in renames.items():
        if isinstance(value, Mapping):
            if name not in sources:
                raise ConfigError(f"renames: {unknown_name('source', name, sources)}")
            for inner in value:
                if inner not in sources[name]:
                    raise ConfigError(f"renames of {name}: {unknown_name('category', inner, sources[name], limit=8)}")
        elif name not in every:
            raise ConfigError(f"renames: {unknown_name('category', name, every, limit=8)}")


def renamed(notes: Annotations, renames: Mapping[str, Any], source: str) -> tuple[Annotations, list[str]]:
    """Returns a set of a source with other names of categories, and what was left out or put together.

    Raises:
        DataError: no category is left.
    """
    table = {name: value for name, value in renames.items() if not isinstance(value, Mapping)}
    own = renames.get(source)
    table |= own if isinstance(own, Mapping) else {}
    new = [table.get(name, name) for name in notes.category_names]
    names = list(dict.fromkeys(name for name in new if name is not None))
    if not names:
        raise DataError(f"{source}: the renames leave out every category. Keep at least one.")
    places = np.array([-1 if name is None else names.index(name) for name in new], dtype=np.int64)
    kept = places[notes.labels] >= 0
    remarks = []
    for name in names:
        together = [old for old, now in zip(notes.category_names, new, strict=True) if now == name]
        if len(together) > 1:
            remarks.append(f"{' and '.join(together)} are {name} now.")
    if not kept.all():
        out = [old for old, now in zip(notes.category_names, new, strict=True) if now is None]
        remarks.append(f"{number_of(int((~kept).sum()), 'object', 'objects')} of {', '.join(out)} left out.")
    firsts = [new.index(name) for name in names]
    subset = notes.keep(kept)
    changed = replace(
        subset,
        category_names=tuple(names),
        category_ids=notes.category_ids[firsts],
        labels=places[subset.labels],
    )
    return changed, remarks


def _name(value: Any, where: str) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _name(inner, f"{where}.{name}") for name, inner in value.items()}
    if value is None or value in ("", "~", "null"):
        return None
    if not isinstance(value, str):
        raise ConfigError(f"{where} is {shown(value)}: expected a name, or null to leave the category out")
    return value
