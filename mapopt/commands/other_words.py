"""Flags that people know from other trainers, and what they are called here.

Names that differ in a letter or stand in a section are found by likeness; these words are like none of ours.
"""

from __future__ import annotations

from collections.abc import Container

_START = (
    "It takes a checkpoint or a run's folder; --recipe.weights takes torchvision's pretrained weights, by name or file."
)

_OWN = "It takes module:attribute, such as torchvision.transforms.v2:RandomGrayscale or a function of yours."
_AUGMENTATIONS = (("recipe.augmentation.transform", _OWN), ("augmentation.transform", _OWN))

_HALF_PRECISION = (("recipe.autocast", "It is auto, none, bfloat16 or float16."),)

_OF_AUGMENTATION = {
    "mosaic": ("mosaic", "It is a probability."),
    "mixup": ("mixup", "It is a probability."),
    "copy_paste": ("copy_paste", "It is a probability."),
    "degrees": ("rotate", "In degrees."),
    "rotation": ("rotate", "In degrees."),
    "translate": ("scale", "What grows is cropped at random, what shrinks is placed at random."),
    "random_crop": ("scale", "What grows is cropped at random."),
    "shear": ("perspective", "There is no shear of its own."),
    "fliplr": ("flip", "It is a probability."),
    "hflip": ("flip", "It is a probability."),
    "horizontal_flip": ("flip", "It is a probability."),
    "flipud": ("flip_vertical", "It is a probability."),
    "vflip": ("flip_vertical", "It is a probability."),
    "vertical_flip": ("flip_vertical", "It is a probability."),
    "rotate90": ("quarter_turns", "It is a probability."),
    "random_rotate90": ("quarter_turns", "It is a probability."),
    "hsv_h": ("hue", "It is the same fraction of the circle."),
    "hsv_s": ("saturation", "It is the same fraction."),
    "hsv_v": ("brightness", "It is the same fraction."),
    "color_jitter": ("brightness", "Contrast, saturation and hue stand beside it."),
    "gaussian_noise": ("noise", "It is a standard deviation of 255."),
    "gauss_noise": ("noise", "It is a standard deviation of 255."),
    "gaussian_blur": ("blur", "It is a standard deviation in pixels."),
    "erasing": ("cut_out", "It is a probability."),
    "random_erasing": ("cut_out", "It is a probability."),
    "cutout": ("cut_out", "It is a probability."),
    "coarse_dropout": ("cut_out", "It is a probability."),
    "transforms": ("transform", _OWN),
}
"""Word of others for a kind of augmentation -> our name, and what to know about it."""

_PIECES = "--recipe.batch-size counts the images of a whole step; this cuts it into so many pieces."
_SPLIT = "Such as 0.7 0.15 0.15, the fractions of train, val and test; `mapopt split` writes them as folders."
_INTERVALS = ("val_interval", "eval_interval", "val_period", "eval_period", "save_period", "save_interval")

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
    **dict.fromkeys(("amp", "fp16", "bf16", "half", "precision", "mixed_precision", "dtype"), _HALF_PRECISION),
    "dropout": (("recipe.detector_settings", "Such as: dropout 0.1, of every detector but tiny."),),
    **dict.fromkeys(("multiscale", "multi_scale"), (("recipe.multi_scale", "It is a fraction of the size."),)),
    "freeze": (("recipe.frozen", "It is a regular expression that names of layers begin with."),),
    **dict.fromkeys(("gradient_accumulation_steps", "grad_accum", "nbs"), (("recipe.accumulate", _PIECES),)),
    "fraction": (("data_limit", "It counts images."),),
    "ema_decay": (("recipe.ema", ""),),
    **dict.fromkeys(("clip_grad", "grad_clip", "max_norm", "gradient_clip_val"), (("recipe.clip", ""),)),
    **dict.fromkeys(("early_stopping", "early_stop"), (("patience", "It counts rounds."),)),
    **dict.fromkeys(_INTERVALS, (("rounds", "Every round ends with an evaluation, and its state is kept."),)),
    **dict.fromkeys(("anchors", "anchor_sizes"), (("recipe.detector_settings", "Such as: anchor_scale 0.5."),)),
    **dict.fromkeys(
        ("val_split", "test_size", "train_split"), (("split", _SPLIT), ("data", "`mapopt split` divides images first."))
    ),
    "criterion": (("recipe.loss", ""),),
    "optim": (("recipe.optimizer", ""),),
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
    **dict.fromkeys(
        ("vid_stride", "frame_stride", "stride"), (("every", "It takes every so many frames of a video."),)
    ),
    "gt": (("truth", ""),),
    **{
        word: ((f"recipe.augmentation.{ours}", about), (f"augmentation.{ours}", about))
        for word, (ours, about) in _OF_AUGMENTATION.items()
    },
    "augmentations": _AUGMENTATIONS,
    "albumentations": _AUGMENTATIONS,
    "auto_augment": _AUGMENTATIONS,
    "close_mosaic": (
        ("augment_until", "It is a fraction of the budget, after which there is no augmentation at all."),
    ),
    "no_aug_epochs": (
        ("augment_until", "It is a fraction of the budget, after which there is no augmentation at all."),
    ),
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
