"""A torch module as a function of one row of numbers, which is how an optimizer of lanes sees it.

torch modules own their parameters; here they come from outside, so that weights of every detector are rows of one
matrix. Nothing is copied: a parameter is a view of the row, and its gradient arrives in the row's gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Row:
    """Maps between the parameters of a module and a row ``[n]``.

    Args:
        module: whose parameters give names and shapes, in the module's order.

    >>> row = Row(nn.Linear(2, 1))
    >>> row.parameters, {name: tuple(part.shape) for name, part in row.split(torch.zeros(3)).items()}
    (3, {'weight': (1, 2), 'bias': (1,)})
    """

    def __init__(self, module: nn.Module) -> None:
        self._shapes = {name: parameter.shape for name, parameter in module.named_parameters()}
        self._sizes = [shape.numel() for shape in self._shapes.values()]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the parameters by name, in order."""
        return {name: tuple(shape) for name, shape in self._shapes.items()}

    @property
    def parameters(self) -> int:
        """Trained numbers."""
        return sum(self._sizes)

    def split(self, row: Tensor) -> dict[str, Tensor]:
        """Returns each parameter by name, as a view of the row ``[n]``."""
        parts = zip(self._shapes.items(), row.split(self._sizes), strict=True)
        return {name: part.view(shape) for (name, shape), part in parts}

    def join(self, module: nn.Module) -> Tensor:
        """Copies the parameters of a module of the same shape into a row ``[n]``."""
        return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])

    def decay_mask(self) -> Tensor:
        """Returns float ``[n]``: 1 on the weights of convolutions and linear layers, 0 on norms and biases."""
        parts = zip(self._shapes.values(), self._sizes, strict=True)
        return torch.cat([torch.full((size,), float(len(shape) > 1)) for shape, size in parts])


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Seeds torch's global random streams for a block and puts them back after it.

    Args:
        seed: what the numbers inside the block are a function of.
        device: a GPU whose stream is seeded too.
    """
    device = torch.device(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        # Not torch.manual_seed: it would also seed GPUs whose streams are not put back.
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
