"""Controllers on made-up histories: what they decide, and that they decide it from the history alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from mapopt.errors import ConfigError
from mapopt.training.budget import Budget, TaskInfo
from mapopt.training.controllers.fixed import Constant, Replay, Schedule
from mapopt.training.controllers.reactive import Patience, Plateau
from mapopt.training.history import Interval, Round, Scores
from mapopt.training.knobs import Knobs

TASK = TaskInfo(name="t", classes=2, train_images=100, batch_size=4, knobs=Knobs(lr=0.1))
BUDGET = Budget(images=400, rounds=20)
INTERVAL = Interval(
    images=20, steps=5, seconds=1.0, class_loss=1.0, box_loss=1.0, gradient_norm=1.0, gradient_norm_max=2.0,
    clipped=0.0, update_ratio=1e-3, diverged=False,
)  # fmt: skip


def history(aps: Sequence[float]) -> list[Round]:
    return [
        Round(
            index=index, knobs=Knobs(lr=0.1 + index / 100), ramp_from=None, interval=INTERVAL, images=20 * (index + 1),
            val=Scores(ap=ap, ap50=ap, ap75=ap, ar100=ap, per_category=(ap, ap)), evaluated=10, seconds=1.0,
        )
        for index, ap in enumerate(aps)
    ]  # fmt: skip


def test_constant_keeps_the_tasks_knobs() -> None:
    assert Constant().decide(history([0.1, 0.0]), TASK, BUDGET).knobs == TASK.knobs


def test_cosine_warms_up_and_ends_at_its_final_fraction() -> None:
    schedule = Schedule(warmup=0.1, warmup_from=0.2, final=0.05)
    assert schedule.fraction(0.0) == pytest.approx(0.2)
    assert schedule.fraction(0.05) == pytest.approx(0.6)
    assert schedule.fraction(0.1) == pytest.approx(1.0)
    assert schedule.fraction(0.55) == pytest.approx(0.05 + 0.95 * (1 + math.cos(math.pi / 2)) / 2)
    assert schedule.fraction(1.0) == pytest.approx(0.05)


def test_rounds_of_a_schedule_meet_at_their_ends() -> None:
    played: list[Round] = []
    end = None
    for _ in range(BUDGET.rounds):
        decision = Schedule().decide(played, TASK, BUDGET)
        if end is not None:
            assert decision.ramp_from == end
        end = decision.knobs
        played = history([0.1] * (len(played) + 1))


def test_steps_divide_the_learning_rate_at_their_milestones() -> None:
    schedule = Schedule(shape="steps", warmup=0.0, milestones=(0.5, 0.75), factor=0.1)
    rates = [schedule.decide(history([0.1] * played), TASK, BUDGET).knobs.lr for played in range(20)]
    assert rates == pytest.approx([0.1] * 10 + [0.01] * 5 + [0.001] * 5)


def test_a_plateau_lowers_the_learning_rate_only_when_val_ap_stalls() -> None:
    plateau = Plateau(rounds=2, factor=0.5, margin=0.0, warmup=0.0)

    def rate(aps: Sequence[float]) -> float:
        return plateau.decide(history(aps), TASK, BUDGET).knobs.lr

    assert rate([0.1, 0.2, 0.3]) == pytest.approx(0.1)
    assert rate([0.3, 0.2]) == pytest.approx(0.1)
    assert rate([0.3, 0.2, 0.1]) == pytest.approx(0.05)
    assert rate([0.3, 0.2, 0.1, 0.4]) == pytest.approx(0.05)
    assert rate([0.3, 0.2, 0.1, 0.1, 0.1]) == pytest.approx(0.025)


def test_patience_stops_after_its_rounds_and_says_why() -> None:
    patient = Patience(controller=Constant(), rounds=2)
    assert patient.decide(history([0.1, 0.3, 0.2]), TASK, BUDGET).stop == ""
    assert "not risen above 0.3000 for 2 rounds" in patient.decide(history([0.1, 0.3, 0.2, 0.3]), TASK, BUDGET).stop


def test_a_rise_within_the_margin_is_no_rise() -> None:
    small = [0.3, 0.305, 0.308]
    assert Patience(controller=Constant(), rounds=2, margin=0.01).decide(history(small), TASK, BUDGET).stop
    assert not Patience(controller=Constant(), rounds=2).decide(history(small), TASK, BUDGET).stop
    rates = [
        Plateau(rounds=2, factor=0.5, margin=margin, warmup=0.0).decide(history(small), TASK, BUDGET).knobs.lr
        for margin in (0.01, 0.0)
    ]
    assert rates == pytest.approx([0.05, 0.1])


def test_steps_that_begin_where_the_warm_up_ends_stay_constant_within_a_round() -> None:
    schedule = Schedule(shape="steps", warmup=0.5, milestones=(0.55,), factor=0.1)
    decision = schedule.decide(history([0.1] * 10), TASK, BUDGET)
    assert decision.ramp_from is not None
    assert [decision.ramp_from.lr, decision.knobs.lr] == pytest.approx([0.1, 0.1])


def test_a_replay_repeats_the_knobs_whatever_the_history() -> None:
    replay = Replay.of(history([0.1, 0.2, 0.3]))
    assert replay.decide(history([0.9]), TASK, BUDGET).knobs == Knobs(lr=0.11)
    with pytest.raises(ConfigError, match="round 4 was asked of a replay of 3 rounds"):
        replay.decide(history([0.1] * 3), TASK, BUDGET)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Schedule(warmup=1.5), "warmup is 1.5: expected 0 to 1"),
        (lambda: Schedule(shape="zigzag"), "expected cosine, steps or constant"),  # type: ignore[arg-type]
        (lambda: Schedule(milestones=(2.0,)), "milestones is 2.0"),
        (lambda: Plateau(rounds=0), "rounds is 0"),
        (lambda: Budget(images=100, rounds=3), "images that divide by the rounds"),
        (lambda: Budget(images=100, rounds=10).check(16), "choose 160 images"),
    ],
)
def test_wrong_settings_are_named(make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()  # type: ignore[operator]
