"""The file in which a search leaves what it chose, for the comparison to read: nothing has to be pasted.

It lies with the runs, as OUT/EXPERIMENT/searched.yaml, or beside a configuration, as NAME.searched.yaml, so that the
configuration keeps its comments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from mapopt.errors import ConfigError
from mapopt.experiments.searching.settings import Searched
from mapopt.files import write_text
from mapopt.settings import from_mapping, load_settings, to_mapping

NAME = "searched.yaml"
VERSION = 1

Chosen = Mapping[str, Mapping[str, Searched]]
"""Task -> method -> what was chosen."""


@dataclass(frozen=True, kw_only=True)
class _Content:
    """What such a file holds."""

    version: int
    searched: dict[str, dict[str, Searched]]
    best_of_each: dict[str, dict[str, Searched]] = field(default_factory=dict)
    """Where a setting is calibrated across tasks: what would have been chosen for each alone. Nobody reads it."""


def path_beside(config: str | Path) -> Path:
    """Returns where the file of a configuration file is.

    >>> str(path_beside("configs/mine.yaml"))
    'configs/mine.searched.yaml'
    """
    return Path(config).with_suffix(f".{NAME}")


def read_searched(path: Path) -> dict[str, dict[str, Searched]]:
    """Returns what was chosen.

    Raises:
        ConfigError: the file cannot be read, or is of another version.
    """
    return _read(path).searched


def write_searched(path: Path, chosen: Chosen, best_of_each: Chosen, *, command: str) -> None:
    """Writes what was chosen, beside what the file holds of other tasks and methods.

    Args:
        path: of the file.
        chosen: what the comparison reads.
        best_of_each: what was the best of each task where one setting was chosen for all.
        command: that searched.

    Raises:
        ConfigError: there is a file that cannot be read.
        StoreError: it cannot be written.
    """
    before = _read(path) if path.is_file() else _Content(version=VERSION, searched={})
    content = to_mapping(
        _Content(
            version=VERSION,
            searched=_merged(before.searched, chosen),
            best_of_each=_merged(before.best_of_each, best_of_each),
        )
    )
    lines = [
        f"# Written by `{command}`, read by `mapopt compare`; a section `searched` of the configuration goes before.",
        f"version: {content['version']}",
    ]
    for section in ("searched", "best_of_each"):
        if content[section]:
            lines += [f"{section}:", *_lines(content[section])]
    write_text(path, "\n".join(lines) + "\n")


def _merged(before: Chosen, added: Chosen) -> dict[str, dict[str, Searched]]:
    return {task: {**before.get(task, {}), **added.get(task, {})} for task in dict.fromkeys([*before, *added])}


def _lines(section: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Returns a section's text, with a line for every method of every task."""
    lines = []
    for task, by_method in section.items():
        lines.append(f"  {_key(task)}:")
        for method, content in by_method.items():
            text = yaml.safe_dump(content, sort_keys=False, default_flow_style=True, width=10**6)
            lines.append(f"    {_key(method)}: {text.strip()}")
    return lines


def _key(name: str) -> str:
    """Returns a name as YAML reads it back as a text."""
    return name if yaml.safe_load(name) == name else f"'{name}'"


def _read(path: Path) -> _Content:
    content: _Content = from_mapping(_Content, load_settings(path), str(path))
    if content.version != VERSION:
        raise ConfigError(f"{path}: is of version {content.version}: expected {VERSION}; run `mapopt search` again")
    return content
