"""Settings of a space as methods that can be trained, and whether every choice of a space makes one."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from mapopt.agents.search.dimensions import Dimension
from mapopt.agents.search.space import Setting, Space
from mapopt.errors import ConfigError, MapoptError, shown, unknown_name
from mapopt.experiments.searching.changes import Changes, changes_of, check_name, check_value, overridden
from mapopt.experiments.searching.settings import SearchConfig
from mapopt.training.knobs import Knobs

DRAWS = 2000
"""Settings that are drawn to see every choice of a space come up; small spaces need a few."""

IDLE = 100
"""Draws in a row without anything new after which nothing is expected any more."""


def candidate(method: Any, setting: Mapping[str, Any], where: str) -> Any:
    """Returns a method with a setting of its search.

    Args:
        method: a `mapopt.experiments.MethodConfig`.
        setting: dotted name -> value.
        where: what messages call the setting.

    Raises:
        ConfigError: the setting makes no method.
    """
    try:
        return with_changes(method, changes_of(method, setting), where)
    except MapoptError as error:
        said = str(error).removeprefix(f"{where}: ")
        raise ConfigError(f"{where}, {described(setting)}: {said}") from None


def with_changes(method: Any, changes: Changes, where: str) -> Any:
    """Returns a method with what a search chose in place of its own settings."""
    recipe = overridden(method.recipe, changes.recipe, where)
    controller = overridden(method.controller, changes.controller, where)
    knobs = {**method.knobs, **changes.knobs}
    Knobs.from_dict(knobs, recipe.ranges())
    return dataclasses.replace(method, recipe=recipe, controller=controller, knobs=knobs)


def described(setting: Mapping[str, Any]) -> str:
    """Returns a setting as people read it: names without their first part.

    >>> described({"recipe.optimizer": "adamw", "knobs.lr": 0.02})
    'optimizer adamw, lr 0.02'
    """
    parts = [f"{name.partition('.')[2] or name} {_spelled(value)}" for name, value in setting.items()]
    return ", ".join(parts) or "as it is"


def check_search(method: Any, search: SearchConfig) -> None:
    """Raises ConfigError unless the space of a search can be tried: every name, and a method with every choice.

    Choices that may not stand beside each other are found by trying every two of them that can be chosen together.
    """
    knobs = method.recipe.ranges()
    space = search.read_space(knobs)
    for name in space.names:
        section, _, rest = name.partition(".")
        if section == "knobs":
            if rest not in knobs:
                raise ConfigError(unknown_name("knob in the search space", rest, knobs))
            continue
        check_name(method, name)
        for case in space.cases[name]:
            for value in case.dimension.ends:
                check_value(method, name, value)
    for number, known in enumerate(search.known, start=1):
        space.check(known, f"known setting {number} of the search")
        candidate(method, known, f"known setting {number} of the search")
    # The ranges of the knobs alone say whether a setting of knobs alone is one.
    if any(not name.startswith("knobs.") for name in space.names):
        for setting in _every_choice(space):
            candidate(method, setting, "a setting of the search space")


def _every_choice(space: Space) -> Iterator[Setting]:
    """Yields settings until every choice of every case, and every two choices, were in one, as far as many draws tell.

    Raises:
        ConfigError: some choice never came up, because what its case asks for excludes itself.
    """
    singles = {
        (name, number, end)
        for name, cases in space.cases.items()
        for number, case in enumerate(cases)
        for end in range(len(case.dimension.ends))
    }
    met: set[Any] = set()
    generator, idle = np.random.default_rng(0), 0
    for _ in range(DRAWS):
        chosen: list[tuple[str, int, int]] = []

        def choose(name: str, dimension: Dimension, chosen: list[tuple[str, int, int]] = chosen) -> Any:
            number = next(n for n, case in enumerate(space.cases[name]) if case.dimension is dimension)
            end = int(generator.integers(len(dimension.ends)))
            chosen.append((name, number, end))
            return dimension.ends[end]

        setting = space.walk(choose)
        # A knob's value stands beside any other: its range is all that is asked of it.
        others = [each for each in chosen if not each[0].startswith("knobs.")]
        new = {*chosen, *itertools.combinations(others, 2)} - met
        idle = 0 if new else idle + 1
        if idle > IDLE and singles <= met:
            return
        if new:
            met |= new
            yield setting
    if singles - met:
        name, number, end = min(singles - met)
        value = shown(space.cases[name][number].dimension.ends[end])
        raise ConfigError(
            f"{name} in the search space was never {value} in {DRAWS} draws: look at what its when asks for"
        )


def _spelled(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_spelled(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_spelled, value)) + "]"
    return "none" if value is None else str(value)
