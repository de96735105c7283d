"""`compare` and `plot` from Python: the same experiment in every form, and parts of one's own by name."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mapopt.agents import Agent, OpenLoopController, PolicyController
from mapopt.errors import ConfigError, MapoptError, StoreError
from mapopt.experiments.comparison.compare import compare, plot
from mapopt.experiments.comparison.config import Experiment, MethodConfig, load_experiment
from mapopt.experiments.comparison.executors import WorkerDied
from mapopt.experiments.comparison.jobs import Plan, Progress, make_job
from mapopt.experiments.comparison.options import make_experiment
from mapopt.experiments.comparison.store import Store
from mapopt.experiments.reporting.progress import TerminalProgress
from mapopt.experiments.searching.search import search
from mapopt.locks import lock_folder
from mapopt.settings import to_mapping
from mapopt.training import Plateau, Recipe, Schedule

SMALL: dict[str, Any] = {
    "name": "small",
    "budget": {"images": 32, "rounds": 2},
    "tasks": {"shapes": {"images": [16, 8, 8]}, "clutter": {"images": [16, 8, 8], "scenes": {"clutter": 2.0}}},
    "methods": {
        "baseline": {"search": {"grid": {"lr": [0.1, 0.2]}, "seeds": 1}},
        "plateau": {"controller": {"kind": "plateau"}},
    },
    "seeds": 2,
    "lanes": 2,
}

PARTS = """
from dataclasses import dataclass

import torch

from mapopt.data import ShapesConfig, make_shapes_splits
from mapopt.training import Decision, Range


class HingeLoss:
    knobs = {"margin": Range(0.0, 2.0)}
    pointwise = True

    def __init__(self, margin: float = 1.0) -> None:
        self.margin = margin

    def __call__(self, scores, labels, where=None):
        signs = torch.where(labels > 0, 1.0, -1.0)
        losses = (self.margin - signs * scores).clamp(min=0)
        return losses.mean()


@dataclass(frozen=True)
class Ramp:
    factor: float = 0.5

    def decide(self, history, task, budget):
        return Decision(knobs=task.knobs.replace(lr=task.knobs.lr * self.factor ** len(history)))


class Silent:
    pass


def scenes():
    return make_shapes_splits(ShapesConfig(size=32), seed=3, train=16, val=8, test=8)
"""


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module with parts of one's own."""
    (tmp_path / "parts_of_mine.py").write_text(PARTS)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("parts_of_mine", None)
    return importlib.import_module("parts_of_mine")


def key_of(experiment: Experiment, method: str) -> str:
    return make_job(experiment, "shapes", method).key


def test_an_experiment_is_taken_in_every_form(tmp_path: Path) -> None:
    experiment = load_experiment(SMALL)
    assert experiment == load_experiment(experiment) == load_experiment(to_mapping(experiment))
    assert experiment.label("plateau") == "plateau", "without a label a method is called by its name"
    assert make_experiment(experiment, ["plateau"], {}) == experiment.only(["plateau"])
    alone = load_experiment("default").only(["agent"])
    assert load_experiment(to_mapping(alone)) == alone, "what was searched for the baseline is still there"
    assert list(make_experiment(SMALL, (), {"tasks": ["clutter"]}).tasks) == ["clutter"]
    assert make_experiment(SMALL, (), {"reference": "plateau", "seeds": 7}).seeds == 7


def test_methods_are_given_by_name_as_whatever_describes_them() -> None:
    experiment = make_experiment(
        SMALL,
        {
            "baseline": None,
            "recipe": Recipe(loss="ap"),
            "schedule": Schedule(shape="steps"),
            "name": "plateau",
            "mapping": {"label": "mine", "recipe": {"batch_size": 8}},
            "method": MethodConfig.of(controller=Plateau(rounds=1), knobs={"lr": 0.3}),
        },
        {},
    )
    methods = experiment.methods
    assert methods["baseline"] == load_experiment(SMALL).methods["baseline"]
    assert methods["recipe"].recipe.loss == "ap"
    assert methods["schedule"].controller.schedule.shape == "steps"
    assert methods["name"].controller.kind == "plateau"
    assert (experiment.label("mapping"), methods["mapping"].recipe.batch_size) == ("mine", 8)
    assert methods["method"].controller.plateau.rounds == 1
    assert experiment.knobs("shapes", "method").lr == 0.3
    assert experiment.reference == "baseline"
    assert make_experiment(SMALL, {"alone": Recipe()}, {}).reference == "alone"


