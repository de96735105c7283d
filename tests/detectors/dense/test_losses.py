import pytest
import torch

from mapopt.detectors.dense.geometry import Assignment, decode, make_priors
from mapopt.detectors.dense.losses import DenseLoss
from mapopt.detectors.interface import Targets
from mapopt.detectors.objective import Objective
from mapopt.errors import ConfigError
from mapopt.losses import BOX_LOSSES, LOSSES, ListLoss, make_loss
from mapopt.training import Range

CLASSES = 3


@pytest.fixture
def problem():
    """Logits, boxes, priors and targets of two lanes; the last object of each image is padding."""
    generator = torch.Generator().manual_seed(0)
    priors = make_priors([(6, 6)], (8,), (16.0,))
    logits = torch.randn(2, 2, 36, CLASSES, generator=generator).requires_grad_()
    deltas = (torch.randn(2, 2, 36, 4, generator=generator) * 0.2).requires_grad_()
    corner = torch.rand(2, 2, 4, 2, generator=generator) * 25
    truth = torch.cat([corner, corner + 8 + torch.rand(2, 2, 4, 2, generator=generator) * 14], dim=-1)
    labels = torch.randint(0, CLASSES, (2, 2, 4), generator=generator)
    labels[..., -1] = -1
    return logits, decode(deltas, priors), priors, Targets(truth, labels, torch.zeros(2, 2, 4, dtype=torch.bool))


def dense_loss(loss="focal", **settings) -> DenseLoss:
    if isinstance(loss, str):
        return DenseLoss(Objective(loss=loss, **settings))
    return DenseLoss(Objective(**settings), loss=loss)


class Watched(DenseLoss):
    """Remembers the assignment it found."""

    def evaluate(self, logits, boxes, found, targets, knobs):
        self.found = found
        return super().evaluate(logits, boxes, found, targets, knobs)


def assignment(problem, knobs) -> Assignment:
    criterion = Watched(Objective())
    criterion(*problem, knobs)
    return criterion.found


def lane_of(targets: Targets, lane: int) -> Targets:
    return Targets(*(getattr(targets, name)[lane : lane + 1] for name in ("boxes", "labels", "crowd")))


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_gives_each_lane_a_finite_gradient_in_logits_and_boxes(loss, problem, knob_table):
    logits, boxes, priors, targets = problem
    boxes.retain_grad()
    losses = dense_loss(loss, balance=False)(logits, boxes, priors, targets, knob_table(2))
    assert {name: value.shape for name, value in losses.items()} == {"class": (2,), "box": (2,)}
    sum(losses.values()).sum().backward()
    for gradient in (logits.grad, boxes.grad):
        assert torch.isfinite(gradient).all()
        assert gradient.any()


@pytest.mark.parametrize("loss", ["focal", "ap", "rank_sort"])
def test_lanes_do_not_see_each_other(loss, problem, knob_table):
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


@pytest.mark.parametrize("balance", [False, True])
@pytest.mark.parametrize("loss", ["focal", "ap"])
def test_a_weight_scales_its_own_term_and_no_other(loss, balance, problem, knob_table):
    criterion = dense_loss(loss, balance=balance)
    plain = criterion(*problem, knob_table(2))
    for term, other in (("class", "box"), ("box", "class")):
        doubled = criterion(*problem, knob_table(**{f"{term}_weight": [2.0, 3.0]}, **{f"{other}_weight": [1.0, 1.0]}))
        assert torch.allclose(doubled[term], plain[term] * torch.tensor([2.0, 3.0]))
        assert torch.equal(doubled[other], plain[other])


def test_balancing_makes_the_box_loss_as_large_as_the_class_loss_and_keeps_its_direction(problem, knob_table):
    logits, boxes, priors, targets = problem
    gradients = []
    for balance in (False, True):
        losses = dense_loss("ap", balance=balance)(logits, boxes, priors, targets, knob_table(2))
        gradients.append(torch.autograd.grad(losses["box"].sum(), boxes, retain_graph=True)[0].flatten(1))
    assert torch.allclose(losses["box"], losses["class"])
    assert torch.allclose(torch.cosine_similarity(*gradients, dim=1), torch.ones(2))
    assert not torch.allclose(*gradients)


