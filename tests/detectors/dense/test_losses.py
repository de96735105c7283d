"""The class and box losses of dense detectors: lanes, weights, scopes, labels and boxes."""

import pytest
import torch
from torchvision.ops import box_iou

from mapopt.detectors.dense import losses as dense_losses
from mapopt.detectors.dense.losses import DenseLoss
from mapopt.detectors.interface import Targets
from mapopt.detectors.objective import Objective
from mapopt.errors import ConfigError
from mapopt.losses import BOX_LOSSES, LOSSES, PointwiseLoss

CLASSES = 3
POINTWISE = {"focal", "bce", "quality_focal", "varifocal", "mal", "ia_bce", "task_aligned_bce", "ecm", "efl"}


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_gives_each_lane_a_finite_gradient_in_logits_and_boxes(loss, problem, knob_table, dense_loss):
    logits, boxes, priors, targets = problem
    boxes.retain_grad()
    losses = dense_loss(loss, balance="none")(logits, boxes, priors, targets, knob_table(2))
    assert {name: value.shape for name, value in losses.items()} == {"class": (2,), "box": (2,)}
    sum(losses.values()).sum().backward()
    for gradient in (logits.grad, boxes.grad):
        assert torch.isfinite(gradient).all()
        assert gradient.any()


@pytest.mark.parametrize("loss", ["focal", "ap", "rank_sort"])
def test_lanes_do_not_see_each_other(loss, problem, knob_table, dense_loss, lane_of):
    logits, boxes, priors, targets = problem
    criterion = dense_loss(loss)
    together = criterion(logits, boxes, priors, targets, knob_table(assign_iou=[0.2, 0.6], focal_gamma=[0.5, 3.0]))
    for lane, (iou, gamma) in enumerate([(0.2, 0.5), (0.6, 3.0)]):
        alone = criterion(
            logits[lane : lane + 1],
            boxes[lane : lane + 1],
            priors,
            lane_of(targets, lane),
            knob_table(assign_iou=iou, focal_gamma=gamma),
        )
        for name in alone:
            assert torch.allclose(together[name][lane], alone[name][0])


@pytest.mark.parametrize("balance", ["none", "values", "gradients"])
@pytest.mark.parametrize("loss", ["focal", "ap"])
def test_a_weight_scales_its_own_term_and_no_other(loss, balance, problem, knob_table, dense_loss):
    criterion = dense_loss(loss, balance=balance)
    plain = criterion(*problem, knob_table(2))
    for term, other in (("class", "box"), ("box", "class")):
        doubled = criterion(*problem, knob_table(**{f"{term}_weight": [2.0, 3.0]}, **{f"{other}_weight": [1.0, 1.0]}))
        assert torch.allclose(doubled[term], plain[term] * torch.tensor([2.0, 3.0]))
        assert torch.equal(doubled[other], plain[other])


def test_balancing_values_makes_the_box_loss_as_large_as_the_class_loss_in_its_direction(
    problem, knob_table, dense_loss
):
    logits, boxes, priors, targets = problem
    gradients = []
    for balance in ("none", "values"):
        losses = dense_loss("ap", balance=balance)(logits, boxes, priors, targets, knob_table(2))
        gradients.append(torch.autograd.grad(losses["box"].sum(), boxes, retain_graph=True)[0].flatten(1))
    assert torch.allclose(losses["box"], losses["class"])
    assert torch.allclose(torch.cosine_similarity(*gradients, dim=1), torch.ones(2))
    assert not torch.allclose(*gradients)


def test_ranking_losses_are_ranked_by_class_unless_asked_otherwise(dense_loss):
    for name in LOSSES:
        criterion = dense_loss(name)
        assert criterion.scope == ("batch" if LOSSES[name].pointwise else "class")
    assert dense_loss("ap", scope="image").scope == "image"


def test_the_pointwise_losses_are_those_that_say_so():
    assert {name for name in LOSSES if LOSSES[name].pointwise} == POINTWISE


def class_labels(problem, objects):
    """One-hot labels ``[lanes, batch, locations, classes]``, made object by object."""
    logits, _, _, targets = problem
    labels = torch.zeros_like(logits)
    for lane, image, location in (objects >= 0).nonzero().tolist():
        labels[lane, image, location, targets.labels[lane, image, objects[lane, image, location]]] = 1
    return labels


