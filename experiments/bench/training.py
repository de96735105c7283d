"""How many images a second torchvision's detectors train on here, beside a plain loop over the same module.

The plain loop is that of torchvision's tutorial: its module with its own transform and losses, a list of images and of
targets, flips, clipping and `torch.optim.SGD`. Both have their images decoded in memory, and take turns.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from mapopt.data import ShapesConfig, Splits, make_shapes_splits
from mapopt.detectors.objective import OWN_LOSS
from mapopt.detectors.torchvision_models import MODELS
from mapopt.evaluation.text_tables import new_table, print_table
from mapopt.experiments.bench.cost import fastest
from mapopt.experiments.bench.expected import training_seconds
from mapopt.experiments.bench.fleet import device_name
from mapopt.experiments.bench.settings import TrainingSettings
from mapopt.passes import Parts
from mapopt.training import Knobs, Recipe, Task, Trainer

_LR, _MOMENTUM, _DECAY, _CLIP = 0.005, 0.9, 5e-4, 10.0


@dataclass(frozen=True, kw_only=True)
class TrainingCost:
    """What training on an image costs, in seconds."""

    detector: str
    numbers: int
    """Trained numbers of the detector."""
    ours: float
    plain: float

    @property
    def ratio(self) -> float:
        """Images a second of ours over those of the plain loop."""
        return self.plain / self.ours


def bench_training(settings: TrainingSettings, *, seed: int, device: torch.device) -> tuple[TrainingCost, ...]:
    """Measures torchvision's detectors, and prints what they cost.

    Args:
        settings: which, and on what.
        seed: of the scenes and the weights.
        device: where they train.
    """
    splits = make_shapes_splits(ShapesConfig(size=settings.size), seed=seed, train=64, val=1, test=1)
    costs = []
    with Parts("bench training", training_seconds(settings)) as parts:
        for name in settings.detectors:
            costs.append(measure_training(name, splits, settings, device, seed))
            parts.done(name)
    print_table(_table(costs, settings, device), Console(width=None if sys.stdout.isatty() else 150))
    return tuple(costs)


def measure_training(
    name: str, splits: Splits, settings: TrainingSettings, device: torch.device, seed: int = 0
) -> TrainingCost:
    """Times training steps of a detector of torchvision, in the trainer and in a plain loop.

    Args:
        name: key of `mapopt.detectors.torchvision_models.MODELS`.
        splits: what they train on.
        settings: of steps and turns.
        device: where.
        seed: of the weights.
    """
    images = settings.steps * settings.batch_size
    recipe = Recipe(detector=name, loss=OWN_LOSS, optimizer="sgd", batch_size=settings.batch_size, clip=_CLIP)
    knobs = Knobs(lr=_LR, momentum=_MOMENTUM, weight_decay=_DECAY)
    trainer = Trainer(Task(name="bench", splits=splits, recipe=recipe, knobs=knobs), seed, device=device)
    works: dict[str, Callable[[], object]] = {
        "ours": lambda: trainer.train(images),
        "plain": plain_loop(name, splits, settings, device, seed),
    }
    for work in works.values():
        work()  # what is made in the first steps
    seconds = fastest(works, repeats=settings.repeats, device=device, patience=120.0)
    numbers = trainer.fleet.detectors[0].weights.shape[1]
    return TrainingCost(detector=name, numbers=numbers, ours=seconds["ours"] / images, plain=seconds["plain"] / images)


def plain_loop(
    name: str, splits: Splits, settings: TrainingSettings, device: torch.device, seed: int
) -> Callable[[], None]:
    """Returns a turn of a loop as torchvision's tutorial has it."""
    kept, spec = splits.train, MODELS[name]
    targets, side = kept.targets(), float(settings.size)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        model = spec.build(len(kept.annotations.category_ids) + spec.background, False)
    model.transform = GeneralizedRCNNTransform(
        settings.size, settings.size, model.transform.image_mean, model.transform.image_std
    )
    model.to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=_LR, momentum=_MOMENTUM, weight_decay=_DECAY)

    def example(place: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        image, there = kept.pixels[place].float() / 255, targets.labels[place] >= 0
        boxes, labels = targets.boxes[place][there], targets.labels[place][there] + spec.background
        if torch.rand((), generator=generator) < 0.5:
            image, boxes = (
                image.flip(-1),
                torch.stack([side - boxes[:, 2], boxes[:, 1], side - boxes[:, 0], boxes[:, 3]], dim=1),
            )
        return image.to(device), {"boxes": boxes.to(device), "labels": labels.to(device)}

    def play() -> None:
        for _ in range(settings.steps):
            places = torch.randint(len(kept), (settings.batch_size,), generator=generator).tolist()
            images, objects = zip(*map(example, places), strict=True)
            losses = sum(model(list(images), list(objects)).values())
            optimizer.zero_grad()
            losses.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), _CLIP)
            optimizer.step()

    return play


def _table(costs: list[TrainingCost], settings: TrainingSettings, device: torch.device) -> Table:
    table = new_table(
        f"training images a second, {settings.size} pixels, batch {settings.batch_size} "
        f"({device_name(device, settings.threads)})",
        caption="fastest of several turns of each",
    )
    table.add_column("detector")
    for heading in ("million numbers", "mapopt", "a plain loop", "mapopt / plain"):
        table.add_column(heading, justify="right")
    for cost in costs:
        table.add_row(
            cost.detector,
            f"{cost.numbers / 1e6:.1f}",
            f"{1 / cost.ours:.2f}",
            f"{1 / cost.plain:.2f}",
            f"{cost.ratio:.2f}",
        )
    return table
