"""Steps of a given relative length, with every optimizer: the length is the knob's, and 0 leaves every bit alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from mapopt.errors import ConfigError
from mapopt.training import OPTIMIZERS, Fleet, Knobs, Recipe, Task, Trainer, make_optimizer
from mapopt.training.budget import Budget
from mapopt.training.checkpoint import Checkpoint, CheckpointFolder
from mapopt.training.controllers.fixed import Constant, Schedule
from mapopt.training.controllers.rate import RateShape
from mapopt.training.knob_space import KnobSpace
from mapopt.training.knob_tensors import stack_knobs
from mapopt.training.knobs import ranges
from mapopt.training.loop import run
from mapopt.training.optimizers.step_ratio import RatioSteps
from mapopt.training.optimizers.table import OPTIMIZER_TABLE

MakeTask = Callable[..., Task]
PARTS = {"kernel": (5, 4), "bias": (5,), "deep": (3, 3), "scale": (3,)}
SIZE = 37
NAMES = [*OPTIMIZERS, "torch.optim:RAdam"]
BATCH = 4


def lr_of(name: str) -> float:
    return OPTIMIZER_TABLE[name].default_lr if name in OPTIMIZER_TABLE else 0.01


def rows(lanes: int, step: int) -> torch.Tensor:
    return torch.randn((lanes, SIZE), generator=torch.Generator().manual_seed(step))


def steps_of(
    name: str, ratios: list[float], *, by_layer: bool = False, count: int = 5
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Yields what takes the steps before and after each of them, and the lengths that were returned."""
    weights = rows(len(ratios), 0)
    optimizer = make_optimizer(name, weights, (torch.arange(SIZE) % 3 > 0).float(), parts=PARTS)
    steps = RatioSteps(optimizer, PARTS if by_layer else None)
    knobs = stack_knobs([Knobs(lr=lr_of(name), step_ratio=ratio) for ratio in ratios])
    leader = optimizer.leader(weights) if hasattr(optimizer, "leader") else weights  # type: ignore[attr-defined]
    for step in range(1, count + 1):
        before = leader.clone()
        moved = steps.update(weights, rows(len(ratios), step), knobs, torch.ones(len(ratios), dtype=torch.bool))
        yield before, leader.clone(), moved


