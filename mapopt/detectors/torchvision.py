"""torchvision's detectors behind the interface of ours, at the size of the images and with our losses in theirs.

torchvision decides what a location is, which object it answers for and what is reported; a loss of ours sees its logits
as lists, exactly as the dense detector's does. Only one set of weights can run at a time.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from mapopt.detectors.module import ModuleDetector
from mapopt.detectors.objective import Objective
from mapopt.detectors.request import DetectorRequest, HalfPrecision
from mapopt.detectors.torchvision_models import MODELS, build_model
from mapopt.errors import ConfigError, unknown_name


class TorchvisionDetector(ModuleDetector):
    """One of torchvision's detectors, with one lane.

    With a loss of ours, the class loss and the box loss of RetinaNet, FCOS, SSDlite and of Faster R-CNN's box head are
    replaced; FCOS keeps its centerness loss, which counts as a box loss, and Faster R-CNN the losses of its proposal
    network. Of detectors that score with a softmax the ranked logits are the log-odds, so that what is ranked is
    what is reported. Crowd regions are ignored; with torchvision's own losses they are background, as in its training
    scripts. The knob ``assign_iou`` sets the matcher of the anchors, of Faster R-CNN the box head's; FCOS has none.

    Args:
        name: key of `mapopt.detectors.torchvision_models.MODELS`.
        objective: the losses; of ours those that it names, or torchvision's own.
        classes: number of categories.
        weights: name of pretrained weights, such as ``"DEFAULT"``; their batch norms are frozen.
        fetch: read these weights; otherwise their places are filled by a saved state.
        device: where to run.
        autocast: run the network in bfloat16 or float16; boxes, anchors and losses stay in float32.
        settings: ``anchor_scale``, factor of the sides of torchvision's anchors, for objects that are smaller or larger
            than COCO's; ``dropout``, the probability with which a channel of a map that the heads read is left out.

    Raises:
        ConfigError: a name is unknown, a loss has no use for a setting, or weights cannot be had.
    """

    def __init__(
        self,
        name: str,
        objective: Objective,
        *,
        classes: int,
        weights: str | None = None,
        fetch: bool = True,
        device: torch.device | str = "cpu",
        autocast: HalfPrecision = "none",
        **settings: float,
    ) -> None:
        if name not in MODELS:
            raise ConfigError(unknown_name("torchvision detector", name, MODELS))
        super().__init__(
            partial(build_model, name, classes, weights=weights, fetch=fetch, **settings),
            objective,
            classes=classes,
            name=name,
            first_label=int(MODELS[name].background),
            device=device,
            autocast=autocast,
        )

    def _arguments(self, images: Tensor) -> Any:
        # Their transform is one of ours, which takes the batch as it is.
        return images


def build_torchvision_detector(request: DetectorRequest, *, name: str, **settings: float) -> TorchvisionDetector:
    """Builds one of torchvision's detectors.

    Args:
        request: what it is built for.
        name: key of `mapopt.detectors.torchvision_models.MODELS`.
        settings: see `TorchvisionDetector`.

    Raises:
        ConfigError: weights cannot be had, or a loss has no use for a setting.
    """
    return TorchvisionDetector(
        name,
        request.objective,
        classes=request.classes,
        weights=request.weights,
        fetch=request.fetch,
        device=request.device,
        autocast=request.autocast,
        **settings,
    )
