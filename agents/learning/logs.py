"""What a training writes for people to watch it by, besides its lines: TensorBoard's files, where that is installed."""

from __future__ import annotations

from pathlib import Path

from stable_baselines3.common.logger import KVWriter, Logger

from mapopt.agents.learning.progress import Progress
from mapopt.trackers import FOLDER, check_tracker

LOGS = ("none", "tensorboard")
"""What can be written."""


def check_log(log: str) -> None:
    """Raises ConfigError unless there is such a log, and what writes it is installed."""
    check_tracker(log, LOGS)


def make_logger(log: str, out: Path) -> Logger:
    """Returns what a learner writes its numbers to; "none" forgets them."""
    formats: list[KVWriter] = []
    if log == "tensorboard":
        from stable_baselines3.common.logger import TensorBoardOutputFormat

        formats.append(TensorBoardOutputFormat(str(out / FOLDER)))
    return Logger(folder=None, output_formats=formats)


def record(logger: Logger, progress: Progress) -> None:
    """Writes an iteration, beside what its learner has recorded of it."""
    logger.record("agent/return", progress.episode_return)
    logger.record("agent/test_ap", progress.test_ap)
    logger.record("agent/diverged", progress.diverged)
    logger.record("agent/at_bound", progress.at_bound)
    for index, value in enumerate(progress.action_mean):
        logger.record(f"action/{index}", value)
    if progress.held_out is not None:
        logger.record("agent/held_out_return", progress.held_out)
    logger.dump(progress.steps)
