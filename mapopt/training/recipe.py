"""What stays the same while a detector trains."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from mapopt.errors import ConfigError
from mapopt.training.optimizers.registry import OPTIMIZERS

if TYPE_CHECKING:
    from mapopt.losses import ListLoss


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What does not change while a detector trains."""

    detector: str = "tiny"
    """tiny, resnet18, retinanet, fcos, faster_rcnn, ssdlite, or one of the middle three on a smaller body:
    retinanet_resnet18, fcos_resnet18, faster_rcnn_resnet18."""
    loss: str = "focal"
    """The class loss: a name in `mapopt.losses.LOSSES`, or "torchvision" for one of its detectors' own losses."""
    loss_settings: dict[str, int | float | bool | str] = field(default_factory=dict)
    """Parameters of the class loss that differ from its defaults, such as {gradient: exact}."""
    box_loss: str = "giou"
    """giou or smooth_l1."""
    scope: Literal["class", "image", "batch"] | None = None
    """What a class loss ranks as one list; by default each class for ranking losses, the batch for pointwise ones."""
    balance: bool | None = None
    """Scale the box loss to the class loss at every step; by default for ranking losses."""
    soft_labels: bool | None = None
    """Tell the class loss how well predicted boxes fit: as IoUs where it reads them, else as a list per IoU threshold;
    by default only losses that read IoUs are told."""
    memory: int = 0
    """Scores of recent steps that a ranking loss ranks with the batch's, per list; 0 is none."""
    auxiliary: dict[str, float] = field(default_factory=dict)
    """Further class losses by name and weight, beside `loss`, such as {correlation: 0.2}."""
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
        from mapopt.losses import LOSSES, make_loss

        if self.batch_size < 1:
            raise ConfigError(f"batch_size is {self.batch_size}: expected 1 or more")
        if self.loss_settings and self.loss == "torchvision":
            raise ConfigError("loss_settings are given with torchvision's own losses: name a loss, such as focal")
        if self.loss != "torchvision":
            make_loss(self.loss, self.loss_settings)
        for name in self.auxiliary:
            make_loss(name)
        if self.memory < 0:
            raise ConfigError(f"memory is {self.memory}: expected a number of scores, or 0 for none")
        if not self.clip > 0:
            raise ConfigError(f"clip is {self.clip}: expected a positive gradient norm")
        if not 0 <= self.ema < 1:
            raise ConfigError(f"ema is {self.ema}: expected 0 (no average) or a decay below 1, such as 0.99")
        if self.class_balance == "weights" and self.loss != "torchvision" and not LOSSES[self.loss].pointwise:
            raise ConfigError(
                f"class_balance is 'weights' with loss '{self.loss}': expected a pointwise loss, such as focal; a "
                "ranking loss gives every class the same weight by itself"
            )
        if self.class_balance == "weights" and self.loss == "torchvision":
            raise ConfigError("class_balance is 'weights' with torchvision's own losses: name a loss, such as focal")
        OPTIMIZERS.check_name(self.optimizer)

    def make_loss(self) -> str | ListLoss:
        """Returns the class loss, or the name of torchvision's own losses."""
        from mapopt.losses import make_loss

        return self.loss if self.loss == "torchvision" else make_loss(self.loss, self.loss_settings)
