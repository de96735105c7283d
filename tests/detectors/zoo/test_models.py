"""torchvision's models as they are built: their transform, their weights, and that each of them learns."""

import pytest
import torch
from torch import nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FrozenBatchNorm2d

from mapopt.detectors import torchvision_models as zoo
from mapopt.detectors.objective import Objective
from mapopt.detectors.registry import DETECTORS, build_detector
from mapopt.detectors.torchvision import TorchvisionDetector
from mapopt.detectors.torchvision_models import MODELS, FixedSize, build_model
from mapopt.errors import ConfigError
from mapopt.registry import Choice
from mapopt.training.recipe import Recipe

SIZE = 64


LOSSES = ["torchvision", "focal", "rank_sort"]


def test_the_transform_normalizes_and_does_nothing_else():
    original = GeneralizedRCNNTransform(64, 64, [0.4, 0.5, 0.6], [0.2, 0.3, 0.1])
    images = torch.rand(2, 3, 32, 96) * 255
    transform = FixedSize(tuple(original.image_mean), tuple(original.image_std))
    batch, targets = transform(images, None)
    assert targets is None
    assert batch.image_sizes == [(32, 96)] * 2
    assert torch.allclose(batch.tensors[1], original.normalize(images[1] / 255), atol=1e-6)
    assert isinstance(build_model("ssdlite", 3, weights=None).transform, FixedSize)


@pytest.mark.parametrize("name", ["fcos_small", "fcos_resnet18"])
@pytest.mark.parametrize("seed", [0, 4])
def test_every_side_of_a_box_of_fcos_begins_with_a_gradient(name: str, seed: int) -> None:
    # A ReLU ends the distances: with torchvision's bias of 0 a side of all boxes was 0 for good from step 40 (seed 4).
    torch.manual_seed(seed)
    model = build_model(name, 3, weights=None)
    with torch.no_grad():
        features = list(model.backbone(torch.randn(1, 3, SIZE, SIZE)).values())
        distances = model.head.regression_head(features)[0]
    assert ((distances > 0).float().mean(dim=(0, 1)) > 0.99).all()


def test_a_batch_that_is_too_small_for_a_batch_norm_is_refused(scene, knob_table):
    images, targets = scene(size=SIZE, batch=1)
    detector = TorchvisionDetector("ssdlite", Objective(loss="torchvision"), classes=3)
    with pytest.raises(ConfigError, match=r"ssdlite normalizes over the batch, and 1 image of 64x64 pixels.*2 or more"):
        detector.losses(images, targets, knob_table(), seed=0)


# The large SSD has the losses of the small one.
CASES = [(name, loss) for name in MODELS for loss in (LOSSES if name != "ssd" else LOSSES[:1])]


@pytest.mark.parametrize(
    ("name", "loss"),
    [pytest.param(*case, marks=[] if case[0] == "ssdlite" else pytest.mark.slow) for case in CASES],
)
def test_every_model_of_the_zoo_learns(name, loss, scene, knob_table):
    batch = 1 if name in ("faster_rcnn", "ssd") else 2  # those are large
    images, targets = scene(size=max(SIZE, DETECTORS[name].min_side), batch=batch)
    detector = TorchvisionDetector(name, Objective(loss=loss), classes=3)
    optimizer = torch.optim.SGD([detector.weights], lr=1e-3)
    sum(detector.losses(images, targets, knob_table(), seed=0).values()).sum().backward()
    parts = detector._row.split(detector.gradient()[0])
    silent = [part for part, gradient in parts.items() if not gradient.any()]
    if name in ("ssd", "ssdlite"):  # a head for each map, and not every map has a positive or a hard negative here
        assert not [part for part in silent if not part.startswith(("head.", "backbone.extra.", "backbone.scale"))]
    else:
        # A ranking is the same for all scores of a class raised alike.
        assert set(silent) <= ({"head.classification_head.cls_logits.bias"} if loss == "rank_sort" else set())
    optimizer.step()
    assert torch.isfinite(detector.weights).all()
    count = len(detector.detect(images, knob_table(score_threshold=0.0)).scores)
    # A proposal network proposes less where its maps are coarse.
    assert count == 100 * batch if name != "faster_rcnn_mobilenet" else 0 < count <= 100 * batch


WHOLE = [name for name, spec in MODELS.items() if spec.whole]


BODIES = [name for name, spec in MODELS.items() if spec.body]


