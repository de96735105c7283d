"""Images looked at in tiles: where the tiles lie, which boxes they keep, and that small objects are seen larger."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import mapopt
from mapopt.data import ImageSet, ShapesConfig, Splits, make_shapes, make_shapes_splits
from mapopt.data.pixels import PADDING
from mapopt.errors import ConfigError
from mapopt.postprocessing import Boxes, PostProcessingOptions
from mapopt.training import TrainedDetector
from mapopt.training.tiling import Tiles, tile_boxes, tile_of, whole_of


@pytest.fixture(scope="module")
def splits() -> Splits:
    return make_shapes_splits(ShapesConfig(size=32, object_size=(8.0, 16.0)), seed=0, train=64, val=8, test=8)


@pytest.fixture(scope="module")
def detector(splits: Splits) -> TrainedDetector:
    return mapopt.train(splits, recipe={"batch_size": 8}, images=800, rounds=2, device="cpu").detector


@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.5])
def test_tiles_cover_the_frame_and_end_where_it_ends(overlap: float) -> None:
    tiles, size = Tiles(2, 3, overlap), (32, 48)
    seen = torch.zeros(tiles.frame(size))
    for top, left in tiles.corners(size):
        assert seen[top : top + size[0], left : left + size[1]].shape == size
        seen[top : top + size[0], left : left + size[1]] += 1
    assert (seen > 0).all()
    assert (seen > 1).any() == (overlap > 0)


def test_boxes_of_a_tile_move_to_their_place_and_those_that_its_inner_borders_cut_are_left_out() -> None:
    none = torch.zeros(4, dtype=torch.int64)
    corners = torch.tensor([[0.0, 5, 9, 9], [5, 5, 9, 9], [5, 0, 9, 9], [20, 20, 32, 32]])
    boxes = Boxes(corners, torch.tensor([0.9, 0.8, 0.7, 0.6]), none, none, none)
    # The left tile of two in a row: the frame's own borders cut nothing, its right one does.
    first = tile_boxes(boxes, (0, 0), (32, 32), (32, 52))
    assert first.boxes.tolist() == corners[:3].tolist()
    second = tile_boxes(boxes, (0, 20), (32, 32), (32, 52))
    assert second.boxes.tolist() == [[25, 5, 29, 9], [25, 0, 29, 9], [40, 20, 52, 32]]
    assert second.scores.tolist() == pytest.approx([0.8, 0.7, 0.6])


def test_pixels_of_a_tile_and_of_the_whole_are_those_of_the_images(splits: Splits) -> None:
    images = splits.test
    assert torch.equal(tile_of(images, (4, 8), (16, 16)).pixels[2:5], images.pixels[2:5][..., 4:20, 8:24])
    small, factor = whole_of(images, (16, 32))
    assert factor == 0.5
    pixels = small.pixels[:]
    assert pixels.shape == (8, 3, 16, 32)
    assert (pixels[..., 16:] == PADDING).all()
    means = images.pixels[:].float().unflatten(-1, (16, 2)).unflatten(-3, (16, 2)).mean((-1, -3))
    assert (pixels[..., :16].float() - means).abs().mean() < 12
    assert torch.equal(small.scale, images.scale * 0.5)


def test_one_tile_is_the_image_seen_twice(detector: TrainedDetector, splits: Splits) -> None:
    plain = detector.candidates(splits.test)
    both = detector.candidates(splits.test, tiles=Tiles(1, 1, 0.2))
    assert torch.equal(both.scores.sort().values, plain.scores.repeat(2).sort().values)
    options = {"soft_nms_sigma": 0.0, "nms_iou": 0.5}
    alone, tiled = (
        detector.predict(splits.test.pixels[:], options=PostProcessingOptions(**options, tiles=tiles))
        for tiles in (None, (1, 1))
    )
    for first, second in zip(alone, tiled, strict=True):
        assert torch.equal(first["boxes"], second["boxes"])
        assert torch.equal(first["scores"], second["scores"])


def test_objects_that_are_small_in_a_large_image_are_found_in_its_tiles(detector: TrainedDetector) -> None:
    # Objects of the size that the detector knows, in images of more than twice its side.
    large = make_shapes(ShapesConfig(size=57, object_size=(8.0, 16.0), objects=(3, 6)), seed=5, count=24)
    small = ImageSet(
        large.annotations,
        (32, 32),
        whole_of(large, (32, 32))[0].pixels[:],
        large.scale * whole_of(large, (32, 32))[1],
    )
    assert Tiles(2, 2, 0.2).frame(detector.size) == (58, 58)
    padded = torch.nn.functional.pad(large.pixels[:], (0, 1, 0, 1), value=PADDING)
    framed = ImageSet(large.annotations, (58, 58), padded, large.scale)
    plain = detector.evaluate(small)
    tiled = detector.evaluate(framed, options=PostProcessingOptions(tiles=(2, 2)))
    assert tiled.ap > plain.ap + 0.02


def test_a_file_is_read_at_the_size_of_the_frame(detector: TrainedDetector, tmp_path: Path) -> None:
    from PIL import Image

    scene = make_shapes(ShapesConfig(size=58, object_size=(8.0, 16.0), objects=(4, 6)), seed=7, count=1)
    Image.fromarray(scene.pixels[0].permute(1, 2, 0).numpy()).save(tmp_path / "scene.png")
    options = PostProcessingOptions(tiles=(2, 2))
    (prediction,) = detector.predict(tmp_path / "scene.png", options=options)
    same = detector.detect(scene, detector.choose(options)[0], tiles=Tiles(2, 2, 0.2))
    order = np.argsort(-same.scores, kind="stable")
    assert np.allclose(prediction["scores"].numpy(), same.scores[order], atol=1e-6)
    assert prediction["boxes"].max() <= 58


def test_what_does_not_fit_tiles_is_said(detector: TrainedDetector, splits: Splits) -> None:
    with pytest.raises(ConfigError, match=r"tiles is \(0, 2\): expected rows and columns from 1 to 64"):
        PostProcessingOptions(tiles=(0, 2))
    with pytest.raises(ConfigError, match=r"tile_overlap is 0\.95: expected 0 to 0\.9"):
        PostProcessingOptions(tiles=(2, 2), tile_overlap=0.95)
    with pytest.raises(ConfigError, match=r"tile_overlap is 0\.5 without tiles: give tiles, such as 2 2"):
        PostProcessingOptions(tile_overlap=0.5)
    with pytest.raises(ConfigError, match="images of 32 x 32 pixels with 2 x 2 tiles: expected 58 x 58"):
        detector.evaluate(splits.test, options=PostProcessingOptions(tiles=(2, 2)))
