"""torchvision's detectors as plain modules: which there are, how they are built, and where their weights come from.

The large ones are torchvision's own builders with a ResNet-50 or a MobileNet; beside them stand small ones, its
heads on a ResNet-18 pyramid with GroupNorm, which learn from scratch on small images and on a CPU. Those called small
have 64 channels in pyramid and heads where torchvision has 256, which is most of what a step costs, and priors from 16
pixels on.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torchvision.models import MobileNet_V3_Large_Weights, ResNet18_Weights, ResNet50_Weights, WeightsEnum, resnet18
from torchvision.models import detection as models
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from mapopt.detectors.dense.resnet import group_norm
from mapopt.detectors.dropout import add_dropout
from mapopt.detectors.pretrained import (
    body_state,
    choose_weights,
    fetch_weights,
    freeze_batch_norms,
    load_detector,
)
from mapopt.detectors.request import is_weights_file

Build = Callable[[int, bool], Any]
"""Makes a module from the number of its class columns and whether pretrained weights will be loaded into it."""


@dataclass(frozen=True)
class ZooModel:
    """One of torchvision's detectors."""

    build: Build
    background: bool
    """Whether column 0 of its class scores is the background."""
    whole: type[WeightsEnum] | None = None
    """Pretrained weights of the whole detector."""
    body: type[WeightsEnum] | None = None
    """Pretrained weights of the backbone alone."""
    public: str = ""
    """torchvision's function that builds it, in ``torchvision.models.detection``; empty if there is none."""
    class_layers: str = r"head\.classification_head\.cls_logits\."
    """Matches the parameters that belong to the categories of the pretraining."""


def build_model(
    name: str,
    classes: int,
    *,
    weights: str | None,
    fetch: bool = True,
    anchor_scale: float = 1.0,
    dropout: float = 0.0,
) -> Any:
    """Builds one of `MODELS` with fresh weights from torch's global stream, or pretrained ones where they fit.

    Args:
        name: key of `MODELS`.
        classes: number of categories, without a background.
        weights: name of a member of the model's families of weights, or a file; its batch norms are then frozen.
        fetch: read these weights; otherwise their places are filled by a saved state.
        anchor_scale: factor of the sides of its anchors; of FCOS, which has none, leave it at 1.
        dropout: probability with which a channel of a map of the backbone is left out of a loss.

    Raises:
        ConfigError: the weights have no such name, or cannot be downloaded.
    """
    spec = MODELS[name]
    model = spec.build(classes + spec.background, weights is not None)
    if weights is not None:
        _load_pretrained(model, name, weights, fetch=fetch)
        freeze_batch_norms(model)
    if anchor_scale != 1:
        _scale_anchors(model, anchor_scale)
    # The images have the network's size already.
    model.transform = FixedSize(tuple(model.transform.image_mean), tuple(model.transform.image_std))
    add_dropout(model, dropout)
    _keep_float32(model)
    return model.train()


class FixedSize(nn.Module):
    """Stands in for torchvision's transform where nothing is to be resized: it normalizes a batch and that is all.

    Args:
        mean: of each channel, for pixels of 0 to 1.
        standard_deviation: likewise.
    """

    def __init__(self, mean: tuple[float, ...], standard_deviation: tuple[float, ...]) -> None:
        super().__init__()
        self._mean, self._standard_deviation = mean, standard_deviation

    def forward(self, images: Tensor, targets: list[dict[str, Tensor]] | None = None) -> tuple[ImageList, Any]:
        """Returns the images ``[batch, 3, h, w]`` of 0 to 255 as torchvision's list, and the targets untouched."""
        size = (images.shape[-2], images.shape[-1])
        return ImageList(self.normalize(images), [size] * len(images)), targets

    def normalize(self, images: Tensor) -> Tensor:
        """Returns images ``[batch, 3, h, w]`` of 0 to 255 as the backbone takes them."""
        mean = torch.tensor(self._mean, device=images.device)[:, None, None]
        standard_deviation = torch.tensor(self._standard_deviation, device=images.device)[:, None, None]
        return (images / 255 - mean) / standard_deviation

    def postprocess(self, result: Any, image_shapes: Any, original_sizes: Any) -> Any:
        """Returns the boxes as they are."""
        return result


