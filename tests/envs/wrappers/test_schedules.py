"""Recorded schedules: replaying one gives the same run, bit for bit, and a file holds all of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

import mapopt.envs  # noqa: F401 - registers the environment
from mapopt.envs.detector_training.env import DetectorTrainingEnv
from mapopt.envs.families import NumberedFamily, ShapesFamily
from mapopt.envs.wrappers import RecordedSchedule, RecordSchedule
from mapopt.errors import ConfigError, StoreError
from mapopt.files import sealed
from mapopt.training.budget import Budget
from mapopt.training.controllers.base import Decision
from mapopt.training.fleet import Trainer
from mapopt.training.loop import run
from mapopt.training.recipe import Recipe

FAMILY = ShapesFamily(images=(16, 8, 8), count=4, recipe=Recipe(batch_size=4))
BUDGET = Budget(images=8 * 3, rounds=3)


def record(folder: Path | None = None, *, episodes: int = 1, **changes: Any) -> RecordSchedule:
    env = RecordSchedule(
        gymnasium.make("mapopt/DetectorTraining-v0", family=FAMILY, budget=BUDGET, **changes), folder, kept=2
    )
    env.action_space.seed(0)
    for episode in range(episodes):
        env.reset(seed=episode)
        for _ in range(BUDGET.rounds):
            env.step(env.action_space.sample())
    return env


@pytest.mark.parametrize("action", ["relative", "absolute", "discrete"])
def test_a_replayed_file_gives_the_same_run_bit_for_bit(action: str, tmp_path: Path) -> None:
    env = record(tmp_path, action=action)
    loaded = RecordedSchedule.load(tmp_path / "episode-000000.json")
    assert loaded == env.recordings[0]
    trainer = Trainer(FAMILY.instance(loaded.instance).task, seed=loaded.seed)
    result = run(trainer, loaded.replay(), loaded.budget, select="last")
    lanes = env.unwrapped.lanes  # type: ignore[attr-defined]
    assert loaded.decisions[0].via, "the warm-up ends inside the first round"
    assert [Decision.of(played) for played in result.history] == list(loaded.decisions)
    assert [played.val.ap for played in result.history] == [played.val.ap for played in lanes.histories[0]]
    assert [played.interval.class_loss for played in result.history] == [
        played.interval.class_loss for played in lanes.histories[0]
    ]
    assert tuple(played.val.ap for played in result.history) == loaded.val_ap
    ours, theirs = trainer.snapshot(), lanes.fleet_of(0)[0].snapshot(0)
    assert set(ours.tensors) == set(theirs.tensors)
    assert all(torch.equal(ours.tensors[name], theirs.tensors[name]) for name in ours.tensors)


def test_every_episode_that_ends_is_recorded_and_the_last_ones_are_kept(tmp_path: Path) -> None:
    env = record(tmp_path, episodes=3)
    env.reset(seed=9)
    env.step(env.action_space.sample())
    env.reset(seed=10)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"episode-{place:06d}.json" for place in range(3)]
    assert list(env.recordings) == [RecordedSchedule.load(tmp_path / f"episode-{place:06d}.json") for place in (1, 2)]


def test_a_truncated_episode_is_recorded_as_far_as_it_went() -> None:
    env = RecordSchedule(
        gymnasium.make("mapopt/DetectorTraining-v0", family=FAMILY, budget=BUDGET, max_episode_steps=2)
    )
    env.reset(seed=0)
    for _ in range(2):
        env.step(np.zeros(4, dtype=np.float32))
    assert len(env.recordings[0].decisions) == 2


def test_an_episode_that_was_put_there_as_a_copy_is_recorded_as_what_it_is() -> None:
    env, other = record(episodes=0), record(episodes=0)
    env.reset(options={"instance": 1, "training_seed": 5})
    env.step(np.full(4, 0.3, np.float32))
    state = env.unwrapped.get_state()  # type: ignore[attr-defined]
    other.reset(options={"instance": 2, "training_seed": 9})
    other.unwrapped.set_state(state)  # type: ignore[attr-defined]
    for interface in (env, other):
        for _ in range(BUDGET.rounds - 1):
            interface.step(np.full(4, -0.2, np.float32))
    assert other.recordings[0] == env.recordings[0]
    assert (env.recordings[0].instance, env.recordings[0].seed, len(env.recordings[0].decisions)) == (1, 5, 3)
    assert env.recordings[0].description == FAMILY.instance(1).description


@pytest.mark.parametrize("name", ["shapes", "rescue", "noisy-labels", "from-data"])
def test_the_family_of_a_recording_can_be_made_again(
    name: str, tmp_path: Path, tiny_family: Callable[..., NumberedFamily]
) -> None:
    family = tiny_family(name, split="eval")
    env = RecordSchedule(DetectorTrainingEnv(family, budget=Budget(images=4, rounds=1), knobs=("lr",)), tmp_path)
    env.reset(options={"instance": 3})
    env.step(np.zeros(1))
    loaded = RecordedSchedule.load(tmp_path / "episode-000000.json")
    assert loaded == env.recordings[0]
    assert (loaded.family, loaded.split) == (name, "eval")
    # What was left open is written down.
    assert loaded.make_family() == replace(family, knobs=family.recipe.settle(family.knobs))
    assert str(loaded.make_family().instance(loaded.instance)) == loaded.description


@dataclass(frozen=True, kw_only=True)
class Mine(ShapesFamily):
    """A family of somebody's own, with the settings of ours."""


