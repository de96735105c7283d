"""Every command by its name, as text, so that the list of all is printed without importing one.

The text is also what lets this file, in the lower part of the package, name commands that live above it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from mapopt.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from mapopt.commands.command import Command

COMMANDS: dict[str, str] = {
    "train": "mapopt.commands.train:Train",
    "evaluate": "mapopt.commands.evaluate:Evaluate",
    "predict": "mapopt.commands.predict:Predict",
    "export": "mapopt.commands.export:Export",
    "preview": "mapopt.commands.preview:Preview",
    "audit": "mapopt.commands.audit:Audit",
    "diagnose": "mapopt.commands.diagnose:Diagnose",
    "merge": "mapopt.commands.merge:Merge",
    "convert": "mapopt.commands.convert:Convert",
    "split": "mapopt.commands.split:Split",
    "train-agent": "mapopt.agents.commands.train_agent:TrainAgent",
    "watch": "mapopt.agents.commands.watch:Watch",
    "search": "mapopt.experiments.commands.search:Search",
    "compare": "mapopt.experiments.commands.compare:Compare",
    "plot": "mapopt.experiments.commands.compare:Plot",
    "bench losses": "mapopt.experiments.commands.bench:BenchLosses",
    "bench ap": "mapopt.experiments.commands.bench:BenchAP",
    "bench fleet": "mapopt.experiments.commands.bench:BenchFleet",
    "bench training": "mapopt.experiments.commands.bench:BenchTraining",
    "bench env": "mapopt.experiments.commands.bench:BenchEnv",
    "bench headroom": "mapopt.experiments.commands.bench:BenchHeadroom",
    "bench replay": "mapopt.experiments.commands.bench:BenchReplay",
    "bench learners": "mapopt.experiments.commands.bench:BenchLearners",
    "bench audit": "mapopt.experiments.commands.bench:BenchLabelAudit",
    "bench cli": "mapopt.experiments.commands.bench:BenchCommandLine",
}
"""Where each command is; the first of two words names a family."""

SUMMARIES: dict[str, str] = {
    "train": "Train a detector, selected by its AP on the val split and tested once at the end.",
    "evaluate": "Measure a trained detector, or a file of results, as COCO does, and say why it is not better.",
    "predict": "Find objects in images and videos, and draw them.",
    "export": "Write a trained detector for other programs: as plain weights, for torch.export, or as ONNX.",
    "preview": "Draw training samples with their boxes before and after augmentation, without training.",
    "audit": "Find what is wrong with a data set: labels, images, classes, and leaks between sets.",
    "diagnose": (
        "Say why the mAP of a run is low: findings in the order of evidence, each with its figure and a change to try."
    ),
    "merge": "Put data sets together, categories by name: train with train, val with val, test with test.",
    "convert": "Write a data set in another layout: COCO, Pascal VOC or YOLO.",
    "split": "Divide a data set into train, val and test sets, each with its fraction of every class.",
    "train-agent": "Train an agent on detector training; it is stored as weights and JSON, and resumable.",
    "watch": "Play an episode of an agent, print a line per round, and write it as a video (GIF or MP4).",
    "search": (
        "Search the settings of methods in the spaces that an experiment gives them, by val AP on seeds of their own."
    ),
    "compare": (
        "Train every method on every task with every seed at equal budget, test once, and report with intervals."
    ),
    "plot": "Draw figures again, without training: those of a run's folder, or a comparison's report from its store.",
    "bench losses": "Measure what ranking losses cost and how well they stand for AP.",
    "bench ap": "Measure time and memory of AP beside pycocotools and the packages that others offer for it.",
    "bench fleet": "Measure training many lanes as one network, where a round's time goes, and what an update costs.",
    "bench training": "Measure training images a second with torchvision's detectors beside a plain loop.",
    "bench env": "Measure environment steps a second by lanes and image size, and where the time of a step goes.",
    "bench headroom": "Measure what deciding per instance can gain in a family, over one setting for all.",
    "bench replay": "Measure what feedback on the length of the steps gains over learning rates that are replayed.",
    "bench learners": "Measure what every learner of train-agent makes of the same environment steps, and its spread.",
    "bench audit": (
        "Measure how many planted label faults an audit with detectors finds, beside cleanlab, and whether prices hold."
    ),
    "bench cli": "Measure the processor time of every command's help and of a mistyped flag.",
}
"""What each command does, for the list of all; written here because reading it there would import everything."""


def find_command(name: str) -> type[Command]:
    """Imports a command.

    Raises:
        ConfigError: there is none of this name.
    """
    if name not in COMMANDS:
        first, _, second = name.rpartition(" ")
        # What could have been said in its place: the others of the family, or the first words of all.
        known = {other.removeprefix(f"{first} ").partition(" ")[0] for other in COMMANDS if other.startswith(first)}
        raise ConfigError(unknown_name("command", second, known))
    module, _, attribute = COMMANDS[name].partition(":")
    command: type[Command] = getattr(importlib.import_module(module), attribute)
    return command
