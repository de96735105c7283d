"""Every component of the losses by its own name, averaged over an interval or a split: rank, sort, box, objectness.

What is minimized is two numbers, a class loss and a box loss, and which of their parts falls or stalls cannot be seen
in them. Components are looked at only: a detector that keeps them computes the same losses, with the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

_TOGETHER = 64
"""Steps that are added up at a time, as in `IntervalLog`."""


class ComponentSums:
    """Sums over the steps of an interval, each lane over those in which it ran.

    A component that is not computed at a step, such as a loss that is blended in for a while, counts as 0 there.

    Args:
        lanes: how many.
        device: where they train.
    """

    def __init__(self, lanes: int, device: torch.device) -> None:
        self._lanes, self._device = lanes, device
        self._sums: dict[str, Tensor] = {}
        self._count = torch.zeros(lanes, dtype=torch.float64, device=device)
        self._steps: list[tuple[dict[str, Tensor], Tensor]] = []

    def add(self, components: Mapping[str, Tensor], running: Tensor) -> None:
        """Adds a step: name -> ``[lanes]``, of the lanes that ran, bool ``[lanes]``."""
        self._steps.append((dict(components), running.clone()))
        if len(self._steps) == _TOGETHER:
            self._add_up()

    def of(self, lanes: Sequence[int]) -> ComponentSums:
        """Returns what is known of some lanes, as `IntervalLog.of`."""
        self._add_up()
        part = ComponentSums(len(lanes), self._device)
        part._sums = {name: value[list(lanes)] for name, value in self._sums.items()}
        part._count = self._count[list(lanes)]
        return part

    def put(self, part: ComponentSums, places: Sequence[int], lanes: Sequence[int]) -> None:
        """Takes it back, as `IntervalLog.put`."""
        part._add_up()
        for name, value in part._sums.items():
            self._sum_of(name)[list(lanes)] = value[list(places)]
        self._count[list(lanes)] = part._count[list(places)]

    def means(self) -> list[dict[str, float]]:
        """Returns every lane's mean over its steps by name; nothing for a lane without a step."""
        self._add_up()
        counts = self._count.tolist()
        columns = {name: value.tolist() for name, value in self._sums.items()}
        return [
            {name: column[lane] / count for name, column in columns.items()} if count else {}
            for lane, count in enumerate(counts)
        ]

    def _sum_of(self, name: str) -> Tensor:
        return self._sums.setdefault(name, torch.zeros(self._lanes, dtype=torch.float64, device=self._device))

    def _add_up(self) -> None:
        if not self._steps:
            return
        running = torch.stack([ran for _, ran in self._steps])
        none = torch.zeros(self._lanes, device=self._device)
        for name in dict.fromkeys(name for components, _ in self._steps for name in components):
            values = torch.stack([components.get(name, none).float() for components, _ in self._steps])
            self._sum_of(name).add_(torch.where(running, values, 0.0).double().sum(0))
        self._count += running.sum(0)
        self._steps = []
