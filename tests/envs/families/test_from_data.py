"""A data set of one's own becomes instances: any layout, no image in two splits, crops that show objects."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mapopt.data import ShapesConfig, make_shapes, write_coco
from mapopt.data.layouts import read_part
from mapopt.envs.families import FromDataFamily, Instance
from mapopt.errors import ConfigError, DataError

SETTINGS: dict[str, Any] = {"images": (24, 8, 16), "size": 48, "crop": (0.4, 0.8), "count": 3}


def sources(instance: Instance) -> list[Counter[str]]:
    """Returns, for train, val and test, how many crops each source image gave."""
    return [
        Counter(name.split("#")[0] for name in images.annotations.file_names)
        for _, images in instance.task.splits.named()
    ]


def crop_fraction(instance: Instance) -> float:
    match = re.search(r"crops of ([\d.]+) of the shorter side", str(instance))
    assert match is not None
    return float(match[1])


@pytest.mark.parametrize("layout", ["coco", "voc", "yolo"])
def test_every_layout_gives_the_same_crops(layout: str, data: Path, write_data: Any, tmp_path: Path) -> None:
    folder = write_data(tmp_path / "data", layout)
    theirs = FromDataFamily(path=data, **SETTINGS).instance(1).task.splits
    for (_, ours), (_, expected) in zip(
        FromDataFamily(path=folder, **SETTINGS).instance(1).task.splits.named(), theirs.named(), strict=True
    ):
        # YOLO's fractions round a box by a billionth of a pixel, which may move a crop and round a byte the other way.
        assert (ours.pixels.int() - expected.pixels.int()).abs().max() <= (layout == "yolo")
        assert np.allclose(
            np.sort(ours.annotations.boxes, axis=0), np.sort(expected.annotations.boxes, axis=0), atol=1e-6
        )
        assert ours.annotations.category_names == expected.annotations.category_names or layout == "voc"


def test_a_coco_file_is_a_data_set(data: Path) -> None:
    ours, folder = (FromDataFamily(path=path, **SETTINGS).instance(0) for path in (data / "train.json", data))
    for (_, images), (_, theirs) in zip(ours.task.splits.named(), folder.task.splits.named(), strict=True):
        assert images.fingerprint == theirs.fingerprint


def test_a_path_may_be_text(data: Path) -> None:
    assert FromDataFamily(path=str(data), **SETTINGS) == FromDataFamily(path=data, **SETTINGS)  # type: ignore[arg-type]


def test_no_source_image_is_in_two_splits_of_anything(data: Path) -> None:
    used: dict[str, set[str]] = {}
    for split in ("train", "eval"):
        family = FromDataFamily(path=data, split=split, **SETTINGS)  # type: ignore[arg-type]
        used[split] = set()
        for number in range(3):
            parts = [set(part) for part in sources(family.instance(number))]
            assert sum(len(part) for part in parts) == len(set().union(*parts))
            used[split] |= set().union(*parts)
    assert not used["train"] & used["eval"]
    assert len(used["train"] | used["eval"]) <= 20


def test_another_seed_divides_the_images_otherwise(data: Path) -> None:
    first, second = (FromDataFamily(path=data, seed=seed, **SETTINGS).instance(0) for seed in (0, 1))
    assert set(sources(first)[0]) != set(sources(second)[0])


def test_every_crop_shows_an_object_where_none_may_be_empty(data: Path) -> None:
    family = FromDataFamily(path=data, empty=0.0, visible=1.0, **SETTINGS)
    for number in range(3):
        instance = family.instance(number)
        for _, images in instance.task.splits.named():
            whole = images.annotations.images[~images.annotations.crowd]
            assert len(np.unique(whole)) == len(images)
        assert "0% of train crops empty" in str(instance)
        assert all(max(part.values()) <= 8 for part in sources(instance))


def test_images_without_objects_give_no_more_than_their_fraction_of_crops(write_data: Any, tmp_path: Path) -> None:
    folder = write_data(tmp_path / "data", count=40)
    whole = read_part(folder)
    bare = whole.keep(whole.images < 20)
    write_coco(bare, folder / "train.json")
    family = FromDataFamily(path=folder, empty=0.25, **{**SETTINGS, "images": (40, 8, 8)})
    instance = family.instance(0)
    train = instance.task.splits.train.annotations
    empty = 40 - len(np.unique(train.images[~train.crowd]))
    assert 0 < empty <= 10
    assert f"{empty / 40:.0%} of train crops empty" in str(instance)
    without = {name for position, name in enumerate(whole.file_names) if position >= 20}
    assert without & set(sources(instance)[0])


def test_crops_are_as_large_as_the_description_says(data: Path) -> None:
    fractions = set()
    family = FromDataFamily(path=data, empty=0.0, visible=0.0, **{**SETTINGS, "count": 6})
    for number in range(6):
        instance = family.instance(number)
        fraction = crop_fraction(instance)
        fractions.add(fraction)
        # Objects have 12 to 40 of 96 pixels, so none that is whole is larger in the crop than this.
        boxes = instance.task.splits.train.annotations.boxes
        sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
        assert sides.max() <= min(48, 40 * 48 / (96 * (fraction - 0.005))) + 1e-6
        assert sides.max() > 30 * 48 / (96 * (fraction + 0.005))
    assert len(fractions) > 3
    assert 0.4 <= min(fractions) < max(fractions) <= 0.8


def test_objects_larger_than_a_crop_are_passed_over(tmp_path: Path, write_data: Any) -> None:
    folder = write_data(tmp_path / "data", object_size=(12.0, 90.0), objects=(3, 8), occlusion=0.5)
    instance = FromDataFamily(path=folder, visible=0.9, empty=0.0, **{**SETTINGS, "crop": (0.4, 0.4)}).instance(0)
    for _, images in instance.task.splits.named():
        true = images.annotations
        assert len(np.unique(true.images[~true.crowd])) == len(images)
        assert true.crowd.any()


def test_too_few_images_are_refused_with_the_number_that_is_enough(tmp_path: Path, write_data: Any) -> None:
    settings = {**SETTINGS, "empty": 0.0, "eval_fraction": 0.5}
    folder = write_data(tmp_path / "few", count=10)
    with pytest.raises(DataError, match=r"of 10 images, 5 are for training .* 6 are needed \(about 12 in all\)"):
        FromDataFamily(path=folder, **settings)
    assert FromDataFamily(path=folder, crops_per_image=12, **settings).instance(0)
    assert FromDataFamily(path=write_data(tmp_path / "enough", count=12), **settings).instance(0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop": (0.0, 0.5)}, "crop is .* from 0.01 to 1"),
        ({"size": 8}, "size is 8. Expected a whole number from 16 to 2048"),
        ({"visible": 1.1}, "visible is 1.1. Expected a number from 0 to 1"),
        ({"empty": 1.0}, "empty is 1.0. Expected a number from 0 to 0.95"),
        ({"eval_fraction": 0}, "eval_fraction is 0. Expected a number from 0.05 to 0.95"),
        ({"crops_per_image": 0}, "crops_per_image is 0. Expected a whole number from 1"),
        ({"seed": -1}, "seed is -1. Expected a whole number from 0"),
        ({"path": 3}, "path is 3: expected the path"),
        ({"part": "tune"}, "unknown set of a folder 'tune'. Known: test, train, val"),
    ],
)
def test_wrong_settings_are_refused(data: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FromDataFamily(**{"path": data, **SETTINGS, **settings})


def test_a_folder_that_cannot_be_used_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        FromDataFamily(path=tmp_path / "nowhere", **SETTINGS)
    with pytest.raises(DataError, match="no data set of a known layout"):
        FromDataFamily(path=tmp_path, **SETTINGS)
    with pytest.raises(DataError, match=r"has no test set. Name one that is there: train"):
        FromDataFamily(path=data, part="test", **SETTINGS)
    with pytest.raises(ConfigError, match=r"train.json: is one set, and its test part is asked for"):
        FromDataFamily(path=data / "train.json", part="test", **SETTINGS)


def test_only_the_part_that_is_named_is_read(tmp_path: Path, write_data: Any) -> None:
    folder = write_data(tmp_path / "data")
    (folder / "train.json").rename(folder / "val.json")
    other = make_shapes(ShapesConfig(), seed=0, count=2).annotations
    write_coco(other, folder / "train.json")
    names = {name for part in sources(FromDataFamily(path=folder, part="val", **SETTINGS).instance(0)) for name in part}
    assert not names & set(other.file_names)


def test_blood_cells_become_instances(blood_cells: Path) -> None:
    train, evaluated = (
        FromDataFamily(path=blood_cells, split=split, images=(32, 16, 16), count=2).instance(0)  # type: ignore[arg-type]
        for split in ("train", "eval")
    )
    assert "bccd (train set)" in str(train)
    assert train.task.classes == 3
    assert not set().union(*sources(train)) & set().union(*sources(evaluated))
    assert train.task.splits.train.annotations.counts[0] > 20
