"""An image set is decoded once, at one size, and its targets go back to the original boxes by one factor."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mapopt.data import ImageSet, read_image
from mapopt.errors import ConfigError, DataError


@pytest.fixture
def images(make_annotations, write_images, tmp_path) -> ImageSet:
    annotations = make_annotations(root=tmp_path)
    write_images(annotations, tmp_path)
    return ImageSet.read(annotations, size=(24, 32))


def test_images_are_read_at_one_size_whatever_the_number_of_threads(images):
    assert images.pixels.shape == (3, 3, 24, 32)
    assert images.pixels.dtype == torch.uint8
    assert images.scale.tolist() == pytest.approx([0.8, 0.8, 0.6])
    threaded = ImageSet.read(images.annotations, size=(24, 32), workers=3)
    assert threaded.fingerprint == images.fingerprint


def test_an_image_of_the_asked_size_is_read_as_it_is(images):
    single = ImageSet.read(images.annotations.select([0]), size=(20, 40))
    assert (single.pixels[0] == read_image(images.annotations.root / "a.png")).all()
    assert single.scale.tolist() == [1.0]


def test_targets_are_padded_and_lead_back_to_the_annotations(images):
    targets = images.targets()
    assert targets.boxes.dtype == torch.float32
    assert targets.boxes.shape == (3, 2, 4)
    assert targets.labels.tolist() == [[1, 0], [-1, -1], [1, -1]]
    assert targets.crowd.tolist() == [[False] * 2] * 3
    assert (targets.boxes[targets.labels < 0] == 0).all()
    original = targets.boxes / images.scale[:, None, None]
    assert torch.allclose(original[targets.labels >= 0].double(), torch.tensor(images.annotations.boxes), atol=1e-5)


def test_targets_know_crowds_and_are_clipped_to_the_image(make_annotations):
    annotations = make_annotations(
        boxes=[[-0.3, 2, 11, 20.4], [0, 0, 40, 20], [3, 4, 10, 30]], crowd=[False, True, False]
    )
    pixels = torch.zeros((3, 3, 40, 40), dtype=torch.uint8)
    targets = ImageSet(annotations, (40, 40), pixels, torch.ones(3)).targets()
    assert targets.crowd.tolist() == [[False, True], [False, False], [False, False]]
    assert targets.boxes[0, 0].tolist() == [0, 2, 11, 20]


def test_a_set_without_objects_has_targets_of_padding_only(images):
    empty = ImageSet(images.annotations.keep([]), images.size, images.pixels, images.scale)
    assert empty.targets().labels.tolist() == [[-1]] * 3
    assert empty.targets().boxes.shape == (3, 1, 4)


def test_selection_takes_pixels_scale_and_objects_together(images):
    part = images.select([2, 0])
    assert (part.pixels == images.pixels[[2, 0]]).all()
    assert part.scale.tolist() == images.scale[[2, 0]].tolist()
    assert part.annotations == images.annotations.select([2, 0])
    assert (part.targets().boxes == images.targets().boxes[[2, 0]]).all()
    assert part.fingerprint != images.fingerprint
    assert images.select([True, True, True]).fingerprint == images.fingerprint


def test_the_fingerprint_sees_pixels_and_annotations_but_not_the_folder(images, make_annotations, write_images):
    pixels = images.pixels.clone()
    pixels[2, 1, 3, 3] ^= 1
    assert ImageSet(images.annotations, images.size, pixels, images.scale).fingerprint != images.fingerprint
    for change in ({"area": [1.0, 2.0, 3.0]}, {"crowd": [True, False, False]}, {"category_names": ("x", "y")}):
        other = make_annotations(**change)
        assert ImageSet(other, images.size, images.pixels, images.scale).fingerprint != images.fingerprint
    elsewhere = ImageSet(make_annotations(root=None), images.size, images.pixels, images.scale)
    assert elsewhere.fingerprint == images.fingerprint


def test_missing_images_are_counted_and_the_first_is_named(images):
    for name in ("b.png", "c.png"):
        (images.annotations.root / name).unlink()
    with pytest.raises(DataError, match=r"b\.png: no such image; 2 of 3 images of this set are missing"):
        ImageSet.read(images.annotations, size=(24, 32))


@pytest.mark.parametrize("workers", [0, 2])
def test_damaged_images_and_those_of_another_size_are_named(images, make_annotations, workers):
    root = images.annotations.root
    wrong = make_annotations(root=root, heights=[20, 31, 40])
    with pytest.raises(DataError, match=r"b\.png: is 30 x 30 pixels, but its annotations say 30 x 31"):
        ImageSet.read(wrong, size=(24, 32), workers=workers)
    (root / "c.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"c\.png: "):
        ImageSet.read(images.annotations, size=(24, 32), workers=workers)


def test_settings_and_tensors_that_do_not_fit_are_refused(images, make_annotations):
    for options in ({"size": (0, 32)}, {"size": (24, 32), "workers": -1}):
        with pytest.raises(ConfigError, match="expected positive sizes"):
            ImageSet.read(images.annotations, **options)
    with pytest.raises(DataError, match="no folder of images"):
        ImageSet.read(make_annotations(), size=(24, 32))
    with pytest.raises(DataError, match=r"Expected torch\.uint8 \[3, 3, 24, 32\]"):
        ImageSet(images.annotations, (24, 32), images.pixels[:2], images.scale)
    with pytest.raises(DataError, match="scale must be 3 positive float32"):
        ImageSet(images.annotations, (24, 32), images.pixels, images.scale.double())


def test_boxes_in_columns_survive_a_large_random_set():
    """Padding by counting agrees with the plain loop over objects."""
    from mapopt.data import ShapesConfig, make_shapes

    images = make_shapes(ShapesConfig(objects=(0, 8)), seed=3, count=40)
    order = np.random.default_rng(0).permutation(len(images.annotations.ids))
    shuffled = ImageSet(images.annotations.keep(order), images.size, images.pixels, images.scale)
    targets = shuffled.targets()
    for image in range(40):
        mine = shuffled.annotations.images == image
        expected = shuffled.annotations.boxes[mine].astype(np.float32)
        assert (targets.boxes[image, : mine.sum()].numpy() == expected).all()
        assert targets.labels[image].tolist()[: mine.sum()] == shuffled.annotations.labels[mine].tolist()
