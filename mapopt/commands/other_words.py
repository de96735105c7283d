"""Flags that people know from other trainers, and what they are called here.

Names that differ in a letter or stand in a section are found by likeness; these words are like none of ours.
"""

from __future__ import annotations

from collections.abc import Container

_START = "It takes a checkpoint or a run's folder; --recipe.weights is torchvision's pretrained weights by name."

OTHER_WORDS: dict[str, tuple[tuple[str, str], ...]] = {
    "epoch": (("epochs", ""),),
    "num_epochs": (("epochs", ""),),
    "max_epochs": (("epochs", ""),),
    "steps": (("images", "It counts images: steps times --recipe.batch-size."),),
    "max_steps": (("images", "It counts images: steps times --recipe.batch-size."),),
    "iterations": (("images", "It counts images: iterations times --recipe.batch-size."),),
    "iters": (("images", "It counts images: iterations times --recipe.batch-size."),),
    "learning_rate": (("knobs.lr", ""),),
    "lr0": (("knobs.lr", ""),),
    "lrf": (("schedule.final", "It is the fraction of the learning rate that cosine ends at."),),
    "model": (("recipe.detector", "Of ours, nano is what others call yolov8n or yolox-nano."), ("checkpoint", "")),
    "arch": (("recipe.detector", ""),),
    "backbone": (("recipe.detector", "Such as resnet18."),),
    "weights": (("start_from", _START), ("checkpoint", "")),
    "pretrained": (("start_from", _START),),
    "img_size": (("size", "HEIGHT WIDTH"),),
    "image_size": (("size", "HEIGHT WIDTH"),),
    "imgsz": (("size", "HEIGHT WIDTH"),),
    "img": (("size", "HEIGHT WIDTH"),),
    "input_size": (("size", "HEIGHT WIDTH"),),
    "batch": (("recipe.batch_size", ""),),
    "wd": (("knobs.weight_decay", ""),),
    "warmup_epochs": (("schedule.warmup", "It is a fraction of the budget."),),
    "warmup_steps": (("schedule.warmup", "It is a fraction of the budget."),),
    "cos_lr": (("schedule.shape", "It is cosine, the default, constant or steps."),),
    "scheduler": (("controller", "It is schedule, with --schedule.shape, or plateau."),),
    "conf": (
        ("knobs.score_threshold", "Boxes with smaller scores are not reported at all."),
        ("score", "Boxes with smaller scores are not drawn; with --score-threshold they are not reported either."),
        ("score_threshold", "Boxes with smaller scores are not reported at all."),
    ),
    "iou_thres": (("knobs.nms_iou", ""), ("nms_iou", "")),
    "max_det": (("knobs.detections", ""), ("detections", "")),
    "tta": (("flip", "It looks at every image mirrored, too."),),
    "slice": (("tiles", "It looks at rows and columns of tiles, too."),),
    "sahi": (("tiles", "It looks at rows and columns of tiles, too."),),
    "gpu": (("device", "It is cuda, or cuda:1 for the second."),),
    "gpus": (("device", "It is cuda, or cuda:1 for the second."),),
    "cuda": (("device", "It is cuda, or cuda:1 for the second."),),
    "dataset": (("data", ""),),
    "data_dir": (("data", ""),),
    "data_path": (("data", ""),),
    "save_dir": (("out", ""),),
    "output": (("out", ""),),
    "output_dir": (("out", ""),),
    "project": (("out", ""),),
    "exist_ok": (("overwrite", ""),),
    "source": (("images", "It takes files and folders."),),
    "gt": (("truth", ""),),
    "preds": (("results", ""),),
}
"""Word of others -> the flags of ours, the first that a command has, each with what to know about it."""

_OF_TRAINING = "recipe.batch_size"
"""A flag that only what trains has: where it is missing, --images does not count images to train on."""


def translated(word: str, known: Container[str]) -> str:
    """Returns a question about our flag for a word of others, empty where there is none among the known.

    >>> translated("steps", ["images", "recipe.batch_size"])
    ": did you mean '--images'? It counts images: steps times --recipe.batch-size."
    >>> translated("imgsz", ["size"]), translated("steps", ["images"])
    (": did you mean '--size HEIGHT WIDTH'?", '')
    """
    for name, about in OTHER_WORDS.get(word, ()):
        if name not in known or (name == "images" and word != "source" and _OF_TRAINING not in known):
            continue
        flag = "--" + name.replace("_", "-")
        if about.isupper():
            return f": did you mean '{flag} {about}'?"
        return f": did you mean '{flag}'?{f' {about}' if about else ''}"
    return ""
