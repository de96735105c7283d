"""Procedural scenes are functions of (seed, index), and each parameter does what it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mapopt.data import ImageSet, ShapesConfig, make_shapes, make_shapes_splits
from mapopt.data.outlines import CLASSES, CLUTTER, EXTENT, distance_tables, outline_points
from mapopt.data.painting import Layers, paint
from mapopt.errors import ConfigError

PLAIN = ShapesConfig(clutter=0, noise=0)


def test_a_scene_does_not_depend_on_what_else_is_made():
    whole = make_shapes(ShapesConfig(), seed=5, count=150, start=40)
    for start, count in ((40, 3), (101, 7), (189, 1)):
        part = make_shapes(ShapesConfig(), seed=5, count=count, start=start)
        positions = np.arange(start, start + count) - 40
        assert (part.pixels == whole.pixels[positions]).all()
        assert part.annotations.boxes.tolist() == whole.annotations.select(positions).boxes.tolist()
        assert part.annotations.labels.tolist() == whole.annotations.select(positions).labels.tolist()


def test_another_seed_or_index_gives_another_scene():
    first, second = (make_shapes(ShapesConfig(), seed=seed, count=30).pixels for seed in (0, 1))
    pictures = torch.cat([first, second]).flatten(1)
    assert len(torch.unique(pictures, dim=0)) == 60


def test_scenes_are_image_sets_at_scale_one_with_valid_boxes():
    images = make_shapes(ShapesConfig(size=64, classes=len(CLASSES), objects=(3, 9)), seed=0, count=50)
    assert images.size == (64, 64)
    assert images.pixels.shape == (50, 3, 64, 64)
    assert (images.scale == 1).all()
    assert images.annotations.root is None
    assert images.annotations.category_names == CLASSES
    boxes = images.annotations.boxes
    assert boxes.min() >= 0
    assert boxes.max() <= 64


@pytest.mark.parametrize("kind", range(len(CLASSES)))
def test_boxes_are_tight_around_what_is_painted(kind):
    """Scenes with one object and without are distinguished by pixels: what differs must fill the box."""
    config = replace(PLAIN, classes=kind + 1, imbalance=1, objects=(1, 1), object_size=(12.0, 24.0), occlusion=0)
    shown = make_shapes(config, seed=kind, count=120)
    ground = make_shapes(replace(config, objects=(0, 0)), seed=kind, count=120)
    checked = 0
    notes = shown.annotations
    for box, label, image in zip(notes.boxes, notes.labels, notes.images, strict=True):
        if label != kind:
            continue
        checked += 1
        differs = (shown.pixels[image].int() - ground.pixels[image].int()).abs().amax(0).numpy() > 12
        columns, rows = np.flatnonzero(differs.any(0)), np.flatnonzero(differs.any(1))
        painted = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        # A sharp corner covers its last pixel by little, so the painted box may be smaller by that pixel.
        assert np.abs(painted - box).max() < 1.8, (image, painted, box)
    assert checked > 5


def test_every_object_that_is_painted_is_annotated_and_the_reverse():
    config = replace(PLAIN, objects=(1, 8), occlusion=0.5)
    shown = make_shapes(config, seed=1, count=40)
    ground = make_shapes(replace(config, objects=(0, 0)), seed=1, count=40)
    differs = (shown.pixels.int() - ground.pixels.int()).abs().amax(1) > 12
    covered = torch.zeros_like(differs)
    for box, image in zip(shown.annotations.boxes, shown.annotations.images, strict=True):
        left, top, right, bottom = np.floor(box[0]) - 1, np.floor(box[1]) - 1, np.ceil(box[2]) + 1, np.ceil(box[3]) + 1
        window = (slice(max(0, int(top)), int(bottom)), slice(max(0, int(left)), int(right)))
        assert differs[image][window].float().mean() > 0.1
        covered[image][window] = True
    assert not (differs & ~covered).any()


def test_a_scene_has_as_many_objects_as_asked_and_the_first_is_never_lost():
    images = make_shapes(ShapesConfig(objects=(1, 1), clutter=6), seed=0, count=100)
    assert np.bincount(images.annotations.images).tolist() == [1] * 100
    images = make_shapes(ShapesConfig(objects=(2, 4), object_size=(4, 6), occlusion=0.9, clutter=0), seed=0, count=200)
    counts = np.bincount(images.annotations.images, minlength=200)
    assert set(counts.tolist()) == {2, 3, 4}


def test_object_size_bounds_the_larger_side():
    images = make_shapes(ShapesConfig(object_size=(10, 14), occlusion=0), seed=0, count=100)
    sides = (images.annotations.boxes[:, 2:] - images.annotations.boxes[:, :2]).max(axis=1)
    assert sides.min() >= 10 - 1e-9
    assert sides.max() <= 14 + 1e-9
    assert np.ptp(sides) > 3


@pytest.mark.parametrize("imbalance", [1.0, 4.0, 9.0])
def test_imbalance_is_the_ratio_of_the_first_class_to_the_last(imbalance):
    counts = make_shapes(replace(PLAIN, size=32, object_size=(4, 8), imbalance=imbalance), seed=0, count=1500)
    first, middle, last = counts.annotations.counts
    assert first / last == pytest.approx(imbalance, rel=0.2)
    assert first / middle == pytest.approx(imbalance**0.5, rel=0.2)


def discs(middles: list[tuple[float, float]], max_hidden: list[float]) -> Layers:
    """Returns red discs of radius 8, all in one scene and from front to back."""
    count = len(middles)
    middle = np.array(middles, dtype=float)
    return Layers(
        scene=np.zeros(count, dtype=np.int64),
        outline=np.zeros(count, dtype=np.int64),
        boxes=np.concatenate([middle - 8, middle + 8], axis=1),
        origin=middle,
        to_unit=np.tile(np.eye(2) / 8, (count, 1, 1)),
        unit=np.full(count, 8.0),
        color=np.tile([1.0, 0.0, 0.0], (count, 1)),
        light=np.zeros((count, 2)),
        stripes=np.zeros((count, 4)),
        max_hidden=np.array(max_hidden),
    )


@pytest.mark.parametrize(
    ("middle", "hidden"),
    [((24, 16), 0.391), ((32.5, 16), 0.0), ((16, 0), 0.5), ((0, 0), 0.75)],
)
def test_what_would_be_hidden_too_much_is_not_painted_at_all(middle, hidden):
    """A disc's part behind an equal one at half a diameter is 2/3 - sqrt(3)/(2 pi) = 0.391; at the edge, a half."""
    ground = np.zeros((1, 3, 48, 48), dtype=np.float32)
    front = (16, 16) if middle[1] == 16 else (40, 40)
    alone, _ = paint(ground, discs([front], [0.0]), largest=16)
    for allowed in (hidden - 0.05, hidden + 0.02):
        picture, painted = paint(ground, discs([front, middle], [0.0, allowed]), largest=16)
        assert painted.tolist() == [True, allowed > hidden]
        assert (picture == alone).all() != painted[1]


