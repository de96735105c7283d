"""Several processes that train one detector: what they exchange, and what each of them has a part of.

A step's images are divided among the processes, and every number that belongs to the whole step is made of all parts:
gradients and losses are averaged, outputs that a loss ranks together are joined. `ALONE` is the same for one process:
it returns what it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist
from torch.autograd.function import once_differentiable

from mapopt.errors import ProcessLost

T = TypeVar("T")


class Processes:
    """The processes that train together, seen from one of them.

    All of them call the same methods in the same order. A method that waits for the others raises
    `mapopt.errors.ProcessLost` where one of them has ended.

    What is averaged over the processes is their objective, so a number that is joined or added up here is the same in
    each of them, and its gradient is what it would be in a single process once the gradients of all are averaged.

    Args:
        index: which of them this one is.
        count: how many there are; more than one are those of torch's process group.
    """

    def __init__(self, index: int = 0, count: int = 1) -> None:
        self.index, self.count = index, count

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files and prints."""
        return self.index == 0

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return self.count > 1

    def part(self, items: Sequence[T]) -> Sequence[T]:
        """Returns this process's part of a sequence; the parts of all, one after the other, are the whole."""
        each = -(-len(items) // self.count)
        return items[self.index * each : (self.index + 1) * each]

    def agree(self, value: T) -> T:
        """Returns the first process's value, whatever the others have found."""
        if not self.several:
            return value
        values = [value]
        _wait(lambda: dist.broadcast_object_list(values, src=0))
        return values[0]

    def each(self, value: T) -> list[T]:
        """Returns the value of every process."""
        if not self.several:
            return [value]
        values: list[Any] = [None] * self.count
        _wait(lambda: dist.all_gather_object(values, value))
        return values

    def anywhere(self, flag: bool) -> bool:
        """Returns whether something is so in any of the processes."""
        return any(self.each(flag)) if self.several else flag

    def spent(self, seconds: float, processor: float) -> tuple[float, float]:
        """Returns what a piece of work has cost: the first process's time by the clock, and all of the processors'."""
        if not self.several:
            return seconds, processor
        clocks, processors = zip(*self.each((seconds, processor)), strict=True)
        return clocks[0], sum(processors)

    @torch.no_grad()
    def average(self, tensor: Tensor) -> Tensor:
        """Averages a tensor in place, and returns it."""
        if self.several:
            _wait(lambda: dist.all_reduce(tensor))
            tensor /= self.count
        return tensor

    @torch.no_grad()
    def averages(self, *tables: dict[str, Tensor]) -> tuple[dict[str, Tensor], ...]:
        """Returns tables of numbers, all of one shape, averaged at once; they are detached where there are several."""
        if not self.several:
            return tables
        rows = self.average(torch.stack([value.detach() for table in tables for value in table.values()]))
        means = iter(rows)
        return tuple({name: next(means) for name in table} for table in tables)

    def join(self, tensor: Tensor, dim: int = 0) -> Tensor:
        """Returns the tensors of all processes, of one shape, one after the other."""
        return _Joined.apply(tensor, dim, self) if self.several else tensor  # type: ignore[no-any-return]

    def join_rows(self, tensor: Tensor) -> Tensor:
        """Returns the rows of all processes, of which each may have another number, one after the other."""
        if not self.several:
            return tensor
        counts = self.each(len(tensor))
        longest = max(counts)
        if not longest:
            return tensor
        padded = torch.cat([tensor, tensor.new_zeros((longest - len(tensor), *tensor.shape[1:]))])
        parts = self.join(padded).split(longest)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    def join_lists(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Returns the lists of all processes, each of tensors with any number of rows, one after the other."""
        if not self.several:
            return list(tensors)
        lengths = [length for own in self.each([len(tensor) for tensor in tensors]) for length in own]
        return list(self.join_rows(torch.cat(list(tensors))).split(lengths))

    def total(self, tensor: Tensor) -> Tensor:
        """Returns the sum over all processes; its gradient is theirs, too."""
        return _Total.apply(tensor) if self.several else tensor  # type: ignore[no-any-return]


ALONE = Processes()
"""A process without others."""


class _Joined(torch.autograd.Function):
    """Joins equal tensors; the gradient of the own part goes back, times the processes that it is averaged over."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, dim: int, processes: Processes) -> Tensor:
        parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(processes.count)]
        _wait(lambda: dist.all_gather(parts, tensor.contiguous()))
        ctx.dim, ctx.length, ctx.processes = dim, tensor.shape[dim], processes
        return torch.cat(parts, dim)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        own = upstream.narrow(ctx.dim, ctx.processes.index * ctx.length, ctx.length)
        return own * ctx.processes.count, None, None


class _Total(torch.autograd.Function):
    """Adds up over the processes; what every one of them makes of the sum comes back."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        _wait(lambda: dist.all_reduce(total))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        total = upstream.clone(memory_format=torch.contiguous_format)
        _wait(lambda: dist.all_reduce(total))
        return total


def _wait(exchange: Callable[[], object]) -> None:
    """Exchanges something with the other processes.

    Raises:
        ProcessLost: one of them has ended.
    """
    try:
        exchange()
    except RuntimeError as error:
        raise ProcessLost(
            f"another process of this training has ended ({' '.join(str(error).split())[:160]})"
        ) from None
