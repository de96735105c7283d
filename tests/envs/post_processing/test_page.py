"""The page of post-processing: its tables are those of the code, so that neither can change without the other."""

from __future__ import annotations

import dataclasses
import inspect
import re

import numpy as np
import pytest

from mapopt.envs.post_processing.actions import STEP_SIZE
from mapopt.envs.post_processing.env import PostProcessingEnv
from mapopt.envs.post_processing.lanes import LIMIT
from mapopt.envs.post_processing.registries import CANDIDATE_FAMILIES, SETTING_ACTIONS, SETTING_REWARDS
from mapopt.envs.post_processing.settings import PostProcessingEnvSettings, PostProcessingKeywords
from mapopt.envs.post_processing.synthetic import SyntheticCandidates
from mapopt.postprocessing.settings import PostProcessingSettings
from mapopt.training.knobs import Knobs, ranges

PAGE = inspect.getdoc(PostProcessingEnv) or ""


def section(title: str) -> str:
    matches = re.search(rf"^### {title}\n(.*?)(?=^### |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert matches, f"the page has no section '{title}'"
    return matches[1]


def rows(title: str) -> list[list[str]]:
    lines = [line for line in section(title).splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def entry_of(name: str) -> str:
    """The row of the table of observations that an entry belongs to."""
    if name.startswith("knob_"):
        return "knob_NUMBER"
    return re.sub(r"_\d+$", "_k", re.sub(r"score_at_[\d.]+", "score_at_x", re.sub(r"gain_\d_ago", "gain_n_ago", name)))


@pytest.mark.parametrize("classes", [1, 4])
def test_the_table_of_actions_is_that_of_the_code(classes: int) -> None:
    default = PostProcessingSettings.of(Knobs(), classes).as_dict()
    expected = []
    for name, value in default.items():
        if not name.endswith(tuple("123")):
            bounds = ranges()[name.removesuffix("_0")]
            scale = "logarithmic" if bounds.log else "linear"
            label = re.sub("_0$", "_k", name)
            expected.append([label, f"{bounds.low:g} to {bounds.high:g}", scale, f"{value:g}"])
    assert [row[:4] for row in rows("Action space")] == expected


@pytest.mark.parametrize("classes", [1, 4])
def test_the_sizes_of_the_spaces_are_on_the_page(classes: int) -> None:
    family = SyntheticCandidates(classes=classes, count=1, images=(4, 4))
    box, number = (PostProcessingEnv(family, action=form).action_space for form in SETTING_ACTIONS)  # type: ignore[arg-type]
    shape = re.search(r"Box\(-1, 1, \((\d+) \+ (\d+) k,\)\)", section("Action space"))
    count = re.search(r"Discrete\((\d+) \+ (\d+) k\)", section("Action space"))
    seen = re.search(r"Box\(-(\d+), \1, \((\d+) \+ (\d+) k,\), float32\)", section("Observation space"))
    assert shape
    assert count
    assert seen
    assert box.shape == (int(shape[1]) + int(shape[2]) * classes,)
    assert number.n == int(count[1]) + int(count[2]) * classes  # type: ignore[attr-defined]
    space = PostProcessingEnv(family).observation_space
    assert space.shape == (int(seen[2]) + int(seen[3]) * classes,)
    assert float(seen[1]) == LIMIT


def test_the_table_of_observations_has_every_entry_in_its_order_and_range() -> None:
    env = PostProcessingEnv(SyntheticCandidates(count=4, images=(4, 4)), length=6)
    ranges_of = {row[0]: [float(end) for end in row[1].split(" to ")] for row in rows("Observation space")}
    assert list(dict.fromkeys(map(entry_of, env.observation_names))) == list(ranges_of)
    env.action_space.seed(0)
    for episode in range(4):
        seen = [env.reset(seed=episode)[0], *(env.step(env.action_space.sample())[0] for _ in range(6))]
        for place, name in enumerate(env.observation_names):
            low, high = ranges_of[entry_of(name)]
            values = np.array([observation[place] for observation in seen])
            assert ((values >= low) & (values <= high)).all(), name


def test_the_rewards_are_those_of_the_code() -> None:
    matches = re.findall(r"^- ``(\w+)``:", section("Rewards"), flags=re.MULTILINE)
    assert matches == list(SETTING_REWARDS)


def test_every_argument_is_on_the_page_with_its_default() -> None:
    fields = {field.name: field.default for field in dataclasses.fields(PostProcessingEnvSettings)}
    assert set(fields) == {"family", *PostProcessingKeywords.__annotations__}
    arguments = {*fields, *inspect.signature(PostProcessingEnv).parameters} - {"changes"}
    assert arguments == set(re.findall(r"``([a-z_]+)``", section("Arguments"))) & arguments
    for name, default in {**fields, "step_size": STEP_SIZE}.items():
        said = f'"{default}"' if isinstance(default, str) else f"{default:g}"
        assert f"``{name}`` ({said})" in section("Arguments")
    assert all(f'"{name}"' in section("Arguments") for name in CANDIDATE_FAMILIES)


def test_the_names_in_infos_are_on_the_page() -> None:
    env = PostProcessingEnv(SyntheticCandidates(count=1, images=(4, 4)), length=1)
    _, start = env.reset(seed=0)
    *_, end = env.step(np.zeros(9))
    listed = section("Info") + section("End of the episode") + section("Starting state")
    for name in {*start, *end}:
        assert f"``{name}``" in listed, name
