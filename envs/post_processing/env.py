"""The Gymnasium environment of post-processing; its page is the class docstring."""

from __future__ import annotations

from typing import Any, Unpack

import gymnasium
import numpy as np

from mapopt.envs.post_processing.candidates import CandidateFamily
from mapopt.envs.post_processing.episodes import make_setup
from mapopt.envs.post_processing.lanes import PostProcessingState
from mapopt.envs.post_processing.scene import RENDER_MODES, check_render_mode, render
from mapopt.envs.post_processing.settings import PostProcessingEnvSettings, PostProcessingKeywords


class PostProcessingEnv(gymnasium.Env[np.ndarray, Any]):
    """Set the post-processing of a detector that is trained already, and see at once what that gains.

    ### Description
    An instance is what a detector put out on val and test images before suppression, fixed for the whole episode. A
    step chooses a setting: how overlapping boxes are suppressed, how many are reported, and, for every class, how many
    and from which score. What is reported is scored on the val images. Nothing is trained, so a step takes a fraction
    of a millisecond, and AP, F1 and LRP are those of `mapopt.metrics`, bit for bit.

    By default instances are **synthetic** (`mapopt.envs.SyntheticCandidates`): boxes drawn from seeded noise around
    drawn objects; no detector made them. `mapopt.envs.DetectorCandidates` has those of trained ones. The first reset in
    a process compiles code or loads what was compiled before: some ten seconds once on a machine, half a second later.

    An environment holds the last 64 instances it played, prepared: of the synthetic ones about 0.7 MB each.

    ### Action space
    ``action="absolute"``: ``Box(-1, 1, (3 + 2 k,))`` for k classes, the whole setting at once. Each number is on the
    scale of the knob of its name: -1 and 1 are the ends of its range.

    | number | range | scale | default | meaning |
    | --- | --- | --- | --- | --- |
    | nms_iou | 0.1 to 0.95 | linear | 0.6 | of two boxes of a class that overlap more, the weaker is dropped |
    | soft_nms_sigma | 0 to 1 | linear | 0 | width of Gaussian Soft-NMS, which then stands in for it; 0 is off |
    | detections | 1 to 300 | logarithmic | 100 | largest number of boxes per image |
    | score_threshold_k | 0 to 0.95 | linear | 0 | smallest score reported of class k |
    | detections_k | 1 to 300 | logarithmic | 300 | the same of class k alone, before the limit of all |

    ``action="discrete"``: ``Discrete(7 + 4 k)``. 0 changes nothing; 2 i + 1 moves number i of the table (score
    thresholds of all classes first, then their limits) a step down and 2 i + 2 a step up, on [-1, 1], where it stops.

    A number outside the box is clipped to it; an action of another shape, one that is not finite and a choice that
    there is not are refused.

    ### Observation space
    ``Box(-5, 5, (16 + 13 k,), float32)``, of the val images only; `observation_names` lists the entries. "Value" is
    what the reward pays for. Logarithms and tenfold differences are clipped to the box.

    | entry | range | meaning |
    | --- | --- | --- |
    | progress | 0 to 1 | steps made / length |
    | value | 0 to 1 | value of the present setting |
    | gain | -5 to 5 | 10 (value - that of the default setting) |
    | change | -5 to 5 | 10 (value - that of the step before) |
    | below_best | 0 to 5 | 10 (best value so far - value) |
    | ap | 0 to 1 | AP@[.5:.95] of what is reported |
    | f1 | 0 to 1 | F1 of what is reported |
    | lrp | 0 to 1 | LRP error of what is reported |
    | boxes_log | -5 to 5 | ln((boxes reported + 1) / (objects + 1)) |
    | gain_n_ago | -5 to 5 | ``gain`` as it was n = 1, 2, 3, 4 steps ago; 0 before the beginning |
    | knob_NUMBER | -1 to 1 | each number of the present setting, as in the action "absolute" |
    | ap_k | 0 to 1 | AP of class k |
    | f1_k | 0 to 1 | F1 of class k |
    | precision_k | 0 to 1 | fraction of what is reported of class k that is right |
    | recall_k | 0 to 1 | fraction of the objects of class k that is detected |
    | boxes_log_k | -5 to 5 | as ``boxes_log``, of class k |
    | fraction_k | 0 to 1 | fraction of the objects that is of class k |
    | score_at_x_k | 0 to 1 | n-th best score before suppression, n being x = .25, .5, 1, 2, 4 times the objects |

    ### Rewards
    The value of the new setting less that of the one before, so that the return (discount 1) is the value of the last
    setting less that of the default one.

    - ``ap``: AP@[.5:.95] of what is reported.
    - ``f1``: F1 at IoU .5 of what is reported, mean over classes.
    - ``lrp``: 1 - LRP error of what is reported, mean over classes.

    LRP is the localization recall precision error, 0 good and 1 bad. Under ``f1`` and ``lrp`` every false alarm costs,
    and nothing is optimized after the agent: the reported set is scored as it is. Over all thresholds of a setting the
    best value of ``lrp`` is 1 - optimal LRP. AP only falls with a score threshold and with fewer boxes: under ``ap``
    all these numbers are dead. The test images are part of no observation and of no
    reward.

    ### Starting state
    The default setting of the table of actions, hard suppression, whatever a detector's own default is. The instance is
    drawn, or named by ``reset(options={"instance": 3})``. The info of a reset holds ``instance`` and ``description``,
    besides what that of a step holds.

    ### End of the episode
    ``terminated`` after `length` steps (progress is observed); ``truncated`` never. The last ``info`` holds
    ``test_ap``, ``test_f1``, ``test_lrp``, ``test_value`` and ``test_gain``, the value more than the default setting
    has on the test images.

    ### Info
    Of every step: ``value``, ``ap``, ``f1``, ``lrp`` and ``knobs``, a dictionary of the setting's numbers by name.

    ### Arguments
    - ``family`` ("synthetic"): where candidates come from, or a family of your own; see `CandidateFamily`.
    - ``reward`` ("ap"), ``action`` ("absolute"): see above; or a function of a `PostProcessingScore`, and a class like
      `SettingAction`, of your own.
    - ``length`` (32): steps of an episode.
    - ``step_size`` (0.125): how far a discrete action moves a number on [-1, 1].
    - ``settings``: a `PostProcessingEnvSettings` that holds all of these; what is given beside it comes first.
    - ``render_mode``: "ansi" is one line of text, "rgb_array" a picture; see `render`.

    What is of your own is given as an object or class, or as the text ``module:attribute`` that it is imported by; with
    settings as a mapping such as ``{"name": "synthetic", "count": 8}``.

    The id with its module, ``mapopt.envs:mapopt/PostProcessing-v0``, works without an import and in the processes of
    `SubprocVecEnv` and `AsyncVectorEnv`, too. Episodes can be copied: `get_state` and `set_state` work in memory, and
    refuse the state of another instance; ``copy.deepcopy`` and ``pickle`` copy the whole environment at any moment.
    Many episodes at once are `mapopt.envs.PostProcessingVectorEnv` (``gymnasium.make_vec``).

    ### Deployment
    Knobs have one score threshold; a setting has one for every class, and is deployed on a detector's raw candidates by
    `LoadedDetector.detect(images, setting)`, which reports exactly what was scored here. In a JSON file
    (``info["knobs"]`` as it is) `mapopt predict` and `evaluate` take it as ``--post-processing FILE``; in
    Python::

        setting = PostProcessingSettings.from_dict(info["knobs"])
        detections = LoadedDetector(Path("run/checkpoint.pt"), torch.device("cpu")).detect(images, setting)

    ### Version history
    v0: first version.

    References: N. Bodla et al., "Soft-NMS - Improving Object Detection With One Line of Code", ICCV 2017; K. Oksuz et
    al., "One Metric to Measure Them All: Localisation Recall Precision (LRP) for Evaluating Visual Detection Tasks",
    TPAMI 2021.

    >>> import gymnasium, mapopt.envs
    >>> env = gymnasium.make("mapopt/PostProcessing-v0", reward="f1", render_mode="ansi")
    >>> observation, info = env.reset(seed=0, options={"instance": 5})
    >>> action = np.float32([0.2, -1, 1, -0.3, -0.3, -0.3, 1, 1, 1])
    >>> observation, reward, terminated, truncated, info = env.step(action)
    >>> bool(reward > 0), info["knobs"]["detections"], terminated
    (True, 300, False)
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 4}

    def __init__(
        self,
        family: Any = None,
        *,
        settings: PostProcessingEnvSettings | None = None,
        render_mode: str | None = None,
        **changes: Unpack[PostProcessingKeywords],
    ) -> None:
        check_render_mode(render_mode)
        self._setup = make_setup(PostProcessingEnvSettings.of(settings, family=family, **changes))
        self._lane = self._setup.lanes[0]
        self.action_space, self.observation_space = self._setup.spaces
        self.render_mode = render_mode

    @property
    def family(self) -> CandidateFamily:
        """Where instances come from."""
        return self._setup.family

    @property
    def observation_names(self) -> tuple[str, ...]:
        """The name of every entry of an observation."""
        return self._setup.names

    @property
    def action_names(self) -> tuple[str, ...]:
        """The name of every entry of an action, or of every choice where an action is one of several."""
        return self._setup.form.action_names

    @property
    def baseline_action(self) -> Any:
        """The action that, always taken, keeps the default setting; None where the form has none (``absolute``)."""
        return self._setup.form.baseline_action

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode; see the class for the options.

        Raises:
            ConfigError: an option is unknown or out of its range.
        """
        super().reset(seed=seed)
        return self._lane.reset(self._setup.draw_start(self.np_random, options))

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Applies a setting.

        Raises:
            ConfigError: the action is not one of the action space's.
            gymnasium.error.ResetNeeded: the episode is over, or never began.
        """
        if self._lane.over:
            raise gymnasium.error.ResetNeeded("the episode is over, or never began: call reset() before step()")
        observation, reward, terminated, info = self._lane.step(self._lane.read(action))
        return observation, reward, terminated, False, info

    def render(self) -> Any:
        """Returns one line about the present setting ("ansi"), or a picture uint8 ``[h, w, 3]`` ("rgb_array").

        The picture shows the value and the first numbers of the setting over the steps; the default is orange.
        """
        return render(self._lane, self.render_mode)

    def get_state(self) -> PostProcessingState:
        """Copies the episode, with the generator that draws the next ones."""
        return self._lane.copy(self.np_random.bit_generator.state)

    def set_state(self, state: PostProcessingState) -> np.ndarray:
        """Goes back to a state of this environment or of one with the same arguments; returns its observation.

        Raises:
            CheckpointError: it is of another instance's candidates, or of an episode of another length.
        """
        observation = self._lane.restore(state)
        if state.generator is not None:
            self.np_random.bit_generator.state = dict(state.generator)
        return observation
