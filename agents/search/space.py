"""The settings that a search may try: a dimension per name, and when a name counts.

A name's dimension may depend on what was chosen for names above it (the range of the learning rate on the optimizer),
and a name may count only then: what would be ignored in a setting is no part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mapopt.agents.search.dimensions import Dimension, described, same
from mapopt.errors import ConfigError, shown, unknown_name

Setting = dict[str, Any]
"""Name -> value of what was chosen."""

Choose = Callable[[str, Dimension], Any]
"""Chooses the value of a name out of its dimension."""


@dataclass(frozen=True)
class Case:
    """A dimension, and the choices under which a name has it."""

    dimension: Dimension
    when: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Name above -> the values of which it has one; empty for always."""

    def applies(self, setting: Mapping[str, Any]) -> bool:
        """Returns whether the choices so far are those of the case."""
        return all(
            name in setting and any(same(setting[name], value) for value in values)
            for name, values in self.when.items()
        )


class Space:
    """The settings that a search may try.

    Args:
        cases: name -> its dimensions, of which the first that applies is the one; if none does, the name does not
            count. See `mapopt.agents.search.reading.read_space` for how a file says it.

    >>> from mapopt.agents.search.reading import read_space
    >>> space = read_space({"loss": ["ap", "bce"], "knobs.lr": {"choices": [0.1, 0.2], "when": {"loss": "ap"}}})
    >>> space.all_settings()
    [{'loss': 'ap', 'knobs.lr': 0.1}, {'loss': 'ap', 'knobs.lr': 0.2}, {'loss': 'bce'}]
    """

    def __init__(self, cases: Mapping[str, Sequence[Case]]) -> None:
        self.cases = {name: tuple(each) for name, each in cases.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """Of all that may be chosen, in order."""
        return tuple(self.cases)

    def dimension(self, name: str, setting: Mapping[str, Any]) -> Dimension | None:
        """Returns what a name is chosen from after what was chosen for those above it; None if it does not count."""
        return next((case.dimension for case in self.cases[name] if case.applies(setting)), None)

    def walk(self, choose: Choose) -> Setting:
        """Returns the setting of which every value was chosen in turn."""
        setting: Setting = {}
        for name in self.names:
            dimension = self.dimension(name, setting)
            if dimension is not None:
                setting[name] = choose(name, dimension)
        return setting

    def all_settings(self) -> list[Setting]:
        """Returns every setting there is.

        Raises:
            ConfigError: a range has no levels.
        """
        settings: list[Setting] = [{}]
        for name in self.names:
            grown = []
            for setting in settings:
                dimension = self.dimension(name, setting)
                if dimension is None:
                    grown.append(setting)
                    continue
                if not dimension.values():
                    raise ConfigError(
                        f"{name} in the search space is a range of any numbers, which a grid cannot try: give "
                        "levels or a list of choices, or a strategy that draws, such as random"
                    )
                grown += [{**setting, name: value} for value in dimension.values()]
            settings = grown
        return settings

    def check(self, setting: Mapping[str, Any], where: str) -> None:
        """Raises ConfigError unless a setting, of all names or of some, could be chosen here.

        Args:
            setting: what a user gave.
            where: what the message calls it.
        """
        for name in setting:
            if name not in self.cases:
                raise ConfigError(f"{where}: {unknown_name('name', str(name), self.names)}")
        for name in (name for name in self.names if name in setting):
            dimension = self.dimension(name, setting)
            if dimension is None:
                raise ConfigError(f"{where}: {name} does not count beside the rest of it: leave it out")
            if not dimension.holds(setting[name]):
                raise ConfigError(f"{where}: {name} is {shown(setting[name])}: expected {described(dimension)}")
