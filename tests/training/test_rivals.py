"""Published rivals of a schedule: what they decide is their formula, written out here once more."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mapopt.errors import ConfigError
from mapopt.training import CONTROLLERS, Fleet, Interval, Knobs, Replay, Round, Scores, Task, Trainer, make_controller
from mapopt.training.budget import Budget, TaskInfo
from mapopt.training.checkpoint import Checkpoint, CheckpointFolder
from mapopt.training.controllers.feedback import GreedyLR, Hypergradient
from mapopt.training.controllers.fixed import Schedule
from mapopt.training.controllers.one_cycle import OneCycle
from mapopt.training.log import Agreement
from mapopt.training.loop import run, run_fleet
from mapopt.training.testing import check_controller

MakeTask = Callable[..., Task]
TASK = TaskInfo(name="t", classes=2, train_images=100, batch_size=4, knobs=Knobs(lr=0.1, assign_iou=0.3))
BUDGET = Budget(images=400, rounds=10)
BATCH = 4
RIVALS = {
    "one_cycle": {"momentum_low": 0.85},
    "greedy_lr": {"factor": 0.5},
    "hypergradient": {"beta": 0.1},
}


def history(
    losses: Sequence[float], *, agreements: Sequence[float | None] | None = None, steps: int = 5
) -> list[Round]:
    return [
        Round(
            index=index,
            knobs=TASK.knobs,
            ramp_from=None,
            interval=Interval(
                images=20, steps=steps, seconds=1.0, class_loss=0.75 * loss, box_loss=0.25 * loss, gradient_norm=1.0,
                gradient_norm_max=2.0, clipped=0.0, update_ratio=1e-3, diverged=False, gradient_agreement=agreement,
            ),
            val=Scores(ap=0.1, ap50=0.1, ap75=0.1, ar100=0.1, per_category=(0.1, 0.1)),
            images=20 * (index + 1),
            evaluated=10,
            seconds=1.0,
        )
        for index, (loss, agreement) in enumerate(zip(losses, agreements or [None] * len(losses), strict=True))
    ]  # fmt: skip


@pytest.mark.parametrize("name", RIVALS)
def test_rivals_are_controllers_as_all_are(name: str) -> None:
    assert name in CONTROLLERS
    check_controller(make_controller(name, RIVALS[name]))


def test_one_cycle_rises_falls_and_falls_further_with_momentum_against_it() -> None:
    cycle = OneCycle(length=0.8, start=0.2, final=0.01, momentum_low=0.85)
    for played in range(10):
        decision = cycle.decide(history([1.0] * played), TASK, BUDGET)
        for at, knobs in ((played / 10, decision.ramp_from), ((played + 1) / 10, decision.knobs)):
            assert knobs is not None
            if at <= 0.4:
                fraction, momentum = 0.2 + 0.8 * at / 0.4, 0.9 - 0.05 * at / 0.4
            elif at <= 0.8:
                fraction, momentum = 0.2 + 0.8 * (0.8 - at) / 0.4, 0.9 - 0.05 * (0.8 - at) / 0.4
            else:
                fraction, momentum = 0.2 + (0.01 - 0.2) * (at - 0.8) / 0.2, 0.9
            assert (knobs.lr, knobs.momentum) == pytest.approx((0.1 * fraction, momentum), rel=1e-9)


def test_the_top_of_one_cycle_may_lie_inside_a_round() -> None:
    decision = OneCycle(length=0.9).decide(history([1.0] * 4), TASK, BUDGET)
    ((at, top),) = decision.via
    assert at == pytest.approx(0.5)
    assert top.lr == pytest.approx(0.1)
    assert OneCycle().decide([], TASK, BUDGET).knobs.momentum == TASK.knobs.momentum


LOSSES = [3.0, 2.0, 1.0, 1.5, 1.2, 1.1, 0.9, 0.8, 0.85, 0.7]


def test_greedy_lr_divides_where_the_loss_is_the_best_and_multiplies_where_not() -> None:
    rate, best = 0.1, math.inf
    for played, loss in enumerate(LOSSES):
        made = GreedyLR(factor=0.8, threshold=0.0).decide(history(LOSSES[:played]), TASK, BUDGET).knobs.lr
        assert made == pytest.approx(rate)
        rate = rate / 0.8 if loss < best else rate * 0.8
        best = min(best, loss)


def test_greedy_lr_has_bounds_patience_a_mean_and_waits_after_changes() -> None:
    falling, rising = list(range(20, 0, -1)), list(range(1, 21))
    assert GreedyLR(factor=0.5, largest=3.0).fraction(history(falling)) == 3.0
    assert GreedyLR(factor=0.5, smallest=0.1).fraction(history(rising)) == pytest.approx(0.1)
    # Better after the first three rounds, and again after three: the counts begin anew at every change.
    patient = GreedyLR(factor=0.5, rounds=2)
    assert [patient.fraction(history(falling[:played])) for played in range(7)] == [1, 1, 1, 2, 2, 2, 4]
    slow = GreedyLR(factor=0.5, warmup=1, cooldown=2)
    assert [slow.fraction(history(falling[:played])) for played in range(6)] == [1, 2, 2, 4, 4, 8]
    # Rises at the first loss, waits a round, then falls, and waits two.
    assert [slow.fraction(history(rising[:played])) for played in range(8)] == [1, 2, 2, 1, 1, 1, 0.5, 0.5]
    # Means of 2, 2, 1.5 (not below the best), where the last loss itself is.
    assert GreedyLR(factor=0.5, window=2, threshold=0.3).fraction(history([2.0, 2.0, 1.0])) == 2 * 0.5 * 0.5
    assert GreedyLR(factor=0.5, threshold=0.3).fraction(history([2.0, 2.0, 1.0])) == 2 * 0.5 * 2


def test_hypergradient_multiplies_by_the_agreement_of_every_step() -> None:
    agreements = [0.5, -0.25, None, 1.0, -1.0]
    played = history([1.0] * 5, agreements=agreements, steps=7)
    rate = 0.1
    for count, agreement in enumerate(agreements):
        made = Hypergradient(beta=0.1).decide(played[:count], TASK, BUDGET).knobs.lr
        assert made == pytest.approx(rate)
        for _ in range(7):
            rate *= 1 + 0.1 * (agreement or 0.0)
    assert Hypergradient(beta=0.5, largest=2.0).fraction(history([1.0], agreements=[1.0])) == 2.0
    assert Hypergradient(beta=0.5, smallest=0.25).fraction(history([1.0], agreements=[-1.0])) == 0.25


@pytest.mark.parametrize("name", RIVALS)
def test_what_a_task_leaves_open_moves_as_in_a_schedule(name: str) -> None:
    task = replace(TASK, knobs=Knobs(lr=0.1, step_ratio=0.01))
    made = make_controller(name, RIVALS[name]).decide(history([1.0] * 3), task, BUDGET)
    expected = Schedule().decide(history([1.0] * 3), task, BUDGET)
    assert made.knobs.assign_iou == expected.knobs.assign_iou
    assert made.ramp_from is not None
    assert made.ramp_from.assign_iou == expected.ramp_from.assign_iou  # type: ignore[union-attr]
    assert made.knobs.step_ratio / 0.01 == pytest.approx(made.knobs.lr / 0.1)  # type: ignore[operator]


def test_the_agreement_is_the_mean_cosine_of_successive_gradients_of_the_lanes_that_ran() -> None:
    gradients = [torch.randn((2, 9), generator=torch.Generator().manual_seed(step)) for step in range(4)]
    gradients[2][1] = 0.0
    agreement, running = Agreement(2, torch.device("cpu")), torch.tensor([True, True])
    assert agreement.means() == [None, None]
    for gradient in gradients[:3]:
        agreement.add(gradient, running)
    agreement.add(gradients[3], torch.tensor([True, False]))
    cosine = [float(torch.cosine_similarity(a[0], b[0], dim=0)) for a, b in itertools.pairwise(gradients)]
    first = float(torch.cosine_similarity(gradients[0][1], gradients[1][1], dim=0))
    assert agreement.means() == pytest.approx([sum(cosine) / 3, (first + 0.0) / 2], abs=1e-6)


def test_the_agreement_is_measured_where_it_is_asked_for_and_changes_nothing(make_task: MakeTask) -> None:
    fleets = [Fleet(make_task(), [1, 2]) for _ in range(2)]
    plain = fleets[0].train(4 * BATCH)
    asked = fleets[1].train(4 * BATCH, measures=("gradient_agreement",))
    for lane in range(2):
        assert torch.equal(fleets[0].snapshot(lane).tensors["weights"], fleets[1].snapshot(lane).tensors["weights"])
        assert plain[lane].gradient_agreement is None
        value = asked[lane].gradient_agreement
        assert value is not None
        assert -1 <= value <= 1
        assert value != 0
    assert fleets[1].train(BATCH, measures=("gradient_agreement",))[0].gradient_agreement is None
    played = run(Trainer(make_task()), Hypergradient(), Budget(images=2 * BATCH, rounds=1)).history[0]
    assert Round.from_dict(played.as_dict()) == played
    assert played.as_dict()["interval"]["gradient_agreement"] is not None
    other = run(Trainer(make_task()), Schedule(), Budget(images=2 * BATCH, rounds=1)).history[0]
    assert "gradient_agreement" not in other.as_dict()["interval"]


@pytest.mark.parametrize("name", RIVALS)
def test_a_run_is_resumed_and_replayed_with_the_same_bits_and_pays_for_its_images(
    name: str, make_task: MakeTask, tmp_path: Path
) -> None:
    task, budget = make_task(), Budget(images=8 * BATCH, rounds=4)
    controller = make_controller(name, RIVALS[name])
    folder = CheckpointFolder(
        folder=tmp_path, recipe=task.recipe, categories=("a", "b", "c"), size=(48, 48), settings={}
    )
    whole = Trainer(task, seed=5)
    result = run(whole, controller, budget)

    class Stop(Exception):
        pass

    def stop(lane: int, played: Round) -> None:
        if played.index == 1:
            raise Stop

    with pytest.raises(Stop):
        run(Trainer(task, seed=5), controller, budget, checkpoints=folder, observer=stop)
    saved, resumed = Checkpoint.load(tmp_path / "last.pt"), Trainer(task, seed=99)
    resumed.restore(saved.snapshot)
    best = Checkpoint.load(tmp_path / "best.pt").snapshot
    again = run(resumed, controller, budget, history=saved.history, best=best)
    replayed = run(Trainer(task, seed=5), Replay.of(result.history), budget)
    for other in (again, replayed):
        assert [played.val for played in other.history] == [played.val for played in result.history]
        assert [played.knobs for played in other.history] == [played.knobs for played in result.history]
    pair = run_fleet(Fleet(task, [5, 6]), [controller] * 2, budget)[0]
    assert [played.val for played in pair.history] == [played.val for played in result.history]
    assert result.history[-1].images == budget.images
    assert result.history[-1].evaluated == 4 * len(task.splits.val)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OneCycle(length=0.0), "length is 0: expected a cycle"),
        (lambda: OneCycle(start=2.0), "start is 2.0: expected 0 to 1"),
        (lambda: GreedyLR(factor=1.0), "factor is 1.0: expected a number above 0 and below 1"),
        (lambda: GreedyLR(largest=0.5), "largest is 0.5: expected 1 or more"),
        (lambda: GreedyLR(window=0), "window is 0: expected a whole number from 1"),
        (lambda: Hypergradient(beta=1.0), "beta is 1.0: expected a number from 0 to below 1"),
        (lambda: Hypergradient(largest=0.5), "largest is 0.5: expected 1 or more"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
