"""Packed lanes: those that rest cost nothing, and whatever they do, a lane has the bits that it has where all run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields

import pytest
import torch

from mapopt.data import ShapesConfig, Splits, make_shapes_splits
from mapopt.detectors.dense import tiny
from mapopt.detectors.dense.detector import DenseDetector
from mapopt.training import packing
from mapopt.training.fleet import Fleet, Trainer
from mapopt.training.history import Interval
from mapopt.training.knobs import Knobs
from mapopt.training.recipe import Recipe
from mapopt.training.snapshots import Snapshot
from mapopt.training.task import Task

RECIPES = [
    {},
    {"loss": "ap", "memory": 300, "ema": 0.9, "optimizer": "sgd"},
    {"loss": "efl", "optimizer": "adamw", "class_balance": "repeat-factor", "repeat_threshold": 1.0},
    {"loss": "quality_focal", "class_balance": "weights", "optimizer": "dog"},
    {"step_ratio_scope": "layer", "optimizer": "adamw"},
]
ROUNDS = (range(16), (2, 5, 11, 12), (5,), (0, 5, 15), range(16))
"""The lanes that train in each."""


@pytest.fixture(scope="module")
def many() -> list[Splits]:
    """Data of every lane's own, with more objects in some than in others."""
    return [make_shapes_splits(ShapesConfig(objects=(1, 1 + s)), seed=s, train=24, val=6, test=2) for s in range(4)]


def fleet_of(many: Sequence[Splits], lanes: int, **recipe: object) -> Fleet:
    return Fleet([task_of(many[lane % 4], **recipe) for lane in range(lanes)], range(lanes))


def task_of(splits: Splits, **recipe: object) -> Task:
    """Where steps have a length, it is set."""
    settings = Recipe(batch_size=4, **recipe)  # type: ignore[arg-type]
    knobs = Knobs(step_ratio=0.01) if "step_ratio_scope" in recipe else Knobs()
    return Task(name="t", splits=splits, recipe=settings, knobs=knobs)


def active(lanes: Sequence[int], of: int) -> list[bool]:
    return [lane in lanes for lane in range(of)]


def assert_same(first: Snapshot, second: Snapshot) -> None:
    assert first.tensors.keys() == second.tensors.keys()
    for name, tensor in first.tensors.items():
        assert torch.equal(tensor, second.tensors[name]), name
    assert (first.seed, first.seen, first.diverged) == (second.seed, second.seen, second.diverged)


