"""Flags that other trainers have: each is answered with ours, and what it says is a flag of the command."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mapopt.commands.other_words import OTHER_WORDS
from mapopt.commands.registry import COMMANDS, find_command
from mapopt.fields import leaves

Refused = Callable[..., str]

ASKED = [
    ("train", "num-epochs", "did you mean '--epochs'?"),
    ("train", "max-steps", "did you mean '--images'? It counts images: steps times --recipe.batch-size."),
    ("train", "lr", "did you mean '--knobs.lr'?"),
    ("train", "model", "did you mean '--recipe.detector'? Of ours, nano is what others call yolov8n"),
    (
        "train",
        "weights",
        "did you mean '--start-from'? It takes a checkpoint or a run's folder; --recipe.weights takes",
    ),
    ("train", "img-size", "did you mean '--size HEIGHT WIDTH'?"),
    ("train", "imgsz", "did you mean '--size HEIGHT WIDTH'?"),
    ("train", "degrees", "did you mean '--recipe.augmentation.rotate'? In degrees."),
    ("train", "flipud", "did you mean '--recipe.augmentation.flip-vertical'? It is a probability."),
    ("train", "hsv-h", "did you mean '--recipe.augmentation.hue'? It is the same fraction of the circle."),
    ("train", "fp16", "did you mean '--recipe.autocast'? It is auto, none, bfloat16 or float16."),
    ("train", "mosaic", "did you mean '--recipe.augmentation.mosaic'? It is a probability."),
    ("train", "close-mosaic", "did you mean '--augment-until'? It is a fraction of the budget, after which there is"),
    ("train", "albumentations", "did you mean '--recipe.augmentation.transform'? It takes module:attribute"),
    ("train", "multiscale", "did you mean '--recipe.multi-scale'? It is a fraction of the size."),
    (
        "train",
        "dropout",
        "did you mean '--recipe.detector-settings'? Such as: dropout 0.1, of every detector but tiny.",
    ),
    ("train", "grad-accum", "did you mean '--recipe.accumulate'? --recipe.batch-size counts the images of a whole"),
    ("train", "val-split", "did you mean '--split'? Such as 0.7 0.15 0.15, the fractions of train, val and test;"),
    ("preview", "mixup", "did you mean '--augmentation.mixup'? It is a probability."),
    ("evaluate", "weights", "did you mean '--checkpoint'?"),
    ("predict", "source", "did you mean '--images'? It takes files and folders."),
    ("predict", "vid-stride", "did you mean '--every'? It takes every so many frames of a video."),
]


@pytest.mark.parametrize(("command", "word", "said"), ASKED)
def test_a_flag_of_other_trainers_is_answered_with_ours(command: str, word: str, said: str, refused: Refused) -> None:
    assert f"unknown flag '--{word}': {said}" in refused(command, f"--{word}", "3")


def test_images_to_predict_on_are_no_answer_to_steps(refused: Refused) -> None:
    assert "--images" not in refused("predict", "--steps", "3")


def test_every_answer_is_a_flag_of_some_command_and_no_word_is_one_of_train() -> None:
    flags = {name: {".".join(path) for path, _ in leaves(find_command(name))} for name in COMMANDS}
    answers = {flag for entries in OTHER_WORDS.values() for flag, _ in entries}
    assert answers <= set().union(*flags.values())
    assert not set(OTHER_WORDS) & flags["train"]
