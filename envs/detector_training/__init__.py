"""The environment of detector training: every step sets knobs and trains an interval."""

from typing import TYPE_CHECKING

from mapopt.lazy import attach

if TYPE_CHECKING:
    from mapopt.envs.detector_training.env import DetectorTrainingEnv as DetectorTrainingEnv
    from mapopt.envs.detector_training.settings import EnvSettings as EnvSettings
    from mapopt.envs.detector_training.vector import DetectorTrainingVectorEnv as DetectorTrainingVectorEnv
else:
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "DetectorTrainingEnv": "mapopt.envs.detector_training.env",
            "DetectorTrainingVectorEnv": "mapopt.envs.detector_training.vector",
            "EnvSettings": "mapopt.envs.detector_training.settings",
        },
    )
