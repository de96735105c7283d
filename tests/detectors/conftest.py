from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mapopt.data import ShapesConfig, make_shapes_splits
from mapopt.detectors.interface import KnobTable, Targets
from mapopt.training import Recipe, Task

DEFAULTS = {
    "box_weight": 1.0,
    "class_weight": 1.0,
    "focal_gamma": 2.0,
    "surrogate_weight": 1.0,
    "assign_iou": 0.4,
    "nms_iou": 0.6,
    "score_threshold": 0.01,
    "soft_nms_sigma": 0.0,
    "detections": 100.0,
}


@pytest.fixture
def knob_table() -> Callable[..., KnobTable]:
    """Makes a table of knobs: numbers hold for all lanes, lists say what each lane has."""

    def make(lanes: int = 1, **changes: float | list[float]) -> KnobTable:
        table = {}
        for name, value in (DEFAULTS | changes).items():
            table[name] = torch.tensor(value if isinstance(value, list) else [value] * lanes)
        return table

    return make


@pytest.fixture
def scene() -> Callable[..., tuple[Tensor, Targets]]:
    """Makes images with coloured rectangles, and their targets: colour is the category, entry 1 of an image pads."""

    def make(lanes: int = 1, batch: int = 2, size: int = 64, seed: int = 0) -> tuple[Tensor, Targets]:
        generator = torch.Generator().manual_seed(seed)
        images = torch.rand(lanes, batch, 3, size, size, generator=generator) * 60
        boxes = torch.zeros(lanes, batch, 3, 4)
        labels = torch.full((lanes, batch, 3), -1)
        for lane in range(lanes):
            for image in range(batch):
                for slot, left in ((0, 4), (2, size // 2)):
                    wide, high, top = (torch.randint(size // 4, size // 2 - 4, (3,), generator=generator)).tolist()
                    label = int(torch.randint(0, 3, (1,), generator=generator))
                    boxes[lane, image, slot] = torch.tensor([left, top, left + wide, top + high]).float()
                    labels[lane, image, slot] = label
                    images[lane, image, label, top : top + high, left : left + wide] = 250
        return images, Targets(boxes, labels, torch.zeros_like(labels, dtype=torch.bool))

    return make


@pytest.fixture
def make_task() -> Callable[..., Task]:
    splits = make_shapes_splits(ShapesConfig(), seed=0, train=16, val=8, test=8)
    return lambda **recipe: Task(name="own", splits=splits, recipe=Recipe(batch_size=8, **recipe))