def test_ranking_losses_are_ranked_by_class_unless_told_otherwise():
    for name in LOSSES:
        criterion = dense_loss(name)
        assert criterion.scope == ("batch" if LOSSES[name].pointwise else "class")
    assert not dense_loss("ap", balance=False).balance
    assert dense_loss("ap", scope="image").scope == "image"


def test_the_pointwise_losses_are_the_four_that_say_so():
    assert {name for name in LOSSES if LOSSES[name].pointwise} == {"focal", "bce", "quality_focal", "varifocal"}


def class_labels(problem, knobs):
    """One-hot labels ``[lanes, batch, locations, classes]``, found object by object."""
    logits, _, _, targets = problem
    found = assignment(problem, knobs).objects
    labels = torch.zeros_like(logits)
    for lane, image, location in (found >= 0).nonzero().tolist():
        labels[lane, image, location, targets.labels[lane, image, found[lane, image, location]]] = 1
    return labels


def test_ranking_by_class_is_the_mean_over_the_classes_that_are_present(problem, knob_table):
    logits, _, _, targets = problem
    # One lane has two of the categories, the other only one.
    targets.labels[1].clamp_(max=0)
    labels = class_labels(problem, knob_table(2))
    value = dense_loss("ap", scope="class")(*problem, knob_table(2))["class"]
    for lane in range(2):
        present = [one for one in range(CLASSES) if labels[lane, ..., one].any()]
        assert len(present) == (2, 1)[lane]
        each = [LOSSES["ap"]()(logits[lane, ..., one].flatten(), labels[lane, ..., one].flatten()) for one in present]
        assert value[lane].item() == pytest.approx(torch.stack(each).mean().item(), rel=1e-5)


def test_ranking_by_image_and_by_batch_flatten_what_they_say(problem, knob_table):
    logits = problem[0]
    labels = class_labels(problem, knob_table(2))
    by_batch = dense_loss("ap", scope="batch")(*problem, knob_table(2))["class"]
    by_image = dense_loss("ap", scope="image")(*problem, knob_table(2))["class"]
    loss = LOSSES["ap"]()
    for lane in range(2):
        assert by_batch[lane].item() == pytest.approx(loss(logits[lane].flatten(), labels[lane].flatten()).item())
        each = [loss(logits[lane, image].flatten(), labels[lane, image].flatten()) for image in range(2)]
        assert by_image[lane].item() == pytest.approx(torch.stack(each).mean().item())


def test_the_surrogate_weight_blends_the_ranking_loss_with_focal_loss(problem, knob_table):
    def value(loss, **changes):
        return dense_loss(loss, balance=False)(*problem, knob_table(2, **changes))["class"]

    focal, ranking = value("focal"), value("ap")
    assert torch.allclose(value("ap", surrogate_weight=0.0), focal)
    assert torch.allclose(value("ap", surrogate_weight=[1.0, 0.25])[0], ranking[0])
    assert torch.allclose(value("ap", surrogate_weight=[1.0, 0.25])[1], (0.25 * ranking + 0.75 * focal)[1])
    assert torch.equal(value("focal", surrogate_weight=0.3), focal)


def test_gamma_reaches_the_focal_loss_lane_by_lane(problem, knob_table):
    criterion = dense_loss("focal")
    two, mixed = (criterion(*problem, knob_table(2, focal_gamma=value))["class"] for value in (2.0, [2.0, 0.0]))
    assert two[0] == mixed[0]
    assert mixed[1] > two[1]  # without fading, easy examples count in full


