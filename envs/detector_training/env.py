"""The Gymnasium environment of one training run; its page is the class docstring."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Unpack

import gymnasium
import numpy as np

from mapopt.envs.detector_training.actions import Action
from mapopt.envs.detector_training.episodes import RENDER_MODES, draw_start, make_lanes, spaces_of
from mapopt.envs.detector_training.scene import render
from mapopt.envs.detector_training.settings import EnvKeywords, EnvSettings
from mapopt.envs.detector_training.states import EpisodeState


class DetectorTrainingEnv(gymnasium.Env[np.ndarray, Any]):
    """Train an object detector; every step sets hyperparameters and trains one interval.

    ### Description
    An episode is one training run of a small detector on one instance: a data set of its own, drawn from a family.
    A step sets the knobs, trains on ``budget.images / budget.rounds`` images, and evaluates the val split.

    ### Action space
    Which knobs an agent sets is an argument (``knobs``, by default ``lr``, ``augment``, ``assign_iou`` and
    ``box_weight``); all others follow the baseline, a warm-up and cosine unless the instance brings a schedule of its
    own. The form of the action is an argument, too:

    - ``relative``: ``Box(-1, 1, (n,))``: an offset of every knob from what the baseline does in the same round.
    - ``moving``: ``Box(-1, 1, (n,))``: moves every knob from where it is, so it gets anywhere in its range within some
      rounds.
    - ``absolute``: ``Box(-1, 1, (n,))``: the value of every knob, -1 and 1 being the ends of its range, on its own
      scale.
    - ``discrete``: ``Discrete(1 + 2n)``: 0 keeps the offsets, 1 + 2i and 2 + 2i move that of knob i a step down
      and up.
    - ``multi_discrete``: ``MultiDiscrete([3] * n)``: for every knob 0 moves its offset a step down, 1 keeps it, 2
      moves it up.

    An offset of 1 is a factor of `scale` on a logarithmic knob, and ``log10(scale) / 2`` of the range on a linear one
    (0.3 of it at scale 4). A discrete action moves an offset by `step_size`, at most to 1. The zero action
    (``relative``, ``moving``), always choosing 0 (``discrete``) and always choosing ones (``multi_discrete``) are the
    baseline, bit for bit: `baseline_action` is that action, None for ``absolute``, which has none. `action_names` names
    the entries (or choices) of an action. A number outside the box is clipped to it; an action of another shape, one
    that is not finite and a choice that there is not are refused. Knobs that a loss, a detector or an optimizer of your
    own declares are named like ours:

    | knob | range | scale | default |
    | --- | --- | --- | --- |
    | lr | 1e-05 to 3 | logarithmic | the optimizer's |
    | weight_decay | 1e-07 to 1 | logarithmic | the optimizer's |
    | momentum | 0 to 0.99 | linear | 0.9 |
    | box_weight | 0.05 to 20 | logarithmic | 1 |
    | class_weight | 0.05 to 20 | logarithmic | the loss's |
    | focal_gamma | 0 to 5 | linear | 2 |
    | surrogate_weight | 0 to 1 | linear | 1 |
    | assign_iou | 0.05 to 0.9 | linear | rises from 0.25 to 0.55; 0.4 without a schedule |
    | augment | 0 to 1 | linear | 0.3 |
    | nms_iou | 0.1 to 0.95 | linear | 0.6 |
    | score_threshold | 0 to 0.95 | linear | 0 |
    | soft_nms_sigma | 0 to 1 | linear | the detector's: 0.5 with the tiny one; above 0, nms_iou is ignored |
    | detections | 1 to 300 | logarithmic | 100 |
    | batch_fraction | 0.25 to 1 | logarithmic | 1 |
    | temperature | 0.1 to 10 | logarithmic | 1 |
    | step_ratio | 0 to 0.3 | logarithmic | 0 |
    | augment_kinds | 0 to 1 | linear | 1 |

    ### Observation space
    ``Box``, float32, one entry per feature, each within its range; all but the knobs and the context are 0 before the
    first round. By default every feature that AP's evaluation yields anyway (those up to ``ap_4_before``), the one that
    shows what the reward pays for, and ``knob_NAME`` of the knobs that actions set. ``features`` chooses others by
    name; in it ``"knobs"`` stands for the knobs that actions set, and ``"default"``, ``"context"`` (from
    ``train_images_log`` on), ``"losses"`` (from ``class_loss_gap`` on) and ``"steps"`` (from ``step_to_lr_log`` on) for
    groups. `observation_names` lists the entries.

    | feature | range | meaning |
    | --- | --- | --- |
    | progress | 0 to 1 | rounds played / rounds of the budget |
    | ap | 0 to 1 | val AP of the last round |
    | ap_gain | -5 to 5 | 10 x (val AP - that of the round before) |
    | ap_below_best | 0 to 5 | 10 x (best val AP so far - val AP) |
    | ap_trend | -5 to 5 | 10 x mean gain of val AP over the last 4 rounds |
    | ap50 | 0 to 1 | val AP50 of the last round |
    | ap75_to_ap50 | 0 to 1 | AP75 / AP50: how well detected objects are placed |
    | ar100 | 0 to 1 | val AR100: the AP that perfect scores would allow |
    | ap_spread | 0 to 0.5 | standard deviation of AP over categories |
    | class_loss_log | -5 to 5 | ln(class loss / class loss of the first round) |
    | class_loss_change | -5 to 5 | ln(class loss / that of the round before) |
    | box_loss_log | -5 to 5 | ln(box loss / box loss of the first round) |
    | box_loss_change | -5 to 5 | ln(box loss / that of the round before) |
    | gradient_norm_log | -5 to 5 | ln(mean gradient norm / that of the first round) |
    | gradient_spike | -5 to 5 | ln(largest / mean gradient norm of the round) |
    | clipped | 0 to 1 | fraction of the steps whose gradient was clipped |
    | update_log | -5 to 5 | log10(step length / length of the weights) + 3 |
    | epochs_log | 0 to 5 | log10(1 + epochs of the training set seen) |
    | gradient_ratio_log | -5 to 5 | log10(gradient norm / length of the weights) + 1; 0 in records without it |
    | weight_norm_log | -5 to 5 | ln(length of the weights / that after the first round); 0 in records without it |
    | ap_1_before | 0 to 1 | val AP one round before the last; 0 before the beginning |
    | ap_2_before | 0 to 1 | val AP two rounds before the last |
    | ap_3_before | 0 to 1 | val AP three rounds before the last |
    | ap_4_before | 0 to 1 | val AP four rounds before the last |
    | calibration_error | 0 to 1 | expected calibration error of val detections; 0 where nothing is detected |
    | f1 | 0 to 1 | val F1 at IoU .5 of all reported boxes |
    | best_f1 | 0 to 1 | the same at the best score threshold of every category |
    | lrp | 0 to 1 | localization recall precision error of all reported boxes, 0 good and 1 bad |
    | optimal_lrp | 0 to 1 | the same at the best score threshold of every category |
    | train_images_log | -5 to 5 | log10(train images) - 2 |
    | budget_epochs_log | 0 to 5 | log10(1 + epochs of the whole budget) |
    | budget_steps_log | -5 to 5 | log10(steps of the whole budget) - 2 |
    | classes_log | 0 to 5 | log10(categories) |
    | batch_log | -5 to 5 | log10(images of a step) - 1 |
    | optimizer_adaptive | 0 to 1 | 1 with AdamW, NadamW and Schedule-Free AdamW |
    | optimizer_orthogonal | 0 to 1 | 1 with Muon |
    | optimizer_rate_free | 0 to 1 | 1 with Prodigy and DoG, which find their rate |
    | loss_error_rate | 0 to 1 | 1 with a ranking loss whose value is an error rate |
    | class_loss_gap | -5 to 5 | ln(class loss on the val split / that of the training, without its weight) |
    | box_loss_gap | -5 to 5 | the same of the box loss |
    | step_to_lr_log | -5 to 5 | log10(step length / length of the weights / learning rate) + 1 |
    | gradient_agreement | -1 to 1 | mean cosine of successive gradients in the round |
    | knob_NAME | -1 to 1 | present value of a knob, on its own scale |

    ### Rewards
    All are read on the val split; the test split is part of no observation and of no reward. Each may be charged
    ``cost_per_image`` for every image trained on.

    - ``gain``: gain in val AP of the round; the return is the final AP, 0 to 1.
    - ``final``: val AP at the end of the budget, nothing before; the return is the final AP, 0 to 1.
    - ``log_gap``: decrease of log10(1 - val AP), so that late gains count; the return is 0 to 3.
    - ``oLRP``: gain in 1 - optimal LRP error, that at the best score thresholds; the return is 0 to 1.
    - ``f1``: gain in F1 at IoU .5 of all reported boxes; the return is the final F1, 0 to 1.
    - ``best_f1``: gain in F1 at IoU .5 at the best score thresholds; the return is the final F1, 0 to 1.
    - ``lrp``: gain in 1 - LRP error of all reported boxes; the return is 0 to 1.

    The value of a detector is 0 before its first round. That of a run that diverges is 0, too: its last reward takes
    back what was paid, so that an episode's values add up to 0; and it is charged for the whole budget, so that its
    return, ``-cost_per_image * budget.images``, is the lowest an episode can have. LRP is the localization recall
    precision error, 0 good and 1 bad. Under ``f1`` and ``lrp`` every reported false alarm costs, and
    ``score_threshold`` and ``detections`` decide between detected objects and false alarms: set one of them, or nearly
    all of the 100 boxes of an image are false alarms. Under all other rewards these two knobs are dead: AP never rises
    when boxes are dropped, and ``best_f1`` and ``oLRP`` choose the best score threshold of every category for
    themselves.

    With a ``reference``, every reward is less what a reference run of the same instance and training seed was paid in
    the same round: the baseline's, or that of a controller. A return is the episode's own less the reference's then,
    also of one that diverges. By instance and seed returns differ the most, and both are in common. A reference run is
    played once for each pair of instance and training seed, beside the episodes, when the first of its rewards is due.

    ### Starting state
    Freshly drawn weights; the instance and the training's seed come from the environment's generator, or from
    ``reset(options={"instance": 3, "training_seed": 7})``. Of the family the last ``held_out`` instances are never
    drawn, and training seeds are below ``num_seeds`` where that is given. A seed fixes everything that
    follows, bit for bit. The info of a reset holds ``instance``, ``seed`` and ``description``.

    ### End of the episode
    ``terminated`` at the end of the budget (progress is observed), on divergence, and where the baseline stops its run:
    that step plays no round, costs nothing and pays nothing but what is paid at the end. ``truncated`` where training
    and evaluation have taken `seconds_limit` seconds (a lane's part of them in a fleet), which no seed determines; for
    fewer steps wrap it in `gymnasium.wrappers.TimeLimit`, whose last info is that of any other step. The environment's
    own last ``info`` holds ``test_ap``, ``test_ap50``, ``test_ap75`` and ``seconds``.

    ### Info
    Of every step: ``round``, ``images`` trained and ``evaluated`` so far, ``steps`` of the round, ``diverged``,
    ``val_ap``, ``val_ap50``, ``val_ap75``, ``val_ar100``, ``val_ap_per_category``, what else was measured as
    ``val_NAME``, ``class_loss``, ``box_loss``, ``gradient_norm``, ``gradient_norm_max``, ``gradient_ratio``,
    ``weight_norm``, ``clipped``, ``update_ratio``, ``knobs`` (a dictionary) and ``reward_parts`` (``value`` and
    ``cost``: the reward is their difference, less ``reference`` where there is one). Where the
    baseline stopped the run, all but the last are those of the last round played, and ``stopped`` says why.

    ### Arguments
    - ``family`` ("shapes"): a name in `mapopt.envs.FAMILIES`, or a family of your own; see `InstanceFamily`.
    - ``budget`` (12800 images in 20 rounds): images and rounds of an episode, unless its instance brings its own.
    - ``knobs``, ``action`` ("relative"), ``scale`` (4), ``step_size`` (0.25): see above; ``action`` may be an object
      instead, such as ``RelativeAction(knobs=("lr",), baseline=Constant())``.
    - ``baseline`` ("schedule"): what actions are relative to: a name in `mapopt.training.CONTROLLERS`, or a controller.
    - ``reward`` ("gain"), ``cost_per_image`` (0), ``features``, ``seconds_limit``: see above.
    - ``reference`` ("none"): "baseline", a name in `mapopt.training.CONTROLLERS`, or a controller; see above.
    - ``num_seeds``, ``held_out`` (0): see above.
    - ``device`` ("cpu"): where to train.
    - ``settings``: an `EnvSettings` that holds all of these; what is given beside it comes first.
    - ``render_mode``: "ansi" or "rgb_array"; see `render`.

    A family, an action, a reward and a feature of your own are given as objects, as classes, or as the text
    ``module:attribute`` that they are imported by; with settings as a mapping such as
    ``{"name": "rescue", "count": 9}``. A budget may be a mapping, too, so that all arguments fit into a YAML file.

    The id with its module, ``mapopt.envs:mapopt/DetectorTraining-v0``, works without an import and in the processes of
    `SubprocVecEnv` and `AsyncVectorEnv`, too. Episodes can be copied: `get_state` and `set_state` work in memory, also
    between environments, and refuse the state of another instance; ``copy.deepcopy`` and ``pickle`` copy the whole
    environment at any moment. Many episodes at once are `mapopt.envs.DetectorTrainingVectorEnv`
    (``gymnasium.make_vec``), and for stable-baselines3 `mapopt.envs.FleetVecEnv`.

    ### Version history
    v0: first version.

    >>> import gymnasium, mapopt.envs
    >>> env = gymnasium.make("mapopt/DetectorTraining-v0", family={"name": "shapes", "images": (32, 8, 8)},
    ...                      budget={"images": 64, "rounds": 2}, knobs=("lr", "momentum"), reward="log_gap")
    >>> observation, info = env.reset(seed=0)
    >>> observation, reward, terminated, truncated, info = env.step(env.action_space.sample() * 0)
    >>> terminated, info["round"], info["images"], "test_ap" in info
    (False, 1, 32, False)
    >>> observation, reward, terminated, truncated, info = env.step(env.action_space.sample() * 0)
    >>> terminated, "test_ap" in info
    (True, True)
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 2}

    def __init__(
        self,
        family: Any = None,
        *,
        settings: EnvSettings | None = None,
        render_mode: str | None = None,
        **changes: Unpack[EnvKeywords],
    ) -> None:
        chosen = EnvSettings.of(settings, family=family, **changes)
        self.lanes = make_lanes(chosen, num_lanes=1, render_mode=render_mode)
        self.action_space, self.observation_space = spaces_of(self.lanes)
        self.render_mode = render_mode

    @property
    def observation_names(self) -> tuple[str, ...]:
        """The name of every entry of an observation; see the page of the class."""
        return self.lanes.names

    @property
    def action_names(self) -> tuple[str, ...]:
        """The name of every entry of an action, or of every choice where an action is one of several."""
        return self.lanes.action.action_names

    @property
    def baseline_action(self) -> Any:
        """The action that, always taken, is the baseline; None where the form has none (``absolute``)."""
        return self.lanes.action.baseline_action

    @property
    def action_form(self) -> Action:
        """What an action does to the knobs, as an object: with it a trained policy decides without an environment."""
        return self.lanes.action

    @property
    def settings(self) -> EnvSettings:
        """What the environment was made from."""
        return self.lanes.settings

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode; see the class for the options.

        Raises:
            ConfigError: an option is unknown or out of its range.
        """
        super().reset(seed=seed)
        return self.lanes.reset({0: draw_start(self.np_random, self.lanes, options)})[0]

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Plays one round.

        Raises:
            ConfigError: the action is not one of the action space's.
            gymnasium.error.ResetNeeded: the episode is over, or never began.
        """
        outcome = self.lanes.step([action])[0]
        return outcome.observation, outcome.reward, outcome.terminated, outcome.truncated, outcome.info

    def render(self) -> Any:
        """Returns one line about the last round ("ansi"), or a picture uint8 ``[h, w, 3]`` ("rgb_array").

        The picture shows AP and knobs over the rounds beside a val image with its objects and its present detections;
        the image is detected anew, which takes about as long as evaluating a round.
        """
        return render(self.lanes, 0, self.render_mode)

    def get_state(self) -> EpisodeState:
        """Copies the episode, and the generator that draws the next ones, in memory."""
        return replace(self.lanes.get_state(0), generator=self.np_random.bit_generator.state)

    def set_state(self, state: EpisodeState) -> np.ndarray:
        """Goes on from a copied episode, of this or of an equal environment; returns what an agent sees there.

        What follows is what followed the copy, bit for bit, and the next resets draw the same episodes. A state without
        a generator leaves the environment's own.
        """
        observation = self.lanes.set_state(0, state)
        if state.generator is not None:
            self.np_random.bit_generator.state = dict(state.generator)
        return observation
