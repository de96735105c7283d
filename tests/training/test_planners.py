"""Controllers that try before they decide: what they take, what it costs, and that the run repeats it bit for bit."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mapopt.errors import ConfigError
from mapopt.training import Decision, Fleet, Interval, Knobs, Replay, Round, Scores, Task, Trainer, make_controller
from mapopt.training.budget import Budget, TaskInfo
from mapopt.training.checkpoint import Checkpoint, CheckpointFolder
from mapopt.training.controllers.fixed import Schedule, load_replay
from mapopt.training.controllers.lookahead import BestOfN, Lookahead
from mapopt.training.controllers.planning import Planner
from mapopt.training.controllers.population import MultiFrequencyPBT
from mapopt.training.controllers.reactive import Patience
from mapopt.training.history import Measure
from mapopt.training.knob_space import KnobSpace
from mapopt.training.loop import run, run_fleet
from mapopt.training.plans import Spent

MakeTask = Callable[..., Task]
TASK = TaskInfo(name="t", classes=2, train_images=100, batch_size=4, knobs=Knobs(lr=0.1, assign_iou=0.3))
BUDGET = Budget(images=400, rounds=10)
BATCH = 4
PLANNERS: dict[str, dict[str, Any]] = {
    "lookahead": {"rounds": 2, "factor": 4.0},
    "best_of_n": {"n": 3},
    "mf_pbt": {"frequencies": (1, 2), "size": 4},
}


def played(index: int, knobs: Knobs, ap: float) -> Round:
    return Round(
        index=index, knobs=knobs, ramp_from=None, images=40 * (index + 1), evaluated=10, seconds=1.0,
        interval=Interval(
            images=40, steps=10, seconds=1.0, class_loss=1.0, box_loss=1.0, gradient_norm=1.0, gradient_norm_max=2.0,
            clipped=0.0, update_ratio=1e-3, diverged=False,
        ),
        val=Scores(ap=ap, ap50=ap, ap75=ap, ar100=ap, per_category=(ap, ap)),
    )  # fmt: skip


class Imagined:
    """Trials without training: a lane's val AP is a function of its knobs and of its rounds so far."""

    def __init__(self, history: Sequence[Round], ap: Callable[[Knobs, Sequence[Round]], float]) -> None:
        self._history, self._ap = list(history), ap
        self.histories: list[list[Round]] = []
        self.played: list[Decision] = []
        self.lanes: list[int] = []

    def begin(self, lanes: int) -> None:
        self.lanes.append(lanes)
        self.histories = [list(self._history) for _ in range(lanes)]

    def play(self, decisions: Sequence[Decision]) -> None:
        self.played += decisions
        for rounds, decision in zip(self.histories, decisions, strict=True):
            rounds.append(played(len(rounds), decision.knobs, self._ap(decision.knobs, rounds)))

    def inherit(self, parents: Sequence[int]) -> None:
        self.histories = [list(self.histories[parent]) for parent in parents]


def test_lookahead_takes_the_step_that_is_best_so_many_rounds_ahead() -> None:
    # Soon the larger rate is better, later the smaller, though AP is lower by then.
    def ap(knobs: Knobs, rounds: Sequence[Round]) -> float:
        return knobs.get("lr") if len(rounds) < 5 else 0.1 - knobs.get("lr") / 10

    before = [played(index, Knobs(lr=0.1), 0.1) for index in range(4)]
    for ahead, expected in ((1, 0.3), (2, 0.1 / 3)):
        trials = Imagined(before, ap)
        rounds = Lookahead(rounds=ahead, factor=3.0).plan(trials, before, TASK, BUDGET)
        assert [each.knobs.get("lr") for each in rounds] == pytest.approx([expected])
        assert trials.lanes == [3]
        assert [decision.knobs.get("lr") for decision in trials.played[:3]] == pytest.approx([0.1, 0.3, 0.1 / 3])
        assert len(trials.played) == 3 * ahead
        assert rounds[0].index == 4


