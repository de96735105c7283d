"""A torch module as a function of one row of numbers, which is how an optimizer of lanes sees it.

torch modules own their parameters; here they come from outside, so that weights of every detector are rows of one
matrix. Nothing is copied: a parameter is a view of the row, and its gradient arrives in the row's gradient.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call


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


class RowModule:
    """A module whose parameters are the parts of one lane's row, and whose gradients arrive in a row that is kept.

    A row that is itself the leaf gets its gradient as a fresh row that is cleared, gathered and copied, each a pass
    over all numbers: for 36 million of them a quarter of a step. Here every part's gradient is copied to its place when
    it is complete, and freed at once. The numbers are the same.

    Args:
        module: whose parameters become views of the weights, with the weights' numbers.
        row: their names and shapes.
        weights: ``[1, n]`` on the module's device; its numbers are changed in place, and never moved.

    >>> module, weights = nn.Linear(2, 1), torch.ones(1, 3)
    >>> bound = RowModule(module, Row(module), weights)
    >>> bound(weights, torch.tensor([2.0, 3.0])).sum().backward()
    >>> bound.gradient(), module.bias.item()
    (tensor([[2., 3., 1.]]), 1.0)
    """

    def __init__(self, module: nn.Module, row: Row, weights: Tensor) -> None:
        self._module, self._row, self._weights = module, row, weights
        self._arrived: set[str] = set()
        places = row.split(weights.detach()[0])
        # A parameter's hooks are out of sight of the garbage collector: one that held this would keep it for ever.
        held = weakref.ref(self)
        for name, parameter in module.named_parameters():
            parameter.data = places[name]
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(partial(_take, held, name))

    def __call__(self, weights: Tensor, *arguments: Any) -> Any:
        """Runs the module with its own weights, or with others ``[1, n]``, which get no gradient."""
        if weights is self._weights:
            return self._module(*arguments)
        return functional_call(self._module, self._row.split(weights.detach()[0]), arguments)

    def gradient(self) -> Tensor:
        """Returns ``[1, n]``: what backward passes left since the last `clear`, in the same memory every time."""
        self._finish()
        return self._places[0]

    def clear(self) -> None:
        """Forgets the gradient."""
        self._arrived = set()
        self._weights.grad = None

    @cached_property
    def _places(self) -> tuple[Tensor, dict[str, Tensor]]:
        """The row of gradients, and each part's place in it; made when a detector first trains."""
        row = torch.zeros_like(self._weights, requires_grad=False)
        return row, self._row.split(row[0])

    def _take(self, name: str, parameter: Tensor) -> None:
        """Takes a parameter's gradient, which is complete, however often the parameter is used."""
        assert parameter.grad is not None
        place = self._places[1][name]
        if name in self._arrived:
            place.add_(parameter.grad)
        else:
            place.copy_(parameter.grad)
            self._arrived.add(name)
        parameter.grad = None
        if self._weights.grad is None:
            # For whoever has an optimizer of torch's on the row.
            self._weights.grad = self._places[0]
            torch.autograd.Variable._execution_engine.queue_callback(self._finish)  # type: ignore[attr-defined]

    def _finish(self) -> None:
        """Clears what no gradient came to."""
        places = self._places[1]
        for name in places.keys() - self._arrived:
            places[name].zero_()
        self._arrived = set(places)


def _take(held: weakref.ref[RowModule], name: str, parameter: Tensor) -> None:
    module = held()
    assert module is not None
    module._take(name, parameter)


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