def test_a_location_in_a_crowd_gets_no_class_gradient(problem, knob_table):
    logits, boxes, priors, targets = problem
    targets.crowd[..., 0] = True
    targets.boxes[..., 0, :] = torch.tensor([0.0, 0.0, 24.0, 48.0])
    found = assignment(problem, knob_table(2))
    dense_loss("focal")(logits, boxes, priors, targets, knob_table(2))["class"].sum().backward()
    silent = logits.grad.abs().sum(-1) == 0
    assert found.ignored.any()
    assert torch.equal(silent, found.ignored)


@pytest.mark.parametrize("loss", [name for name in LOSSES if LOSSES[name].soft_labels])
def test_soft_losses_see_the_overlap_of_their_own_boxes(loss, problem, knob_table):
    logits, boxes, _, targets = problem
    criterion = dense_loss(loss, balance=False)
    found = assignment(problem, knob_table(2))
    index = found.objects.clamp(min=0)[..., None].expand(*found.objects.shape, 4)
    perfect = torch.where(found.objects[..., None] >= 0, targets.boxes.gather(2, index), boxes)
    first = criterion.evaluate(logits, boxes, found, targets, knob_table(2))
    second = criterion.evaluate(logits, perfect, found, targets, knob_table(2))
    assert not torch.allclose(first["class"], second["class"])
    hard = dense_loss("ap", balance=False)
    assert torch.equal(
        hard.evaluate(logits, boxes, found, targets, knob_table(2))["class"],
        hard.evaluate(logits, perfect, found, targets, knob_table(2))["class"],
    )


@pytest.mark.parametrize("box_loss", BOX_LOSSES)
def test_the_box_loss_is_the_mean_over_the_positives(box_loss, problem, knob_table):
    _, boxes, _, targets = problem
    found = assignment(problem, knob_table(2)).objects
    value = dense_loss(box_loss=box_loss)(*problem, knob_table(2))["box"]
    for lane in range(2):
        image, location = (found[lane] >= 0).nonzero(as_tuple=True)
        truth = targets.boxes[lane][image, found[lane][image, location]]
        expected = BOX_LOSSES[box_loss](boxes[lane][image, location], truth).mean()
        assert value[lane].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("loss", ["focal", "rank_sort"])
def test_images_without_objects_have_no_box_loss_and_no_invalid_numbers(loss, problem, knob_table):
    logits, boxes, priors, targets = problem
    targets.labels.fill_(-1)
    losses = dense_loss(loss)(logits, boxes, priors, targets, knob_table(2))
    sum(losses.values()).sum().backward()
    assert losses["box"].tolist() == [0, 0]
    assert torch.isfinite(losses["class"]).all()
    assert torch.isfinite(logits.grad).all()


def test_unknown_losses_are_named_with_the_nearest_known_one():
    with pytest.raises(ConfigError, match="unknown loss 'focl': did you mean 'focal'"):
        dense_loss("focl")
    with pytest.raises(ConfigError, match="unknown box loss 'goiu': did you mean 'giou'"):
        dense_loss(box_loss="goiu")


def test_soft_labels_give_a_loss_that_only_counts_positives_a_list_per_iou_threshold(problem, knob_table):
    logits, boxes, priors, targets = problem
    soft = dense_loss("ap", soft_labels=True)(*problem, knob_table(2))["class"]
    hard = dense_loss("ap")(*problem, knob_table(2))["class"]
    assert (soft != hard).all()
    exact = decode(torch.zeros_like(boxes), priors)
    found = assignment((logits, boxes, priors, targets), knob_table(2)).objects
    matched = targets.boxes.gather(2, found.clamp(min=0)[..., None].expand(*found.shape, 4))
    perfect = torch.where((found >= 0)[..., None], matched, exact)
    # Where every positive's box is exact, it is a positive at every threshold.
    values = [dense_loss("ap", soft_labels=one)(logits, perfect, priors, targets, knob_table(2)) for one in (0, 1)]
    torch.testing.assert_close(values[0]["class"], values[1]["class"])


