"""One search climbs its rungs: it says which runs it needs, is given them, and goes on with the best settings.

It trains nothing itself. Many searches climb at once, and the runs that they need are packed together. Everything a
search does follows from its configuration, its seed and the runs it is given, so nothing of it has to be kept but runs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from mapopt.agents.search.halving import Rung
from mapopt.agents.search.scoring import SCORERS
from mapopt.agents.search.space import Setting
from mapopt.agents.search.strategies import STRATEGIES, Scored, Strategy
from mapopt.errors import ConfigError, MapoptError
from mapopt.experiments.comparison.config import SEARCH_SEEDS, Experiment, MethodConfig
from mapopt.experiments.comparison.jobs import Job, make_job
from mapopt.experiments.searching.candidates import candidate, described
from mapopt.experiments.searching.changes import changes_of
from mapopt.experiments.searching.outcome import RungOutcome, SearchOutcome, Tried
from mapopt.experiments.searching.runs import SearchRun, name_of
from mapopt.settings import to_mapping
from mapopt.training import Budget

Runs = Mapping[str, SearchRun]
"""What a run is known by -> the run."""

Climb = Generator[list[Job], Runs, SearchOutcome]
"""Yields the runs that are needed, is sent all there are, and returns what came of it."""


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """The search of one method on some tasks together."""

    experiment: Experiment
    """As configured; what it says of earlier searches has no influence."""
    method: str
    tasks: tuple[str, ...]
    seed: int = 0
    """Of the strategy."""
    device: str = "cpu"
    report: Callable[[RungOutcome], None] = field(default=lambda rung: None, compare=False)
    """Is called with every rung that is climbed."""

    @property
    def config(self) -> MethodConfig:
        """The method that settings are applied to."""
        return self.experiment.methods[self.method]

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """The rungs; one with the whole budget where the search has none."""
        return self.config.search.halving.rungs or (Rung(),)

    def make_strategy(self) -> Strategy:
        """Returns a fresh strategy.

        Raises:
            ConfigError: the strategy does not take the space or its settings.
        """
        search, space = self.config.search, self.config.search.read_space(self.config.recipe.ranges())
        made: Strategy = STRATEGIES.make(
            search.strategy, {"space": space, "seed": self.seed, **search.strategy_settings}
        )
        return made

    @cached_property
    def counts(self) -> list[int]:
        """How many settings each rung has.

        Raises:
            ConfigError: the search does not say how many settings it tries, or says it of a grid; or a rung has more
                settings than the one before it.
        """
        search, total = self.config.search, self.make_strategy().total
        if total is not None and search.settings:
            raise ConfigError(
                f"the search of '{self.method}' has settings: {search.settings}, and strategy '{search.strategy}' has "
                f"{total} of its own: leave settings out"
            )
        if total is None and search.settings <= len(search.known):
            raise ConfigError(
                f"the search of '{self.method}' has settings: {search.settings}: expected how many settings strategy "
                f"'{search.strategy}' is to try, more than the {len(search.known)} known ones"
            )
        try:
            return search.halving.counts(search.settings if total is None else total + len(search.known))
        except ConfigError as error:
            raise ConfigError(f"the search of '{self.method}': {error}") from None

    def budget(self, rung: Rung) -> Budget:
        """Returns the budget of every run of a rung: a whole run of its length.

        Raises:
            ConfigError: the images of the rung do not divide by its rounds.
        """
        whole = self.experiment.budget
        rounds = rung.rounds or whole.rounds
        images = round(whole.images * rung.budget)
        if images % rounds:
            raise ConfigError(
                f"a rung of the search of '{self.method}' has {images} images, {rung.budget:g} of the budget, for "
                f"{rounds} rounds: expected a number that divides by the rounds; give other `rounds` or another budget"
            )
        return Budget(images=images, rounds=rounds)

    @property
    def images(self) -> int:
        """Trained on in all, if nothing is there already and no two rungs share runs."""
        return sum(
            count
            * self.seeds(rung)
            * sum(self.experiment.tasks[task].budget_of(self.budget(rung)).images for task in self.tasks)
            for count, rung in zip(self.counts, self.rungs, strict=True)
        )

    def seeds(self, rung: Rung) -> int:
        """Returns how many seeds a rung has on every task."""
        return rung.seeds or self.config.search.seeds

    def jobs(self, settings: Sequence[Setting], rung: Rung) -> list[list[Job]]:
        """Returns the runs of each setting in a rung: all seeds of every task.

        Raises:
            ConfigError: a setting makes no method that can be trained.
        """
        budget, budgets = self.budget(rung), [*map(self.budget, self.rungs), self.experiment.budget]
        numbers = range(SEARCH_SEEDS, SEARCH_SEEDS + self.seeds(rung))
        plain = replace(self.experiment, searched={}, reference=self.method)
        listed = []
        for setting in settings:
            where = f"the search of '{self.method}'"
            method = candidate(self.config, setting, where)
            try:
                # What is wrong with a later rung is said before the first one trains.
                for later in budgets:
                    replace(plain, methods={self.method: method}, budget=later)
                tried = replace(plain, methods={self.method: method}, budget=budget)
                made = [make_job(tried, task, self.method, device=self.device) for task in self.tasks]
            except MapoptError as error:
                raise type(error)(f"{where}, {described(setting)}: {error}") from None
            listed.append([replace(job, seeds=(number,)) for job in made for number in numbers])
        return listed

    def climb(self) -> Climb:
        """Climbs the rungs."""
        used: dict[str, SearchRun] = {}
        outcomes: list[RungOutcome] = []
        for number, (count, rung) in enumerate(zip(self.counts, self.rungs, strict=True), start=1):
            if number == 1:
                settings, jobs, runs = yield from self._first(count, rung)
            else:
                settings = [tried.setting for tried in outcomes[-1].tried[:count]]
                jobs = self.jobs(settings, rung)
                runs = yield [job for each in jobs for job in each]
            used |= {name_of(job): runs[name_of(job)] for each in jobs for job in each}
            tried = self._scored(settings, jobs, runs)
            outcome = RungOutcome(
                method=self.method,
                tasks=self.tasks,
                number=number,
                rungs=len(self.rungs),
                images=self.budget(rung).images,
                seeds=self.seeds(rung),
                tried=tuple(sorted(tried, key=lambda each: -each.score)),
            )
            self.report(outcome)
            outcomes.append(outcome)
        spent = [run.processor_seconds for run in used.values()]
        return SearchOutcome(
            method=self.method,
            tasks=self.tasks,
            asked=asked_of(self.experiment, self.method, self.tasks),
            rungs=tuple(outcomes),
            runs=len(used),
            images=sum(run.images for run in used.values()),
            seconds=sum(run.seconds for run in used.values()),
            processor_seconds=None if None in spent else float(sum(value for value in spent if value is not None)),
        )

    def _first(self, count: int, rung: Rung) -> Generator[list[Job], Runs, tuple[list[Setting], list[list[Job]], Runs]]:
        """Asks the strategy for the settings of the first rung, as many at a time as it wants."""
        strategy = self.make_strategy()
        settings: list[Setting] = [dict(known) for known in self.config.search.known]
        jobs = self.jobs(settings, rung)
        while True:
            left = count - len(settings)
            try:
                new = strategy.ask(min(left, strategy.batch) if strategy.batch else left)
            except ConfigError as error:
                raise ConfigError(f"the search of '{self.method}': {error}") from None
            settings += new
            jobs += self.jobs(new, rung)
            runs = yield [job for each in jobs for job in each]
            strategy.tell([Scored(tried.setting, tried.score) for tried in self._scored(settings, jobs, runs)])
            if len(settings) >= count:
                return settings, jobs, runs

    def _scored(self, settings: Sequence[Setting], jobs: Sequence[Sequence[Job]], runs: Runs) -> list[Tried]:
        """Returns what the settings came to, in their order."""
        reached = [[runs[name_of(job)] for job in each] for each in jobs]
        # By the jobs' names of the tasks: a run may have been kept when its task was called otherwise.
        val_ap = [
            {task: tuple(runs[name_of(job)].val_ap for job in each if job.task == task) for task in self.tasks}
            for each in jobs
        ]
        means = np.array([[np.mean(each[task]) for task in self.tasks] for each in val_ap])
        scorer: Any = SCORERS.find(self.config.search.scorer)
        scores = np.asarray(scorer(means), dtype=np.float64)
        return [
            Tried(
                setting=setting,
                changes=changes_of(self.config, setting),
                val_ap=aps,
                score=float(score),
                diverged=sum(run.diverged for run in each),
            )
            for setting, aps, score, each in zip(settings, val_ap, scores, reached, strict=True)
        ]


def asked_of(experiment: Experiment, method: str, tasks: Sequence[str]) -> str:
    """Returns a hash of what is searched: the method, its space, the tasks and their images, and the budget."""
    plain = replace(experiment, searched={}, reference=method)
    keys = [make_job(plain, task, method).keys.asked for task in tasks]
    content = json.dumps([keys, to_mapping(experiment.methods[method].search)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def ladders_of(experiment: Experiment, *, seed: int = 0, device: str = "cpu") -> list[Ladder]:
    """Returns the searches of an experiment: of every method that has a space, on every task or on all together.

    Raises:
        ConfigError: no method has a space to search.
    """
    ladders = []
    for name, method in experiment.methods.items():
        if method.search.space:
            together = [tuple(experiment.tasks)]
            groups = together if method.search.tasks == "all" else [(task,) for task in experiment.tasks]
            ladders += [
                Ladder(experiment=experiment, method=name, tasks=tasks, seed=seed, device=device) for tasks in groups
            ]
    if not ladders:
        raise ConfigError(
            f"no method of experiment '{experiment.name}' has a search space: give one at least a space, or a grid"
        )
    return ladders
