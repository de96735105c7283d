"""Help for rare classes: weights of inverse frequency, and images drawn so that classes come equally often."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import mapopt
from mapopt.data import ShapesConfig, make_shapes
from mapopt.errors import ConfigError
from mapopt.losses import LOSS_TABLE
from mapopt.training import class_balance
from mapopt.training.batches import make_plan
from mapopt.training.class_balance import balanced_probabilities, class_weights, describe, repeat_factors
from mapopt.training.device_set import DeviceSet
from mapopt.training.fleet import Trainer
from mapopt.training.recipe import Recipe
from mapopt.training.task import Task


@pytest.fixture(scope="module")
def rare() -> DeviceSet:
    return DeviceSet(make_shapes(ShapesConfig(imbalance=20.0), seed=3, count=120), torch.device("cpu"))


def test_weights_are_inverse_to_frequencies_and_one_on_average_over_the_objects(rare: DeviceSet) -> None:
    counts = rare.images.annotations.counts
    for power in (0.0, 0.5, 1.0, 2.0):
        weights = class_weights(rare.images.annotations, power)
        products = counts**power * weights
        assert products == pytest.approx(np.full(3, products[0]))
        assert (counts * weights).sum() == pytest.approx(counts.sum())
    assert np.array_equal(class_weights(rare.images.annotations), counts.sum() / (len(counts) * counts))


def test_repeat_factors_are_those_of_the_rarest_class_in_the_image(rare: DeviceSet) -> None:
    notes = rare.images.annotations
    held = [set(notes.labels[notes.images == image].tolist()) for image in range(len(notes))]
    fractions = [sum(label in classes for classes in held) / len(held) for label in range(3)]
    assert min(fractions) < 0.3 < max(fractions)
    for threshold in (0.1, 0.3, 1.0):
        expected = [max([1.0, *(math.sqrt(threshold / fractions[label]) for label in classes)]) for classes in held]
        assert repeat_factors(notes, threshold) == pytest.approx(expected)
    assert (repeat_factors(notes, 1e-6) == 1).all()


def test_repeated_images_come_that_often(rare: DeviceSet) -> None:
    notes = rare.images.annotations
    repeats = repeat_factors(notes, 0.5)
    length = round(repeats.sum())
    plan = make_plan([0], [0], [rare], [np.zeros(200 * length)], torch.device("cpu"), repeat_threshold=0.5)
    counts = np.bincount(plan.order[0].numpy(), minlength=len(notes)) / 200
    assert counts == pytest.approx(repeats * length / repeats.sum(), abs=0.15)
    assert counts.max() > 1.5


def test_an_image_without_objects_and_a_class_without_images_repeat_nothing() -> None:
    scenes = make_shapes(ShapesConfig(objects=(0, 1), classes=5), seed=4, count=6)
    notes = scenes.annotations
    absent = np.setdiff1d(np.arange(5), notes.labels)
    empty = np.setdiff1d(np.arange(6), notes.images)
    assert len(absent)
    assert len(empty)
    repeats = repeat_factors(notes, 1.0)
    assert (repeats[empty] == 1).all()
    assert np.isfinite(repeats).all()


def test_balanced_images_hold_every_class_more_equally(rare: DeviceSet) -> None:
    notes = rare.images.annotations
    holds = np.zeros((len(rare), 3))
    holds[notes.images, notes.labels] = 1
    strengths = [np.zeros(3000)]
    plain = make_plan([0], [0], [rare], strengths, torch.device("cpu")).order[0]
    balanced = make_plan([0], [0], [rare], strengths, torch.device("cpu"), balanced=True).order[0]
    assert holds[balanced, 2].mean() > 3 * holds[plain, 2].mean()
    # A class is drawn first, so every class is in at least its share of the images that have objects.
    assert (holds[balanced].mean(0) > 0.3).all()


def test_probabilities_follow_from_drawing_a_class_and_then_one_of_its_images() -> None:
    scenes = make_shapes(ShapesConfig(), seed=0, count=4)
    notes = scenes.annotations
    images = DeviceSet(scenes, torch.device("cpu"))
    holding = [set(notes.labels[notes.images == image].tolist()) for image in range(4)]
    classes = set().union(*holding)
    expected = [
        sum((label in held) / sum(label in other for other in holding) for label in classes) / len(classes)
        for held in holding
    ]
    assert all(holding)
    assert balanced_probabilities(images.images.annotations) == pytest.approx(expected)


def test_images_without_objects_keep_their_probability() -> None:
    scenes = make_shapes(ShapesConfig(objects=(0, 2)), seed=1, count=30)
    images = DeviceSet(scenes, torch.device("cpu"))
    empty = np.setdiff1d(np.arange(30), scenes.annotations.images)
    assert len(empty)
    assert balanced_probabilities(images.images.annotations)[empty] == pytest.approx(np.full(len(empty), 1 / 30))
    assert balanced_probabilities(images.images.annotations).sum() == pytest.approx(1)


@pytest.mark.parametrize("balance", ["weights", "sampling", "repeat-factor"])
@pytest.mark.parametrize("loss", LOSS_TABLE)
def test_help_for_rare_classes_changes_the_training(loss: str, balance: str, make_task: Callable[..., Task]) -> None:
    settings = {"class_balance": balance, **({"repeat_threshold": 1.0} if balance == "repeat-factor" else {})}
    plain, helped = Trainer(make_task(loss=loss), seed=1), Trainer(make_task(loss=loss, **settings), seed=1)
    plain.train(8), helped.train(8)
    assert not torch.equal(plain.snapshot().tensors["weights"], helped.snapshot().tensors["weights"])


@pytest.mark.parametrize("loss", ["focal", "ap"])
def test_a_power_of_0_weighs_nothing_and_one_between_weighs_less(loss: str, make_task: Callable[..., Task]) -> None:
    def weights(**settings: Any) -> torch.Tensor:
        trainer = Trainer(make_task(loss=loss, **settings), seed=1)
        trainer.train(8)
        return trainer.snapshot().tensors["weights"]

    plain, half, full = (weights(class_balance="weights", class_balance_power=power) for power in (0.0, 0.5, 1.0))
    assert torch.allclose(plain, weights(), atol=1e-6)
    assert (half - plain).norm() < (full - plain).norm()
    assert not torch.equal(half, plain)


@pytest.mark.parametrize("loss", ["focal", "ap"])
def test_factors_by_name_are_those_of_frequencies_where_they_are_the_same(
    loss: str, make_task: Callable[..., Task]
) -> None:
    def weights(**settings: Any) -> torch.Tensor:
        trainer = Trainer(make_task(loss=loss, **settings), seed=1)
        trainer.train(8)
        return trainer.snapshot().tensors["weights"]

    notes = make_task().splits.train.annotations
    by_name = dict(zip(notes.category_names, class_weights(notes).tolist(), strict=True))
    assert torch.equal(weights(class_weights=by_name), weights(class_balance="weights"))
    assert torch.equal(weights(class_weights={"box": 1.0}), weights(class_weights=dict.fromkeys(by_name, 1.0)))
    assert not torch.equal(weights(class_weights={"box": 3.0}), weights())
    both = weights(class_weights={"box": 3.0}, class_balance="weights")
    product = {name: factor * (3.0 if name == "box" else 1.0) for name, factor in by_name.items()}
    assert torch.equal(both, weights(class_weights=product))


def test_a_factor_for_a_class_that_is_not_there_is_refused(make_task: Callable[..., Task]) -> None:
    with pytest.raises(ConfigError, match=r"unknown class in class_weights 'bocks'.*box, disc"):
        Trainer(make_task(class_weights={"bocks": 2.0}), seed=1)


def test_what_the_help_comes_to_is_said_in_a_line(rare: DeviceSet, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = rare.images.annotations

    def line(kind: str, **settings: Any) -> str:
        return describe(Recipe(class_balance=kind, **settings), notes)  # type: ignore[arg-type]

    for power in (1.0, 0.5):
        disc, box, triangle = class_weights(notes, power)
        said = line("weights", class_balance_power=power)
        assert said == f"class weights: disc {disc:.3g}, box {box:.3g}, triangle {triangle:.3g}"
    often = balanced_probabilities(notes) * 120
    assert line("sampling") == f"classes drawn equally: an image {often.min():.2g} to {often.max():.2g} times in 120"
    repeats = repeat_factors(notes, 0.5)
    epoch = f"an epoch has {round(repeats.sum())} for 120"
    assert line("repeat-factor", repeat_threshold=0.5) == f"images repeated 1 to {repeats.max():.2g} times: {epoch}"
    assert line("none") == ""
    assert line("none", class_weights={"box": 2.0}) == "class weights: disc 1, box 2, triangle 1"
    assert line("sampling", class_weights={"box": 2.0}).startswith("class weights: disc 1, box 2, triangle 1; classes ")
    # Of many classes only the smallest and the largest weight.
    monkeypatch.setattr(class_balance, "NAMED", 2)
    disc, _, triangle = class_weights(notes)
    assert line("weights") == f"class weights: disc {disc:.3g} to triangle {triangle:.3g}"


def test_training_prints_it(make_task: Callable[..., Task], capsys: pytest.CaptureFixture[str]) -> None:
    recipe = {"class_balance": "weights", "batch_size": 4}
    mapopt.train(make_task().splits, images=8, rounds=1, recipe=recipe, progress=True)
    assert "\nclass weights: disc " in capsys.readouterr().out
    mapopt.train(make_task().splits, images=8, rounds=1, recipe={"batch_size": 4}, progress=True)
    assert "class" not in capsys.readouterr().out.splitlines()[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"class_balance": "weights", "loss": "ap", "scope": "image"},
            "scope 'image', whose lists have no class: expected scope 'class', or a pointwise loss, such as focal",
        ),
        (
            {"class_weights": {"box": 2.0}, "loss": "ap", "scope": "image"},
            "class_weights is given with loss 'ap' and scope 'image', whose lists have no class",
        ),
        ({"class_weights": {"box": 2.0}, "loss": "torchvision"}, "class_weights is given with a detector's own losses"),
        ({"class_weights": {"box": -2.0}}, "class_weights has -2.0 for 'box': expected a factor from 0 to 100"),
        ({"class_balance_power": 0.5}, "class_balance_power is 0.5 with class_balance 'none', which has no use for it"),
        (
            {"class_balance": "weights", "class_balance_power": -1.0},
            "class_balance_power is -1.0: expected a number from",
        ),
        ({"class_balance": "weights", "repeat_threshold": 0.1}, "repeat_threshold is 0.1 with class_balance 'weights'"),
        ({"class_balance": "repeat-factor", "repeat_threshold": 0.0}, "repeat_threshold is 0.0: expected a fraction"),
        ({"class_balance": "weights", "loss": "torchvision"}, "name a loss, such as focal"),
        ({"memory": -1}, "memory is -1"),
        ({"loss": "ap", "loss_settings": {"detla": 1.0}}, "did you mean 'delta'"),
        ({"loss": "torchvision", "loss_settings": {"delta": 1.0}}, "a detector's own losses"),
        ({"loss": "app"}, "unknown loss 'app'"),
    ],
)
def test_recipes_that_make_no_sense_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Recipe(**settings)  # type: ignore[arg-type]