def test_edges_are_as_smooth_as_the_distance_to_them_says():
    picture, _ = paint(np.zeros((1, 3, 48, 48), dtype=np.float32), discs([(20.3, 21.8)], [0.0]), largest=16)
    x, y = np.meshgrid(np.arange(48) + 0.5, np.arange(48) + 0.5)
    distance = np.hypot(x - 20.3, y - 21.8) - 8
    shade = 1 - 0.3 * np.clip(1 + 0.5 * distance, 0, 1)
    error = np.abs(picture[0, 0] - np.clip(0.5 - distance, 0, 1) * shade)
    assert error.max() < 0.2
    assert error.mean() < 0.005


def test_objects_look_for_a_free_place_so_that_few_are_lost():
    images = make_shapes(replace(PLAIN, objects=(6, 6), object_size=(8, 14), occlusion=0.0), seed=4, count=100)
    assert len(images.annotations.ids) > 0.85 * 600


def test_more_occlusion_lets_objects_overlap_more():
    def overlap(occlusion: float) -> float:
        images = make_shapes(replace(PLAIN, objects=(6, 6), occlusion=occlusion), seed=2, count=100)
        boxes, image = images.annotations.boxes, images.annotations.images
        pairs = np.triu(image[:, None] == image, k=1)
        low, high = np.maximum(boxes[:, None, :2], boxes[:, :2]), np.minimum(boxes[:, None, 2:], boxes[:, 2:])
        return float(np.clip(high - low, 0, None).prod(axis=2)[pairs].mean())

    assert overlap(0.0) < 0.5 * overlap(0.4) < 0.5 * overlap(0.8)


def test_noise_has_the_asked_strength_and_moves_nothing_else():
    clean, noisy = (make_shapes(replace(PLAIN, noise=noise), seed=0, count=40) for noise in (0.0, 0.05))
    assert clean.annotations == noisy.annotations
    middle = (clean.pixels > 64) & (clean.pixels < 192)
    difference = (noisy.pixels.float() - clean.pixels.float())[middle] / 255
    assert float(difference.std()) == pytest.approx(0.05, rel=0.02)
    assert abs(float(difference.mean())) < 1e-3


def test_clutter_paints_things_that_are_no_object():
    none, some, much = (make_shapes(replace(PLAIN, clutter=c, objects=(0, 0)), seed=0, count=60) for c in (0, 1, 8))
    assert len(much.annotations.ids) == 0
    changed = [float((other.pixels != none.pixels).any(1).float().mean()) for other in (some, much)]
    assert 0.02 < changed[0] < 0.5 * changed[1]


def rows(images: ImageSet) -> list[tuple[float, ...]]:
    """Returns image, label and box of each object."""
    source = images.annotations
    return list(zip(source.images.tolist(), source.labels.tolist(), *source.boxes.T.tolist(), strict=True))