def test_ranking_by_class_is_the_mean_over_the_classes_that_are_present(problem, knob_table, dense_loss, assignment):
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


def test_ranking_by_image_and_by_batch_flatten_what_they_say(problem, knob_table, dense_loss, assignment):
    logits = problem[0]
    labels = class_labels(problem, assignment(problem, knob_table(2)).objects)
    by_batch = dense_loss("ap", scope="batch")(*problem, knob_table(2))["class"]
    by_image = dense_loss("ap", scope="image")(*problem, knob_table(2))["class"]
    loss = LOSSES["ap"]()
    for lane in range(2):
        assert by_batch[lane].item() == pytest.approx(loss(logits[lane].flatten(), labels[lane].flatten()).item())
        each = [loss(logits[lane, image].flatten(), labels[lane, image].flatten()) for image in range(2)]
        assert by_image[lane].item() == pytest.approx(torch.stack(each).mean().item())


def test_the_surrogate_weight_blends_the_ranking_loss_with_focal_loss(problem, knob_table, dense_loss):
    def value(loss, **changes):
        return dense_loss(loss, balance="none")(*problem, knob_table(2, **changes))["class"]

    focal, ranking = value("focal"), value("ap")
    assert torch.allclose(value("ap", surrogate_weight=0.0), focal)
    assert torch.allclose(value("ap", surrogate_weight=[1.0, 0.25])[0], ranking[0])
    assert torch.allclose(value("ap", surrogate_weight=[1.0, 0.25])[1], (0.25 * ranking + 0.75 * focal)[1])
    assert torch.equal(value("focal", surrogate_weight=0.3), focal)


def test_gamma_reaches_the_focal_loss_lane_by_lane(problem, knob_table, dense_loss):
    criterion = dense_loss("focal")
    two, mixed = (criterion(*problem, knob_table(2, focal_gamma=value))["class"] for value in (2.0, [2.0, 0.0]))
    assert two[0] == mixed[0]
    assert mixed[1] > two[1]  # without fading, easy examples count in full


def test_a_location_in_a_crowd_gets_no_class_gradient(problem, knob_table, dense_loss, assignment):
    logits, boxes, priors, targets = problem
    targets.crowd[..., 0] = True
    targets.boxes[..., 0, :] = torch.tensor([0.0, 0.0, 24.0, 48.0])
    assigned = assignment(problem, knob_table(2))
    dense_loss("focal")(logits, boxes, priors, targets, knob_table(2))["class"].sum().backward()
    silent = logits.grad.abs().sum(-1) == 0
    assert assigned.ignored.any()
    assert torch.equal(silent, assigned.ignored)


@pytest.mark.parametrize("loss", [name for name in LOSSES if LOSSES[name].soft_labels])
def test_soft_losses_see_the_overlap_of_their_own_boxes(loss, problem, knob_table, dense_loss, assignment):
    logits, boxes, _, targets = problem
    criterion = dense_loss(loss, balance="none")
    assigned = assignment(problem, knob_table(2))
    index = assigned.objects.clamp(min=0)[..., None].expand(*assigned.objects.shape, 4)
    perfect = torch.where(assigned.objects[..., None] >= 0, targets.boxes.gather(2, index), boxes)
    first = criterion.evaluate(logits, boxes, assigned, targets, knob_table(2))
    second = criterion.evaluate(logits, perfect, assigned, targets, knob_table(2))
    assert not torch.allclose(first["class"], second["class"])
    hard = dense_loss("ap", balance="none")
    assert torch.equal(
        hard.evaluate(logits, boxes, assigned, targets, knob_table(2))["class"],
        hard.evaluate(logits, perfect, assigned, targets, knob_table(2))["class"],
    )


@pytest.mark.parametrize("box_loss", BOX_LOSSES)
def test_the_box_loss_is_the_mean_over_the_positives(box_loss, problem, knob_table, dense_loss, assignment):
    _, boxes, _, targets = problem
    objects = assignment(problem, knob_table(2)).objects
    value = dense_loss(box_loss=box_loss)(*problem, knob_table(2))["box"]
    for lane in range(2):
        image, location = (objects[lane] >= 0).nonzero(as_tuple=True)
        truth = targets.boxes[lane][image, objects[lane][image, location]]
        expected = BOX_LOSSES[box_loss](boxes[lane][image, location], truth).mean()
        assert value[lane].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("loss", ["focal", "rank_sort"])
