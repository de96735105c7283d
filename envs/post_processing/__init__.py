"""The environment of post-processing: every step sets thresholds and limits on fixed raw outputs."""

from typing import TYPE_CHECKING

from mapopt.lazy import attach

if TYPE_CHECKING:
    from mapopt.envs.post_processing.env import PostProcessingEnv as PostProcessingEnv
    from mapopt.envs.post_processing.settings import PostProcessingEnvSettings as PostProcessingEnvSettings
    from mapopt.envs.post_processing.vector import PostProcessingVectorEnv as PostProcessingVectorEnv
else:
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "PostProcessingEnv": "mapopt.envs.post_processing.env",
            "PostProcessingEnvSettings": "mapopt.envs.post_processing.settings",
            "PostProcessingVectorEnv": "mapopt.envs.post_processing.vector",
        },
    )
