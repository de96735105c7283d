"""The knobs that parts of one's own declare: a loss, a detector or an optimizer with an attribute ``knobs``.

``knobs`` says which numbers may change and in which `Range`; the value to start from is the part's attribute of that
name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mapopt.errors import ConfigError
from mapopt.training.knobs import Range, ranges


@dataclass(frozen=True)
class OwnKnob:
    """A knob of somebody's own part."""

    range: Range
    default: float

    def turned(self) -> float:
        """Returns another value in its range, a quarter of it away."""
        unit = self.range.to_unit(self.default)
        return self.range.from_unit(unit - 0.5 if unit > 0 else unit + 0.5)


def own_knobs(parts: Iterable[tuple[str, Any, Mapping[str, Any]]]) -> dict[str, OwnKnob]:
    """Returns the knobs that parts declare, by name.

    Args:
        parts: what messages call each, such as "loss 'mine:HingeLoss'", the part, and the settings it is made with.

    Raises:
        ConfigError: what a part declares is no knob, or two declare one of the same name.
    """
    knobs: dict[str, OwnKnob] = {}
    for what, part, settings in parts:
        for name, knob in declared_knobs(part, what, settings).items():
            if name in knobs:
                raise ConfigError(f"{what} declares a knob '{name}', as another part does: give it another name")
            knobs[name] = knob
    return knobs


def declared_knobs(part: Any, what: str, settings: Mapping[str, Any] | None = None) -> dict[str, OwnKnob]:
    """Returns the knobs that a part declares.

    Args:
        part: a class or an object; without an attribute ``knobs`` it has none.
        what: what messages call it, such as "loss 'mine:HingeLoss'".
        settings: of a class, which go before its attributes.

    Raises:
        ConfigError: a name is taken, or a range or the value to start from is missing or makes no sense.
    """
    declared = getattr(part, "knobs", {})
    if not isinstance(declared, Mapping):
        raise ConfigError(f"{what} has knobs of type {type(declared).__name__}: expected name -> mapopt.training.Range")
    knobs = {}
    for name, bounds in declared.items():
        if not isinstance(name, str) or not name.isidentifier() or name in ranges():
            raise ConfigError(f"{what} declares a knob '{name}': expected a name that is none of {', '.join(ranges())}")
        try:
            begin = getattr(bounds, "scale_from", None)
            bounds = Range(
                float(bounds.low),
                float(bounds.high),
                bool(getattr(bounds, "log", False)),
                None if begin is None else float(begin),
            )
        except (AttributeError, TypeError, ValueError):
            raise ConfigError(
                f"{what} declares a knob '{name}' as {bounds!r}: expected a mapopt.training.Range"
            ) from None
        except ConfigError as error:
            raise ConfigError(f"{what} declares a knob '{name}' with {error}") from None
        knobs[name] = OwnKnob(
            bounds, _default((settings or {}).get(name, getattr(part, name, None)), name, bounds, what)
        )
    return knobs


def _default(value: Any, name: str, bounds: Range, what: str) -> float:
    """Returns the value that a knob starts from."""
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):
        raise ConfigError(
            f"{what} declares a knob '{name}', but its attribute of that name is {value!r}: expected the number to "
            "start from"
        ) from None
    if not bounds.low <= number <= bounds.high:
        raise ConfigError(f"{what} starts its knob '{name}' at {number:g}: expected {bounds.low:g} to {bounds.high:g}")
    return number
