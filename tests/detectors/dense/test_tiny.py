import pytest
import torch

from mapopt.detectors.dense.detector import DenseDetector
from mapopt.detectors.dense.losses import DenseLoss
from mapopt.detectors.dense.tiny import TinyNetwork
from mapopt.detectors.interface import Targets
from mapopt.detectors.objective import Objective


def laned(lanes: int) -> DenseDetector:
    detector = DenseDetector(TinyNetwork(3), DenseLoss(Objective()), lanes=lanes, size=(48, 48))
    for lane in range(lanes):
        detector.initialize(lane, 100 + lane)
    return detector


def first_lanes(targets: Targets, lanes: int) -> Targets:
    return Targets(targets.boxes[:lanes], targets.labels[:lanes], targets.crowd[:lanes])


@pytest.mark.parametrize("lanes", [3, 5, 8])
def test_a_lane_is_the_same_bit_for_bit_whatever_the_number_of_lanes_beside_it(lanes, scene, knob_table):
    images, targets = scene(lanes=8, batch=4, size=48)
    outcome = []
    for count in (2, lanes):
        detector = laned(count)
        losses = detector.losses(images[:count], first_lanes(targets, count), knob_table(count))
        sum(losses.values()).sum().backward()
        boxes = detector.detect(images[:count], knob_table(count))
        mine = boxes.lanes < 2
        outcome.append(
            [losses["class"][:2], losses["box"][:2], detector.gradient()[:2], boxes.boxes[mine], boxes.scores[mine]]
        )
    for first, second in zip(*outcome, strict=True):
        assert torch.equal(first, second)


def test_a_lane_alone_agrees_up_to_rounding(scene, knob_table):
    images, targets = scene(lanes=2, size=48)
    alone, pair = laned(1), laned(2)
    first = alone.losses(images[:1], first_lanes(targets, 1), knob_table(1))
    second = pair.losses(images, targets, knob_table(2))
    for name in first:
        assert torch.allclose(first[name][0], second[name][0], rtol=1e-4)


def test_the_gradient_of_a_lane_does_not_touch_another(scene, knob_table):
    images, targets = scene(lanes=3, size=48)
    detector = laned(3)
    detector.losses(images, targets, knob_table(3))["class"][1].backward()
    assert detector.gradient()[[0, 2]].abs().sum() == 0
    assert detector.gradient()[1].abs().sum() > 0


def test_weights_are_a_function_of_the_seed_and_touch_no_global_stream():
    network = TinyNetwork(3)
    state = torch.random.get_rng_state()
    assert torch.equal(network.draw(1), network.draw(1))
    assert not torch.equal(network.draw(1), network.draw(2))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_tiny_network_is_tiny_and_its_norms_and_biases_do_not_decay():
    network = TinyNetwork(3)
    assert 34_000 < network.parameters < 38_000
    mask = network.decay_mask()
    assert len(mask) == len(network.draw(0)) == network.parameters
    # Two numbers per channel of four norms, and the bias of the head for each prior.
    assert (mask == 0).sum() == 2 * (24 + 40 + 40 + 32) + len(network.prior_sizes) * (3 + 4)


def test_a_fresh_network_calls_everything_background(scene):
    images, _ = scene(size=48)
    network = TinyNetwork(3)
    logits, deltas, maps = network.forward(network.draw(0)[None], images)
    assert maps == [(6, 6)] * len(network.strides)
    assert logits.shape == (1, 2, 36 * len(maps), 3)
    assert deltas.shape == (1, 2, 36 * len(maps), 4)
    assert 0.003 < logits.sigmoid().mean() < 0.03
    assert deltas.abs().mean() < 0.2


def test_a_location_stands_where_its_numbers_are_computed():
    network = TinyNetwork(2)
    weights = network.draw(0)[None]
    images = torch.full((1, 1, 3, 32, 64), 100.0)
    spotted = images.clone()
    spotted[..., 8:16, 48:56] = 250
    logits, deltas, maps = network.forward(weights, spotted)
    assert maps == [(4, 8)] * len(network.strides)
    plain, changed = network.forward(weights, images), (logits, deltas)
    change = sum((plain_maps - other).abs().sum(-1) for plain_maps, other in zip(plain, changed, strict=False))[0, 0]
    for level in change.split(32):
        row, column = divmod(int(level.argmax()), 8)
        assert abs(row - 1) <= 1
        assert abs(column - 6) <= 1


def test_an_image_does_not_depend_on_its_batch(scene):
    images, _ = scene(batch=4, size=48)
    network = TinyNetwork(3)
    weights = network.draw(0)[None]
    together = network.forward(weights, images)[0]
    assert torch.allclose(network.forward(weights, images[:, 2:3])[0], together[:, 2:3], atol=1e-5)