def test_lookahead_stays_where_nothing_is_better_and_does_not_look_past_the_end() -> None:
    before = [played(index, Knobs(lr=0.1), 0.1) for index in range(9)]
    trials = Imagined(before, lambda knobs, rounds: 0.2)
    rounds = Lookahead(rounds=4, knobs=("lr", "augment")).plan(trials, before, TASK, BUDGET)
    assert rounds[0].knobs == before[-1].knobs
    assert trials.lanes == [5]
    assert len(trials.played) == 5
    at_the_end = [played(0, Knobs(lr=3.0), 0.1)]
    trials = Imagined(at_the_end, lambda knobs, rounds: knobs.get("lr"))
    Lookahead().plan(trials, at_the_end, TASK, BUDGET)
    assert trials.lanes == [2], "a step beyond the end of the range is none"


def test_the_best_of_n_is_the_setting_with_the_best_round() -> None:
    planner = BestOfN(n=16, knobs=("lr", "augment"), scale=4.0, seed=3)
    space, schedule = KnobSpace(("lr", "augment")), Schedule()
    offsets = np.random.default_rng(3).uniform(-1, 1, (16, 2))
    offsets[0] = 0
    assert np.array_equal(planner.offsets(), offsets)

    # The best round is one in the middle, of the lane with the largest augmentation.
    def ap(knobs: Knobs, rounds: Sequence[Round]) -> float:
        return knobs.augment if len(rounds) == 4 else 0.5 * knobs.get("lr")

    trials = Imagined([], ap)
    rounds = planner.plan(trials, [], TASK, BUDGET)
    best = int(np.argmax([space.shift(row, TASK.knobs, scale=4.0).augment for row in offsets]))
    history: list[Round] = []
    for each in rounds:
        default = schedule.decide(history, TASK, BUDGET)
        assert each.knobs == space.shift(offsets[best], default.knobs, scale=4.0)
        history.append(each)
    assert len(rounds) == 10
    assert trials.lanes == [16]
    assert [decision.knobs for decision in trials.played[::16]] == [
        schedule.decide(rounds[:index], TASK, BUDGET).knobs for index in range(10)
    ]


