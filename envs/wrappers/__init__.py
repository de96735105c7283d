"""Wrappers: what one puts around an environment to change its actions or rewards, or to write down what happens.

They go around any environment with the spaces they name, and keep what the environment promises: a seed determines an
episode, and Gymnasium's checker finds nothing. Where a wrapper means something for lanes that begin and end at
different times, its namesake with ``Vector`` in front does the same to a vector environment.
"""

from mapopt.envs.wrappers.actions import Discretize, FreezeKnobs, VectorDiscretize, VectorFreezeKnobs
from mapopt.envs.wrappers.episodes import Episode, Episodes
from mapopt.envs.wrappers.logs import EpisodeLog, VectorEpisodeLog
from mapopt.envs.wrappers.offline import to_minari
from mapopt.envs.wrappers.rewards import RelativeToBaseline, RewardNoise, VectorRewardNoise
from mapopt.envs.wrappers.schedules import RecordedSchedule, RecordSchedule

__all__ = [
    "Discretize",
    "Episode",
    "EpisodeLog",
    "Episodes",
    "FreezeKnobs",
    "RecordSchedule",
    "RecordedSchedule",
    "RelativeToBaseline",
    "RewardNoise",
    "VectorDiscretize",
    "VectorEpisodeLog",
    "VectorFreezeKnobs",
    "VectorRewardNoise",
    "to_minari",
]
