"""The engine behind both forms of the post-processing environment: settings are tried on an instance's candidates."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapopt.envs.post_processing.actions import SettingAction, SettingSpace
from mapopt.envs.post_processing.candidates import CandidateFamily, CandidateInstance
from mapopt.envs.post_processing.registries import make_value, name_of
from mapopt.errors import CheckpointError, ConfigError
from mapopt.postprocessing.candidates import CandidateSet
from mapopt.postprocessing.scorer import PostProcessingScore, Scorer
from mapopt.postprocessing.settings import PostProcessingSettings

LIMIT = 5.0
"""Every observed number is clipped to ``[-LIMIT, LIMIT]``."""

_AGO = (1, 2, 3, 4)
_MULTIPLES = (0.25, 0.5, 1.0, 2.0, 4.0)
INSTANCES_KEPT = 64
"""Prepared instances that an environment holds: those asked for last."""

_GLOBAL = (
    "progress",
    "value",
    "gain",
    "change",
    "below_best",
    "ap",
    "f1",
    "lrp",
    "boxes_log",
    *(f"gain_{ago}_ago" for ago in _AGO),
)
_PER_CLASS = (
    "ap",
    "f1",
    "precision",
    "recall",
    "boxes_log",
    "fraction",
    *(f"score_at_{multiple:g}" for multiple in _MULTIPLES),
)


class Problem:
    """One instance, ready to be scored.

    Args:
        instance: the candidates.
        default: the setting that episodes begin at.
    """

    def __init__(self, instance: CandidateInstance, default: PostProcessingSettings) -> None:
        self.description, self._default = instance.description, default
        self.fingerprint = _fingerprint(instance)
        self._test: CandidateSet | Scorer = instance.test
        self.val = Scorer(instance.val)
        self.start = self.val.score(default)
        positives = self.val.positives
        self.per_class = np.concatenate([positives / positives.sum(), self.val.scores_at(_MULTIPLES).T.ravel()])
        """Features that no setting changes."""

    @property
    def test(self) -> Scorer:
        """Scores on the test images; nothing here reads it but the last info of an episode."""
        if isinstance(self._test, CandidateSet):
            self._test = Scorer(self._test)
        return self._test

    @cached_property
    def test_start(self) -> PostProcessingScore:
        """How good the default setting is on the test images."""
        return self.test.score(self._default)


class Problems:
    """A family's instances, prepared when they are first asked for; several episodes may read them."""

    def __init__(self, family: CandidateFamily, default: PostProcessingSettings) -> None:
        self.family, self._default = family, default
        self._kept: OrderedDict[int, Problem] = OrderedDict()

    def __len__(self) -> int:
        """Returns how many are held."""
        return len(self._kept)

    def __getitem__(self, number: int) -> Problem:
        if number not in self._kept:
            self._kept[number] = Problem(self.family.instance(number), self._default)
            if len(self._kept) > INSTANCES_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(number)
        return self._kept[number]


@dataclass(frozen=True, eq=False, kw_only=True)
class PostProcessingState:
    """An episode at a moment, in memory: what is needed to go on from there, in the same lane or in another."""

    instance: int
    units: NDArray[np.float64]
    setting: PostProcessingSettings
    score: PostProcessingScore
    values: tuple[float, ...]
    over: bool
    earlier: tuple[PostProcessingSettings, ...] = ()
    """The settings before this one, the default one first; a picture shows them."""
    fingerprint: str = ""
    """Of the instance's candidates; empty until the state is copied out of its environment."""
    length: int = 0
    """Steps of the episode, likewise."""
    generator: Mapping[str, Any] | None = None
    """State of the random generator that draws the next episodes."""