def played(family: ShapesFamily) -> RecordedSchedule:
    env = RecordSchedule(DetectorTrainingEnv(family, budget=Budget(images=4, rounds=1), knobs=("lr",)))
    env.reset(seed=0)
    env.step(np.zeros(1))
    return env.recordings[0]


def test_a_recording_names_parts_of_ones_own_and_imports_none(tmp_path: Path) -> None:
    recording = played(Mine(images=(16, 8, 8), count=4, recipe=Recipe(batch_size=4)))
    assert recording.family == f"{__name__}:Mine"
    assert recording.settings["count"] == 4
    with pytest.raises(ConfigError, match=r":Mine, which is none of shapes, .*: name the family to use"):
        recording.make_family()
    recording = played(ShapesFamily(images=(16, 8, 8), recipe=Recipe(batch_size=4, loss="mapopt.losses:APLoss")))
    recording.save(tmp_path / "own.json")
    loaded = RecordedSchedule.load(tmp_path / "own.json")
    assert loaded == recording
    with pytest.raises(ConfigError, match=r"recorded with mapopt.losses:APLoss, which a recording does not import"):
        loaded.make_family()


def test_a_family_that_cannot_be_imported_is_recorded_by_its_name() -> None:
    class Own(ShapesFamily):
        pass

    family = Own(images=(16, 8, 8), count=4, recipe=Recipe(batch_size=4))
    recording = played(family)
    assert recording.family == "Own"
    with pytest.raises(ConfigError, match=r"recorded on an instance of Own, which is none of shapes, .*: name the f"):
        recording.make_family()


def test_a_file_that_is_no_schedule_is_refused(tmp_path: Path) -> None:
    record(tmp_path)
    path = tmp_path / "episode-000000.json"
    whole = json.loads(path.read_text())

    def loading(value: Any) -> pytest.ExceptionInfo[StoreError]:
        path.write_text(value if isinstance(value, str) else json.dumps(sealed(value) if value else value))
        with pytest.raises(StoreError) as caught:
            RecordedSchedule.load(path)
        return caught

    assert "is not JSON" in str(loading("{"))
    assert "is something else; expected a schedule that RecordSchedule wrote" in str(loading([]))
    assert "is of version 9; expected a schedule that RecordSchedule wrote in version 3" in str(
        loading({**whole, "version": 9})
    )
    assert "damaged" in str(loading({**whole, "budget": {"images": 0, "rounds": 3}}))
    knobs = {**whole["decisions"][0]["knobs"], "lr": 99.0}
    assert "damaged" in str(loading({**whole, "decisions": [{"knobs": knobs, "ramp_from": None}]}))
    with pytest.raises(StoreError, match="no such file; expected a schedule"):
        RecordedSchedule.load(tmp_path / "none.json")


def test_what_cannot_be_recorded_is_said() -> None:
    with pytest.raises(ConfigError, match="trains nothing"):
        RecordSchedule(gymnasium.make("Pendulum-v1"))
    with pytest.raises(ConfigError, match="kept is -1"):
        RecordSchedule(gymnasium.make("mapopt/DetectorTraining-v0", family=FAMILY, budget=BUDGET), kept=-1)
