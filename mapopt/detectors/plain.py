"""Detectors as ordinary modules of one set of weights, for programs that know nothing of lanes, rows and knobs.

A `RawDetector` ends before suppression, with every location's boxes and scores: a program that cannot count boxes
before it runs, as exported ones cannot, has shapes that are known, and the order of suppression stays open.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD
from torchvision.ops import clip_boxes_to_image

from mapopt.detectors.dense.detector import DenseDetector
from mapopt.detectors.dense.geometry import Priors, decode, make_priors
from mapopt.detectors.dense.module_network import ModuleNetwork
from mapopt.detectors.dense.tiny import TinyNetwork
from mapopt.detectors.dense.tiny_module import TinyModule
from mapopt.detectors.interface import Detector
from mapopt.detectors.module import ModuleDetector
from mapopt.detectors.torchvision import TorchvisionDetector
from mapopt.detectors.torchvision_models import MODELS
from mapopt.errors import ConfigError


def plain_state(detector: Detector) -> dict[str, Tensor]:
    """Returns the parameters and buffers of a detector's module by the module's own names, copied to the host.

    Of torchvision's detectors these are what the ``load_state_dict`` of torchvision's own model takes, of ours those of
    the network's module; a detector of somebody's own without a module gives its `Detector.parts`.
    """
    if isinstance(detector, ModuleDetector):
        state = detector.model.state_dict()
    elif isinstance(detector, DenseDetector) and isinstance(detector.network, TinyNetwork | ModuleNetwork):
        state = _network_of(detector).state_dict()
    else:
        parts = detector.parts()
        sizes = [torch.Size(shape).numel() for shape in parts.values()]
        rows = detector.weights.detach()[0].split(sizes)
        state = {name: row.view(shape) for (name, shape), row in zip(parts.items(), rows, strict=True)}
    return {name: value.detach().cpu().clone() for name, value in state.items()}


def raw_detector(detector: Detector, *, name: str, size: tuple[int, int]) -> RawDetector:
    """Returns a detector's network with what makes boxes and scores of its numbers, before suppression.

    Args:
        detector: with trained weights in its first lane.
        name: what messages call it.
        size: (height, width) of the images.

    Raises:
        ConfigError: its boxes cannot be had before suppression, or it is one of somebody's own.
    """
    if type(detector) is DenseDetector and isinstance(detector.network, TinyNetwork | ModuleNetwork):
        return RawDense(detector, size).requires_grad_(False)
    if isinstance(detector, TorchvisionDetector):
        if isinstance(detector.model, RetinaNet | FCOS | SSD):
            raw = RawTorchvision(detector.model, size, skip=int(MODELS[detector.name].background))
            return raw.requires_grad_(False)
        raise ConfigError(
            f"detector '{name}' cannot be exported as a program: it suppresses proposals in the middle of its network, "
            "and torch.export cannot follow a number of boxes that differs from image to image; give --format "
            "state_dict, which torchvision's own model loads"
        )
    raise ConfigError(
        f"detector '{name}' cannot be exported as a program: it is one of your own, and only its own code knows what "
        "comes before suppression; give --format state_dict, and export the module with torch.onnx.export"
    )


class RawDetector(nn.Module):
    """Images ``[batch, 3, h, w]`` of 0 to 255 in, boxes ``[batch, n, 4]`` and scores ``[batch, n, classes]`` out.

    Boxes are xyxy in pixels of the images and lie inside them; scores are from 0 to 1.
    """


class RawDense(RawDetector):
    """A dense detector of ours; see `RawDetector`.

    Args:
        detector: with trained weights in its first lane.
        size: (height, width) of the images.
    """

    def __init__(self, detector: DenseDetector, size: tuple[int, int]) -> None:
        super().__init__()
        self.network, self._size = _network_of(detector).cpu().eval(), size
        with torch.no_grad():
            maps = self.network(torch.zeros(1, 3, *size))[2]
        priors = make_priors(maps, detector.network.strides, detector.network.prior_sizes)
        for name in Priors.__dataclass_fields__:
            self.register_buffer(name, getattr(priors, name))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns boxes and scores; see `RawDetector`."""
        logits, deltas, _ = self.network(images)
        boxes = decode(deltas, Priors(*(getattr(self, name) for name in Priors.__dataclass_fields__)))
        return clip_boxes_to_image(boxes, self._size), torch.sigmoid(logits)


class RawTorchvision(RawDetector):
    """A detector of torchvision's that has all its boxes before suppression; see `RawDetector`.

    Args:
        model: RetinaNet, FCOS or SSD as `mapopt.detectors.torchvision_models.build_model` makes them.
        size: (height, width) of the images.
        skip: leading columns of the scores that are no category.
    """

    def __init__(self, model: Any, size: tuple[int, int], *, skip: int) -> None:
        super().__init__()
        model = copy.deepcopy(model).cpu()
        self.backbone, self.head, self._coder = model.backbone, model.head, model.box_coder
        self.transform, self._size, self._skip = model.transform, size, skip
        self._centered, self._softmax = isinstance(model, FCOS), isinstance(model, SSD)
        self.eval()
        with torch.no_grad():
            blank = torch.zeros(1, 3, *size)
            (anchors,) = model.anchor_generator(ImageList(blank, [size]), list(self.backbone(blank).values()))
        self.anchors: Tensor
        self.register_buffer("anchors", anchors)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns boxes and scores; see `RawDetector`."""
        outputs = self.head(list(self.backbone(self.transform.normalize(images)).values()))
        logits, deltas = outputs["cls_logits"], outputs["bbox_regression"]
        anchors = self.anchors.expand(deltas.shape[0], -1, -1)
        if self._centered:
            boxes = self._coder.decode(deltas, anchors)
            scores = (logits.sigmoid() * outputs["bbox_ctrness"].sigmoid()).sqrt()
        else:
            boxes = self._coder.decode_single(deltas.flatten(0, 1), anchors.flatten(0, 1)).view(deltas.shape)
            scores = logits.softmax(-1) if self._softmax else logits.sigmoid()
        return clip_boxes_to_image(boxes, self._size), scores[..., self._skip :]


def _network_of(detector: DenseDetector) -> nn.Module:
    """Returns a network of ours as a module with the weights of the first lane."""
    if isinstance(detector.network, ModuleNetwork):
        return copy.deepcopy(detector.network.module)
    assert isinstance(detector.network, TinyNetwork)
    return TinyModule.of(detector.network, detector.weights.detach()[0])
