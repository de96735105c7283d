"""What torchvision's detectors train on behind our interface: their own losses, ours, and the knobs."""

import pytest
import torch
from torch.nn.functional import pad

from mapopt.detectors.interface import Targets
from mapopt.detectors.objective import Objective
from mapopt.detectors.torchvision import TorchvisionDetector
from mapopt.errors import ConfigError

SIZE = 64


FAMILIES = ["retinanet", "fcos", "ssd", "faster_rcnn"]


LOSSES = ["torchvision", "focal", "rank_sort"]


CLASS_TERMS = {"classification", "loss_classifier", "loss_objectness"}


def as_examples(targets: Targets, background: int) -> list[dict]:
    return [
        {"boxes": targets.boxes[0, image][keep], "labels": targets.labels[0, image][keep] + background}
        for image, keep in enumerate(targets.labels[0] >= 0)
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_with_torchvisions_losses_the_numbers_are_torchvisions(family, scene, knob_table, detector_of, plain_model):
    images, targets = scene(size=SIZE)
    detector = detector_of(family)
    model = plain_model(detector, family)
    if family == "retinanet":
        model.proposal_matcher.high_threshold, model.proposal_matcher.low_threshold = 0.55, 0.45
    elif family != "fcos":
        matcher = model.proposal_matcher if family == "ssd" else model.roi_heads.proposal_matcher
        matcher.high_threshold = matcher.low_threshold = 0.55
    torch.manual_seed(7)
    expected = model.train()(list(images[0] / 255), as_examples(targets, detector._first_label))
    losses = detector.losses(images, targets, knob_table(assign_iou=0.55), seed=7)
    for kind in ("class", "box"):
        terms = [value for name, value in expected.items() if (name in CLASS_TERMS) == (kind == "class")]
        assert torch.allclose(losses[kind], torch.stack(terms).sum(), rtol=1e-4)
        assert losses[kind] > 0


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("loss", LOSSES)
def test_everything_learns_and_the_loss_falls(family, loss, scene, knob_table, detector_of):
    images, targets = scene(size=SIZE)
    detector = detector_of(family, loss, **({} if loss == "torchvision" else {"balance": "none"}))
    optimizer = torch.optim.Adam([detector.weights], lr=2e-3)
    values = []
    for _ in range(5):
        detector.clear_gradient()
        assert detector.gradient().abs().sum() == 0
        losses = detector.losses(images, targets, knob_table(), seed=0)
        assert {name: value.shape for name, value in losses.items()} == {"class": (1,), "box": (1,)}
        sum(losses.values()).sum().backward()
        if not values:
            silent = [name for name, part in detector._row.split(detector.gradient()[0]).items() if not part.any()]
            assert silent == []
        optimizer.step()
        values.append(sum(losses.values()).item())
    assert values[-1] < values[0]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("loss", ["torchvision", "ap"])
def test_a_weight_scales_its_own_term_and_no_other(family, loss, scene, knob_table, detector_of):
    images, targets = scene(size=SIZE)
    detector = detector_of(family, loss)
    plain = detector.losses(images, targets, knob_table(), seed=0)
    for term, other in (("class", "box"), ("box", "class")):
        doubled = detector.losses(images, targets, knob_table(**{f"{term}_weight": 2.0}), seed=0)
        assert torch.allclose(doubled[term], 2 * plain[term])
        assert torch.allclose(doubled[other], plain[other])


def test_our_focal_loss_is_torchvisions(scene, knob_table, detector_of):
    images, targets = scene(size=SIZE)
    for family, batch in (("fcos", 2), ("retinanet", 1)):  # torchvision's RetinaNet averages over images first
        first = Targets(targets.boxes[:, :batch], targets.labels[:, :batch], targets.crowd[:, :batch])
        values = []
        for loss in ("focal", "torchvision"):
            detector = detector_of(family, loss)
            with torch.no_grad():  # at even odds every anchor counts, and what is ignored is missed
                detector._row.split(detector.weights[0])["head.classification_head.cls_logits.bias"].zero_()
            values.append(detector.losses(images[:, :batch], first, knob_table(), seed=0))
        ours, own = values
        assert torch.allclose(ours["class"], own["class"], rtol=1e-5)
        assert torch.allclose(ours["box"], own["box"], rtol=1e-5)  # both GIoU, FCOS with its centerness


@pytest.mark.parametrize("family", ["retinanet", "ssd", "faster_rcnn"])
@pytest.mark.parametrize("loss", ["torchvision", "focal"])
def test_the_assignment_knob_reaches_the_matcher(family, loss, scene, knob_table, detector_of):
    images, targets = scene(size=SIZE)
    detector = detector_of(family, loss)
    low, high = (detector.losses(images, targets, knob_table(assign_iou=value), seed=0) for value in (0.1, 0.8))
    assert not torch.equal(low["class"], high["class"])
    matcher = detector._limits.proposal_matcher
    assert matcher.high_threshold == pytest.approx(0.8)
    assert matcher.low_threshold == pytest.approx(0.7 if family == "retinanet" else 0.8)


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_knobs_change_our_losses(family, scene, knob_table, detector_of):
    images, targets = scene(size=SIZE)
    focal, ranking = detector_of(family, "focal"), detector_of(family, "ap")
    for detector, name, values in ((focal, "focal_gamma", (0.5, 4.0)), (ranking, "surrogate_weight", (0.2, 1.0))):
        first, second = (
            detector.losses(images, targets, knob_table(**{name: value}), seed=0)["class"] for value in values
        )
        assert not torch.allclose(first, second)


@pytest.mark.parametrize("family", FAMILIES)
def test_class_weights_and_a_memory_change_our_losses(family, scene, knob_table, detector_of):
    images, targets = scene(size=SIZE)
    weighed, plain = detector_of(family, "focal"), detector_of(family, "focal")
    weighed.weigh_classes(0, torch.full((3,), 2.0))
    first, second = (detector.losses(images, targets, knob_table(), seed=0)["class"] for detector in (weighed, plain))
    if family == "faster_rcnn":  # whose proposals have a class loss too
        assert first > second
    else:
        assert torch.allclose(first, 2 * second)
    remembering, plain = detector_of(family, "ap", memory=50), detector_of(family, "ap")
    assert all(len(value) == 1 for value in remembering.buffers().values())
    (before, same), (after, other) = (
        [detector.losses(images * scale, targets, knob_table(), seed=0)["class"] for detector in (remembering, plain)]
        for scale in (0.1, 1.0)
    )
    assert torch.equal(before, same)
    assert not torch.allclose(after, other, rtol=1e-4)
    assert remembering.buffers()["memory.where"].any()
    remembering.initialize(0, 0)
    assert not remembering.buffers()["memory.where"].any()


@pytest.mark.parametrize("family", FAMILIES)
def test_long_tail_losses_know_counts_and_keep_a_state(family, scene, knob_table, detector_of):
    images, targets = scene(size=SIZE)
    values = []
    for counts in ([1, 1, 1], [100, 10, 1]):
        detector = detector_of(family, "ecm")
        detector.count_classes(0, torch.tensor(counts))
        values.append(detector.losses(images, targets, knob_table(), seed=0)["class"])
    assert not torch.allclose(*values)
    detector = detector_of(family, "efl")
    detector.losses(images, targets, knob_table(), seed=0)
    kept = detector.buffers()["loss.lowered"]
    assert (kept[0, -3:] > 0).all()
    detector.initialize(0, 0)
    assert not detector.buffers()["loss.lowered"].any()
    detector_of(family, "torchvision").count_classes(0, torch.tensor([1, 1, 1]))


@pytest.mark.parametrize("family", FAMILIES)
def test_our_losses_ignore_crowd_regions(family, scene, knob_table, detector_of):
    images, targets = scene(size=SIZE)
    crowded = Targets(pad(targets.boxes, (0, 0, 0, 1)), pad(targets.labels, (0, 1)), pad(targets.crowd, (0, 1)))
    crowded.boxes[..., -1, :] = torch.tensor([0.0, 0.0, SIZE, SIZE])
    crowded.crowd[..., -1] = True
    plain, ignoring = (
        detector_of(family, "focal", balance="none").losses(images, objects, knob_table(), seed=0)
        for objects in (targets, crowded)
    )
    assert torch.allclose(plain["box"], ignoring["box"])
    # With everything in a crowd, only the positives are left.
    assert ignoring["class"] < plain["class"]
    own, dropping = (
        detector_of(family).losses(images, objects, knob_table(), seed=0) for objects in (targets, crowded)
    )
    assert torch.equal(own["class"], dropping["class"])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("loss", LOSSES)
def test_images_without_objects_and_boxes_without_area_are_no_trouble(family, loss, scene, knob_table, detector_of):
    images, targets = scene(size=SIZE)
    targets.labels[:, 0] = -1
    targets.boxes[:, 1, 0, 2] = targets.boxes[:, 1, 0, 0]
    for objects in (targets, Targets(targets.boxes, torch.full_like(targets.labels, -1), targets.crowd)):
        detector = detector_of(family, loss)
        losses = detector.losses(images, objects, knob_table(), seed=0)
        sum(losses.values()).sum().backward()
        assert torch.isfinite(detector.gradient()).all()
        assert all(torch.isfinite(value).all() for value in losses.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_changes_nothing(family, scene, knob_table, detector_of):
    images, targets = scene(size=SIZE)
    longer = Targets(
        pad(targets.boxes, (0, 0, 2, 1)), pad(targets.labels, (2, 1), value=-1), pad(targets.crowd, (2, 1))
    )
    first, second = (
        detector_of(family, "rank_sort").losses(images, objects, knob_table(), seed=0) for objects in (targets, longer)
    )
    for name in first:
        assert torch.equal(first[name], second[name])


@pytest.mark.parametrize("family", FAMILIES)
def test_in_bfloat16_anchors_boxes_and_losses_stay_in_float32(family, scene, knob_table, detector_of):
    images, targets = scene(size=SIZE)
    detector, exact = detector_of(family, "focal", autocast="bfloat16"), detector_of(family, "focal")
    seen = []
    generator = detector.model.rpn.anchor_generator if family == "faster_rcnn" else detector.model.anchor_generator
    generator.register_forward_hook(lambda module, inputs, outputs: seen.extend(outputs))
    losses = detector.losses(images, targets, knob_table(), seed=0)
    boxes = detector.detect(images, knob_table())
    assert {values.dtype for values in [*seen, *losses.values(), boxes.boxes, boxes.scores]} == {torch.float32}
    expected = exact.losses(images, targets, knob_table(), seed=0)
    assert torch.allclose(losses["class"], expected["class"], rtol=0.2)
    assert not torch.equal(losses["class"], expected["class"])


def test_names_and_settings_that_do_not_exist_are_refused(detector_of):
    with pytest.raises(ConfigError, match="unknown torchvision detector 'retinanet18': did you mean 'retinanet"):
        TorchvisionDetector("retinanet18", Objective(), classes=3)
    with pytest.raises(ConfigError, match="unknown loss 'foca': did you mean 'focal'"):
        detector_of("fcos", "foca")
    for setting in (
        {"scope": "image"},
        {"balance": "values"},
        {"box_loss": "smooth_l1"},
        {"memory": 9},
        {"auxiliary": {"correlation": 0.2}},
    ):
        name, value = next(iter(setting.items()))
        with pytest.raises(ConfigError, match=f"{name}={value!r} given with loss 'torchvision', a detector's own"):
            detector_of("fcos", **setting)
    with pytest.raises(ConfigError, match="class weights for the loss 'torchvision', which takes none: name a loss"):
        detector_of("fcos").weigh_classes(0, torch.ones(3))
    with pytest.raises(ConfigError, match="unknown weights of small_fcos 'DEFAULT'"):
        detector_of("fcos", weights="DEFAULT")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_knob_fades_a_ranking_in_from_the_models_own_loss(family, scene, knob_table, detector_of):
    images, targets = scene(size=SIZE)
    own = detector_of(family).losses(images, targets, knob_table(class_weight=2.0), seed=0)
    faded = detector_of(family, "rank_sort", blend_with="torchvision", box_loss="torchvision")
    start, middle = (
        faded.losses(images, targets, knob_table(surrogate_weight=fraction, class_weight=2.0), seed=0)
        for fraction in (0.0, 0.5)
    )
    assert all(torch.equal(start[name], value) for name, value in own.items())
    assert not torch.allclose(middle["class"], own["class"])
    assert torch.equal(middle["box"], own["box"])
