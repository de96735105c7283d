"""Detectors by name: the one place that knows which there are and what each of them can do."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mapopt.detectors.dense.detector import DenseDetector
from mapopt.detectors.dense.losses import DenseLoss
from mapopt.detectors.dense.resnet import ResNetNetwork
from mapopt.detectors.dense.tiny import STRIDE, TinyNetwork
from mapopt.detectors.interface import Detector
from mapopt.detectors.objective import OWN_LOSS, Objective
from mapopt.detectors.torchvision import TorchvisionDetector
from mapopt.errors import ConfigError, unknown_name


@dataclass(frozen=True)
class DetectorKind:
    """What a detector asks for."""

    multiple: int
    """Of which both sides of the images must be multiples."""
    lanes: bool = False
    """Whether it trains several sets of weights at once."""
    zoo: bool = False
    """Whether it is one of torchvision's."""


DETECTORS: dict[str, DetectorKind] = {
    "tiny": DetectorKind(STRIDE, lanes=True),
    "resnet18": DetectorKind(32),
    "retinanet": DetectorKind(32, zoo=True),
    "fcos": DetectorKind(32, zoo=True),
    "faster_rcnn": DetectorKind(32, zoo=True),
    "ssdlite": DetectorKind(32, zoo=True),
    "retinanet_resnet18": DetectorKind(32, zoo=True),
    "fcos_resnet18": DetectorKind(32, zoo=True),
    "faster_rcnn_resnet18": DetectorKind(32, zoo=True),
}
"""Every detector, in the order in which they are presented."""


def build_detector(
    name: str,
    objective: Objective,
    *,
    classes: int,
    size: tuple[int, int],
    lanes: int = 1,
    weights: str | None = None,
    device: torch.device | str = "cpu",
    autocast: bool = False,
) -> Detector:
    """Builds a detector.

    Args:
        name: key of `DETECTORS`.
        objective: what it minimizes; torchvision's detectors may keep their own losses.
        classes: number of categories.
        size: (height, width) of the images in pixels.
        lanes: independent sets of weights.
        weights: name of pretrained weights; None starts from scratch and downloads nothing.
        device: where the weights live.
        autocast: run the network in bfloat16 (CUDA).

    Raises:
        ConfigError: a name is unknown, the detector cannot do what is asked, or weights cannot be had.

    >>> build_detector("tiny", Objective(), classes=3, size=(48, 48), lanes=4).weights.shape[0]
    4
    """
    kind = _kind(name)
    if classes < 1:
        raise ConfigError(f"a detector of {classes} classes was asked for: expected at least one")
    if lanes < 1 or (lanes > 1 and not kind.lanes):
        able = ", ".join(f"'{other}'" for other, one in DETECTORS.items() if one.lanes)
        raise ConfigError(
            f"detector '{name}' with {lanes} lanes: expected "
            + ("at least one" if kind.lanes else f"one; train the lanes in turn, as Fleet does, or use {able}")
        )
    _check_size(name, kind.multiple, size)
    if kind.zoo:
        return TorchvisionDetector(name, objective, classes=classes, weights=weights, device=device, autocast=autocast)
    for what, given in (("loss", objective.loss), ("box_loss", objective.box_loss)):
        if given == OWN_LOSS:
            raise ConfigError(
                f"{what} '{OWN_LOSS}' with detector '{name}': expected a loss of mapopt.losses, such as "
                + ("focal" if what == "loss" else "giou")
            )
    if name == "tiny" and weights is not None:
        raise ConfigError(f"weights '{weights}' for detector 'tiny', which has no pretrained ones: leave `weights` out")
    loss = DenseLoss(objective)
    # A background prior helps losses on probabilities; where a sigmoid saturates, a ranking would get no gradient.
    bias = 0.0 if loss.ranking.saturates else None
    return DenseDetector(
        TinyNetwork(classes, bias=bias) if name == "tiny" else ResNetNetwork(classes, weights, bias=bias),
        loss,
        lanes=lanes,
        size=size,
        device=device,
        autocast=autocast,
    )


def supports_lanes(name: str) -> bool:
    """Returns whether a detector trains several sets of weights at once."""
    return _kind(name).lanes


def _kind(name: str) -> DetectorKind:
    if name not in DETECTORS:
        raise ConfigError(unknown_name("detector", name, DETECTORS))
    return DETECTORS[name]


def _check_size(name: str, multiple: int, size: tuple[int, int]) -> None:
    if all(side >= multiple and side % multiple == 0 for side in size):
        return
    lower = [max(multiple, side // multiple * multiple) for side in size]
    upper = [max(multiple, -(-side // multiple) * multiple) for side in size]
    near = dict.fromkeys(f"{height}x{width}" for height, width in (lower, upper))
    raise ConfigError(
        f"images of {size[0]}x{size[1]} pixels for detector '{name}': expected a height and a width that are "
        f"multiples of {multiple}, such as {' or '.join(near)}"
    )
