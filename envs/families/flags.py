"""The flags of every family, made from the families' own fields and their docstrings: a new family needs no table here.

Only torch-free modules are imported, so that flags are read and help is printed at once.
"""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from mapopt.documents import parse_yaml
from mapopt.envs.families.registry import FAMILIES, make_family
from mapopt.errors import ConfigError
from mapopt.fields import field_docs

if TYPE_CHECKING:
    from mapopt.envs.families.base import InstanceFamily

_DATA_FAMILY = "from-data"

_NO_FLAG = ("split", "path", "budgets", "members")
"""What a command decides, what --data gives, and what is for the library or for --family.settings."""

_NAME_HELP = f"{', '.join(FAMILIES)}, or module:attribute for one of your own."
_SETTINGS_HELP = "Settings of a family of your own, as names with values: --family.settings variety 0.5."


@dataclass(frozen=True, kw_only=True)
class FamilyChoice:
    """A family by its name, with what all families' flags have."""

    name: str = field(default="shapes", metadata={"help": _NAME_HELP})
    settings: dict[str, int | float | bool | str] = field(default_factory=dict, metadata={"help": _SETTINGS_HELP})

    def make(self, data: Path | None = None, *, split: str = "train") -> InstanceFamily:
        """Makes the family.

        Args:
            data: the data set of from-data.
            split: whether its instances are for training an agent or for evaluating it.

        Raises:
            ConfigError: the name is unknown, a setting is out of its range or not one of this family, or `data` and
                the family do not belong together.
            DataError: the data cannot be used.
        """
        FAMILIES.check_name(self.name)
        if (data is not None) != (self.name == _DATA_FAMILY):
            raise ConfigError(
                f"--family is {self.name}: --family {_DATA_FAMILY} and --data PATH belong together, give both"
            )
        family = FAMILIES.find(self.name)
        known = _fields_of(family)
        given: dict[str, Any] = {} if data is None else {"path": data}
        for flag in dataclasses.fields(self):
            value = getattr(self, flag.name)
            if flag.name in ("name", "settings") or value == _default(flag):
                continue
            if flag.name not in known:
                raise ConfigError(
                    f"--family.{flag.name.replace('_', '-')} is given, but --family {self.name} has no such setting: "
                    "leave it out"
                )
            given[flag.name] = value
        given |= {name: _read(value, known.get(name)) for name, value in self.settings.items()}
        made: InstanceFamily = make_family(self.name, **given, split=split)
        return made


def make_flags() -> type[FamilyChoice]:
    """Returns the dataclass of all families' flags; those left open are the family's own defaults."""
    families = dict(FAMILIES)
    by_field: dict[str, list[str]] = {}
    hints: dict[str, Any] = {}
    helps: dict[str, str] = {}
    for name, family in families.items():
        types, texts = get_type_hints(family), dict(field_docs(family))
        for known in dataclasses.fields(family):
            if known.name not in _NO_FLAG:
                by_field.setdefault(known.name, []).append(name)
                hints.setdefault(known.name, types[known.name])
                helps.setdefault(known.name, texts.get(known.name, ""))
    columns: list[tuple[str, Any, Any]] = []
    for name, having in by_field.items():
        section = dataclasses.is_dataclass(hints[name])
        text = {"help": f"{_whose(having, list(families))}{helps[name]}"}
        columns.append(
            (name, hints[name], field(default_factory=hints[name], metadata=text))
            if section
            else (name, hints[name] | None, field(default=None, metadata=text))
        )
    flags = dataclasses.make_dataclass(
        "FamilyFlags", columns, bases=(FamilyChoice,), frozen=True, kw_only=True, namespace={"__module__": __name__}
    )
    flags.__doc__ = "A family by its name, and its settings; those left open are its own defaults."
    return flags


def _fields_of(family: Any) -> dict[str, Any]:
    """Returns the settings that a family takes, with their types where it is a dataclass."""
    if isinstance(family, type) and dataclasses.is_dataclass(family):
        hints = get_type_hints(family)
        return {known.name: hints[known.name] for known in dataclasses.fields(family)}
    try:
        return dict.fromkeys(inspect.signature(family).parameters)
    except (TypeError, ValueError):
        return {}


def _default(flag: dataclasses.Field[Any]) -> Any:
    return flag.default if flag.default_factory is dataclasses.MISSING else flag.default_factory()


def _read(value: Any, hint: Any) -> Any:
    """Returns a setting as its field takes it: a list is written as in YAML, such as ``[0.1, 0.5]``."""
    if hint in (None, str) or not isinstance(value, str):
        return value
    try:
        return parse_yaml(value, "a family's setting")
    except ConfigError:
        return value


def _whose(having: list[str], names: list[str]) -> str:
    """Returns which families have a flag, where not all have it."""
    if len(having) == len(names):
        return ""
    missing = [name for name in names if name not in having]
    return f"all but {' and '.join(missing)}: " if len(missing) < 3 else f"{', '.join(having)}: "


if TYPE_CHECKING:

    class FamilyFlags(FamilyChoice):
        """A family by its name, and its settings."""
else:
    FamilyFlags = make_flags()
