"""Named parts, and parts of one's own: a name, an object, or the text ``module:attribute`` stands for one of them.

Wherever mapopt takes a name (a loss, a controller, a reward, ...), it asks a `Registry`. Entries are kept as text and
imported when they are asked for, so that flags are read and checked without importing what they name. A text is only
ever imported from a user's own flags, files and calls, never from a checkpoint, a store or an agent.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from mapopt.errors import ConfigError, MapoptError, unknown_name
from mapopt.settings import to_mapping

Part = TypeVar("Part")

_TEXT = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One part as files and worker processes know it."""

    name: str
    """A name of ours, or ``module:attribute``."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What differs from its defaults."""


class Registry(Mapping[str, Part], Generic[Part]):
    """The parts of one kind by name, open to parts of one's own.

    Args:
        kind: what messages call a part, such as "loss".
        entries: name -> the part, or the text ``module:attribute`` that it is imported from when it is asked for.
        check: says what is wrong with a part of one's own, in words that follow its name; empty if nothing is.
        hint: says what of ours is like a name of others, after the message that it is unknown; empty if nothing is.

    >>> colors = Registry("color", {"red": "mapopt.errors:ConfigError"})
    >>> colors["red"].__name__, colors.find("mapopt.errors:DataError").__name__
    ('ConfigError', 'DataError')
    >>> colors.find("rde")
    Traceback (most recent call last):
    mapopt.errors.ConfigError: unknown color 'rde': did you mean 'red'? Known: red; or module:attribute for your own
    """

    def __init__(
        self,
        kind: str,
        entries: Mapping[str, Part | str],
        *,
        check: Callable[[Any], str] | None = None,
        hint: Callable[[str], str] = lambda name: "",
    ) -> None:
        self.kind = kind
        self._entries = dict(entries)
        self._check = check
        self._hint = hint

    def __getitem__(self, name: str) -> Part:
        entry = self._entries[name]
        if isinstance(entry, str):
            entry = self._entries[name] = load(entry, self.kind)
        return entry

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"Registry({self.kind!r}: {', '.join(self._entries)})"

    def check_name(self, name: str) -> None:
        """Raises ConfigError unless a text is one of our names or has the form of ``module:attribute``."""
        if name not in self._entries and not is_text(name):
            message = unknown_name(self.kind, str(name), self._entries)
            raise ConfigError(f"{message}; or module:attribute for your own{self._hint(str(name))}")

    def find(self, given: Part | str) -> Part:
        """Returns the part that is meant.

        Args:
            given: one of our names, ``module:attribute``, or the part itself.

        Raises:
            ConfigError: there is no such name, module or attribute, or the part is not of this kind.
        """
        if isinstance(given, str):
            self.check_name(given)
            if given in self._entries:
                return self[given]
        part = load(given, self.kind) if isinstance(given, str) else given
        problem = self._check(part) if self._check is not None else ""
        if problem:
            shown = given if isinstance(given, str) else _described(given)
            raise ConfigError(f"{self.kind} {shown} {problem}")
        return part

    def make(self, given: Part | str | Choice, settings: Mapping[str, Any] | None = None) -> Any:
        """Returns what a part makes of settings: an instance of a class, or what a function returns.

        Args:
            given: as for `find`, or a `Choice`; what is no class and no function is returned as it is.
            settings: keyword arguments that differ from its defaults.

        Raises:
            ConfigError: as for `find`; or a setting is unknown, is missing, or was given for a finished object.
        """
        if isinstance(given, Choice):
            settings = {**given.settings, **(settings or {})}
            given = given.name
        part = self.find(given)
        shown = f"'{given}'" if isinstance(given, str) else _described(given)
        if not inspect.isclass(part) and not inspect.isroutine(part):
            if settings:
                raise ConfigError(f"{self.kind} {shown} is finished, but settings were given: give its class instead")
            return part
        check_settings(part, settings or {}, f"{self.kind} {shown}")
        try:
            return part(**(settings or {}))
        except MapoptError:
            raise
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{self.kind} {shown} cannot be made of these settings ({error})") from error

    def choice(self, given: Part | str | Choice, settings: Mapping[str, Any] | None = None) -> Choice:
        """Returns a part as files and worker processes know it.

        Args:
            given: as for `make`. An object must be one that can be made again from what is known of it: a dataclass of
                plain values, or an object that keeps the plain values it was made of as attributes of the same names.
            settings: what differs from its defaults.

        Raises:
            ConfigError: the part is not of this kind, or cannot be named, such as a lambda or an object with a state of
                its own.
        """
        if isinstance(given, Choice):
            return Choice(name=given.name, settings={**given.settings, **(settings or {})})
        if isinstance(given, str):
            self.check_name(given)
            return Choice(name=given, settings=dict(settings or {}))
        self.find(given)  # first whether it is of this kind, then how it is written down
        if not inspect.isclass(given) and not inspect.isroutine(given):
            if dataclasses.is_dataclass(given):
                return Choice(name=self._name(type(given)), settings=to_mapping(given))
            kept = _kept_arguments(given)
            if kept is None:
                raise ConfigError(
                    f"{self.kind} {_described(given)} cannot be made again in another process: in place of the "
                    "object give its class or a function at the top of a module, with its arguments as settings"
                )
            return Choice(name=self._name(type(given)), settings=kept)
        return Choice(name=self._name(given), settings=dict(settings or {}))

    def _name(self, part: Any) -> str:
        text = text_of(part, self.kind)
        for name, entry in self._entries.items():
            if entry is part or entry == text:
                return name
        return text