class PostProcessingLane:
    """Tries settings, on one instance after the other: an episode each.

    Args:
        problems: the instances.
        action: what an action does.
        reward: the value of a setting; see `make_value`.
        length: steps of an episode.

    Raises:
        ConfigError: the reward is unknown.
    """

    def __init__(self, problems: Problems, action: SettingAction, *, reward: Any, length: int) -> None:
        self._problems, self._action, self.reward, self.length = problems, action, name_of(reward), length
        self._value = make_value(reward)
        self._state: PostProcessingState | None = None

    @property
    def state(self) -> PostProcessingState:
        """Where the episode stands.

        Raises:
            ConfigError: it never began.
        """
        if self._state is None:
            raise ConfigError("the environment was never reset and has no state: call reset() first")
        return self._state

    @property
    def over(self) -> bool:
        """Whether a reset is due."""
        return self._state is None or self._state.over

    def copy(self, generator: Mapping[str, Any]) -> PostProcessingState:
        """Returns the state with what says whose it is, and the state of a generator."""
        state = self.state
        fingerprint = self._problems[state.instance].fingerprint
        return replace(state, fingerprint=fingerprint, length=self.length, generator=generator)

    def restore(self, state: PostProcessingState) -> NDArray[np.float32]:
        """Goes back to a state, and returns its observation.

        Raises:
            CheckpointError: it is of another instance's candidates or of an episode of another length; nothing has
                changed then.
        """
        if not isinstance(state, PostProcessingState):
            raise CheckpointError(f"a state is of type {type(state).__name__}: expected what get_state() returns")
        if not 0 <= state.instance < self._problems.family.count:
            raise CheckpointError(
                f"the state is of instance {state.instance} and this family has {self._problems.family.count}: "
                "make the environment with the family that the state is of"
            )
        if state.fingerprint and state.fingerprint != self._problems[state.instance].fingerprint:
            raise CheckpointError(
                f"the state is of other candidates than instance {state.instance} has here: "
                "make the environment with the family that the state is of"
            )
        if state.length and state.length != self.length:
            raise CheckpointError(
                f"the state is of an episode of {state.length} steps and those here have {self.length}: "
                f"make the environment with length={state.length}"
            )
        self._state = state
        return self.observe()

    def reset(self, number: int) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begins an episode at the default setting."""
        problem, space = self._problems[number], self._action.space
        self._state = PostProcessingState(
            instance=number,
            units=space.default_units,
            setting=space.default,
            score=problem.start,
            values=(self._value(problem.start),),
            over=False,
        )
        return self.observe(), {"instance": number, "description": problem.description, **self._info()}

    def read(self, action: Any) -> NDArray[np.float64]:
        """Returns where an action leads, ``[n]`` in [-1, 1]; nothing has happened yet.

        Raises:
            ConfigError: the action is not one of the action space's.
        """
        return self._action.apply(action, self.state.units)

    def step(self, units: NDArray[np.float64]) -> tuple[NDArray[np.float32], float, bool, dict[str, Any]]:
        """Goes where an action leads; returns observation, reward, whether the episode is over, and info."""
        before = self.state
        setting = self._action.space.move(before.setting, before.units, units)
        problem = self._problems[before.instance]
        score = before.score if setting == before.setting else problem.val.score(setting)
        values = (*before.values, self._value(score))
        over = len(values) > self.length
        self._state = PostProcessingState(
            instance=before.instance,
            units=units,
            setting=setting,
            score=score,
            values=values,
            over=over,
            earlier=(*before.earlier, before.setting),
        )
        info = self._info()
        if over:
            tested = problem.test.score(setting)
            value = self._value(tested)
            info |= {"test_ap": tested.ap, "test_f1": tested.f1, "test_lrp": tested.lrp, "test_value": value}
            info["test_gain"] = value - self._value(problem.test_start)
        return self.observe(), values[-1] - values[-2], over, info

    def observe(self) -> NDArray[np.float32]:
        """Returns float32 ``[n]`` in ``[-LIMIT, LIMIT]``, in the order of `observation_names`."""
        state, problem = self.state, self._problems[self.state.instance]
        score, values, positives = state.score, state.values, problem.val.positives
        now, start = values[-1], values[0]
        recent = [10 * (values[-1 - ago] - start) if ago < len(values) else 0.0 for ago in _AGO]
        head = [
            (len(values) - 1) / self.length,
            now,
            10 * (now - start),
            10 * (now - values[-2]) if len(values) > 1 else 0.0,
            10 * (max(values) - now),
            score.ap,
            score.f1,
            score.lrp,
            np.log((score.reported.sum() + 1) / (positives.sum() + 1)),
            *recent,
        ]
        boxes = np.log((score.reported + 1) / (positives + 1))
        parts = (
            head, state.units, score.class_ap, score.class_f1, score.precision, score.recall, boxes,
            problem.per_class,
        )  # fmt: skip
        return np.clip(np.concatenate(parts), -LIMIT, LIMIT).astype(np.float32)

    @property
    def description(self) -> str:
        """All that is special about the episode's instance, in one line."""
        return self._problems[self.state.instance].description

    def line(self) -> str:
        """Returns where the episode stands, as one line of text."""
        state, setting = self.state, self.state.setting
        thresholds = " ".join(f"{value:.2f}" for value in setting.score_thresholds)
        limits = " ".join(map(str, setting.class_detections))
        return (
            f"step {len(state.values) - 1}/{self.length}: {self.reward} {state.values[-1]:.3f} "
            f"({state.values[-1] - state.values[0]:+.3f}); nms_iou {setting.nms_iou:.2f}, "
            f"soft_nms_sigma {setting.soft_nms_sigma:.2f}, "
            f"detections {setting.detections} (of classes {limits}), score thresholds {thresholds}"
        )

    def _info(self) -> dict[str, Any]:
        state = self.state
        return {
            "value": state.values[-1],
            "ap": state.score.ap,
            "f1": state.score.f1,
            "lrp": state.score.lrp,
            "knobs": state.setting.as_dict(),
        }


def _fingerprint(instance: CandidateInstance) -> str:
    """Returns hexadecimal digits that change with any box, score, label or object of an instance."""
    digest = hashlib.blake2b(instance.description.encode(), digest_size=16)
    for candidates in (instance.val, instance.test):
        truth = candidates.truth
        columns = (candidates.boxes, candidates.scores, candidates.labels, candidates.images)
        for column in (*columns, truth.boxes, truth.labels, truth.image_ids):
            digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()


def observation_names(space: SettingSpace) -> tuple[str, ...]:
    """Returns the name of every entry of an observation."""
    return (
        *_GLOBAL,
        *(f"knob_{name}" for name in space.names),
        *(f"{name}_{k}" for name in _PER_CLASS for k in range(space.default.classes)),
    )
