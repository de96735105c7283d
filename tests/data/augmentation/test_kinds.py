"""Every kind of augmentation, alone and with all others: boxes stay with their pixels, and too little is dropped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as v2

from mapopt.data import ImageSet
from mapopt.data.augmentation.geometry import homography, warp
from mapopt.data.augmentation.looks import blur, fill, hole, turn_hue
from mapopt.data.augmentation.mixing import MOSAIC_NUMBERS, blend, mosaic, paste_objects
from mapopt.data.augmentation.pictures import Objects, Picture, area
from mapopt.data.augmentation.settings import KINDS, Augmentation

Sampler = Callable[..., tuple[torch.Tensor, list[np.ndarray], list[np.ndarray]]]

EACH = {
    "flip": {"flip": 0.5},
    "flip_vertical": {"flip_vertical": 0.5},
    "quarter_turns": {"quarter_turns": 0.8},
    "rotate": {"rotate": 40},
    "scale": {"scale": 2.0},
    "perspective": {"perspective": 0.5},
    "brightness": {"brightness": 0.3},
    "contrast": {"contrast": 0.3},
    "saturation": {"saturation": 0.4},
    "hue": {"hue": 0.03},
    "noise": {"noise": 8},
    "blur": {"blur": 1.0},
    "mosaic": {"mosaic": 1.0},
    "mixup": {"mixup": 1.0},
    "copy_paste": {"copy_paste": 1.0},
    "cut_out": {"cut_out": 1.0},
    "transform": {"transform": "torchvision.transforms.v2:RandomVerticalFlip"},
}
"""Settings that turn each kind on."""

ALL = {name: value for settings in EACH.values() for name, value in settings.items()}
ALL |= {"mosaic": 0.5, "mixup": 0.3, "copy_paste": 0.5, "cut_out": 0.5, "rotate": 20, "perspective": 0.2, "noise": 4}


def lit(images: torch.Tensor, level: float = 40) -> torch.Tensor:
    """Returns where images are red, which neither gray nor noise is."""
    return images[..., 0, :, :] - images[..., 1:, :, :].amax(-3) > level


def inside(boxes: np.ndarray, size: tuple[int, int], margin: float) -> np.ndarray:
    """Returns which pixels have their center in a box, or so near to it."""
    y, x = (np.arange(side)[:, None, None] + 0.5 for side in size)
    x, y = x.reshape(1, -1, 1), y.reshape(-1, 1, 1)
    x1, y1, x2, y2 = boxes.T
    near = (x > x1 - margin) & (x < x2 + margin) & (y > y1 - margin) & (y < y2 + margin)
    return near.any(-1)


def test_every_kind_is_tried_below() -> None:
    assert set(EACH) == set(KINDS)
    for name, settings in EACH.items():
        assert Augmentation(**settings).kinds == (name,)


@pytest.mark.parametrize("kinds", [*EACH.values(), ALL], ids=[*EACH, "all"])
def test_a_marked_pixel_in_a_box_stays_in_it(kinds: dict[str, float], scenes: ImageSet, sampler: Sampler) -> None:
    # Nothing is dropped but what is smaller than a pixel, so every red pixel is in a box.
    images, boxes, _ = sampler(scenes, Augmentation(**kinds, min_visible=0.0), count=48)
    # At the edge of a rectangle that grows, interpolation gives half of its color.
    marked = lit(images, 130 if list(kinds) == ["scale"] else 40).numpy()
    margin = 0.6 + 2.0 * kinds.get("blur", 0)
    stray = [int((own & ~inside(box, scenes.size, margin)).sum()) for own, box in zip(marked, boxes, strict=True)]
    assert max(stray) <= 4, stray
    assert marked.sum() > 2000


@pytest.mark.parametrize("name", [
    "flip", "flip_vertical", "quarter_turns", "rotate", "scale", "perspective", "mosaic", "copy_paste", "transform",
])  # fmt: skip
def test_a_box_is_no_larger_than_what_is_in_it(name: str, scenes: ImageSet, sampler: Sampler) -> None:
    images, boxes, _ = sampler(scenes, Augmentation(**EACH[name]), count=24)
    checked = 0
    for image, own in zip(lit(images).numpy(), boxes, strict=True):
        for x1, y1, x2, y2 in own:
            high, wide = np.nonzero(image[max(0, int(y1 - 0.5)) : int(y2 + 1.5), max(0, int(x1 - 0.5)) : int(x2 + 1.5)])
            wide, high = wide + max(0, int(x1 - 0.5)), high + max(0, int(y1 - 0.5))
            if min(x2 - x1, y2 - y1) < 5:
                continue  # what is so small is blurred away by resampling
            seen = (wide.min(), high.min(), wide.max() + 1, high.max() + 1)
            assert np.allclose(seen, (x1, y1, x2, y2), atol=1.6), (seen, (x1, y1, x2, y2))
            checked += 1
    assert checked > 30


@pytest.mark.parametrize("name", EACH)
def test_a_kind_changes_samples_and_labels_go_with_their_boxes(name: str, sampler: Sampler, scenes: ImageSet) -> None:
    plain, changed = sampler(scenes, Augmentation()), sampler(scenes, Augmentation(**EACH[name]))
    assert not torch.equal(plain[0], changed[0])
    for boxes, labels in zip(*changed[1:], strict=True):
        assert len(boxes) == len(labels)
        assert set(labels) <= {0, 1}
    if name in ("mosaic", "mixup", "copy_paste"):
        assert any(len(set(labels)) == 2 for labels in changed[2]), "objects of other images are there"
    else:
        assert all(len(set(labels)) <= 1 for labels in changed[2])


def test_boxes_that_keep_too_little_are_dropped(scenes: ImageSet, sampler: Sampler) -> None:
    counts = []
    for minimum in (0.0, 0.3, 0.7, 1.0):
        _, boxes, _ = sampler(scenes, Augmentation(scale=2.0, mosaic=1.0, cut_out=1.0, min_visible=minimum), count=48)
        counts.append(sum(map(len, boxes)))
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[1] > counts[3]


# The fractions of a box


def objects(*boxes: tuple[float, float, float, float]) -> Objects:
    count = len(boxes)
    return Objects.whole(np.array(boxes), np.zeros(count, np.int64), np.zeros(count, bool))


def test_the_fractions_that_several_kinds_leave_multiply() -> None:
    own = objects((0, 0, 10, 10), (20, 0, 30, 10))
    half = own.covered((5, 0, 10, 10), minimum=0.3)
    assert half.left.tolist() == [0.5, 1.0]
    assert half.covered((0, 0, 5, 4), minimum=0.3).left.tolist() == pytest.approx([0.4, 1.0])
    assert len(half.covered((0, 0, 5, 10), minimum=0.3)) == 1
    assert len(own.clipped(own.boxes - (7.5, 0, 7.5, 0), (0, 0, 32, 32), minimum=0.3)) == 1


def test_of_a_box_a_pixel_has_to_be_left() -> None:
    own = objects((0, 0, 10, 10), (0, 0, 4, 4))
    assert len(own.clipped(own.boxes - (9, 0, 9, 0), (0, 0, 32, 32), minimum=0.0)) == 1


def test_a_rectangle_that_hides_nothing_changes_nothing() -> None:
    own = objects((0, 0, 10, 10), (3, 3, 3.5, 3.5))
    assert own.covered((20, 20, 30, 30), minimum=0.3) is own


# Single kinds beside torchvision's


def picture(size: tuple[int, int], *boxes: tuple[float, float, float, float], seed: int = 0) -> Picture:
    height, width = size
    pixels = torch.randint(0, 256, (3, *size), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)
    return Picture(pixels, objects(*(boxes or ((2, 3, 12, 9),))), (width, height))


def moved(own: Picture, given: Augmentation, kind: str, numbers: list[float]) -> Picture:
    matrix = homography(given, {kind: np.array(numbers)}, {kind: True}, own.size)
    assert matrix is not None
    return warp(own, matrix, minimum=0.0)


@pytest.mark.parametrize("size", [(24, 24), (20, 30)], ids=str)
def test_a_vertical_flip_is_torchvisions_to_the_bit(size: tuple[int, int]) -> None:
    own = picture(size)
    flipped = moved(own, Augmentation(flip_vertical=1), "flip_vertical", [0.0])
    assert torch.equal(flipped.pixels, v2.vertical_flip(own.pixels))
    assert np.allclose(flipped.objects.boxes, [[2, size[0] - 9, 12, size[0] - 3]])


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_quarter_turn_of_a_square_is_exact(turns: int) -> None:
    own = picture((24, 24))
    turned = moved(own, Augmentation(quarter_turns=1), "quarter_turns", [0.0, (turns - 0.5) / 3])
    assert torch.equal(turned.pixels, torch.rot90(own.pixels, -turns, (1, 2)))
    marks = torch.zeros(24, 24)
    marks[3:9, 2:12] = 1
    there = torch.rot90(marks, -turns, (0, 1)).nonzero()
    low, high = there.min(0).values.tolist(), (there.max(0).values + 1).tolist()
    assert np.allclose(turned.objects.boxes, [[low[1], low[0], high[1], high[0]]])


def test_a_quarter_turn_of_a_frame_that_is_not_square_keeps_all_of_the_image() -> None:
    own = picture((20, 40), (0, 0, 40, 20))
    turned = moved(own, Augmentation(quarter_turns=1), "quarter_turns", [0.0, 0.0])
    assert np.allclose(turned.objects.boxes, [[15, 0, 25, 20]])
    assert turned.objects.left.tolist() == pytest.approx([1.0])


def test_a_rotation_is_torchvisions() -> None:
    own = picture((24, 24))
    turned = moved(own, Augmentation(rotate=30), "rotate", [0.0, 0.75])
    theirs = v2.rotate(own.pixels, -15.0, interpolation=v2.InterpolationMode.BILINEAR, fill=[114.0] * 3)
    within = v2.rotate(torch.ones(1, 24, 24), -15.0, interpolation=v2.InterpolationMode.BILINEAR)[0] == 1
    difference = (turned.pixels.float() - theirs.float()).abs()
    assert within.sum() > 300
    assert difference[:, within].max() <= 1, "but for rounding, and for the edge"
    outside = v2.rotate(torch.ones(1, 24, 24), -15.0, interpolation=v2.InterpolationMode.BILINEAR)[0] == 0
    assert (turned.pixels[:, outside] == 114).all()


def test_perspective_moves_corners_where_torchvision_moves_them() -> None:
    own = picture((24, 32))
    numbers = np.array([0.0, 0.1, 0.9, 0.4, 0.2, 0.7, 0.3, 0.5, 0.6])
    warped = moved(own, Augmentation(perspective=0.5), "perspective", numbers.tolist())
    start = np.array([[0, 0], [32, 0], [32, 24], [0, 24]])
    inwards = 0.25 * numbers[1:].reshape(4, 2) * (32, 24) * ((1, 1), (-1, 1), (-1, -1), (1, -1))
    corners = [moved_corner.tolist() for moved_corner in (start, start + inwards)]
    theirs = v2.perspective(own.pixels, *corners, fill=[114.0] * 3)
    within = v2.perspective(torch.ones(1, 24, 32), *corners)[0] == 1
    assert within.sum() > 300
    assert (warped.pixels.float() - theirs.float())[:, within].abs().max() <= 1


def test_the_edge_of_a_rotated_image_is_no_darker_than_what_it_is_between() -> None:
    own = replace(picture((24, 24)), pixels=torch.full((3, 24, 24), 200, dtype=torch.uint8))
    turned = moved(own, Augmentation(rotate=30), "rotate", [0.0, 0.75])
    assert turned.pixels.min() == 114


def test_numbers_in_the_middle_move_nothing() -> None:
    own = picture((24, 24))
    still = moved(own, Augmentation(rotate=30), "rotate", [0.0, 0.5])
    assert torch.equal(still.pixels, own.pixels)
    assert np.allclose(still.objects.boxes, own.objects.boxes)


def test_a_mosaic_has_a_crop_of_every_image_and_no_gray() -> None:
    four = [replace(picture((40, 60)), pixels=torch.full((3, 40, 60), 50 * value, dtype=torch.uint8))
            for value in range(1, 5)]  # fmt: skip
    for seed in range(20):
        numbers = np.random.default_rng(seed).uniform(size=MOSAIC_NUMBERS)
        made = mosaic(four, numbers, zoom=1.0, minimum=0.3)
        assert set(made.pixels.unique().tolist()) == {50, 100, 150, 200}
        corners = {int(made.pixels[0, y, x]) for y in (0, -1) for x in (0, -1)}
        assert len(corners) == 4


def test_a_mosaic_of_an_image_that_fills_its_frame_in_part_shows_no_padding() -> None:
    narrow = picture((40, 60))
    narrow.pixels[:, :, 20:] = 255
    narrow.pixels[:, :, :20] = 10
    made = mosaic([replace(narrow, content=(20, 40))] * 4, np.full(MOSAIC_NUMBERS, 0.6), zoom=0.1, minimum=0.3)
    assert made.pixels.unique().tolist() == [10]


def test_pasted_objects_cover_what_is_behind_them() -> None:
    own, other = picture((40, 40), (5, 5, 15, 15)), picture((40, 40), (10.5, 10.2, 20.9, 20.5), seed=1)
    # One object, to the place of the first: with these numbers its rectangle begins at (5, 5).
    numbers = np.array([0.0, 0.0, 5.5 / 30, 5.5 / 30, 0.9, 0.9, 0.9])
    made = paste_objects(own, other, numbers, minimum=0.3)
    assert torch.equal(made.pixels[:, 5:16, 5:16], other.pixels[:, 10:21, 10:21])
    assert np.allclose(made.objects.boxes, [[5.5, 5.2, 15.9, 15.5]]), "the hidden object is gone"
    outside = torch.ones(40, 40, dtype=torch.bool)
    outside[5:16, 5:16] = False
    assert torch.equal(made.pixels[:, outside], own.pixels[:, outside])
    assert not torch.equal(made.pixels, own.pixels)


def test_crowds_are_not_pasted_and_nothing_is_without_objects() -> None:
    own, empty = picture((40, 40)), replace(picture((40, 40)), objects=objects((0, 0, 5, 5)).select(np.array([False])))
    crowd = replace(own.objects, crowd=np.array([True]))
    for other in (empty, replace(own, objects=crowd)):
        made = paste_objects(own, other, np.full(7, 0.5), minimum=0.3)
        assert torch.equal(made.pixels, own.pixels)
        assert len(made.objects) == 1


def test_a_blend_is_the_weighted_mean_and_keeps_all_boxes() -> None:
    first, other = picture((8, 8), (0, 0, 2, 2)), picture((8, 8), (4, 4, 8, 8), seed=5)
    made = blend(first, other, 0.25)
    expected = (0.75 * first.pixels.float() + 0.25 * other.pixels.float()).round()
    assert (made.pixels.float() - expected).abs().max() <= 1
    assert len(made.objects) == 2
    assert torch.equal(blend(first, other, 0.0).pixels, first.pixels)


def test_hue_and_blur_are_torchvisions() -> None:
    own = picture((24, 24)).pixels
    assert torch.equal(turn_hue(own, 0.1), v2.adjust_hue(own, 0.1))
    assert torch.equal(blur(own, 1.5), v2.gaussian_blur(own, [11, 11], [1.5, 1.5]))
    assert blur(own, 0.01) is own
    assert blur(picture((4, 30)).pixels, 8.0).shape == (3, 4, 30), "no further than the image can be mirrored"


def test_a_hole_is_inside_and_as_large_as_asked() -> None:
    for seed in range(50):
        x1, y1, x2, y2 = hole(np.random.default_rng(seed).uniform(size=4), 0.6, (20, 50))
        assert 0 <= x1 < x2 <= 50
        assert 0 <= y1 < y2 <= 20
        assert 10 <= x2 - x1 <= 30
        assert 4 <= y2 - y1 <= 12
    filled = fill(torch.zeros(3, 20, 50), (3, 4, 7, 9), 114.0)
    assert (filled[:, 4:9, 3:7] == 114).all()
    assert filled.sum() == 114 * 3 * 5 * 4


def test_the_area_of_boxes() -> None:
    assert area(np.array([[1.0, 2.0, 4.0, 8.0]])).tolist() == [18.0]
