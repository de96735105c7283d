"""The small single-stage detector: where it looks, that all of it learns, and that it trains with every class loss."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mapopt.detectors.dense.assigners import TaskAlignedAssigner
from mapopt.detectors.dense.detector import DenseDetector
from mapopt.detectors.dense.geometry import decode, make_priors
from mapopt.detectors.dense.losses import DenseLoss
from mapopt.detectors.dense.nano import NanoNetwork
from mapopt.detectors.interface import KnobTable, Targets
from mapopt.detectors.objective import Objective
from mapopt.losses import LOSSES

Scene = Callable[..., tuple[Tensor, Targets]]
Knobs = Callable[..., KnobTable]


@pytest.fixture(scope="module")
def network() -> NanoNetwork:
    return NanoNetwork(3)


def test_every_location_has_one_point_and_every_point_logits_and_deltas(network: NanoNetwork) -> None:
    with torch.no_grad():
        logits, deltas, maps = network.forward(network.draw(0)[None], torch.zeros(1, 2, 3, 64, 96))
    assert maps == [(8, 12), (4, 6), (2, 3)]
    assert network.strides == (8, 16, 32)
    assert len(network.prior_sizes) == len(maps)
    assert logits.shape == (1, 2, 96 + 24 + 6, 3)
    assert deltas.shape == (1, 2, 126, 4)
    assert 1e6 < network.parameters < 3e6
    assert network.classes_of("class_head.weight") == [0, 1, 2]


def test_a_fresh_network_calls_everything_background_and_sees_squares(network: NanoNetwork, scene: Scene) -> None:
    with torch.no_grad():
        logits, deltas, _ = network.forward(network.draw(0)[None], scene()[0])
    assert 0.003 < logits.sigmoid().mean() < 0.03
    assert deltas.abs().mean() < 0.5


def test_boxes_from_a_few_pixels_to_the_whole_image_can_be_said(network: NanoNetwork) -> None:
    priors = make_priors([(32, 32), (16, 16), (8, 8)], network.strides, network.prior_sizes)
    smallest = decode(torch.full((1, 1, 1344, 4), -9.0), priors)
    largest = decode(torch.full((1, 1, 1344, 4), 9.0), priors)
    assert (smallest[..., 2] - smallest[..., 0]).min() < 2
    assert (largest[..., 2] - largest[..., 0]).max() > 1024


def test_an_object_of_ten_pixels_has_a_positive_wherever_it_lies(network: NanoNetwork) -> None:
    priors = make_priors([(8, 8), (4, 4), (2, 2)], network.strides, network.prior_sizes)
    boxes = decode(torch.zeros(1, 1, 84, 4), priors)
    logits = torch.full((1, 1, 84, 3), -4.6)
    for left in range(20, 28):
        objects = torch.tensor([left, left, left + 10, left + 10]).float().view(1, 1, 1, 4)
        targets = Targets(objects, torch.zeros(1, 1, 1).long(), torch.zeros(1, 1, 1, dtype=torch.bool))
        assigned = TaskAlignedAssigner()(logits, boxes, priors, targets, {})
        assert (assigned.objects == 0).any()


def test_weights_are_a_function_of_the_seed_and_touch_no_global_stream(network: NanoNetwork) -> None:
    state = torch.random.get_rng_state()
    assert torch.equal(network.draw(1), network.draw(1))
    assert not torch.equal(network.draw(1), network.draw(2))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_an_image_does_not_depend_on_its_batch(network: NanoNetwork, scene: Scene) -> None:
    images, _ = scene(batch=3)
    weights = network.draw(0)[None]
    with torch.no_grad():
        together = network.forward(weights, images)[0]
        assert torch.allclose(network.forward(weights, images[:, 1:2])[0], together[:, 1:2], atol=1e-4)


def test_every_part_learns_and_the_loss_falls(scene: Scene, knob_table: Knobs) -> None:
    images, targets = scene()
    loss = DenseLoss(Objective())
    detector = DenseDetector(NanoNetwork(3), loss, lanes=1, size=(64, 64))
    detector.initialize(0, 0)
    optimizer = torch.optim.Adam([detector.weights], lr=1e-3)
    values = []
    for _ in range(8):
        detector.clear_gradient()
        losses = detector.losses(images, targets, knob_table())
        (losses["class"] + losses["box"]).sum().backward()
        if not values:
            gradient = detector.gradient()[0]
            assert [name for name in detector.parts() if not _part(detector, name, gradient).any()] == []
        optimizer.step()
        values.append(losses["box"].item())
    # The class loss may rise at first: what it is to say are the IoUs of boxes that become better.
    assert values[-1] < 0.8 * values[0]


def _part(detector: DenseDetector, name: str, row: Tensor) -> Tensor:
    """Returns a parameter's part of a row of numbers."""
    parts = detector.parts()
    sizes = [torch.Size(shape).numel() for shape in parts.values()]
    return row.split(sizes)[list(parts).index(name)]


@pytest.mark.parametrize("loss", LOSSES)
def test_every_class_loss_sends_a_finite_gradient_into_the_body(loss: str, scene: Scene, knob_table: Knobs) -> None:
    images, targets = scene()
    dense = DenseLoss(Objective(loss=loss))
    dense.count_classes(0, torch.tensor([4, 2, 1]), lanes=1)
    detector = DenseDetector(NanoNetwork(3), dense, lanes=1, size=(64, 64))
    detector.initialize(0, 0)
    with torch.no_grad():
        # Scores of a fresh network are nearly equal, and a blackbox ranking of these does not move.
        _part(detector, "class_head.weight", detector.weights[0]).mul_(30)
    detector.losses(images, targets, knob_table())["class"].sum().backward()
    gradient = detector.gradient()[0]
    assert torch.isfinite(gradient).all()
    assert _part(detector, "stem.0.weight", gradient).any()