@pytest.mark.parametrize(
    "name", ["ssdlite", *(pytest.param(name, marks=pytest.mark.slow) for name in WHOLE if name != "ssdlite")]
)
def test_weights_of_a_whole_detector_are_loaded_but_for_the_layers_of_its_categories(name, monkeypatch):
    spec = MODELS[name]
    source = spec.build(91, False)
    monkeypatch.setattr(zoo, "fetch_weights", lambda *asked: source.state_dict())
    model = build_model(name, 3, weights="DEFAULT")
    fresh = [key for key, value in model.state_dict().items() if not torch.equal(value, source.state_dict()[key])]
    assert fresh
    assert all(zoo.re.match(spec.class_layers, key) for key in fresh)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.mark.slow
@pytest.mark.parametrize("name", BODIES)
def test_weights_of_a_backbone_are_loaded_into_it_and_its_norms_are_frozen(name, monkeypatch, scene, knob_table):
    from torchvision.models import mobilenet_v3_large, resnet18, resnet50

    mobile = name.endswith("mobilenet")
    source = mobilenet_v3_large() if mobile else (resnet18 if name.endswith(("18", "small")) else resnet50)()
    monkeypatch.setattr(zoo, "fetch_weights", lambda *asked: source.state_dict())
    detector = TorchvisionDetector(name, Objective(loss="torchvision"), classes=3, weights="IMAGENET1K_V1")
    body = detector.model.backbone.body
    state = {key.removeprefix("features."): value for key, value in source.state_dict().items()}
    assert all(torch.equal(value, state[key]) for key, value in body.state_dict().items())
    weights = detector._row.split(detector.weights[0])
    layer = "12.block.0.0.weight" if mobile else "layer3.1.conv2.weight"
    assert torch.equal(weights[f"backbone.body.{layer}"], state[layer])
    assert any(isinstance(module, FrozenBatchNorm2d) for module in body.modules())
    before = {key: value.clone() for key, value in detector.buffers().items()}
    images, targets = scene(size=SIZE)
    detector.losses(images, targets, knob_table(), seed=0)
    assert before
    assert all(torch.equal(value, before[key]) for key, value in detector.buffers().items())


@pytest.mark.parametrize("name", ["ssd", "ssdlite"])
def test_the_middles_of_default_boxes_lie_evenly_in_images_of_any_size(name):
    generator = build_model(name, 3, weights=None).anchor_generator
    maps = [torch.zeros(1, 1, cells, cells) for cells in range(1, len(generator.aspect_ratios) + 1)]
    for side in (96, 320, 640):
        images = ImageList(torch.zeros(1, 3, side, side), [(side, side)])
        boxes = generator(images, maps)[0]
        middles = (boxes[:, :2] + boxes[:, 2:]) / 2 / side
        assert middles.min() > 0
        assert middles.max() < 1
        assert middles.mean(0).tolist() == pytest.approx([0.5, 0.5], abs=1e-4)


@pytest.mark.parametrize("name", ["ssdlite", "retinanet_small", pytest.param("faster_rcnn", marks=pytest.mark.slow)])
def test_anchors_have_the_sides_that_were_asked_for(name):
    images = ImageList(torch.zeros(2, 3, SIZE, SIZE), [(SIZE, SIZE)] * 2)

    def sides(scale):
        model = build_detector(
            Choice(name=name, settings={"anchor_scale": scale}),
            Objective(loss="torchvision"),
            classes=3,
            size=(SIZE, SIZE),
        ).model
        maps = list(model.backbone(images.tensors).values())
        generator = model.rpn.anchor_generator if name == "faster_rcnn" else model.anchor_generator
        anchors = generator(images, maps)[0]
        return (anchors[:, 2:] - anchors[:, :2]).numpy()

    # Those of AnchorGenerator are rounded to whole pixels, the large ones of SSD end at the image's border.
    whole, half = sides(1.0), sides(0.5)
    inside = (whole < 0.8 * SIZE).all(1)
    assert inside.any()
    assert half[inside] == pytest.approx(0.5 * whole[inside], abs=1.0)
    assert half.max() < whole.max()


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (
            "fcos_small",
            {"anchor_scale": 0.5},
            "detector_settings anchor_scale with detector 'fcos_small', which has dropout: leave it out",
        ),
        (
            "retinanet",
            {"anchors": 0.5},
            "detector_settings anchors with detector 'retinanet', which has dropout, anchor",
        ),
        (
            "ssdlite",
            {"anchor_scale": 0.0},
            "anchor_scale is 0.0 with detector 'ssdlite': expected a number from 0.05 to",
        ),
        ("ssdlite", {"anchor_scale": "half"}, "anchor_scale is half with detector 'ssdlite': expected a number from"),
    ],
)
def test_settings_that_a_detector_does_not_have_are_refused(name, settings, message):
    with pytest.raises(ConfigError, match=message):
        Recipe(detector=name, detector_settings=settings)
