"""Mixtures: instances of several families or recipes in turn, whose lanes are what they are by themselves."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mapopt.agents.learning.settings import AgentTraining, same_training, stored
from mapopt.agents.learning.training import train_agent
from mapopt.data import ShapesConfig
from mapopt.envs.detector_training.lanes import DetectorTrainingLanes
from mapopt.envs.detector_training.settings import EnvSettings
from mapopt.envs.detector_training.states import Start
from mapopt.envs.detector_training.vector import DetectorTrainingVectorEnv
from mapopt.envs.families import MixtureFamily, RecipesFamily, RescueFamily, ShapesFamily, make_family
from mapopt.envs.families.mixture import MixedFamily
from mapopt.errors import CheckpointError, ConfigError
from mapopt.registry import Choice
from mapopt.settings import from_mapping, to_mapping
from mapopt.training.budget import Budget
from mapopt.training.controllers.fixed import Schedule
from mapopt.training.fleet import Trainer
from mapopt.training.knobs import Knobs
from mapopt.training.loop import run
from mapopt.training.recipe import Recipe

SMALL: dict[str, Any] = {"images": (12, 6, 6), "count": 8}
SCENES = ShapesConfig(size=32, object_size=(8.0, 16.0))
BUDGET = Budget(images=16, rounds=2)


def recipes(**changes: Any) -> RecipesFamily:
    given = {"batches": (4, 8), "sizes": (24, 32), "scenes": SCENES, "combinations": 4}
    return RecipesFamily(**{**SMALL, **given, **changes})


def two_optimizers() -> MixtureFamily:
    members = [
        {"name": "shapes", "scenes": to_mapping(SCENES), "recipe": {"optimizer": name, "batch_size": 4}}
        for name in ("sgd", "adamw")
    ]
    return MixtureFamily(**SMALL, members=tuple(members))


def test_members_take_turns_in_an_order_that_each_split_draws_for_itself() -> None:
    family = make_family("mixture", images=(4, 2, 2), count=40, members=("shapes", "units", "rescue", "budgets"))
    drawn = [family.family_of(number) for number in range(40)]
    assert all(sorted(drawn[start : start + 4]) == [0, 1, 2, 3] for start in range(0, 40, 4))
    assert drawn != [0, 1, 2, 3] * 10
    assert drawn != [replace(family, split="eval").family_of(number) for number in range(40)]
    assert drawn[:8] == [replace(family, count=8).family_of(number) for number in range(8)]
    mistakes = {family.families[2].mistake_of(n) for n in range(40) if drawn[n] == 2}  # type: ignore[attr-defined]
    assert len(mistakes) > 4, "the turns are not in step with what a member takes in turn"


def test_members_may_be_given_in_every_way_and_are_written_down_alike() -> None:
    mapping = {"name": "rescue", "knobs": {"augment": 0.1}}
    finished = RescueFamily(knobs=Knobs(augment=0.1), split="eval")
    ways: list[Any] = [mapping, Choice(name="rescue", settings={"knobs": {"augment": 0.1}}), finished]
    families = [MixtureFamily(members=("shapes", way)) for way in ways]
    assert families[0] == families[1]
    for family in families:
        assert family.families == (ShapesFamily(), replace(finished, split="train"))
        assert from_mapping(MixtureFamily, to_mapping(family), "it") == family
        assert "split" not in family.members[1]
    assert MixtureFamily(members=(ShapesFamily(split="eval"),)).members == ("shapes",)


def test_what_is_given_to_the_mixture_is_its_members_unless_they_say_otherwise() -> None:
    own = {"name": "shapes", "images": (8, 4, 4)}
    family = MixtureFamily(members=("rescue", own), recipe=Recipe(optimizer="sgd"), **SMALL)
    first, second = family.families
    assert (first.images, second.images) == ((12, 6, 6), (8, 4, 4))
    assert first.recipe.optimizer == second.recipe.optimizer == "sgd"
    assert first.count == 54, "rescue takes multiples of its mistakes"
    assert MixtureFamily(members=("budgets",)).families[0].budgets, "what nobody gave is the member's own"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"members": ()}, r"members is \(\): expected a list of at least one family"),
        ({"members": "shapes"}, "members is 'shapes': expected a list"),
        ({"members": ("shape",)}, "unknown family 'shape': did you mean 'shapes'"),
        ({"members": ({"count": 3},)}, "expected a name, and settings beside it"),
        ({"members": ({"name": "shapes", "split": "eval"},)}, "'shapes' of a mixture has a split of its own"),
        ({"members": ({"name": "shapes", "count": 3},)}, "'shapes' of a mixture has 3 instances: expected 48 or more"),
        ({"members": ({"name": "shapes", "varity": 0.1},)}, "did you mean 'variety'"),
    ],
)
def test_wrong_members_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MixtureFamily(**given)


def test_the_two_sides_have_other_combinations_and_each_value_equally_often() -> None:
    sides = {split: RecipesFamily(split=split).chosen for split in ("train", "eval")}  # type: ignore[arg-type]
    assert not set(sides["train"]) & set(sides["eval"])
    for chosen in sides.values():
        assert len(set(chosen)) == 12
        assert [set(Counter(column).values()) for column in zip(*chosen, strict=True)] == [{3}, {3}, {4}, {6}]
    assert RecipesFamily(seed=1).chosen != sides["train"]
    assert len(RecipesFamily(combinations=1000).chosen) == 48
    assert RecipesFamily(combinations=3).chosen == sides["train"][:3]


def test_instances_have_the_recipe_and_the_size_that_they_say() -> None:
    family = recipes(count=12)
    seen = set()
    for number in range(12):
        instance, combination = family.instance(number), family.chosen[family.family_of(number)]
        recipe, splits = instance.task.recipe, instance.task.splits
        assert (recipe.optimizer, recipe.loss, recipe.batch_size, splits.train.size[0]) == combination
        optimizer, loss, batch, size = combination
        assert f": {optimizer}, {loss}, batch {batch}, {size} pixels: 3 classes of " in str(instance)
        boxes = splits.train.annotations.boxes
        assert (boxes[:, 2:] - boxes[:, :2]).max() <= 16 * size / 32 + 0.1
        seen.add(combination)
        assert instance.task.knobs.lr == recipe.lr, "every optimizer begins at its own rate"
    assert seen == set(family.chosen)
    units = recipes(base="units").instance(0)
    assert "losses times" in str(units)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"optimizers": ("sdg",)}, "unknown entry of optimizers 'sdg': did you mean 'sgd'"),
        ({"losses": ()}, "losses is .* at least one of"),
        ({"batches": (4, 4)}, r"batches is \(4, 4\): expected a list of whole numbers, each once"),
        ({"batches": (0,)}, "batches is 0. Expected a whole number from 1"),
        ({"sizes": 32}, "sizes is 32: expected a list"),
        ({"sizes": (8, 48)}, "sizes is 8. Expected a whole number from 16"),
        ({"combinations": 0}, "combinations is 0"),
        ({"base": "rescue"}, "unknown entry of base 'rescue'"),
        ({"recipe": Recipe(optimizer="sgd")}, "recipe.optimizer is sgd, but this family draws it: .* give optimizers"),
        ({"recipe": Recipe(batch_size=4)}, "recipe.batch_size is 4, but this family draws it"),
        ({"optimizers": ("sgd",), "losses": ("focal",), "batches": (4,), "sizes": (32,)}, "there is one combination"),
        ({"budgets": (Budget(images=8, rounds=1),)}, "no whole number of steps of 16"),
    ],
)
def test_wrong_recipes_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RecipesFamily(**given)


@pytest.mark.parametrize("family", [recipes(), two_optimizers()])
def test_every_lane_is_the_run_of_its_own_instance_bit_for_bit(family: MixedFamily) -> None:
    vector = DetectorTrainingVectorEnv(4, family, budget=BUDGET, knobs=("lr", "augment"), autoreset_mode="Disabled")
    vector.lanes.reset({lane: Start(instance=lane, seed=lane + 3) for lane in range(4)})
    assert len(vector.lanes.fleets.all) == len(
        {
            repr(family.instance(lane).task.recipe) + str(family.instance(lane).task.splits.train.size)
            for lane in range(4)
        }
    )
    assert len(vector.lanes.fleets.all) > 1
    for _ in range(BUDGET.rounds):
        *_, infos = vector.step(np.zeros((4, 2)))
    for lane in range(4):
        result = run(Trainer(family.instance(lane).task, seed=lane + 3), Schedule(), BUDGET, select="last")
        played = vector.lanes.histories[lane]
        assert [each.val for each in played] == [each.val for each in result.history]
        assert [each.interval.class_loss for each in played] == [each.interval.class_loss for each in result.history]
        assert result.test is not None
        assert infos["test_ap"][lane] == result.test.ap


def test_a_copied_episode_goes_on_in_a_lane_that_had_another_recipe() -> None:
    family = two_optimizers()
    vector = DetectorTrainingVectorEnv(2, family, budget=BUDGET, knobs=("lr",), autoreset_mode="Disabled")
    first, second = (next(n for n in range(8) if family.family_of(n) == member) for member in (0, 1))
    vector.lanes.reset({0: Start(instance=first, seed=1), 1: Start(instance=second, seed=2)})
    vector.step(np.full((2, 1), 0.3))
    state = vector.get_state(0)
    vector.set_state(1, state)
    *_, infos = vector.step(np.full((2, 1), -0.5))
    assert infos["class_loss"][0] == infos["class_loss"][1]
    assert infos["val_ap"][0] == infos["val_ap"][1]
    assert len(vector.lanes.fleets.all) == 1
    elsewhere = DetectorTrainingVectorEnv(2, recipes(), budget=BUDGET, knobs=("lr",))
    with pytest.raises(CheckpointError, match="of other data than instance"):
        elsewhere.set_state(0, state)


def test_a_budget_has_to_suit_every_recipe() -> None:
    with pytest.raises(ConfigError, match="a round of 4 images is no whole number of steps of 8"):
        DetectorTrainingLanes(EnvSettings(family=recipes(), budget=Budget(images=8, rounds=2)))
    # A member with budgets of its own does not mind that of the environment.
    members = ({"name": "budgets", "recipe": {"batch_size": 16}}, {"name": "shapes", "recipe": {"batch_size": 4}})
    DetectorTrainingLanes(EnvSettings(family=MixtureFamily(members=members), budget=Budget(images=8, rounds=2)))


def test_a_kept_training_imports_no_member_that_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "imported_because_a_file_said_so"
    (tmp_path / f"{name}.py").write_text("from mapopt.envs.families import ShapesFamily as Own\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    now = stored(AgentTraining(family="mixture"), make_family("mixture"))
    kept = {**now, "family": {**now["family"], "members": ["shapes", f"{name}:Own"]}}
    assert same_training(now, now)
    assert not same_training(kept, now)
    assert name not in sys.modules
    assert MixtureFamily(members=(f"{name}:Own",)).families == (ShapesFamily(),), "a user's own call imports it"


def test_an_agent_trains_on_a_mixture_with_references_and_held_out_instances(tmp_path: Path) -> None:
    settings = AgentTraining(
        family=recipes(), budget=BUDGET, knobs=("lr",), iterations=2, workers=1, lanes=4, evaluate_every=1, num_seeds=2
    )
    agent = train_agent(settings, tmp_path / "out")
    kept = agent.training["settings"]["family"]
    assert (kept["name"], kept["batches"], kept["knobs"]["lr"]) == ("recipes", [4, 8], None)
    assert agent.training["cost"]["reference_runs"] > 0
    assert "held_out_return" in agent.training["kept"]
    # The settings that were kept are those of today, so that the training goes on.
    longer = train_agent(replace(settings, iterations=3), tmp_path / "out", resume=True)
    assert longer.training["cost"]["iterations"] == 3
