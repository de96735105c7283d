"""A model with a loss of ours stays the model it was: copied, saved, wrapped and given back."""

import copy
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mapopt.detectors.drop_in import replace_class_loss, restore_class_loss
from mapopt.detectors.objective import Objective
from mapopt.errors import ConfigError
from mapopt.losses import FocalLoss, RankSortLoss

CLASSES = 3


DENSE = ["retinanet", "fcos", "ssd"]


STAGED = ["faster_rcnn", "mask_rcnn", "keypoint_rcnn"]


FAMILIES = [*DENSE, *STAGED]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_model_stays_the_same_model(family, build, batch):
    plain, model = build(family).eval(), build(family)
    before = {name: id(value) for name, value in model.state_dict(keep_vars=True).items()}
    modules, kind = [type(module) for module in model.modules()], type(model)
    assert replace_class_loss(model, RankSortLoss()) is model
    assert type(model) is kind
    assert [type(module) for module in model.modules()] == modules
    assert {name: id(value) for name, value in model.state_dict(keep_vars=True).items()} == before
    images, _ = batch(family)
    with torch.no_grad():
        for expected, result in zip(plain(images), model.eval()(images), strict=True):
            assert expected.keys() == result.keys()
            assert all(torch.equal(value, result[name]) for name, value in expected.items())


@pytest.mark.parametrize("family", FAMILIES)
def test_restored_and_replaced_twice_it_is_as_if_nothing_had_been(family, build, losses_of):
    own = losses_of(build(family), family)
    model, once = (replace_class_loss(build(family), RankSortLoss()) for _ in range(2))
    replace_class_loss(replace_class_loss(model, FocalLoss()), RankSortLoss())
    first, second = losses_of(model, family), losses_of(once, family)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert restore_class_loss(model) is model
    again = losses_of(restore_class_loss(model), family)
    assert list(again) == list(own)
    assert all(torch.equal(value, again[name]) for name, value in own.items())
    assert [sorted(vars(module)) for module in model.modules()] == [
        sorted(vars(module)) for module in build(family).modules()
    ]


def test_what_an_instance_covered_itself_is_covered_and_given_back(build, losses_of):
    model = build("retinanet")
    model.head.compute_loss = lambda *arguments: {"classification": 1.0, "bbox_regression": 2.0}
    losses = losses_of(replace_class_loss(model, FocalLoss(), box_loss="torchvision"), "retinanet")
    assert losses["bbox_regression"] == 2.0
    assert losses["classification"] != 1.0
    assert losses_of(restore_class_loss(model), "retinanet")["classification"] == 1.0


def test_attributes_of_the_loss_can_be_turned_between_steps(build, losses_of):
    loss = FocalLoss(gamma=2.0)
    model = replace_class_loss(build("retinanet"), loss)
    values = []
    for gamma in (2.0, 0.5, 2.0):
        loss.gamma = gamma
        values.append(losses_of(model, "retinanet")["classification"].item())
        assert loss.gamma == gamma
    assert values[0] == values[2] != values[1]


@pytest.mark.parametrize("family", ["retinanet", "ssd", "faster_rcnn"])
def test_copies_and_pickles_train_by_themselves(family, build, losses_of, names):
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


def test_checkpoints_interchange_with_the_plain_model(tmp_path, build, losses_of):
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
def test_wrapped_for_several_processes_it_trains_alike(family, tmp_path, build, losses_of):
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


def test_other_models_losses_and_settings_are_refused(build, losses_of):
    model = build("retinanet")
    with pytest.raises(ConfigError, match=r"a model of type Linear; expected RetinaNet.*call the loss on its logits"):
        replace_class_loss(nn.Linear(2, 2), RankSortLoss())
    with pytest.raises(ConfigError, match=r"loss of type BCELoss takes other arguments.*\(scores, labels, where\)"):
        replace_class_loss(model, nn.BCELoss())
    with pytest.raises(ConfigError, match=r"loss of type int cannot be called"):
        replace_class_loss(model, 3)
    with pytest.raises(ConfigError, match="unknown loss 'ranksort': did you mean 'rank_sort'"):
        replace_class_loss(model, "ranksort")
    with pytest.raises(ConfigError, match="unknown scope 'clas': did you mean 'class'"):
        replace_class_loss(model, RankSortLoss(), scope="clas")
    with pytest.raises(ConfigError, match="unknown box loss 'iou': did you mean 'giou'"):
        replace_class_loss(model, RankSortLoss(), box_loss="iou")
    with pytest.raises(ConfigError, match="balance is 'values' with box_loss 'torchvision', which stays as it is"):
        replace_class_loss(model, RankSortLoss(), box_loss="torchvision", balance="values")
    own = losses_of(build("retinanet"), "retinanet")
    assert all(torch.equal(value, own[name]) for name, value in losses_of(model, "retinanet").items())


def test_functions_and_whole_objectives_are_losses_too(build, losses_of):
    def hinge(scores, labels, where, margin=1.0):
        return (scores[labels == 0].max() - scores[labels > 0] + margin).clamp(min=0).mean()

    values = []
    for loss in (hinge, RankSortLoss, Objective(loss="rank_sort"), "rank_sort"):
        losses = losses_of(replace_class_loss(build("retinanet"), loss), "retinanet")
        values.append((losses["classification"].item(), losses["bbox_regression"].item()))
    assert values[0] != values[1] == values[2] == values[3]
    plain = replace_class_loss(build("retinanet"), Objective(loss="rank_sort", balance="none", box_loss="torchvision"))
    same = replace_class_loss(build("retinanet"), "rank_sort", balance="none", box_loss="torchvision")
    assert losses_of(plain, "retinanet") == losses_of(same, "retinanet")
    with pytest.raises(ConfigError, match="an Objective and scope, balance beside it: give all of them in the"):
        replace_class_loss(build("retinanet"), Objective(), scope="class", balance="values")
    for objective in (Objective(loss="torchvision"), Objective(loss="ap", memory=9)):
        with pytest.raises(ConfigError, match=r"expected a loss of mapopt.losses and no memory"):
            replace_class_loss(build("retinanet"), objective)


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_that_are_no_categories_are_refused(family, build, batch, losses_of):
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


def test_targets_that_contradict_themselves_are_refused(build, batch):
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


def test_a_transform_that_was_exchanged_afterwards_is_noticed(build, losses_of):
    model = replace_class_loss(build("fcos"), RankSortLoss())
    model.transform = build("fcos").transform
    with pytest.raises(ConfigError, match=r"another transform than when.*call replace_class_loss again"):
        losses_of(model, "fcos")
    losses_of(replace_class_loss(model, RankSortLoss()), "fcos")


@pytest.mark.parametrize(
    "heading", ["Use a ranking loss in a torchvision detector", "A ranking loss in your own training loop"]
)
def test_the_readmes_script_runs(heading, capsys):
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    section = readme.split(f"### {heading}\n")[1]
    script = section.split("```python\n")[1].split("```")[0]
    torch.manual_seed(0)
    with torch.random.fork_rng():
        exec(compile(script, "README.md", "exec"), {})
    printed = [float(value) for value in capsys.readouterr().out.split()]
    assert printed[-1] < printed[0]