def test_labels_can_be_made_hard_for_a_loss_that_reads_ious(problem, knob_table):
    losses = [dense_loss("rank_sort", soft_labels=one)(*problem, knob_table(2))["class"] for one in (True, False)]
    assert (losses[0] > losses[1]).all(), "without IoUs there is nothing to sort"


def test_the_localization_part_of_a_loss_moves_the_boxes(problem, knob_table):
    boxes = problem[1]
    boxes.retain_grad()
    for loss, moves in (("alrp", True), ("rank_sort", False), ("quality_focal", False)):
        boxes.grad = None
        dense_loss(loss)(*problem, knob_table(2))["class"].sum().backward(retain_graph=True)
        assert (boxes.grad is not None and bool(boxes.grad.any())) == moves, loss


def test_a_remembered_batch_is_ranked_with_the_next(problem, knob_table):
    logits, boxes, priors, targets = problem
    criterion = dense_loss("ap", memory=72)
    criterion.prepare(lanes=2, classes=CLASSES, device=torch.device("cpu"))
    first = criterion(*problem, knob_table(2))["class"]
    torch.testing.assert_close(first, dense_loss("ap")(*problem, knob_table(2))["class"])
    second = criterion(logits * 2, boxes, priors, targets, knob_table(2))["class"]
    doubled = [torch.cat([a, b], 1) for a, b in ((logits * 2, logits), (boxes, boxes))]
    twice = Targets(*(torch.cat([getattr(targets, name)] * 2, 1) for name in ("boxes", "labels", "crowd")))
    expected = dense_loss("ap")(doubled[0], doubled[1], priors, twice, knob_table(2))["class"]
    torch.testing.assert_close(second, expected)
    criterion.forget(0)
    again = criterion(*problem, knob_table(2))["class"]
    assert again[0] == first[0]
    assert again[1] != first[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "focal", "soft_labels": True}, "only knows positives and negatives"),
        ({"loss": "focal", "memory": 5}, "leave memory at 0"),
        ({"loss": "ap", "scope": "image", "memory": 5}, "leave memory at 0"),
    ],
)
def test_what_a_loss_has_no_use_for_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        dense_loss(**settings)


def test_an_auxiliary_loss_is_added_with_its_weight_and_leaves_the_main_labels_as_they_are(problem, knob_table):
    plain = dense_loss("ap")(*problem, knob_table(2))["class"]
    added = [dense_loss("ap", auxiliary={"correlation": one})(*problem, knob_table(2))["class"] for one in (0.5, 1.0)]
    assert (added[0] > plain).all()
    torch.testing.assert_close(added[1] - plain, 2 * (added[0] - plain))
    with pytest.raises(ConfigError, match="did you mean 'correlation'"):
        dense_loss("ap", auxiliary={"corelation": 1.0})


@pytest.mark.parametrize("loss", LOSSES)
def test_the_box_loss_is_scaled_to_the_class_loss_where_that_is_an_error_rate(loss, problem, knob_table):
    default, plain = (dense_loss(loss, balance=one)(*problem, knob_table(2)) for one in (None, False))
    scaled = loss not in ("focal", "bce", "quality_focal", "varifocal", "listnet", "listmle", "lambda_ap")
    assert bool((default["box"] != plain["box"]).all()) == scaled
    if scaled:
        torch.testing.assert_close(default["box"], default["class"])
        assert (default["class"] < 2).all()


def filled_up(problem, *, images=2):
    """The problem with more images in every lane that do not count; they repeat those that do, without objects."""
    logits, boxes, priors, targets = problem
    more = [torch.cat([one, one[:, :images]], 1) for one in (logits, boxes, targets.boxes, targets.labels)]
    more[3][:, -images:] = -1
    counted = torch.arange(2 + images).expand(2, -1) < 2
    crowd = torch.cat([targets.crowd, targets.crowd[:, :images]], 1)
    return more[0], more[1], priors, Targets(more[2], more[3], crowd, counted)