@pytest.mark.parametrize("name", NAMES)
def test_the_relative_length_of_every_step_is_the_knob_in_every_lane(name: str) -> None:
    ratios = [0.001, 0.02, 0.2]
    for before, after, _ in steps_of(name, ratios):
        lengths = (after - before).norm(dim=1) / before.norm(dim=1)
        torch.testing.assert_close(lengths, torch.tensor(ratios), rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_by_layer_it_is_that_of_every_matrix_and_of_all_vectors_together(name: str) -> None:
    for before, after, _ in steps_of(name, [0.01, 0.05], by_layer=True):
        ends = torch.tensor([0, 20, 25, 34, 37])
        columns = [torch.arange(first, last) for first, last in itertools.pairwise(ends)]
        for chosen in (columns[0], columns[2], torch.cat([columns[1], columns[3]])):
            lengths = (after - before)[:, chosen].norm(dim=1) / before[:, chosen].norm(dim=1)
            torch.testing.assert_close(lengths, torch.tensor([0.01, 0.05]), rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_lane_whose_knob_is_0_keeps_its_bits_beside_one_whose_knob_is_not(name: str) -> None:
    alone = make_optimizer(name, rows(1, 0), torch.ones(SIZE), parts=PARTS)
    weights = rows(2, 0)[:1].clone()
    pair = rows(2, 0)
    both = make_optimizer(name, pair, torch.ones(SIZE), parts=PARTS)
    alone = make_optimizer(name, weights, torch.ones(SIZE), parts=PARTS)
    steps, knobs = RatioSteps(both), [Knobs(lr=lr_of(name)), Knobs(lr=lr_of(name), step_ratio=0.05)]
    for step in range(1, 5):
        gradient, active = rows(2, step), torch.ones(2, dtype=torch.bool)
        moved = steps.update(pair, gradient, stack_knobs(knobs), active)
        expected = alone.update(weights, gradient[:1].clone(), stack_knobs(knobs[:1]), active[:1])
        assert torch.equal(moved[:1], expected)
    assert torch.equal(pair[:1], weights)
    for state, value in alone.state.items():
        assert torch.equal(both.state[state][:1], value), state


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_lane_that_rests_stays_as_it_was(name: str) -> None:
    weights = rows(2, 0)
    optimizer = make_optimizer(name, weights, torch.ones(SIZE), parts=PARTS)
    steps, knobs = RatioSteps(optimizer), stack_knobs([Knobs(lr=lr_of(name), step_ratio=0.05)] * 2)
    for active in ([False, True], [True, True], [False, True]):
        before, state = weights.clone(), {name: value.clone() for name, value in optimizer.state.items()}
        moved = steps.update(weights, rows(2, 1), knobs, torch.tensor(active))
        if not active[0]:
            assert torch.equal(weights[0], before[0])
            assert moved[0] == 0
            assert all(torch.equal(optimizer.state[key][0], value[0]) for key, value in state.items())
        assert torch.isfinite(weights).all()


@pytest.mark.parametrize("by_layer", [False, True])
def test_weights_and_steps_of_length_0_are_left_as_the_optimizer_has_them(by_layer: bool) -> None:
    weights, gradient = rows(2, 0), rows(2, 1)
    weights[0] = 0
    gradient[1] = 0
    optimizer = make_optimizer("sgd", weights, torch.zeros(SIZE), parts=PARTS)
    steps = RatioSteps(optimizer, PARTS if by_layer else None)
    before = weights.clone()
    moved = steps.update(
        weights, gradient, stack_knobs([Knobs(lr=0.5, step_ratio=0.1)] * 2), torch.ones(2, dtype=torch.bool)
    )
    torch.testing.assert_close(weights[0], -0.5 * gradient[0])
    assert torch.equal(weights[1], before[1])
    torch.testing.assert_close(moved, torch.stack([0.5 * gradient[0].norm(), torch.tensor(0.0)]))


def test_the_direction_is_the_optimizers_with_its_weight_decay() -> None:
    weights, gradient = rows(2, 0), rows(2, 1)
    before, decay = weights.clone(), (torch.arange(SIZE) % 3 > 0).float()
    steps = RatioSteps(make_optimizer("sgd", weights, decay, parts=PARTS))
    knobs = stack_knobs([Knobs(lr=0.1, weight_decay=0.3, step_ratio=0.02)] * 2)
    steps.update(weights, gradient, knobs, torch.ones(2, dtype=torch.bool))
    direction = gradient + 0.3 * decay * before
    length = 0.02 * before.norm(dim=1, keepdim=True) / direction.norm(dim=1, keepdim=True)
    torch.testing.assert_close(weights, before - length * direction)


def test_the_averages_of_dog_and_schedule_free_are_of_the_steps_that_were_taken() -> None:
    weights = rows(1, 0)
    start = weights.clone()
    dog = make_optimizer("dog", weights, torch.zeros(SIZE), parts=PARTS)
    steps, average = RatioSteps(dog), start.clone()
    for step in range(1, 6):
        steps.update(
            weights, rows(1, step), stack_knobs([Knobs(lr=1.0, step_ratio=0.1)]), torch.ones(1, dtype=torch.bool)
        )
        average += 9 / (8 + step) * (weights - average)
    torch.testing.assert_close(dog.state["average"], average)
    free = make_optimizer("schedule_free_adamw", start, torch.zeros(SIZE), parts=PARTS)
    steps, mean = RatioSteps(free), start.clone()
    for step in range(1, 6):
        steps.update(
            start, rows(1, step), stack_knobs([Knobs(lr=0.01, step_ratio=0.1)]), torch.ones(1, dtype=torch.bool)
        )
        mean += (free.state["ahead"] - mean) / step
        torch.testing.assert_close(free.state["average"], mean)
        torch.testing.assert_close(start, 0.1 * free.state["ahead"] + 0.9 * mean)


def test_the_learning_rate_of_sgd_is_then_without_effect(make_task: MakeTask) -> None:
    lanes = Fleet(make_task(optimizer="sgd"), [3, 3, 3])
    lanes.set_knobs([Knobs(lr=lr, step_ratio=ratio) for lr, ratio in ((0.01, 0.005), (0.3, 0.005), (0.3, 0.05))])
    intervals = lanes.train(6 * BATCH)
    slow, fast, long = (lanes.snapshot(lane).tensors["weights"] for lane in range(3))
    torch.testing.assert_close(slow, fast, rtol=1e-3, atol=1e-5)
    assert (long - slow).norm() > 0.01 * slow.norm()
    assert [interval.update_ratio for interval in intervals] == pytest.approx([0.005, 0.005, 0.05], rel=0.02)


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "schedule_free_adamw"])
def test_what_is_logged_of_a_run_is_the_knob(name: str, make_task: MakeTask) -> None:
    task = make_task(optimizer=name, knobs={"step_ratio": 0.004})
    trainer = Trainer(task, seed=2)
    assert trainer.train(4 * BATCH).update_ratio == pytest.approx(0.004, rel=0.01)


