"""Rewards of rankings: those of the evaluator, of all images and without each, written down and compiled."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mapopt.compiling import load_kernels
from mapopt.detectors.objective import REWARDS
from mapopt.detectors.reward.rewards import RECALLS, Ranked, log_probability_gradient, rewards_of, thresholds_of
from mapopt.metrics import Detections, GroundTruth, evaluate

KINDS = {"ap": 0, "ap50": 0, "f1": 1, "lrp": 2}


def pairwise(first: NDArray[np.float64], second: NDArray[np.float64], crowd: NDArray[np.bool_]) -> NDArray[np.float64]:
    corner = np.minimum(first[:, None, 2:], second[None, :, 2:]) - np.maximum(first[:, None, :2], second[None, :, :2])
    inside = corner.clip(min=0).prod(-1)
    area, whole = ((each[:, 2:] - each[:, :2]).prod(-1) for each in (first, second))
    return inside / np.where(crowd[None], area[:, None], area[:, None] + whole[None] - inside)


def draw(seed: int, *, images: int = 4, boxes: int = 40) -> tuple[Ranked, GroundTruth, NDArray[np.float64]]:
    """Draws boxes around objects, some twice and some of them crowds; the last image has no object."""
    generator = np.random.default_rng(seed)
    number = generator.integers(0, 5, images)
    number[0], number[-1] = max(number[0], 1), 0
    width = max(1, int(number.max()))
    corners = generator.integers(0, 50, (images, width, 2))
    objects = np.concatenate([corners, corners + generator.integers(10, 40, (images, width, 2))], -1).astype(np.float64)
    there = np.arange(width) < number[:, None]
    crowd = there & (generator.random((images, width)) < 0.2)
    crowd[0, 0] = False
    of = generator.integers(0, images, boxes)
    near = objects[of, generator.integers(0, width, boxes)] + generator.integers(-4, 5, (boxes, 4))
    near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
    near[1] = near[0]
    of[1] = of[0]
    overlaps = np.full((boxes, width), -1.0)
    for image in range(images):
        rows = np.flatnonzero(of == image)
        overlaps[rows] = np.where(there[image], pairwise(near[rows], objects[image], crowd[image]), -1.0)
    truth = GroundTruth(
        objects[there],
        np.zeros(there.sum(), dtype=np.int64),
        np.nonzero(there)[0],
        crowd=crowd[there],
        images=list(range(images)),
    )
    return Ranked(of, overlaps, crowd, (there & ~crowd).sum(1)), truth, near


@pytest.mark.parametrize("seed", range(8))
def test_the_rewards_of_all_images_are_the_evaluators_ap_and_ap50(seed: int) -> None:
    ranked, truth, boxes = draw(seed)
    order = np.random.default_rng(seed).permutation(len(boxes))
    scores = np.empty(len(boxes))
    scores[order] = np.linspace(0.9, 0.1, len(boxes))
    report = evaluate(truth, Detections(boxes, scores, np.zeros(len(boxes), dtype=np.int64), ranked.images))
    assert rewards_of(ranked, order, "ap")[0] == pytest.approx(report.ap, abs=1e-12)
    assert rewards_of(ranked, order, "ap50")[0] == pytest.approx(report.ap50, abs=1e-12)


def test_f1_and_lrp_are_those_of_the_best_cut() -> None:
    # A hit with an IoU of .8, a false alarm, a hit with .6; three objects are there.
    ranked = Ranked(
        np.array([0, 0, 1]), np.array([[0.8, 0.0], [0.0, 0.1], [0.6, -1.0]]), np.zeros((2, 2), bool), np.array([2, 1])
    )
    order = np.arange(3)
    assert rewards_of(ranked, order, "f1")[0] == pytest.approx(max(2 * 1 / (1 + 3), 2 * 2 / (3 + 3)))
    first, third = (0.4 + 2) / 3, (0.4 + 0.8 + 1 + 1) / 4
    assert rewards_of(ranked, order, "lrp")[0] == pytest.approx(1 - min(1.0, first, third))


@pytest.mark.parametrize("reward", REWARDS)
@pytest.mark.parametrize("seed", range(4))
def test_the_reward_without_an_image_is_that_of_the_others(seed: int, reward: str) -> None:
    ranked, _, _ = draw(seed)
    order = np.random.default_rng(seed).permutation(len(ranked.images))
    rewards = rewards_of(ranked, order, reward)
    for image in range(len(ranked.objects)):
        stays = ranked.images != image
        objects = np.where(np.arange(len(ranked.objects)) == image, 0, ranked.objects)
        others = Ranked(ranked.images[stays], ranked.overlaps[stays], ranked.crowd, objects)
        renumbered = (np.cumsum(stays) - 1)[order[stays[order]]]
        assert rewards[1 + image] == pytest.approx(rewards_of(others, renumbered, reward)[0], abs=1e-12)


@pytest.mark.parametrize("reward", REWARDS)
@pytest.mark.parametrize("seed", range(8))
def test_compiled_rewards_are_those_written_down(seed: int, reward: str) -> None:
    kernels = load_kernels("mapopt.detectors.reward.kernels")
    if kernels is None:
        pytest.skip("numba does not work here")
    ranked, _, _ = draw(seed, boxes=60 if seed else 2)
    generator = np.random.default_rng(seed)
    orders = np.stack([generator.permutation(len(ranked.images)) for _ in range(3)])
    rewards = np.empty((3, 1 + len(ranked.objects)))
    kernels.reward_rankings(
        orders, ranked.images, ranked.overlaps, ranked.crowd, ranked.objects, thresholds_of(reward), KINDS[reward],
        RECALLS, rewards,
    )  # fmt: skip
    expected = np.stack([rewards_of(ranked, order, reward) for order in orders])
    np.testing.assert_allclose(rewards, expected, atol=1e-12)


def test_ap50_pays_for_a_loose_box_what_ap_does_not() -> None:
    ranked = Ranked(np.array([0, 0]), np.array([[0.55], [0.98]]), np.zeros((1, 1), bool), np.array([1]))
    loose, tight = np.array([0, 1]), np.array([1, 0])
    assert rewards_of(ranked, loose, "ap50")[0] == rewards_of(ranked, tight, "ap50")[0] == pytest.approx(1.0)
    assert rewards_of(ranked, loose, "ap")[0] == pytest.approx((2 * 1.0 + 8 * 0.5) / 10)
    assert rewards_of(ranked, tight, "ap")[0] == pytest.approx(1.0)


@pytest.mark.parametrize("draws", [0, 1, 4, 7])
def test_the_gradient_of_a_rankings_log_probability_is_autograds(draws: int) -> None:
    generator = np.random.default_rng(draws)
    scores, order = generator.normal(size=7) * 3, generator.permutation(7)
    leaf = torch.tensor(scores, requires_grad=True)
    total = sum((leaf[order[k]] - leaf[order[k:].copy()].logsumexp(0) for k in range(draws)), leaf.sum() * 0)
    total.backward()
    gradient = log_probability_gradient(scores, order, draws)
    np.testing.assert_allclose(gradient, leaf.grad.numpy(), atol=1e-12)
    assert gradient.sum() == pytest.approx(0.0, abs=1e-12)
    kernels = load_kernels("mapopt.detectors.reward.kernels")
    if kernels is not None:
        compiled = np.zeros(7)
        images, advantages = np.array([0, 1, 0, 1, 1, 0, 0]), np.array([[2.0, -0.5]])
        kernels.add_gradients(scores, order[None], np.array([draws]), images, advantages, compiled)
        np.testing.assert_allclose(compiled, gradient * advantages[0][images], atol=1e-12)
