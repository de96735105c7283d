"""Which entries a class loss ranks together, and how lists and classes are weighed."""

import pytest
import torch

from mapopt.errors import ConfigError
from mapopt.losses import LOSSES

CLASSES = 3


def test_ranking_losses_are_ranked_by_class_unless_asked_otherwise(dense_loss):
    for name in LOSSES:
        criterion = dense_loss(name)
        assert criterion.scope == ("batch" if LOSSES[name].pointwise else "class")
    assert dense_loss("ap", scope="image").scope == "image"


def test_ranking_by_class_is_the_mean_over_the_classes_that_are_present(
    problem, knob_table, dense_loss, assignment, class_labels
):
    logits, _, _, targets = problem
    # One lane has two of the categories, the other only one.
    targets.labels[1].clamp_(max=0)
    labels = class_labels(problem, assignment(problem, knob_table(2)).objects)
    value = dense_loss("ap", scope="class")(*problem, knob_table(2))["class"]
    for lane in range(2):
        present = [category for category in range(CLASSES) if labels[lane, ..., category].any()]
        assert len(present) == (2, 1)[lane]
        each = [
            LOSSES["ap"]()(logits[lane, ..., category].flatten(), labels[lane, ..., category].flatten())
            for category in present
        ]
        assert value[lane].item() == pytest.approx(torch.stack(each).mean().item(), rel=1e-5)


def test_ranking_by_image_and_by_batch_flatten_what_they_say(problem, knob_table, dense_loss, assignment, class_labels):
    logits = problem[0]
    labels = class_labels(problem, assignment(problem, knob_table(2)).objects)
    by_batch = dense_loss("ap", scope="batch")(*problem, knob_table(2))["class"]
    by_image = dense_loss("ap", scope="image")(*problem, knob_table(2))["class"]
    loss = LOSSES["ap"]()
    for lane in range(2):
        assert by_batch[lane].item() == pytest.approx(loss(logits[lane].flatten(), labels[lane].flatten()).item())
        each = [loss(logits[lane, image].flatten(), labels[lane, image].flatten()) for image in range(2)]
        assert by_image[lane].item() == pytest.approx(torch.stack(each).mean().item())


@pytest.mark.parametrize("scope", ["image", "batch"])
def test_class_weights_need_terms_or_lists_of_single_classes(scope, dense_loss):
    with pytest.raises(
        ConfigError, match=rf"class weights for APLoss with scope '{scope}', which takes none.*as focal"
    ):
        dense_loss("ap", scope=scope).weigh_classes(0, torch.ones(CLASSES), lanes=2)


@pytest.mark.parametrize("soft", [False, True])
def test_class_weights_weigh_the_lists_of_a_ranking_loss(soft, problem, knob_table, dense_loss):
    problem[-1].labels[1].clamp_(max=1)  # the last class is missing in one lane
    weights = torch.tensor([[1.0, 4.0, 0.5], [3.0, 1.0, 100.0]])

    def value(*only):
        """Of some classes alone: those of the others weigh nothing."""
        criterion = dense_loss("ap", soft_labels=soft)
        for lane in range(2):
            kept = torch.zeros(CLASSES)
            kept[list(only)] = 1.0
            criterion.weigh_classes(lane, kept, lanes=2)
        return criterion(*problem, knob_table(2))["class"]

    criterion = dense_loss("ap", soft_labels=soft)
    for lane in range(2):
        criterion.weigh_classes(lane, weights[lane], lanes=2)
    weighted = criterion(*problem, knob_table(2))["class"]
    plain = dense_loss("ap", soft_labels=soft)(*problem, knob_table(2))["class"]
    each = torch.stack([value(category) for category in range(CLASSES)], 1)
    lists = (each != 0).float()
    assert lists.sum(1).tolist() == [2, 2]
    assert torch.allclose(value(0, 1, 2), plain)
    if not soft:  # else a class's own mean is over the thresholds that it reaches
        assert torch.allclose((each * weights * lists).sum(1) / (weights * lists).sum(1), weighted)
    assert not torch.allclose(weighted, plain)


def test_class_weights_weigh_a_partner_too(problem, knob_table, dense_loss):
    knobs = knob_table(2, surrogate_weight=0.0)
    values = []
    for criterion in (dense_loss("ap", blend_with="bce"), dense_loss("bce")):
        for lane in range(2):
            criterion.weigh_classes(lane, torch.tensor([0.5, 3.0, 1.0]), lanes=2)
        values.append(criterion(*problem, knobs)["class"])
    assert torch.equal(*values)
    assert not torch.allclose(values[0], dense_loss("bce")(*problem, knobs)["class"])
