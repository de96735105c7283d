"""A batch in pieces gives the mean of the pieces' gradients, and a rate is scaled with the batch on request."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mapopt.data import ShapesConfig, make_shapes_splits
from mapopt.errors import ConfigError
from mapopt.training import Knobs, Recipe, Task, Trainer

LR = Knobs(lr=0.01, augment=0.3)


@pytest.fixture(scope="module")
def make() -> Callable[..., Trainer]:
    splits = make_shapes_splits(ShapesConfig(size=32), seed=3, train=12, val=2, test=2)

    def trainer(**recipe: object) -> Trainer:
        fields = {"detector": "resnet18", "optimizer": "sgd", "loss": "focal", "batch_size": 4, "clip": 1e9, **recipe}
        return Trainer(Task(name="small", splits=splits, recipe=Recipe(**fields), knobs=LR), seed=1)  # type: ignore[arg-type]

    return trainer


def weights(trainer: Trainer) -> torch.Tensor:
    return trainer.snapshot().tensors["weights"]


def test_pieces_are_averaged(make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    pieces = make(accumulate=2)
    losses = pieces.fleet.detectors[0].losses

    def seen(images, *arguments, **named):
        sizes.append(images.shape[1])
        return losses(images, *arguments, **named)

    monkeypatch.setattr(pieces.fleet.detectors[0], "losses", seen)
    before, interval = weights(pieces), pieces.train(4)
    assert sizes == [2, 2]
    # The same images in two steps from the same weights: their mean is what the pieces come to.
    halves = make(batch_size=2)
    snapshot, parts = halves.snapshot(), [halves.train(2)]
    first = weights(halves) - before
    later = halves.snapshot()
    halves.restore(type(snapshot)(snapshot.tensors, later.seed, later.seen, later.knobs, later.diverged))
    parts.append(halves.train(2))
    second = weights(halves) - before
    assert not torch.allclose(first, second, atol=1e-5)
    torch.testing.assert_close(weights(pieces) - before, (first + second) / 2, rtol=1e-3, atol=1e-7)
    assert interval.class_loss == pytest.approx(sum(part.class_loss for part in parts) / 2, rel=1e-5)
    assert interval.steps == 1


def test_the_rate_of_16_images_is_scaled_with_the_batch(make: Callable[..., Trainer]) -> None:
    plain, scaled = make(), make(scale_lr=True)
    before = weights(plain)
    plain.train(4), scaled.train(4)
    torch.testing.assert_close(weights(scaled) - before, (weights(plain) - before) / 4, rtol=1e-3, atol=2e-7)
    assert scaled.knobs.lr == plain.knobs.lr


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"accumulate": 3, "batch_size": 16, "detector": "resnet18"}, "expected a divisor of it"),
        ({"accumulate": 2}, "accumulate is 2 with detector 'tiny', whose lanes are one network"),
        ({"accumulate": 0, "detector": "resnet18"}, "accumulate is 0: expected a whole number from 1"),
    ],
)
def test_pieces_that_cannot_be_are_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Recipe(**fields)  # type: ignore[arg-type]


def test_pieces_of_lanes_of_ones_own_are_refused_when_it_is_built(own_parts: dict[str, str]) -> None:
    splits = make_shapes_splits(ShapesConfig(), seed=3, train=4, val=2, test=2)
    recipe = Recipe(detector=own_parts["colored"], batch_size=4, accumulate=2)
    with pytest.raises(ConfigError, match=r"accumulate is 2 with detector '.*:Colored', whose lanes are one network"):
        Trainer(Task(name="own", splits=splits, recipe=recipe), seed=1)
