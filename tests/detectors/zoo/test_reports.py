"""What torchvision's detectors report behind our interface, and that looking leaves no trace."""

import pytest
import torch

from mapopt.postprocessing.suppression import suppress

SIZE = 64


FAMILIES = ["retinanet", "fcos", "ssd", "faster_rcnn"]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_reported_is_what_torchvision_reports(family, scene, knob_table, detector_of, plain_model):
    images, _ = scene(size=SIZE, batch=3)
    detector = detector_of(family)
    with torch.no_grad():
        detector.weights *= 1.2  # more spread, fewer ties
    model = plain_model(detector, family).eval()
    place = model.roi_heads if family == "faster_rcnn" else model
    place.score_thresh, place.nms_thresh, place.detections_per_img = 0.002, 0.5, 20
    with torch.no_grad():
        expected = model(list(images[0] / 255))
    reported = detector.detect(images, knob_table(score_threshold=0.002, nms_iou=0.5, detections=20.0))
    assert reported.lanes.tolist() == [0] * len(reported.scores)
    for image, own in enumerate(expected):
        mine = reported.images == image
        assert torch.allclose(reported.boxes[mine], own["boxes"], atol=1e-3)
        assert torch.allclose(reported.scores[mine], own["scores"], atol=1e-5)
        assert torch.equal(reported.labels[mine] + detector._first_label, own["labels"])
        assert (reported.scores[mine].diff() <= 0).all()
    assert len(reported.scores) > 0


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("loss", ["torchvision", "focal"])
def test_detecting_leaves_no_trace(family, loss, scene, knob_table, detector_of):
    images, targets = scene(size=SIZE)
    detector = detector_of(family, loss)
    sum(detector.losses(images, targets, knob_table(), seed=0).values()).sum().backward()
    before = {name: value.clone() for name, value in detector.buffers().items()}
    weights, gradient = detector.weights.detach().clone(), detector.gradient().clone()
    modes = [module.training for module in detector.model.modules()]
    stream = torch.random.get_rng_state()
    first, second = (detector.detect(images, knob_table(score_threshold=0.0)) for _ in range(2))
    assert torch.equal(first.boxes, second.boxes)
    assert all(torch.equal(value, before[name]) for name, value in detector.buffers().items())
    assert torch.equal(detector.weights, weights)
    assert torch.equal(detector.gradient(), gradient)
    assert [module.training for module in detector.model.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), stream)
    untouched = detector_of(family, loss)
    for built in (detector, untouched):
        with torch.no_grad():
            built.weights.copy_(weights)
    untouched.losses(images, targets, knob_table(), seed=0)
    after = [built.losses(images, targets, knob_table(), seed=1) for built in (detector, untouched)]
    assert all(torch.equal(after[0][name], after[1][name]) for name in after[0])


@pytest.mark.parametrize("loss", ["torchvision", "focal"])
def test_what_faster_rcnn_samples_is_a_function_of_the_seed_alone(loss, scene, knob_table, detector_of):
    images, targets = scene(size=SIZE)
    detector = detector_of("faster_rcnn", loss)
    values = []
    for foreign, seed in ((1, 4), (2, 4), (1, 5)):
        torch.manual_seed(foreign)
        stream = torch.random.get_rng_state()
        values.append(torch.cat(list(detector.losses(images, targets, knob_table(), seed=seed).values())))
        assert torch.equal(torch.random.get_rng_state(), stream)
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])


def test_weights_and_statistics_are_drawn_anew_from_the_seed(scene, knob_table, detector_of):
    images, targets = scene(size=SIZE)
    stream = torch.random.get_rng_state()
    detector = detector_of("fcos", seed=1)
    assert torch.equal(torch.random.get_rng_state(), stream)
    weights = detector.weights.detach().clone()
    statistics = {name: value.clone() for name, value in detector.buffers().items()}
    detector.losses(images, targets, knob_table(), seed=0)
    assert any(not torch.equal(value, statistics[name]) for name, value in detector.buffers().items())
    detector.initialize(0, 2)
    assert not torch.equal(detector.weights, weights)
    detector.initialize(0, 1)
    assert torch.equal(detector.weights, weights)
    assert all(torch.equal(value, statistics[name]) for name, value in detector.buffers().items())


@pytest.mark.parametrize("family", FAMILIES)
def test_post_processing_obeys_the_knobs(family, scene, knob_table, detector_of):
    images, _ = scene(size=SIZE)
    detector = detector_of(family)
    if family == "fcos":  # whose boxes are empty at first
        with torch.no_grad():
            detector._row.split(detector.weights[0])["head.regression_head.bbox_reg.bias"].fill_(1.0)

    def detect(**changes):
        return detector.detect(
            images, knob_table(**{"score_threshold": 0.0, "nms_iou": 0.9, "detections": 300.0} | changes)
        )

    every = detect()
    middle = float(every.scores.median())
    fewer = detect(score_threshold=middle)
    assert 0 < len(fewer.scores) < len(every.scores)
    assert fewer.scores.min() > middle
    assert len(detect(nms_iou=0.1).scores) < len(every.scores)
    few = detect(detections=4.6)
    assert few.images.bincount().tolist() == [5, 5]
    assert torch.equal(few.scores, torch.cat([every.scores[every.images == image][:5] for image in range(2)]))


@pytest.mark.parametrize("family", FAMILIES)
def test_soft_suppression_takes_what_torchvision_would_suppress_among(family, scene, knob_table, detector_of):
    images, _ = scene(size=SIZE)
    detector = detector_of(family)
    with torch.no_grad():
        detector.weights *= 1.2  # more spread, fewer ties
        if family == "fcos":  # whose boxes are empty at first
            detector._row.split(detector.weights[0])["head.regression_head.bbox_reg.bias"].fill_(1.0)
    table = knob_table(score_threshold=0.002, nms_iou=0.5, detections=300.0)
    candidates = detector.candidates(images, table)
    reported = detector.detect(images, table | {"soft_nms_sigma": torch.tensor([0.3])})
    expected = suppress(candidates, *(table[name] for name in ("score_threshold", "nms_iou")), side=SIZE,
                        soft_nms_sigma=torch.tensor([0.3]), detections=table["detections"])  # fmt: skip
    hard = detector.detect(images, table)
    assert torch.equal(reported.scores, expected.scores)
    assert len(reported.scores) > 0
    assert not torch.equal(reported.scores, hard.scores)
    # What is suppressed hard by us is what torchvision reports.
    ours = suppress(candidates, *(table[name] for name in ("score_threshold", "nms_iou")), side=SIZE,
                    soft_nms_sigma=torch.zeros(1), detections=table["detections"])  # fmt: skip
    for image in range(2):
        mine, theirs = ours.scores[ours.images == image], hard.scores[hard.images == image]
        assert torch.equal(mine.sort().values, theirs.sort().values)