_LISTED = 6
"""So many attributes of a module are listed where one is misspelt."""


def is_text(name: str) -> bool:
    """Returns whether a text has the form ``module:attribute``."""
    return isinstance(name, str) and bool(_TEXT.fullmatch(name))


def load(text: str, kind: str = "part") -> Any:
    """Imports what a text names; modules beside the working directory are found, too.

    Args:
        text: ``module:attribute``, such as ``mine.losses:HingeLoss``.
        kind: what messages call it.

    Raises:
        ConfigError: the text has another form, or the module or the attribute is not there or cannot be imported.
    """
    if not is_text(text):
        raise ConfigError(f"{kind} '{text}': expected module:attribute, such as mine.parts:Mine")
    module_name, _, path = text.partition(":")
    # A console script's path begins with its own folder, where `python -m` has the present one.
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    try:
        # The script that runs has its parts already: importing it by its name would run it a second time.
        main = module_name == _main_name() and module_name not in sys.modules
        value = sys.modules["__main__"] if main else importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if module_name == missing or module_name.startswith(f"{missing}."):
            raise ConfigError(
                f"{kind} '{text}': there is no module '{missing}'; expected one that Python can import from here"
            ) from error
        raise ConfigError(f"{kind} '{text}': its module needs '{missing}', which is not installed") from error
    except Exception as error:
        detail = str(error).splitlines()[0] if str(error) else ""
        raise ConfigError(f"{kind} '{text}': importing its module failed ({type(error).__name__}: {detail})") from error
    for name in path.split("."):
        if not hasattr(value, name):
            known = [other for other in vars(value) if not other.startswith("_")] if hasattr(value, "__dict__") else []
            if module_name == "__main__":
                raise ConfigError(
                    f"{kind} '{name}' is defined in a notebook, at a prompt or in a script whose name no module can "
                    "have, which a worker process cannot import: put it in a module, or use one worker"
                )
            raise ConfigError(f"{kind} '{text}': {unknown_name('attribute', name, known, limit=_LISTED)}")
        value = getattr(value, name)
    return value


def texts_in(value: Any) -> set[str]:
    """Returns the texts ``module:attribute`` in plain values: what a file that holds them would have imported."""
    if isinstance(value, Mapping):
        return set().union(*(texts_in(item) for item in (*value, *value.values())))
    if isinstance(value, list | tuple):
        return set().union(*map(texts_in, value))
    return {value} if isinstance(value, str) and is_text(value) else set()


def text_of(part: Any, kind: str = "part") -> str:
    """Returns the text ``module:attribute`` that a class or function is imported by.

    Raises:
        ConfigError: it has none, such as a lambda or what was defined inside a function.
    """
    module, name = getattr(part, "__module__", ""), getattr(part, "__qualname__", "")
    if module in ("__main__", "__mp_main__"):
        # In a notebook or at a prompt there is no file: this process finds the part, and another one cannot.
        module = _main_name() or "__main__"
    text = f"{module}:{name}"
    if not is_text(text):
        raise ConfigError(
            f"{kind} {_described(part)} has no name that another process could import it by: "
            "define it at the top of a module, with a name"
        )
    return text


def check_settings(part: Any, settings: Mapping[str, Any], what: str) -> None:
    """Raises ConfigError unless a class or function takes these keyword arguments.

    Args:
        part: what will be called.
        settings: keyword arguments.
        what: what messages call it.
    """
    try:
        parameters = inspect.signature(part).parameters.values()
    except (TypeError, ValueError):  # built in, without a signature
        return
    known = [
        parameter.name
        for parameter in parameters
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters):
        return
    for name in settings:
        if name not in known:
            raise ConfigError(unknown_name(f"setting of {what}", str(name), known))
    required = [
        parameter.name for parameter in parameters if parameter.default is parameter.empty and parameter.name in known
    ]
    for name in required:
        if name not in settings:
            raise ConfigError(f"{what} needs '{name}', and it is not given: give it among its settings")


def _kept_arguments(given: Any) -> dict[str, Any] | None:
    """Returns the arguments that make an equal object again, without defaults; None where that cannot be known."""
    learned = getattr(given, "state_dict", None)
    if callable(learned) and learned():
        return None
    arguments: dict[str, Any] = {}
    try:
        for parameter in inspect.signature(type(given)).parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            value = getattr(given, parameter.name)
            if not isinstance(value, int | float | str | None):
                return None
            if value != parameter.default:
                arguments[parameter.name] = value
        again = vars(type(given)(**arguments))
        # Anything that was set or has happened since would be lost.
        same = all(
            name in again and bool(again[name] == value) for name, value in vars(given).items() if name[0] != "_"
        )
    except Exception:  # the part is not ours: whatever it raises means that it cannot be made again
        return None
    return arguments if same else None


def _main_name() -> str:
    """Returns the name that the script that runs could be imported by; empty where there is none.

    A notebook and a prompt have no file, what comes through a pipe calls it ``<stdin>``, and no module is called
    ``my-script``.
    """
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    name = spec.name if spec is not None else Path(file).stem if file else ""
    return name if all(part.isidentifier() for part in name.split(".")) else ""


def _described(part: Any) -> str:
    named = inspect.isclass(part) or inspect.isroutine(part)
    return f"'{part.__qualname__}'" if named else f"of type {type(part).__name__}"
