"""The environment's page: its tables are those of the code, so that neither can change without the other."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re

import pytest

from mapopt.envs.detector_training.actions import ACTIONS, DEFAULT_KNOBS, SCALE, STEP_SIZE
from mapopt.envs.detector_training.env import DetectorTrainingEnv
from mapopt.envs.detector_training.features import FEATURES
from mapopt.envs.detector_training.rewards import REWARDS
from mapopt.envs.detector_training.settings import EnvKeywords, EnvSettings
from mapopt.envs.families import ShapesFamily
from mapopt.training.budget import Budget
from mapopt.training.knobs import Knobs, ranges
from mapopt.training.recipe import Recipe

PAGE = inspect.getdoc(DetectorTrainingEnv) or ""


def section(title: str) -> str:
    matches = re.search(rf"^### {title}\n(.*?)(?=^### |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert matches, f"the page has no section '{title}'"
    return matches[1]


def rows(title: str) -> list[str]:
    return [line for line in section(title).splitlines() if line.startswith("|")][2:]


def entries(title: str) -> list[str]:
    """The entries of a section's list, each on one line."""
    matches = re.findall(r"^- (.*?)(?=^- |^\S|^$|\Z)", section(title), flags=re.MULTILINE | re.DOTALL)
    return [" ".join(entry.split()) for entry in matches]


def test_the_sections_are_those_of_gymnasiums_pages() -> None:
    titles = re.findall(r"^### (.*)$", PAGE, flags=re.MULTILINE)
    assert titles == [
        "Description",
        "Action space",
        "Observation space",
        "Rewards",
        "Starting state",
        "End of the episode",
        "Info",
        "Arguments",
        "Version history",
    ]


def test_the_table_of_knobs_is_that_of_the_code() -> None:
    scale = {True: "logarithmic", False: "linear"}
    defaults = {name: getattr(Knobs(), name) for name in ranges()}
    left_open = {
        "lr": "the optimizer's",
        "weight_decay": "the optimizer's",
        "class_weight": "the loss's",
        "assign_iou": "rises from 0.25 to 0.55; 0.4 without a schedule",
        "soft_nms_sigma": "the detector's: 0.5 with the tiny one; above 0, nms_iou is ignored",
    }
    texts = {name: left_open[name] if value is None else f"{value:g}" for name, value in defaults.items()}
    assert rows("Action space") == [
        f"| {name} | {bounds.low:g} to {bounds.high:g} | {scale[bounds.log]} | {texts[name]} |"
        for name, bounds in ranges().items()
    ]


def test_the_forms_of_action_are_those_of_the_code() -> None:
    expected = [
        f"``{form}``: {' '.join((inspect.getdoc(kind) or '').partition(chr(10) * 2)[0].split())}"
        for form, kind in ACTIONS.items()
    ]
    assert entries("Action space") == expected
    for name in DEFAULT_KNOBS:
        assert f"``{name}``" in section("Action space")
    assert f"``scale`` ({SCALE:g}), ``step_size`` ({STEP_SIZE:g})" in section("Arguments")
    assert f"({math.log10(SCALE) / 2:.1f} of it at scale {SCALE:g})" in section("Action space")


def test_the_table_of_features_is_that_of_the_code() -> None:
    expected = [
        f"| {feature.name} | {feature.low:g} to {feature.high:g} | {feature.meaning} |" for feature in FEATURES.values()
    ]
    assert rows("Observation space") == [
        *expected,
        "| knob_NAME | -1 to 1 | present value of a knob, on its own scale |",
    ]


def test_the_rewards_are_those_of_the_code() -> None:
    assert entries("Rewards") == [f"``{name}``: {form.meaning}." for name, form in REWARDS.items()]


def test_every_argument_is_on_the_page_with_its_default() -> None:
    fields = {field.name: field.default for field in dataclasses.fields(EnvSettings)}
    assert set(fields) == {"family", *EnvKeywords.__annotations__}
    arguments = {*fields, *inspect.signature(DetectorTrainingEnv).parameters} - {"changes"}
    assert arguments == set(re.findall(r"``([a-z_]+)``", section("Arguments"))) & arguments
    for name, default in fields.items():
        if isinstance(default, str | float):
            said = f'"{default}"' if isinstance(default, str) else f"{default:g}"
            assert f"``{name}`` ({said})" in section("Arguments")
    budget = EnvSettings().budget
    assert f"``budget`` ({budget.images} images in {budget.rounds} rounds)" in section("Arguments")


@pytest.mark.parametrize("reward", ["gain", "f1"])
def test_the_names_in_infos_are_on_the_page(reward: str) -> None:
    family = ShapesFamily(images=(8, 4, 4), count=1, recipe=Recipe(batch_size=4))
    env = DetectorTrainingEnv(family, budget=Budget(images=4, rounds=1), reward=reward)
    listed = section("Info") + section("End of the episode") + section("Starting state")
    _, start = env.reset(seed=0)
    *_, info = env.step(env.action_space.sample() * 0)
    measured = {"val_f1", "val_best_f1", "val_lrp", "val_optimal_lrp"}
    assert (measured <= set(info)) == (reward == "f1")
    for name in (set(info) | set(start)) - measured:
        assert f"``{name}``" in listed, name