@pytest.mark.parametrize(
    ("frequencies", "scores", "round_", "weights", "knobs", "explores"),
    [
        # Only the first evolves: its last copies its best, its third takes the best of the other with its knobs.
        ((1, 2), [0.1, 0.4, 0.3, 0.2, 0.8, 0.5, 0.6, 0.05], 0, "11244567", "11244567", "0"),
        # Both do. The third of the slower (5) takes the weights of the best of the faster (1), with the knobs of 4.
        ((1, 2), [0.1, 0.9, 0.3, 0.2, 0.8, 0.5, 0.6, 0.05], 1, "11244164", "11244464", "07"),
        # No lane of the faster is better than the third of the slower.
        ((1, 2), [0.1, 0.4, 0.3, 0.2, 0.8, 0.5, 0.6, 0.05], 1, "11244564", "11244564", "07"),
        # Of as frequent ones weights come, and the knobs stay.
        ((1, 1), [0.1, 0.9, 0.3, 0.2, 0.8, 0.5, 0.6, 0.05], 0, "11244164", "11234564", "07"),
        # The second of a third quarter takes the second of the others.
        (
            (1, 2),
            [place / 100 for place in (8, 7, 6, 5, 4, 3, 2, 1, 18, 17, 16, 15, 14, 13, 12, 11)],
            *(0, "0123890189abcdef", "0123890189abcdef", "67"),
        ),
        # Nobody evolves.
        ((3, 5), [0.1, 0.9, 0.3, 0.2, 0.8, 0.5, 0.6, 0.05], 0, "01234567", "01234567", ""),
        # One population: plain truncation of quarters.
        ((1,), [0.1, 0.9, 0.3, 0.2, 0.8, 0.5, 0.6, 0.05], 0, "11234564", "11234564", "07"),
    ],
)
def test_who_inherits_is_what_the_authors_code_says(
    frequencies: tuple[int, ...], scores: list[float], round_: int, weights: str, knobs: str, explores: str
) -> None:
    heirs = MultiFrequencyPBT(frequencies=frequencies, size=len(scores) // len(frequencies)).evolve(scores, round_)
    assert "".join(f"{lane:x}" for lane in heirs.weights) == weights
    assert "".join(f"{lane:x}" for lane in heirs.knobs) == knobs
    assert "".join(str(lane) for lane, explored in enumerate(heirs.explores) if explored) == explores


def test_a_population_draws_evolves_perturbs_and_returns_the_best_line_of_descent() -> None:
    planner = MultiFrequencyPBT(frequencies=(1, 2), size=4, knobs=("lr", "augment"), seed=7)

    def ap(knobs: Knobs, rounds: Sequence[Round]) -> float:
        return knobs.get("lr") * (1 + len(rounds)) - 0.01 * knobs.augment

    trials = Imagined([], ap)
    rounds = planner.plan(trials, [], TASK, BUDGET)
    generator, space = np.random.default_rng(7), KnobSpace(("lr", "augment"))
    settings = [space.shift(row, TASK.knobs, scale=4.0) for row in generator.uniform(-1, 1, (8, 2))]
    lines: list[list[float]] = [[] for _ in range(8)]
    for index in range(10):
        assert [decision.knobs for decision in trials.played[8 * index : 8 * index + 8]] == settings
        for line, setting in zip(lines, settings, strict=True):
            line.append(setting.get("lr"))
        scores = [setting.get("lr") * (1 + index) - 0.01 * setting.augment for setting in settings]
        if index == 9:
            break
        heirs = planner.evolve(scores, index)
        lines = [list(lines[parent]) for parent in heirs.weights]
        ways = generator.choice([-1.0, 1.0], (8, 2))
        settings = [
            space.shift(ways[lane], settings[heirs.knobs[lane]], scale=1.25)
            if heirs.explores[lane]
            else settings[heirs.knobs[lane]]
            for lane in range(8)
        ]
    best = int(np.argmax(scores))
    assert [each.knobs.get("lr") for each in rounds] == lines[best]
    assert len(trials.played) == 80
    factors = {round(later / earlier, 6) for line in lines for earlier, later in itertools.pairwise(line)}
    assert {0.8, 1.25} & factors


def test_what_trials_cost_is_shared_by_their_rounds_and_nothing_is_lost() -> None:
    spent = Spent(images=100, evaluated=7, seconds=3.0, processor_seconds=6.0)
    parts = [spent.part(place, 3) for place in range(3)]
    assert [part.images for part in parts] == [33, 33, 34]
    assert sum(part.evaluated for part in parts) == 7
    assert sum(part.seconds for part in parts) == pytest.approx(3.0)
    assert sum(part.processor_seconds for part in parts) == pytest.approx(6.0)


LANES = {"lookahead": 3, "best_of_n": 3, "mf_pbt": 8}


@pytest.mark.parametrize("name", PLANNERS)
def test_a_run_pays_for_its_trials_repeats_them_bit_for_bit_and_is_resumed_and_replayed(
    name: str, make_task: MakeTask, tmp_path: Path
) -> None:
    task, budget = make_task(), Budget(images=6 * BATCH, rounds=3)
    folder = CheckpointFolder(
        folder=tmp_path, recipe=task.recipe, categories=("a", "b", "c"), size=(48, 48), settings={}
    )
    made: list[Sequence[Round]] = []

    @dataclass(frozen=True)
    class Watched(Planner):
        forbidden: bool = False
        measures: tuple[Measure, ...] = ()

        def plan(self, trials: Any, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Sequence[Round]:
            assert not self.forbidden, "the plan is in the file"
            made.append(make_controller(name, PLANNERS[name]).plan(trials, history, task, budget))
            return made[-1]

    whole = Trainer(task, seed=5)
    result = run(whole, Watched(), budget)
    planned = [each for rounds in made for each in rounds]
    assert [each.val for each in result.history] == [each.val for each in planned]
    assert [Decision.of(each) for each in result.history] == [Decision.of(each) for each in planned]

    # The trials of the planner, and evaluations of them: its first round is the run's own.
    looked = sum(min(2, 3 - index) for index in range(3)) if name == "lookahead" else 3
    rounds = LANES[name] * looked
    assert result.history[-1].images == rounds * budget.interval
    assert result.history[-1].evaluated == rounds * len(task.splits.val)
    assert result.history[-1].seconds > sum(each.interval.seconds for each in result.history)

    class Stop(Exception):
        pass

    def stop(lane: int, each: Round) -> None:
        if each.index == 1:
            raise Stop

    with pytest.raises(Stop):
        run(Trainer(task, seed=5), Watched(), budget, checkpoints=folder, observer=stop)
    saved, resumed = Checkpoint.load(tmp_path / "last.pt"), Trainer(task, seed=99)
    resumed.restore(saved.snapshot)
    again = run(
        resumed,
        Watched(forbidden=name != "lookahead"),
        budget,
        checkpoints=folder,
        history=saved.history,
        best=Checkpoint.load(tmp_path / "best.pt").snapshot,
    )
    replayed = run(Trainer(task, seed=5), load_replay(tmp_path / "plan.json"), budget)
    for other in (again, replayed, run(Trainer(task, seed=5), Replay.of(result.history), budget)):
        assert [each.val for each in other.history] == [each.val for each in result.history]
    assert [each.images for each in again.history] == [each.images for each in result.history]
    assert replayed.history[-1].images == budget.images
    assert torch.equal(resumed.snapshot().tensors["weights"], whole.snapshot().tensors["weights"])


def test_every_lane_of_a_fleet_plans_for_itself_and_patience_may_stop_it(make_task: MakeTask) -> None:
    task, budget = make_task(), Budget(images=3 * BATCH, rounds=3)
    planner = BestOfN(n=2, knobs=("lr",))
    both = run_fleet(Fleet(task, [5, 6]), [planner, Patience(controller=planner, rounds=1)], budget)
    first, second = (run_fleet(Fleet(task, [seed]), [planner], budget)[0].history for seed in (5, 6))
    assert [each.val for each in both[0].history] == [each.val for each in first]
    assert both[0].history[0].images == first[0].images == 2 * budget.interval
    aps = [each.val.ap for each in second]
    stopped = next((place + 1 for place in (1, 2) if aps[place] <= max(aps[:place])), 3)
    assert [each.val.ap for each in both[1].history] == aps[:stopped]
    assert both[1].status == ("stopped" if stopped < 3 else "finished")


def test_without_a_run_a_planner_decides_nothing() -> None:
    with pytest.raises(ConfigError, match="Lookahead tries before it decides, which only a run can do"):
        Lookahead().decide([], TASK, BUDGET)


def test_a_plan_is_rounds_that_are_left(make_task: MakeTask) -> None:
    class Idle(Planner):
        def plan(self, trials: Any, history: Any, task: Any, budget: Any) -> Sequence[Round]:
            return []

    class Hasty(Planner):
        def plan(self, trials: Any, history: Any, task: Any, budget: Any) -> Sequence[Round]:
            trials.play([])
            return []

    budget = Budget(images=2 * BATCH, rounds=1)
    with pytest.raises(ConfigError, match="Idle planned 0 rounds after 0 of 1: expected 1 to 1"):
        run(Trainer(make_task()), Idle(), budget)
    with pytest.raises(ConfigError, match="before any lane was made: call begin"):
        run(Trainer(make_task()), Hasty(), budget)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Lookahead(rounds=0), "rounds is 0: expected a whole number from 1"),
        (lambda: Lookahead(factor=1.0), "factor is 1.0: expected a finite factor above 1"),
        (lambda: BestOfN(n=0), "n is 0: expected a whole number from 1"),
        (lambda: BestOfN(n=5000), "n is 5000: expected a whole number from 1 to 4096"),
        (lambda: MultiFrequencyPBT(size=8192), "size is 8192: expected a whole number from 4 to 4096"),
        (lambda: BestOfN(scale=0.5), "scale is 0.5: expected a finite factor above 1"),
        (lambda: MultiFrequencyPBT(size=6), "size is 6: expected a multiple of 4"),
        (lambda: MultiFrequencyPBT(frequencies=()), "frequencies is empty"),
        (lambda: MultiFrequencyPBT(frequencies=(0,)), "frequencies is 0: expected a whole number from 1"),
        (lambda: MultiFrequencyPBT(perturbation=1.0), "perturbation is 1.0: expected a finite factor above 1"),
        (lambda: Lookahead(knobs=("rate",)).check_knobs(TASK.ranges), "unknown knob 'rate'"),
        (lambda: BestOfN(knobs=("rate",)).check_knobs(TASK.ranges), "unknown knob 'rate'"),
        (lambda: MultiFrequencyPBT(knobs=("rate",)).check_knobs(TASK.ranges), "unknown knob 'rate'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