def test_images_without_objects_have_no_box_loss_and_no_invalid_numbers(loss, problem, knob_table, dense_loss):
    logits, boxes, priors, targets = problem
    targets.labels.fill_(-1)
    losses = dense_loss(loss)(logits, boxes, priors, targets, knob_table(2))
    sum(losses.values()).sum().backward()
    assert losses["box"].tolist() == [0, 0]
    assert torch.isfinite(losses["class"]).all()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("box_loss", BOX_LOSSES)
def test_a_lane_has_the_same_bits_however_many_positives_its_neighbor_has(box_loss, problem, knob_table, dense_loss):
    logits, boxes, priors, targets = problem
    logits, boxes = logits.detach(), boxes.detach()
    outcome = []
    for objects in range(5):
        labels = targets.labels.clone()
        labels[0, :, objects:] = -1
        changed = Targets(targets.boxes, labels, targets.crowd)
        own = boxes.clone().requires_grad_()
        value = dense_loss("rank_sort", box_loss=box_loss)(logits, own, priors, changed, knob_table(2))["box"]
        outcome.append((value.detach()[1], torch.autograd.grad(value.sum(), own)[0][1]))
    for value, gradient in outcome[1:]:
        assert torch.equal(value, outcome[0][0])
        assert torch.equal(gradient, outcome[0][1])


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("box_loss", BOX_LOSSES)
def test_off_the_cpu_all_locations_are_computed_and_it_comes_to_the_same(
    box_loss, soft, problem, knob_table, dense_loss, monkeypatch
):
    logits, boxes, priors, targets = problem
    outcome = []
    for everywhere in (False, True):
        if everywhere:
            monkeypatch.setattr(dense_losses, "rows_of", lambda positive: None)
        criterion = dense_loss("rank_sort" if soft else "focal", box_loss=box_loss)
        values = criterion(logits, boxes, priors, targets, knob_table(2))
        gradients = torch.autograd.grad(sum(values.values()).sum(), (logits, boxes), retain_graph=True)
        outcome.append([*values.values(), *gradients])
    for some, every in zip(*outcome, strict=True):
        torch.testing.assert_close(some, every, rtol=1e-5, atol=1e-6)


def test_unknown_losses_are_named_with_the_nearest_known_one(dense_loss):
    with pytest.raises(ConfigError, match="unknown loss 'focl': did you mean 'focal'"):
        dense_loss("focl")
    with pytest.raises(ConfigError, match="unknown box loss 'goiu': did you mean 'giou'"):
        dense_loss(box_loss="goiu")


def test_the_localization_part_of_a_loss_moves_the_boxes(problem, knob_table, dense_loss):
    boxes = problem[1]
    boxes.retain_grad()
    for loss, moves in (("alrp", True), ("mean_ap", True), ("rank_sort", False), ("quality_focal", False)):
        boxes.grad = None
        dense_loss(loss)(*problem, knob_table(2))["class"].sum().backward(retain_graph=True)
        assert (boxes.grad is not None and bool(boxes.grad.any())) == moves, loss


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "focal", "soft_labels": True}, "only knows positives and negatives"),
        ({"loss": "focal", "memory": 5}, "leave memory at 0"),
        ({"loss": "ap", "scope": "image", "memory": 5}, "leave memory at 0"),
    ],
)
def test_what_a_loss_has_no_use_for_is_refused(settings, message, dense_loss):
    with pytest.raises(ConfigError, match=message):
        dense_loss(**settings)


def test_an_auxiliary_loss_is_added_with_its_weight_and_leaves_the_labels_alone(problem, knob_table, dense_loss):
    plain = dense_loss("ap")(*problem, knob_table(2))["class"]
    added = [
        dense_loss("ap", auxiliary={"correlation": value})(*problem, knob_table(2))["class"] for value in (0.5, 1.0)
    ]
    assert (added[0] > plain).all()
    torch.testing.assert_close(added[1] - plain, 2 * (added[0] - plain))
    with pytest.raises(ConfigError, match="did you mean 'correlation'"):
        dense_loss("ap", auxiliary={"corelation": 1.0})


@pytest.mark.parametrize("loss", LOSSES)
def test_no_loss_scales_the_box_loss_unless_asked(loss, problem, knob_table, dense_loss):
    default, plain = (dense_loss(loss, **given)(*problem, knob_table(2)) for given in ({}, {"balance": "none"}))
    assert torch.equal(default["box"], plain["box"])
    assert not torch.allclose(default["box"], default["class"])


