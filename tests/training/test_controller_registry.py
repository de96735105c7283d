"""The one table of controllers: names, objects, functions and somebody's own by module:attribute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mapopt.errors import ConfigError, StoreError
from mapopt.files import write_json, write_text
from mapopt.registry import Choice
from mapopt.training import (
    CONTROLLERS,
    Budget,
    Constant,
    Decision,
    Knobs,
    Patience,
    Plateau,
    Recorder,
    Replay,
    Schedule,
    Task,
    TaskInfo,
    Trainer,
    make_controller,
    run,
)

OWN = """
from dataclasses import dataclass
from mapopt.training import Decision


@dataclass(frozen=True)
class Halves:
    factor: float = 0.5

    def decide(self, history, task, budget):
        return Decision(knobs=task.knobs.replace(lr=task.knobs.lr * self.factor ** len(history)))


def halves(history, task, budget, factor=0.5):
    return Halves(factor).decide(history, task, budget)


def make_halves(factor):
    return Halves(factor)


def make_nothing():
    return 3
"""

TASK = TaskInfo(name="t", classes=2, train_images=100, batch_size=4, knobs=Knobs(lr=0.1))
BUDGET = Budget(images=400, rounds=20)


def test_names_make_our_controllers_with_their_settings() -> None:
    assert make_controller("constant") == Constant()
    assert make_controller("schedule", {"shape": "steps", "milestones": [0.5]}) == Schedule(
        shape="steps", milestones=(0.5,)
    )
    assert make_controller(Choice(name="plateau", settings={"rounds": 3}), {"factor": 0.1}) == Plateau(
        rounds=3, factor=0.1
    )
    assert make_controller(Schedule, patience=2) == Patience(controller=Schedule(), rounds=2)
    given = Plateau()
    assert make_controller(given) is given


def test_the_table_names_every_controller_once_and_imports_none_of_the_upper_layers() -> None:
    fixed = {
        "schedule",
        "constant",
        "plateau",
        "one_cycle",
        "greedy_lr",
        "hypergradient",
        "autopilot",
        "replay",
        "agent",
    }
    assert set(CONTROLLERS) == fixed | {"lookahead", "best_of_n", "mf_pbt"}
    CONTROLLERS.check_name("agent")


@pytest.mark.parametrize("name", ["Halves", "halves", "make_halves"])
def test_an_own_controller_is_a_class_a_function_or_what_a_function_makes(
    name: str, own_module: Callable[[str], str]
) -> None:
    text = f"{own_module(OWN)}:{name}"
    controller = make_controller(text, {"factor": 0.1}, patience=3)
    assert controller.decide([], TASK, BUDGET).knobs.lr == 0.1
    again = make_controller(CONTROLLERS.choice(text, {"factor": 0.1}), patience=3)
    assert again.decide([], TASK, BUDGET) == controller.decide([], TASK, BUDGET)


def test_a_function_in_hand_is_a_controller() -> None:
    controller = make_controller(lambda history, task, budget: Decision(knobs=task.knobs.replace(lr=0.3)))
    assert controller.decide([], TASK, BUDGET).knobs.lr == 0.3


def test_a_controller_is_stored_as_its_name_and_settings() -> None:
    choice = CONTROLLERS.choice(Plateau(rounds=3))
    assert choice.name == "plateau"
    assert make_controller(choice) == Plateau(rounds=3)
    replay = Replay((Decision(knobs=Knobs(lr=0.1), ramp_from=Knobs(lr=0.2)), Decision(knobs=Knobs())))
    assert make_controller(CONTROLLERS.choice(replay)) == replay


def test_a_run_is_replayed_from_its_file(make_task: Callable[..., Task], tmp_path: Path) -> None:
    task, budget = make_task(), Budget(images=8, rounds=2)
    history = run(Trainer(task, seed=0), Schedule(), budget, observer=Recorder(tmp_path)).history
    for path in (tmp_path, tmp_path / "rounds.jsonl"):
        assert make_controller("replay", {"path": str(path)}) == Replay.of(history)
    assert history[0].via, "the warm-up ends inside the first round"
    decisions = [decision.as_dict() for decision in Replay.of(history).decisions]
    write_json(tmp_path / "a.json", {"format": "mapopt schedule", "version": 2, "decisions": decisions})
    assert make_controller("replay", {"path": tmp_path / "a.json"}) == Replay.of(history)


@pytest.mark.parametrize(
    ("given", "settings", "message"),
    [
        ("shedule", {}, "unknown controller 'shedule': did you mean 'schedule'"),
        ("plateau", {"round": 3}, "controller 'plateau': unknown key 'round': did you mean 'rounds'"),
        ("plateau", {"rounds": "3"}, "controller 'plateau': rounds is '3': expected a whole number"),
        ("plateau", {"rounds": 0}, "rounds is 0: expected 1 or more"),
        ("replay", {}, "controller 'replay' needs 'path'"),
        ("nowhere.parts:Mine", {}, "controller 'nowhere.parts:Mine': there is no module 'nowhere'"),
        ("{own}:Helves", {}, "unknown attribute 'Helves': did you mean 'Halves'"),
        ("{own}:dataclass", {}, "made a value of type function: expected an object with decide"),
        ("{own}:make_nothing", {}, "made a value of type int: expected an object with decide"),
        ("{own}:make_halves", {}, "needs 'factor', and it is not given"),
        ("{own}:halves", {"faktor": 1}, "unknown setting of controller '.*:halves' 'faktor': did you mean 'factor'"),
        (3, {}, "controller of type int has no method decide"),
        (Plateau(), {"rounds": 3}, "controller of type Plateau is finished, but settings were given"),
    ],
)
def test_what_is_no_controller_is_named(
    given: Any, settings: dict[str, Any], message: str, own_module: Callable[[str], str]
) -> None:
    own = own_module(OWN)
    with pytest.raises(ConfigError, match=message):
        make_controller(given.format(own=own) if isinstance(given, str) else given, settings)


def test_patience_below_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match="patience is -1: expected 0, which never stops, or more rounds"):
        make_controller("constant", patience=-1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"rounds.jsonl: no such file; expected the rounds that"),
        ("[1]\n", r"rounds.jsonl: holds no decisions of this version"),
        ('{"knobs": {"lr": 99}, "ramp_from": null}\n', r"holds no decisions of this version .*knob lr is 99"),
        ('{"knobs": {}, "ramp_from": {}, "via": [0.5]}\n', r"holds no decisions of this version"),
        ('{"knobs": {}, "ramp_from": {}, "via": [[2, {}]]}\n', r"of this version .*via has the fra"),
    ],
)
def test_a_file_that_cannot_be_replayed_is_named(content: str | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        write_text(tmp_path / "rounds.jsonl", content)
    with pytest.raises(StoreError, match=message):
        make_controller("replay", {"path": str(tmp_path)})
