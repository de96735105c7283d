"""Reference runs of a training: paid for once, kept, and counted."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mapopt.agents import AgentTraining, train_agent
from mapopt.agents.learning.progress import Progress
from mapopt.envs.detector_training.references import References
from mapopt.envs.families import ShapesFamily
from mapopt.errors import AgentError
from mapopt.files import write_record
from mapopt.training import Budget


@pytest.fixture
def settings(tiny_family: ShapesFamily, tiny_budget: Budget) -> Any:
    def make(**changes: Any) -> AgentTraining:
        given = {"family": tiny_family, "budget": tiny_budget, "workers": 1, "lanes": 2, "iterations": 3}
        own = {"hidden": (8,), "knobs": ("lr", "augment"), "num_seeds": 2, "evaluate_every": 0}
        return AgentTraining(**{**given, **own, **changes})

    return make


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[int, int]]:
    """Counts how often each reference run is played."""
    counts: Counter[tuple[int, int]] = Counter()
    play = References.play

    def counted(self: References, keys: Any) -> None:
        counts.update(key for key in keys if key not in self.known)
        play(self, keys)

    monkeypatch.setattr(References, "play", counted)
    return counts


def test_each_reference_is_played_once_kept_and_paid_for(
    settings: Any, runs: Counter[tuple[int, int]], tmp_path: Path
) -> None:
    cost = train_agent(settings(), tmp_path).training["cost"]
    assert set(runs.values()) == {1}
    kept = json.loads((tmp_path / "references.json").read_text())
    assert [(number, seed) for number, seed, _ in kept["runs"]] == sorted(runs)
    assert all(len(rewards) == 4 for _, _, rewards in kept["runs"])
    assert (cost["reference_runs"], cost["images"]) == (len(runs), (4 * 2 + len(runs)) * 8)
    more = train_agent(settings(iterations=5), tmp_path, resume=True).training["cost"]
    assert set(runs.values()) == {1}, "none is played again"
    assert more["reference_runs"] == len(runs)


def test_the_first_return_is_the_one_without_a_reference_less_its_references(settings: Any, tmp_path: Path) -> None:
    logs: dict[str, list[Progress]] = {"none": [], "baseline": []}
    for name, log in logs.items():
        chosen = settings(reference=name, iterations=1)
        train_agent(chosen, tmp_path / name, report=log.append)
    difference = logs["none"][0].episode_return - logs["baseline"][0].episode_return
    kept = json.loads((tmp_path / "baseline" / "references.json").read_text())
    finals = [sum(rewards) for _, _, rewards in kept["runs"]]
    assert min(finals) - 1e-6 <= difference <= max(finals) + 1e-6
    assert logs["none"][0].action_mean == logs["baseline"][0].action_mean
    assert not (tmp_path / "none" / "references.json").exists()


def test_references_that_are_damaged_or_of_other_settings_are_refused(settings: Any, tmp_path: Path) -> None:
    train_agent(settings(iterations=1), tmp_path)
    path = tmp_path / "references.json"
    record = json.loads(path.read_text())
    plain = {name: record[name] for name in ("version", "settings", "runs")}
    path.write_text(path.read_text().replace('"runs": [', '"runs": [[0, 0, []], ', 1))
    with pytest.raises(AgentError, match=r"references\.json: .*Delete it to have the reference runs played again"):
        train_agent(settings(), tmp_path, resume=True)
    write_record(path, {**plain, "runs": [[0, 1]]})
    with pytest.raises(AgentError, match="runs are no lists of instance, seed and rewards"):
        train_agent(settings(), tmp_path, resume=True)
    write_record(path, {**plain, "settings": {**plain["settings"], "reward": "f1"}})
    with pytest.raises(AgentError, match=r"references\.json is of a training with other settings"):
        train_agent(settings(), tmp_path, resume=True)
    path.unlink()
    assert np.isfinite(train_agent(settings(), tmp_path, resume=True).layers[0][0]).all()
