import copy
import pickle
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torchvision.models import detection as models
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.ssd import SSD
from torchvision.ops import MultiScaleRoIAlign, box_iou, generalized_box_iou_loss

from mapopt.detectors.dense.losses import DenseLoss
from mapopt.detectors.drop_in import replace_class_loss, restore_class_loss
from mapopt.errors import ConfigError
from mapopt.losses import ALRPLoss, APLoss, FocalLoss, ListLoss, RankSortLoss, VarifocalLoss

CLASSES = 3
DENSE = ["retinanet", "fcos", "ssd"]
STAGED = ["faster_rcnn", "mask_rcnn", "keypoint_rcnn"]
FAMILIES = [*DENSE, *STAGED]


class Backbone(nn.Sequential):
    """One map of stride 8."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 16, 8, stride=4, padding=2), nn.ReLU(), nn.Conv2d(16, 32, 4, stride=2, padding=1))
        self.out_channels = 32


def build(family: str, seed: int = 0) -> nn.Module:
    """A model of torchvision with its own transform, which resizes the shorter side to 64 pixels."""
    torch.manual_seed(seed)
    sizes = {"min_size": 64, "max_size": 96}
    anchors = AnchorGenerator(((16, 32),), ((1.0,),))
    if family == "retinanet":
        head = RetinaNetHead(32, 2, CLASSES)
        return models.RetinaNet(Backbone(), CLASSES, anchor_generator=anchors, head=head, **sizes)
    if family == "fcos":
        return models.FCOS(Backbone(), CLASSES, anchor_generator=AnchorGenerator(((8,),), ((1.0,),)), **sizes)
    if family == "ssd":
        body = Backbone()
        body.out_channels = [32]
        return SSD(body, DefaultBoxGenerator([[2]], 0.3, 0.6), (64, 64), CLASSES + 1)
    kind = {"faster_rcnn": models.FasterRCNN, "mask_rcnn": models.MaskRCNN, "keypoint_rcnn": models.KeypointRCNN}[
        family
    ]
    parts = {"box_roi_pool": MultiScaleRoIAlign(["0"], 4, 2)}
    if family == "mask_rcnn":
        parts |= {"mask_roi_pool": MultiScaleRoIAlign(["0"], 4, 2), "mask_head": MaskRCNNHeads(32, (256,), 1)}
    if family == "keypoint_rcnn":
        parts |= {"keypoint_roi_pool": MultiScaleRoIAlign(["0"], 4, 2), "keypoint_head": KeypointRCNNHeads(32, (16,))}
        parts["keypoint_predictor"] = KeypointRCNNPredictor(16, 17)
    return kind(
        Backbone(),
        CLASSES + 1,
        rpn_anchor_generator=anchors,
        rpn_batch_size_per_image=32,
        box_batch_size_per_image=32,
        rpn_post_nms_top_n_train=80,
        box_score_thresh=0.0,
        **parts,
        **sizes,
    )


def batch(family: str) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Three images of different sizes, the last without objects."""
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(3, *size, generator=generator) for size in ((64, 96), (80, 64), (64, 64))]
    boxes = [[[4, 6, 40, 50], [50, 10, 90, 60]], [[6, 20, 30, 70], [30, 2, 60, 40], [20, 20, 50, 60]], []]
    labels = [[0, 2], [2, 1, 0], []]
    targets = []
    for image, rows, columns in zip(images, boxes, labels, strict=True):
        target = {
            "boxes": torch.tensor(rows, dtype=torch.float32).view(-1, 4),
            "labels": torch.tensor(columns, dtype=torch.int64) + (family not in ("retinanet", "fcos")),
            "masks": torch.ones(len(rows), *image.shape[1:], dtype=torch.uint8),
            "keypoints": torch.full((len(rows), 17, 3), 30.0),
        }
        targets.append(target)
    return images, targets


def losses_of(model: nn.Module, family: str, seed: int = 5) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return model(*batch(family))


