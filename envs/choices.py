"""How both environments read a named part that keywords, YAML files and flags give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mapopt.errors import ConfigError
from mapopt.registry import Choice, Registry


def check_settings_type(settings: Any, kind: type) -> None:
    """Raises ConfigError unless settings that keywords change are of their environment's kind, or None."""
    if settings is not None and not isinstance(settings, kind):
        raise ConfigError(
            f"settings are of type {type(settings).__name__}: expected {kind.__name__}(...), or keywords without it"
        )


def read_choice(given: Any, registry: Registry[Any]) -> Any:
    """Returns what was given for a named part, with a mapping such as ``{"name": "rescue", "count": 9}`` as a choice.

    Args:
        given: a name, ``module:attribute``, a class, a function or an object, which are returned as they are; or a
            mapping of a ``name`` and of settings, beside it or under ``settings``.
        registry: where names are looked up.

    Raises:
        ConfigError: the name is unknown, the mapping has none, or an object is no part of this kind. No text is
            imported for it.
    """
    if isinstance(given, Mapping):
        settings = {str(name).replace("-", "_"): value for name, value in given.items()}
        name, inner = settings.pop("name", None), settings.pop("settings", None) or {}
        if not isinstance(name, str) or not isinstance(inner, Mapping):
            raise ConfigError(f"{registry.kind} is {dict(given)!r}: expected a name, and settings beside it")
        given = Choice(name=name, settings={**settings, **inner})
    if isinstance(given, Choice):
        registry.check_name(given.name)
        return given if given.settings else given.name
    if isinstance(given, str):
        registry.check_name(given)
        return given
    return registry.find(given)
