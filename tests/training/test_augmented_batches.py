"""Batches of recipes that name kinds of augmentation: the same samples however they are cut, and off where said."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mapopt.data import ImageSet, ShapesConfig, Splits, make_shapes, make_shapes_splits, read_coco
from mapopt.data.augmentation.settings import Augmentation
from mapopt.data.on_demand import PixelsOnDemand
from mapopt.training.batches import Kinds, Plan, batches_of_step, make_batch, make_plan
from mapopt.training.device_set import DeviceSet
from mapopt.training.fleet import Fleet, Trainer
from mapopt.training.recipe import Recipe
from mapopt.training.task import Task

MakeTask = Callable[..., Task]
CPU = torch.device("cpu")

FLIPS = '''
import random
import numpy as np
import torch
from torchvision.transforms import v2

flips = v2.Compose([v2.RandomVerticalFlip(0.5), v2.RandomPhotometricDistort(p=0.7)])


def shift(image, target):
    """Draws from all three generators."""
    value = int(torch.randint(20, ()) + np.random.randint(20) + random.randrange(20))
    return (image.int() + value).clamp(0, 255).to(torch.uint8), target
'''

MANY = Augmentation(
    mosaic=0.5, mixup=0.3, copy_paste=0.3, rotate=20, perspective=0.2, quarter_turns=0.3, flip_vertical=0.5, hue=0.1,
    blur=1.0, cut_out=0.5, noise=10, scale=1.4,
)  # fmt: skip


def plan_of(own: DeviceSet, given: Augmentation, *, start: int = 0, count: int = 24, factor: float = 1.0) -> Plan:
    kinds = [Kinds(given, np.full(count, factor))]
    return make_plan([5], [start], [own], [np.full(count, 0.4)], CPU, kinds=kinds)


def samples(own: DeviceSet, given: Augmentation, size: int = 8, **plan: float) -> list[tuple[torch.Tensor, ...]]:
    """Returns the pixels, boxes and labels of every sample of a plan, without padding."""
    made = plan_of(own, given, **plan)  # type: ignore[arg-type]
    every = []
    for start in range(0, made.order.shape[1], size):
        images, targets = make_batch([own], made, [start], [size], size=size)
        for row in range(size):
            real = targets.labels[0, row] >= 0
            every.append((images[0, row], targets.boxes[0, row][real], targets.labels[0, row][real]))
    return every


def states() -> tuple[object, ...]:
    """Returns the states of the global generators."""
    of_numpy = np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002 - the global one
    return torch.get_rng_state().tolist(), of_numpy, random.getstate()


def same(first: list[tuple[torch.Tensor, ...]], other: list[tuple[torch.Tensor, ...]]) -> bool:
    return len(first) == len(other) and all(
        torch.equal(left, right) for a, b in zip(first, other, strict=True) for left, right in zip(a, b, strict=True)
    )


@pytest.fixture
def own(small_splits: Splits) -> DeviceSet:
    return DeviceSet(small_splits.train, CPU)


@pytest.fixture
def flips(own_module: Callable[[str], str]) -> str:
    return own_module(FLIPS)


def test_the_nth_sample_is_the_same_whatever_the_batch_and_the_interval(own: DeviceSet) -> None:
    whole = samples(own, MANY)
    assert same(samples(own, MANY, size=4), whole)
    assert same([*samples(own, MANY, count=8), *samples(own, MANY, start=8, count=16)], whole)
    assert not same(samples(own, MANY, start=1), whole)


@pytest.mark.parametrize("name", ["flips", "shift"])
def test_a_transform_of_ones_own_draws_what_belongs_to_the_sample(name: str, own: DeviceSet, flips: str) -> None:
    given = Augmentation(transform=f"{flips}:{name}")
    whole = samples(own, given)
    before = states()
    parts = [*samples(own, given, count=8), *samples(own, given, size=4, start=8, count=16)]
    assert same(parts, whole)
    assert states() == before, "nobody else's numbers move"
    plain = samples(own, Augmentation())
    changed = [not torch.equal(first[0], other[0]) for first, other in zip(whole, plain, strict=True)]
    assert sum(changed) > 12
    shifts = {round(float((first[0] - other[0]).mean())) for first, other in zip(whole, plain, strict=True)}
    assert len(shifts) > 5, "every sample has numbers of its own"


@pytest.mark.parametrize("given", [
    Augmentation(rotate=15, rotate_probability=0), Augmentation(blur=2, blur_probability=0),
    Augmentation(hue=0.2, hue_probability=0), Augmentation(perspective=0.3, perspective_probability=0),
    Augmentation(mosaic=0, mixup=0, copy_paste=0, cut_out=0, flip_vertical=0, quarter_turns=0),
], ids=str)  # fmt: skip
def test_probability_0_is_off_to_the_bit_and_costs_nothing(given: Augmentation, own: DeviceSet) -> None:
    assert not given.composes
    assert plan_of(own, given).composers == ()
    assert same(samples(own, given), samples(own, Augmentation()))


def test_the_factor_0_is_off_to_the_bit_for_all_kinds(own: DeviceSet, flips: str) -> None:
    given = replace(MANY, noise=None, scale=None, transform=f"{flips}:shift")
    assert same(samples(own, given, factor=0.0), samples(own, Augmentation()))
    assert plan_of(own, given, factor=0.0).composers == ()
    half, whole = samples(own, replace(MANY, mosaic=1.0), factor=0.5), samples(own, replace(MANY, mosaic=1.0))
    assert not same(half, whole)


def test_a_factor_that_is_0_for_some_samples_leaves_those_as_they_are(own: DeviceSet) -> None:
    given = replace(MANY, noise=None, scale=None)
    factors = np.repeat([0.0, 1.0], 12)
    plan = make_plan([5], [0], [own], [np.full(24, 0.4)], CPU, kinds=[Kinds(given, factors)])
    images, targets = make_batch([own], plan, [0], [24], size=24)
    plain, whole = samples(own, Augmentation()), samples(own, given)
    for row in range(24):
        real = targets.labels[0, row] >= 0
        expected = (plain if row < 12 else whole)[row]
        assert torch.equal(images[0, row], expected[0])
        assert torch.equal(targets.boxes[0, row][real], expected[1])


@pytest.mark.parametrize("name", ["flip", "scale", "brightness", "contrast", "saturation", "noise"])
def test_a_number_of_its_own_takes_the_place_of_the_one_strength(name: str, own: DeviceSet) -> None:
    still = Augmentation(flip=0, scale=1, brightness=0, contrast=0, saturation=0, noise=0)
    strongest = {"flip": 1.0, "scale": 2.0, "noise": 50.0}.get(name, 0.5)
    off, on = samples(own, still), samples(own, replace(still, **{name: strongest}))
    assert torch.equal(torch.stack([each[0] for each in off]), own.pixels[plan_of(own, still).order[0]].float())
    changed = [not torch.equal(first[0], other[0]) for first, other in zip(on, off, strict=True)]
    assert sum(changed) >= 20
    if name != "flip":
        half = samples(own, replace(still, **{name: strongest, f"{name}_probability": 0.5}))
        kept = sum(torch.equal(first[0], other[0]) for first, other in zip(half, off, strict=True))
        assert 4 <= kept <= 20


def test_lanes_with_other_kinds_leave_each_other_alone(own: DeviceSet) -> None:
    given = [Augmentation(), MANY, Augmentation(mosaic=1.0)]
    kinds = [Kinds(each) for each in given]
    plan = make_plan([5] * 3, [0] * 3, [own] * 3, [np.full(24, 0.4)] * 3, CPU, kinds=kinds)
    images, targets = make_batch([own] * 3, plan, [0] * 3, [24] * 3, size=24)
    for lane, each in enumerate(given):
        for row, expected in enumerate(samples(own, each)):
            real = targets.labels[lane, row] >= 0
            made = (images[lane, row], targets.boxes[lane, row][real], targets.labels[lane, row][real])
            assert all(torch.equal(*pair) for pair in zip(made, expected, strict=True))
    alone = plan.of([1, 0], playing=[0])
    some, _ = make_batch([own] * 2, alone, [8, 8], [8, 8], size=8)
    assert torch.equal(some[0], images[1, 8:16])
    assert not some[1].any(), "lanes that rest are black"


@pytest.mark.parametrize("workers", [0, 2])
def test_images_that_are_decoded_when_needed_give_the_same_samples(
    workers: int, tmp_path: Path, write_set: Callable[..., Path]
) -> None:
    folder = write_set(tmp_path / "set", 20)
    notes = read_coco(folder / "train.json", folder / "images")
    kept = DeviceSet(ImageSet.read(notes, size=(32, 48)), CPU)
    read = DeviceSet(ImageSet.read(notes, size=(32, 48), workers=workers, on_demand=True), CPU)
    asked: list[set[int]] = []
    if workers:
        pixels = read.pixels
        assert isinstance(pixels, PixelsOnDemand)
        expect = pixels.expect
        pixels.expect = lambda places: (asked.append(set(places)), expect(places))[1]  # type: ignore[method-assign]
    plan, other = plan_of(kept, MANY), plan_of(read, MANY)
    for step in range(3):
        ((images, targets),) = batches_of_step([kept], plan, [8], step, size=8, pieces=1)
        ((decoded, objects),) = batches_of_step([read], other, [8], step, size=8, pieces=1)
        assert torch.equal(images, decoded)
        assert torch.equal(targets.boxes, objects.boxes)
    if workers:
        (composer,) = other.composers
        assert composer is not None
        assert asked[0] == set(composer.positions(range(8, 16), len(read))), "other images are decoded ahead, too"
        assert len(asked[0] - set(other.order[0, 8:16].tolist())) > 0


def test_a_run_with_many_kinds_is_determined_and_resumed_to_the_bit(make_task: MakeTask, flips: str) -> None:
    task = make_task(augmentation=replace(MANY, transform=f"{flips}:shift"))
    whole, parts = Trainer(task, seed=1), Trainer(task, seed=1)
    whole.train(48)
    parts.train(16)
    kept = parts.snapshot()
    torch.rand(3), np.random.default_rng().random(3), random.random()
    again = Trainer(task, seed=9)
    again.restore(kept)
    again.train(32)
    for name, tensor in whole.snapshot().tensors.items():
        assert torch.equal(tensor, again.snapshot().tensors[name]), name


def test_lanes_of_one_fleet_may_differ_in_their_augmentation(make_task: MakeTask) -> None:
    tasks = [make_task(augmentation=given) for given in (Augmentation(), MANY, Augmentation(mosaic=0.5))]
    fleet = Fleet(tasks, [1, 1, 1])
    fleet.train(16)
    for lane, task in enumerate(tasks):
        other = Fleet([task, tasks[0]], [1, 4])
        other.train(16)
        assert torch.equal(fleet.snapshot(lane).tensors["weights"], other.snapshot(0).tensors["weights"])


def test_a_detector_that_trains_by_itself_takes_them_too() -> None:
    scenes = make_shapes_splits(ShapesConfig(size=64), seed=0, train=8, val=4, test=4)
    weights = []
    for given in (MANY, MANY, Augmentation()):
        recipe = Recipe(detector="nano", batch_size=4, augmentation=given)
        trainer = Trainer(Task(name="scenes", splits=scenes, recipe=recipe), seed=0)
        assert not trainer.train(4).diverged
        weights.append(trainer.snapshot().tensors["weights"])
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_crowd_stays_one_and_a_transform_sees_it_below_zero(own_module: Callable[[str], str]) -> None:
    name = own_module(
        "seen = []\n\ndef look(image, target):\n    seen.append(target['labels'].tolist())\n    return image, target\n"
    )
    images = make_shapes(ShapesConfig(), seed=1, count=4)
    notes = replace(images.annotations, crowd=np.arange(len(images.annotations.labels)) % 2 == 0)
    own = DeviceSet(replace(images, annotations=notes), CPU)
    kinds = [Kinds(Augmentation(transform=f"{name}:look"))]
    plan = make_plan([5], [0], [own], [np.zeros(4)], CPU, kinds=kinds)
    _, targets = make_batch([own], plan, [0], [4], size=4)
    _, expected = make_batch([own], make_plan([5], [0], [own], [np.zeros(4)], CPU), [0], [4], size=4)
    assert torch.equal(targets.labels, expected.labels)
    assert torch.equal(targets.crowd, expected.crowd)
    shown = importlib.import_module(name).seen
    assert [sorted(-1 - label if label < 0 else label for label in labels) for labels in shown] == [
        sorted(row[row >= 0].tolist()) for row in expected.labels[0]
    ]
    assert any(label < 0 for labels in shown for label in labels)
