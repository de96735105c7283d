"""Gymnasium environments that wrap detector training and post-processing.

Importing this package registers ``mapopt/DetectorTraining-v0`` and ``mapopt/PostProcessing-v0``; Gymnasium loads no
plugins by itself. Registration imports nothing heavy: an environment's module is imported when one is made.
"""

from __future__ import annotations

import gymnasium

DETECTOR_TRAINING = "mapopt/DetectorTraining-v0"
POST_PROCESSING = "mapopt/PostProcessing-v0"

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
