"""Reads a space of settings as a file describes it, and says in one line what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mapopt.agents.search.dimensions import Choices, Dimension, Numbers, described, same
from mapopt.agents.search.space import Case, Space
from mapopt.errors import ConfigError, shown, unknown_name
from mapopt.training.knobs import Range

_KEYS = ("choices", "low", "high", "log", "levels", "whole", "when")
_KINDS: dict[str, tuple[type, ...]] = {
    "low": (int, float),
    "high": (int, float),
    "levels": (int,),
    "log": (bool,),
    "whole": (bool,),
}
_EXPECTED = {
    "low": "a number",
    "high": "a number",
    "levels": "a whole number",
    "log": "true or false",
    "whole": "true or false",
}


def read_space(content: Mapping[str, Any], ranges: Mapping[str, Range] | None = None) -> Space:
    """Reads a space.

    Args:
        content: name -> a list of choices; or a mapping with `choices`, or with `low`, `high` and `log` of a range, the
            number of its `levels` if not every number of it may be chosen, and `whole` for whole numbers; and with
            `when`, a mapping of names above to the values, or the lists of values, under which it counts. Or a mapping
            with `cases`, a list of such mappings of which the first that counts is taken.
        ranges: name -> the range that a name's numbers lie in, which is its dimension where the file gives no other.

    Raises:
        ConfigError: something makes no sense; the message names the place.

    >>> space = read_space({"knobs.lr": {"low": 0.01, "levels": 2}}, {"knobs.lr": Range(0.001, 1.0, log=True)})
    >>> space.all_settings()
    [{'knobs.lr': 0.01}, {'knobs.lr': 1.0}]
    """
    cases: dict[str, list[Case]] = {}
    for name, given in content.items():
        cases[name] = [
            _read_case(name, each, where, cases, (ranges or {}).get(name)) for where, each in _cases_of(name, given)
        ]
    used = {other for listed in cases.values() for case in listed for other in case.when}
    for name in cases:
        if "." not in name and name not in used:
            raise ConfigError(
                f"{name} in the search space sets nothing, and no `when` asks for it: expected knobs.NAME, "
                "recipe.NAME or controller.NAME, or a name of your own that decides which of them count"
            )
    return Space(cases)


def _cases_of(name: str, given: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """Returns what each case of a name is called, and what it says."""
    where = f"{name} in the search space"
    if isinstance(given, list | tuple):
        given = {"choices": list(given)}
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where} is {shown(given)}: expected a list of choices, or low and high of a range")
    if "cases" not in given:
        return [(where, given)]
    listed = given["cases"]
    if len(given) > 1 or not isinstance(listed, list) or not listed:
        raise ConfigError(f"{where}: expected `cases` and nothing beside it, with a list of mappings")
    for each in listed:
        if not isinstance(each, Mapping):
            raise ConfigError(f"{where} has the case {shown(each)}: expected choices, or low and high of a range")
    return [(f"case {number} of {where}", each) for number, each in enumerate(listed, start=1)]


def _read_case(
    name: str, given: Mapping[str, Any], where: str, above: Mapping[str, list[Case]], own: Range | None
) -> Case:
    for key in given:
        if key not in _KEYS:
            raise ConfigError(unknown_name(f"key of {where}", str(key), [*_KEYS, "cases"]))
    when = _read_when(given.get("when", {}), where, above)
    numeric = [key for key in given if key in _KINDS]
    if "choices" in given and numeric:
        raise ConfigError(f"{where} has choices and {numeric[0]}: expected a list of choices or a range")
    if "choices" in given:
        return Case(_read_choices(given["choices"], where, own), when)
    return Case(_read_numbers(given, where, own), when)


def _read_when(given: Any, where: str, above: Mapping[str, list[Case]]) -> dict[str, list[Any]]:
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where}: when is {shown(given)}: expected names above it, each with its values")
    when = {}
    for name, values in given.items():
        if name not in above:
            raise ConfigError(f"{where}: when asks for an {unknown_name('name above it', str(name), above)}")
        known = [choice for case in above[name] for choice in _choices_of(case.dimension)]
        when[name] = values if isinstance(values, list) else [values]
        for value in when[name]:
            if not any(same(value, choice) for choice in known):
                expected = f"one of {', '.join(map(shown, known))}" if known else "a name with choices"
                raise ConfigError(f"{where}: when asks for {name} to be {shown(value)}: expected {expected}")
    return when


def _read_choices(values: Any, where: str, own: Range | None) -> Choices:
    if not isinstance(values, list) or not values:
        raise ConfigError(f"{where} has the choices {shown(values)}: expected a list of at least one")
    for number, value in enumerate(values):
        if any(same(value, other) for other in values[:number]):
            raise ConfigError(f"{where} has the choice {shown(value)} twice: give it once")
        if own is not None and not Numbers(own).holds(value):
            raise ConfigError(f"{where} has the choice {shown(value)}: expected {described(Numbers(own))}")
    return Choices(tuple(values))


def _read_numbers(given: Mapping[str, Any], where: str, own: Range | None) -> Numbers:
    for key, kinds in _KINDS.items():
        if key in given and type(given[key]) not in kinds:
            raise ConfigError(f"{where}: {key} is {shown(given[key])}: expected {_EXPECTED[key]}")
        if own is None and key in ("low", "high") and key not in given:
            raise ConfigError(f"{where} has no {key}: expected a list of choices, or low and high of a range")
    low, high = (float(given[key] if key in given else getattr(own, key)) for key in ("low", "high"))
    try:
        scale = Range(low, high, log=given.get("log", own is not None and own.log))
        numbers = Numbers(scale, given.get("levels", 0), given.get("whole", False))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    if own is not None and (low < own.low or high > own.high):
        raise ConfigError(f"{where} is {described(numbers)}: expected inside {described(Numbers(own))}")
    return numbers


def _choices_of(dimension: Dimension) -> tuple[Any, ...]:
    return dimension.choices if isinstance(dimension, Choices) else ()
