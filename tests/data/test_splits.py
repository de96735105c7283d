"""Splits that would make results wrong are refused when they are put together."""

from __future__ import annotations

import numpy as np
import pytest

from mapopt.data import ImageSet, ShapesConfig, Splits, make_shapes
from mapopt.data.splits import divide
from mapopt.errors import DataError

CONFIG = ShapesConfig(size=16, object_size=(4, 8), objects=(1, 2))


def shapes(start: int, config: ShapesConfig = CONFIG) -> ImageSet:
    return make_shapes(config, seed=0, count=4, start=start)


def test_disjoint_sets_pass_and_are_named_in_order():
    splits = Splits(shapes(0), shapes(10), shapes(20), note="a note")
    assert [name for name, _ in splits.named()] == ["train", "val", "test"]
    assert splits.note == "a note"


def test_a_shared_scene_is_found_by_its_pixels():
    with pytest.raises(DataError, match=r"image 'shapes-0-13.png' is in the val and in the test set"):
        Splits(shapes(0), shapes(10), shapes(13))
    with pytest.raises(DataError, match="is in the train and in the test set"):
        Splits(shapes(0), shapes(10), shapes(2))


def test_a_shared_file_is_found_by_its_real_path(make_annotations, write_images, tmp_path):
    write_images(make_annotations(), tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    sets = {}
    for folder, position in (("real", 0), ("link", 0), ("link", 2), ("real", 2)):
        annotations = make_annotations(root=tmp_path / folder).select([position])
        sets[folder, position] = ImageSet.read(annotations, size=(16, 16))
    write_images(make_annotations(), tmp_path / "other")
    other = ImageSet.read(make_annotations(root=tmp_path / "other"), size=(16, 16))
    Splits(sets["real", 0], sets["link", 2], other)
    with pytest.raises(DataError, match=r"image 'a\.png' is in the train and in the val set"):
        Splits(sets["real", 0], sets["link", 0], other)


def test_other_categories_or_another_order_are_refused():
    more = shapes(10, ShapesConfig(size=16, object_size=(4, 8), objects=(1, 2), classes=4))
    with pytest.raises(DataError, match=r"train and val sets are not the same: they differ in ring \(id 4\)"):
        Splits(shapes(0), more, shapes(20))
    source = shapes(10)
    columns = {name: getattr(source.annotations, name) for name in vars(source.annotations)}
    columns |= {"category_ids": [3, 2, 1], "category_names": ("triangle", "box", "disc")}
    swapped = ImageSet(type(source.annotations)(**columns), source.size, source.pixels, source.scale)
    with pytest.raises(DataError, match="the same but in another order"):
        Splits(shapes(0), swapped, shapes(20))


def test_a_set_without_objects_or_of_another_size_is_refused():
    nothing = shapes(10, ShapesConfig(size=16, object_size=(4, 8), objects=(0, 0)))
    with pytest.raises(DataError, match="the val set has 4 images but no object to find"):
        Splits(shapes(0), nothing, shapes(20))
    larger = shapes(10, ShapesConfig(size=32, object_size=(4, 8), objects=(1, 2)))
    with pytest.raises(DataError, match=r"the val set is at \(32, 32\) pixels, the train set at \(16, 16\)"):
        Splits(shapes(0), larger, shapes(20))


@pytest.mark.parametrize("count", [2, 3, 10, 101])
def test_halves_are_disjoint_complete_and_differ_by_seed(count):
    first, second = divide(count, seed=4)
    assert sorted([*first, *second]) == list(range(count))
    assert len(second) - len(first) in (0, 1)
    assert (np.diff(first) > 0).all()
    assert divide(count, seed=4)[0].tolist() == first.tolist()
    assert count < 10 or divide(count, seed=5)[0].tolist() != first.tolist()
