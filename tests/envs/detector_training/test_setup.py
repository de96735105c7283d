"""What `reset` is given: read alike by every form of an environment, and refused where it is not what it should be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mapopt.envs.lanes import lanes_to_reset, reset_numbers
from mapopt.errors import ConfigError

ALLOWED = {"instance": 4, "training_seed": 2**31}


def test_numbers_are_returned_by_name_and_only_those_given() -> None:
    assert reset_numbers(None, ALLOWED) == reset_numbers({}, ALLOWED) == {}
    given = reset_numbers({"instance": np.int64(3), "training_seed": 2**31 - 1}, ALLOWED)
    assert given == {"instance": 3, "training_seed": 2**31 - 1}
    assert all(type(value) is int for value in given.values())


@pytest.mark.parametrize("value", [1.7, 1.0, "x", "1", None, True, -1, 4, 2**70, float("nan"), [1]])
def test_what_is_no_number_of_an_instance_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"reset option 'instance' is .*: expected a whole number from 0 to 3"):
        reset_numbers({"instance": value}, ALLOWED)


def test_unknown_options_are_refused_with_the_nearest_known() -> None:
    with pytest.raises(ConfigError, match="unknown reset option 'instanse': did you mean 'instance'"):
        reset_numbers({"instanse": 1}, ALLOWED)


def test_one_seed_is_counted_up_from_lane_to_lane() -> None:
    for seed in (7, np.int32(7)):
        mask, seeds, rest = lanes_to_reset(seed, {"instance": 2}, 3)  # type: ignore[arg-type]
        assert mask.tolist() == [True] * 3
        assert seeds == [7, 8, 9]
        assert all(type(seed) is int for seed in seeds)
        assert rest == {"instance": 2}
    assert lanes_to_reset(None, None, 2)[1:] == ([None, None], {})


@pytest.mark.parametrize("seeds", [[5, None, np.uint8(9)], (5, None, 9), np.array([5, None, 9])])
def test_every_lane_has_its_seed_but_one_that_goes_on(seeds: Any) -> None:
    options = {"reset_mask": np.array([True, True, False])}
    mask, read, rest = lanes_to_reset(seeds, options, 3)
    assert mask.tolist() == [True, True, False]
    assert read == [5, None, None]
    assert rest == {}
    assert "reset_mask" in options
    assert lanes_to_reset(seeds, None, 3)[1] == [5, None, 9]


@pytest.mark.parametrize("seed", [-1, 1.5, "12", [1, -2], [1, "2"], [1, 2.0]])
def test_what_is_no_seed_is_refused(seed: Any) -> None:
    with pytest.raises(ConfigError, match=r"a seed is .*: expected a whole number from 0, or None"):
        lanes_to_reset(seed, None, 2)


def test_seeds_and_masks_are_one_for_every_lane() -> None:
    with pytest.raises(ConfigError, match="3 seeds were given for 2 environments: give one, or one each"):
        lanes_to_reset([1, 2, 3], None, 2)
    for mask in (np.array([True]), np.zeros(2, dtype=bool), [0, 1], np.ones((2, 1), dtype=bool)):
        with pytest.raises(ConfigError, match=r"reset_mask of shape .*: expected \(2,\) with at least one True"):
            lanes_to_reset(None, {"reset_mask": mask}, 2)
