"""Knobs as the training step reads them: one tensor per knob, with a value per lane."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mapopt.training.knobs import Knobs, ranges


def stack_knobs(lanes: Sequence[Knobs], device: torch.device | str = "cpu") -> dict[str, torch.Tensor]:
    """Returns each knob as a float32 tensor ``[lanes]``."""
    return {
        name: torch.tensor([getattr(knobs, name) for knobs in lanes], dtype=torch.float32, device=device)
        for name in ranges()
    }
