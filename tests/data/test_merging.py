"""Merging puts objects together by the name of their category, and resolves and reports every collision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapopt.data import merge, read_sets, write_coco
from mapopt.data.joining import join
from mapopt.data.renames import renamed
from mapopt.errors import ConfigError, DataError


@pytest.fixture
def sources(make_annotations, write_images, tmp_path) -> list[Path]:
    """Returns two COCO folders: cat and dog, and Dog, cat and cow with other ids; two file names are the same."""
    first = make_annotations(file_names=("a.png", "b.png", "c.png"))
    second = make_annotations(
        file_names=("a.png", "B.png", "c.png"),
        category_ids=[5, 1, 0],
        category_names=("Dog", "cat", "cow"),
        labels=[1, 0, 2],
    )
    for name, notes in (("reef", first), ("tank", second)):
        for part in ("train", "val"):
            write_coco(notes, tmp_path / name / f"{part}.json")
            write_images(notes, tmp_path / name / "images" / part)
    return [tmp_path / "reef", tmp_path / "tank"]


def by_name(notes) -> dict[str, int]:
    return dict(zip(notes.category_names, notes.counts.tolist(), strict=True))


@pytest.mark.parametrize("to", ["coco", "voc", "yolo"])
def test_objects_come_together_by_the_name_of_their_category(sources, tmp_path, to):
    merged = merge(sources, tmp_path / "new", to=to)
    sets = read_sets(tmp_path / "new")
    assert list(sets) == ["train", "val"]
    for notes in sets.values():
        assert by_name(notes) == {"cat": 2, "dog": 2, "Dog": 1, "cow": 1}
        assert len(notes) == 6
        assert sorted(notes.ids.tolist()) == list(range(1, 7))
    assert by_name(merged.sources["tank"]) == {"cat": 2, "dog": 0, "Dog": 2, "cow": 2}


def test_collisions_are_resolved_predictably_and_said(sources, tmp_path):
    merged = merge(sources, tmp_path / "new")
    said = "\n".join(merged.notes)
    assert "ids from 1 because the ids of the sets contradict each other" in said
    assert "'Dog' and 'dog' are different categories: if they are the same, rename one with renames." in said.replace(
        "--renames", "renames"
    )
    assert "2 images have names that an earlier set has" in said
    assert "'a.png' is 'tank-a.png'" in said
    train = read_sets(tmp_path / "new")["train"]
    assert train.file_names == ("a.png", "b.png", "c.png", "tank-a.png", "B.png", "tank-c.png")
    for name, old in (("a.png", "reef"), ("tank-a.png", "tank")):
        assert (train.root / name).read_bytes() == (sources[old == "tank"] / "images/train/a.png").read_bytes()


def test_renames_hold_for_all_sources_or_for_one(sources, tmp_path):
    (tmp_path / "renames.yaml").write_text("dog: hound\nno: yes\ntank:\n  Dog: hound\n  cow: null\n")
    with pytest.raises(ConfigError, match=r"renames: unknown category 'no'"):
        merge(sources, tmp_path / "new", renames=tmp_path / "renames.yaml")
    (tmp_path / "renames.yaml").write_text("dog: hound\ntank:\n  Dog: hound\n  cow: null\n")
    merged = merge(sources, tmp_path / "new", renames=tmp_path / "renames.yaml")
    assert by_name(merged.sets["train"]) == {"cat": 2, "hound": 3}
    assert "In the train set of tank: 1 object of cow left out." in merged.notes
    other = merge(sources, tmp_path / "other", renames={"dog": "hound", "tank": {"Dog": "hound", "cow": None}})
    assert other.sets["val"] == merged.sets["val"]


@pytest.mark.parametrize(
    ("renames", "message"),
    [
        ({"dgo": "hound"}, r"renames: unknown category 'dgo': did you mean 'dog'\?"),
        ({"rief": {"dog": "hound"}}, r"renames: unknown source 'rief': did you mean 'reef'\?"),
        ({"reef": {"cow": "hound"}}, "renames of reef: unknown category 'cow'"),
        ({"dog": 3}, "renames: dog is 3: expected a name, or null to leave the category out"),
        ([1], r"renames is \[1\]: expected old names with new names"),
    ],
)
def test_renames_that_mean_nothing_are_refused(sources, tmp_path, renames, message):
    with pytest.raises(ConfigError, match=message):
        merge(sources, tmp_path / "new", renames=renames)
    assert not (tmp_path / "new").exists()


def test_renames_that_leave_nothing_are_refused(make_annotations):
    with pytest.raises(DataError, match="leave out every category"):
        renamed(make_annotations(), {"cat": None, "dog": None}, "reef")


def test_two_names_become_the_same(make_annotations):
    notes, said = renamed(make_annotations(), {"cat": "dog"}, "reef")
    assert notes.category_names == ("dog",)
    assert notes.counts.tolist() == [3]
    assert said == ["cat and dog are dog now."]


def test_divided_and_undivided_sources_are_not_mixed(sources, tmp_path):
    single = sources[0] / "train.json"
    with pytest.raises(ConfigError, match=r"train is one set and tank is divided \(train, val\): divide train first"):
        merge([single, sources[1]], tmp_path / "new")
    with pytest.raises(ConfigError, match="fewer than two data sets"):
        merge([single], tmp_path / "new")


def test_the_same_file_in_two_sources_is_said(sources, tmp_path):
    for part in ("train", "val"):
        (sources[1] / "images" / part / "a.png").write_bytes((sources[0] / "images" / part / "a.png").read_bytes())
    said = "\n".join(merge(sources, tmp_path / "new").notes)
    assert "2 image files are in an earlier source too, byte for byte, for instance a.png" in said


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.sampled_from(["a.png", "b.png", "x-a.png", "y-a.png", "d/a.png"]), unique=True, min_size=1),
                min_size=1, max_size=4), st.integers(0, 2**31))  # fmt: skip
def test_joined_sets_lose_nothing_and_have_unique_names(names, seed):
    from mapopt.data import Annotations

    generator = np.random.default_rng(seed)
    sets = []
    for number, own in enumerate(names):
        count = int(generator.integers(0, 5))
        sets.append((
            "xyzu"[number],
            Annotations(
                image_ids=np.arange(len(own)), file_names=own,
                widths=np.full(len(own), 9), heights=np.full(len(own), 9),
                category_ids=generator.permutation(9)[:2], category_names=generator.permutation(["p", "q", "r"])[:2],
                boxes=generator.permuted([[0.0, 0, 5, 6]] * count, axis=0).reshape(-1, 4),
                labels=generator.integers(0, 2, count), images=generator.integers(0, len(own), count),
                crowd=np.zeros(count, bool), area=np.full(count, 30.0), ids=np.arange(count), root=Path("/nowhere"),
            ),
        ))  # fmt: skip
    joined = join(sets)
    assert len(joined.notes) == sum(map(len, names))
    assert set(joined.files) == set(joined.notes.file_names)
    counts = dict.fromkeys(joined.notes.category_names, 0)
    for _, notes in sets:
        for name, count in by_name(notes).items():
            counts[name] += count
    assert by_name(joined.notes) == counts
