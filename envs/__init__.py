"""Gymnasium environments that wrap detector training and post-processing.

Importing this package registers ``mapopt/DetectorTraining-v0`` and ``mapopt/PostProcessing-v0``; Gymnasium loads no
plugins by itself. ``mapopt.envs:mapopt/DetectorTraining-v0`` and ``mapopt.envs:mapopt/PostProcessing-v0`` import it on
the way, as worker processes (`SubprocVecEnv`, `AsyncVectorEnv`) need. Registration imports nothing heavy: an
environment's module is imported when one is made, and every name that the package offers when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mapopt.envs.registration import register
from mapopt.lazy import attach

if TYPE_CHECKING:
    from mapopt.envs.detector_training.action_forms import AbsoluteAction as AbsoluteAction
    from mapopt.envs.detector_training.action_forms import DiscreteAction as DiscreteAction
    from mapopt.envs.detector_training.action_forms import KnobAction as KnobAction
    from mapopt.envs.detector_training.action_forms import MovingAction as MovingAction
    from mapopt.envs.detector_training.action_forms import MultiDiscreteAction as MultiDiscreteAction
    from mapopt.envs.detector_training.action_forms import RelativeAction as RelativeAction
    from mapopt.envs.detector_training.actions import ACTIONS as ACTIONS
    from mapopt.envs.detector_training.actions import Action as Action
    from mapopt.envs.detector_training.actions import make_action as make_action
    from mapopt.envs.detector_training.env import DetectorTrainingEnv as DetectorTrainingEnv
    from mapopt.envs.detector_training.features import FEATURES as FEATURES
    from mapopt.envs.detector_training.features import Feature as Feature
    from mapopt.envs.detector_training.features import make_feature as make_feature
    from mapopt.envs.detector_training.lanes import DetectorTrainingLanes as DetectorTrainingLanes
    from mapopt.envs.detector_training.observations import observation_names as observation_names
    from mapopt.envs.detector_training.observations import observe as observe
    from mapopt.envs.detector_training.rewards import REWARDS as REWARDS
    from mapopt.envs.detector_training.rewards import RewardForm as RewardForm
    from mapopt.envs.detector_training.rewards import make_reward as make_reward
    from mapopt.envs.detector_training.settings import EnvSettings as EnvSettings
    from mapopt.envs.detector_training.states import EpisodeState as EpisodeState
    from mapopt.envs.detector_training.states import Start as Start
    from mapopt.envs.detector_training.vector import DetectorTrainingVectorEnv as DetectorTrainingVectorEnv
    from mapopt.envs.families.base import Instance as Instance
    from mapopt.envs.families.base import InstanceFamily as InstanceFamily
    from mapopt.envs.families.base import NumberedFamily as NumberedFamily
    from mapopt.envs.families.from_data import FromDataFamily as FromDataFamily
    from mapopt.envs.families.registry import FAMILIES as FAMILIES
    from mapopt.envs.families.registry import describe as describe
    from mapopt.envs.families.registry import make_family as make_family
    from mapopt.envs.families.rescue import RescueFamily as RescueFamily
    from mapopt.envs.families.scenes import ImbalancedFamily as ImbalancedFamily
    from mapopt.envs.families.scenes import NoisyLabelsFamily as NoisyLabelsFamily
    from mapopt.envs.families.scenes import SmallObjectsFamily as SmallObjectsFamily
    from mapopt.envs.families.shapes import SceneFamily as SceneFamily
    from mapopt.envs.families.shapes import ShapesFamily as ShapesFamily
    from mapopt.envs.numbering import InstanceSplit as InstanceSplit
    from mapopt.envs.post_processing.actions import SettingAction as SettingAction
    from mapopt.envs.post_processing.actions import SettingSpace as SettingSpace
    from mapopt.envs.post_processing.candidates import CandidateFamily as CandidateFamily
    from mapopt.envs.post_processing.candidates import CandidateInstance as CandidateInstance
    from mapopt.envs.post_processing.candidates import DetectorCandidates as DetectorCandidates
    from mapopt.envs.post_processing.env import PostProcessingEnv as PostProcessingEnv
    from mapopt.envs.post_processing.registries import CANDIDATE_FAMILIES as CANDIDATE_FAMILIES
    from mapopt.envs.post_processing.registries import SETTING_ACTIONS as SETTING_ACTIONS
    from mapopt.envs.post_processing.registries import SETTING_REWARDS as SETTING_REWARDS
    from mapopt.envs.post_processing.settings import PostProcessingEnvSettings as PostProcessingEnvSettings
    from mapopt.envs.post_processing.synthetic import SyntheticCandidates as SyntheticCandidates
    from mapopt.envs.post_processing.vector import PostProcessingVectorEnv as PostProcessingVectorEnv
    from mapopt.envs.registration import DETECTOR_TRAINING as DETECTOR_TRAINING
    from mapopt.envs.registration import POST_PROCESSING as POST_PROCESSING
    from mapopt.envs.sb3 import FleetVecEnv as FleetVecEnv
    from mapopt.envs.testing import check_env as check_env
    from mapopt.envs.testing import check_family as check_family
    from mapopt.envs.wrappers.actions import Discretize as Discretize
    from mapopt.envs.wrappers.actions import FreezeKnobs as FreezeKnobs
    from mapopt.envs.wrappers.actions import VectorDiscretize as VectorDiscretize
    from mapopt.envs.wrappers.actions import VectorFreezeKnobs as VectorFreezeKnobs
    from mapopt.envs.wrappers.episodes import Episode as Episode
    from mapopt.envs.wrappers.episodes import Episodes as Episodes
    from mapopt.envs.wrappers.logs import EpisodeLog as EpisodeLog
    from mapopt.envs.wrappers.logs import VectorEpisodeLog as VectorEpisodeLog
    from mapopt.envs.wrappers.offline import to_minari as to_minari
    from mapopt.envs.wrappers.rewards import RelativeToBaseline as RelativeToBaseline
    from mapopt.envs.wrappers.rewards import RewardNoise as RewardNoise
    from mapopt.envs.wrappers.rewards import VectorRewardNoise as VectorRewardNoise
    from mapopt.envs.wrappers.schedules import RecordedSchedule as RecordedSchedule
    from mapopt.envs.wrappers.schedules import RecordSchedule as RecordSchedule
else:
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "ACTIONS": "mapopt.envs.detector_training.actions",
            "AbsoluteAction": "mapopt.envs.detector_training.action_forms",
            "Action": "mapopt.envs.detector_training.actions",
            "CANDIDATE_FAMILIES": "mapopt.envs.post_processing.registries",
            "CandidateFamily": "mapopt.envs.post_processing.candidates",
            "CandidateInstance": "mapopt.envs.post_processing.candidates",
            "DETECTOR_TRAINING": "mapopt.envs.registration",
            "DetectorCandidates": "mapopt.envs.post_processing.candidates",
            "DetectorTrainingEnv": "mapopt.envs.detector_training.env",
            "DetectorTrainingLanes": "mapopt.envs.detector_training.lanes",
            "DetectorTrainingVectorEnv": "mapopt.envs.detector_training.vector",
            "DiscreteAction": "mapopt.envs.detector_training.action_forms",
            "Discretize": "mapopt.envs.wrappers.actions",
            "EnvSettings": "mapopt.envs.detector_training.settings",
            "Episode": "mapopt.envs.wrappers.episodes",
            "EpisodeLog": "mapopt.envs.wrappers.logs",
            "EpisodeState": "mapopt.envs.detector_training.states",
            "Episodes": "mapopt.envs.wrappers.episodes",
            "FAMILIES": "mapopt.envs.families.registry",
            "FEATURES": "mapopt.envs.detector_training.features",
            "Feature": "mapopt.envs.detector_training.features",
            "FleetVecEnv": "mapopt.envs.sb3",
            "FreezeKnobs": "mapopt.envs.wrappers.actions",
            "FromDataFamily": "mapopt.envs.families.from_data",
            "ImbalancedFamily": "mapopt.envs.families.scenes",
            "Instance": "mapopt.envs.families.base",
            "InstanceFamily": "mapopt.envs.families.base",
            "InstanceSplit": "mapopt.envs.numbering",
            "KnobAction": "mapopt.envs.detector_training.action_forms",
            "MovingAction": "mapopt.envs.detector_training.action_forms",
            "MultiDiscreteAction": "mapopt.envs.detector_training.action_forms",
            "NoisyLabelsFamily": "mapopt.envs.families.scenes",
            "NumberedFamily": "mapopt.envs.families.base",
            "POST_PROCESSING": "mapopt.envs.registration",
            "PostProcessingEnv": "mapopt.envs.post_processing.env",
            "PostProcessingEnvSettings": "mapopt.envs.post_processing.settings",
            "PostProcessingVectorEnv": "mapopt.envs.post_processing.vector",
            "REWARDS": "mapopt.envs.detector_training.rewards",
            "RecordSchedule": "mapopt.envs.wrappers.schedules",
            "RecordedSchedule": "mapopt.envs.wrappers.schedules",
            "RelativeAction": "mapopt.envs.detector_training.action_forms",
            "RelativeToBaseline": "mapopt.envs.wrappers.rewards",
            "RescueFamily": "mapopt.envs.families.rescue",
            "RewardForm": "mapopt.envs.detector_training.rewards",
            "RewardNoise": "mapopt.envs.wrappers.rewards",
            "SETTING_ACTIONS": "mapopt.envs.post_processing.registries",
            "SETTING_REWARDS": "mapopt.envs.post_processing.registries",
            "SceneFamily": "mapopt.envs.families.shapes",
            "SettingAction": "mapopt.envs.post_processing.actions",
            "SettingSpace": "mapopt.envs.post_processing.actions",
            "ShapesFamily": "mapopt.envs.families.shapes",
            "SmallObjectsFamily": "mapopt.envs.families.scenes",
            "Start": "mapopt.envs.detector_training.states",
            "SyntheticCandidates": "mapopt.envs.post_processing.synthetic",
            "VectorDiscretize": "mapopt.envs.wrappers.actions",
            "VectorEpisodeLog": "mapopt.envs.wrappers.logs",
            "VectorFreezeKnobs": "mapopt.envs.wrappers.actions",
            "VectorRewardNoise": "mapopt.envs.wrappers.rewards",
            "check_env": "mapopt.envs.testing",
            "check_family": "mapopt.envs.testing",
            "describe": "mapopt.envs.families.registry",
            "make_action": "mapopt.envs.detector_training.actions",
            "make_family": "mapopt.envs.families.registry",
            "make_feature": "mapopt.envs.detector_training.features",
            "make_reward": "mapopt.envs.detector_training.rewards",
            "observation_names": "mapopt.envs.detector_training.observations",
            "observe": "mapopt.envs.detector_training.observations",
            "to_minari": "mapopt.envs.wrappers.offline",
        },
    )

register()
