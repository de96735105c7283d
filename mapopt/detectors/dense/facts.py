"""What a detector knows of every logit beside its label, for losses that read it: class, object, how rare the class is.

Only what some loss reads is computed; losses that read nothing cost nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mapopt.detectors.dense.geometry import Assignment
from mapopt.errors import ConfigError, unknown_name
from mapopt.losses import ListLoss

FACTS = ("classes", "frequencies", "objects")
"""What is known; see `mapopt.losses.ListLoss`."""

Facts = dict[str, Tensor]
"""By name, each ``[lanes, batch, locations, classes]``."""


class EntryFacts:
    """Knows what the class losses of a detector read.

    Args:
        losses: the class losses.

    Attributes:
        reads: what they read.
        frequencies: ``[lanes, classes]`` fractions of the objects to train on, or None where nobody has counted them.

    Raises:
        ConfigError: a loss reads what no detector knows.
    """

    def __init__(self, losses: Sequence[ListLoss]) -> None:
        for loss in losses:
            for name in loss.reads:
                if name not in FACTS:
                    raise ConfigError(f"{type(loss).__name__} reads: {unknown_name('fact', name, FACTS)}")
        self.reads = {name for loss in losses for name in loss.reads}
        self.frequencies: Tensor | None = None
        self._rare = next((type(loss).__name__ for loss in losses if "frequencies" in loss.reads), "")

    def count_classes(self, lane: int, counts: Tensor, *, lanes: int) -> None:
        """Takes the number of objects of each class ``[classes]``; a class without any counts as having one."""
        counts = counts.to(torch.float32).clamp(min=1)
        if self.frequencies is None:
            self.frequencies = torch.full((lanes, len(counts)), 1 / len(counts), device=counts.device)
        self.frequencies[lane] = counts / counts.sum()

    def __call__(self, logits: Tensor, assignment: Assignment, *, objects: int) -> Facts:
        """Returns what the losses read of every logit.

        Args:
            logits: ``[lanes, batch, locations, classes]``.
            assignment: of the locations.
            objects: how many an image has, padding included.

        Raises:
            ConfigError: a loss reads how frequent the classes are, and that was not counted.
        """
        facts: Facts = {}
        if "classes" in self.reads:
            facts["classes"] = torch.arange(logits.shape[-1], device=logits.device).expand(logits.shape)
        if "frequencies" in self.reads:
            facts["frequencies"] = self._frequencies(logits)[:, None, None].expand(logits.shape)
        if "objects" in self.reads:
            numbers = assignment.objects + objects * torch.arange(logits.shape[1], device=logits.device)[:, None]
            facts["objects"] = torch.where(assignment.objects < 0, -1, numbers)[..., None].expand(logits.shape)
        return facts

    def _frequencies(self, logits: Tensor) -> Tensor:
        if self.frequencies is None:
            raise ConfigError(
                f"{self._rare} reads how frequent the classes are, and nobody has counted them: call count_classes of "
                "the detector first, as a trainer does, with the objects of each class"
            )
        if self.frequencies.shape[-1] != logits.shape[-1]:
            raise ConfigError(
                f"the objects of {self.frequencies.shape[-1]} classes were counted, but there are logits of "
                f"{logits.shape[-1]}: give one count for each"
            )
        return self.frequencies.to(logits.device)
