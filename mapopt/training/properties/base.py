"""What the checks of all kinds of parts share: one way to fail, and one way to run those that were asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn, TypeVar

from mapopt.errors import MapoptError, unknown_name


@dataclass(frozen=True, kw_only=True)
class Case:
    """A part that is being checked."""

    name: str
    """What messages call it."""
    property: str = ""
    """Which is being checked."""
    seed: int = 0

    def fail(self, detail: str) -> NoReturn:
        """Raises AssertionError with the names of the part and of the property."""
        raise AssertionError(f"{self.name} fails '{self.property}': {detail}")

    def expect(self, holds: Any, detail: str) -> None:
        """Fails unless something holds."""
        if not bool(holds):
            self.fail(detail)


AnyCase = TypeVar("AnyCase", bound=Case)


def check_properties(
    case: AnyCase, properties: Mapping[str, Callable[[AnyCase], None]], names: Sequence[str], error: type[MapoptError]
) -> None:
    """Checks properties one after the other.

    Args:
        case: the part.
        properties: all that there are.
        names: those to check; none are all.
        error: what to raise for a name that there is not.
    """
    for name in names:
        if name not in properties:
            raise error(unknown_name("property", name, properties))
    for name in names or properties:
        properties[name](replace(case, property=name))
