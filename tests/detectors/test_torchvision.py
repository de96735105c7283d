import pytest
import torch
from torch import nn
from torch.nn.functional import pad
from torchvision.models import detection as models
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.ssd import SSD
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign

from mapopt.detectors import torchvision_models as zoo
from mapopt.detectors.interface import Targets
from mapopt.detectors.list_losses import log_odds
from mapopt.detectors.objective import Objective
from mapopt.detectors.torchvision import TorchvisionDetector
from mapopt.detectors.torchvision_models import MODELS, FixedSize, ZooModel, build_model
from mapopt.errors import ConfigError
from mapopt.postprocessing.suppression import suppress

SIZE = 64
FAMILIES = ["retinanet", "fcos", "ssd", "faster_rcnn"]
LOSSES = ["torchvision", "focal", "rank_sort"]
CLASS_TERMS = {"classification", "loss_classifier", "loss_objectness"}


class Backbone(nn.Sequential):
    """One map of stride 8, with batch norms, so that there are running statistics."""

    def __init__(self) -> None:
        layers = [nn.Conv2d(3, 16, 8, stride=4, padding=2), nn.BatchNorm2d(16), nn.ReLU()]
        layers += [nn.Conv2d(16, 32, 4, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU()]
        super().__init__(*layers)
        self.out_channels = 32


def small(family: str, columns: int):
    """Torchvision's model of a family on a small backbone; its transform resizes nothing."""
    sizes = {"min_size": SIZE, "max_size": SIZE}
    if family == "retinanet":
        anchors = AnchorGenerator(((16, 32),), ((1.0,),))
        head = RetinaNetHead(32, 2, columns)
        head.regression_head._loss_type = "giou"
        return models.RetinaNet(Backbone(), columns, anchor_generator=anchors, head=head, **sizes)
    if family == "fcos":
        anchors = AnchorGenerator(((8,),), ((1.0,),))
        head = FCOSHead(32, 1, columns, num_convs=1)
        return models.FCOS(Backbone(), columns, anchor_generator=anchors, head=head, **sizes)
    if family == "ssd":
        body = Backbone()
        body.out_channels = [32]
        return SSD(body, DefaultBoxGenerator([[2]], 0.3, 0.6), (SIZE, SIZE), columns)
    return models.FasterRCNN(
        Backbone(),
        columns,
        rpn_anchor_generator=AnchorGenerator(((16, 32),), ((1.0,),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 4, 2),
        rpn_batch_size_per_image=32,
        box_batch_size_per_image=32,
        rpn_post_nms_top_n_train=80,
        _skip_resize=True,  # choosing a size, even the only one, would draw from the stream that samples boxes
        **sizes,
    )


@pytest.fixture(autouse=True)
def small_models(monkeypatch):
    """Puts the small models into the zoo, under their families' names."""
    for family in FAMILIES:
        background = family in ("ssd", "faster_rcnn")
        spec = ZooModel(lambda columns, pretrained, family=family: small(family, columns), background=background)
        monkeypatch.setitem(MODELS, f"small_{family}", spec)


def detector_of(family: str, loss: str = "torchvision", seed: int = 0, **settings) -> TorchvisionDetector:
    own = {name: settings.pop(name) for name in ("weights", "autocast") if name in settings}
    detector = TorchvisionDetector(f"small_{family}", Objective(loss=loss, **settings), classes=3, **own)
    detector.initialize(0, seed)
    return detector


def plain_model(detector: TorchvisionDetector, family: str):
    """Torchvision's own model with the detector's weights, knobs as in the tests' defaults."""
    model = small(family, 3 + (family in ("ssd", "faster_rcnn")))
    values = detector._row.split(detector.weights[0].detach())
    model.load_state_dict({**values, **{name: value[0] for name, value in detector.buffers().items()}})
    return model


def as_examples(targets: Targets, background: int) -> list[dict]:
    return [
        {"boxes": targets.boxes[0, image][keep], "labels": targets.labels[0, image][keep] + background}
        for image, keep in enumerate(targets.labels[0] >= 0)
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_with_torchvisions_losses_the_numbers_are_torchvisions(family, scene, knob_table):
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
def test_what_is_reported_is_what_torchvision_reports(family, scene, knob_table):
    images, _ = scene(size=SIZE, batch=3)
    detector = detector_of(family)
    with torch.no_grad():
        detector.weights *= 1.2  # more spread, fewer ties
    model = plain_model(detector, family).eval()
    place = model.roi_heads if family == "faster_rcnn" else model
    place.score_thresh, place.nms_thresh, place.detections_per_img = 0.002, 0.5, 20
    with torch.no_grad():
        expected = model(list(images[0] / 255))
    found = detector.detect(images, knob_table(score_threshold=0.002, nms_iou=0.5, detections=20.0))
    assert found.lanes.tolist() == [0] * len(found.scores)
    for image, one in enumerate(expected):
        mine = found.images == image
        assert torch.allclose(found.boxes[mine], one["boxes"], atol=1e-3)
        assert torch.allclose(found.scores[mine], one["scores"], atol=1e-5)
        assert torch.equal(found.labels[mine] + detector._first_label, one["labels"])
        assert (found.scores[mine].diff() <= 0).all()
    assert len(found.scores) > 0


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("loss", LOSSES)
def test_everything_learns_and_the_loss_falls(family, loss, scene, knob_table):
    images, targets = scene(size=SIZE)
    detector = detector_of(family, loss, **({} if loss == "torchvision" else {"balance": False}))
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
def test_a_weight_scales_its_own_term_and_no_other(family, loss, scene, knob_table):
    images, targets = scene(size=SIZE)
    detector = detector_of(family, loss)
    plain = detector.losses(images, targets, knob_table(), seed=0)
    for term, other in (("class", "box"), ("box", "class")):
        doubled = detector.losses(images, targets, knob_table(**{f"{term}_weight": 2.0}), seed=0)
        assert torch.allclose(doubled[term], 2 * plain[term])
        assert torch.allclose(doubled[other], plain[other])


def test_our_focal_loss_is_torchvisions(scene, knob_table):
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


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("loss", ["torchvision", "focal"])
def test_detecting_leaves_no_trace(family, loss, scene, knob_table):
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
    for one in (detector, untouched):
        with torch.no_grad():
            one.weights.copy_(weights)
    untouched.losses(images, targets, knob_table(), seed=0)
    after = [one.losses(images, targets, knob_table(), seed=1) for one in (detector, untouched)]
    assert all(torch.equal(after[0][name], after[1][name]) for name in after[0])


@pytest.mark.parametrize("loss", ["torchvision", "focal"])
def test_what_faster_rcnn_samples_is_a_function_of_the_seed_alone(loss, scene, knob_table):
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


def test_weights_and_statistics_are_drawn_anew_from_the_seed(scene, knob_table):
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
def test_post_processing_obeys_the_knobs(family, scene, knob_table):
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
def test_soft_suppression_takes_what_torchvision_would_suppress_among(family, scene, knob_table):
    images, _ = scene(size=SIZE)
    detector = detector_of(family)
    with torch.no_grad():
        detector.weights *= 1.2  # more spread, fewer ties
        if family == "fcos":  # whose boxes are empty at first
            detector._row.split(detector.weights[0])["head.regression_head.bbox_reg.bias"].fill_(1.0)
    table = knob_table(score_threshold=0.002, nms_iou=0.5, detections=300.0)
    candidates = detector.candidates(images, table)
    found = detector.detect(images, table | {"soft_nms_sigma": torch.tensor([0.3])})
    expected = suppress(candidates, *(table[name] for name in ("score_threshold", "nms_iou")), side=SIZE,
                        soft_nms_sigma=torch.tensor([0.3]), detections=table["detections"])  # fmt: skip
    hard = detector.detect(images, table)
    assert torch.equal(found.scores, expected.scores)
    assert len(found.scores) > 0
    assert not torch.equal(found.scores, hard.scores)
    # What is suppressed hard by us is what torchvision reports.
    ours = suppress(candidates, *(table[name] for name in ("score_threshold", "nms_iou")), side=SIZE,
                    soft_nms_sigma=torch.zeros(1), detections=table["detections"])  # fmt: skip
    for image in range(2):
        mine, theirs = ours.scores[ours.images == image], hard.scores[hard.images == image]
        assert torch.equal(mine.sort().values, theirs.sort().values)


@pytest.mark.parametrize("family", ["retinanet", "ssd", "faster_rcnn"])
@pytest.mark.parametrize("loss", ["torchvision", "focal"])
def test_the_assignment_knob_reaches_the_matcher(family, loss, scene, knob_table):
    images, targets = scene(size=SIZE)
    detector = detector_of(family, loss)
    low, high = (detector.losses(images, targets, knob_table(assign_iou=value), seed=0) for value in (0.1, 0.8))
    assert not torch.equal(low["class"], high["class"])
    matcher = detector._limits.proposal_matcher
    assert matcher.high_threshold == pytest.approx(0.8)
    assert matcher.low_threshold == pytest.approx(0.7 if family == "retinanet" else 0.8)


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_knobs_reach_our_losses(family, scene, knob_table):
    images, targets = scene(size=SIZE)
    focal, ranking = detector_of(family, "focal"), detector_of(family, "ap")
    for detector, name, values in ((focal, "focal_gamma", (0.5, 4.0)), (ranking, "surrogate_weight", (0.2, 1.0))):
        first, second = (
            detector.losses(images, targets, knob_table(**{name: value}), seed=0)["class"] for value in values
        )
        assert not torch.allclose(first, second)


@pytest.mark.parametrize("family", FAMILIES)
def test_class_weights_and_a_memory_reach_our_losses(family, scene, knob_table):
    images, targets = scene(size=SIZE)
    weighed, plain = detector_of(family, "focal"), detector_of(family, "focal")
    weighed.weigh_classes(0, torch.full((3,), 2.0))
    first, second = (one.losses(images, targets, knob_table(), seed=0)["class"] for one in (weighed, plain))
    if family == "faster_rcnn":  # whose proposals have a class loss too
        assert first > second
    else:
        assert torch.allclose(first, 2 * second)
    remembering, plain = detector_of(family, "ap", memory=50), detector_of(family, "ap")
    assert all(len(value) == 1 for value in remembering.buffers().values())
    (before, same), (after, other) = (
        [one.losses(images * scale, targets, knob_table(), seed=0)["class"] for one in (remembering, plain)]
        for scale in (0.1, 1.0)
    )
    assert torch.equal(before, same)
    assert not torch.allclose(after, other, rtol=1e-4)
    assert remembering.buffers()["memory.where"].any()
    remembering.initialize(0, 0)
    assert not remembering.buffers()["memory.where"].any()


@pytest.mark.parametrize("family", FAMILIES)
def test_our_losses_ignore_crowd_regions(family, scene, knob_table):
    images, targets = scene(size=SIZE)
    crowded = Targets(pad(targets.boxes, (0, 0, 0, 1)), pad(targets.labels, (0, 1)), pad(targets.crowd, (0, 1)))
    crowded.boxes[..., -1, :] = torch.tensor([0.0, 0.0, SIZE, SIZE])
    crowded.crowd[..., -1] = True
    plain, ignoring = (
        detector_of(family, "focal", balance=False).losses(images, one, knob_table(), seed=0)
        for one in (targets, crowded)
    )
    assert torch.allclose(plain["box"], ignoring["box"])
    # With everything in a crowd, only the positives are left.
    assert ignoring["class"] < plain["class"]
    own, dropping = (detector_of(family).losses(images, one, knob_table(), seed=0) for one in (targets, crowded))
    assert torch.equal(own["class"], dropping["class"])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("loss", LOSSES)
def test_images_without_objects_and_boxes_without_area_are_no_trouble(family, loss, scene, knob_table):
    images, targets = scene(size=SIZE)
    targets.labels[:, 0] = -1
    targets.boxes[:, 1, 0, 2] = targets.boxes[:, 1, 0, 0]
    for one in (targets, Targets(targets.boxes, torch.full_like(targets.labels, -1), targets.crowd)):
        detector = detector_of(family, loss)
        losses = detector.losses(images, one, knob_table(), seed=0)
        sum(losses.values()).sum().backward()
        assert torch.isfinite(detector.gradient()).all()
        assert all(torch.isfinite(value).all() for value in losses.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_changes_nothing(family, scene, knob_table):
    images, targets = scene(size=SIZE)
    longer = Targets(
        pad(targets.boxes, (0, 0, 2, 1)), pad(targets.labels, (2, 1), value=-1), pad(targets.crowd, (2, 1))
    )
    first, second = (
        detector_of(family, "rank_sort").losses(images, one, knob_table(), seed=0) for one in (targets, longer)
    )
    for name in first:
        assert torch.equal(first[name], second[name])


@pytest.mark.parametrize("family", FAMILIES)
def test_in_bfloat16_anchors_boxes_and_losses_stay_in_float32(family, scene, knob_table):
    images, targets = scene(size=SIZE)
    detector, exact = detector_of(family, "focal", autocast=True), detector_of(family, "focal")
    seen = []
    generator = detector.model.rpn.anchor_generator if family == "faster_rcnn" else detector.model.anchor_generator
    generator.register_forward_hook(lambda module, inputs, outputs: seen.extend(outputs))
    losses = detector.losses(images, targets, knob_table(), seed=0)
    found = detector.detect(images, knob_table())
    assert {one.dtype for one in [*seen, *losses.values(), found.boxes, found.scores]} == {torch.float32}
    expected = exact.losses(images, targets, knob_table(), seed=0)
    assert torch.allclose(losses["class"], expected["class"], rtol=0.2)
    assert not torch.equal(losses["class"], expected["class"])


def test_the_transform_normalizes_and_does_nothing_else():
    model = build_model("small_ssd", 3, weights=None)
    original = small("ssd", 4).transform
    images = torch.rand(2, 3, 32, 96) * 255
    model.transform = FixedSize(tuple(original.image_mean), tuple(original.image_std))
    batch, targets = model.transform(images, None)
    assert targets is None
    assert batch.image_sizes == [(32, 96)] * 2
    assert torch.allclose(batch.tensors[1], original.normalize(images[1] / 255), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_sigmoid_of_the_log_odds_is_the_softmax(dtype):
    logits = torch.randn(50, 6, dtype=dtype) * 4
    assert torch.allclose(log_odds(logits).sigmoid(), logits.softmax(-1)[:, 1:], atol=1e-6)


def test_the_log_odds_have_the_gradient_of_their_formula():
    logits = (torch.randn(20, 5, dtype=torch.float64) * 3).requires_grad_()
    assert torch.autograd.gradcheck(log_odds, logits)
    probability = logits.softmax(-1)[:, 1:]
    assert torch.allclose(log_odds(logits), (probability / (1 - probability)).log())


@pytest.mark.parametrize("scale", [40.0, 1e4])
def test_the_log_odds_of_sure_scores_are_finite_and_keep_their_order(scale):
    logits = (torch.tensor([[0.0, 1.0, -1.0], [0.0, 2.0, -1.0], [3.0, 1.0, 2.0]]) * scale).requires_grad_()
    odds = log_odds(logits)
    odds.sum().backward()
    assert torch.isfinite(odds).all()
    assert torch.isfinite(logits.grad).all()
    assert odds[1, 0] > odds[0, 0]
    assert odds[0, 0].item() == pytest.approx(scale)


def test_names_and_settings_that_do_not_exist_are_refused():
    with pytest.raises(ConfigError, match="unknown torchvision detector 'retinanet18': did you mean 'retinanet"):
        TorchvisionDetector("retinanet18", Objective(), classes=3)
    with pytest.raises(ConfigError, match="unknown loss 'foca': did you mean 'focal'"):
        detector_of("fcos", "foca")
    for setting in (
        {"scope": "image"},
        {"balance": False},
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


def test_a_batch_that_is_too_small_for_a_batch_norm_is_refused(scene, knob_table):
    images, targets = scene(size=SIZE, batch=1)
    detector = TorchvisionDetector("ssdlite", Objective(loss="torchvision"), classes=3)
    with pytest.raises(ConfigError, match=r"ssdlite normalizes over the batch, and 1 image of 64x64 pixels.*2 or more"):
        detector.losses(images, targets, knob_table(), seed=0)


@pytest.mark.parametrize("name", ["ssdlite", *(pytest.param(name, marks=pytest.mark.slow) for name in MODELS)])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_model_of_the_zoo_learns(name, loss, scene, knob_table):
    batch = 1 if name == "faster_rcnn" else 2  # its box head is large
    images, targets = scene(size=SIZE, batch=batch)
    detector = TorchvisionDetector(name, Objective(loss=loss), classes=3)
    before = detector.detect(images, knob_table(score_threshold=0.0))
    assert len(before.scores) == 100 * batch
    optimizer = torch.optim.SGD([detector.weights], lr=1e-3)
    sum(detector.losses(images, targets, knob_table(), seed=0).values()).sum().backward()
    parts = detector._row.split(detector.gradient()[0])
    silent = [part for part, gradient in parts.items() if not gradient.any()]
    if name == "ssdlite":  # it has a head for each map, and not every map has a positive or a hard negative here
        assert all(part.startswith(("head.", "backbone.extra.")) for part in silent)
    else:
        # A ranking is the same for all scores of a class raised alike.
        assert set(silent) <= ({"head.classification_head.cls_logits.bias"} if loss == "rank_sort" else set())
    optimizer.step()
    assert torch.isfinite(detector.weights).all()
    assert len(detector.detect(images, knob_table(score_threshold=0.0)).scores) == 100 * batch


WHOLE = [name for name, spec in MODELS.items() if spec.whole]
BODIES = [name for name, spec in MODELS.items() if spec.body]


@pytest.mark.parametrize(
    "name", ["ssdlite", *(pytest.param(name, marks=pytest.mark.slow) for name in WHOLE if name != "ssdlite")]
)
def test_weights_of_a_whole_detector_are_loaded_but_for_the_layers_of_its_categories(name, monkeypatch):
    spec = MODELS[name]
    source = spec.build(91, False)
    monkeypatch.setattr(zoo, "fetch_weights", lambda *asked: source.state_dict())
    model = build_model(name, 3, weights="DEFAULT")
    fresh = [key for key, value in model.state_dict().items() if not torch.equal(value, source.state_dict()[key])]
    assert fresh
    assert all(zoo.re.match(spec.class_layers, key) for key in fresh)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.mark.slow
@pytest.mark.parametrize("name", BODIES)
def test_weights_of_a_backbone_are_loaded_into_it_and_its_norms_are_frozen(name, monkeypatch, scene, knob_table):
    from torchvision.models import resnet18, resnet50

    source = (resnet18 if name.endswith("18") else resnet50)()
    monkeypatch.setattr(zoo, "fetch_weights", lambda *asked: source.state_dict())
    detector = TorchvisionDetector(name, Objective(loss="torchvision"), classes=3, weights="IMAGENET1K_V1")
    body = detector.model.backbone.body
    state = source.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in body.state_dict().items() if "bn" in key)
    weights = detector._row.split(detector.weights[0])
    assert torch.equal(weights["backbone.body.layer3.1.conv2.weight"], state["layer3.1.conv2.weight"])
    assert any(isinstance(module, FrozenBatchNorm2d) for module in body.modules())
    before = {key: value.clone() for key, value in detector.buffers().items()}
    images, targets = scene(size=SIZE)
    detector.losses(images, targets, knob_table(), seed=0)
    assert before
    assert all(torch.equal(value, before[key]) for key, value in detector.buffers().items())
