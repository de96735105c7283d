"""Logged episodes: what is written is what was played, and what is loaded is what was written."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import mapopt.envs  # noqa: F401 - registers the environment
from mapopt.envs.detector_training.vector import DetectorTrainingVectorEnv
from mapopt.envs.families import ShapesFamily
from mapopt.envs.wrappers import Episode, EpisodeLog, Episodes, VectorEpisodeLog, to_minari
from mapopt.errors import ConfigError, StoreError
from mapopt.files import sealed
from mapopt.training.budget import Budget
from mapopt.training.recipe import Recipe

FAMILY = ShapesFamily(images=(16, 8, 8), count=4, recipe=Recipe(batch_size=4))
BUDGET = Budget(images=8 * 3, rounds=3)


class Counter(gymnasium.Env):
    """Counts steps in one array that it hands out again and again; an episode has as many steps as its seed says."""

    observation_space = gymnasium.spaces.Box(0, 100, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(3)

    def __init__(self) -> None:
        self._seen, self._length = np.zeros(2, dtype=np.float32), 1

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._seen[:] = 0
        self._length = seed or self._length + 1
        return self._seen, {"name": "counter", "length": self._length}

    def step(self, action: Any) -> Any:
        self._seen += 1
        steps = int(self._seen[0])
        info: dict[str, Any] = {"steps": steps, "nested": {"half": steps / 2}, "text": "left out"}
        if steps == self._length:
            info["last"] = True
        return self._seen, 0.1 * steps, steps == self._length and steps % 2 == 0, steps == self._length, info


def equal(first: Episodes, other: Episodes) -> bool:
    """Whether all arrays are the same bits, and everything else is equal."""
    if len(first) != len(other) or first.env != other.env or first.arguments != other.arguments:
        return False
    for a, b in zip(first.episodes, other.episodes, strict=True):
        arrays = [(getattr(a, name), getattr(b, name)) for name in ("observations", "actions", "rewards")]
        arrays += [(a.terminations, b.terminations), (a.truncations, b.truncations)]
        arrays += [(a.infos[name], b.infos[name]) for name in a.infos]
        if a.infos.keys() != b.infos.keys() or a.seed != b.seed or dict(a.start) != dict(b.start):
            return False
        if any(x.dtype != y.dtype or x.shape != y.shape or x.tobytes() != y.tobytes() for x, y in arrays):
            return False
    return True


def played(lengths: tuple[int, ...] = (2, 3)) -> Episodes:
    env = EpisodeLog(Counter())
    for length in lengths:
        env.reset(seed=length)
        for step in range(length):
            env.step(np.int64(step % 3))
    return env.log()


def test_an_episode_is_what_was_played() -> None:
    two, three = played().episodes
    assert two.observations.tolist() == [[0, 0], [1, 1], [2, 2]]
    assert three.actions.tolist() == [0, 1, 2]
    assert three.rewards.tolist() == [0.1 * 1, 0.1 * 2, 0.1 * 3]
    assert (two.terminations.tolist(), two.truncations.tolist()) == ([False, True], [False, True])
    assert (three.terminations.tolist(), three.truncations.tolist()) == ([False] * 3, [False, False, True])
    assert set(three.infos) == {"steps", "nested.half", "last"}
    assert three.infos["nested.half"].tolist() == [0.5, 1.0, 1.5]
    assert np.isnan(three.infos["last"][:2]).all()
    assert three.infos["last"][2] == 1
    assert three.start == {"name": "counter", "length": 3}
    assert three.seed == 3


def test_only_chosen_numbers_are_kept_and_an_episode_cut_short_is_left_out() -> None:
    env = EpisodeLog(Counter(), infos=("nested.half",))
    env.reset(seed=4)
    env.step(0)
    env.reset(seed=1)
    env.step(2)
    (only,) = env.log().episodes
    assert set(only.infos) == {"nested.half"}
    assert only.actions.tolist() == [2]


def test_what_is_loaded_is_what_was_written_bit_for_bit(tmp_path: Path) -> None:
    env = EpisodeLog(gymnasium.make("mapopt/DetectorTraining-v0", family=FAMILY, budget=BUDGET, knobs=("lr",)))
    env.action_space.seed(0)
    for seed in (1, 2):
        env.reset(seed=seed)
        for _ in range(BUDGET.rounds):
            env.step(env.action_space.sample())
    log = env.log()
    log.save(tmp_path / "deep" / "episodes")
    loaded = Episodes.load(tmp_path / "deep" / "episodes.json")
    assert equal(log, loaded)
    assert loaded.env == "mapopt/DetectorTraining-v0"
    assert loaded.arguments["family"]["images"] == [16, 8, 8]
    assert loaded.arguments["budget"] == {"class": "Budget", "images": 24, "rounds": 3}
    assert loaded.episodes[0].infos["knobs.lr"].shape == (3,)
    assert np.isnan(loaded.episodes[0].infos["test_ap"][:2]).all()
    assert {"instance", "seed", "description"} <= set(loaded.episodes[1].start)
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["episodes.json", "episodes.npz"]


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_lanes_are_logged_as_the_same_episodes_alone(mode: str) -> None:
    many = VectorEpisodeLog(
        DetectorTrainingVectorEnv(2, FAMILY, budget=BUDGET, knobs=("lr", "augment"), autoreset_mode=mode)
    )
    many.action_space.seed(0)
    many.reset(seed=3)
    taken: list[list[np.ndarray]] = [[], []]
    for episode in range(2):
        if episode and mode == "Disabled":
            many.reset(options={"reset_mask": np.ones(2, dtype=bool)})
        for step in range(BUDGET.rounds + (episode and mode == "NextStep")):
            actions = many.action_space.sample()
            many.step(actions)
            if not (episode and mode == "NextStep" and step == 0):
                for lane in range(2):
                    taken[lane].append(actions[lane])
    logged = many.log().episodes
    for lane in range(2):
        single = EpisodeLog(
            gymnasium.make("mapopt/DetectorTraining-v0", family=FAMILY, budget=BUDGET, knobs=("lr", "augment"))
        )
        for episode in range(2):
            single.reset(seed=None if episode else 3 + lane)
            for action in taken[lane][episode * BUDGET.rounds : (episode + 1) * BUDGET.rounds]:
                single.step(action)
        mine = [_timeless(episode) for episode in single.log().episodes]
        theirs = [_timeless(episode) for episode in (logged[lane], logged[2 + lane])]
        assert equal(Episodes(episodes=tuple(mine), env=""), Episodes(episodes=tuple(theirs), env=""))


def _timeless(episode: Episode) -> Episode:
    infos = {name: values for name, values in sorted(episode.infos.items()) if name != "seconds"}
    return Episode(**{**vars(episode), "infos": infos})


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.npz"
    played((1, 2)).save(path)
    description, data = tmp_path / "log.json", path.read_bytes()
    record = json.loads(description.read_text())

    def loading(**changes: Any) -> str:
        description.write_text(json.dumps(sealed({**record, **changes})))
        with pytest.raises(StoreError) as caught:
            Episodes.load(path)
        return str(caught.value)

    assert "is something else; expected episodes that Episodes.save wrote" in loading(format="")
    assert "is of version 3; expected episodes" in loading(version=3)
    assert "damaged" in loading(episodes=[{"steps": 9, "seed": 0, "start": {}, "infos": ["nothing"]}])
    assert "damaged" in loading(episodes=[{**record["episodes"][0], "steps": 9}])
    description.write_text("{")
    with pytest.raises(StoreError, match="is not JSON"):
        Episodes.load(path)
    played((2, 2)).save(path)
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"is not the file that log\.json was written with"):
        Episodes.load(path)
    path.unlink()
    with pytest.raises(StoreError, match="no such file; expected logged numbers"):
        Episodes.load(path)


def test_what_cannot_be_logged_or_written_is_said(tmp_path: Path) -> None:
    class Dictionary(Counter):
        observation_space = gymnasium.spaces.Dict({"a": gymnasium.spaces.Discrete(2)})  # type: ignore[assignment]

    with pytest.raises(ConfigError, match="put a Flatten wrapper around it first"):
        EpisodeLog(Dictionary())
    with pytest.raises(ConfigError, match="play at least one to its end"):
        EpisodeLog(Counter()).log().save(tmp_path / "none")
    episode = played((2,)).episodes[0]
    with pytest.raises(ConfigError, match="actions of an episode fit 1 steps, rewards 2"):
        Episode(**{**vars(episode), "actions": episode.actions[:1]})
    wide = Episode(**{**vars(episode), "observations": np.zeros((3, 5))})
    with pytest.raises(ConfigError, match="episodes differ in shape"):
        Episodes(episodes=(episode, wide), env="x").save(tmp_path / "none")
    assert not list(tmp_path.iterdir())


def test_minari_gets_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    minari = pytest.importorskip(
        "minari", reason="the optional package minari (extra 'offline' or 'dev') is not installed"
    )
    pytest.importorskip("h5py", reason="the optional package h5py (extra 'offline' or 'dev') is not installed")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    log = played((2, 3))
    made = {"description": "Two short counts.", "algorithm": "a loop"}
    to_minari(log, "mapopt/counter/test-v0", Counter(), **made)
    stored = list(minari.load_dataset("mapopt/counter/test-v0").iterate_episodes())
    assert len(stored) == 2
    for ours, theirs in zip(log.episodes, stored, strict=True):
        assert np.array_equal(ours.observations, theirs.observations)
        assert np.array_equal(ours.actions, theirs.actions)
        assert np.array_equal(ours.rewards, theirs.rewards)
        assert np.array_equal(ours.truncations, theirs.truncations)
        assert np.array_equal(ours.infos["steps"], theirs.infos["steps"][1:])
    with pytest.raises(StoreError, match="choose another name or version"):
        to_minari(log, "mapopt/counter/test-v0", Counter(), **made)
    with pytest.raises(ConfigError, match="Minari does not take the data set"):
        to_minari(log, "no version?", Counter(), **made)


def test_without_minari_the_extra_and_the_other_way_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {"description": "Two short counts.", "algorithm": "a loop"}
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(
        ConfigError, match=r"minari is not installed: pip install 'mapopt\[offline\]', or use Episodes.s"
    ):
        to_minari(played(), "mapopt/counter/test-v0", Counter(), **made)
    with pytest.raises(ConfigError, match="play at least one"):
        to_minari(Episodes(episodes=(), env="x"), "mapopt/counter/test-v0", Counter(), **made)
