"""The Gymnasium environment of post-processing; its page is the class docstring."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from mapopt.envs.candidates import CandidateSource
from mapopt.envs.post_processing_actions import NOTCH, SettingAction, SettingSpace
from mapopt.envs.post_processing_episode import LIMIT, Episode, PostProcessingState, Problems, observation_names
from mapopt.envs.synthetic_candidates import SyntheticCandidates
from mapopt.errors import ConfigError

LENGTH = 32


class PostProcessingEnv(gymnasium.Env[np.ndarray, Any]):
    """Turn the post-processing of a detector that is trained already, and see at once what that is worth.

    ### Description
    An instance is what a detector put out on tune and test images before suppression, fixed for the whole episode. A
    step chooses a setting: how overlapping boxes are suppressed, how many are reported, and from which score in every
    class. What is reported is judged on the tune images. Nothing is trained, so a step takes a fraction of a
    millisecond, and AP, F1 and LRP are those of `mapopt.metrics`, bit for bit.

    By default instances are **synthetic** (`mapopt.envs.synthetic_candidates`): boxes drawn from seeded noise around
    drawn objects; no detector made them. `mapopt.envs.candidates.DetectorCandidates` has those of trained ones. The
    first reset in a process compiles code or loads what was compiled before: some ten seconds once on a machine, half a
    second later.

    ### Action space
    ``action="absolute"``: ``Box(-1, 1, (3 + k,))`` for k classes, the whole setting at once. Each number is on the
    scale of the knob of its name: -1 and 1 are the ends of its range.

    | entry | number | range | scale | default |
    | --- | --- | --- | --- | --- |
    | 0 | ``nms_iou``: of two boxes of a class that overlap more, the weaker is dropped | .1 to .95 | linear | .6 |
    | 1 | ``soft_nms_sigma``: width of Gaussian Soft-NMS, which then stands in for it; 0 is off | 0 to 1 | linear | 0 |
    | 2 | ``detections``: boxes per image at most | 1 to 300 | logarithmic | 100 |
    | 3 ... | ``score_threshold_k``: smallest score reported of class k | 0 to .95 | linear | 0 |

    ``action="discrete"``: ``Discrete(7 + 2 k)``. 0 changes nothing; 2 i + 1 moves entry i of the table a notch down
    and 2 i + 2 a notch up, on [-1, 1], where it stops.

    `action_names` names the entries (or choices) of an action. `baseline_action` is the one that keeps the default
    setting: 0 where actions are discrete, None where they are absolute.

    ### Observation space
    ``Box(-5, 5, (16 + 12 k,), float32)``, of the tune images only; `observation_names` lists the entries. "Value" is
    what the reward pays for. Logarithms and tenfold differences are clipped to the box.

    | entries | number | range |
    | --- | --- | --- |
    | 1 | ``progress``: steps made / length | 0 to 1 |
    | 1 | ``value`` | 0 to 1 |
    | 1 | ``gain``: 10 (value - that of the default setting) | -5 to 5 |
    | 1 | ``change``: 10 (value - that of the step before) | -5 to 5 |
    | 1 | ``below_best``: 10 (best value so far - value) | 0 to 5 |
    | 3 | ``ap``, ``f1``, ``lrp`` of what is reported | 0 to 1 |
    | 1 | ``boxes_log``: ln((boxes reported + 1) / (objects + 1)) | -5 to 5 |
    | 4 | ``gain_n_ago``: ``gain`` as it was n = 1, 2, 3, 4 steps ago | -5 to 5 |
    | 3 + k | ``knob_...``: the present setting, as in the action "absolute" | -1 to 1 |
    | 4 k | ``ap_k``, ``f1_k``, ``precision_k``, ``recall_k`` | 0 to 1 |
    | k | ``boxes_log_k``: as above, of the class | -5 to 5 |
    | k | ``share_k``: of the objects, those of the class | 0 to 1 |
    | 5 k | ``score_at_x_k``: the class's n-th best score before suppression, n being x = .25, .5, 1, 2, 4 times its
      objects | 0 to 1 |

    ### Reward
    The value of the new setting less that of the one before, so that the return (discount 1) is what the last setting
    is worth more than the default one.

    | ``reward`` | value |
    | --- | --- |
    | ``"ap"`` | AP@[.5:.95]. It only falls with a score threshold or a smaller ``detections``: those are dead |
    | ``"f1"`` | F1 at IoU .5 of all that is reported, mean over classes: every false alarm costs |
    | ``"lrp"`` | 1 - localisation recall precision error of all that is reported; over all thresholds its best is 1 -
      optimal LRP (oLRP) |

    With "f1" and "lrp" thresholds matter because nothing is optimised after the agent: the reported set is judged as it
    is. The test images have no part in observation or reward.

    ### Starting state
    The default knobs of a detector (the table's last column). The instance is drawn, or named by
    ``reset(options={"instance": 3})``.

    ### End of the episode
    ``terminated`` after `length` steps (progress is observed); ``truncated`` never. The last ``info`` holds
    ``test_ap``, ``test_f1``, ``test_lrp``, ``test_value`` and ``test_gain``, the value more than the default setting
    has on the test images.

    ### Arguments
    | argument | default | meaning |
    | --- | --- | --- |
    | ``source`` | ``SyntheticCandidates()`` | where instances come from: a `CandidateSource` |
    | ``reward`` | ``"ap"`` | see above |
    | ``action`` | ``"absolute"`` | see above |
    | ``length`` | 32 | steps of an episode |
    | ``notch`` | 0.125 | how far a discrete action moves a number on [-1, 1] |
    | ``render_mode`` | ``None`` | ``"ansi"``: one line of text |

    ### Version history
    v0: first version.

    References: N. Bodla et al., "Soft-NMS - Improving Object Detection With One Line of Code", ICCV 2017; K. Oksuz et
    al., "One Metric to Measure Them All: Localisation Recall Precision (LRP) for Evaluating Visual Detection Tasks",
    TPAMI 2021.

    >>> import gymnasium, mapopt.envs
    >>> env = gymnasium.make("mapopt/PostProcessing-v0", reward="f1", render_mode="ansi")
    >>> observation, info = env.reset(seed=0, options={"instance": 5})
    >>> observation, reward, terminated, truncated, info = env.step(np.float32([0.2, -1, 1, -0.3, -0.3, -0.3]))
    >>> bool(reward > 0), info["setting"].detections, terminated
    (True, 300, False)
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 30}

    def __init__(
        self,
        source: CandidateSource | None = None,
        *,
        reward: Literal["ap", "f1", "lrp"] = "ap",
        action: Literal["absolute", "discrete"] = "absolute",
        length: int = LENGTH,
        notch: float = NOTCH,
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in (None, "ansi"):
            raise ConfigError(f"render_mode is {render_mode!r}: expected 'ansi' or None")
        self.source = source if source is not None else SyntheticCandidates()
        form = SettingAction(SettingSpace(self.source.classes), action, notch=notch)
        self._episode = Episode(Problems(self.source, form.space.default), form, reward=reward, length=length)
        self.action_space, self.observation_space = (
            form.space_of_actions(),
            observation_space(form, self.source.classes),
        )
        self.observation_names = observation_names(form, self.source.classes)
        self.action_names, self.baseline_action = form.action_names, form.baseline_action
        self.render_mode = render_mode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode; see the class for the options."""
        super().reset(seed=seed)
        return self._episode.reset(draw_instance(self.np_random, self.source, options))

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Applies a setting."""
        if self._episode.over:
            raise gymnasium.error.ResetNeeded("the episode is over, or never began: call reset() before step()")
        observation, reward, terminated, info = self._episode.step(action)
        return observation, reward, terminated, False, info

    def render(self) -> str | None:  # type: ignore[override]
        """Returns one line about the present setting in the mode "ansi"."""
        return self._episode.line() if self.render_mode == "ansi" else None

    def get_state(self) -> PostProcessingState:
        """Copies the episode, with the generator that draws the next ones."""
        return dataclasses.replace(self._episode.state, generator=self.np_random.bit_generator.state)

    def set_state(self, state: PostProcessingState) -> np.ndarray:
        """Goes back to a state of this environment or of one with the same arguments; returns its observation."""
        if state.generator is not None:
            self.np_random.bit_generator.state = state.generator
        return self._episode.restore(state)


def observation_space(action: SettingAction, classes: int) -> Box:
    """Returns the observation space of one episode."""
    return Box(-LIMIT, LIMIT, (len(observation_names(action, classes)),), np.float32)


def draw_instance(generator: np.random.Generator, source: CandidateSource, options: dict[str, Any] | None) -> int:
    """Draws the instance of an episode, unless the options name it.

    Raises:
        ConfigError: there is another option.
    """
    number = int(generator.integers(source.count))
    chosen = dict(options or {})
    number = int(chosen.pop("instance", number))
    if chosen:
        raise ConfigError(f"unknown reset options {sorted(chosen)}: expected 'instance'")
    return number
