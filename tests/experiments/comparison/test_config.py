"""Experiments as files: what they may say, what a run's key depends on, and what the shipped ones are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mapopt.errors import ConfigError
from mapopt.experiments.comparison.config import CONFIGS, Experiment, MethodConfig, load_experiment, shipped
from mapopt.experiments.comparison.jobs import make_job
from mapopt.experiments.comparison.options import make_experiment
from mapopt.experiments.comparison.stored_run import Cost
from mapopt.training import Recipe

SMALL = """
name: small
budget: {images: 32, rounds: 2}
tasks:
  shapes: {images: [16, 8, 8]}
methods:
  baseline: {label: baseline, recipe: {batch_size: 4}, knobs: {lr: 0.1, augment: 0.5}}
  constant:
    label: constant
    recipe: {batch_size: 4}
    controller: {kind: constant}
    search: {of: baseline}
seeds: 3
lanes: 2
tuned:
  shapes:
    baseline: {knobs: {lr: 0.4}, runs: 3, images: 10, seconds: 1.5}
"""


@pytest.fixture
def small(tmp_path: Path) -> Experiment:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return load_experiment(path)


@pytest.mark.parametrize("name", shipped())
def test_the_shipped_experiments_can_be_read_and_begin_with_their_command(name: str) -> None:
    path = CONFIGS / f"{name}.yaml"
    experiment = load_experiment(path)
    assert load_experiment(name) == experiment
    assert experiment.name == name
    if path.read_text().startswith(f"# mapopt search --config {name}"):  # it compares nothing
        assert all(method.search.space for method in experiment.methods.values())
        return
    assert path.read_text().startswith("# mapopt compare")
    if name == "one_change":
        return  # every method is the default but for one setting
    for task in experiment.tasks:
        for method, settings in experiment.methods.items():
            if settings.controller.agent:
                continue  # with what the agent was trained with
            outcome = experiment.outcome(task, method)
            assert outcome is not None
            assert outcome.runs > 0, "settings come from a search, and its cost is kept"


def test_the_default_experiment_has_the_methods_it_promises() -> None:
    experiment = load_experiment("default")
    assert set(experiment.methods) >= {"constant", "baseline", "plateau", "ap", "rank_sort", "agent", "replay"}
    assert experiment.seeds >= 16


def key_of(experiment: Experiment, method: str = "baseline") -> str:
    return make_job(experiment, "shapes", method).key


def test_a_key_depends_on_what_decides_the_numbers_and_on_nothing_else(small: Experiment) -> None:
    key = key_of(small)
    method = small.methods["baseline"]

    def changed(**changes: object) -> str:
        methods = {**small.methods, "baseline": replace(method, **changes)}  # type: ignore[arg-type]
        return key_of(replace(small, methods=methods))

    assert changed(label="another name") == key
    assert key_of(replace(small, seeds=2, lanes=1)) == key
    assert changed(knobs={"augment": 0.6}) != key
    assert key_of(replace(small, searched={})) != key
    assert changed(recipe=replace(method.recipe, clip=1.0)) != key
    assert key_of(replace(small, select="last")) != key
    assert key_of(small, "constant") != key


def test_the_cost_of_a_borrowed_search_counts(small: Experiment) -> None:
    job = make_job(small, "shapes", "constant")
    assert job.search == Cost(runs=3, images=10, seconds=1.5)
    assert job.training == Cost()


def test_what_a_search_chose_on_a_task_goes_before_a_methods_own_settings(small: Experiment) -> None:
    assert small.knobs("shapes", "baseline").lr == 0.4
    assert small.knobs("shapes", "baseline").augment == 0.5
    assert make_job(small, "shapes", "constant").make_task(0).knobs.lr == 0.4, (
        "a borrowed search sets the borrower's knobs"
    )
    assert replace(small, searched={}).knobs("shapes", "baseline").lr == 0.1


@pytest.mark.parametrize(
    ("recipe", "side", "message"),
    [
        ({"detector": "nano"}, 48, "images of 48x48 pixels for detector 'nano': expected a height and a width"),
        ({"detector": "nano", "multi_scale": 0.2}, 64, r"multi_scale is 0\.2 with images of 64x64 pixels"),
        ({"detector": "resnet18", "weights": "gone.pth"}, 64, r"weights 'gone\.pth': no such file"),
    ],
)
def test_what_cannot_be_built_is_said_before_another_method_is_trained(
    recipe: dict[str, Any], side: int, message: str, small: Experiment
) -> None:
    (name, task), *_ = small.tasks.items()
    of_side = replace(task, scenes=replace(task.scenes, size=side, object_size=(8.0, 16.0)))
    experiment = replace(small, tasks={name: of_side}, searched={})
    with pytest.raises(ConfigError, match=message):
        make_job(experiment.with_methods({"one": MethodConfig(recipe=Recipe(**recipe))}, "one"), name, "one")


def test_every_seed_draws_its_own_images_and_every_method_gets_the_same(small: Experiment) -> None:
    first, again = (make_job(small, "shapes", method).make_task(0) for method in ("baseline", "constant"))
    assert first.splits.train.fingerprint == again.splits.train.fingerprint
    assert first.splits.train.fingerprint != make_job(small, "shapes", "baseline").make_task(1).splits.train.fingerprint


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seeds: 3", "seedss: 3", "did you mean 'seeds'"),
        ("images: 32", "images: 31", "images that divide by the rounds"),
        ("images: 32, rounds: 2", "images: 20, rounds: 2", "no whole number of steps"),
        ("kind: constant", "kind: constantly", "did you mean .constant."),
        ("of: baseline", "of: basline", "did you mean 'baseline'"),
        ("{batch_size: 4}, knobs", "{batch_size: 0}, knobs", "batch_size is 0"),
        ("lr: 0.4", "lrr: 0.4", "did you mean 'lr'"),
        ("tuned:\n  shapes", "tuned:\n  shape", "did you mean 'shapes'"),
        ("    baseline: {knobs", "    baselin: {knobs", "did you mean 'baseline'"),
        ("{of: baseline}", "{grid: {lrr: [1]}}", "did you mean 'lr'"),
        ("label: constant", "label: constant\n    knobs: {lrr: 1}", "did you mean 'lr'"),
        ("lanes: 2", "lanes: 2\nreference: base", "did you mean 'baseline'"),
    ],
)
def test_wrong_files_are_named(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in SMALL
    path = tmp_path / "wrong.yaml"
    path.write_text(SMALL.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        load_experiment(path)


def test_an_absent_file_names_the_shipped_experiments() -> None:
    with pytest.raises(ConfigError, match=r"no such file.*default"):
        load_experiment("defalt")


def test_an_unknown_method_is_named(small: Experiment) -> None:
    with pytest.raises(ConfigError, match="did you mean 'constant'"):
        small.only(("constnt",))
    alone = small.only(("constant",))
    assert alone.reference == "constant"
    assert alone.outcome("shapes", "constant") == small.outcome("shapes", "constant")
    assert key_of(alone, "constant") == key_of(small, "constant")


MAPPING = {"name": "mine", "budget": {"images": 32, "rounds": 2}, "tasks": {"shapes": {}}}


@pytest.mark.parametrize(
    ("config", "listed"),
    [
        (MAPPING, "it has none"),
        ({**MAPPING, "methods": None}, "it has none"),
        ({**MAPPING, "methods": {"mine": {}, "other": {}}, "reference": "mine"}, "mine, other"),
    ],
)
def test_a_method_of_a_shipped_experiment_is_named_with_the_way_to_it(config: dict[str, Any], listed: str) -> None:
    with pytest.raises(ConfigError) as refused:
        make_experiment(config, ("baseline",), {})
    assert str(refused.value) == (
        f"method 'baseline' is not among those of this experiment ({listed}), but of the shipped 'default': copy it "
        "from there, or give methods as a mapping with 'baseline': load_experiment('default').methods['baseline']"
    )
    way = {"baseline": load_experiment("default").methods["baseline"]}
    assert list(make_experiment(config, way, {}).methods) == ["baseline"]


def test_a_shipped_method_that_another_experiment_lacks_is_found(small: Experiment) -> None:
    with pytest.raises(ConfigError, match=r"but of the shipped 'losses_sgd': copy it"):
        small.only(("tie_aware_ap",))
    with pytest.raises(ConfigError, match=r"method 'baseline' is not among those of this experiment .*, but of"):
        make_experiment({**MAPPING, "methods": {"mine": {}}, "reference": "mine"}, {"baseline": None}, {})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../up", "the experiment's name is '../up': expected at most 120 letters"),
        ("", "the experiment's name is ''"),
    ],
)
def test_an_experiments_name_never_leads_out_of_its_folder(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(load_experiment("default"), name=name)


def test_names_of_tasks_and_methods_are_folders_too() -> None:
    experiment = load_experiment("default")
    with pytest.raises(ConfigError, match="a task's name is 'a/b'"):
        replace(experiment, tasks={"a/b": next(iter(experiment.tasks.values()))})
    with pytest.raises(ConfigError, match="a method's name is 'a b'"):
        replace(experiment, methods={"a b": experiment.methods[experiment.reference]}, reference="a b")
