"""The families by name, and how a name with settings, or a class of your own, becomes a family."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from mapopt.errors import ConfigError
from mapopt.registry import Choice, Registry
from mapopt.settings import from_mapping

if TYPE_CHECKING:
    from mapopt.envs.families.base import InstanceFamily


def _problem(part: Any) -> str:
    if callable(part) and not hasattr(part, "instance") and not isinstance(part, type):
        return ""  # a function that makes a family
    if not callable(getattr(part, "instance", None)):
        return "has no instance(number): expected a class of numbered instances, such as a NumberedFamily"
    return ""


FAMILIES: Registry[Any] = Registry(
    "family",
    {
        "shapes": "mapopt.envs.families.shapes:ShapesFamily",
        "imbalanced": "mapopt.envs.families.scenes:ImbalancedFamily",
        "small-objects": "mapopt.envs.families.scenes:SmallObjectsFamily",
        "noisy-labels": "mapopt.envs.families.scenes:NoisyLabelsFamily",
        "rescue": "mapopt.envs.families.rescue:RescueFamily",
        "units": "mapopt.envs.families.scales:UnitsFamily",
        "budgets": "mapopt.envs.families.scales:BudgetsFamily",
        "shift": "mapopt.envs.families.shift:ShiftFamily",
        "mixture": "mapopt.envs.families.mixture:MixtureFamily",
        "recipes": "mapopt.envs.families.mixture:RecipesFamily",
        "from-data": "mapopt.envs.families.from_data:FromDataFamily",
    },
    check=_problem,
)
"""The families of instances by name; see `InstanceFamily` for one of your own."""


def make_family(given: Any = "shapes", **settings: Any) -> Any:
    """Makes a family.

    Args:
        given: a name in `FAMILIES`; ``module:attribute``, a class or a function that makes a family of your own; one of
            these with settings, as a `Choice`; or a finished `InstanceFamily`.
        settings: what differs from the family's defaults; where it takes a dataclass, such as a recipe or a budget, a
            mapping of its fields will do.

    Returns:
        The `InstanceFamily`.

    Raises:
        ConfigError: the name or a setting is unknown, or a setting is missing or out of its range; or what was made is
            no family.
        DataError: the family's data cannot be used.

    >>> make_family("rescue", split="eval", count=9).count
    9
    """
    name = given
    if isinstance(given, Choice):
        name, settings = given.name, {**given.settings, **settings}
    part = FAMILIES.find(name)
    if settings and isinstance(part, type) and dataclasses.is_dataclass(part):
        settings = _built(part, settings)
    family = FAMILIES.make(name, settings)
    for attribute in ("instance", "count", "split"):
        if not hasattr(family, attribute):
            raise ConfigError(f"family of type {type(family).__name__} has no {attribute}: see InstanceFamily")
    return family


def describe(family: InstanceFamily, numbers: Iterable[int] | None = None) -> str:
    """Returns the descriptions of some instances, or of all, one a line; their data are made for it.

    >>> small = make_family("rescue", images=(16, 4, 4), mistakes=("learning-rate-too-low", "no-warm-up"))
    >>> print(describe(small, [0, 1]))
    rescue-train-0: mistake learning-rate-too-low: lr 0.008 instead of 0.08, 16 train images
    rescue-train-1: mistake no-warm-up: the schedule begins at the full learning rate, 16 train images
    """
    chosen = range(family.count) if numbers is None else numbers
    return "\n".join(str(family.instance(number)) for number in chosen)


def _built(family: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings with the dataclasses in place of the mappings that a file holds of them."""
    hints = get_type_hints(family)

    def build(hint: Any, value: Any, where: str) -> Any:
        if isinstance(value, Mapping) and dataclasses.is_dataclass(hint):
            return from_mapping(hint, value, where)  # type: ignore[arg-type]
        if isinstance(value, list | tuple) and get_args(hint):
            return tuple(build(get_args(hint)[0], item, where) for item in value)
        return value

    return {name: build(hints.get(name), value, f"{name} of the family") for name, value in settings.items()}