@pytest.mark.parametrize("loss", LOSSES)
def test_images_that_do_not_count_change_no_loss_and_get_no_gradient(loss, problem, knob_table):
    logits, boxes, priors, targets = filled_up(problem)
    logits, boxes = (one.detach().requires_grad_() for one in (logits, boxes))
    knobs = knob_table(2, surrogate_weight=0.5)
    losses = dense_loss(loss)(logits, boxes, priors, targets, knobs)
    gradients = torch.autograd.grad(sum(losses.values()).sum(), (logits, boxes))
    expected = dense_loss(loss)(*problem, knobs)
    wanted = torch.autograd.grad(sum(expected.values()).sum(), (problem[0], problem[1]))
    for name in losses:
        torch.testing.assert_close(losses[name], expected[name])
    for gradient, one in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient[:, :2], one)
        assert not gradient[:, 2:].any()


@pytest.mark.parametrize("scope", ["class", "batch"])
@pytest.mark.parametrize("size", [30, 72, 150, 1000])
def test_images_that_do_not_count_take_no_place_in_the_memory(size, scope, problem, knob_table):
    memories = []
    for scene in (problem, filled_up(problem)):
        criterion = dense_loss("ap", memory=size, scope=scope)
        criterion.prepare(lanes=2, classes=CLASSES, device=torch.device("cpu"))
        for factor in (1.0, 0.5, 2.0):
            losses = criterion(scene[0] * factor, *scene[1:], knob_table(2))
        memories.append((losses, criterion.buffers()))
    (first, remembered), (second, filled) = memories
    torch.testing.assert_close(first, second)
    for name in remembered:
        assert torch.equal(remembered[name], filled[name]), name


def error_driven(loss):
    return getattr(make_loss(loss), "gradient", None) == "error-driven"


RANKING = [name for name in LOSSES if not LOSSES[name].pointwise]


@pytest.mark.parametrize("loss", RANKING)
def test_a_temperature_ranks_divided_scores_and_the_others_get_the_true_chain(loss, problem, knob_table):
    logits, *rest = problem
    knobs = knob_table(2, temperature=[4.0, 0.5])
    hot = dense_loss(loss, balance=False)(logits, *rest, knobs)["class"]
    gradient = torch.autograd.grad(hot.sum(), logits, retain_graph=True)[0]
    factor = knobs["temperature"][:, None, None, None]
    divided = (logits / factor).detach().requires_grad_()
    expected = dense_loss(loss, balance=False)(divided, *rest, knob_table(2))["class"]
    chain = torch.autograd.grad(expected.sum(), divided, retain_graph=True)[0]
    torch.testing.assert_close(hot, expected)
    torch.testing.assert_close(gradient, chain if error_driven(loss) else chain / factor)


def test_the_losses_with_an_error_driven_gradient_are_the_four_that_have_it_by_default():
    assert {name for name in RANKING if error_driven(name)} == {"ap", "alrp", "rank_sort", "bucketed_rank_sort"}


def test_a_temperature_is_the_width_of_the_step_relative_to_its_own(problem, knob_table):
    hot = dense_loss("ap", balance=False)(*problem, knob_table(2, temperature=3.0))["class"]
    wide = dense_loss(make_loss("ap", {"delta": 3.0}), balance=False)(*problem, knob_table(2))["class"]
    gradients = [torch.autograd.grad(one.sum(), problem[0], retain_graph=True)[0] for one in (hot, wide)]
    torch.testing.assert_close(hot, wide)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_temperature_of_1_changes_no_bit_and_pointwise_losses_have_none(loss, problem, knob_table):
    logits, boxes, *rest = problem
    results = []
    for changes in ({}, {"temperature": 1.0}, {"temperature": [1.0, 5.0]}):
        losses = dense_loss(loss)(logits, boxes, *rest, knob_table(2, **changes))
        gradients = torch.autograd.grad(sum(losses.values()).sum(), (logits, boxes), retain_graph=True)
        results.append((*losses.values(), *gradients))
    for none, one, mixed in zip(*results, strict=True):
        assert torch.equal(none, one)
        assert torch.equal(none[0], mixed[0])
        assert torch.equal(none, mixed) or not LOSSES[loss].pointwise


