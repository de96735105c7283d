"""Augmentation: boxes move with their pixels, operations are torchvision's, draws belong to their samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as v2

from mapopt.data.augmentation.always import Draw, augment_boxes, augment_images, augment_together, draw, visible


def still(count: int) -> Draw:
    return draw(0, 0, count, 0.0)


def pictures(count: int, size: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(1)).to(torch.uint8)


def test_strength_zero_changes_no_bit() -> None:
    images = pictures(5)
    assert torch.equal(augment_images(images, still(5)), images.float())
    boxes = torch.rand(5, 3, 4) * 10
    torch.testing.assert_close(augment_boxes(boxes, still(5), (32, 32)), boxes, rtol=0, atol=1e-5)


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("size", [(48, 48), (21, 54)], ids=str)
def test_image_by_image_is_the_batch_together_to_rounding(strength: float, size: tuple[int, int]) -> None:
    images = torch.randint(0, 256, (60, 3, *size), generator=torch.Generator().manual_seed(2)).to(torch.uint8)
    drawn = draw(9, 0, 60, strength)
    torch.testing.assert_close(augment_images(images, drawn), augment_together(images, drawn), rtol=0, atol=0.01)
    torch.testing.assert_close(augment_images(images.float(), drawn), augment_images(images, drawn), rtol=0, atol=0)


def test_an_image_is_augmented_the_same_in_any_batch() -> None:
    images, drawn = pictures(30), draw(9, 0, 30, 0.7)
    part = Draw(**{name: value[11:13] for name, value in vars(drawn).items()})
    assert torch.equal(augment_images(images, drawn)[11:13], augment_images(images[11:13], part))


def test_a_strong_reduction_takes_every_pixel_into_account() -> None:
    images, drawn = pictures(3), replace(still(3), scale=torch.tensor([0.11, 0.25, 0.4]))
    torch.testing.assert_close(augment_images(images, drawn), augment_together(images, drawn), rtol=0, atol=0.01)


def test_a_draw_belongs_to_its_sample_and_not_to_its_batch() -> None:
    whole, later = draw(7, 100, 20, 0.8), draw(7, 110, 10, 0.8)
    for name in vars(whole):
        assert torch.equal(getattr(whole, name)[10:], getattr(later, name))
    assert not torch.equal(draw(8, 100, 20, 0.8).scale, whole.scale)


def test_strength_changes_how_far_and_never_which_way() -> None:
    weak, strong = draw(3, 0, 200, 0.2), draw(3, 0, 200, 1.0)
    assert torch.equal((weak.scale > 1), (strong.scale > 1))
    assert ((strong.scale.log2().abs() - 5 * weak.scale.log2().abs()).abs() < 1e-4).all()


def test_a_flip_is_torchvisions() -> None:
    images = pictures(3)
    flipped = augment_images(images, replace(still(3), flip=torch.ones(3)))
    torch.testing.assert_close(flipped, v2.horizontal_flip(images).float())


@pytest.mark.parametrize(("name", "operation"), [
    ("brightness", v2.adjust_brightness), ("contrast", v2.adjust_contrast), ("saturation", v2.adjust_saturation),
])  # fmt: skip
@pytest.mark.parametrize("factor", [0.6, 1.4])
def test_colors_change_as_torchvisions_do(name: str, operation: object, factor: float) -> None:
    images = pictures(2)
    ours = augment_images(images, replace(still(2), **{name: torch.full((2,), factor)}))
    theirs = operation(images.float() / 255, factor) * 255  # type: ignore[operator]
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=0.3)


def test_half_scale_is_torchvisions_antialiased_resize_in_a_gray_frame() -> None:
    images = pictures(1)
    ours = augment_images(images, replace(still(1), scale=torch.tensor([0.5])))
    theirs = v2.resize(images.float(), [16, 16], antialias=True)
    torch.testing.assert_close(ours[:, :, 9:23, 9:23], theirs[:, :, 1:15, 1:15], rtol=0, atol=0.5)
    assert (ours[:, :, :7] == 114).all()


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_boxes_move_with_their_pixels(strength: float) -> None:
    images = torch.zeros(40, 3, 64, 64, dtype=torch.uint8)
    images[:, :, 20:40, 24:36] = 255
    boxes = torch.tensor([[24.0, 20.0, 36.0, 40.0]]).expand(40, 1, 4)
    drawn = draw(5, 0, 40, strength)
    plain = replace(drawn, noise=torch.zeros(40), brightness=torch.ones(40), contrast=torch.ones(40))
    plain = replace(plain, saturation=torch.ones(40))
    moved = augment_boxes(boxes, plain, (64, 64))[:, 0]
    for image, box in zip(augment_images(images, plain), moved, strict=True):
        lit = (image[0] > 180).nonzero()
        if len(lit):
            low, high = lit.min(0).values, lit.max(0).values + 1
            box_of_pixels = torch.tensor([low[1], low[0], high[1], high[0]], dtype=torch.float32)
            torch.testing.assert_close(box_of_pixels, box, rtol=0, atol=1.6)


def test_a_box_pushed_out_of_the_frame_is_no_longer_visible() -> None:
    drawn = replace(still(2), shift_x=torch.tensor([0.0, 0.45]))
    before = torch.tensor([[[24.0, 4.0, 30.0, 10.0]], [[24.0, 4.0, 30.0, 10.0]]])
    after = augment_boxes(before, drawn, (32, 32))
    assert visible(before, after, drawn)[:, 0].tolist() == [True, False]


def test_noise_has_the_drawn_standard_deviation_and_differs_between_samples() -> None:
    images = torch.full((2, 3, 64, 64), 128, dtype=torch.uint8)
    drawn = replace(still(2), noise=torch.tensor([10.0, 10.0]), noise_offset=torch.tensor([0.1, 0.7]))
    noisy = augment_images(images, drawn) - 128
    assert noisy.std(dim=(1, 2, 3)).numpy() == pytest.approx(np.array([10.0, 10.0]), rel=0.05)
    assert not torch.equal(noisy[0], noisy[1])


def test_images_larger_than_the_bank_of_noise_get_noise_too() -> None:
    drawn = replace(still(1), noise=torch.tensor([10.0]), noise_offset=torch.tensor([0.9]))
    assert augment_images(torch.full((1, 3, 600, 600), 128, dtype=torch.uint8), drawn).std() > 5


def test_a_draw_stays_what_it_was() -> None:
    # Runs are compared over versions: whatever changes these numbers changes every run.
    expected = {
        "flip": [0.0, 0.0, 1.0, 1.0],
        "scale": [0.9230588674545288, 1.1063846349716187, 1.4700556993484497, 0.9537565112113953],
        "shift_x": [0.03268839418888092, -0.04109596461057663, -0.2320217341184616, 0.010909772478044033],
        "shift_y": [0.01636952906847, -0.051053278148174286, -0.17005889117717743, -0.013525336049497128],
        "brightness": [1.174606442451477, 1.2195844650268555, 1.0363034009933472, 1.0645216703414917],
        "contrast": [0.9327381253242493, 0.9562312960624695, 1.2369928359985352, 1.0460789203643799],
        "saturation": [0.6994040012359619, 1.5724750757217407, 0.5680602788925171, 0.39113205671310425],
        "noise": [11.63680362701416, 8.031133651733398, 7.508754253387451, 0.0],
        "noise_offset": [0.8159568309783936, 0.5327612161636353, 0.26953884959220886, 0.06663359701633453],
    }
    drawn = draw(7, 3, 4, 0.8)
    for name, values in expected.items():
        torch.testing.assert_close(getattr(drawn, name), torch.tensor(values), rtol=1e-6, atol=1e-7)
    assert float(draw(0, 0, 4000, 1.0).flip.mean()) < 0.53  # at full strength every second sample is flipped