@pytest.mark.parametrize("loss", LOSSES)
def test_formerly_the_box_loss_was_scaled_to_the_class_loss_where_that_is_an_error_rate(
    loss, problem, knob_table, dense_loss
):
    default, plain = (dense_loss(loss, balance=value)(*problem, knob_table(2)) for value in ("former", "none"))
    scaled = loss not in (*POINTWISE, "listnet", "listmle", "lambda_ap")
    assert bool((default["box"] != plain["box"]).all()) == scaled
    if scaled:
        torch.testing.assert_close(default["box"], default["class"])
        assert (default["class"] < 2).all()


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


FREQUENCIES = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1]])
"""Of the classes in each lane, as the fixture counts them."""


class ReadingLoss(PointwiseLoss):
    """Keeps what it is given of every entry."""

    reads = ("classes", "objects", "frequencies")

    def entries(self, lists):
        self.given = {name: value.reshape(*lists.leading, -1) for name, value in lists.facts.items()}
        self.positive = lists.positive.reshape(*lists.leading, -1)
        return lists.scores


@pytest.mark.parametrize("scope", ["class", "image", "batch"])
def test_a_loss_is_given_what_it_reads_of_every_entry_in_every_scope(
    scope, problem, knob_table, dense_loss, assignment
):
    loss, targets = ReadingLoss(), problem[3]
    dense_loss(loss, scope=scope)(*problem, knob_table(2))
    objects = assignment(problem, knob_table(2)).objects
    assert set(loss.given) == set(loss.reads)
    shaped = {
        "class": lambda values: values.view(2, CLASSES, 2, 36).permute(0, 2, 3, 1),
        "image": lambda values: values.view(2, 2, 36, CLASSES),
        "batch": lambda values: values.view(2, 2, 36, CLASSES),
    }[scope]
    classes, numbers, frequencies = (shaped(loss.given[name]) for name in ("classes", "objects", "frequencies"))
    torch.testing.assert_close(frequencies, FREQUENCIES[:, None, None].expand(2, 2, 36, CLASSES))
    assert torch.equal(classes, torch.arange(CLASSES).expand(2, 2, 36, CLASSES))
    expected = torch.where(objects < 0, -1, objects + 4 * torch.arange(2)[:, None])
    assert torch.equal(numbers, expected[..., None].expand_as(numbers))
    lane, image, location, category = shaped(loss.positive).nonzero(as_tuple=True)
    assert torch.equal(targets.labels[lane, image, objects[lane, image, location]], category)


def test_an_auxiliary_loss_is_given_what_it_reads(problem, knob_table, dense_loss):
    plain, added = (
        dense_loss("quality_focal", auxiliary=given)(*problem, knob_table(2))["class"]
        for given in ({}, {"task_aligned_bce": 0.5})
    )
    alone = dense_loss("task_aligned_bce")(*problem, knob_table(2))["class"]
    torch.testing.assert_close(added - plain, 0.5 * alone)


def test_task_aligned_targets_are_those_of_each_object(problem, knob_table, dense_loss, assignment):
    logits, boxes, _, targets = problem
    objects = assignment(problem, knob_table(2)).objects
    value = dense_loss("task_aligned_bce")(*problem, knob_table(2))["class"]
    for lane in range(2):
        labels, total = torch.zeros(2, 36, CLASSES), 0.0
        for image in range(2):
            for number in range(4):
                places = (objects[lane, image] == number).nonzero().flatten()
                if len(places):
                    category = int(targets.labels[lane, image, number])
                    fit = box_iou(boxes[lane, image, places].detach(), targets.boxes[lane, image, number][None])[:, 0]
                    aligned = logits[lane, image, places, category].detach().sigmoid() * fit**6
                    labels[image, places, category] = aligned / aligned.max() * fit.max()
                    total += float(labels[image, places, category].sum())
        cost = torch.nn.functional.binary_cross_entropy_with_logits(logits[lane], labels, reduction="sum")
        assert value[lane].item() == pytest.approx(cost.item() / max(1.0, total), rel=1e-4)


def test_what_no_detector_knows_of_an_entry_is_named(dense_loss):
    class Curious(ReadingLoss):
        reads = ("clases",)

    with pytest.raises(ConfigError, match="Curious reads: unknown fact 'clases': did you mean 'classes'"):
        dense_loss(Curious())

    class Ranking(ReadingLoss):
        pointwise = False

    for settings in ({"memory": 8}, {"soft_labels": True}):
        with pytest.raises(
            ConfigError, match="Ranking reads classes, objects, frequencies, which is not known of scores in a memory"
        ):
            dense_loss(Ranking(), **settings)


