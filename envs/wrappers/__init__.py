"""Wrappers: what one puts around an environment to change its actions or rewards, or to write down what happens.

They go around any environment with the spaces they name, and keep what the environment promises: a seed determines an
episode, and Gymnasium's checker finds nothing. Where a wrapper means something for lanes that begin and end at
different times, its namesake with ``Vector`` in front does the same to a vector environment.
"""

from typing import TYPE_CHECKING

from mapopt.lazy import attach

if TYPE_CHECKING:
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
            "Discretize": "mapopt.envs.wrappers.actions",
            "Episode": "mapopt.envs.wrappers.episodes",
            "EpisodeLog": "mapopt.envs.wrappers.logs",
            "Episodes": "mapopt.envs.wrappers.episodes",
            "FreezeKnobs": "mapopt.envs.wrappers.actions",
            "RecordSchedule": "mapopt.envs.wrappers.schedules",
            "RecordedSchedule": "mapopt.envs.wrappers.schedules",
            "RelativeToBaseline": "mapopt.envs.wrappers.rewards",
            "RewardNoise": "mapopt.envs.wrappers.rewards",
            "VectorDiscretize": "mapopt.envs.wrappers.actions",
            "VectorEpisodeLog": "mapopt.envs.wrappers.logs",
            "VectorFreezeKnobs": "mapopt.envs.wrappers.actions",
            "VectorRewardNoise": "mapopt.envs.wrappers.rewards",
            "to_minari": "mapopt.envs.wrappers.offline",
        },
    )