def names(family: str) -> tuple[str, str]:
    return ("classification", "bbox_regression") if family in DENSE else ("loss_classifier", "loss_box_reg")


Parts = tuple[list[Tensor], list[Tensor], list[Tensor], list[dict[str, Tensor]]]


def watch(model: nn.Module, family: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Parts]:
    """Looks into a model while it trains; returns a function for what was seen of every image.

    The class logits, the boxes predicted (for the object's class), and the object of each location or -1 or -2.
    """
    seen: dict[str, object] = {}
    transform = model.transform.forward

    def keep_targets(*arguments):
        images, seen["targets"] = transform(*arguments)
        return images, seen["targets"]

    monkeypatch.setattr(model.transform, "forward", keep_targets)
    if family in STAGED:
        select = RoIHeads.select_training_samples

        def keep_samples(*arguments):
            seen["samples"] = select(*arguments)
            return seen["samples"]

        monkeypatch.setattr(RoIHeads, "select_training_samples", keep_samples)
        model.roi_heads.box_predictor.register_forward_hook(lambda m, i, outputs: seen.update(outputs=outputs))
    else:
        model.head.register_forward_hook(lambda m, i, outputs: seen.update(outputs=outputs))
        model.anchor_generator.register_forward_hook(lambda m, i, outputs: seen.update(anchors=outputs))

    def staged() -> Parts:
        proposals, matched, labels, _ = seen["samples"]
        logits, deltas = seen["outputs"]
        probability = logits.double().softmax(-1)[:, 1:]
        odds = (probability / (1 - probability)).log().float()
        boxes = model.roi_heads.box_coder.decode(deltas, proposals)
        chosen = boxes[torch.arange(len(boxes)), torch.cat(labels)]
        counts = [len(one) for one in labels]
        objects = [torch.where(label > 0, one, -1) for label, one in zip(labels, matched, strict=True)]
        return list(odds.split(counts)), list(chosen.split(counts)), objects, seen["targets"]

    def dense() -> Parts:
        logits, deltas = seen["outputs"]["cls_logits"], seen["outputs"]["bbox_regression"]
        if family == "ssd":
            probability = logits.double().softmax(-1)[..., 1:]
            logits = (probability / (1 - probability)).log().float()
        boxes, objects = [], []
        for delta, anchors, target in zip(deltas, seen["anchors"], seen["targets"], strict=True):
            if family == "fcos":
                boxes.append(model.box_coder.decode(delta, anchors))
            else:
                boxes.append(model.box_coder.decode_single(delta, anchors))
            if not len(target["boxes"]):
                objects.append(torch.full((len(anchors),), -1))
            elif family == "fcos":  # one level: a location in the middle of an object, of several the smallest
                centers = (anchors[:, :2] + anchors[:, 2:]) / 2
                best = torch.full((len(anchors),), -1)
                area = torch.full((len(anchors),), torch.inf)
                for number, box in enumerate(target["boxes"]):
                    near = (centers - (box[:2] + box[2:]) / 2).abs().amax(1) < 1.5 * 8
                    inside = torch.cat([centers - box[:2], box[2:] - centers], 1).amin(1) > 0
                    size = (box[2:] - box[:2]).prod()
                    better = near & inside & (size < area)
                    best[better], area[better] = number, size
                objects.append(best)
            else:
                objects.append(model.proposal_matcher(box_iou(target["boxes"], anchors)))
        return list(logits), boxes, objects, seen["targets"]

    return staged if family in STAGED else dense


