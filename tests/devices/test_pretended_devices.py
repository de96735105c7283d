"""Every detector trains and is evaluated on a GPU without mixing devices; the GPU is pretended, see `conftest`."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mapopt.data import ShapesConfig, Splits, make_shapes_splits
from mapopt.detectors import ASSIGNMENTS
from mapopt.detectors.registry import DETECTORS
from mapopt.detectors.torchvision_models import MODELS, ZooModel
from mapopt.losses import LOSSES
from mapopt.training import Fleet, Knobs, Recipe, Task
from mapopt.training.checkpoint import CheckpointFolder
from mapopt.training.inference import LoadedDetector
from mapopt.training.optimizers.registry import OPTIMIZERS

SIZE = 64
MEASURES: Any = ("calibration", "operating_point", "limits", "loss", "components", "gradient_agreement")
LARGE = {
    "retinanet": ("retinanet", "torchvision"),
    "retinanet_resnet18": ("retinanet", "rank_sort"),
    "fcos": ("fcos", "torchvision"),
    "fcos_resnet18": ("fcos", "ap"),
    "retinanet_small": ("retinanet", "focal"),
    "fcos_small": ("fcos", "mal"),
    "ssd": ("ssd", "torchvision"),
    "ssdlite": ("ssd", "focal"),
    "faster_rcnn": ("faster_rcnn", "torchvision"),
    "faster_rcnn_resnet18": ("faster_rcnn", "rank_sort"),
    "faster_rcnn_mobilenet": ("faster_rcnn", "focal"),
}
"""Detectors whose millions of numbers say nothing about devices -> torchvision's family on a small body, and a loss."""

ZOO = runpy.run_path(str(Path(__file__).parents[1] / "detectors" / "zoo" / "conftest.py"))


@pytest.fixture(scope="module")
def splits() -> Splits:
    return make_shapes_splits(ShapesConfig(size=SIZE), seed=0, train=4, val=2, test=2)


@pytest.fixture
def walk(splits: Splits, pretended: Any) -> Callable[..., Fleet]:
    """Takes a step on the GPU, evaluates, and goes back; returns the fleet."""

    def take(*, lanes: int = 1, knobs: dict[str, Any] | None = None, **recipe: Any) -> Fleet:
        settings = Recipe(**{"batch_size": 2, "ema": 0.5, **recipe})
        start = Knobs(lr=0.001, **{"augment": 0.5, **(knobs or {})})
        task = Task(name="t", splits=splits, recipe=settings, knobs=start)
        fleet = Fleet(task, list(range(lanes)), device=pretended.device)
        before = fleet.snapshot(0)
        intervals = fleet.train(2, ramp_from=[start.replace(lr=0.01)] * lanes, measures=MEASURES)
        assert not any(interval.diverged for interval in intervals)
        for scores in fleet.score("val", measures=MEASURES):
            assert np.isfinite(scores.class_loss)
        after = fleet.snapshot(0)
        assert not torch.equal(after.tensors["weights"], before.tensors["weights"])
        assert {tensor.device.type for tensor in after.tensors.values()} == {"cuda"}
        fleet.restore(0, before)
        return fleet

    return take


