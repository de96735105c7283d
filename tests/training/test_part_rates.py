"""Layers that are frozen keep their bits, and layers with a rate of their own step as if all had it."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mapopt.detectors.dense.tiny import TinyNetwork
from mapopt.errors import ConfigError
from mapopt.training import Recipe, Task, Trainer


def steps_of(make_task: Callable[..., Task], *, lr: float = 0.01, **recipe: object) -> dict[str, Tensor]:
    """Returns how far each layer went in a step."""
    task = make_task(knobs={"lr": lr}, **{"optimizer": "sgd", **recipe})
    trainer = Trainer(task, 1)
    before = trainer.snapshot().tensors["weights"]
    trainer.train(4)
    moved = trainer.snapshot().tensors["weights"] - before
    parts = trainer.fleet.detectors[0].parts()
    pieces = moved.split([math.prod(shape) for shape in parts.values()])
    return dict(zip(parts, pieces, strict=True))


@pytest.fixture(scope="module")
def names() -> list[str]:
    return list(TinyNetwork(3).parts())


def test_what_is_frozen_keeps_its_bits_and_its_gradient_counts_for_nothing(
    make_task: Callable[..., Task], names: list[str]
) -> None:
    whole = steps_of(make_task, clip=1e9)
    frozen = steps_of(make_task, clip=1e9, frozen=names[0])
    for name in names:
        assert whole[name].any()
        assert bool(frozen[name].any()) != name.startswith(names[0])
        if not name.startswith(names[0]):
            assert torch.equal(frozen[name], whole[name])


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_a_layer_steps_as_if_all_had_its_rate(make_task: Callable[..., Task], names: list[str], optimizer: str) -> None:
    half, whole = steps_of(make_task, optimizer=optimizer, lr=0.005), steps_of(make_task, optimizer=optimizer)
    mixed = steps_of(make_task, optimizer=optimizer, layer_lr={names[-1]: 0.5})
    for name in names:
        expected = half[name] if name.startswith(names[-1]) else whole[name]
        torch.testing.assert_close(mixed[name], expected, rtol=1e-3, atol=1e-6)
    assert not torch.allclose(half[names[-1]], whole[names[-1]], rtol=1e-2)


def test_lanes_that_are_packed_have_the_rates_too(make_task: Callable[..., Task], names: list[str]) -> None:
    from mapopt.training import Fleet

    fleet = Fleet(make_task(frozen=".*", optimizer="sgd"), [1, 2, 3])
    before = [fleet.snapshot(lane).tensors["weights"] for lane in range(3)]
    fleet.train(8, active=[True, False, True])
    assert all(torch.equal(fleet.snapshot(lane).tensors["weights"], before[lane]) for lane in range(3))


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"frozen": "body"}, "no part of the detector begins with a match of 'body'"),
        ({"frozen": "("}, "is no regular expression"),
        ({"layer_lr": {"head": -1.0}}, "layer_lr has -1.0 for 'head': expected a factor from 0 to 100"),
        ({"frozen": ".*", "optimizer": "dog"}, "frozen or layer_lr with optimizer 'dog', which evaluates an average"),
    ],
)
def test_what_cannot_be_is_refused(make_task: Callable[..., Task], recipe: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Trainer(make_task(**recipe), 1)


def test_a_recipe_without_them_is_stored_as_before() -> None:
    from mapopt.settings import to_mapping

    assert not {"frozen", "layer_lr", "accumulate", "scale_lr"} & to_mapping(Recipe()).keys()
