"""A data set is divided by whole groups, by seed, with every class in its fraction and the rare ones in every set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapopt.data import Annotations, SplitSettings, divide_set, read_sets, source_of, split, write_coco
from mapopt.data.siblings import groups_of
from mapopt.data.stratifying import stratify
from mapopt.errors import ConfigError, DataError


def annotated(counts: np.ndarray, names: list[str] | None = None) -> Annotations:
    """Returns images with so many objects of each class, ``[I, K]``."""
    images, kinds = counts.shape
    owners, labels = (np.repeat(index.ravel(), counts.ravel()) for index in np.indices(counts.shape))
    total = int(counts.sum())
    return Annotations(
        image_ids=np.arange(images),
        file_names=tuple(names or [f"{number}.png" for number in range(images)]),
        widths=np.full(images, 20),
        heights=np.full(images, 20),
        category_ids=np.arange(kinds),
        category_names=tuple(f"kind {number}" for number in range(kinds)),
        boxes=np.tile([1.0, 1.0, 9.0, 9.0], (total, 1)),
        labels=labels,
        images=owners,
        crowd=np.zeros(total, bool),
        area=np.full(total, 64.0),
        ids=np.arange(total),
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(3, 60), st.integers(1, 6), st.integers(2, 3), st.integers(0, 2**31))
def test_a_class_in_as_many_groups_as_there_are_sets_is_in_every_set(groups, kinds, parts, seed):
    generator = np.random.default_rng(seed)
    counts = generator.poisson(generator.exponential(0.5, kinds), (groups, kinds))
    fractions = generator.dirichlet(np.full(parts, 5.0))
    part_of = stratify(counts, np.ones(groups, int), fractions, seed=seed)
    assert set(part_of) <= set(range(parts))
    present = (counts > 0).sum(axis=0)
    # The rarest is served first, so nothing stands in its way.
    rarest = np.argsort(np.where(present > 0, present, groups + 1), kind="stable")[0]
    if present[rarest] >= parts:
        assert all(counts[part_of == part, rarest].sum() for part in range(parts))
    again = stratify(counts, np.ones(groups, int), fractions, seed=seed)
    assert (again == part_of).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_every_class_has_its_fraction_where_there_are_many_images(seed):
    generator = np.random.default_rng(seed)
    counts = generator.poisson([0.2, 1.0, 3.0], (300, 3))
    part_of = stratify(counts, np.ones(300, int), (0.7, 0.2, 0.1), seed=seed)
    for part, fraction in enumerate((0.7, 0.2, 0.1)):
        got = counts[part_of == part].sum(axis=0) / counts.sum(axis=0)
        assert np.abs(got - fraction).max() < 0.05
        assert abs((part_of == part).mean() - fraction) < 0.08


def test_images_of_a_group_are_never_parted():
    generator = np.random.default_rng(0)
    names = [f"photo{number // 3}_jpg.rf.{number:012x}.jpg" for number in range(90)]
    sets, notes = divide_set(annotated(generator.poisson(1.0, (90, 3)), names), SplitSettings(group="source"))
    sources = {name: {source_of(file_name) for file_name in part.file_names} for name, part in sets.items()}
    assert not sources["train"] & sources["val"]
    assert not (sources["train"] | sources["val"]) & sources["test"]
    assert sum(map(len, sets.values())) == 90
    assert "images of one source together, by their names (30 groups)" in notes[0]


def test_the_seed_decides():
    counts = np.random.default_rng(0).poisson(1.0, (40, 3))
    first, same, other = (
        divide_set(annotated(counts), SplitSettings(seed=seed))[0]["val"].file_names for seed in (1, 1, 2)
    )
    assert first == same != other


def test_classes_that_cannot_be_in_every_set_are_named():
    counts = np.ones((10, 2), int)
    counts[2:, 1] = 0
    sets, notes = divide_set(annotated(counts), SplitSettings())
    assert sum(part.counts[1] > 0 for part in sets.values()) == 2
    assert any(note.startswith("No object of kind 1 in the ") for note in notes)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("train/IMG_7_jpg.rf.0a1b2c3d4e5f6a7b.jpg", "IMG_7_jpg"),
        ("a_aug_3.png", "a"),
        ("a-flip.png", "a"),
        ("a_hflip_rot90.png", "a"),
        ("cell_brightness_2_blur.jpg", "cell"),
        ("a_rotated_90.png", "a"),
        ("frame_12.png", "frame_12"),
        ("IMG (2).png", "IMG (2)"),
        ("crop.png", "crop"),
    ],
)
def test_names_of_augmented_pictures_lead_to_their_source(name, source):
    assert source_of(name) == source


def test_groups_come_from_a_pattern_a_folder_or_a_file(tmp_path):
    names = ["a/1_x.png", "a/2_x.png", "b/1_y.png", "b/3_z.png"]
    assert groups_of(names, "folder")[0].tolist() == [0, 0, 1, 1]
    assert groups_of(names, r"(\d)_")[0].tolist() == [0, 1, 0, 2]
    assert len(set(groups_of(names, "_x")[0].tolist())) == 3, "what fits nowhere stands for itself"
    (tmp_path / "g.csv").write_text("1_x.png,p\na/2_x.png,q\nb/1_y.png,p\n\nb/3_z.png,q\n")
    assert groups_of(names, str(tmp_path / "g.csv"))[0].tolist() == [0, 1, 0, 1]
    (tmp_path / "g.json").write_text('{"1_x.png": 1, "2_x.png": 1, "1_y.png": 2, "3_z.png": 2}')
    assert groups_of(names, str(tmp_path / "g.json"))[0].tolist() == [0, 0, 1, 1]


def test_what_is_wrong_with_a_group_is_said(tmp_path):
    names = ["a.png"]
    with pytest.raises(ConfigError, match=r"group is '\('.* is no regular expression"):
        groups_of(names, "(")
    with pytest.raises(ConfigError, match="group is 'sorce', which fits no name of an image"):
        groups_of(names, "sorce")
    with pytest.raises(DataError, match="no such file"):
        groups_of(names, str(tmp_path / "g.csv"))
    (tmp_path / "g.csv").write_text("b.png,1\n")
    with pytest.raises(DataError, match=r"says no group of image 'a.png' \(1 of 1 images are missing\)"):
        groups_of(names, str(tmp_path / "g.csv"))
    (tmp_path / "g.csv").write_text("a.png\n")
    with pytest.raises(DataError, match="line 1: expected a file name and its group"):
        groups_of(names, str(tmp_path / "g.csv"))


@pytest.mark.parametrize("fractions", [(0.7, 0.2), (1.0,), (0.5, 0.6, -0.1), (0.25,) * 4])
def test_fractions_that_are_none_of_a_whole_are_refused(fractions):
    with pytest.raises(ConfigError, match="expected two or three positive fractions"):
        divide_set(annotated(np.ones((9, 1), int)), SplitSettings(fractions=fractions))


def test_too_few_groups_are_refused():
    with pytest.raises(DataError, match=r"there are 1 groups of images .*, which cannot be divided into 3 sets"):
        divide_set(annotated(np.ones((9, 1), int), [f"a_aug_{n}.png" for n in range(9)]), SplitSettings(group="source"))


@pytest.fixture
def divided(write_images, tmp_path) -> Path:
    """Returns a COCO folder of train and val with two images of the same name."""
    counts = np.random.default_rng(0).poisson(1.5, (20, 2))
    for name in ("train", "val"):
        write_coco(annotated(counts), tmp_path / "old" / f"{name}.json")
        write_images(annotated(counts), tmp_path / "old" / "images" / name)
    return tmp_path / "old"


def test_sets_that_are_there_are_divided_anew_on_request_alone(divided, tmp_path):
    with pytest.raises(ConfigError, match=r"is divided already \(train, val\). Give pool to put these sets"):
        split(divided, tmp_path / "new")
    written = split(divided, tmp_path / "new", SplitSettings(pool=True), to="yolo")
    assert any("for instance '0.png' is 'val-0.png'" in note for note in written.notes)
    sets = read_sets(tmp_path / "new")
    assert list(sets) == ["train", "val", "test"]
    before = read_sets(divided)
    assert sum(len(notes.ids) for notes in sets.values()) == sum(len(notes.ids) for notes in before.values())
    for notes in sets.values():
        for position, name in enumerate(notes.file_names):
            source, bare = ("val", name.removeprefix("val-")) if name.startswith("val-") else ("train", name)
            old = before[source]
            assert (notes.root / name).read_bytes() == (old.root / bare).read_bytes()
            row = old.file_names.index(bare)
            assert sorted(notes.labels[notes.images == position]) == sorted(old.labels[old.images == row])
