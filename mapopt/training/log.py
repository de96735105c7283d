"""The record of an interval: sums over its steps, kept on the device so that no step waits for the host."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mapopt.training.history import Interval


class IntervalLog:
    """Sums over the steps of an interval, each lane over those in which it ran."""

    def __init__(self, lanes: int, device: torch.device) -> None:
        self._sums = torch.zeros((7, lanes), dtype=torch.float64, device=device)
        self._largest = torch.zeros(lanes, device=device)

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
    ) -> None:
        """Adds a step of the lanes that ran.

        Args:
            losses: ``{"class": [lanes], "box": [lanes]}``.
            gradients: lengths of the gradients before clipping ``[lanes]``.
            limit: the length they were clipped to.
            moved: lengths of the steps ``[lanes]``.
            weights: ``[lanes, n]`` after the step.
            running: bool ``[lanes]``.
        """
        lengths = weights.norm(dim=1)
        terms = [losses["class"], losses["box"], gradients, gradients > limit, moved / lengths, gradients / lengths]
        row = torch.stack([*terms, torch.ones_like(gradients)])
        self._sums += torch.where(running, row.double(), 0.0)
        self._largest = torch.maximum(self._largest, torch.where(running, gradients, 0.0))

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
        rows = zip(
            steps,
            self._sums.cpu().T.tolist(),
            self._largest.tolist(),
            weights.norm(dim=1).tolist(),
            diverged.tolist(),
            strict=True,
        )
        return [
            Interval(
                images=images,
                steps=own,
                seconds=seconds[0],
                processor_seconds=seconds[1],
                class_loss=row[0] / max(1, row[6]),
                box_loss=row[1] / max(1, row[6]),
                gradient_norm=row[2] / max(1, row[6]),
                gradient_norm_max=largest,
                clipped=row[3] / max(1, row[6]),
                update_ratio=row[4] / max(1, row[6]),
                diverged=lost,
                gradient_ratio=row[5] / max(1, row[6]),
                weight_norm=length,
            )
            for own, row, largest, length, lost in rows
        ]
