"""Knobs as the training step reads them: one tensor per knob, with a value per lane."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mapopt.training.knobs import Knobs


def stack_knobs(lanes: Sequence[Knobs], device: torch.device | str = "cpu") -> dict[str, torch.Tensor]:
    """Returns each knob, ours and own ones, as a float32 tensor ``[lanes]``.

    Args:
        lanes: the knobs of each; all have the same own ones.
        device: where the tensors are needed.
    """
    rows = [knobs.as_dict() for knobs in lanes]
    return {name: torch.tensor([row[name] for row in rows], dtype=torch.float32, device=device) for name in rows[0]}
