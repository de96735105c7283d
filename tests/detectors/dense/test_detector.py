import pytest
import torch

from mapopt.detectors.dense.detector import DenseDetector
from mapopt.detectors.dense.losses import DenseLoss
from mapopt.detectors.dense.tiny import TinyNetwork
from mapopt.detectors.objective import Objective


@pytest.fixture
def detector():
    made = DenseDetector(TinyNetwork(3), DenseLoss(Objective()), lanes=2, size=(64, 64))
    for lane in range(2):
        made.initialize(lane, lane)
    return made


def descend(detector, images, targets, knobs, *, steps: int, rate: float) -> list[float]:
    """Returns the sum of the losses before each step of Adam."""
    values, optimizer = [], torch.optim.Adam([detector.weights], lr=rate)
    for _ in range(steps):
        detector.clear_gradient()
        total = torch.stack(list(detector.losses(images, targets, knobs, seed=0).values())).sum()
        total.backward()
        optimizer.step()
        values.append(total.item())
    return values


@pytest.mark.parametrize("loss", ["focal", "bce", "ap", "rank_sort"])
def test_the_loss_falls_in_a_few_steps(loss, scene, knob_table):
    images, targets = scene(lanes=2)
    detector = DenseDetector(TinyNetwork(3), DenseLoss(Objective(loss=loss, balance="none")), lanes=2, size=(64, 64))
    for lane in range(2):
        detector.initialize(lane, lane)
    values = descend(detector, images, targets, knob_table(2), steps=8, rate=0.003)
    assert values[-1] < values[0]


def test_a_trained_detector_finds_the_objects_it_was_trained_on(detector, scene, knob_table):
    images, targets = scene(lanes=2)
    descend(detector, images, targets, knob_table(2), steps=60, rate=0.01)
    boxes = detector.detect(images, knob_table(2, score_threshold=0.3, nms_iou=0.3))
    for lane in range(2):
        for image in range(2):
            mine = (boxes.lanes == lane) & (boxes.images == image)
            truth = targets.labels[lane, image] >= 0
            expected = sorted(targets.labels[lane, image][truth].tolist())
            assert sorted(boxes.labels[mine][:2].tolist()) == expected


def test_before_a_backward_pass_and_after_clearing_the_gradient_is_zero(detector, scene, knob_table):
    assert detector.gradient().abs().sum() == 0
    images, targets = scene(lanes=2)
    detector.losses(images, targets, knob_table(2))["box"].sum().backward()
    assert detector.gradient().abs().sum() > 0
    detector.clear_gradient()
    assert detector.gradient().abs().sum() == 0


def test_every_number_of_the_network_learns(detector, scene, knob_table):
    images, targets = scene(lanes=2, batch=4)
    losses = detector.losses(images, targets, knob_table(2))
    sum(losses.values()).sum().backward()
    for part in detector.gradient().split(detector.network.sizes, dim=1):
        assert (part.abs().sum(1) > 0).all()


def test_initializing_a_lane_leaves_the_others_alone(detector):
    before = detector.weights.detach().clone()
    detector.initialize(1, 77)
    assert torch.equal(detector.weights[0], before[0])
    assert not torch.equal(detector.weights[1], before[1])


def test_detecting_leaves_no_trace(detector, scene, knob_table):
    images, targets = scene(lanes=2)
    detector.losses(images, targets, knob_table(2))["class"].sum().backward()
    weights, gradient = detector.weights.detach().clone(), detector.gradient().clone()
    stream = torch.random.get_rng_state()
    first = detector.detect(images, knob_table(2))
    second = detector.detect(images, knob_table(2))
    assert torch.equal(first.boxes, second.boxes)
    assert torch.equal(detector.weights, weights)
    assert torch.equal(detector.gradient(), gradient)
    assert torch.equal(torch.random.get_rng_state(), stream)
    assert detector.buffers() == {}


def test_post_processing_obeys_the_knobs_of_each_lane(detector, scene, knob_table):
    images, _ = scene(lanes=2)
    boxes = detector.detect(images, knob_table(2, score_threshold=[0.0, 0.02], nms_iou=0.6))
    assert (boxes.scores[boxes.lanes == 1] >= 0.02).all()
    assert (boxes.scores[boxes.lanes == 0] < 0.02).any()
    loose, strict = (
        len(detector.detect(images, knob_table(2, score_threshold=0.0, nms_iou=value)).scores) for value in (0.9, 0.2)
    )
    assert loose > strict
    soft = detector.detect(images, knob_table(2, score_threshold=0.0, soft_nms_sigma=[0.0, 0.5]))
    hard = detector.detect(images, knob_table(2, score_threshold=0.0))
    assert torch.equal(soft.scores[soft.lanes == 0], hard.scores[hard.lanes == 0])
    assert not torch.equal(soft.scores[soft.lanes == 1], hard.scores[hard.lanes == 1])
    few = detector.detect(images, knob_table(2, score_threshold=0.0, detections=[3.0, 5.4]))
    assert (few.lanes * 2 + few.images).bincount().tolist() == [3, 3, 5, 5]


def test_boxes_stay_inside_the_image(detector, scene, knob_table):
    images, _ = scene(lanes=2)
    with torch.no_grad():
        detector.weights *= 20
    boxes = detector.detect(images, knob_table(2, score_threshold=0.0))
    assert boxes.boxes.min() >= 0
    assert boxes.boxes.max() <= 64


def test_the_network_can_run_in_bfloat16_and_its_losses_stay_close(scene, knob_table):
    images, targets = scene(lanes=2)
    values = []
    for autocast in ("none", "bfloat16"):
        made = DenseDetector(TinyNetwork(3), DenseLoss(Objective()), lanes=2, size=(64, 64), autocast=autocast)
        made.initialize(0, 0)
        made.initialize(1, 1)
        values.append(torch.stack(list(made.losses(images, targets, knob_table(2)).values())))
    assert values[1].dtype == torch.float32
    assert not torch.equal(*values)
    assert torch.allclose(*values, rtol=0.1)