def _load_pretrained(model: Any, name: str, weights: str, *, fetch: bool) -> None:
    """Loads pretrained weights, of the whole detector or of its body; without `fetch` it checks their name."""
    spec, body = MODELS[name], cast("nn.Module | None", getattr(model.backbone, "body", None))
    if is_weights_file(weights):
        if fetch:
            load_detector(model, body, weights, classes=spec.class_layers)
        return
    member = choose_weights(name, weights, [family for family in (spec.whole, spec.body) if family])
    if not fetch:
        return
    state = fetch_weights(name, member)
    if spec.whole and isinstance(member, spec.whole):
        known = {key: value for key, value in state.items() if not re.match(spec.class_layers, key)}
        _load(model, known, fresh=spec.class_layers)
    else:
        assert body is not None  # which weights of one are of
        _load(body, body_state(state))


def _scale_anchors(model: Any, factor: float) -> None:
    """Gives a model anchors of the same shapes at other sizes."""
    owner = model.rpn if isinstance(model, models.FasterRCNN) else model
    made = owner.anchor_generator
    if isinstance(made, DefaultBoxGenerator):
        scales = [factor * scale for scale in made.scales]
        owner.anchor_generator = DefaultBoxGenerator(
            made.aspect_ratios, scales=scales, steps=made.steps, clip=made.clip
        )
    else:
        sizes = tuple(tuple(factor * side for side in level) for level in made.sizes)
        owner.anchor_generator = AnchorGenerator(sizes, made.aspect_ratios)


def _load(module: nn.Module, state: dict[str, Tensor], fresh: str = "$") -> None:
    """Loads a state into a module; only what matches `fresh` may be missing from it."""
    result = module.load_state_dict(state, strict=False)
    wrong = [*result.unexpected_keys, *(key for key in result.missing_keys if not re.match(fresh, key))]
    assert not wrong, f"torchvision's weights and torchvision's detector disagree about {wrong[:3]}"


def _keep_float32(model: Any) -> None:
    """Widens what leaves the backbone and the heads: in bfloat16 an anchor at 600 pixels is off by up to 2."""
    heads = [model.rpn.head, model.roi_heads.box_predictor] if isinstance(model, models.FasterRCNN) else [model.head]
    for module in (model.backbone, *heads):
        module.register_forward_hook(_widen)


def _widen(module: nn.Module, inputs: Any, outputs: Any) -> Any:
    return _float32(outputs)  # a hook by name, because a detector is pickled with it


def _float32(values: Any) -> Any:
    if isinstance(values, Tensor):
        return values.float()
    if isinstance(values, dict):
        return type(values)((key, _float32(value)) for key, value in values.items())
    return type(values)(_float32(value) for value in values)


def _own(builder: Callable[..., Any]) -> Build:
    """One of torchvision's builders, which would download weights for the backbone by default."""

    def build(columns: int, pretrained: bool) -> Any:
        return builder(weights=None, weights_backbone=None, num_classes=columns)

    return build


def _ssd300(columns: int, pretrained: bool) -> Any:
    """Spreads the default boxes of every map evenly over the image.

    torchvision's have fixed steps of pixels, which fit images of 300: at 640 most boxes of the coarsest map lie
    outside.
    """
    model = models.ssd300_vgg16(weights=None, weights_backbone=None, num_classes=columns)
    model.anchor_generator.steps = None
    return model


def _body18(pretrained: bool, channels: int = 256, **settings: Any) -> Any:
    stages = settings.pop("returned_layers", [1, 2, 3, 4])
    body = resnet18(weights=None, norm_layer=nn.BatchNorm2d if pretrained else group_norm)
    names = {f"layer{stage}": str(level) for level, stage in enumerate(stages)}
    return BackboneWithFPN(body, names, [32 * 2**stage for stage in stages], channels, **settings)


def _dense18(pretrained: bool, channels: int) -> Any:
    extra = LastLevelP6P7(channels, channels)
    return _body18(pretrained, channels, returned_layers=[2, 3, 4], extra_blocks=extra)


