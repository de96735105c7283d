"""What a detector is built for, and what is known of one before it is built; none of it needs torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from mapopt.detectors.objective import Objective
from mapopt.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from mapopt.detectors.interface import Detector


HalfPrecision = Literal["none", "bfloat16", "float16"]
"""In which type of 16 bits a network runs, if in any; see `mapopt.detectors.half_precision`."""


def is_weights_file(weights: str) -> bool:
    """Says whether weights are those of a file: no name of torchvision's has an ending or a folder."""
    return bool(os.path.dirname(weights) or Path(weights).suffix)


def check_weights(weights: str | None) -> None:
    """Raises ConfigError for pretrained weights in a file that is not there."""
    if weights is None or not is_weights_file(weights) or Path(weights).is_file():
        return
    if Path(weights).is_dir():
        raise ConfigError(
            f"weights '{weights}': is a folder; expected a file with a state dictionary. A run of mapopt is given as "
            "--start-from"
        )
    raise ConfigError(
        f"weights '{weights}': no such file; expected a state dictionary that torch.save or safetensors wrote"
    )


@dataclass(frozen=True, kw_only=True)
class DetectorRequest:
    """What a detector is built for."""

    objective: Objective
    """What it minimizes; `mapopt.detectors.DenseLoss` computes it for detectors of dense locations."""
    classes: int
    """Number of categories."""
    size: tuple[int, int]
    """(height, width) of the images in pixels."""
    lanes: int = 1
    """Independent sets of weights."""
    weights: str | None = None
    """Pretrained weights by torchvision's name, or a file of a state dictionary; None starts from scratch."""
    fetch: bool = True
    """Whether to read them; where a saved state follows, which replaces them, only the architecture is needed."""
    device: torch.device | str = "cpu"
    """Where the weights live."""
    autocast: HalfPrecision = "none"
    """Run the network in bfloat16 or in float16, by torch's autocast."""


class DetectorBuilder(Protocol):
    """Builds a detector: a function, or a class whose constructor takes these arguments.

    It may have attributes ``size_multiple`` and ``supports_lanes``, which are those of `DetectorKind`, and ``knobs``.
    """

    def __call__(self, request: DetectorRequest, **settings: Any) -> Detector:
        """Returns a detector; the settings are the user's."""


@dataclass(frozen=True, kw_only=True)
class DetectorKind:
    """How a detector is built, and what it asks for."""

    builder: str
    """The `DetectorBuilder`, as ``module:attribute``."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What the builder is given beside the request."""
    accepts: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """What a user may set of it beside that, as a recipe's ``detector_settings``: numbers, with their ranges."""
    size_multiple: int = 1
    """Of which both sides of the images must be multiples."""
    min_side: int = 1
    """Pixels that both sides must have at the least."""
    supports_lanes: bool = False
    """Whether it trains several sets of weights at once."""
    optimizer: str = "sgd"
    """What trains it where a recipe names no optimizer."""
    lr: float | None = None
    """The learning rate with that optimizer where none is given; None is the optimizer's."""
    weight_decay: float | None = None
    """The weight decay with it, likewise."""
    soft_nms_sigma: float = 0.0
    """The knob of this name that a task starts from where its knobs leave it open."""
