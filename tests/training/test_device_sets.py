"""Sets on a device: kept as long as they may be needed, and evaluated for the lanes that are asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mapopt.data import ShapesConfig, Splits, make_shapes_splits
from mapopt.training import lane_detections
from mapopt.training.controllers.base import Decision
from mapopt.training.device_sets import DeviceSets
from mapopt.training.fleet import Fleet
from mapopt.training.knobs import Knobs
from mapopt.training.loop import advance
from mapopt.training.recipe import Recipe
from mapopt.training.task import Task


@pytest.fixture(scope="module")
def many() -> list[Splits]:
    return [make_shapes_splits(ShapesConfig(), seed=seed, train=4, val=2, test=6) for seed in range(4)]


def test_a_set_is_made_once_and_kept_while_it_is_in_use(many: list[Splits]) -> None:
    sets = DeviceSets(torch.device("cpu"), spare=0)
    train = sets.get(many[0], "train")
    sets.evict([many[0]])
    assert sets.get(many[0], "train") is train
    sets.evict([many[1]])
    assert len(sets) == 0


def test_what_was_evicted_longest_ago_is_forgotten_first(many: list[Splits]) -> None:
    room = 2 * many[0].train.pixels.nbytes
    sets = DeviceSets(torch.device("cpu"), spare=room)
    first = {number: sets.get(many[number], "train") for number in range(4)}
    sets.evict([many[0]])
    assert len(sets) == 3
    assert sets.get(many[3], "train") is first[3]
    assert sets.get(many[0], "train") is first[0]
    assert sets.get(many[1], "train") is not first[1]


def test_on_the_cpu_only_what_the_lanes_have_is_held(many: list[Splits]) -> None:
    tasks = [Task(name="t", splits=splits, recipe=Recipe(batch_size=4)) for splits in many]
    fleet = Fleet(tasks[0], [0, 1])
    for task in (*tasks[1:], tasks[0]):
        for lane in (0, 1):
            fleet.reset(lane, 0, task)
        fleet.train(4)
        fleet.evaluate("val")
    assert len(fleet._engines[0]._sets) == 1
    assert fleet._engines[0]._sets.get(tasks[0].splits, "train").pixels is tasks[0].splits.train.pixels


def test_some_lanes_are_evaluated_as_all_are_bit_for_bit(many: list[Splits]) -> None:
    tasks = [Task(name="t", splits=splits, recipe=Recipe(batch_size=4, ema=0.5)) for splits in many]
    fleet = Fleet(tasks, [0, 1, 2, 3])
    fleet.train(16)
    before = fleet.snapshot(2)
    everyone = fleet.evaluate("test")
    for lanes in ([1], [0, 3], [1, 2, 3]):
        for lane, report in zip(lanes, fleet.evaluate("test", lanes=lanes), strict=True):
            assert np.array_equal(report.precision, everyone[lane].precision)
    together, [two, alone] = fleet.detect("test"), [fleet.detect("test", lanes=[lane])[0] for lane in (2, 1)]
    for lane, detections in ((1, alone), (2, two)):
        assert np.array_equal(detections.scores, together[lane].scores)
        assert np.array_equal(detections.boxes, together[lane].boxes)
    scores = fleet.score("test", measures=("calibration",))
    for lanes in ([1], [3, 0], [1, 2, 3]):
        assert fleet.score("test", measures=("calibration",), lanes=lanes) == [scores[lane] for lane in lanes]
    for name, tensor in fleet.snapshot(2).tensors.items():
        assert torch.equal(tensor, before.tensors[name])
    assert fleet.evaluate("test", lanes=[]) == fleet.score("test", lanes=[]) == fleet.detect("test", lanes=[]) == []


def test_lanes_that_rest_are_neither_detected_nor_evaluated(
    many: list[Splits], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = Fleet([Task(name="t", splits=splits, recipe=Recipe(batch_size=4)) for splits in many], [0, 1, 2, 3])
    evaluated: list[int] = []
    detected: list[int] = []
    engine = fleet._engines[0]
    evaluate, detect = lane_detections.evaluate_lanes, engine.detector.detect

    def counted(truths: object, detections: list[object], **settings: str) -> object:
        evaluated.append(len(detections))
        return evaluate(truths, detections, **settings)  # type: ignore[arg-type]

    def looked(images: torch.Tensor, knobs: dict[str, torch.Tensor]) -> object:
        detected.append(len(images))
        return detect(images, knobs)

    monkeypatch.setattr(lane_detections, "evaluate_lanes", counted)
    monkeypatch.setattr(engine.detector, "detect", looked)
    decisions = [Decision(knobs=Knobs())] * 4
    for active in ([True, False, True, True], [False, True, False, False]):
        advance(fleet, decisions, [[]] * 4, 4, active=active)
    assert evaluated == [3, 1]
    assert detected == [3, 1]
