"""The ways to decide which location answers for which object, by name: a dense detector's assignment.

Names and settings are kept as text, so that they are read and checked without torch. torchvision's detectors have
matchers of their own and take none of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from mapopt.errors import ConfigError, unknown_name
from mapopt.losses.table import Parameter
from mapopt.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from mapopt.detectors.dense.geometry import Assignment, Priors
    from mapopt.detectors.interface import KnobTable, Targets

DEFAULT_ASSIGNMENT = "iou"


class Assigner(Protocol):
    """Decides which location answers for which object, at every step."""

    def __call__(self, logits: Tensor, boxes: Tensor, priors: Priors, targets: Targets, knobs: KnobTable) -> Assignment:
        """Returns the assignment of every lane, which depends on this lane alone.

        Args:
            logits: ``[lanes, batch, locations, classes]``.
            boxes: ``[lanes, batch, locations, 4]`` predicted, xyxy pixels.
            priors: the locations.
            targets: the objects.
            knobs: values per lane.
        """


@dataclass(frozen=True, kw_only=True)
class AssignmentEntry:
    """An assignment, as far as settings need to know it."""

    where: str
    """Module and name of its `Assigner`'s class, as ``module:attribute``."""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    """Of its constructor."""


ASSIGNMENT_TABLE: dict[str, AssignmentEntry] = {
    "iou": AssignmentEntry(where="mapopt.detectors.dense.assigners:IouAssigner"),
    "task_aligned": AssignmentEntry(
        where="mapopt.detectors.dense.assigners:TaskAlignedAssigner",
        parameters={
            "topk": Parameter(kind=int, above=0),
            "alpha": Parameter(above=-1e-9),
            "beta": Parameter(above=0),
        },
    ),
}
"""Every assignment, in the order of the documentation."""


def _problem(part: Any) -> str:
    """Says what keeps a part of a user's own from being an assignment."""
    return "" if callable(part) else "cannot be called: expected a class whose objects are called as Assigner describes"


ASSIGNMENTS: Registry[type[Assigner]] = Registry(
    "assignment", {name: entry.where for name, entry in ASSIGNMENT_TABLE.items()}, check=_problem
)
"""Every assignment; what is made of one is an `Assigner`."""


def check_assignment_settings(name: str, settings: Mapping[str, Any]) -> None:
    """Raises ConfigError unless an assignment can be made of a name and of values for its parameters.

    Args:
        name: key of `ASSIGNMENTS`; or ``module:attribute``, of which nothing more is known before it is imported.
        settings: parameters that differ from the defaults.

    >>> check_assignment_settings("task_aligned", {"topk": 0})
    Traceback (most recent call last):
    mapopt.errors.ConfigError: assignment 'task_aligned' got topk=0: expected a whole number above 0
    """
    ASSIGNMENTS.check_name(name)
    if name not in ASSIGNMENT_TABLE:
        return
    known = ASSIGNMENT_TABLE[name].parameters
    for parameter, value in settings.items():
        if not known:
            raise ConfigError(f"assignment '{name}' has no settings, but {', '.join(settings)} was given: leave it out")
        if parameter not in known:
            raise ConfigError(unknown_name(f"parameter of assignment '{name}'", parameter, known))
        expected = known[parameter].expected(value)
        if expected:
            raise ConfigError(f"assignment '{name}' got {parameter}={value!r}: expected {expected}")