def test_an_agent_is_one_more_method_on_what_the_reference_trains() -> None:
    experiment = make_experiment("default", ["baseline"], {"agent": "ppo-shapes"})
    assert list(experiment.methods) == ["baseline", "agent"]
    reference = make_job(experiment, "shapes", "baseline")
    job = make_job(experiment, "shapes", "agent")
    assert (job.recipe, job.knobs) == (reference.recipe, reference.knobs)
    assert job.search == reference.search
    assert job.search.runs == 28
    both = make_experiment("default", (), {"agent": "ppo-shapes"})
    assert list(both.methods)[-1] == "ppo-shapes", "an agent of the experiment's keeps its name"


@pytest.mark.parametrize(
    ("methods", "options", "message"),
    [
        ("baseline", {}, r"methods is 'baseline': expected a list of names, such as \['baseline'\]"),
        ({}, {"workrs": 2}, "unknown option 'workrs': did you mean 'workers'"),
        ({}, {}, "methods is empty"),
        (["basline"], {}, "unknown method 'basline': did you mean 'baseline'"),
        ({"basline": None}, {}, "unknown method 'basline': did you mean 'baseline'"),
        ((), {"tasks": ["shape"]}, "unknown task 'shape': did you mean 'shapes'"),
        ({"x": {"recip": {}}}, {}, "method 'x': unknown key 'recip': did you mean 'recipe'"),
        ({"x": "plato"}, {}, "unknown controller 'plato': did you mean 'plateau'"),
        ({"x": lambda history, task, budget: None}, {}, "has no name that another process could import it by"),
        ((), {"workers": -1}, "workers is -1: expected up to 1024 processes, or 0 for one per core"),
        ((), {"agent": "nobody"}, "unknown agent 'nobody'"),
        (
            (),
            {"data": [1, 2]},
            "data is of type list: expected a folder, or a function that returns splits",
        ),
        ((), {"data": "parts_of_mine:images"}, "data 'parts_of_mine:images': unknown attribute 'images'"),
        ({"x": "parts_of_mine:Ramb"}, {}, "controller 'parts_of_mine:Ramb': unknown attribute 'Ramb'"),
        ({"x": "parts_of_mine:Silent"}, {}, "parts_of_mine:Silent has no method decide"),
        ({"x": "nowhere_at_all:Ramp"}, {}, "controller 'nowhere_at_all:Ramp': there is no module"),
        ({"x": {"controller": {"kind": "parts_of_mine:Ramp", "settings": {"factr": 1}}}}, {}, "did you mean 'factor'"),
        ({"x": {"controller": {"kind": "plateau", "settings": {"round": 1}}}}, {}, "did you mean 'rounds'"),
        ({"x": {"controller": {"kind": "constant", "settings": {"lr": 1}}}}, {}, "unknown setting of controller 'cons"),
        ({"x": {"recipe": {"loss": "parts_of_mine:HingeLos"}}}, {}, "loss 'parts_of_mine:HingeLos': unknown attribute"),
        (
            {"x": {"recipe": {"loss": "parts_of_mine:HingeLoss", "loss_settings": {"margn": 1}}}},
            {},
            "did you mean 'marg",
        ),
        ({"x": {"recipe": {"box_loss": "parts_of_mine:Silent"}}}, {}, "box loss parts_of_mine:Silent"),
        ({"x": {"recipe": {"optimizer": "parts_of_mine:Silent"}}}, {}, "optimizer parts_of_mine:Silent"),
        ({"x": {"recipe": {"detector": "parts_of_mine:silent"}}}, {}, "detector 'parts_of_mine:silent': unknown attr"),
        ({"x": {"controller": {"patience": -1}}}, {}, "patience is -1: expected a number of rounds"),
    ],
)
def test_what_cannot_be_compared_is_one_line_and_writes_nothing(
    methods: Any, options: Any, message: str, tmp_path: Path, parts: ModuleType
) -> None:
    with pytest.raises(MapoptError, match=message) as caught:
        compare(SMALL, methods=methods, out=tmp_path / "runs", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("wrap", [lambda agent: agent, PolicyController, OpenLoopController])
def test_an_agent_in_memory_is_to_be_written_first(wrap: Any) -> None:
    with pytest.raises(MapoptError, match=r"no other process could find: write it with mapopt\.agents\.save_agent"):
        make_experiment(SMALL, {"x": wrap(Agent.load("ppo-shapes"))}, {})


def test_a_controller_has_one_key_however_it_is_spelt() -> None:
    def key(controller: dict[str, Any]) -> str:
        return key_of(make_experiment(SMALL, {"x": {"controller": controller}}, {}), "x")

    steps = {"kind": "schedule", "schedule": {"shape": "steps"}}
    assert key(steps) == key({"kind": "schedule", "settings": {"shape": "steps"}}) != key({"kind": "schedule"})
    assert key({"kind": "agent"}) == key({"kind": "agent", "settings": {"agent": "ppo-shapes"}})
    moving = [{"assign_iou": [0.25, 0.45]}, {"assign_iou": {0: 0.25, 1: 0.45}}, {"assign_iou": [[0, 0.25], [1, 0.45]]}]
    keys = {key({"kind": "schedule", "schedule": section}) for section in moving}
    keys |= {key({"kind": "schedule", "settings": section}) for section in moving}
    assert len(keys) == 1
    assert keys.isdisjoint(
        [key({"kind": "schedule"}), key({"kind": "schedule", "settings": {"assign_iou": [0.25, 0.5]}})]
    )
    assert key({"kind": "schedule", "schedule": {"assign_iou": []}}) == key({"kind": "schedule"})


def test_a_schedule_that_moves_a_knob_of_nobody_is_named_with_the_configuration() -> None:
    own = {"kind": "schedule", "schedule": {"own": {"margin": [0.0, 1.0]}}}
    with pytest.raises(ConfigError, match="unknown knob in the schedule 'margin'"):
        load_experiment({**to_mapping(load_experiment(SMALL)), "methods": {"baseline": {"controller": own}}})


def test_settings_that_came_after_the_first_runs_count_where_they_are_given() -> None:
    def key(**recipe: Any) -> str:
        return key_of(make_experiment(SMALL, {"x": Recipe(**recipe)}, {}), "x")

    assert key() == key(optimizer_settings={}) != key(optimizer="adamw", optimizer_settings={"beta2": 0.9})
    assert key(optimizer="adamw") != key(optimizer="adamw", optimizer_settings={"beta2": 0.9})


def test_the_key_of_an_own_part_is_that_of_its_source_and_settings(parts: ModuleType, tmp_path: Path) -> None:
    def key(controller: Any) -> str:
        return key_of(make_experiment(SMALL, {"x": controller}, {}), "x")

    first = key(parts.Ramp())
    assert first == key(parts.Ramp(0.5)) == key(parts.Ramp(factor=0.5))
    assert first == key({"controller": {"kind": "parts_of_mine:Ramp", "settings": {"factor": 0.5}}})
    assert first != key(parts.Ramp(0.6))
    (tmp_path / "parts_of_mine.py").write_text(PARTS + "# edited\n")
    assert first != key(parts.Ramp())


def test_data_are_what_a_function_of_ones_own_returns(parts: ModuleType) -> None:
    tasks = {"shapes": {"size": [32, 32]}}
    experiment = make_experiment({**SMALL, "tasks": tasks}, (), {"data": parts.scenes})
    assert experiment.tasks["shapes"].data == "parts_of_mine:scenes"
    job = make_job(experiment, "shapes", "baseline")
    assert job.make_task(0).splits.train.fingerprint == parts.scenes().train.fingerprint
    by_text = make_experiment({**SMALL, "tasks": tasks}, (), {"data": "parts_of_mine:scenes"})
    assert job.key == key_of(by_text, "baseline") != key_of(load_experiment(SMALL), "baseline")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_an_own_controller_is_compared_and_stored(workers: int, parts: ModuleType, tmp_path: Path) -> None:
    events: list[Any] = []
    methods = {"baseline": None, "mine": parts.Ramp(0.25)}
    settings: Any = {"methods": methods, "out": tmp_path, "tasks": ["shapes"], "workers": workers}
    summary = compare(SMALL, **settings, progress=events.append)
    assert [type(event) for event in events[:2]] == [Plan, Progress]
    assert events[0].missing == 4
    (task,) = summary.tasks
    assert {method.method for method in task.methods} == {"baseline", "mine"}
    assert {path.name for path in (tmp_path / "small").iterdir()} == {"shapes", "summary.json"}, "nothing is drawn"
    run = Store(tmp_path).read("small", "shapes", "mine", 1)
    assert [played.knobs.lr for played in run.rounds] == pytest.approx([0.08, 0.02])
    (run.folder.parent / ".1.killed.new").mkdir()  # type: ignore[union-attr]
    again = compare(SMALL, **settings, progress=events.append)
    assert events[-1].missing == 0
    assert {path.name for path in run.folder.parent.iterdir()} == {"0", "1"}, "a leftover"  # type: ignore[union-attr]
    assert again.as_dict() == plot(SMALL, methods=methods, out=tmp_path, tasks=["shapes"]).as_dict()


def test_own_knobs_are_set_and_searched_like_ours(parts: ModuleType, tmp_path: Path) -> None:
    method = {"recipe": {"loss": "parts_of_mine:HingeLoss"}, "knobs": {"margin": 0.5}}
    experiment = make_experiment(SMALL, {"hinge": method}, {})
    assert experiment.knobs("shapes", "hinge").get("margin") == 0.5
    assert key_of(experiment, "hinge") != key_of(
        make_experiment(SMALL, {"hinge": {**method, "knobs": {}}}, {}), "hinge"
    )
    with pytest.raises(ConfigError, match="unknown knob 'margn': did you mean 'margin'"):
        compare(SMALL, methods={"hinge": {**method, "knobs": {"margn": 1.0}}}, out=tmp_path)
    with pytest.raises(ConfigError, match="margin is 3: expected 0 to 2"):
        compare(SMALL, methods={"hinge": {**method, "knobs": {"margin": 3.0}}}, out=tmp_path)
    content = {**SMALL, "methods": {"baseline": {**method, "search": {"grid": {"margn": [1.0]}}}}}
    with pytest.raises(ConfigError, match="unknown knob in the search space 'margn': did you mean 'margin'"):
        load_experiment(content)


@pytest.mark.slow
def test_an_own_loss_with_an_own_knob_is_searched_compared_and_drawn(
    parts: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = {"loss": "parts_of_mine:HingeLoss", "loss_settings": {"margin": 0.7}}
    hinge = {"recipe": recipe, "search": {"grid": {"margin": [0.5, 1.0]}, "seeds": 1}}
    content = {**SMALL, "methods": {**SMALL["methods"], "hinge": hinge}}
    settings: Any = {"methods": ["hinge"], "out": tmp_path, "tasks": ["shapes"], "workers": 1}
    (outcome,) = search(content, **settings)
    assert {tried.changes.knobs["margin"] for tried in outcome.tried} == {0.5, 1.0}
    compare(content, **settings, report=True)
    assert "hinge" in capsys.readouterr().out
    assert (tmp_path / "small" / "shapes_final.png").is_file()
    run = Store(tmp_path).read("small", "shapes", "hinge", 0)
    best = outcome.best.changes.knobs["margin"]
    assert [played.knobs.get("margin") for played in run.rounds] == [best, best], (
        "what was searched is read, not pasted"
    )


@pytest.mark.slow
def test_parts_of_the_script_that_runs_are_there_in_workers(tmp_path: Path) -> None:
    script = tmp_path / "script_of_mine.py"
    script.write_text(
        PARTS
        + f"""
if __name__ == "__main__":
    from mapopt.experiments import MethodConfig, compare
    from mapopt.training import Recipe

    recipe = Recipe(loss=HingeLoss(0.5))
    mine = MethodConfig.of(recipe=recipe, controller=Ramp(0.5))
    config = {SMALL!r}
    summary = compare(config, methods={{"baseline": None, "mine": mine}}, tasks=["shapes"], out="runs", workers=2)
    print("summary of", len(summary.to_rows()))
"""
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.stdout == "summary of 2\n", done.stderr
    run = Store(tmp_path / "runs").read("small", "shapes", "mine", 0)
    assert [played.knobs.get("margin") for played in run.rounds] == [0.5, 0.5]


def test_a_store_without_runs_of_the_experiment_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="run `mapopt compare` first"):
        plot(SMALL, out=tmp_path)


def test_an_experiment_that_another_process_works_at_is_refused(tmp_path: Path) -> None:
    with lock_folder(tmp_path / "small"):
        for work in (compare, search):
            with pytest.raises(StoreError, match=r"small: another process of mapopt writes here\. Wait until it has"):
                work(SMALL, out=tmp_path, device="cpu", workers=1)
        plot_refusal = "holds no runs of this experiment"
        with pytest.raises(StoreError, match=f"no experiment is stored|{plot_refusal}"):
            plot(SMALL, out=tmp_path)


def test_a_worker_that_was_replaced_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with TerminalProgress() as progress:
        progress(WorkerDied(None, "exit status 5"))
    assert capsys.readouterr().out == "a worker process died (exit status 5); its runs begin once more\n"
