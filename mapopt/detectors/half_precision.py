"""Half precision: the network's convolutions and products in 16 bits, its weights, boxes and losses in float32.

What the recipe's `autocast` names is torch's own autocast. Boxes stay out of it: at 600 pixels bfloat16 is off by up
to 2.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from mapopt.detectors.request import HalfPrecision

_TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def half_precision(device: torch.device, autocast: HalfPrecision) -> AbstractContextManager[object]:
    """Returns torch's autocast for a device.

    Args:
        device: where the network runs.
        autocast: the type; "none" leaves everything in float32.

    >>> with half_precision(torch.device("cpu"), "bfloat16"):
    ...     (torch.ones(1, 1) @ torch.ones(1, 1)).dtype
    torch.bfloat16
    """
    return torch.autocast(device.type, _TYPES.get(autocast, torch.bfloat16), enabled=autocast != "none")
