"""The file in which a search leaves what it chose: merged, read with its configuration, and never pasted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mapopt.errors import ConfigError
from mapopt.experiments.comparison.config import filled, load_experiment
from mapopt.experiments.searching.searched_file import path_beside, read_searched, write_searched
from mapopt.experiments.searching.settings import Searched
from mapopt.settings import to_yaml

ADAMW = Searched(
    knobs={"lr": 1e-05, "class_weight": 0.25},
    recipe={"optimizer": "adamw"},
    controller={"schedule": {"milestones": [0.2, 0.5]}},
    runs=96,
    images=1000,
    seconds=12.5,
    processor_seconds=3.1,
    val_ap=0.31,
    interval=(0.3, 0.32),
    asked="0123456789abcdef",
)
SGD = Searched(knobs={"lr": 0.2}, runs=1, images=1, seconds=1.0)


def test_what_is_written_is_read_and_further_searches_join_it(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "searched.yaml"
    chosen = {"easy": {"baseline": ADAMW, "plateau": SGD}, "1": {"null": SGD}}
    write_searched(path, chosen, {"easy": {"baseline": SGD}}, command="mapopt search --config mine.yaml")
    assert read_searched(path) == chosen, "names that YAML would read as something else are texts, too"
    write_searched(path, {"easy": {"baseline": SGD}, "hard": {"baseline": ADAMW}}, {}, command="again")
    assert read_searched(path) == {
        "easy": {"baseline": SGD, "plateau": SGD},
        "1": {"null": SGD},
        "hard": {"baseline": ADAMW},
    }
    text = path.read_text()
    assert text.startswith("# Written by `again`, read by `mapopt compare`; a section `searched`")
    assert yaml.safe_load(text)["best_of_each"] == {"easy": {"baseline": yaml.safe_load(to_yaml(SGD))}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version: 2\nsearched: {}\n", "is of version 2: expected 1; run `mapopt search` again"),
        ("searched: {}\n", "version is missing"),
        (
            "version: 1\nsearched: {easy: {baseline: {knobs: {}, runs: many, images: 1, seconds: 1}}}\n",
            "runs is 'many'",
        ),
        ("", "is empty"),
    ],
)
def test_a_file_that_is_something_else_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "searched.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_searched(path)


def test_a_file_beside_a_configuration_is_read_with_it(content: dict[str, Any], tmp_path: Path) -> None:
    config = tmp_path / "small.yaml"
    config.write_text("# What is said here stays.\n" + yaml.safe_dump(content, sort_keys=False))
    before = load_experiment(config)
    assert before.chosen("easy", "baseline") == before.methods["baseline"]
    beside = path_beside(config)
    assert beside == tmp_path / "small.searched.yaml"
    write_searched(beside, {"easy": {"baseline": ADAMW, "gone": SGD}, "gone": {"baseline": SGD}}, {}, command="it")
    experiment = load_experiment(config)
    chosen = experiment.chosen("easy", "baseline")
    assert (chosen.recipe.optimizer, chosen.recipe.batch_size) == ("adamw", 4)
    assert chosen.knobs == {"augment": 0.4, "lr": 1e-05, "class_weight": 0.25}
    assert chosen.controller.schedule.milestones == (0.2, 0.5)
    assert experiment.outcome("easy", "baseline") == ADAMW
    assert experiment.outcome("hard", "baseline") is None
    borrowed = experiment.chosen("easy", "borrower")
    assert (borrowed.recipe.optimizer, borrowed.knobs["lr"]) == ("adamw", 1e-05)
    assert borrowed.controller == experiment.methods["borrower"].controller, "its controller is its own"

    config.write_text(
        config.read_text() + "searched: {easy: {baseline: {knobs: {lr: 0.3}, runs: 1, images: 1, seconds: 1}}}\n"
    )
    experiment = load_experiment(config)
    assert experiment.chosen("easy", "baseline").knobs["lr"] == 0.3, "what the configuration says goes before"
    assert experiment.chosen("easy", "baseline").recipe.optimizer == "muon"


def test_what_was_chosen_and_makes_no_method_is_one_line(content: dict[str, Any]) -> None:
    experiment = load_experiment(content)
    for changes, message in (
        ({"knobs": {"lrr": 1.0}}, "file: unknown knob 'lrr': did you mean 'lr'"),
        ({"recipe": {"los": "ap"}}, "file: what was searched for method 'baseline' on 'easy': unknown key 'los'"),
        ({"recipe": {"batch_size": 64}}, "file: a round of 32 images is no whole number of steps of 64"),
    ):
        wrong = Searched(**changes, runs=1, images=1, seconds=1.0)
        with pytest.raises(ConfigError, match=message):
            filled(experiment, {"easy": {"baseline": wrong}}, "file")
