"""Families of candidates: numbered, in one of two splits, and sound."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from mapopt.envs.numbering import MAX_INSTANCES
from mapopt.envs.post_processing.candidates import DetectorCandidates
from mapopt.envs.post_processing.synthetic import SyntheticCandidates
from mapopt.errors import ConfigError, DataError

FAMILY = SyntheticCandidates(count=3, images=(8, 8))


def test_synthetic_instances_are_functions_of_their_number_and_the_two_splits_have_none_in_common() -> None:
    val = FAMILY.instance(1).val
    again = SyntheticCandidates(count=5, images=(8, 8)).instance(1).val
    assert np.array_equal(val.boxes, again.boxes)
    assert np.array_equal(val.scores, again.scores)
    firsts = [
        SyntheticCandidates(split=split, count=40).instance(number).val.scores[:8].tolist()  # type: ignore[arg-type]
        for split in ("train", "eval")
        for number in range(40)
    ]
    assert len(set(map(tuple, firsts))) == 80
    assert "no detector made them" in FAMILY.instance(0).description
    assert not np.array_equal(val.scores, FAMILY.instance(1).test.scores)


def test_the_last_instance_to_train_on_is_not_the_first_to_evaluate_on() -> None:
    last = SyntheticCandidates(count=MAX_INSTANCES, images=(4, 4)).instance(MAX_INSTANCES - 1)
    first = SyntheticCandidates(split="eval", images=(4, 4)).instance(0)
    assert last.val.scores[:8].tolist() != first.val.scores[:8].tolist()


def test_a_number_that_is_none_of_the_family_is_refused() -> None:
    for family in (FAMILY, DetectorCandidates([FAMILY.instance(number) for number in range(3)])):
        for number in (3, -1, 0.5):
            with pytest.raises(ConfigError, match=f"instance {number} was asked of a family of 3: expected 0 to 2"):
                family.instance(number)  # type: ignore[arg-type]


def test_detectors_are_of_the_split_they_are_given_for() -> None:
    instances = [FAMILY.instance(0)]
    assert [DetectorCandidates(instances).split, DetectorCandidates(instances, split="eval").split] == ["train", "eval"]


def test_families_and_candidates_that_make_no_sense_are_refused() -> None:
    for count in (0, 1_000_001):
        with pytest.raises(ConfigError, match=f"a family of {count} instances: expected 1 to 1000000"):
            SyntheticCandidates(count=count)
    with pytest.raises(ConfigError, match=r"0 classes and \(64, 64\) images: expected 1 or more of each"):
        SyntheticCandidates(classes=0)
    for make in (SyntheticCandidates, partial(DetectorCandidates, [FAMILY.instance(0)])):
        with pytest.raises(ConfigError, match="unknown split of instances 'test'"):
            make(split="test")  # type: ignore[operator]
    with pytest.raises(ConfigError, match="no detector was given"):
        DetectorCandidates([])
    mixed = [SyntheticCandidates(classes=classes, images=(4, 4)).instance(0) for classes in (2, 3)]
    with pytest.raises(ConfigError, match=r"detectors of \[2, 3\] classes were given: expected the same number in all"):
        DetectorCandidates(mixed)
    candidates = FAMILY.instance(0).val
    wrong: list[tuple[dict[str, Any], str]] = [
        (
            {"scores": candidates.scores[1:]},
            r"columns of \[\d+, \d+, \d+, \d+, \d+\] rows: expected one row for every box",
        ),
        ({"scores": -candidates.scores}, "score is negative or not finite: expected scores from 0 up"),
        ({"labels": candidates.labels + 1}, "have labels 1 to 3: expected positions, 0 to 2"),
        ({"images": candidates.images - 1}, "have images -1 to 6: expected positions, 0 to 7"),
        ({"truth": replace(candidates.truth, crowd=np.ones(len(candidates.truth), bool))}, "has no object to find"),
    ]
    for changes, message in wrong:
        with pytest.raises(DataError, match=message):
            replace(candidates, **changes)
