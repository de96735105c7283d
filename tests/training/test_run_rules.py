"""Rules of runs whose breach no number would show at once: divergence, selection, and what a reset forgets."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mapopt.training.budget import Budget
from mapopt.training.controllers.fixed import Constant
from mapopt.training.fleet import Fleet, Trainer
from mapopt.training.history import Scores
from mapopt.training.loop import run, run_fleet
from mapopt.training.task import Task

BUDGET = Budget(images=24, rounds=3)


def with_gradient_that_is_no_number(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adds a term of value 0 whose gradient is NaN: the root of 0 times 0."""
    detector = trainer.fleet.detectors[0]
    losses = detector.losses

    def spoiled(*arguments: object, **named: object) -> dict[str, torch.Tensor]:
        terms = losses(*arguments, **named)  # type: ignore[arg-type]
        return {**terms, "class": terms["class"] + (detector.weights.sum(1) * 0).sqrt() * 0}

    monkeypatch.setattr(detector, "losses", spoiled)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_gradient_that_is_not_finite_stops_a_run_whose_loss_is_finite(
    make_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    trainer = Trainer(make_task(optimizer=optimizer))
    before = trainer.snapshot().tensors
    with_gradient_that_is_no_number(trainer, monkeypatch)
    interval = trainer.train(8)
    assert interval.diverged
    after = trainer.snapshot().tensors
    assert all(torch.equal(after[name], before[name]) for name in before), "the weights are those before it"


def test_a_restored_run_that_diverged_stays_diverged(
    make_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = Trainer(make_task())
    with monkeypatch.context() as patch:
        with_gradient_that_is_no_number(lost, patch)
        lost.train(8)
    snapshot = lost.snapshot()
    assert snapshot.diverged
    resumed = Trainer(make_task(), 5)
    resumed.restore(snapshot)
    assert resumed.snapshot().diverged
    assert resumed.train(8).diverged
    weights = resumed.snapshot().tensors["weights"]
    assert torch.equal(weights, snapshot.tensors["weights"]), "it is not trained further"
    assert resumed.fleet.score("val")[0] == Scores.failed(resumed.task.classes)
    resumed.restore(Trainer(make_task()).snapshot())
    assert not resumed.train(8).diverged, "and a sound state takes its place"


@pytest.mark.parametrize(("select", "expected"), [("best", 0), ("last", 2)])
def test_of_rounds_with_equal_ap_the_earliest_is_selected(
    make_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch, select, expected: int
) -> None:
    trainer = Trainer(make_task())
    equal = Scores(ap=0.25, ap50=0.5, ap75=0.2, ar100=0.3, per_category=(0.25,) * trainer.task.classes)
    monkeypatch.setattr(trainer.fleet, "score", lambda *_, lanes, **__: [equal] * len(lanes))
    states = []
    result = run(
        trainer, Constant(), BUDGET, select=select, observer=lambda *_: states.append(trainer.snapshot().tensors)
    )
    assert result.selected == expected
    assert torch.equal(trainer.snapshot().tensors["weights"], states[expected]["weights"]), "and its weights are tested"


@pytest.mark.parametrize("recipe", [{"optimizer": "sgd"}, {"optimizer": "adamw", "ema": 0.9}])
def test_a_reset_forgets_momentum_and_everything_else(
    make_task: Callable[..., Task], recipe: dict[str, object]
) -> None:
    task = make_task(**recipe)
    fleet, fresh = Fleet(task, [1, 2]), Fleet(task, [1, 7])
    run_fleet(fleet, [Constant()] * 2, BUDGET)
    neighbor = fleet.snapshot(0).tensors
    fleet.reset(1, 7)
    ours, theirs = fleet.snapshot(1), fresh.snapshot(1)
    assert any(name.startswith("optimizer.") for name in ours.tensors)
    assert all(torch.equal(ours.tensors[name], theirs.tensors[name]) for name in theirs.tensors)
    assert (ours.seed, ours.seen, ours.knobs, ours.diverged) == (theirs.seed, theirs.seen, theirs.knobs, False)
    after = fleet.snapshot(0).tensors
    assert all(torch.equal(after[name], neighbor[name]) for name in neighbor), "of its own lane alone"
