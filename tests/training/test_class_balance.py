"""Help for rare classes: weights of inverse frequency, and images drawn so that classes come equally often."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from mapopt.data import ShapesConfig, make_shapes
from mapopt.errors import ConfigError
from mapopt.losses import LOSS_TABLE
from mapopt.training.batches import DeviceSet, make_plan
from mapopt.training.fleet import Trainer
from mapopt.training.recipe import Recipe
from mapopt.training.task import Task


@pytest.fixture(scope="module")
def rare() -> DeviceSet:
    return DeviceSet(make_shapes(ShapesConfig(imbalance=20.0), seed=3, count=120), torch.device("cpu"))


def test_weights_are_inverse_to_frequencies_and_one_on_average_over_the_objects(rare: DeviceSet) -> None:
    counts = torch.from_numpy(rare.images.annotations.counts)
    products = counts * rare.class_weights
    assert torch.allclose(products, products[0].expand(3))
    assert products.sum().item() == pytest.approx(int(counts.sum()), rel=1e-5)


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
    assert images.balanced_probabilities == pytest.approx(expected)


def test_images_without_objects_keep_their_probability() -> None:
    scenes = make_shapes(ShapesConfig(objects=(0, 2)), seed=1, count=30)
    images = DeviceSet(scenes, torch.device("cpu"))
    empty = np.setdiff1d(np.arange(30), scenes.annotations.images)
    assert len(empty)
    assert images.balanced_probabilities[empty] == pytest.approx(np.full(len(empty), 1 / 30))
    assert images.balanced_probabilities.sum() == pytest.approx(1)


@pytest.mark.parametrize("balance", ["weights", "sampling"])
@pytest.mark.parametrize("loss", [name for name, loss in LOSS_TABLE.items() if loss.pointwise])
def test_help_for_rare_classes_changes_the_training(loss: str, balance: str, make_task: Callable[..., Task]) -> None:
    plain, helped = Trainer(make_task(loss=loss), seed=1), Trainer(make_task(loss=loss, class_balance=balance), seed=1)
    plain.train(8), helped.train(8)
    assert not torch.equal(plain.snapshot().tensors["weights"], helped.snapshot().tensors["weights"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"class_balance": "weights", "loss": "ap"}, "expected a pointwise loss, such as focal"),
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
