"""Learning rates of some layers that differ from the others', and layers that keep their weights, with any optimizer.

What an optimizer did to the weights is scaled afterwards, column by column. An optimizer whose steps are proportional
to its rate, as all of ours are that keep no average, then steps as if the layer had a rate of its own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor

from mapopt.detectors.interface import KnobTable
from mapopt.errors import ConfigError
from mapopt.training.optimizers.base import RowOptimizer


class PartRates:
    """Takes an optimizer's steps, those of some columns scaled.

    Args:
        factors: ``[n]``: 1 leaves a step's bits as they are, 0 the weights'.

    Attributes:
        frozen: bool ``[n]``, where the factor is 0.
    """

    def __init__(self, factors: Tensor) -> None:
        self._factors, self._others = factors, factors != 1
        self.frozen = factors == 0
        self._before: Tensor | None = None

    @torch.no_grad()
    def update(
        self, optimizer: RowOptimizer, weights: Tensor, gradient: Tensor, knobs: KnobTable, active: Tensor
    ) -> Tensor:
        """Updates the active lanes, and returns the length of each lane's step; see `RowOptimizer.update`."""
        if self._before is None or self._before.shape != weights.shape:
            self._before = torch.empty_like(weights, requires_grad=False)
        before = self._before.copy_(weights)
        optimizer.update(weights, gradient, knobs, active)
        scaled = torch.lerp(before, weights.detach(), self._factors)
        # Numbers that are not finite are no reason to move what is frozen.
        weights.copy_(torch.where(self.frozen, before, torch.where(self._others, scaled, weights)))
        return (weights - before).norm(dim=1)


def part_factors(parts: Mapping[str, tuple[int, ...]], frozen: str, rates: Mapping[str, float]) -> Tensor | None:
    """Returns the factor of every column's rate ``[n]``; None where all are 1.

    Args:
        parts: name -> shape of what a row is cut into, in order.
        frozen: a regular expression; parts whose names begin with a match are frozen. Empty for none.
        rates: regular expression -> factor; of those that match the beginning of a name the first counts.

    Raises:
        ConfigError: an expression is none, or no part matches it.

    >>> part_factors({"body.a": (2,), "body.b": (1,), "head": (2,)}, "body.a", {"body": 0.5})
    tensor([0.0000, 0.0000, 0.5000, 1.0000, 1.0000])
    """
    patterns = [(text, factor) for text, factor in ((frozen, 0.0), *rates.items()) if text]
    if not patterns:
        return None
    compiled = [(_compiled(text), factor) for text, factor in patterns]
    for pattern, _ in compiled:
        if not any(pattern.match(name) for name in parts):
            raise ConfigError(
                f"no part of the detector begins with a match of '{pattern.pattern}': expected one of those that "
                f"frozen and layer_lr can name, such as {', '.join(list(parts)[:3])}"
            )
    columns = []
    for name, shape in parts.items():
        factor = next((factor for pattern, factor in compiled if pattern.match(name)), 1.0)
        columns.append(torch.full((math.prod(shape),), factor))
    return torch.cat(columns)


def _compiled(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise ConfigError(f"'{text}' in frozen or layer_lr is no regular expression ({error})") from None
