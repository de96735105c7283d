"""What an agent's actions are relative to, as its file says it: a schedule's settings, or a controller of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mapopt.errors import ConfigError, shown, unknown_name
from mapopt.settings import from_mapping, to_mapping
from mapopt.training.controllers.base import Controller
from mapopt.training.controllers.fixed import Schedule
from mapopt.training.controllers.registry import CONTROLLERS

BASELINES = ("constant", "one_cycle", "plateau", "greedy_lr", "hypergradient", "autopilot")
"""Controllers that are made of plain values, so a file that names one brings in nothing else."""


def describe_baseline(baseline: Controller) -> dict[str, Any] | None:
    """Returns plain values that `read_baseline` makes a controller of again; None where a file cannot hold it."""
    if type(baseline) is Schedule:
        settings: dict[str, Any] = to_mapping(baseline)
        return settings
    for name in BASELINES:
        if type(baseline) is CONTROLLERS[name]:
            return {"controller": name, "settings": to_mapping(baseline)}
    return None


def read_baseline(described: Mapping[str, Any], what: str) -> Controller:
    """Makes the controller that plain values describe.

    Args:
        described: the settings of a `Schedule`; or ``controller``, one of ours by name, with its ``settings``.
        what: what messages call it.

    Raises:
        ConfigError: the controller or a setting is unknown, or a value is not what it should be.
    """
    if "controller" not in described:
        schedule: Schedule = from_mapping(Schedule, described, what)
        return schedule
    name, settings = described["controller"], described.get("settings", {})
    if name not in BASELINES:
        raise ConfigError(unknown_name(f"controller of {what}", str(name), BASELINES))
    if set(described) - {"controller", "settings"} or not isinstance(settings, Mapping):
        raise ConfigError(f"{what} is {shown(dict(described))}: expected a controller with its settings")
    controller: Controller = from_mapping(CONTROLLERS[name], settings, what)
    return controller
