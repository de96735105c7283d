"""Tests that every loss of the family passes, for anybody's loss: `check_loss` says which property fails, with numbers.

The properties are in `mapopt.losses.properties`; which of them apply follows from the loss's attributes or is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from mapopt.errors import ConfigError, unknown_name
from mapopt.losses.properties import PROPERTIES, Case
from mapopt.losses.properties import check_parameter as check_parameter
from mapopt.losses.registry import make_loss


def check_loss(
    loss: Any,
    settings: Mapping[str, Any] | None = None,
    *,
    properties: Sequence[str] = (),
    exact: bool | None = None,
    direction: Literal["each", "sum", "any"] | None = None,
    differences_only: bool = False,
    smooth_at_ties: bool = True,
    seed: int = 0,
) -> None:
    """Checks that a loss has the properties of the family, on small random lists.

    Args:
        loss: whatever `make_loss` takes: a name, a `ListLoss`, a module or a function.
        settings: keyword arguments of a class or a function.
        properties: names in `PROPERTIES` to check; none are all that apply.
        exact: the gradient is the derivative of the value (else an update of another kind). By default so, unless
            an attribute ``gradient`` says "error-driven".
        direction: where labels are 0 and 1, no positive's gradient is above 0 and no negative's below ("each"), their
            sums over a list are not ("sum"), or nothing is claimed ("any"). By default "each" for pointwise and
            error-driven losses and "sum" for others.
        differences_only: a number added to all scores of a list changes nothing.
        smooth_at_ties: where scores are equal, the gradient is independent of the order of the input; a loss with
            kinks may take one of several there.
        seed: of the lists.

    Raises:
        AssertionError: a property fails; the message names it, what was expected and the numbers.
        ConfigError: what was given is no loss, or a property is unknown.

    >>> def hinge(scores, labels, where, margin=1.0):
    ...     gaps = scores[labels == 0] - scores[labels > 0][:, None] + margin
    ...     return gaps.clamp(min=0).sum() / (labels > 0).sum()
    >>> check_loss(hinge, direction="each", differences_only=True)
    >>> check_loss(lambda scores, labels, where: scores[labels > 0].mean(), properties=["direction"])
    Traceback (most recent call last):
    AssertionError: <lambda> fails 'direction': the gradients of the positives sum to 1, expected at most 0
    """
    made = make_loss(loss, settings)
    error_driven = getattr(made, "gradient", None) == "error-driven"
    case = Case(
        loss=made,
        name=getattr(made, "name", type(made).__name__),
        exact=not error_driven if exact is None else exact,
        direction=direction or ("each" if made.pointwise or error_driven else "sum"),
        differences_only=differences_only,
        smooth_at_ties=smooth_at_ties,
        seed=seed,
    )
    for name in properties:
        if name not in PROPERTIES:
            raise ConfigError(unknown_name("property of a loss", name, PROPERTIES))
    for name in properties or PROPERTIES:
        PROPERTIES[name](replace(case, property=name))
