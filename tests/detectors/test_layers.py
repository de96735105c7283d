"""The feature maps of named layers are those of the detector's own pass, and looking at them leaves no trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from mapopt.data import ShapesConfig, make_shapes_splits
from mapopt.detectors.layers import feature_maps
from mapopt.errors import ConfigError
from mapopt.training import Fleet, Task
from mapopt.training.knob_tensors import stack_knobs

MakeTask = Callable[..., Task]


def test_maps_of_the_tiny_network_end_in_its_outputs(make_task: MakeTask) -> None:
    task = make_task()
    fleet = Fleet(task, [0, 1])
    detector = fleet.detectors[0]
    images = task.splits.val.pixels[:3].float()
    before = fleet.snapshot(0).tensors
    maps = feature_maps(detector, images, stack_knobs(fleet.knobs))
    assert {name: tuple(values.shape) for name, values in maps.items()} == {
        "stem": (3, 24, 12, 12),
        "first": (3, 40, 6, 6),
        "second": (3, 40, 6, 6),
        "third": (3, 32, 6, 6),
        "head": (3, 7, 6, 6),
    }
    assert all(float(maps[name].min()) >= 0 for name in ("stem", "first", "second", "third")), "rectified"
    with torch.no_grad():
        logits, _, _ = detector.network.forward(detector.weights, images.expand(2, *images.shape))
    head = maps["head"][:, : task.classes].flatten(2).transpose(1, 2)
    assert torch.allclose(head, logits[0], atol=1e-4)
    after = fleet.snapshot(0).tensors
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert list(feature_maps(detector, images, stack_knobs(fleet.knobs), ["head", "stem"])) == ["head", "stem"]
    with pytest.raises(ConfigError, match="unknown layer 'stam': did you mean 'stem'"):
        feature_maps(detector, images, stack_knobs(fleet.knobs), ["stam"])


@pytest.mark.parametrize(
    ("name", "layer", "shape"),
    [
        ("nano", "class_head", (2, 3, 8, 8)),
        ("resnet18", "class_head", (2, 6, 8, 8)),
        ("faster_rcnn_resnet18", "rpn.head.cls_logits", None),
    ],
)
def test_layers_of_a_module_are_called_as_in_it(
    make_task: MakeTask, name: str, layer: str, shape: tuple[int, ...] | None
) -> None:
    splits = make_shapes_splits(ShapesConfig(size=64), seed=0, train=4, val=2, test=2)
    fleet = Fleet(replace(make_task(detector=name), splits=splits), [0])
    detector, knobs = fleet.detectors[0], stack_knobs(fleet.knobs)
    images = splits.val.pixels.float()
    module = detector.model if hasattr(detector, "model") else detector.network.module
    hooks = [len(part._forward_hooks) for part in module.modules()]
    maps = feature_maps(detector, images, knobs)
    assert shape is None or tuple(maps[layer].shape) == shape
    # A head is called on every level of the pyramid.
    assert maps[f"{layer}.2"].shape[-1] < maps[layer].shape[-1]
    assert all(len(values) == 2 for values in maps.values())
    assert [len(part._forward_hooks) for part in module.modules()] == hooks, "none of ours stays"
    first = detector.detect(images[None], knobs)
    assert torch.equal(first.scores, detector.detect(images[None], knobs).scores)


def test_a_detector_without_layers_says_so(make_task: MakeTask) -> None:
    class Blind:
        lanes = 1

    with pytest.raises(ConfigError, match="a detector of type Blind has no layers that can be seen"):
        feature_maps(Blind(), torch.zeros(1, 3, 32, 32), {})  # type: ignore[arg-type]
