"""Every component of the losses has its own name in the history, sums to what is minimized, and changes no bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mapopt
from mapopt.data import ShapesConfig, make_shapes_splits
from mapopt.training import Fleet, Task, TrainedRun
from mapopt.training.history import Round
from mapopt.training.log import IntervalLog

MakeTask = Callable[..., Task]
WEIGHTS = {"class_weight": 0.25, "box_weight": 2.0}


def interval_of(task: Task, images: int = 8):
    return Fleet(task, [0]).train(images, measures=("components",))[0]


@pytest.mark.parametrize(
    ("recipe", "names"),
    [
        ({"loss": "focal"}, ["class"]),
        ({"loss": "ap"}, ["rank"]),
        ({"loss": "rank_sort"}, ["rank", "sort"]),
        ({"loss": "alrp"}, ["classification", "localization"]),
    ],
)
def test_components_of_a_dense_loss_sum_to_it(make_task: MakeTask, recipe: dict, names: list[str]) -> None:
    interval = interval_of(make_task(knobs=WEIGHTS, **recipe))
    assert list(interval.components) == [*names, "box"] or list(interval.components) == ["box", *names]
    assert sum(interval.components[name] for name in names) * 0.25 == pytest.approx(interval.class_loss, rel=1e-5)
    assert interval.components["box"] * 2 == pytest.approx(interval.box_loss, rel=1e-5)


def test_what_is_blended_in_and_added_has_names_of_its_own(make_task: MakeTask) -> None:
    task = make_task(knobs={**WEIGHTS, "surrogate_weight": 0.4}, loss="ap", auxiliary={"smooth_ap": 0.5})
    parts = interval_of(task).components
    assert set(parts) == {"rank", "blend_with", "auxiliary.0", "box"}
    total = 0.4 * parts["rank"] + 0.6 * parts["blend_with"] + 0.5 * parts["auxiliary.0"]
    assert total * 0.25 == pytest.approx(interval_of(task).class_loss, rel=1e-5)


@pytest.mark.parametrize(
    ("recipe", "names"),
    [
        (
            {"detector": "faster_rcnn_resnet18", "loss": "torchvision"},
            {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"},
        ),
        ({"detector": "fcos_resnet18", "loss": "torchvision"}, {"classification", "bbox_regression", "bbox_ctrness"}),
        ({"detector": "fcos_resnet18", "loss": "rank_sort"}, {"rank", "sort", "bbox_regression", "bbox_ctrness"}),
    ],
)
def test_components_of_a_torchvision_detector_have_its_names(make_task: MakeTask, recipe: dict, names: set) -> None:
    splits = make_shapes_splits(ShapesConfig(size=64), seed=0, train=4, val=2, test=2)
    fleet = Fleet(replace(make_task(batch_size=2, **recipe), splits=splits), [0])
    interval = fleet.train(2, measures=("components",))[0]
    assert set(interval.components) == names
    knobs = fleet.knobs[0]
    weights = {"class": knobs.get("class_weight"), "box": knobs.get("box_weight")}
    classes = {"loss_classifier", "loss_objectness", "classification", "rank", "sort"}
    total = sum(value * weights["class" if name in classes else "box"] for name, value in interval.components.items())
    assert total == pytest.approx(interval.class_loss + interval.box_loss, rel=1e-4)
    scores = fleet.score("val", measures=("loss", "components"))[0]
    assert set(scores.components) == names


def test_looking_at_components_and_val_losses_changes_no_bit(make_task: MakeTask) -> None:
    task = make_task(loss="rank_sort")
    looking, blind = Fleet(task, [0, 1]), Fleet(task, [0, 1])
    for _ in range(2):
        stream = torch.get_rng_state()
        seen = looking.train(8, measures=("components",))
        scores = looking.score("val", measures=("loss", "components"))
        unseen = blind.train(8)
        assert torch.equal(stream, torch.get_rng_state())
        for ours, theirs in zip(seen, unseen, strict=True):
            assert (ours.class_loss, ours.box_loss) == (theirs.class_loss, theirs.box_loss)
            assert ours.components
            assert theirs.components == {}
    assert sum(scores[0].components[name] for name in ("rank", "sort")) == pytest.approx(scores[0].class_loss)
    for lane in range(2):
        ours, theirs = (fleet.snapshot(lane).tensors for fleet in (looking, blind))
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_lanes_that_are_packed_anew_keep_their_components(make_task: MakeTask) -> None:
    task = make_task(loss="rank_sort")
    alone = [Fleet(task, [seed]).train(8 * (1 + seed), measures=("components",))[0] for seed in (0, 1)]
    fleet = Fleet(task, [0, 1])
    # A lane that is done rests while the other goes on, packed by itself.
    first = fleet.train(8, measures=("components",))
    assert first[0].components == pytest.approx(alone[0].components, rel=1e-6)
    fleet = Fleet(task, [0, 1])
    fleet.set_knobs([fleet.knobs[0], fleet.knobs[1].replace(batch_fraction=0.5)])
    both = fleet.train(8, measures=("components",))
    halved = Fleet(task, [1])
    halved.set_knobs([halved.knobs[0].replace(batch_fraction=0.5)])
    assert both[1].components == pytest.approx(halved.train(8, measures=("components",))[0].components, rel=1e-6)
    assert both[0].components == pytest.approx(alone[0].components, rel=1e-6)


def test_sums_count_steps_that_ran_and_an_absent_component_as_0() -> None:
    log = IntervalLog(2, torch.device("cpu"), measures=("components",))
    sums = log.components
    assert sums is not None
    running = torch.tensor([True, True])
    for step in range(70):
        sums.add(
            {"rank": torch.tensor([1.0, 2.0])} | ({"blend": torch.tensor([3.0, 6.0])} if step % 2 else {}), running
        )
    sums.add({"rank": torch.tensor([float("nan"), 73.0])}, torch.tensor([False, True]))
    assert sums.means() == [{"rank": 1.0, "blend": 1.5}, {"rank": 3.0, "blend": pytest.approx(210 / 71)}]
    part = sums.of([1, 0])
    part.add({"rank": torch.tensor([1.0, 1.0])}, running)
    sums.put(part, [1], [0])
    assert sums.means()[0] == {"rank": 1.0, "blend": pytest.approx(105 / 71)}
    assert sums.means()[1]["rank"] == 3.0
    assert IntervalLog(2, torch.device("cpu"), measures=("components",)).components.means() == [{}, {}]


def test_histories_keep_components_and_those_from_before_them_load(make_task: MakeTask, tmp_path: Path) -> None:
    splits = make_shapes_splits(ShapesConfig(size=32, object_size=(8.0, 16.0)), seed=0, train=16, val=8, test=8)
    run: TrainedRun = mapopt.train(splits, out=tmp_path, images=32, rounds=2, device="cpu", val_loss=True)
    played = run.history[0]
    assert set(played.interval.components) == set(played.val.components)
    assert played.val.class_loss >= 0
    read = [Round.from_dict(json.loads(line)) for line in (tmp_path / "rounds.jsonl").open()]
    assert tuple(read) == run.history
    header = (tmp_path / "rounds.csv").read_text().splitlines()[0].split(",")
    assert "interval.components.box" in header
    assert "val.components.box" in header

    plain = replace(played, interval=replace(played.interval, components={}), val=replace(played.val, components={}))
    record = plain.as_dict()
    assert "components" not in record["interval"]
    assert "components" not in record["val"]
    assert Round.from_dict(record) == plain


def test_a_run_that_is_resumed_goes_on_measuring_the_val_loss(tmp_path: Path) -> None:
    tiny = {"images": 32, "rounds": 2, "scene_counts": (16, 8, 8), "device": "cpu", "out": tmp_path}
    mapopt.train(**{**tiny, "images": 16, "rounds": 1}, controller="constant", val_loss=True)
    resumed = mapopt.train(**tiny, controller="constant", resume=True)
    assert [played.val.class_loss >= 0 for played in resumed.history] == [True, True]