def _retinanet18(columns: int, pretrained: bool) -> Any:
    body = _dense18(pretrained, 256)
    return models.RetinaNet(body, columns, head=RetinaNetHead(256, 9, columns, norm_layer=group_norm))


def _living(model: models.FCOS) -> models.FCOS:
    """Begins the distances to the sides of a box at 1 in place of 0, from which they can die.

    torchvision's FCOS ends them in a ReLU, where the published one has an exponential. With a bias of 0 half of them
    begin without a gradient, and trained from scratch a whole side, such as all lower ones, may stay at 0 for good.
    """
    nn.init.ones_(model.head.regression_head.bbox_reg.bias)
    return model


def _fcos50(columns: int, pretrained: bool) -> Any:
    return _living(models.fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=columns))


def _fcos18(columns: int, pretrained: bool) -> Any:
    return _living(models.FCOS(_dense18(pretrained, 256), columns))


def _retinanet_small(columns: int, pretrained: bool) -> Any:
    sizes = tuple(tuple(int(2 * stride * 2 ** (third / 3)) for third in range(3)) for stride in (8, 16, 32, 64, 128))
    anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))
    body = _dense18(pretrained, 64)
    head = RetinaNetHead(64, 9, columns, norm_layer=group_norm)
    return models.RetinaNet(body, columns, anchor_generator=anchors, head=head)


def _fcos_small(columns: int, pretrained: bool) -> Any:
    return _living(models.FCOS(_dense18(pretrained, 64), columns))


def _faster_rcnn18(columns: int, pretrained: bool) -> Any:
    return models.FasterRCNN(_body18(pretrained), columns)


MODELS: dict[str, ZooModel] = {
    "retinanet": ZooModel(
        _own(models.retinanet_resnet50_fpn_v2),
        background=False,
        public="retinanet_resnet50_fpn_v2",
        whole=models.RetinaNet_ResNet50_FPN_V2_Weights,
        body=ResNet50_Weights,
    ),
    "fcos": ZooModel(
        _fcos50,
        background=False,
        public="fcos_resnet50_fpn",
        whole=models.FCOS_ResNet50_FPN_Weights,
        body=ResNet50_Weights,
    ),
    "faster_rcnn": ZooModel(
        _own(models.fasterrcnn_resnet50_fpn_v2),
        background=True,
        public="fasterrcnn_resnet50_fpn_v2",
        whole=models.FasterRCNN_ResNet50_FPN_V2_Weights,
        body=ResNet50_Weights,
        class_layers=r"roi_heads\.box_predictor\.",
    ),
    "ssd": ZooModel(
        _ssd300,
        background=True,
        public="ssd300_vgg16",
        whole=models.SSD300_VGG16_Weights,
        class_layers=r"head\.classification_head\.",
    ),
    # From scratch its running statistics move by 3 % a step: before some 400 steps it reports next to nothing right.
    "ssdlite": ZooModel(
        _own(models.ssdlite320_mobilenet_v3_large),
        background=True,
        public="ssdlite320_mobilenet_v3_large",
        whole=models.SSDLite320_MobileNet_V3_Large_Weights,
        class_layers=r"head\.classification_head\.module_list\.\d+\.1\.",
    ),
    "retinanet_resnet18": ZooModel(_retinanet18, background=False, body=ResNet18_Weights),
    "fcos_resnet18": ZooModel(_fcos18, background=False, body=ResNet18_Weights),
    "retinanet_small": ZooModel(_retinanet_small, background=False, body=ResNet18_Weights),
    "fcos_small": ZooModel(_fcos_small, background=False, body=ResNet18_Weights),
    "faster_rcnn_resnet18": ZooModel(
        _faster_rcnn18, background=True, body=ResNet18_Weights, class_layers=r"roi_heads\.box_predictor\."
    ),
    "faster_rcnn_mobilenet": ZooModel(
        _own(models.fasterrcnn_mobilenet_v3_large_fpn),
        background=True,
        public="fasterrcnn_mobilenet_v3_large_fpn",
        whole=models.FasterRCNN_MobileNet_V3_Large_FPN_Weights,
        body=MobileNet_V3_Large_Weights,
        class_layers=r"roi_heads\.box_predictor\.",
    ),
}