def test_label_noise_leaves_the_picture_and_spoils_the_asked_fraction():
    clean = make_shapes(ShapesConfig(), seed=0, count=400)
    noisy = make_shapes(ShapesConfig(label_noise=0.3), seed=0, count=400)
    assert (clean.pixels == noisy.pixels).all()
    right, noted = ({*rows(images)} for images in (clean, noisy))
    boxes = {(i, *b) for i, _, *b in right}
    missing = len(right) - len(noted)
    relabeled = sum((i, *b) in boxes for i, _, *b in noted - right)
    shifted = len(noted - right) - relabeled
    for faults in (missing, relabeled, shifted):
        assert faults / len(right) == pytest.approx(0.1, abs=0.025)


def test_label_noise_with_one_class_moves_boxes_only():
    noisy = make_shapes(ShapesConfig(classes=1, label_noise=1.0), seed=0, count=50)
    assert set(noisy.annotations.labels.tolist()) == {0}


def means_by_class(config: ShapesConfig) -> tuple[np.ndarray, np.ndarray]:
    """Returns the classes' mean color and size ``[3, 4]``, and the standard error of each."""
    images = make_shapes(replace(config, objects=(1, 1), clutter=0, noise=0, occlusion=0), seed=0, count=3000)
    boxes, labels = images.annotations.boxes, images.annotations.labels
    x, y = ((boxes[:, :2] + boxes[:, 2:]) / 2).astype(int).T
    color = images.pixels.permute(0, 2, 3, 1).numpy()[images.annotations.images, y, x]
    values = np.concatenate([color, (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True)], axis=1)
    means = np.stack([values[labels == label].mean(axis=0) for label in range(3)])
    return means, values.std(axis=0) / np.sqrt(len(values) / 3)


def test_with_color_off_only_the_outline_tells_the_class():
    means, error = means_by_class(ShapesConfig(color=0))
    assert (np.ptp(means, axis=0) < 4.5 * error).all()


def test_color_tells_classes_apart_as_much_as_asked_and_size_never_does():
    apart = []
    for color in (0.0, 0.4, 0.8):
        means, error = means_by_class(ShapesConfig(color=color))
        assert np.ptp(means[:, 3]) < 4.5 * error[3]
        apart.append(np.ptp(means[:, :3], axis=0).mean())
    assert apart[0] < 10 < 30 < apart[1] < apart[2] - 30


def test_splits_have_no_scene_in_common_and_only_the_train_set_has_label_noise():
    config = ShapesConfig(label_noise=1.0)
    splits = make_shapes_splits(config, seed=0, train=20, val=15, test=25)
    assert [len(images) for _, images in splits.named()] == [20, 15, 25]
    clean = make_shapes_splits(ShapesConfig(), seed=0, train=40, val=15, test=25)
    assert splits.val.fingerprint == clean.val.fingerprint
    assert splits.test.fingerprint == clean.test.fingerprint
    assert (splits.train.pixels == clean.train.pixels[:20]).all()
    assert splits.train.annotations != clean.train.annotations.select(np.arange(20))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"size": 15}, "size is 15. Expected a whole number from 16 to 512"),
        ({"size": 48.5}, "size is 48.5"),
        ({"classes": 13}, "classes is 13. Expected a whole number from 1 to 12"),
        ({"classes": True}, "classes is True"),
        ({"objects": (3, 2)}, "objects is .3, 2.. Expected the lower number first"),
        ({"objects": (1, 41)}, "objects is 41"),
        ({"objects": 3}, "objects is 3. Expected two numbers"),
        ({"object_size": (2, 20)}, "object_size is 2. Expected a number from 4 to 48"),
        ({"object_size": (8, 60)}, "object_size is 60"),
        ({"imbalance": 0.5}, "imbalance is 0.5. Expected a number from 1 to 100"),
        ({"clutter": -1}, "clutter is -1"),
        ({"color": 1.5}, "color is 1.5. Expected a number from 0 to 1"),
        ({"occlusion": 1.0}, "occlusion is 1.0. Expected a number from 0 to 0.9"),
        ({"noise": "high"}, "noise is 'high'"),
        ({"label_noise": float("nan")}, "label_noise is nan"),
    ],
)
def test_a_parameter_of_the_scenes_out_of_range_is_named(parameters, message):
    with pytest.raises(ConfigError, match=message):
        ShapesConfig(**parameters)


@pytest.mark.parametrize("numbers", [{"seed": -1}, {"seed": 2**48}, {"count": 0}, {"start": -1}, {"seed": 1.5}])
def test_a_seed_count_or_start_out_of_range_is_named(numbers):
    with pytest.raises(ConfigError, match=f"{next(iter(numbers))} is {next(iter(numbers.values()))}. Expected"):
        make_shapes(ShapesConfig(), **{"seed": 0, "count": 1, **numbers})


def test_distance_tables_are_zero_on_the_outlines_negative_inside_and_grow_by_one_per_unit():
    cells = 256
    tables, points = distance_tables(cells), outline_points()
    assert len(tables) == len(points) == len(CLASSES) + len(CLUTTER)
    cell = 2 * EXTENT / cells
    for table, outline in zip(tables, points, strict=True):
        column, row = ((outline + EXTENT) / cell).astype(int).T
        assert np.abs(table[row, column]).max() < cell
        assert table.min() < 0 < table[0, 0]
        for axis in (0, 1):
            assert np.abs(np.diff(table, axis=axis)).max() <= 1.0001 * cell
