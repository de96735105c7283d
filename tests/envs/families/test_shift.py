"""The family whose data change in mid-run, and lanes that change them between two rounds."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from mapopt.data import ShapesConfig
from mapopt.envs.detector_training.env import DetectorTrainingEnv
from mapopt.envs.detector_training.states import Start
from mapopt.envs.detector_training.vector import DetectorTrainingVectorEnv
from mapopt.envs.families import ShiftFamily
from mapopt.errors import CheckpointError, ConfigError
from mapopt.training.budget import Budget
from mapopt.training.recipe import Recipe

SCENES = ShapesConfig(size=32, object_size=(8.0, 16.0))
FAMILY = ShiftFamily(images=(12, 6, 6), count=6, scenes=SCENES, recipe=Recipe(batch_size=4), at=(0.5, 0.5))
BUDGET = Budget(images=32, rounds=4)


def test_each_shift_is_what_it_says_and_val_and_test_are_as_after_it() -> None:
    family = ShiftFamily(images=(200, 8, 8), count=6, scenes=SCENES)
    for number in range(6):
        instance = family.instance(number)
        before, after = instance.task.splits.train, instance.shift.train  # type: ignore[union-attr]
        assert 0.25 <= instance.shift.fraction <= 0.75  # type: ignore[union-attr]
        assert f"{family.shift_of(number)} after {instance.shift.fraction:.2f}" in str(instance)  # type: ignore[union-attr]
        plain = family.draw(SCENES, number)
        assert after.fingerprint == plain.train.fingerprint
        assert [images.fingerprint for _, images in instance.task.splits.named()[1:]] == [
            plain.val.fingerprint,
            plain.test.fingerprint,
        ]
        same = bool(torch.equal(before.pixels, after.pixels))
        counts = before.annotations.counts
        if family.shift_of(number) == "cleaned-labels":
            assert same
            assert before.annotations != after.annotations
        elif family.shift_of(number) == "class-balance":
            assert counts[0] > 2.5 * counts[-1]
            assert not set(before.identities(by_path=False)) & set(after.identities(by_path=False))
        else:
            assert counts[0] < 2 * counts[-1]
            assert not set(before.identities(by_path=False)) & set(after.identities(by_path=False))


def test_the_change_comes_between_two_rounds_of_whatever_budget() -> None:
    instance = replace(FAMILY, at=(0.3, 0.3)).instance(0)
    for rounds, after in ((10, 3), (4, 1), (2, 1), (100, 30)):
        task = instance.task_for(Budget(images=rounds * 4, rounds=rounds))
        assert task.change is not None
        assert task.change.after == after * 4
        assert task.splits_at(after * 4 - 1) is task.splits
        assert task.splits_at(after * 4).train is instance.shift.train  # type: ignore[union-attr]
    for at in (0.0, 1.0):
        task = replace(FAMILY, at=(at, at)).instance(0).task_for(BUDGET)
        assert task.change.after == (8 if at == 0 else 24)  # type: ignore[union-attr]
    assert instance.task_for(Budget(images=4, rounds=1)).change is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"shifts": ("new-image",)}, "unknown entry of shifts 'new-image': did you mean 'new-images'"),
        ({"shifts": ()}, "at least one of new-images"),
        ({"at": (0.5, 1.5)}, "at is .* from 0 to 1"),
        ({"fraction": (0.5, 0.2)}, "fraction is .* the lower one first"),
        ({"factor": (0.5, 2.0)}, "factor is .* from 1 to 100"),
        ({"distance": 2.0}, "distance is 2.0"),
        ({"scenes": ShapesConfig(label_noise=0.1)}, "scenes.label_noise is 0.1.* give fraction"),
        ({"scenes": ShapesConfig(classes=1)}, "scenes of 1 class have no balance"),
    ],
)
def test_wrong_settings_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ShiftFamily(**given)


def play(env: DetectorTrainingEnv, rounds: int) -> list[float]:
    return [env.step(np.array([0.2]))[4]["class_loss"] for _ in range(rounds)]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_copied_episode_goes_on_with_the_data_that_it_was_on(number: int) -> None:
    env = DetectorTrainingEnv(FAMILY, budget=BUDGET, knobs=("lr",))
    env.reset(options={"instance": number, "training_seed": 3})
    play(env, 1)
    early, pickled = env.get_state(), pickle.dumps(env)
    play(env, 1)
    middle, copied = env.get_state(), copy.deepcopy(env)
    end = play(env, 2)
    assert play(copied, 2) == end
    assert play(pickle.loads(pickled), 3)[1:] == end
    env.set_state(early)
    assert play(env, 3)[1:] == end
    env.set_state(middle)
    assert play(env, 2) == end
    still = DetectorTrainingEnv(replace(FAMILY, at=(0.75, 0.75)), budget=BUDGET, knobs=("lr",))
    still.reset(options={"instance": number, "training_seed": 3})
    later = play(still, 4)[2:]
    assert later[0] != end[0], "the third round is played on other data"
    with pytest.raises(CheckpointError, match="of other data than instance"):
        still.set_state(middle)


def test_lanes_change_their_data_each_at_its_own_time_and_forks_do_too() -> None:
    family = replace(FAMILY, at=(0.25, 0.75), count=6)
    vector = DetectorTrainingVectorEnv(3, family, budget=BUDGET, knobs=("lr",), autoreset_mode="Disabled")
    vector.lanes.reset({lane: Start(instance=lane, seed=lane) for lane in range(3)})
    for _ in range(2):
        vector.step(np.full((3, 1), 0.2))
    vector.set_state(0, vector.get_state(2))
    losses = [vector.step(np.full((3, 1), 0.2))[4]["class_loss"] for _ in range(2)]
    for lane, number in enumerate((2, 1, 2)):
        alone = DetectorTrainingEnv(family, budget=BUDGET, knobs=("lr",))
        alone.reset(options={"instance": number, "training_seed": number})
        assert play(alone, 4)[2:] == [each[lane] for each in losses]
