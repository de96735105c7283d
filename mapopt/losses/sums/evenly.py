"""Functions of single numbers that give a number the same bits wherever it stands.

Torch's loops compute some functions in whole registers, and what is left at the end of a run by other means, with other
last bits: sigmoid, softplus, powers and exp2 on a CPU. So a list's loss would depend on whether another one stands
behind it, and a lane's bits on its neighbors.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_RUN = 64
"""Numbers, a multiple of what the widest registers hold at once, twice over."""


def evenly(function: Callable[..., Tensor], *values: Tensor) -> Tensor:
    """Returns what an elementwise function makes of values ``[...]``; the bits of each follow from its value alone.

    Args:
        function: of one tensor, or of several of a shape.
        values: its arguments, broadcast together.

    >>> values = torch.linspace(-3.0, 3.0, 100)
    >>> torch.equal(evenly(torch.sigmoid, values)[:7], evenly(torch.sigmoid, values[:7]))
    True
    """
    if values[0].device.type != "cpu":
        return function(*values)
    values = torch.broadcast_tensors(*values)
    shape, count = values[0].shape, values[0].numel()
    missing = -count % _RUN
    if not missing:
        return function(*(each.contiguous() for each in values))
    padded = (torch.nn.functional.pad(each.reshape(-1), (0, missing)) for each in values)
    return function(*padded)[:count].view(shape)


def raised(values: Tensor, power: float | Tensor) -> Tensor:
    """Returns powers of values ``[lists, n]``, of each the same bits wherever it stands.

    Args:
        values: at least 0.
        power: a number, or ``[lists, 1]``.
    """
    if isinstance(power, Tensor):
        return evenly(torch.pow, values, power)
    return evenly(lambda each: each**power, values)
