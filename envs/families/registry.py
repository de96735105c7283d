"""The families by name, and how a name with settings becomes a family."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from mapopt.envs.families.base import InstanceFamily, NumberedFamily
from mapopt.envs.families.from_data import FromDataFamily
from mapopt.envs.families.rescue import RescueFamily
from mapopt.envs.families.scenes import ImbalancedFamily, NoisyLabelsFamily, SmallObjectsFamily
from mapopt.envs.families.shapes import ShapesFamily
from mapopt.errors import ConfigError, unknown_name

FAMILIES: dict[str, type[NumberedFamily]] = {
    "shapes": ShapesFamily,
    "imbalanced": ImbalancedFamily,
    "small-objects": SmallObjectsFamily,
    "noisy-labels": NoisyLabelsFamily,
    "rescue": RescueFamily,
    "from-data": FromDataFamily,
}


def make_family(name: str, **settings: Any) -> NumberedFamily:
    """Makes a family from its name and the settings that differ from its defaults.

    Raises:
        ConfigError: the name or a setting is unknown, or a setting is missing or out of its range.
        DataError: the family's data cannot be used.

    >>> make_family("rescue", side="judge", count=9).count
    9
    """
    if name not in FAMILIES:
        raise ConfigError(unknown_name("family", name, FAMILIES))
    fields = {field.name: field for field in dataclasses.fields(FAMILIES[name])}
    for setting in settings:
        if setting not in fields:
            raise ConfigError(unknown_name(f"setting of family '{name}'", setting, fields))
    for field in fields.values():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and field.name not in settings:
            raise ConfigError(f"family '{name}' needs {field.name}, and it is not given: give {field.name}=...")
    return FAMILIES[name](**settings)


def describe(family: InstanceFamily, numbers: Iterable[int] | None = None) -> str:
    """Returns the descriptions of some instances, or of all, one a line; their data are made for it.

    >>> print(describe(make_family("rescue", images=(16, 4, 4), mistakes=("rate-too-low", "no-warm-up")), [0, 1]))
    rescue-train-0: mistake rate-too-low: lr 0.02 instead of 0.2, 16 train images
    rescue-train-1: mistake no-warm-up: the schedule begins at the full rate, 16 train images
    """
    chosen = range(family.count) if numbers is None else numbers
    return "\n".join(str(family.instance(number)) for number in chosen)
