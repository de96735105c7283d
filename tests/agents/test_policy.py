"""Agents on disk and as controllers: what is written is what is read, and nothing damaged or foreign is taken."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mapopt.agents.agent import Agent
from mapopt.agents.policy import OpenLoopController, PolicyController
from mapopt.agents.zoo import ZOO, find_agent
from mapopt.envs.detector_training.observations import observation_names, observe
from mapopt.errors import AgentError
from mapopt.files import sealed
from mapopt.settings import to_mapping
from mapopt.training import Budget, Interval, Knobs, KnobSpace, Round, Schedule, Scores, TaskInfo

FIRST = Path(__file__).parent / "first" / "agent.json"
"""An agent of the first version, which was shipped: its file has no checksum and says little of its training."""

TASK = TaskInfo(name="t", classes=3, train_images=16, batch_size=4, knobs=Knobs())
BUDGET = Budget(images=64, rounds=4)
NAMES = observation_names(None, ("lr", "augment"))


def make_agent(seed: int = 0) -> Agent:
    rng = np.random.default_rng(seed)
    entries = len(NAMES)
    layers = ((rng.normal(size=(5, entries)), rng.normal(size=5)), (rng.normal(size=(2, 5)), rng.normal(size=2)))
    single = tuple((w.astype(np.float32), b.astype(np.float32)) for w, b in layers)
    open_loop = ((0.5, 0.0), (-0.5, 0.25))
    return Agent(single, ("lr", "augment"), 10.0, {"shape": "cosine"}, NAMES, open_loop, {"cost": {"images": 3}})


def test_an_agent_survives_the_disk_bit_for_bit(tmp_path: Path) -> None:
    agent = make_agent()
    agent.save(tmp_path / "a")
    again = Agent.load(tmp_path / "a")
    observation = np.linspace(-1, 1, len(NAMES))
    assert np.array_equal(agent.act(observation), again.act(observation))
    for field in dataclasses.fields(Agent):
        if field.name != "layers":
            assert getattr(again, field.name) == getattr(agent, field.name)
    assert again.fingerprint == agent.fingerprint


def test_actions_are_the_tanh_network_clipped() -> None:
    agent = make_agent()
    observation = np.linspace(-2, 2, len(NAMES))
    (w0, b0), (w1, b1) = agent.layers
    expected = np.clip(w1 @ np.tanh(w0 @ observation + b0) + b1, -1, 1)
    np.testing.assert_allclose(agent.act(observation), expected, rtol=1e-6)


def test_a_network_of_choices_takes_the_largest_output() -> None:
    weight, bias = np.eye(3, dtype=np.float32), np.zeros(3, dtype=np.float32)
    chosen = Agent(((weight, bias),), ("lr",), 2.0, {}, ("ap", "ap50", "ar100"), action="discrete", output="choice")
    assert chosen.act(np.array([0.1, 0.7, 0.3])) == 1
    many = dataclasses.replace(chosen, action="multi_discrete")
    assert many.act(np.array([0.1, 0.2, 0.3])).tolist() == [2]
    relu = dataclasses.replace(chosen, layers=((-weight, bias), (weight, bias)), activation="relu", action="absolute")
    squashed = dataclasses.replace(relu, output="tanh")
    assert squashed.act(np.array([-2.0, 1.0, 0.0])).tolist() == [np.tanh(2.0), 0.0, 0.0]


@pytest.mark.parametrize(
    "change",
    [
        {"knobs": ("augment", "lr")},
        {"scale": 4.0},
        {"open_loop": ()},
        {"activation": "relu"},
        {"baseline": {"shape": "steps"}},
        {"layers": tuple((weight, bias + 1) for weight, bias in make_agent().layers)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_fingerprint_tells_agents_apart(change: dict[str, Any]) -> None:
    agent = make_agent()
    assert dataclasses.replace(agent, **change).fingerprint != agent.fingerprint
    assert dataclasses.replace(agent, training={"cost": {"images": 4}}).fingerprint == agent.fingerprint


def test_a_silent_agent_is_the_baseline() -> None:
    agent = make_agent()
    silent = Agent(tuple((w * 0, b * 0) for w, b in agent.layers), agent.knobs, 10.0, {"shape": "cosine"}, NAMES)
    assert PolicyController(silent).decide((), TASK, BUDGET) == Schedule().decide((), TASK, BUDGET)


def test_an_agent_moves_away_from_a_schedule_of_several_knobs(tmp_path: Path) -> None:
    schedule = Schedule(assign_iou=(0.25, 0.45), surrogate_weight={0: 0, 0.7: 0, 0.75: 1})
    agent = dataclasses.replace(make_agent(), baseline=to_mapping(schedule))
    agent.save(tmp_path / "a")
    again = Agent.load(tmp_path / "a")
    assert again.fingerprint == agent.fingerprint != make_agent().fingerprint
    silent = dataclasses.replace(again, layers=tuple((w * 0, b * 0) for w, b in again.layers))
    assert PolicyController(silent).decide((), TASK, BUDGET) == schedule.decide((), TASK, BUDGET)


def test_the_open_loop_repeats_the_mean_actions_at_their_fraction_of_the_budget() -> None:
    agent = make_agent()
    default = Schedule().decide((), TASK, Budget(images=64, rounds=2))
    decided = OpenLoopController(agent).decide((), TASK, Budget(images=64, rounds=2))
    assert decided.knobs.lr == pytest.approx(default.knobs.lr * 10**0.5)
    with pytest.raises(AgentError, match="no mean actions"):
        OpenLoopController(Agent(agent.layers, agent.knobs, 10.0, {}, NAMES)).decide((), TASK, BUDGET)


@pytest.mark.parametrize("kind", [PolicyController, OpenLoopController])
def test_an_agent_with_knobs_of_its_maker_s_own_says_what_a_task_lacks(kind: Any) -> None:
    layers = ((np.zeros((3, 2), np.float32), np.zeros(3, np.float32)), (np.zeros((2, 3), np.float32), np.zeros(2)))
    agent = Agent(layers, ("lr", "margin"), 4.0, {}, ("progress", "knob_margin"), ((0.1, 0.1),))
    with pytest.raises(AgentError) as refused:
        kind(agent).decide((), TASK, BUDGET)
    assert str(refused.value) == (
        "the agent turns margin, which task 't' does not have: a loss, a detector or an optimizer of the task that it "
        "was trained on declares such a knob; give this task the same one"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "version 99"),
        ({"observation": ["ap", "mood"]}, "unknown feature 'mood'"),
        ({"observation": ["ap", "knobs"]}, "unknown feature 'knobs'"),
        ({"scale": 0.5}, "scale is 0.5"),
        ({"knobs": ["lr", "warp"]}, "sets warp, which this mapopt does not have"),
        ({"knobs": ["lr"], "open_loop": []}, "sizes are not those"),
        ({"knobs": ["lr"]}, "open_loop: expected 1 numbers a round"),
        ({"format": "other"}, "is something else; expected an agent that `mapopt train-agent` wrote"),
        ({"layers": [[5, 3], [2, 5]]}, "sizes are not those"),
        ({"baseline": {"shape": "zigzag"}}, "does not hold together"),
        ({"action": "absolute"}, "does not hold together .*scale was given for absolute actions"),
        ({"action": "discrete"}, "clip after them, for discrete actions, is none"),
        ({"action": "multi_discrete", "output": "choice"}, "sizes are not those"),
        ({"activation": "gelu"}, "gelu between its layers and clip after them"),
    ],
)
def test_a_foreign_description_is_refused(change: dict[str, object], message: str, tmp_path: Path) -> None:
    make_agent().save(tmp_path / "a")
    path = tmp_path / "a.json"
    path.write_text(json.dumps(sealed({**json.loads(path.read_text()), **change})))
    with pytest.raises(AgentError, match=message):
        Agent.load(tmp_path / "a")


def test_damaged_or_missing_files_are_refused(tmp_path: Path) -> None:
    make_agent().save(tmp_path / "a")
    (tmp_path / "a.safetensors").write_bytes(b"nonsense")
    with pytest.raises(AgentError, match="damaged"):
        Agent.load(tmp_path / "a")
    (tmp_path / "a.safetensors").unlink()
    with pytest.raises(AgentError, match="two files"):
        Agent.load(tmp_path / "a")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(AgentError, match="damaged"):
        Agent.load(tmp_path / "a.json")
    with pytest.raises(AgentError, match="unknown agent 'nobody'"):
        Agent.load("nobody")


def test_the_shipped_agents_load_and_decide() -> None:
    assert "ppo-shapes" in ZOO
    for name in ZOO:
        agent = Agent.load(name)
        assert find_agent(name).is_file()
        assert agent.training["cost"]["images"] > 0
        assert agent.training["command"].startswith("mapopt train-agent")
        assert np.isfinite(PolicyController(agent).decide((), TASK, BUDGET).knobs.lr)
        assert len(agent.open_loop) > 1


def played(rounds: int) -> list[Round]:
    """Rounds that nobody played, with all kinds of numbers in them."""
    history: list[Round] = []
    for index in range(rounds):
        ap = max(0.0, 0.3 * (1 - math.exp(-index / 6)) + 0.02 * math.sin(3 * index))
        interval = Interval(
            images=640,
            steps=40,
            seconds=1.0,
            class_loss=1 / (1 + index),
            box_loss=0.7 / (2 + index),
            gradient_norm=2 + math.cos(index),
            gradient_norm_max=6 + math.cos(2 * index),
            clipped=0.05 * (index % 3),
            update_ratio=1e-3 * (1 + index % 4),
            diverged=False,
        )
        history.append(
            Round(
                index=index,
                knobs=Knobs(
                    lr=0.2 / (1 + index), augment=0.05 * (index % 7), box_weight=0.5 + 0.1 * index, assign_iou=0.3
                ),
                ramp_from=None,
                interval=interval,
                val=Scores(ap=ap, ap50=1.7 * ap, ap75=0.8 * ap, ar100=ap + 0.1, per_category=(ap, 0.5 * ap, -1.0)),
                images=640 * (index + 1),
                evaluated=128 * (index + 1),
                seconds=float(index),
            )
        )
    return history


def first_observation(history: list[Round], names: list[str], task: TaskInfo, budget: Budget) -> np.ndarray:
    """What an agent saw when there were 18 features, in the words of then."""
    space = KnobSpace([name.removeprefix("knob_") for name in names if name.startswith("knob_")])
    knobs = space.to_unit(history[-1].knobs if history else task.knobs)
    if not history:
        return np.concatenate([np.zeros(18), knobs]).astype(np.float32)

    def log_ratio(value: float, base: float) -> float:
        return math.log(max(value, 1e-9) / max(base, 1e-9))

    now, before, first = history[-1], history[-2] if len(history) > 1 else history[-1], history[0]
    aps = [0.0, *(past.val.ap for past in history)]
    recent = aps[-5:]
    defined = [value for value in now.val.per_category if value >= 0]
    numbers = [
        len(history) / budget.rounds,
        now.val.ap,
        10 * (aps[-1] - aps[-2]),
        10 * (max(aps) - aps[-1]),
        10 * (recent[-1] - recent[0]) / (len(recent) - 1),
        now.val.ap50,
        now.val.ap75 / now.val.ap50 if now.val.ap50 > 0 else 0.0,
        now.val.ar100,
        float(np.std(defined)),
        log_ratio(now.interval.class_loss, first.interval.class_loss),
        log_ratio(now.interval.class_loss, before.interval.class_loss),
        log_ratio(now.interval.box_loss, first.interval.box_loss),
        log_ratio(now.interval.box_loss, before.interval.box_loss),
        log_ratio(now.interval.gradient_norm, first.interval.gradient_norm),
        log_ratio(now.interval.gradient_norm_max, now.interval.gradient_norm),
        now.interval.clipped,
        math.log10(max(now.interval.update_ratio, 1e-8)) + 3,
        math.log10(1 + now.images / task.train_images),
    ]
    return np.clip(np.concatenate([np.array(numbers), knobs]), -5, 5).astype(np.float32)


def test_the_first_agent_sees_and_decides_what_it_did_when_it_was_trained() -> None:
    agent = Agent.load(FIRST)
    names = json.loads(FIRST.read_text())["observation"]
    task = TaskInfo(name="t", classes=3, train_images=256, batch_size=16, knobs=Knobs(assign_iou=0.3))
    budget = Budget(images=12800, rounds=20)
    rates = []
    for rounds in range(20):
        history = played(rounds)
        seen = first_observation(history, names, task, budget)
        assert seen.tobytes() == observe(history, task, budget, agent.observation).tobytes()
        decision = PolicyController(agent).decide(history, task, budget)
        default = Schedule(**agent.baseline).decide(history, task, budget).knobs
        assert decision.knobs == KnobSpace(agent.knobs).shift(agent.act(seen), default, scale=agent.scale)
        rates.append(decision.knobs.lr)
    # Decided by the version that shipped it.
    expected = [0.19066486403024263, 0.17604677456150394, 0.0027472102529459766]
    np.testing.assert_allclose([rates[0], rates[7], rates[19]], expected, rtol=1e-9)


def test_an_agent_asks_for_the_measures_of_its_features() -> None:
    def of(*names: str) -> PolicyController:
        return PolicyController(Agent(((np.zeros((1, len(names))), np.zeros(1)),), ("lr",), 10.0, {}, names))

    assert of("ap", "knob_lr").measures == ()
    assert of("f1", "calibration_error", "lrp").measures == ("calibration", "operating_point")


def test_an_agent_moves_away_from_the_schedule_that_an_instance_brings() -> None:
    agent = make_agent()
    silent = Agent(tuple((w * 0, b * 0) for w, b in agent.layers), agent.knobs, 10.0, {"shape": "cosine"}, NAMES)
    theirs = Schedule(shape="steps", warmup=0.0)
    assert PolicyController(silent, theirs).decide((), TASK, BUDGET) == theirs.decide((), TASK, BUDGET)


def test_the_open_loop_moves_away_from_the_same_schedule_as_the_agent() -> None:
    agent, theirs = make_agent(), Schedule(shape="steps", warmup=0.0)
    for rounds in range(4):
        default = theirs.decide(played(rounds), TASK, BUDGET).knobs
        mean = [float(np.interp((rounds + 0.5) / 2 - 0.5, [0, 1], column)) for column in np.array(agent.open_loop).T]
        expected = KnobSpace(agent.knobs).shift(mean, default, scale=agent.scale)
        assert OpenLoopController(agent, theirs).decide(played(rounds), TASK, BUDGET).knobs == expected
    own, other = OpenLoopController(agent), OpenLoopController(agent, theirs)
    assert own.decide((), TASK, BUDGET).knobs.lr != other.decide((), TASK, BUDGET).knobs.lr