def test_by_layer_a_run_moves_every_matrix_alike(make_task: MakeTask) -> None:
    trainer = Trainer(make_task(step_ratio_scope="layer", knobs={"step_ratio": 0.01}), seed=2)
    before = trainer.snapshot().tensors["weights"]
    trainer.train(BATCH)
    after, begin, lengths = trainer.snapshot().tensors["weights"], 0, []
    for shape in trainer.fleet.detectors[0].parts().values():
        end = begin + math.prod(shape)
        if len(shape) > 1:
            lengths.append(float((after - before)[begin:end].norm() / before[begin:end].norm()))
        begin = end
    assert lengths == pytest.approx([0.01] * len(lengths), rel=1e-3)
    assert len(lengths) > 3


@pytest.mark.parametrize("name", ["sgd", "dog", "schedule_free_adamw", "muon"])
def test_lanes_do_not_depend_on_their_number_or_place(name: str, make_task: MakeTask) -> None:
    task, ratios = make_task(optimizer=name), {4: 0.01, 9: 0.03, 7: 0.0}
    fleets = [Fleet(task, seeds) for seeds in ([4, 9], [7, 9, 4], [4])]
    for fleet, seeds in zip(fleets, ([4, 9], [7, 9, 4], [4]), strict=True):
        fleet.set_knobs([Knobs(lr=lr_of(name), step_ratio=ratios[seed]) for seed in seeds])
        fleet.train(3 * BATCH)
    pair, many, alone = fleets
    for key, tensor in alone.snapshot(0).tensors.items():
        assert torch.equal(tensor, pair.snapshot(0).tensors[key]), key
        assert torch.equal(tensor, many.snapshot(2).tensors[key]), key


def test_a_resumed_run_equals_the_unbroken_one(make_task: MakeTask, tmp_path: Path) -> None:
    task, budget = make_task(optimizer="dog", knobs={"step_ratio": 0.01}), Budget(images=8 * BATCH, rounds=4)
    folder = CheckpointFolder(
        folder=tmp_path, recipe=task.recipe, categories=("a", "b", "c"), size=(48, 48), settings={}
    )
    half = Trainer(task, seed=5)
    run(half, Schedule(), Budget(images=8 * BATCH, rounds=4), checkpoints=folder)
    whole = half.snapshot().tensors["weights"]
    broken = Trainer(task, seed=5)

    class Stop(Exception):
        pass

    def stop(lane: int, played: object) -> None:
        if played.index == 1:  # type: ignore[attr-defined]
            raise Stop

    with pytest.raises(Stop):
        run(broken, Schedule(), budget, checkpoints=folder, observer=stop)
    saved, resumed = Checkpoint.load(tmp_path / "last.pt"), Trainer(task, seed=99)
    assert saved.snapshot.knobs.step_ratio > 0
    resumed.restore(saved.snapshot)
    run(resumed, Schedule(), budget, history=saved.history, best=Checkpoint.load(tmp_path / "best.pt").snapshot)
    assert torch.equal(resumed.snapshot().tensors["weights"], whole)


def test_warm_up_and_decay_are_those_of_the_ratio_where_it_is_on_and_a_move_is_as_written(make_task: MakeTask) -> None:
    task = make_task(knobs={"step_ratio": 0.01})
    schedule, budget, shape = Schedule(warmup=0.25, final=0.1), Budget(images=8 * BATCH, rounds=4), RateShape()
    history = list(run(Trainer(task), schedule, budget).history)
    shape = RateShape(warmup=0.25, final=0.1)
    for index, played in enumerate(history):
        assert played.knobs.step_ratio == pytest.approx(0.01 * shape.fraction((index + 1) / 4))
        assert played.ramp_from.step_ratio == pytest.approx(0.01 * shape.fraction(index / 4))
    written = Schedule(step_ratio=(0.02, 0.001)).decide([], task.info, budget)
    assert (written.ramp_from.step_ratio, written.knobs.step_ratio) == pytest.approx((0.02, 0.02 - 0.019 / 4))
    off = Schedule().decide([], make_task().info, budget)
    assert off.knobs.step_ratio == off.ramp_from.step_ratio == 0.0
    ends_at_0 = Schedule(final=0.0).decide(history[:3], task.info, budget)
    assert ends_at_0.knobs.step_ratio == ranges()["step_ratio"].scale_from, "0 would be off, and a step of full length"