@pytest.mark.parametrize("detector", list(DETECTORS))
def test_a_detector_trains_and_is_evaluated_without_mixing_devices(
    detector: str, walk: Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    # In bfloat16 torch's convolutions on a CPU read memory that nobody wrote where a map is a single pixel.
    settings: dict[str, Any] = {"autocast": "none"} if detector in MODELS else {}
    if detector in LARGE:
        family, settings["loss"] = LARGE[detector]
        spec = ZooModel(
            lambda columns, pretrained: ZOO["small"](family, columns), background=MODELS[detector].background
        )
        monkeypatch.setitem(MODELS, detector, spec)
        # The small body asks for no more pixels.
        monkeypatch.setitem(DETECTORS._entries, detector, replace(DETECTORS[detector], min_side=1))
    fleet = walk(detector=detector, **settings)
    assert fleet.detectors[0].weights.device.type == "cuda"


@pytest.mark.parametrize("loss", list(LOSSES))
def test_a_loss_stays_on_its_device(loss: str, walk: Callable[..., Fleet]) -> None:
    walk(loss=loss, autocast="none", ema=0.0)


@pytest.mark.parametrize("assignment", list(ASSIGNMENTS))
def test_an_assignment_stays_on_its_device(assignment: str, walk: Callable[..., Fleet]) -> None:
    walk(assignment=assignment, ema=0.0)


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_an_optimizer_stays_on_its_device(optimizer: str, walk: Callable[..., Fleet]) -> None:
    walk(optimizer=optimizer, ema=0.0, knobs={"step_ratio": 0.01})


@pytest.mark.parametrize(
    ("knobs", "recipe"),
    [
        ({"soft_nms_sigma": 0.0}, {"lanes": 3}),
        ({"batch_fraction": 0.5, "surrogate_weight": 0.5}, {"loss": "ap", "memory": 16, "lanes": 2}),
        ({}, {"class_balance": "weights", "balance": "gradients", "loss": "rank_sort"}),
        ({}, {"class_balance": "repeat-factor", "frozen": "stem", "layer_lr": {"stages": 0.5}, "detector": "nano"}),
        ({}, {"detector": "nano", "accumulate": 2, "clip": 0.01, "autocast": "float16"}),
        ({"surrogate_weight": 0.5}, {"reward": "ap"}),
        ({}, {"augmentation": {"mosaic": 1.0, "mixup": 1.0, "copy_paste": 1.0, "rotate": 10.0, "perspective": 0.1}}),
        ({}, {"augmentation": {"flip_vertical": 1.0, "quarter_turns": 1.0, "hue": 0.1, "blur": 1.0, "cut_out": 1.0}}),
    ],
)
def test_what_else_a_run_may_have_stays_on_its_device(
    knobs: dict[str, float], recipe: dict[str, Any], walk: Callable[..., Fleet]
) -> None:
    fields = {name: value for name, value in recipe.items() if name != "lanes"}
    given = vars(Recipe.of(**fields))
    walk(lanes=recipe.get("lanes", 1), knobs=knobs, **{name: given[name] for name in fields})


def test_a_checkpoint_finds_objects_on_a_gpu(walk: Callable[..., Fleet], splits: Splits) -> None:
    fleet, notes = walk(), splits.test.annotations
    states = CheckpointFolder(
        folder=Path(), recipe=fleet.tasks[0].recipe, categories=notes.category_names, size=(SIZE, SIZE), settings={}
    )
    detector = LoadedDetector(states.checkpoint(fleet.for_detection(0), ()), torch.device("cuda"))
    settings = replace(detector.trained_settings, nms_iou=0.5)
    for named in ({}, {"flip": True}, {"settings": settings}):
        assert len(detector.detect(splits.test, **named).scores)


class Planted(torch.autograd.Function):
    """Makes numbers in its backward pass where nobody asked for them."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        return upstream + torch.ones(upstream.shape)


@pytest.mark.parametrize(
    "mix",
    [
        lambda there, here: there + here,
        lambda there, here: torch.cat([there, here]),
        lambda there, here: torch.stack([there.sum(), here.sum()]),
        lambda there, here: here[there.long()],
        lambda there, here: there.index_select(0, here.long()),
        lambda there, here: there.gather(0, torch.arange(2)),
        lambda there, here: torch.where(here > 0, there, there),
        lambda there, here: there.masked_fill_(here > 0, 1.0),
        lambda there, here: torch.add(there, there, out=here),
        lambda there, here: torch.lerp(there, there, torch.tensor(0.5)),
        lambda there, here: torch.zeros(2, device=there.device) * torch.zeros(2),
        lambda there, here: here.new_zeros(2) + there,
        lambda there, here: Planted.apply(there.clone().requires_grad_()).sum().backward(),
        lambda there, here: torch.ops.torchvision.nms(there.new_zeros(2, 4), here, 0.5),
    ],
)
@pytest.mark.usefixtures("pretended")
def test_a_mix_raises(mix: Callable[[Tensor, Tensor], object]) -> None:
    here = torch.ones(2)
    with pytest.raises(RuntimeError, match="expected all tensors to be on the same device, but found c"):
        mix(here.to("cuda"), here)


@pytest.mark.usefixtures("pretended")
def test_what_a_gpu_takes_is_taken_and_what_leaves_it_has_to_be_fetched() -> None:
    here = torch.ones(2)
    there = here.to("cuda")
    assert (there.device.type, here.device.type) == ("cuda", "cpu")
    for made in (
        there + torch.tensor(1.0),
        there[torch.tensor([0])],
        there.new_tensor([1.0]),
        there.to("cpu").to(there),
    ):
        assert made.device.type == "cuda"
    assert (there.cpu() + here).device.type == "cpu"
    assert there.cpu().numpy().tolist() == there.tolist() == [1.0, 1.0]
    with pytest.raises(TypeError, match="can't convert cuda"):
        there.numpy()
    with pytest.raises(TypeError, match="can't convert cuda"):
        np.asarray(there)
    with pytest.raises(RuntimeError, match="device type for generator"):
        torch.randn(2, device="cuda", generator=torch.Generator())
    here.requires_grad_()
    (there * here.to("cuda")).sum().backward()
    assert here.grad is not None


def test_a_mix_that_is_planted_in_a_detector_raises(
    walk: Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mapopt.detectors.dense.detector.decode", lambda deltas, priors: deltas + torch.zeros(4))
    with pytest.raises(RuntimeError, match="same device"):
        walk()
