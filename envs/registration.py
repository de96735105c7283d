"""Registers the environments with Gymnasium, which loads no plugins by itself; nothing else is imported for it."""

from __future__ import annotations

import gymnasium

DETECTOR_TRAINING = "mapopt/DetectorTraining-v0"
"""Id of the environment that trains a detector."""

POST_PROCESSING = "mapopt/PostProcessing-v0"
"""Id of the environment that sets the post-processing of a trained detector."""


def register() -> None:
    """Registers both environments, unless they are there already."""
    if DETECTOR_TRAINING not in gymnasium.registry:
        gymnasium.register(
            id=DETECTOR_TRAINING,
            entry_point="mapopt.envs.detector_training.env:DetectorTrainingEnv",
            vector_entry_point="mapopt.envs.detector_training.vector:DetectorTrainingVectorEnv",
        )
    if POST_PROCESSING not in gymnasium.registry:
        gymnasium.register(
            id=POST_PROCESSING,
            entry_point="mapopt.envs.post_processing.env:PostProcessingEnv",
            vector_entry_point="mapopt.envs.post_processing.vector:PostProcessingVectorEnv",
        )