def test_frequencies_follow_from_counts_and_are_a_lanes_own(problem, knob_table):
    criterion = DenseLoss(Objective(loss="ecm"))
    message = "EffectiveClassMarginLoss reads how frequent the classes are, and nobody has counted them: call"
    with pytest.raises(ConfigError, match=message):
        criterion(*problem, knob_table(2))
    criterion.count_classes(0, torch.tensor([7, 0, 3]), lanes=2)
    before = criterion(*problem, knob_table(2))["class"]
    assert criterion.facts.frequencies[0].tolist() == pytest.approx([7 / 11, 1 / 11, 3 / 11])
    criterion.count_classes(1, torch.tensor([1, 1, 98]), lanes=2)
    after = criterion(*problem, knob_table(2))["class"]
    assert before[0] == after[0]
    assert before[1] != after[1]
    short = DenseLoss(Objective(loss="ecm"))
    short.count_classes(0, torch.tensor([7, 3]), lanes=2)
    with pytest.raises(ConfigError, match="the objects of 2 classes were counted, but there are logits of 3"):
        short(*problem, knob_table(2))


def pulls(loss, problem, knobs, objects):
    """What a loss's gradient pulls up and down in all, ``[lanes, classes]`` each."""
    logits = problem[0].detach().requires_grad_()
    value = loss(logits, *problem[1:], knobs)["class"]
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    positive = class_labels(problem, objects) > 0
    return [torch.where(chosen, gradient.abs(), 0.0).sum((1, 2)).double() for chosen in (positive, ~positive)]


@pytest.mark.parametrize("scope", ["class", "image", "batch"])
def test_equalized_focal_loss_remembers_what_pulled_each_class_of_each_lane(
    scope, problem, knob_table, dense_loss, assignment
):
    knobs, criterion = knob_table(2), dense_loss("efl", scope=scope)
    criterion.prepare(lanes=2, classes=CLASSES, device=torch.device("cpu"))
    criterion(*problem, knobs)
    raised, lowered = pulls(dense_loss("focal", scope=scope), problem, knobs, assignment(problem, knobs).objects)
    if scope == "batch":  # the mean over lists divides what a list's loss pulls
        torch.testing.assert_close(criterion.buffers()["loss.raised"], raised, rtol=1e-5, atol=1e-8)
        torch.testing.assert_close(criterion.buffers()["loss.lowered"], lowered, rtol=1e-5, atol=1e-8)
    present = raised > 0
    assert torch.equal(criterion.buffers()["loss.raised"] > 0, present)
    assert present.any()


def test_a_state_belongs_to_a_lane_and_is_forgotten_with_it(problem, knob_table, dense_loss, lane_of):
    logits, boxes, priors, targets = problem
    together, alone = dense_loss("efl"), dense_loss("bce", auxiliary={"efl": 1.0})
    for criterion, lanes in ((together, 2), (alone, 1)):
        criterion.prepare(lanes=lanes, classes=CLASSES, device=torch.device("cpu"))
    assert set(together.buffers()) == {"loss.raised", "loss.lowered"}
    assert set(alone.buffers()) == {"auxiliary.0.raised", "auxiliary.0.lowered"}
    for scale in (1.0, 0.5):
        together(logits * scale, boxes, priors, targets, knob_table(2))
        alone(logits[1:] * scale, boxes[1:], priors, lane_of(targets, 1), knob_table())
    for name in ("raised", "lowered"):
        assert torch.equal(together.buffers()[f"loss.{name}"][1], alone.buffers()[f"auxiliary.0.{name}"][0])
    together.forget(0)
    assert [bool(value[lane].any()) for value in together.buffers().values() for lane in (0, 1)] == [False, True] * 2


def test_a_loss_that_nobody_prepared_is_prepared_by_the_first_logits(problem, knob_table, dense_loss):
    criterion = dense_loss("efl")
    assert criterion.buffers() == {}
    first, second = (criterion(*problem, knob_table(2))["class"] for _ in range(2))
    assert criterion.buffers()["loss.raised"].shape == (2, CLASSES)
    assert not torch.allclose(first, second)
