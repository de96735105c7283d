"""TPE: proposes what was common among the good settings and rare among the others, by Optuna's sampler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mapopt.agents.search.adaptive import Adaptive
from mapopt.agents.search.dimensions import Dimension
from mapopt.agents.search.optuna_trials import (
    decoded,
    load_optuna,
    parameter_of,
    parameters_of,
    quiet_optuna,
    suggested,
)
from mapopt.agents.search.space import Setting, Space
from mapopt.agents.search.strategies import Scored
from mapopt.bounds import check_whole

TRIES = 25
"""Proposals in a row that were tried before, after which a setting is drawn at random."""


class TPE(Adaptive):
    """Proposes by a tree of Parzen estimators, one for every group of names that count together.

    Args:
        space: to propose from; a name that counts under some choices alone is modelled from the settings that have it.
        seed: of all draws.
        startup: settings that are drawn at random first, the same as `Random` draws.
        batch: settings that are tried together. Those that have no score yet count as bad ones, which keeps a batch
            apart; the smaller it is, the more is known of each, and the fewer lanes train at once.
        candidates: draws from the good settings' density, of which the most promising is proposed.

    Raises:
        ConfigError: Optuna is not installed, or a number is out of its bounds.

    Reference: J. Bergstra, R. Bardenet, Y. Bengio, B. Kegl, "Algorithms for Hyper-Parameter Optimization", NeurIPS
    2011, section 4, in Optuna's implementation, which models the names of a group together.
    """

    def __init__(self, space: Space, *, seed: int, startup: int = 10, batch: int = 4, candidates: int = 24) -> None:
        check_whole("startup", startup, 1)
        check_whole("candidates", candidates, 1, 10**6)
        super().__init__(space, seed=seed, startup=startup, batch=batch)
        self.candidates = candidates
        self._optuna = load_optuna("search strategy 'tpe'")
        self._study: Any = None
        """Of what was tried until now; made when it is needed."""

    def tell(self, tried: Sequence[Scored]) -> None:
        """Takes the scores of everything that was tried, known settings included."""
        super().tell(tried)
        self._study = None

    def propose(self, number: int) -> Setting:
        """Returns a setting by the scores so far; at random where there are none, or nothing new is proposed."""
        if not self.tried:
            return self.drawn()
        with quiet_optuna():
            study = self._study = self._study or self._made()
            study.sampler = self._sampler(number)
            for _ in range(TRIES):
                trial = study.ask()
                setting = self._chosen(trial)
                if self.is_new(setting):
                    return setting
                study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
        return self.drawn()

    def _chosen(self, trial: Any) -> Setting:
        def choose(name: str, dimension: Dimension) -> Any:
            return decoded(dimension, suggested(trial, parameter_of(self.space, name, dimension), dimension))

        return self.space.walk(choose)

    def _sampler(self, number: int) -> Any:
        return self._optuna.samplers.TPESampler(
            n_startup_trials=0,
            n_ei_candidates=self.candidates,
            multivariate=True,
            group=True,
            constant_liar=True,
            seed=self.seed_of(number),
        )

    def _made(self) -> Any:
        """Returns a study in memory of everything that was asked for, as it stands now."""
        create, state = self._optuna.trial.create_trial, self._optuna.trial.TrialState
        study = self._optuna.create_study(direction="maximize")
        trials: list[tuple[Setting, float | None, Any]] = [
            (each.setting, each.score, state.COMPLETE) for each in self.tried
        ]
        trials += [(setting, None, state.RUNNING) for setting in self.pending()]
        for setting, score, reached in trials:
            values, distributions = parameters_of(self.space, setting)
            study.add_trial(create(state=reached, value=score, params=values, distributions=distributions))
        return study
