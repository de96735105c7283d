"""The Gymnasium environment of one training run; its page is the class docstring."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.utils import seeding

from mapopt.envs.actions import RelativeAction
from mapopt.envs.families import InstanceFamily, ShapesFamily
from mapopt.envs.observations import LIMIT, observation_names
from mapopt.envs.world import Outcome, World
from mapopt.errors import ConfigError
from mapopt.training.knobs import KnobSpace
from mapopt.training.task import Budget

DEFAULT_BUDGET = Budget(images=16 * 800, rounds=20)


class DetectorTrainingEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """Train an object detector; every step sets hyperparameters and trains one interval.

    ### Description
    An episode is one training run of a small detector on one instance: a data set of its own, drawn from a family.
    A step sets the knobs, trains on ``budget.images / budget.rounds`` images, and evaluates AP on the tune split.

    ### Action space
    ``Box(-1, 1, (n,))``: one offset per chosen knob (by default ``lr``, ``weight_decay``, ``augment`` and
    ``assign_iou``), relative to what the baseline, a warm-up and cosine, does in the same round. An offset of 1 is a
    factor of `reach` on a logarithmic knob and half the range on a linear one (at reach 10). The zero action is the
    baseline, bit for bit.

    ### Observation space
    ``Box(-5, 5, (18 + n,))``, scale-free; the table is `mapopt.envs.observations.FEATURES`, followed by the present
    knobs on [-1, 1].

    ### Reward
    The gain in tune AP of the round, so that the return (discount 1) is the final tune AP. A run that diverges
    returns zero in total. The test split is never read for observation or reward.

    ### Starting state
    Freshly drawn weights; the instance and the training's seed come from the environment's generator, or from
    ``reset(options={"instance": 3, "training_seed": 7})``.

    ### End of the episode
    ``terminated`` at the end of the budget (progress is observed) and on divergence. ``truncated`` never: wrap it in
    `gymnasium.wrappers.TimeLimit` for that. The last ``info`` holds ``test_ap``.

    ### Arguments
    ``family`` (an `InstanceFamily`), ``budget``, ``knobs`` (names), ``reach``, ``device``.

    ### Version history
    v0: first version.

    >>> import gymnasium, mapopt.envs
    >>> from mapopt.envs.families import ShapesFamily
    >>> from mapopt.training.task import Budget
    >>> env = gymnasium.make("mapopt/DetectorTraining-v0", family=ShapesFamily(images=(32, 8, 8)),
    ...                      budget=Budget(images=64, rounds=2))
    >>> observation, info = env.reset(seed=0)
    >>> observation, reward, terminated, truncated, info = env.step(env.action_space.sample() * 0)
    >>> terminated, sorted(info)
    (False, ['diverged', 'images', 'knobs', 'tune_ap', 'tune_ap50'])
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 2}

    def __init__(
        self,
        family: InstanceFamily | None = None,
        *,
        budget: Budget = DEFAULT_BUDGET,
        knobs: tuple[str, ...] | None = None,
        reach: float = 10.0,
        device: str = "cpu",
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in (None, "ansi"):
            raise ConfigError(f"render_mode is {render_mode!r}: expected 'ansi' or None")
        action = RelativeAction(space=KnobSpace(knobs), reach=reach) if knobs else RelativeAction(reach=reach)
        self.world = World(family or ShapesFamily(), budget, action, device=device)
        self.action_space, self.observation_space = spaces(action)
        self.render_mode = render_mode
        self._over = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode; see the class for the options."""
        super().reset(seed=seed)
        self._over = False
        return self.world.reset({0: draw_episode(self.np_random, self.world.family, options)})[0]

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Plays one round."""
        if self._over:
            raise gymnasium.error.ResetNeeded("the episode is over, or never began: call reset() before step()")
        outcome: Outcome = self.world.step(checked_actions(np.asarray(action)[None], len(self.world.action.space)))[0]
        self._over = outcome.terminated
        return outcome.observation, outcome.reward, outcome.terminated, False, outcome.info

    def render(self) -> str | None:  # type: ignore[override]
        """Returns one line about the last round in the mode "ansi"."""
        if self.render_mode != "ansi":
            return None
        if not self.world.histories[0]:
            return f"round 0/{self.world.budget.rounds}: {self.world.instances[0]}"
        now = self.world.histories[0][-1]
        names = self.world.action.space.names
        turned = ", ".join(f"{name} {getattr(now.knobs, name):.3g}" for name in names)
        return f"round {now.index + 1}/{self.world.budget.rounds}: tune AP {now.tune.ap:.3f}; {turned}"


def spaces(action: RelativeAction) -> tuple[Box, Box]:
    """Returns the action space and the observation space of one lane."""
    entries = len(observation_names(action.space))
    return (
        Box(-1.0, 1.0, (len(action.space),), np.float32),
        Box(-LIMIT, LIMIT, (entries,), np.float32),
    )


def draw_episode(
    generator: np.random.Generator, family: InstanceFamily, options: dict[str, Any] | None
) -> tuple[int, int]:
    """Draws the instance and the training's seed of an episode, unless the options name them."""
    number, seed = int(generator.integers(family.count)), int(generator.integers(2**31))
    chosen = dict(options or {})
    number, seed = int(chosen.pop("instance", number)), int(chosen.pop("training_seed", seed))
    if chosen:
        raise ConfigError(f"unknown reset options {sorted(chosen)}: expected 'instance' and 'training_seed'")
    return number, seed


def checked_actions(actions: np.ndarray, knobs: int) -> np.ndarray:
    """Returns the actions ``[lanes, knobs]`` as float64, if they are finite and have the right shape."""
    if actions.shape[1:] != (knobs,) or not np.isfinite(actions).all():
        raise ConfigError(f"an action of shape {actions.shape[1:]}: expected ({knobs},), finite, in [-1, 1]")
    return actions.astype(np.float64)


def make_generator(seed: int | None) -> np.random.Generator:
    """Returns the generator Gymnasium makes from a seed, so that vector and single faces draw the same episodes."""
    return seeding.np_random(seed)[0]