def test_records_and_keys_know_nothing_of_it_while_it_is_0(make_task: MakeTask) -> None:
    from mapopt.experiments.comparison.keys import _knobs, _recipe
    from mapopt.training.history import Round

    off, on = (
        run(Trainer(make_task(knobs={"step_ratio": ratio})), Constant(), Budget(images=BATCH, rounds=1)).history[0]
        for ratio in (0.0, 0.01)
    )
    assert "step_ratio" not in off.as_dict()["knobs"]
    assert Round.from_dict(off.as_dict()) == off
    assert on.as_dict()["knobs"]["step_ratio"] == 0.01
    assert Round.from_dict(on.as_dict()) == on
    assert "step_ratio" not in _knobs(Knobs())
    assert _knobs(Knobs(step_ratio=0.01))["step_ratio"] == 0.01
    assert "step_ratio_scope" not in _recipe(Recipe())
    assert _recipe(Recipe(step_ratio_scope="layer"))["step_ratio_scope"] == "layer"


def test_the_scale_of_a_search_begins_above_0() -> None:
    bounds = ranges()["step_ratio"]
    assert bounds.from_unit(-1.0) == pytest.approx(1e-5)
    assert bounds.from_unit(0.0) == pytest.approx(math.sqrt(1e-5 * 0.3))
    assert bounds.to_unit(0.0) == -1.0
    space = KnobSpace(["step_ratio"])
    assert space.shift([1.0], Knobs(step_ratio=0.002), scale=4).step_ratio == pytest.approx(0.008)
    with pytest.raises(ConfigError, match="knob step_ratio is 0, which is off, and was to be multiplied"):
        space.shift([0.5], Knobs(), scale=4)


def test_actions_and_searches_set_it(make_task: MakeTask) -> None:
    from mapopt.agents.search.reading import read_space
    from mapopt.envs.detector_training.actions import make_action

    on, budget = make_task(knobs={"step_ratio": 0.01}).info, Budget(images=8 * BATCH, rounds=4)
    relative = make_action("relative", knobs=("step_ratio",), scale=4.0)
    default = relative.decide([0.0], [], on, budget)
    turned = relative.decide([-0.5], [], on, budget)
    assert turned.knobs.step_ratio == pytest.approx(default.knobs.step_ratio / 2)
    stepped = make_action("multi_discrete", knobs=("step_ratio",), scale=4.0, step_size=0.5)
    assert stepped.decide([2], [], on, budget).knobs.step_ratio == pytest.approx(2 * default.knobs.step_ratio)
    absolute = make_action("absolute", knobs=("step_ratio",))
    assert absolute.decide([1.0], [], make_task().info, budget).knobs.step_ratio == pytest.approx(0.3)
    space = read_space(
        {"knobs.step_ratio": {"low": 0.001, "high": 0.1, "levels": 3}}, {"knobs.step_ratio": ranges()["step_ratio"]}
    )
    assert [setting["knobs.step_ratio"] for setting in space.all_settings()] == [0.001, 0.01, 0.1]


def test_an_optimizer_with_an_average_that_does_not_follow_is_refused() -> None:
    class Averaged:
        def __init__(self, weights: torch.Tensor, decay: torch.Tensor) -> None:
            self.state: dict[str, torch.Tensor] = {}

        def update(self, *_: object) -> torch.Tensor:
            return torch.zeros(1)

        def evaluated(self, weights: torch.Tensor) -> torch.Tensor:
            return weights

    steps = RatioSteps(Averaged(rows(1, 0), torch.ones(SIZE)))
    with pytest.raises(ConfigError, match="'Averaged', which evaluates an average that would not follow"):
        steps.update(rows(1, 0), rows(1, 1), stack_knobs([Knobs(step_ratio=0.1)]), torch.ones(1, dtype=torch.bool))


def test_there_are_two_scopes() -> None:
    with pytest.raises(ConfigError, match="step_ratio_scope is 'tensor': expected lane or layer"):
        Recipe(step_ratio_scope="tensor")  # type: ignore[arg-type]
