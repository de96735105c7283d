"""A loss that sends no gradient while the other one trains is found before the first round, or in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mapopt.detectors.dense.losses import DenseLoss
from mapopt.detectors.objective import Objective
from mapopt.errors import ConfigError
from mapopt.losses import ListLoss, as_list_loss
from mapopt.training import Budget, Constant, Task, Trainer, run
from mapopt.training.first_gradients import FirstGradients

MakeTask = Callable[..., Task]
BUDGET = Budget(images=8, rounds=2)

SILENT = """
import torch


def mistakes(scores, labels, where):
    return ((scores > 0) != (labels > 0)).float().mean()

"""


@pytest.fixture
def silent(own_module: Callable[[str], str]) -> str:
    return own_module(SILENT)


def change_losses(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch, term: str, change: Callable[[Tensor], Tensor]
) -> None:
    """Changes one term of the losses of a trainer's detector."""
    detector = trainer.fleet.detectors[0]
    whole = detector.losses

    def changed(*given: object, **named: object) -> dict[str, Tensor]:
        losses = whole(*given, **named)  # type: ignore[arg-type]
        return {name: change(value) if name == term else value for name, value in losses.items()}

    monkeypatch.setattr(detector, "losses", changed)


def count_looks(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Returns a list with an entry for every step whose gradients are looked at."""
    looks: list[bool] = []
    look = FirstGradients.look

    def counted(self: FirstGradients, *given: object) -> None:
        looks.extend([] if self._done else [True])
        look(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(FirstGradients, "look", counted)
    return looks


@pytest.mark.parametrize("part", ["loss", "auxiliary"])
def test_an_own_loss_without_a_gradient_is_refused_before_training(part: str, silent: str, make_task: MakeTask) -> None:
    name = f"{silent}:mistakes"
    expected = r"loss 'mistakes' sends no gradient to the scores .*: a comparison"
    with pytest.raises(ConfigError, match=expected) as refused:
        Trainer(make_task(**{part: name if part == "loss" else {name: 0.5}}))
    assert "\n" not in str(refused.value)


def test_what_is_tried_is_a_copy_and_what_cannot_be_tried_is_left_to_the_training() -> None:
    class Counting(ListLoss):
        calls = 0

        def evaluate(self, lists):  # type: ignore[no-untyped-def]
            self.calls += 1
            return {"rank": (lists.scores * lists.negative).sum(-1)}

    loss = Counting()
    DenseLoss(Objective(), loss=loss)
    assert loss.calls == 0

    def picky(scores: Tensor, labels: Tensor, where: Tensor) -> Tensor:
        raise RuntimeError("needs a long list")

    DenseLoss(Objective(), loss=as_list_loss(picky))


@pytest.mark.parametrize("change", [torch.detach, lambda value: value.detach() + 0 * value])
@pytest.mark.parametrize("term", ["class", "box"])
def test_a_detector_of_which_one_loss_is_detached_stops_in_the_first_round(
    term: str, change: Callable[[Tensor], Tensor], make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(make_task())
    change_losses(trainer, monkeypatch, term, change)
    other = "box" if term == "class" else "class"
    what = r"the class loss \('mal'\)" if term == "class" else "the box loss"
    expected = (
        rf"{what} was not 0 in the first round, but sent no gradient to any weight, so that only the {other} loss"
    )
    with pytest.raises(ConfigError, match=expected) as stopped:
        run(trainer, Constant(), BUDGET)
    assert "\n" not in str(stopped.value)


@pytest.mark.parametrize("term", ["class", "box"])
def test_a_loss_of_0_is_not_called_silent(term: str, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(make_task())
    change_losses(trainer, monkeypatch, term, torch.zeros_like)
    looks = count_looks(monkeypatch)
    trainer.train(8)
    first = len(looks)
    assert first == 2, "as many as the first interval has steps"
    trainer.train(8)
    assert len(looks) == first


def test_looking_changes_no_bit_and_ends_with_the_first_step(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = count_looks(monkeypatch)
    looked = Trainer(make_task(), seed=1)
    looked.train(16)
    assert len(looks) == 1
    monkeypatch.setattr(FirstGradients, "look", lambda *_: None)
    plain = Trainer(make_task(), seed=1)
    plain.train(16)
    for name, value in plain.snapshot().tensors.items():
        assert torch.equal(value, looked.snapshot().tensors[name]), name