def by_hand(loss: ListLoss, parts: Parts, first: int) -> Tensor:
    """The mean of the loss over the lists of classes, one after the other; of a pointwise one on one list."""
    scores, labels = [[] for _ in range(CLASSES)], [[] for _ in range(CLASSES)]
    for logits, boxes, objects, target in zip(*parts, strict=True):
        for category in range(CLASSES):
            for score, box, found in zip(logits[:, category], boxes, objects.tolist(), strict=True):
                if found == -2:
                    continue
                label = score.new_zeros(())
                if found >= 0 and target["labels"][found] == category + first:
                    label = box_iou(box[None], target["boxes"][found][None])[0, 0].clamp(min=1e-3)
                scores[category].append(score)
                labels[category].append(label if loss.soft_labels or not label else torch.ones(()))
    if loss.pointwise:
        scores, labels = [list(chain(*scores))], [list(chain(*labels))]
    values = [loss(torch.stack(one), torch.stack(two)) for one, two in zip(scores, labels, strict=True) if any(two)]
    return sum(values) / len(values)


@pytest.mark.parametrize(
    ("family", "loss"),
    [
        *((family, RankSortLoss(delta=0.7)) for family in FAMILIES),
        *((family, FocalLoss(gamma=1.5)) for family in FAMILIES),
        *(
            (family, loss)
            for family in ("retinanet", "faster_rcnn")
            for loss in (APLoss(), ALRPLoss(), VarifocalLoss())
        ),
    ],
)
def test_the_class_loss_is_the_loss_of_the_lists(family, loss, monkeypatch):
    model = replace_class_loss(build(family), loss)
    look = watch(model, family, monkeypatch)
    value = losses_of(model, family)[names(family)[0]]
    expected = by_hand(loss, look(), first=family not in ("retinanet", "fcos"))
    assert value.shape == ()
    assert value.item() > 0
    assert torch.allclose(value, expected, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_box_loss_is_the_mean_giou_loss_of_the_positives(family, monkeypatch):
    model = replace_class_loss(build(family), APLoss(), balance=False)
    look = watch(model, family, monkeypatch)
    value = losses_of(model, family)[names(family)[1]]
    each = [
        generalized_box_iou_loss(boxes[objects >= 0], target["boxes"][objects[objects >= 0]])
        for _, boxes, objects, target in zip(*look(), strict=True)
        if (objects >= 0).any()
    ]
    assert torch.allclose(value, torch.cat(each).mean(), rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_box_loss_is_balanced_for_ranking_losses_or_as_asked(family):
    for loss, balance, expected in (
        (RankSortLoss(), None, True),
        (RankSortLoss(), False, False),
        (FocalLoss(), None, False),
        (FocalLoss(), True, True),
    ):
        losses = losses_of(replace_class_loss(build(family), loss, balance=balance), family)
        classification, box = (losses[name] for name in names(family))
        assert torch.allclose(classification, box) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_everything_but_the_class_loss_can_stay_torchvisions(family):
    own = losses_of(build(family), family)
    ours = losses_of(replace_class_loss(build(family), RankSortLoss(), box_loss="torchvision"), family)
    assert list(ours) == list(own)
    changed = {name for name in own if not torch.equal(own[name], ours[name])}
    assert changed == {names(family)[0]}
    balanced = losses_of(replace_class_loss(build(family), RankSortLoss()), family)
    assert {name for name in own if not torch.equal(own[name], balanced[name])} == set(names(family))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_model_stays_the_same_model(family):
    plain, model = build(family).eval(), build(family)
    before = {name: id(value) for name, value in model.state_dict(keep_vars=True).items()}
    modules, kind = [type(module) for module in model.modules()], type(model)
    assert replace_class_loss(model, RankSortLoss()) is model
    assert type(model) is kind
    assert [type(module) for module in model.modules()] == modules
    assert {name: id(value) for name, value in model.state_dict(keep_vars=True).items()} == before
    images, _ = batch(family)
    with torch.no_grad():
        for expected, found in zip(plain(images), model.eval()(images), strict=True):
            assert expected.keys() == found.keys()
            assert all(torch.equal(value, found[name]) for name, value in expected.items())


@pytest.mark.parametrize("family", FAMILIES)
def test_restored_and_replaced_twice_it_is_as_if_nothing_had_been(family):
    own = losses_of(build(family), family)
    model, once = (replace_class_loss(build(family), RankSortLoss()) for _ in range(2))
    replace_class_loss(replace_class_loss(model, FocalLoss()), RankSortLoss())
    first, second = losses_of(model, family), losses_of(once, family)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert restore_class_loss(model) is model
    again = losses_of(restore_class_loss(model), family)
    assert list(again) == list(own)
    assert all(torch.equal(value, again[name]) for name, value in own.items())
    assert [sorted(vars(one)) for one in model.modules()] == [sorted(vars(one)) for one in build(family).modules()]


def test_what_an_instance_covered_itself_is_covered_and_given_back():
    model = build("retinanet")
    model.head.compute_loss = lambda *arguments: {"classification": 1.0, "bbox_regression": 2.0}
    losses = losses_of(replace_class_loss(model, FocalLoss(), box_loss="torchvision"), "retinanet")
    assert losses["bbox_regression"] == 2.0
    assert losses["classification"] != 1.0
    assert losses_of(restore_class_loss(model), "retinanet")["classification"] == 1.0


@pytest.mark.parametrize("family", ["retinanet", "fcos", "ssd", "faster_rcnn"])
@pytest.mark.parametrize("loss", [RankSortLoss(), FocalLoss()])
def test_steps_of_sgd_reduce_the_losses_and_reach_every_parameter(family, loss):
    model = replace_class_loss(build(family), loss, balance=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    values = []
    for _ in range(6):
        losses = losses_of(model, family)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        if not values:
            silent = [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()]
            # A ranking is the same for all scores raised alike.
            assert set(silent) <= {"head.classification_head.cls_logits.bias"}
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        values.append(sum(losses.values()).item())
    assert values[-1] < values[0]


@pytest.mark.parametrize("family", DENSE)
def test_the_class_loss_alone_trains_the_class_head(family):
    model = replace_class_loss(build(family), RankSortLoss())
    losses_of(model, family)["classification"].backward()
    weights = [value for name, value in model.named_parameters() if "classification_head" in name and "weight" in name]
    assert weights
    assert all(value.grad.any() for value in weights)
    assert all(value.grad is None or not value.grad.any() for value in model.head.regression_head.parameters())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("box_loss", ["giou", "torchvision"])
def test_without_any_object_every_loss_is_finite_and_has_a_gradient(family, box_loss):
    images, targets = batch(family)
    model = replace_class_loss(build(family), RankSortLoss(), box_loss=box_loss)
    losses = model(images[-1:], targets[-1:])
    assert all(torch.isfinite(value) for value in losses.values())
    assert losses[names(family)[0]] == 0
    sum(losses.values()).backward()
    gradients = [value.grad for value in model.parameters()]
    assert all(one is not None and torch.isfinite(one).all() for one in gradients)


def test_attributes_of_the_loss_can_be_turned_between_steps():
    loss = FocalLoss(gamma=2.0)
    model = replace_class_loss(build("retinanet"), loss)
    values = []
    for gamma in (2.0, 0.5, 2.0):
        loss.gamma = gamma
        values.append(losses_of(model, "retinanet")["classification"].item())
        assert loss.gamma == gamma
    assert values[0] == values[2] != values[1]


@pytest.mark.parametrize("family", FAMILIES)
def test_crowd_regions_are_neither_objects_nor_background(family):
    images, targets = batch(family)
    # A crowd all over the first image, as its first box.
    row = torch.tensor([[0.0, 0.0, 96.0, 64.0]])
    plain = targets[0]
    crowded = {
        "boxes": torch.cat([row, plain["boxes"]]),
        "labels": torch.cat([plain["labels"][:1], plain["labels"]]),
        "masks": torch.cat([plain["masks"][:1], plain["masks"]]),
        "keypoints": torch.cat([plain["keypoints"][:1], plain["keypoints"]]),
        "iscrowd": torch.tensor([1, 0, 0]),
        "image_id": torch.tensor([7]),
    }
    before = {name: value.clone() for name, value in crowded.items()}
    values = []
    for one in (plain, crowded, {**plain, "iscrowd": torch.zeros(2, dtype=torch.int64)}):
        model = replace_class_loss(build(family), FocalLoss(), balance=False)
        torch.manual_seed(5)
        values.append(model(images, [one, *targets[1:]]))
    without, within, unmarked = values
    assert all(torch.equal(value, unmarked[name]) for name, value in without.items())
    classification = names(family)[0]
    assert within[classification] < without[classification]
    assert all(torch.equal(value, within[name]) for name, value in without.items() if name != classification)
    assert all(torch.equal(value, crowded[name]) for name, value in before.items())


@pytest.mark.parametrize("family", ["retinanet", "ssd", "faster_rcnn"])
def test_copies_and_pickles_train_by_themselves(family):
    loss = FocalLoss(gamma=2.0)
    model = replace_class_loss(build(family), loss)
    expected = losses_of(model, family)
    others = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    loss.gamma = 0.5
    assert not torch.equal(losses_of(model, family)[names(family)[0]], expected[names(family)[0]])
    for other in others:
        losses = losses_of(other, family)
        assert all(torch.equal(value, losses[name]) for name, value in expected.items())
        sum(losses.values()).backward()
        assert any(value.grad is not None and value.grad.any() for value in other.parameters())
        restore_class_loss(other)
    assert all(value.grad is None for value in model.parameters())
    assert not torch.equal(losses_of(others[0], family)[names(family)[0]], expected[names(family)[0]])


def test_checkpoints_interchange_with_the_plain_model(tmp_path):
    model, plain = replace_class_loss(build("faster_rcnn"), RankSortLoss()), build("faster_rcnn", seed=1)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    plain.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    torch.save(plain.state_dict(), tmp_path / "plain.pt")
    other = replace_class_loss(build("faster_rcnn", seed=2), RankSortLoss())
    other.load_state_dict(torch.load(tmp_path / "plain.pt", weights_only=True))
    first, second = losses_of(model, "faster_rcnn"), losses_of(other, "faster_rcnn")
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="torch was built without gloo")
@pytest.mark.parametrize("family", ["retinanet", "ssd", "faster_rcnn"])
def test_wrapped_for_several_processes_it_trains_alike(family, tmp_path):
    expected = losses_of(replace_class_loss(build(family), RankSortLoss()), family)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        wrapped = DistributedDataParallel(replace_class_loss(build(family), RankSortLoss()))
        losses = losses_of(wrapped, family)
        sum(losses.values()).backward()
        with pytest.raises(ConfigError, match=r"DistributedDataParallel; expected.*the model inside it \(.module\)"):
            replace_class_loss(wrapped, RankSortLoss())
    finally:
        torch.distributed.destroy_process_group()
    assert all(torch.equal(value, losses[name]) for name, value in expected.items())
    assert all(value.grad is not None for value in wrapped.parameters())


@pytest.mark.parametrize("family", ["retinanet", "fcos", "ssd", "faster_rcnn"])
def test_under_autocast_boxes_and_losses_are_computed_in_float32(family, monkeypatch):
    model = replace_class_loss(build(family), RankSortLoss(), balance=False)
    exact = losses_of(model, family)
    evaluate, types = DenseLoss.evaluate, set()

    def look(self, logits, boxes, found, targets, knobs):
        types.update((logits.dtype, boxes.dtype, targets.boxes.dtype))
        return evaluate(self, logits, boxes, found, targets, knobs)

    monkeypatch.setattr(DenseLoss, "evaluate", look)
    with torch.autocast("cpu", torch.bfloat16):
        losses = losses_of(model, family)
    assert types == {torch.float32}
    for name in names(family):
        assert losses[name].dtype == torch.float32
        assert torch.allclose(losses[name], exact[name], rtol=0.2)
    sum(losses.values()).backward()


def test_other_models_losses_and_settings_are_refused():
    model = build("retinanet")
    with pytest.raises(ConfigError, match=r"a model of type Linear; expected RetinaNet.*call the loss on its logits"):
        replace_class_loss(nn.Linear(2, 2), RankSortLoss())
    with pytest.raises(
        ConfigError, match=r"a loss class RankSortLoss; expected one of mapopt.losses.*RankSortLoss\(\)"
    ):
        replace_class_loss(model, RankSortLoss)
    with pytest.raises(ConfigError, match=r"a loss of type BCELoss; expected one of mapopt.losses"):
        replace_class_loss(model, nn.BCELoss())
    with pytest.raises(ConfigError, match="unknown loss 'ranksort': did you mean 'rank_sort'"):
        replace_class_loss(model, "ranksort")
    with pytest.raises(ConfigError, match="unknown scope 'clas': did you mean 'class'"):
        replace_class_loss(model, RankSortLoss(), scope="clas")
    with pytest.raises(ConfigError, match="unknown box loss 'iou': did you mean 'giou'"):
        replace_class_loss(model, RankSortLoss(), box_loss="iou")
    with pytest.raises(ConfigError, match="balance=True was given with box_loss 'torchvision', which stays as it is"):
        replace_class_loss(model, RankSortLoss(), box_loss="torchvision", balance=True)
    own = losses_of(build("retinanet"), "retinanet")
    assert all(torch.equal(value, own[name]) for name, value in losses_of(model, "retinanet").items())


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_that_are_no_categories_are_refused(family):
    model = replace_class_loss(build(family), RankSortLoss())
    images, targets = batch(family)
    first = int(family not in ("retinanet", "fcos"))
    targets[0]["labels"][0] = 9
    with pytest.raises(ConfigError, match=rf"labels from {first} to 9; expected {first} to {2 + first}.*num_classes"):
        model(images, targets)
    targets[0]["labels"][0] = first - 1
    with pytest.raises(ConfigError, match=f"labels from {first - 1} to {2 + first}; expected {first} to {2 + first}"):
        model(images, targets)
    losses_of(model, family)


def test_targets_that_contradict_themselves_are_refused():
    model = replace_class_loss(build("retinanet"), RankSortLoss())
    images, targets = batch("retinanet")
    target = targets[0]
    for labels, given in (
        (torch.tensor([1]), r"torch.int64 of shape \[1\]"),
        (target["labels"].float(), r"torch.float32 of shape \[2\]"),
    ):
        with pytest.raises(ConfigError, match=rf"2 boxes and labels {given}; expected torch.int64 \[2\]"):
            model(images[:1], [{**target, "labels": labels}])
    with pytest.raises(ConfigError, match=r"2 boxes and labels none; expected torch.int64"):
        model(images[:1], [{"boxes": target["boxes"]}])
    with pytest.raises(ConfigError, match=r"2 boxes and iscrowd of shape \[3\]; expected \[2\], or leave it out"):
        model(images[:1], [{**target, "iscrowd": torch.zeros(3)}])


def test_a_transform_that_was_exchanged_afterwards_is_noticed():
    model = replace_class_loss(build("fcos"), RankSortLoss())
    model.transform = build("fcos").transform
    with pytest.raises(ConfigError, match=r"another transform than when.*call replace_class_loss again"):
        losses_of(model, "fcos")
    losses_of(replace_class_loss(model, RankSortLoss()), "fcos")


@pytest.mark.parametrize(
    "heading", ["Use a ranking loss in a torchvision detector", "A ranking loss in your own training loop"]
)
def test_the_readmes_script_runs(heading, capsys):
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    section = readme.split(f"### {heading}\n")[1]
    script = section.split("```python\n")[1].split("```")[0]
    torch.manual_seed(0)
    with torch.random.fork_rng():
        exec(compile(script, "README.md", "exec"), {})
    printed = [float(value) for value in capsys.readouterr().out.split()]
    assert printed[-1] < printed[0]
