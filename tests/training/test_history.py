"""What a round says of itself: measures that were asked for, and records from before there were any."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from mapopt.errors import ConfigError
from mapopt.metrics import Detections, GroundTruth, f1_and_lrp, measure_calibration
from mapopt.training.budget import Budget
from mapopt.training.checkpoint import Checkpoint, CheckpointFolder
from mapopt.training.controllers.base import Controller, Decision, measures_of
from mapopt.training.controllers.fixed import Constant
from mapopt.training.controllers.reactive import Patience
from mapopt.training.fleet import Fleet, Trainer
from mapopt.training.history import Measure, Round
from mapopt.training.knobs import Knobs
from mapopt.training.loop import advance, run, run_fleet
from mapopt.training.measures import measure
from mapopt.training.task import Task

MakeTask = Callable[..., Task]
NEW_KNOBS = ("soft_nms_sigma", "detections", "batch_fraction", "temperature")
NEW_INTERVAL = ("gradient_ratio", "weight_norm")
NEW_SCORES = (
    *("calibration_error", "f1", "best_f1", "lrp", "optimal_lrp"),
    *("ap_perfect_boxes", "ap_perfect_ranking", "class_loss", "box_loss"),
)


@dataclass(frozen=True)
class Curious:
    """A controller that wants to know more."""

    measures: tuple[Measure, ...] = ("operating_point",)

    def decide(self, history: object, task: object, budget: object) -> Decision:
        return Decision(knobs=Knobs())


def without_what_is_new(record: dict[str, dict[str, object]]) -> dict[str, dict[str, object]]:
    for group, names in (("knobs", NEW_KNOBS), ("interval", NEW_INTERVAL), ("val", NEW_SCORES)):
        for name in names:
            del record[group][name]
    return record


def test_records_from_before_there_were_measures_still_load(make_task: MakeTask) -> None:
    played = run(Trainer(make_task()), Constant(), Budget(images=8, rounds=1)).history[0]
    old = json.loads(json.dumps(without_what_is_new(played.as_dict())))
    unmeasured = replace(played.interval, gradient_ratio=-1.0, weight_norm=-1.0)
    hard = played.knobs.replace(soft_nms_sigma=0.0)
    assert Round.from_dict(old) == replace(played, interval=unmeasured, knobs=hard)
    assert Round.from_dict(json.loads(json.dumps(played.as_dict()))) == played


def test_points_on_the_way_are_in_records_where_there_are_some(make_task: MakeTask) -> None:
    played = run(Trainer(make_task()), Constant(), Budget(images=8, rounds=1)).history[0]
    assert "via" not in played.as_dict()
    own = Knobs(lr=0.1, own={"margin": 0.5})
    bent = replace(played, knobs=own, ramp_from=own, via=((0.25, own), (0.25, own.replace(lr=0.2))))
    record = json.loads(json.dumps(bent.as_dict()))
    assert [fraction for fraction, _ in record["via"]] == [0.25, 0.25]
    assert record["via"][1][1]["lr"] == 0.2
    assert record["via"][1][1]["margin"] == 0.5
    assert Round.from_dict(record) == bent
    assert [fraction for fraction, _ in bent.points] == [0.0, 0.25, 0.25, 1.0]


@pytest.mark.parametrize(
    ("via", "message"),
    [
        ("soon", "a round: via is 'soon': expected a list"),
        ([0.5], "a round: via.0 is 0.5: expected 2 values: a number, keys with values"),
        ([[0.5]], "a round: via.0 is .*expected 2 values"),
        ([[0.5, {"lr": 99}]], "via.0.1: knob lr is 99: expected 1e-05 to 3"),
        ([[1.5, {}]], "a round: via has the fraction 1.5: expected fractions inside the round"),
    ],
)
def test_points_on_the_way_that_are_none_are_named(make_task: MakeTask, via: object, message: str) -> None:
    played = run(Trainer(make_task()), Constant(), Budget(images=8, rounds=1)).history[0]
    record = {**replace(played, ramp_from=played.knobs).as_dict(), "via": via}
    with pytest.raises(ConfigError, match=message):
        Round.from_dict(record)


def test_checkpoints_from_before_there_were_measures_still_load(make_task: MakeTask, tmp_path: Path) -> None:
    task = make_task()
    folder = CheckpointFolder(folder=tmp_path, recipe=task.recipe, categories=("a",), size=(48, 48), settings={})
    trainer = Trainer(task)
    history = run(trainer, Constant(), Budget(images=8, rounds=1)).history
    folder.save("old", trainer.snapshot(), history)
    content = torch.load(tmp_path / "old.pt", weights_only=True)
    content["history"] = [without_what_is_new(record) for record in content["history"]]
    for name in NEW_KNOBS:
        del content["state"]["knobs"][name]
    content["version"] = 1
    del content["checksum"]
    torch.save(content, tmp_path / "old.pt")
    loaded = Checkpoint.load(tmp_path / "old.pt")
    assert loaded.snapshot.knobs == task.knobs.settled().replace(soft_nms_sigma=0.0)
    assert loaded.history[0].val == history[0].val
    assert loaded.history[0].interval.weight_norm == -1


def test_what_is_measured_is_what_the_metrics_say_of_the_val_detections(make_task: MakeTask) -> None:
    fleet = Fleet(make_task(), [0, 1])
    decisions = [Decision(knobs=Knobs(lr=0.02))] * 2
    rounds = advance(fleet, decisions, [[], []], 32, measures=("calibration", "operating_point"))
    truth = fleet._engines[0]._set(0, "val").truth
    for played, detections in zip(rounds, fleet.detect("val"), strict=True):
        points = f1_and_lrp(truth, detections)
        assert (played.val.best_f1, played.val.optimal_lrp) == (points.best_f1, points.optimal_lrp)
        assert (played.val.f1, played.val.lrp) == (points.f1, points.lrp)
        assert played.val.calibration_error == measure_calibration(truth, detections).expected_calibration_error
        assert 0 < played.val.calibration_error < 1
        assert 0 < played.val.f1 < played.val.best_f1 < 1


def test_what_is_undefined_is_stored_as_minus_one() -> None:
    detections = Detections([[0, 0, 1, 1]], [0.5], [1], [1])
    values = measure(GroundTruth([], [], [], images=[1]), detections, ("calibration", "operating_point", "limits"))
    assert values == dict.fromkeys(NEW_SCORES[:-2], -1.0)


def test_what_nobody_asked_for_is_not_measured(make_task: MakeTask) -> None:
    fleet = Fleet(make_task(), [0, 1, 2])
    decisions = [Decision(knobs=Knobs())] * 3
    none = advance(fleet, decisions, [[], [], []], 8)
    some = advance(fleet, decisions, [[], [], []], 8, measures=("calibration",), active=[True, False, True])
    assert [getattr(none[0].val, name) for name in NEW_SCORES] == [-1.0] * 9
    assert [getattr(some[0].val, name) for name in NEW_SCORES[1:]] == [-1.0] * 8
    assert [played.val.calibration_error >= 0 for played in some] == [True, False, True], (
        "lanes that rest are not measured"
    )


def test_a_diverged_lane_has_the_worst_of_what_was_asked_for(make_task: MakeTask) -> None:
    fleet = Fleet(make_task(), [0, 1])
    with torch.no_grad():
        fleet._place[0][0].detector.weights[0] = float("nan")
    decisions = [Decision(knobs=Knobs())] * 2
    broken, healthy = advance(fleet, decisions, [[], []], 8, measures=("calibration", "operating_point"))
    assert [getattr(broken.val, name) for name in NEW_SCORES] == [-1.0, 0.0, 0.0, 1.0, 1.0, -1.0, -1.0, -1.0, -1.0]
    assert broken.val.ap == 0
    assert healthy.val.optimal_lrp > 0


def test_a_run_measures_what_its_controllers_read(make_task: MakeTask) -> None:
    budget = Budget(images=16, rounds=2)
    curious = Patience(controller=Curious(), rounds=5)
    assert measures_of(curious) == ("operating_point",)
    assert measures_of(Constant()) == ()
    alone: Controller = curious
    results = [
        *run_fleet(Fleet(make_task(), [0, 1]), [Constant(), alone], budget),
        run(Trainer(make_task()), Constant(), budget),
    ]
    measured = [[played.val.lrp >= 0 for played in result.history] for result in results]
    assert measured == [[True, True], [True, True], [False, False]]


def test_an_unknown_measure_is_named(make_task: MakeTask) -> None:
    with pytest.raises(ConfigError, match="unknown measure 'calibrations': did you mean 'calibration'"):
        Trainer(make_task()).fleet.score("val", measures=["calibrations"])  # type: ignore[list-item]


def test_the_gradient_ratio_is_the_mean_of_gradient_over_weights(make_task: MakeTask) -> None:
    whole, stepped = Trainer(make_task(clip=0.5)), Trainer(make_task(clip=0.5))
    interval = whole.train(16)
    ratios, norms = [], []
    for _ in range(4):
        part = stepped.train(4)
        norms.append(float(stepped.snapshot().tensors["weights"].norm()))
        ratios.append(part.gradient_norm / norms[-1])
        assert part.weight_norm == pytest.approx(norms[-1])
    assert interval.gradient_ratio == pytest.approx(sum(ratios) / 4)
    assert interval.weight_norm == pytest.approx(norms[-1])