def numbers(interval: Interval) -> list[object]:
    return [getattr(interval, field.name) for field in fields(interval) if "seconds" not in field.name]


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many lanes every step computes."""
    seen: list[int] = []
    losses = DenseDetector.losses

    def counted(self: DenseDetector, images: torch.Tensor, *rest: object, **more: object) -> object:
        seen.append(len(images))
        return losses(self, images, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(DenseDetector, "losses", counted)
    return seen


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_whichever_lanes_train_each_has_the_bits_that_it_has_where_all_are_computed(
    recipe: dict[str, object], many: list[Splits]
) -> None:
    packed, whole = (fleet_of(many, 16, **recipe) for _ in range(2))
    whole._engines[0]._packing._packs = False
    for lanes in ROUNDS:
        ours, theirs = (
            fleet.train(8, active=active(lanes, 16), measures=["gradient_agreement"]) for fleet in (packed, whole)
        )
        assert [numbers(ours[lane]) for lane in lanes] == [numbers(theirs[lane]) for lane in lanes]
        assert packed.losses("val", lanes=list(lanes)) == [whole.losses("val")[lane] for lane in lanes]
        assert packed.score("val", lanes=list(lanes)) == [whole.score("val")[lane] for lane in lanes]
        for lane in range(16):
            assert_same(packed.snapshot(lane), whole.snapshot(lane))


def test_4_of_16_lanes_have_the_bits_of_16_active_ones(many: list[Splits]) -> None:
    some, everyone = fleet_of(many, 16), fleet_of(many, 16)
    first = [some.snapshot(lane) for lane in range(16)]
    for _ in range(2):
        some.train(8, active=active((1, 6, 7, 14), 16)), everyone.train(8)
    for lane in range(16):
        assert_same(some.snapshot(lane), everyone.snapshot(lane) if lane in (1, 6, 7, 14) else first[lane])


def test_lanes_that_rest_are_not_computed(many: list[Splits], computed: list[int]) -> None:
    fleet = fleet_of(many, 16)
    fleet.train(4)
    computed.clear()
    for lanes in ROUNDS:
        fleet.train(8, active=active(lanes, 16))
    assert computed == [16, 16, 4, 4, 1, 1, 3, 3, 16, 16]
    fleet.score("val", measures=("loss",), lanes=[3, 9])
    assert set(computed[10:]) == {2}


def test_a_lane_leaves_the_pack_when_its_own_steps_are_over(many: list[Splits], computed: list[int]) -> None:
    fleet, alike = fleet_of(many, 3, loss="ap", memory=300), fleet_of(many, 3, loss="ap", memory=300)
    alike._engines[0]._packing._packs = False
    for each in (fleet, alike):
        each.set_knobs([Knobs(batch_fraction=fraction) for fraction in (0.5, 1.0, 0.25)])
    fleet.train(4)
    computed.clear()
    ours = fleet.train(8, measures=["gradient_agreement"])
    assert computed == [3, 3, 2, 2, 1, 1, 1, 1]
    assert [interval.steps for interval in ours] == [4, 2, 8]
    alike.train(4)
    assert [numbers(own) for own in ours] == [numbers(own) for own in alike.train(8, measures=["gradient_agreement"])]
    for lane in range(3):
        assert_same(fleet.snapshot(lane), alike.snapshot(lane))


def explode(fleet: Fleet, lane: int) -> None:
    """Lets a lane grow until its numbers overflow, some steps later."""
    state = fleet.snapshot(lane)
    state.tensors["weights"].mul_(1e32)
    fleet.restore(lane, state)
    knobs = fleet.knobs
    fleet.set_knobs(
        [own.replace(lr=3.0, weight_decay=1.0, momentum=0.0) if n == lane else own for n, own in enumerate(knobs)]
    )


def test_a_lane_that_diverges_in_an_interval_leaves_the_pack_and_the_others_as_they_are(
    many: list[Splits], computed: list[int]
) -> None:
    lost, sound = (fleet_of(many, 4, optimizer="sgd", loss="focal") for _ in range(2))
    explode(lost, 1)
    sound.train(160), computed.clear()
    ours = lost.train(160)
    assert [interval.diverged for interval in ours] == [False, True, False, False]
    steps = computed.index(3)
    assert computed[-40:] == [4] * steps + [3] * (40 - steps)
    assert 2 < steps < 38
    for lane in (0, 2, 3):
        assert_same(lost.snapshot(lane), sound.snapshot(lane))
    kept = lost.snapshot(1)
    assert kept.diverged
    assert torch.isfinite(kept.tensors["weights"]).all()
    computed.clear()
    lost.train(8)
    assert computed == [3, 3]
    assert torch.equal(lost.snapshot(1).tensors["weights"], kept.tensors["weights"])
    alone = lost.train(8, active=active([1], 4))[1]
    assert computed == [3, 3], "where none is sound, nothing is computed"
    assert (alone.diverged, alone.images, alone.class_loss) == (True, 8, 0.0)


def test_snapshots_go_from_packing_to_packing_and_into_a_fleet_that_resumes(many: list[Splits]) -> None:
    recipe = {"loss": "ap", "memory": 300, "ema": 0.9}
    broken, unbroken = fleet_of(many, 6, **recipe), fleet_of(many, 6, **recipe)
    for lanes in ((0, 1, 2, 3, 4, 5), (1, 4), (1, 3, 4)):
        unbroken.train(8, active=active(lanes, 6))
    broken.train(8), broken.train(8, active=active([1, 4], 6))
    kept = [broken.snapshot(lane) for lane in range(6)]
    broken.train(8, active=active([4, 5], 6))
    for lane in (4, 5):
        broken.restore(lane, kept[lane])
    resumed = fleet_of(many, 6, **recipe)
    for lane, state in enumerate(kept):
        resumed.restore(lane, state)
    for fleet in (broken, resumed):
        fleet.train(8, active=active([1, 3, 4], 6))
        for lane in range(6):
            assert_same(fleet.snapshot(lane), unbroken.snapshot(lane))


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_a_single_lane_is_computed_alone_with_the_bits_that_it_has_among_others(
    recipe: dict[str, object], many: list[Splits], computed: list[int]
) -> None:
    alone = Trainer(task_of(many[1], **recipe), seed=1)
    among = fleet_of(many, 3, **recipe)
    ours = [alone.train(8) for _ in range(2)]
    assert set(computed) == {1}
    theirs = [among.train(8)[1] for _ in range(2)]
    assert [numbers(own) for own in ours] == [numbers(own) for own in theirs]
    assert_same(alone.snapshot(), among.snapshot(1))
    assert alone.fleet.score("val", measures=("loss",))[0] == among.score("val", measures=("loss",))[1]


def test_where_nothing_is_compiled_a_single_lane_is_padded(
    many: list[Splits], computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny, "kernels_for", lambda weights: None)
    alone = Trainer(Task(name="t", splits=many[0], recipe=Recipe(batch_size=4)), seed=0)
    fleet = fleet_of(many, 3)
    alone.train(8), fleet.train(8, active=active([0], 3))
    assert computed == [2] * 4
    among = fleet_of(many, 2)
    among.train(8, active=active([0], 2))
    for other in (fleet.snapshot(0), among.snapshot(0)):
        assert_same(alone.snapshot(), other)


def test_few_sizes_of_packs_are_kept(many: list[Splits]) -> None:
    fleet = fleet_of(many, 8)
    for count in (1, 2, 3, 4, 5, 6, 7, 3):
        fleet.train(4, active=active(range(count), 8))
    assert list(fleet._engines[0]._packing._made) == [5, 6, 7, 3]
    assert len(fleet._engines[0]._packing._made) == packing.KEPT


def test_an_interval_without_images_changes_nothing(make_task: Callable[..., Task]) -> None:
    trainer = Trainer(make_task(), seed=0)
    before = trainer.snapshot()
    assert trainer.train(0).steps == 0
    assert_same(before, trainer.snapshot())


@pytest.mark.parametrize("loss", ["smooth_ap", "ape", "lambda_ap", "quality_focal"])
def test_lists_of_any_length_have_their_bits_wherever_a_lane_stands(loss: str) -> None:
    scenes = ShapesConfig(size=56, classes=1, objects=(1, 2))
    some = [make_shapes_splits(scenes, seed=s, train=20, val=1, test=1) for s in range(4)]
    fleets = [fleet_of(some, 4, loss=loss) for _ in range(2)]
    fleets[0].train(16)
    for lanes in ((0,), (1, 2), (3,)):
        fleets[1].train(16, active=active(lanes, 4))
    for lane in range(4):
        assert_same(fleets[0].snapshot(lane), fleets[1].snapshot(lane))


def test_boxes_have_the_same_scores_however_many_lanes_are_looked_at() -> None:
    splits = make_shapes_splits(ShapesConfig(), seed=0, train=8, val=180, test=1)
    fleet = Fleet(Task(name="t", splits=splits, recipe=Recipe(batch_size=4)), range(3))
    together = fleet.detect("val")
    for lane in range(3):
        alone = fleet.detect("val", lanes=[lane])[0]
        assert (alone.scores == together[lane].scores).all()
        assert (alone.boxes == together[lane].boxes).all()
