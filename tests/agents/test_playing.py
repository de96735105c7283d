"""An episode under any controller: the environment's own, and drawn at steady scales."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
from stable_baselines3.common.base_class import BaseAlgorithm

from mapopt.agents import Agent, PolicyController
from mapopt.agents.playing import play, steady
from mapopt.drawing import RenderedKnob, RenderScene
from mapopt.envs.detector_training.settings import EnvSettings
from mapopt.envs.detector_training.states import Start
from mapopt.envs.families import ShapesFamily, make_family
from mapopt.errors import ConfigError
from mapopt.training import Budget, Constant, Plateau, Range, Round, Schedule, Trainer, run

START = Start(instance=1, seed=4)


@pytest.fixture
def settings(tiny_family: ShapesFamily, tiny_budget: Budget) -> EnvSettings:
    return EnvSettings(family=tiny_family, budget=tiny_budget)


def values(history: list[Round], knob: str) -> tuple[float, ...]:
    return tuple(past.knobs.get(knob) for past in history)


@pytest.mark.parametrize("controller", [None, Constant(), Plateau(rounds=1), Schedule(shape="steps")])
def test_an_episode_is_the_run_of_its_controller(
    controller: Any, settings: EnvSettings, tiny_family: ShapesFamily, tiny_budget: Budget
) -> None:
    seen: list[RenderScene] = []
    played = play(controller, settings, start=START, report=seen.append)
    history = list(run(Trainer(tiny_family.instance(1).task, seed=4), controller or Schedule(), tiny_budget).history)
    assert len(seen) == len(played.scenes) == tiny_budget.rounds + 1
    assert played.scenes[-1].ap == tuple(past.val.ap for past in history)
    (knob,) = played.scenes[-1].knobs
    assert (knob.name, knob.values) == ("lr", values(history, "lr"))
    assert "test_ap" in played.info


def test_a_models_episode_shows_its_knobs_and_its_baseline(
    train_model: Callable[..., BaseAlgorithm], make_env: Callable[..., gymnasium.Env], settings: EnvSettings
) -> None:
    model = train_model("SAC", make_env(knobs=("augment", "lr"), features=("progress", "f1")))
    played = play(PolicyController.from_sb3(model), settings, start=START)
    assert [knob.name for knob in played.scenes[-1].knobs] == ["augment", "lr"]
    assert played.info["val_f1"] >= 0
    shown = play(PolicyController.from_sb3(model), settings, start=START, knobs=("momentum",))
    assert [knob.name for knob in shown.scenes[-1].knobs] == ["momentum"]
    assert shown.scenes[-1].ap == played.scenes[-1].ap
    with pytest.raises(ConfigError, match="unknown knob 'lrr': did you mean 'lr'"):
        play(None, settings, knobs=("lrr",))


def test_an_agent_moves_away_from_the_baseline_that_an_instance_brings(tiny_budget: Budget) -> None:
    family = make_family("rescue", images=(16, 8, 8), count=9)
    family = replace(family, recipe=replace(family.recipe, batch_size=2))
    number = next(number for number in range(9) if family.instance(number).baseline is not None)
    settings = EnvSettings(family=family, budget=tiny_budget)
    start = Start(instance=number, seed=0)
    baseline = play(None, settings, start=start).scenes[-1].knobs[0]
    blind = play(PolicyController(_silent(("lr",))), settings, start=start).scenes[-1].knobs[0]
    assert blind.values == blind.baseline == baseline.values
    assert baseline.values != play(Schedule(), settings, start=start).scenes[-1].knobs[0].values


def _silent(knobs: tuple[str, ...]) -> Any:
    """Returns an agent that never moves a knob."""
    return Agent(((np.zeros((len(knobs), 1)), np.zeros(len(knobs))),), knobs, 4.0, {}, ("ap",))


def scene(values: tuple[float, ...], baseline: tuple[float, ...], ap: tuple[float, ...]) -> RenderScene:
    knob = RenderedKnob(name="lr", values=values, range=Range(1e-5, 3.0, log=True), baseline=baseline)
    return RenderScene(title="t", rounds=3, ap=ap, knobs=(knob,))


def test_all_pictures_of_an_episode_have_the_scales_of_the_whole() -> None:
    scenes = steady([scene((), (), ()), scene((0.2,), (0.1,), (0.3,)), scene((0.2, 0.01), (0.1, 0.02), (0.3, 0.1))])
    assert {shown.ap_limit for shown in scenes} == {0.35}
    assert {shown.knobs[0].limits for shown in scenes} == {scenes[0].knobs[0].limits}
    assert {shown.knobs[0].baseline for shown in scenes} == {(0.1, 0.02)}
    low, high = scenes[0].knobs[0].limits or (0, 0)
    assert low < 0.01 < 0.2 < high
    assert low >= 1e-5
    assert high <= 3.0


def test_a_knob_that_stands_still_has_a_scale() -> None:
    (steadied,) = steady([scene((3.0, 3.0), (), (0.0, 0.0))])
    low, high = steadied.knobs[0].limits or (0, 0)
    assert 1e-5 < low < high == pytest.approx(3.0)
    assert steadied.ap_limit == 0.05
