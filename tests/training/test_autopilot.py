"""The autopilot: the length of a step by its formula, corrections by what is reported, and a loop of one's own."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mapopt.errors import ConfigError
from mapopt.training import Budget, Interval, Knobs, Round, Scores, Task, Trainer, run
from mapopt.training.autopilot import Autopilot
from mapopt.training.budget import TaskInfo
from mapopt.training.controllers.autopilot import MAX_CORRECTION, AutopilotController, AutopilotRule, Reported
from mapopt.training.controllers.fixed import Schedule
from mapopt.training.controllers.moves import KnobMoves
from mapopt.training.testing import check_controller

MakeTask = Callable[..., Task]
TASK = TaskInfo(
    name="t", classes=2, train_images=100, batch_size=4, knobs=Knobs(lr=0.1, augment=0.2, momentum=0.8), optimizer="sgd"
)
BUDGET = Budget(images=400, rounds=10)
RULE = AutopilotRule(
    ratio=0.01, adaptive=0.7, orthogonal=0.9, batch=0.5, momentum=0.3, steps=-0.4, agreement=2.0, agreement_at=0.1,
    loss=0.25, final=0.0, augment=0.5,
)  # fmt: skip


def history(losses: Sequence[float], agreements: Sequence[float | None] = ()) -> list[Round]:
    return [
        Round(
            index=index, knobs=TASK.knobs, ramp_from=None,
            interval=Interval(
                images=40, steps=10, seconds=1.0, class_loss=0.75 * loss, box_loss=0.25 * loss, gradient_norm=1.0,
                gradient_norm_max=2.0, clipped=0.0, update_ratio=1e-3, diverged=False, gradient_agreement=agreement,
            ),
            val=Scores(ap=0.1, ap50=0.1, ap75=0.1, ar100=0.1, per_category=(0.1, 0.1)),
            images=40 * (index + 1), evaluated=10, seconds=1.0,
        )
        for index, (loss, agreement) in enumerate(zip(losses, agreements or [None] * len(losses), strict=True))
    ]  # fmt: skip


@pytest.mark.parametrize(("optimizer", "kind"), [("sgd", 0.0), ("adamw", 0.7), ("muon", 0.9), ("own:Part", 0.0)])
def test_the_length_at_the_top_is_its_formula(optimizer: str, kind: float) -> None:
    expected = 0.01 * math.exp(kind) * (64 / 16) ** 0.5 * (10 * (1 - 0.8)) ** 0.3 * (100 / 400) ** -0.4
    assert RULE.top(optimizer=optimizer, batch_size=64, momentum=0.8, steps=100) == pytest.approx(expected)


def test_agreement_lengthens_and_a_loss_that_does_not_fall_shortens() -> None:
    reported = [Reported(1.0, 0.3), Reported(0.9, 0.05), Reported(0.9, None), Reported(None, 0.1)]
    assert RULE.correction(reported) == pytest.approx(math.exp(2 * 0.2 + 2 * -0.05 - 0.25))
    assert RULE.correction([]) == 1.0
    assert replace(RULE, agreement=0.0, loss=0.0).correction(reported) == 1.0


def test_a_loss_that_is_no_number_counts_as_one_that_did_not_fall_and_is_then_forgotten() -> None:
    rule = replace(RULE, agreement=0.0)
    reported = [Reported(1.0, None), Reported(math.nan, None), Reported(0.9, None)]
    assert rule.correction(reported) == pytest.approx(math.exp(-0.25))


def test_corrections_have_bounds_at_every_round() -> None:
    assert RULE.correction([Reported(None, 1.0)] * 9) == pytest.approx(math.exp(MAX_CORRECTION))
    back = RULE.correction([Reported(None, 1.0)] * 9 + [Reported(None, -0.4)])
    assert back == pytest.approx(math.exp(MAX_CORRECTION - 1.0))


def test_the_controller_follows_warm_up_and_cosine_with_the_length_of_the_rule() -> None:
    controller = AutopilotController(**vars(RULE))
    check_controller(controller)
    decision = controller.decide(history([2.0, 1.0], [0.2, 0.1]), TASK, BUDGET)
    top = RULE.top(optimizer="sgd", batch_size=4, momentum=0.8, steps=100) * math.exp(2 * 0.1)
    fraction = (1 + math.cos(math.pi * 0.2 / 0.9)) / 2
    assert decision.knobs.step_ratio == pytest.approx(top * fraction)
    assert decision.knobs.lr == pytest.approx(0.1 * fraction)
    assert decision.knobs.augment == pytest.approx(0.2 * (4 / 25) ** 0.5)
    assert controller.measures == ("gradient_agreement",)
    assert AutopilotController().measures == (("gradient_agreement",) if AutopilotRule().agreement else ())


@pytest.mark.parametrize("optimizer", ["adamw", "nadamw", "muon"])
def test_a_searched_default_rate_is_kept_with_the_default_schedule(optimizer: str) -> None:
    controller = AutopilotController(keep_rate=True, moves=KnobMoves(box_weight=(1.0, 2.0)))
    task = replace(TASK, optimizer=optimizer, default_lr=0.1)
    for length in (0, 4, 9):
        played = history([1.0] * length)
        assert controller.decide(played, task, BUDGET) == Schedule(box_weight=(1.0, 2.0)).decide(played, task, BUDGET)
    for other in (replace(task, default_lr=0.2), replace(task, default_lr=None), replace(task, optimizer="sgd")):
        assert controller.decide([], other, BUDGET).knobs.step_ratio > 0
    assert replace(controller, keep_rate=False).decide([], task, BUDGET).knobs.step_ratio > 0


def test_a_task_says_which_rate_is_its_default(make_task: MakeTask) -> None:
    task = make_task(optimizer="adamw")
    assert task.info.default_lr == task.info.knobs.lr == task.recipe.lr
    kept = AutopilotController(keep_rate=True)
    assert kept.keeps_rate(task.info)
    assert not AutopilotController().keeps_rate(task.info)
    assert not kept.keeps_rate(make_task(optimizer="adamw", knobs={"lr": 0.5}).info)


def test_augmentation_grows_with_the_epochs_up_to_a_bound() -> None:
    assert RULE.augmentation(0.2, 100.0) == pytest.approx(0.4)
    assert RULE.augmentation(0.2, 1e6) == 0.6
    assert RULE.augmentation(0.8, 1e6) == 0.8
    assert replace(RULE, augment=0.0).augmentation(0.2, 100.0) == 0.2


def test_the_units_of_the_losses_do_not_matter_to_it(make_task: MakeTask) -> None:
    # With plain gradients only their direction counts, so the runs are the same but for rounding.
    losses = []
    for units in (1.0, 4.0):
        knobs = {"class_weight": 0.5 * units, "box_weight": units, "weight_decay": 1e-7}
        task = make_task(knobs=knobs, optimizer="sgd", clip=1e9)
        result = run(Trainer(task, seed=0), AutopilotController(), Budget(images=32, rounds=2))
        losses.append([played.interval.box_loss / units for played in result.history])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert losses[0][1] != losses[0][0]


@pytest.mark.parametrize("lr", [1e-5, 1e-2, 10.0])
def test_a_loop_of_ones_own_comes_to_the_same_steps_from_any_learning_rate(lr: float) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = torch.nn.Parameter(torch.ones(10))
    optimizer = torch.optim.SGD([weights], lr=lr)
    pilot = Autopilot(rule=AutopilotRule(ratio=0.01, steps=0, agreement=0, loss=0, final=0), steps=100)
    for step in range(40):
        weights.grad = torch.randn(10, generator=generator)
        with pilot.watch(optimizer):
            optimizer.step()
        before = weights.detach().clone()
        advice = pilot.step(progress=(step + 1) / 100)
        advice.apply(optimizer)
    weights.grad = torch.randn(10, generator=generator)
    before = weights.detach().clone()
    optimizer.step()
    moved = float((weights.detach() - before).norm() / before.norm())
    assert advice.ratio == pytest.approx(0.01 * (1 + math.cos(math.pi * 0.3 / 0.9)) / 2)
    assert moved == pytest.approx(advice.ratio, rel=0.8)


def test_without_a_measured_step_the_factor_follows_the_schedule_and_the_corrections() -> None:
    pilot = Autopilot(rule=AutopilotRule(agreement=0, loss=0.5, final=0), steps=100)
    assert pilot.step(progress=0.1, loss=1.0).factor == 1.0
    assert pilot.step(progress=0.1, loss=1.0).factor == pytest.approx(math.exp(-0.5))
    # A change by more than a factor of ten waits for the next call.
    assert pilot.step(progress=1.0).factor == 0.1


def test_a_given_length_counts_before_the_watched_one() -> None:
    pilot = Autopilot(rule=AutopilotRule(ratio=0.01, steps=0, agreement=0), steps=100)
    advice = pilot.step(progress=0.1, update_ratio=0.02)
    assert (advice.ratio, advice.factor) == pytest.approx((0.01, 0.5))


def test_a_resumed_autopilot_gives_the_same_advice() -> None:
    first = Autopilot(rule=replace(RULE, loss=0.5), steps=100)
    for loss in (1.0, 1.1, 0.9):
        first.step(progress=0.2, loss=loss, agreement=0.2)
    again = Autopilot(rule=replace(RULE, loss=0.5), steps=100)
    again.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert again.step(progress=0.3, loss=1.0) == first.step(progress=0.3, loss=1.0)


def test_a_rule_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "rule.yaml"
    path.write_text("{ratio: 0.02, batch: 0.5}", encoding="utf-8")
    assert Autopilot.load(path, optimizer="adamw").rule == AutopilotRule(ratio=0.02, batch=0.5)
    assert Autopilot.load().rule == AutopilotRule()
    path.write_text("{ratoi: 0.02}", encoding="utf-8")
    with pytest.raises(ConfigError, match="did you mean 'ratio'"):
        Autopilot.load(path)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: AutopilotRule(ratio=0), "ratio is 0: expected a number above 0"),
        (lambda: AutopilotRule(final=2), "final is 2: expected 0 to 1"),
        (lambda: AutopilotRule(batch=math.nan), "batch is nan: expected a number from -100 to 100"),
        (lambda: Autopilot(steps=0), "steps 0"),
        (lambda: Autopilot().step(progress=1.5), "progress is 1.5"),
        (lambda: Autopilot().load_state_dict({}), "no state of an autopilot"),
    ],
)
def test_what_makes_no_sense_is_said(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("(", r"\(")):
        make()