def test_the_memory_holds_scores_as_they_were(problem, knob_table):
    buffers = []
    for temperature in (1.0, 5.0):
        criterion = dense_loss("ap", memory=72)
        criterion.prepare(lanes=2, classes=CLASSES, device=torch.device("cpu"))
        criterion(*problem, knob_table(2, temperature=temperature))
        buffers.append(criterion.buffers()["memory.scores"])
    assert torch.equal(*buffers)


def test_auxiliary_and_focal_losses_see_the_scores_as_they_are(problem, knob_table):
    values = [
        dense_loss("ap", auxiliary={"correlation": 1.0})(
            *problem, knob_table(2, temperature=temperature, surrogate_weight=0.0)
        )["class"]
        for temperature in (1.0, 5.0)
    ]
    assert torch.equal(*values)


class MarginLoss(ListLoss):
    """How far positives stand below the best negative and a margin, which is a knob."""

    error_rate = False
    knobs = {"margin": Range(0.0, 5.0)}

    def __init__(self, margin=1.0):
        super().__init__()
        self.margin = margin

    def evaluate(self, lists):
        best = lists.scores.masked_fill(~lists.negative, -torch.inf).amax(-1, keepdim=True)
        errors = (best - lists.scores + self.per_list("margin", lists)).clamp(min=0)
        return {"rank": (errors * lists.positive).sum(-1) / lists.count.clamp(min=1)}


def margin_of_positives(scores, labels, where, margin=1.0):
    return (scores[labels == 0].max() - scores[labels > 0] + margin).clamp(min=0).mean()


margin_of_positives.knobs = {"margin": Range(0.0, 5.0)}


@pytest.mark.parametrize("scope", ["class", "image", "batch"])
@pytest.mark.parametrize("settings", [{}, {"soft_labels": True}, {"memory": 50}])
@pytest.mark.parametrize("loss", [MarginLoss, margin_of_positives])
def test_a_knob_of_a_losses_own_has_each_lanes_value(loss, settings, scope, problem, knob_table):
    if settings.get("memory") and scope == "image":
        pytest.skip("a memory is of the batch")
    logits, boxes, priors, targets = problem

    def value(lanes, margin, counted=None):
        criterion = DenseLoss(Objective(scope=scope, **settings), loss=make_loss(loss))
        part = slice(None) if counted is None else slice(counted, counted + 1)
        criterion.prepare(lanes=lanes, classes=CLASSES, device=torch.device("cpu"))
        chosen = targets if counted is None else lane_of(targets, counted)
        for _ in range(2):  # the second step ranks with what the first one left in the memory
            terms = criterion(logits[part], boxes[part], priors, chosen, knob_table(lanes, margin=margin))
        return terms["class"]

    together = value(2, [0.5, 3.0])
    for lane, margin in enumerate((0.5, 3.0)):
        torch.testing.assert_close(together[lane], value(1, margin, lane)[0])
        plain = DenseLoss(Objective(scope=scope, **settings), loss=make_loss(loss, {"margin": margin}))
        plain.prepare(lanes=2, classes=CLASSES, device=torch.device("cpu"))
        for _ in range(2):
            expected = plain(*problem, knob_table(2))["class"]
        torch.testing.assert_close(together[lane], expected[lane])
    assert together[1] > value(2, [0.5, 0.5])[1]


def test_class_weights_are_for_pointwise_losses():
    with pytest.raises(ConfigError, match=r"class weights for APLoss, which takes none.*such as focal"):
        dense_loss("ap").weigh_classes(0, torch.ones(CLASSES), lanes=2)
