"""The term of the loss: its value, that its gradient is unbiased, and what must not pay."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor

from mapopt.detectors import build_detector, replace_class_loss
from mapopt.detectors.interface import KnobTable, Targets
from mapopt.detectors.objective import REWARDS, Objective
from mapopt.detectors.reward.rewards import Ranked, credits_of, rewards_of
from mapopt.detectors.reward.term import RewardTerm
from mapopt.errors import ConfigError
from mapopt.metrics import Detections, GroundTruth, evaluate

SIZE = (64, 64)
KnobMaker = Callable[..., KnobTable]
SceneMaker = Callable[..., tuple[Tensor, Targets]]


def outputs(lanes: int = 1, seed: int = 0, *, batch: int = 3, locations: int = 12) -> tuple[Tensor, Tensor, Targets]:
    """Draws logits and boxes of two classes, and objects that some of the boxes fit."""
    logits, boxes, objects, labels = [], [], [], []
    for lane in range(lanes):
        generator = torch.Generator().manual_seed(1000 * seed + lane)
        corner = torch.rand(batch, locations, 2, generator=generator) * 40
        box = torch.cat([corner, corner + 8 + torch.rand(batch, locations, 2, generator=generator) * 14], -1)
        chosen = torch.randint(0, locations, (batch, 4), generator=generator)
        near = box.gather(1, chosen[..., None].expand(-1, -1, 4))
        objects.append(near + torch.rand(batch, 4, 4, generator=generator) * 2)
        labels.append(torch.randint(0, 2, (batch, 4), generator=generator))
        boxes.append(box)
        logits.append(torch.randn(batch, locations, 2, generator=generator))
    crowd = torch.zeros((lanes, batch, 4), dtype=torch.bool)
    return torch.stack(logits), torch.stack(boxes), Targets(torch.stack(objects), torch.stack(labels), crowd)


def gradient_of(term: RewardTerm, logits: Tensor, boxes: Tensor, targets: Targets, knobs: KnobTable) -> Tensor:
    leaf = logits.clone().requires_grad_()
    term(leaf, boxes, targets, knobs, size=SIZE).sum().backward()
    assert leaf.grad is not None
    return leaf.grad


@pytest.mark.parametrize("sigma", [0.0, 0.5])
@pytest.mark.parametrize("reward", ["ap", "ap50"])
def test_without_noise_the_term_is_1_less_the_ap_of_what_is_reported(
    reward: str, sigma: float, scene: SceneMaker, knob_table: KnobMaker
) -> None:
    images, targets = scene(batch=4)
    detector = build_detector("tiny", Objective(reward=reward), classes=3, size=SIZE)
    detector.initialize(0, seed=1)
    knobs = knob_table(temperature=1e-9, soft_nms_sigma=sigma, score_threshold=0.0, nms_iou=0.5)
    logits, boxes, _ = detector.outputs(images)  # type: ignore[attr-defined]
    value = RewardTerm(reward, 2)(logits.detach(), boxes, targets, knobs, size=SIZE)
    reported = detector.detect(images, knobs)
    there = targets.labels[0] >= 0
    truth = GroundTruth(
        targets.boxes[0][there].numpy(),
        targets.labels[0][there].numpy(),
        there.nonzero()[:, 0].numpy(),
        images=range(4),
    )
    columns = (reported.boxes, reported.scores, reported.labels, reported.images)
    report = evaluate(truth, Detections(*(values.numpy() for values in columns)))
    assert float(value) == pytest.approx(1 - (report.ap if reward == "ap" else report.ap50), abs=1e-6)


def test_the_gradient_is_that_of_the_expected_reward() -> None:
    # Five boxes of two images: every ranking is written down with its probability.
    ranked = Ranked(
        np.array([0, 0, 1, 1, 1]),
        np.array([[0.9, 0.0], [0.6, 0.0], [0.0, 0.7], [0.0, 0.0], [0.8, 0.55]]),
        np.zeros((2, 2), bool),
        np.array([1, 2]),
    )
    scores = torch.tensor([0.5, 1.0, -0.3, 0.8, 0.1], dtype=torch.float64, requires_grad=True)
    expected = torch.zeros((), dtype=torch.float64)
    for order in permutations(range(5)):
        chance = torch.stack([scores[order[k]] - scores[list(order[k:])].logsumexp(0) for k in range(5)]).sum().exp()
        expected = expected + chance * rewards_of(ranked, np.array(order), "ap")[0]
    expected.backward()
    term, generator = RewardTerm("ap", 2), np.random.default_rng(0)
    own = scores.detach().numpy()
    orders = np.argsort(-(own + generator.gumbel(size=(12_000, 5))), axis=1)
    rewards = term._rewards(ranked, orders)
    credit = credits_of(rewards, ranked.objects)
    each = np.stack(
        [term._gradient(ranked, own, orders[k : k + 1], (credit[k] - credit.mean(0))[None]) for k in range(len(orders))]
    )
    error = each.std(0) / np.sqrt(len(each))
    assert scores.grad is not None
    assert (np.abs(each.mean(0) - scores.grad.numpy()) < 5 * error).all()
    assert np.abs(scores.grad.numpy()).max() > 20 * error.max()


@pytest.mark.parametrize("reward", REWARDS)
def test_credit_by_image_lowers_the_variance(reward: str) -> None:
    generator = np.random.default_rng(0)
    boxes = 60
    overlaps = np.where(generator.random((boxes, 2)) < 0.3, generator.uniform(0.5, 1, (boxes, 2)), 0.0)
    ranked = Ranked(np.repeat(np.arange(6), 10), overlaps, np.zeros((6, 2), bool), np.full(6, 2))
    scores = generator.normal(size=boxes)
    orders = np.argsort(-(scores + generator.gumbel(size=(500, boxes))), axis=1)
    term = RewardTerm(reward, 2)
    rewards = term._rewards(ranked, orders)
    variances = []
    for credit in (credits_of(rewards, ranked.objects), np.repeat(rewards[:, :1], 6, axis=1)):
        advantages = credit - credit.mean(0)
        each = [term._gradient(ranked, scores, orders[k : k + 1], advantages[k : k + 1]) for k in range(500)]
        variances.append(np.var(each, axis=0).sum())
    assert variances[0] < 0.4 * variances[1]


@pytest.mark.parametrize("reward", REWARDS)
def test_pushing_all_boxes_of_a_class_pays_nothing(reward: str, knob_table: KnobMaker) -> None:
    logits, boxes, targets = outputs()
    gradient = gradient_of(RewardTerm(reward, 8), logits, boxes, targets, knob_table(temperature=1.0))
    assert gradient.abs().sum() > 1e-3
    assert gradient.sum((0, 1, 2)).abs().max() < 1e-6


def test_boxes_of_a_class_that_no_image_has_are_left_alone(knob_table: KnobMaker) -> None:
    logits, boxes, targets = outputs()
    targets = Targets(targets.boxes, torch.where(targets.labels == 1, -1, targets.labels), targets.crowd)
    gradient = gradient_of(RewardTerm("ap", 8), logits, boxes, targets, knob_table(temperature=1.0))
    assert gradient[..., 0].abs().sum() > 0
    assert not gradient[..., 1].any()


def test_images_that_only_fill_up_a_batch_change_nothing(knob_table: KnobMaker) -> None:
    logits, boxes, targets = outputs()
    counted = torch.tensor([[True, True, False]])
    labels = torch.where(counted[..., None], targets.labels, -1)
    padded = Targets(targets.boxes, labels, targets.crowd, counted)
    short = Targets(targets.boxes[:, :2], targets.labels[:, :2], targets.crowd[:, :2])
    term, knobs = RewardTerm("ap", 8), knob_table(temperature=1.0)
    long = gradient_of(term, logits, boxes, padded, knobs)
    assert torch.equal(long[:, :2], gradient_of(term, logits[:, :2], boxes[:, :2], short, knobs))
    assert not long[:, 2].any()


def test_a_lane_is_the_same_among_others(knob_table: KnobMaker) -> None:
    logits, boxes, targets = outputs(lanes=3)
    term = RewardTerm("ap", 8)
    together = gradient_of(term, logits, boxes, targets, knob_table(3, temperature=[1.0, 0.5, 2.0]))
    for lane, temperature in enumerate((1.0, 0.5, 2.0)):
        own = Targets(*(values[lane : lane + 1] for values in (targets.boxes, targets.labels, targets.crowd)))
        alone = gradient_of(
            term, logits[lane : lane + 1], boxes[lane : lane + 1], own, knob_table(temperature=temperature)
        )
        assert torch.equal(together[lane], alone[0])


def test_a_score_that_is_no_number_is_not_hidden(knob_table: KnobMaker) -> None:
    logits, boxes, targets = outputs(lanes=2)
    logits[1, 0, 3, 1] = torch.nan
    value = RewardTerm("ap", 8)(logits, boxes, targets, knob_table(2, temperature=1.0), size=SIZE)
    assert value.isnan().tolist() == [False, True]


def test_class_weights_are_the_weights_of_the_mean_over_classes(knob_table: KnobMaker) -> None:
    logits, boxes, targets = outputs()
    knobs, term = knob_table(temperature=1.0), RewardTerm("ap", 8)

    def weighted(first: float, second: float) -> Tensor:
        weights = torch.tensor([[first, second]])
        return term(logits, boxes, targets, knobs, size=SIZE, class_weights=weights)

    assert weighted(1, 1).item() == pytest.approx((weighted(1, 0) + weighted(0, 1)).item() / 2)
    assert weighted(3, 1).item() == pytest.approx((3 * weighted(1, 0) + weighted(0, 1)).item() / 4)


@pytest.mark.parametrize("reward", REWARDS)
def test_descending_raises_the_reward(reward: str, knob_table: KnobMaker) -> None:
    logits, boxes, targets = outputs(seed=3)
    term, knobs = RewardTerm(reward, 8), knob_table(temperature=0.5)
    sharp = knob_table(temperature=1e-9)
    before = float(term(logits, boxes, targets, sharp, size=SIZE))
    for _ in range(60):
        logits = logits - 5.0 * gradient_of(term, logits, boxes, targets, knobs)
    assert float(term(logits, boxes, targets, sharp, size=SIZE)) < before - 0.15


def test_surrogate_weight_blends_the_reward_with_the_loss(scene: SceneMaker, knob_table: KnobMaker) -> None:
    images, targets = scene(lanes=2)
    rewarded, plain = (
        build_detector("tiny", objective, classes=3, size=SIZE, lanes=2)
        for objective in (Objective(loss="rank_sort", reward="ap"), Objective(loss="rank_sort"))
    )
    for detector in (rewarded, plain):
        detector.initialize(0, seed=1)
        detector.initialize(1, seed=1)
    whole = {"class_weight": 2.0, "temperature": 1.0}
    mixed = rewarded.losses(images, targets, knob_table(2, surrogate_weight=[0.0, 0.25], **whole), seed=0)
    full = rewarded.losses(images, targets, knob_table(2, surrogate_weight=1.0, **whole), seed=0)
    bare = plain.losses(images, targets, knob_table(2, **whole), seed=0)
    assert torch.equal(mixed["class"][0], bare["class"][0])
    assert mixed["class"][1].item() == pytest.approx((0.75 * bare["class"] + 0.25 * full["class"])[1].item())
    assert torch.equal(full["box"], bare["box"])
    assert not torch.equal(full["class"], bare["class"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reward": "ap5"}, "unknown reward 'ap5'"),
        ({"reward": "ap", "reward_samples": 1}, "reward_samples is 1: expected 2 to 1024 rankings"),
        ({"loss": "rank_sort", "blend_with": "bce", "reward": "ap"}, "blend_with is 'bce' with reward 'ap'"),
        ({"loss": "torchvision", "reward": "ap"}, "reward='ap' given with loss 'torchvision'"),
    ],
)
def test_what_contradicts_itself_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Objective(**settings)  # type: ignore[arg-type]


def test_torchvisions_detectors_are_refused() -> None:
    with pytest.raises(ConfigError, match="reward 'ap' with detector 'fcos_resnet18': expected a detector whose"):
        build_detector("fcos_resnet18", Objective(reward="ap"), classes=3, size=SIZE)
    with pytest.raises(ConfigError, match="replace_class_loss got an Objective with reward 'ap'"):
        replace_class_loss(torch.nn.Linear(1, 1), Objective(reward="ap"))
