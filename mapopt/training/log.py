"""The record of an interval: sums over its steps, kept on the device so that no step waits for the host."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mapopt.training.component_sums import ComponentSums
from mapopt.training.history import Interval, Measure

_TOGETHER = 64
"""Steps that are added up at a time: of one step alone the calls would cost more than the numbers."""


class IntervalLog:
    """Sums over the steps of an interval, each lane over those in which it ran.

    Args:
        lanes: how many.
        device: where they train.
        measures: what else is looked at: "gradient_agreement" compares every gradient with the one before it, which
            keeps a copy of it; "components" are those of the losses.
    """

    def __init__(self, lanes: int, device: torch.device, *, measures: Sequence[Measure] = ()) -> None:
        self._agreement = Agreement(lanes, device) if "gradient_agreement" in measures else None
        self.components = ComponentSums(lanes, device) if "components" in measures else None
        self._sums = torch.zeros((8, lanes), dtype=torch.float64, device=device)
        self._largest = torch.zeros(lanes, device=device)
        self._steps: list[tuple[Tensor, ...]] = []
        self._limit = math.inf

    def of(self, lanes: Sequence[int]) -> IntervalLog:
        """Returns a log of some lanes that goes on from here, one for each that is given."""
        self._add_up()
        part = IntervalLog(len(lanes), self._largest.device)
        part._sums, part._largest = self._sums[:, list(lanes)], self._largest[list(lanes)]
        part._agreement = None if self._agreement is None else self._agreement.of(lanes)
        part.components = None if self.components is None else self.components.of(lanes)
        return part

    def put(self, part: IntervalLog, places: Sequence[int], lanes: Sequence[int]) -> None:
        """Takes the log of some lanes back: what stands at `places` there is of `lanes` here."""
        part._add_up()
        self._sums[:, list(lanes)] = part._sums[:, list(places)]
        self._largest[list(lanes)] = part._largest[list(places)]
        if self._agreement is not None and part._agreement is not None:
            self._agreement.put(part._agreement, places, lanes)
        if self.components is not None and part.components is not None:
            self.components.put(part.components, places, lanes)

    @torch.no_grad()
    def add(
        self,
        losses: dict[str, Tensor],
        *,
        gradients: Tensor,
        limit: float,
        moved: Tensor,
        weights: Tensor,
        running: Tensor,
        stepping: Tensor,
        gradient: Tensor,
    ) -> None:
        """Adds a step of the lanes that ran.

        Args:
            losses: ``{"class": [lanes], "box": [lanes]}``.
            gradients: lengths of the gradients before clipping ``[lanes]``.
            limit: the length they were clipped to.
            moved: lengths of the steps ``[lanes]``.
            weights: ``[lanes, n]`` after the step.
            running: bool ``[lanes]``.
            stepping: bool ``[lanes]``, those of them that did take the step.
            gradient: ``[lanes, n]``, clipped or not.
        """
        if self._agreement is not None:
            self._agreement.add(gradient, stepping)
        terms = (losses["class"].detach(), losses["box"].detach(), gradients, moved, weights.norm(dim=1))
        self._steps.append((*terms, running.clone(), stepping.clone()))
        self._limit = limit
        if len(self._steps) == _TOGETHER:
            self._add_up()

    def _add_up(self) -> None:
        """Adds the steps since the last time, one after the other; what is computed of each is computed at once."""
        if not self._steps:
            return
        classes, boxes, gradients, moved, lengths, running, stepping = map(torch.stack, zip(*self._steps, strict=True))
        self._steps = []
        ones = torch.ones_like(gradients)
        terms = [classes, boxes, gradients, gradients > self._limit, moved / lengths, gradients / lengths, ones, ones]
        counts = torch.stack([running if place in (0, 1, 7) else stepping for place in range(len(terms))], dim=1)
        for row in torch.where(counts, torch.stack(terms, dim=1).double(), 0.0):
            self._sums += row
        self._largest = torch.maximum(self._largest, torch.where(stepping, gradients, 0.0).amax(0))

    def intervals(
        self, *, images: int, steps: Sequence[int], seconds: tuple[float, float], weights: Tensor, diverged: Tensor
    ) -> list[Interval]:
        """Returns the lanes' reports.

        Args:
            images: each lane's.
            steps: each lane's own.
            seconds: each lane's part of the time, by the clock and of the processor.
            weights: ``[lanes, n]`` at the end.
            diverged: bool ``[lanes]``.
        """
        self._add_up()
        rows = zip(
            steps,
            self._sums.cpu().T.tolist(),
            self._largest.tolist(),
            weights.norm(dim=1).tolist(),
            diverged.tolist(),
            self._agreement.means() if self._agreement is not None else [None] * len(steps),
            self.components.means() if self.components is not None else [{} for _ in steps],
            strict=True,
        )
        return [
            Interval(
                images=images,
                steps=own,
                seconds=seconds[0],
                processor_seconds=seconds[1],
                class_loss=row[0] / max(1, row[7]),
                box_loss=row[1] / max(1, row[7]),
                gradient_norm=row[2] / max(1, row[6]),
                gradient_norm_max=largest,
                clipped=row[3] / max(1, row[6]),
                update_ratio=row[4] / max(1, row[6]),
                diverged=lost,
                gradient_ratio=row[5] / max(1, row[6]),
                weight_norm=length,
                gradient_agreement=agreement,
                components=components,
                skipped=round(row[7] - row[6]),
            )
            for own, row, largest, length, lost, agreement, components in rows
        ]


class Agreement:
    """The mean cosine between each gradient of a lane and the one before it; a gradient of length 0 agrees by 0."""

    def __init__(self, lanes: int, device: torch.device) -> None:
        self._sums = torch.zeros((2, lanes), dtype=torch.float64, device=device)
        self._before: Tensor | None = None

    def of(self, lanes: Sequence[int]) -> Agreement:
        """Returns what is known of some lanes, as `IntervalLog.of`."""
        part = Agreement(len(lanes), self._sums.device)
        part._sums = self._sums[:, list(lanes)]
        part._before = None if self._before is None else self._before[list(lanes)]
        return part

    def put(self, part: Agreement, places: Sequence[int], lanes: Sequence[int]) -> None:
        """Takes it back, as `IntervalLog.put`."""
        self._sums[:, list(lanes)] = part._sums[:, list(places)]
        if part._before is not None:
            if self._before is None:
                self._before = part._before.new_zeros((self._sums.shape[1], part._before.shape[1]))
            self._before[list(lanes)] = part._before[list(places)]

    @torch.no_grad()
    def add(self, gradient: Tensor, running: Tensor) -> None:
        """Adds the gradients ``[lanes, n]`` of a step of the lanes that run still, bool ``[lanes]``."""
        if self._before is None:
            self._before = gradient.clone()
        else:
            lengths = gradient.norm(dim=1).double() * self._before.norm(dim=1).double()
            product = (gradient * self._before).sum(dim=1).double()
            row = torch.stack([torch.where(lengths > 0, product / lengths, 0.0), torch.ones_like(lengths)])
            self._sums += torch.where(running, row, 0.0)
            self._before.copy_(gradient)

    def means(self) -> list[float | None]:
        """Returns every lane's mean; None where there were no two steps."""
        return [total / count if count else None for total, count in self._sums.T.tolist()]
