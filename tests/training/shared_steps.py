"""What a process of `test_processes` does: plays cases, alone or with others, and writes down what came of them.

As a script, ``python shared_steps.py FOLDER CASE...`` in an environment as torchrun makes it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.models import detection as models
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.ssd import SSD, SSDHead
from torchvision.ops import MultiScaleRoIAlign

from mapopt.collectives import ALONE, Processes
from mapopt.data import ShapesConfig, make_shapes_splits
from mapopt.training import Recipe, Task, Trainer
from mapopt.training.distributed import joined


def body(norm: Callable[[int], nn.Module] = lambda channels: nn.GroupNorm(4, channels)) -> nn.Sequential:
    """Returns a backbone of 32 channels at stride 8."""
    layers: list[nn.Module] = []
    for inputs, channels in ((3, 8), (8, 16), (16, 32)):
        layers += [nn.Conv2d(inputs, channels, 3, stride=2, padding=1), norm(channels), nn.ReLU()]
    backbone = nn.Sequential(*layers)
    backbone.out_channels = 32
    return backbone


def retinanet(num_classes: int, size: tuple[int, int]) -> nn.Module:
    """A RetinaNet of torchvision."""
    anchors = AnchorGenerator(((8, 16),), ((1.0,),))
    return models.RetinaNet(body(), num_classes, *size, anchor_generator=anchors)


def fcos(num_classes: int, size: tuple[int, int]) -> nn.Module:
    """An FCOS of torchvision."""
    return models.FCOS(body(), num_classes, *size, anchor_generator=AnchorGenerator(((8,),), ((1.0,),)))


def ssd(num_classes: int, size: tuple[int, int]) -> nn.Module:
    """An SSD of torchvision, with batch norms."""
    boxes = DefaultBoxGenerator([[2]], scales=[0.2, 0.4])
    head = SSDHead([32], boxes.num_anchors_per_location(), num_classes)
    return SSD(body(nn.BatchNorm2d), boxes, size, num_classes, head=head)


def faster_rcnn(num_classes: int, size: tuple[int, int]) -> nn.Module:
    """A Faster R-CNN of torchvision."""
    return models.FasterRCNN(
        body(),
        min_size=size[0],
        max_size=size[1],
        rpn_anchor_generator=AnchorGenerator(((8, 16),), ((1.0,),)),
        rpn_batch_size_per_image=16,
        box_batch_size_per_image=8,
        box_roi_pool=MultiScaleRoIAlign(["0"], 3, 2),
        box_head=TwoMLPHead(32 * 9, 32),
        box_predictor=FastRCNNPredictor(32, num_classes),
    )


@dataclass(frozen=True)
class Case:
    """A training of some steps."""

    recipe: dict[str, Any] = field(default_factory=dict)
    knobs: dict[str, Any] = field(default_factory=dict)
    size: int = 32
    steps: int = 20


def _own(name: str, loss: str, **case: Any) -> Case:
    return Case({"detector": f"shared_steps:{name}", "loss": loss, "optimizer": "sgd"}, {"lr": 0.01}, **case)


SMALL = {"optimizer": "sgd"}

CASES = {
    "tiny": Case(),
    "tiny, focal": Case({"loss": "focal", **SMALL}, steps=5),
    "tiny, part of a batch, memory": Case({"loss": "ap", "memory": 64, **SMALL}, {"batch_fraction": 0.5}, steps=8),
    "tiny, balance": Case({"loss": "rank_sort", "balance": "gradients", **SMALL}, steps=5),
    "tiny, task aligned": Case({"assignment": "task_aligned", **SMALL}, steps=5),
    "nano, dropout": Case({"detector": "nano", "detector_settings": {"dropout": 0.3}, **SMALL}, {"lr": 0.01}, steps=5),
    "retinanet_small, dropout": Case(
        {"detector": "retinanet_small", "detector_settings": {"dropout": 0.3}, "loss": "torchvision", **SMALL},
        {"lr": 0.01},
        size=64,
        steps=1,
    ),
    "retinanet": _own("retinanet", "torchvision"),
    "retinanet, rank_sort": _own("retinanet", "rank_sort", steps=5),
    "retinanet, pieces": Case(
        {"detector": "shared_steps:retinanet", "loss": "torchvision", "optimizer": "sgd", "accumulate": 2},
        {"lr": 0.01},
    ),
    "fcos": _own("fcos", "torchvision"),
    "fcos, ap": _own("fcos", "ap", steps=5),
    "ssd": _own("ssd", "torchvision"),
    "ssd, focal": _own("ssd", "focal", steps=5),
    "faster_rcnn": _own("faster_rcnn", "torchvision"),
    "faster_rcnn, focal": _own("faster_rcnn", "focal", steps=5),
}


def trainer_of(case: Case, processes: Processes = ALONE) -> Trainer:
    """Returns a fresh trainer."""
    splits = make_shapes_splits(ShapesConfig(size=case.size), seed=0, train=24, val=10, test=4)
    recipe = Recipe(**{"detector": "tiny", "batch_size": 8, **case.recipe})
    task = Task(name="small", splits=splits, recipe=recipe)
    trainer = Trainer(task, seed=3, processes=processes)
    trainer.set_knobs(trainer.knobs.replace(**case.knobs))
    return trainer


def play(case: Case, processes: Processes = ALONE) -> dict[str, Any]:
    """Returns what a case came to."""
    trainer = trainer_of(case, processes)
    trainer.fleet.measures = ("components", "loss")
    first = trainer.evaluate().ap
    interval = trainer.fleet.train(case.steps * 8, measures=["components"])[0]
    scores = trainer.fleet.score("val", measures=["components", "loss"])[0]
    snapshot = trainer.snapshot()
    return {
        "tensors": snapshot.tensors,
        "interval": {**vars(interval), "seconds": 0, "processor_seconds": 0},
        "first": first,
        "scores": vars(scores),
        "images": torch.tensor(trainer.detect("val").image_ids),
    }


def main(folder: Path, names: list[str]) -> None:
    torch.set_num_threads(1)
    with joined(torch.device("cpu")) as processes:
        for name in names:
            torch.save(play(CASES[name], processes), folder / f"{name} {processes.index}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
