"""A population: lanes that inherit from one another, at several frequencies at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mapopt.bounds import LANES, check_seed, check_whole
from mapopt.errors import ConfigError
from mapopt.training.budget import Budget, TaskInfo
from mapopt.training.controllers.planning import Planner, Trials, best_lane
from mapopt.training.controllers.ways import hold
from mapopt.training.history import Round
from mapopt.training.knob_space import KnobSpace
from mapopt.training.knobs import Range


@dataclass(frozen=True)
class Heirs:
    """Who inherits from whom after a round: for every lane where its weights and its knobs come from."""

    weights: tuple[int, ...]
    knobs: tuple[int, ...]
    explores: tuple[bool, ...]
    """Whether the knobs are perturbed."""


@dataclass(frozen=True, kw_only=True)
class MultiFrequencyPBT(Planner):
    """Population based training in sub-populations that evolve at frequencies of their own, so that not all are greedy.

    A sub-population evolves after every so many rounds: its last quarter becomes copies of its first, with every knob
    multiplied or divided by `perturbation`. What is in its third quarter makes room for better lanes of other
    sub-populations: of one that evolves less often a lane comes with its knobs, of one that evolves more often with its
    weights alone, and gets the knobs of the best lane where it arrives. The run is then the line of descent of the lane
    whose line has the best round by val AP. It pays for all lanes.

    All lanes have the run's seed, so that its line of descent is a schedule which the run repeats bit for bit; lanes
    differ by their knobs alone, which are drawn evenly within `scale` of the task's. Between two evolutions knobs
    stand still, but for what the task leaves open and `knobs` does not name.

    Raises:
        ConfigError: a setting makes no sense.

    Reference: W. Doulazmi et al., "Multiple-Frequencies Population-Based Training", arXiv:2506.03225, 2025, and its
    authors' code (`hpo/utils/mf_pbt_genetics.py`); M. Jaderberg et al., "Population Based Training of Neural Networks",
    arXiv:1711.09846, 2017.
    """

    frequencies: tuple[int, ...] = (1, 2, 5, 10)
    """Rounds between two evolutions of every sub-population; (1,) is one population without migration."""
    size: int = 4
    """Lanes of a sub-population, a multiple of 4."""
    knobs: tuple[str, ...] = ("lr", "augment", "box_weight")
    """What is inherited and perturbed."""
    scale: float = 4.0
    """The largest offset at first: this factor on a logarithmic knob; see `KnobSpace.shift`."""
    perturbation: float = 1.25
    """What a perturbed knob is multiplied with or divided by; on a linear one as `KnobSpace.shift` has it."""
    seed: int = 0
    """Of what is drawn."""

    def __post_init__(self) -> None:
        if not self.frequencies:
            raise ConfigError("frequencies is empty: expected the rounds between two evolutions of each sub-population")
        for frequency in self.frequencies:
            check_whole("frequencies", frequency, 1)
        check_whole("size", self.size, 4, LANES)
        if self.size % 4:
            raise ConfigError(f"size is {self.size}: expected a multiple of 4, whose quarters evolve")
        for name in ("scale", "perturbation"):
            if not 1 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} is {getattr(self, name)}: expected a finite factor above 1")
        check_seed(self.seed)

    def check_knobs(self, known: Mapping[str, Range]) -> None:
        """Raises ConfigError unless the knobs that are inherited are those of a task."""
        KnobSpace(self.knobs, known)

    def plan(self, trials: Trials, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Sequence[Round]:
        """Returns the line of descent with the best round."""
        generator, begun = np.random.default_rng(self.seed), len(history)
        space, lanes = KnobSpace(self.knobs, task.ranges), self.size * len(self.frequencies)
        drawn = generator.uniform(-1, 1, (lanes, len(space)))
        settings = [space.shift(row, task.knobs, scale=self.scale) for row in drawn]
        trials.begin(lanes)
        for played in range(begun, budget.rounds):
            trials.play([hold(knobs, task, played, budget, but=self.knobs) for knobs in settings])
            if played + 1 == budget.rounds:
                break
            heirs = self.evolve([rounds[-1].val.ap for rounds in trials.histories], played)
            trials.inherit(heirs.weights)
            ways = generator.choice([-1.0, 1.0], (lanes, len(space)))
            settings = [
                space.shift(way, settings[parent], scale=self.perturbation) if explores else settings[parent]
                for way, parent, explores in zip(ways, heirs.knobs, heirs.explores, strict=True)
            ]
        return trials.histories[best_lane(trials.histories, begun)][begun:]

    def evolve(self, scores: Sequence[float], played: int) -> Heirs:
        """Returns who inherits from whom after a round.

        Args:
            scores: of the lanes, sub-population after sub-population; the more the better.
            played: rounds before it.
        """
        everyone = sorted(range(len(scores)), key=lambda lane: -scores[lane])
        rank = {lane: place for place, lane in enumerate(everyone)}
        weights, knobs, explores = list(range(len(scores))), list(range(len(scores))), [False] * len(scores)
        for own, frequency in enumerate(self.frequencies):
            if (played + 1) % frequency:
                continue
            mine = [lane for lane in everyone if lane // self.size == own]
            others = [lane for lane in everyone if lane // self.size != own]
            quarter = self.size // 4
            for loser, winner in zip(mine[-quarter:], mine[:quarter], strict=True):
                weights[loser], knobs[loser], explores[loser] = winner, winner, True
            for lane in mine[2 * quarter : 3 * quarter]:
                if not others or rank[others[0]] > rank[lane]:
                    continue
                migrant = others.pop(0)
                theirs, weights[lane] = self.frequencies[migrant // self.size], migrant
                if theirs > frequency:
                    knobs[lane] = migrant
                elif theirs < frequency:
                    knobs[lane] = mine[0]
        return Heirs(tuple(weights), tuple(knobs), tuple(explores))
