"""What an image costs before anything was measured, so that a long command can say at once about how long it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mapopt.detectors.registry import DETECTORS, supports_lanes

if TYPE_CHECKING:
    import torch

_SECONDS = 0.0006
"""Of a core, for an image of 48 x 48 pixels in the tiny detector, training and evaluation."""

_ALONE = 1.5
"""What a lane alone costs over one among many, about: the parts of a step that all lanes share are its own."""


def expected_run_seconds(
    detector: str, size: tuple[int, int], *, images: int, device: torch.device | str
) -> float | None:
    """Returns about how many seconds a single run takes; None where nothing is known of its detector or device.

    >>> round(expected_run_seconds("tiny", (48, 48), images=1000, device="cpu"), 3)
    0.9
    """
    rate = expected_image_seconds(detector, size)
    return None if rate is None or str(device).startswith("cuda") else _ALONE * rate * images


def expected_image_seconds(detector: str, size: tuple[int, int]) -> float | None:
    """Returns about how many seconds of a core an image takes; None for a detector that nothing is known of.

    >>> round(expected_image_seconds("tiny", (48, 48)), 6)
    0.0006
    """
    if detector not in DETECTORS or not supports_lanes(detector):
        return None
    return _SECONDS * size[0] * size[1] / (48 * 48)
