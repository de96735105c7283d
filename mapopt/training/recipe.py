"""What stays the same while a detector trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mapopt.detectors.objective import Objective
from mapopt.errors import ConfigError
from mapopt.training.optimizers.registry import OPTIMIZERS


@dataclass(frozen=True, kw_only=True)
class Recipe(Objective):
    """What does not change while a detector trains."""

    detector: str = "tiny"
    """tiny, resnet18, retinanet, fcos, faster_rcnn, ssdlite, or one of the middle three on a smaller body:
    retinanet_resnet18, fcos_resnet18, faster_rcnn_resnet18."""
    class_balance: Literal["none", "weights", "sampling"] = "none"
    """How rare classes are helped: a pointwise loss weighted by inverse frequency, or images drawn so that every class
    comes equally often."""
    optimizer: str = "sgd"
    """sgd or adamw, or ``module:attribute`` for your own."""
    batch_size: int = 16
    """Images a step."""
    clip: float = 10.0
    """Largest gradient norm."""
    ema: float = 0.0
    """Decay per step of the averaged weights that are evaluated; 0 evaluates the weights themselves."""
    weights: str | None = None
    """Pretrained weights by torchvision's name, for detectors that have them."""
    autocast: bool = True
    """Run in bfloat16 where the device is a GPU."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size < 1:
            raise ConfigError(f"batch_size is {self.batch_size}: expected 1 or more")
        if not self.clip > 0:
            raise ConfigError(f"clip is {self.clip}: expected a positive gradient norm")
        if not 0 <= self.ema < 1:
            raise ConfigError(f"ema is {self.ema}: expected 0 (no average) or a decay below 1, such as 0.99")
        if self.class_balance == "weights" and self.own:
            raise ConfigError("class_balance is 'weights' with a detector's own losses: name a loss, such as focal")
        if self.class_balance == "weights" and not self.pointwise:
            raise ConfigError(
                f"class_balance is 'weights' with loss '{self.loss}': expected a pointwise loss, such as focal; a "
                "ranking loss gives every class the same weight by itself"
            )
        OPTIMIZERS.check_name(self.optimizer)
