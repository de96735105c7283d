"""The compiled loop of hard and soft suppression gives what the plain one gives, bit for bit."""

from __future__ import annotations

from itertools import chain, pairwise
from types import ModuleType

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou, nms

from mapopt.compiling import load_kernels
from mapopt.postprocessing import plain_kernels
from mapopt.postprocessing.plain_kernels import overlap
from mapopt.postprocessing.suppression import FLOOR


@pytest.fixture
def kernels() -> ModuleType:
    module = load_kernels("mapopt.postprocessing.suppression_kernels")
    assert module is not None
    return module


def draw(seed: int, *, tied: bool, kind: type = np.float32) -> dict[str, np.ndarray]:
    """Groups of 0 to 40 boxes with the settings of four rows, two of them soft; `tied` ones have equal numbers."""
    generator = np.random.default_rng(seed)
    sizes = generator.integers(0, 40, 12)
    count = sizes.sum()
    corner = generator.uniform(0, 40, (count, 2))
    boxes = np.concatenate([corner, corner + generator.uniform(3, 25, (count, 2))], 1)
    scores = generator.uniform(0, 1, count) ** 2
    if tied:
        boxes, scores = np.round(boxes / 8) * 8, np.round(scores, 1)
    group = np.repeat(np.arange(len(sizes)), sizes)
    scores = scores[np.lexsort((-scores, group))].astype(kind)
    return {
        "boxes": boxes,
        "scores": scores,
        "bounds": np.append(0, np.cumsum(sizes)),
        "rows": generator.integers(0, 4, len(sizes)),
        "nms_iou": np.float64(np.float32([0.5 if tied else 0.45, 0.7, 0.3, 0.6])),
        "sigma": np.float64(np.float32([0.0, 0.0, 0.3, 0.02])),
        "thresholds": np.array([0.0, 0.2, 0.1, 0.0], kind),
    }


def suppress(module: ModuleType, problem: dict[str, np.ndarray], lists: tuple[np.ndarray, ...] = ()) -> list:
    """Returns, group by group, what is kept with its final score, in the order of the scores."""
    count, groups = len(problem["scores"]), len(problem["rows"])
    nothing = np.empty(0, np.int64)
    final, kept = np.full(count, -7, problem["scores"].dtype), np.ones(count, np.bool_)
    sequence, counts = np.zeros(count, np.int64), np.zeros(groups, np.int64)
    lists = lists or (nothing, nothing, np.empty(0))
    module.suppress_groups(*problem.values(), FLOOR, *lists, final, kept, sequence, counts)
    ranked = [sequence[first : first + size].tolist() for first, size in zip(problem["bounds"], counts, strict=False)]
    assert sorted(chain(*ranked)) == np.flatnonzero(kept).tolist()
    return [[(place, final[place]) for place in group] for group in ranked]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_compiled_and_plain_kernels_are_the_same(seed: int, tied: bool, kind: type, kernels: ModuleType) -> None:
    problem = draw(seed, tied=tied, kind=kind)
    expected = suppress(plain_kernels, problem)
    assert suppress(kernels, problem) == expected
    assert suppress(kernels, problem, kernels.overlap_lists(problem["boxes"], problem["bounds"])) == expected
    assert 0 < sum(map(len, expected)) < len(problem["scores"])


def test_no_candidates_and_empty_groups_are_no_trouble(kernels: ModuleType) -> None:
    problem = draw(0, tied=False)
    problem |= {"boxes": np.empty((0, 4)), "scores": np.empty(0, np.float32), "bounds": np.zeros(13, np.int64)}
    for module in (kernels, plain_kernels):
        assert suppress(module, problem) == [[]] * 12


def test_lists_of_overlaps_hold_every_pair_of_a_group_largest_first(kernels: ModuleType) -> None:
    problem = draw(3, tied=True)
    boxes, bounds = problem["boxes"], problem["bounds"]
    first, others, ious = kernels.overlap_lists(boxes, bounds)
    for begin, end in pairwise(bounds):
        for place in range(begin, end):
            row = slice(first[place], first[place + 1])
            expected = {
                other: overlap(boxes[place], boxes[other])
                for other in range(begin, end)
                if other != place and overlap(boxes[place], boxes[other]) > 0
            }
            assert dict(zip(others[row].tolist(), ious[row].tolist(), strict=True)) == expected
            assert (np.diff(ious[row]) <= 0).all()


def test_an_overlap_is_torchvisions() -> None:
    import torch

    boxes = draw(1, tied=False)["boxes"]
    pairs = np.array([[overlap(left, right) for right in boxes] for left in boxes])
    assert np.array_equal(pairs, box_iou(torch.from_numpy(boxes), torch.from_numpy(boxes)).numpy())


@pytest.mark.parametrize("way", ["plain", "compiled", "compiled with lists"])
def test_boxes_that_overlap_by_exactly_the_limit_are_both_kept(way: str, kernels: ModuleType) -> None:
    boxes = np.array([[0, 0, 2, 1], [0, 0, 1, 1], [0, 0, 2, 1.5]], float)
    problem = {
        "boxes": boxes[:2],
        "scores": np.array([0.9, 0.8], np.float32),
        "bounds": np.array([0, 2]),
        "rows": np.array([0]),
        "nms_iou": np.array([0.5]),
        "sigma": np.array([0.0]),
        "thresholds": np.array([0.0], np.float32),
    }
    module = plain_kernels if way == "plain" else kernels

    def kept() -> list[int]:
        lists = kernels.overlap_lists(problem["boxes"], problem["bounds"]) if way.endswith("lists") else ()
        return [place for place, _ in suppress(module, problem, lists)[0]]

    assert kept() == [0, 1]
    assert nms(torch.from_numpy(problem["boxes"]), torch.tensor([0.9, 0.8], dtype=torch.float64), 0.5).tolist() == [
        0,
        1,
    ]
    problem["boxes"] = boxes[[0, 2]]  # an overlap of two thirds, above the limit
    assert kept() == [0]
