"""Every kind of finding with its threshold, and where the threshold comes from.

"Healthy runs" are the default recipe on shapes, blood cells, aquarium and hemocytometer; see docs/diagnose.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from mapopt.data.auditing.findings import Severity

COUNTED = "counted: there may be none"
"""The source of a threshold that is no matter of degree."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of finding."""

    severity: Severity
    """error: numbers are wrong, or nothing can be learned; warning: probably costs AP; note: good to know."""
    title: str
    figure: str
    """What the figure is."""
    threshold: float
    source: str
    """Where the threshold comes from."""
    falls: bool = False
    """Whether the figure is a finding where it is at the threshold or below it."""
    level: int = 0
    """0 says what is to blame, 1 what is lost by it, 2 what follows from either; listed in this order."""


def _error(title: str, figure: str, threshold: float, source: str, *, falls: bool = False) -> Kind:
    return Kind(severity="error", title=title, figure=figure, threshold=threshold, source=source, falls=falls)


def _warning(title: str, figure: str, threshold: float, source: str, *, falls: bool = False, level: int = 0) -> Kind:
    return Kind(
        severity="warning",
        title=title,
        figure=figure,
        threshold=threshold,
        source=source,
        falls=falls,
        level=level,
    )


def _note(title: str, figure: str, threshold: float, source: str, *, falls: bool = False) -> Kind:
    return Kind(severity="note", title=title, figure=figure, threshold=threshold, source=source, falls=falls, level=1)


KINDS: dict[str, Kind] = {
    "ids_off_by_one": _error("category ids are off by one", "objects of a category beyond the list", 1, COUNTED),
    "unreadable": _error("images or annotations cannot be read", "readers that refuse them", 1, COUNTED),
    "diverged": _error("the run diverged", "rounds with a loss or gradient that is not finite", 1, COUNTED),
    "leak": _error(
        "evaluated on training data",
        "fraction of the val and test images that an earlier set has, too",
        0.05,
        "that many leaked images raise AP by .05 at the most; healthy up to .036",
    ),
    "annotation_faults": _error(
        "annotation faults", "fraction of the objects or images", 0.02, "healthy up to .003, planted .04 to .1"
    ),
    "strange_boxes": _error(
        "boxes of other images",
        "standard errors by which boxes lie better on edges than those of other images",
        3,
        "three standard errors; healthy 17 to 50, planted -13",
        falls=True,
    ),
    "mixed_names": _error(
        "class names are mixed up",
        "fraction of the detections on objects that has its class only with names exchanged",
        0.3,
        "healthy 0, and .19 where little is learned; planted .66",
    ),
    "convention": _error(
        "val boxes of another convention",
        "median by which boxes are off in val and not in train, in sizes of the object",
        0.1,
        "healthy up to .03, and .09 where little is learned; planted .2",
    ),
    "score_threshold": _warning(
        "the score threshold costs AP", "fraction of AP lost", 0.05, "set by us: AP on val is less sure than that"
    ),
    "limit": _warning(
        "the limit of boxes per image costs AP", "fraction of AP lost", 0.05, "healthy up to .016, planted .27"
    ),
    "suppression": _warning("the suppression costs AP", "fraction of AP lost", 0.05, "healthy up to .026, planted .10"),
    "left_behind": _warning(
        "boxes left behind by flips",
        "fraction of the images whose boxes lie better mirrored",
        0.4,
        "half of the images flipped: .48; healthy up to .10",
    ),
    "missing_class": _warning("a class is missing in train", "its objects in val and test", 1, COUNTED),
    "root_category": _warning("a root category without objects", "classes without objects", 1, COUNTED),
    "rate_too_high": _warning(
        "the learning rate is too high",
        "longest mean step of a round over the length of the weights",
        0.1,
        "healthy .032 to .036; at 12 times the default rate .15, and AP a third",
    ),
    "rate_too_low": _warning(
        "the learning rate is too low",
        "longest mean step of a round over the length of the weights, if the loss fell by less than a tenth",
        2e-4,
        "CS231n (Stanford): about .001 is right; healthy .032 to .036, planted .00001 to .0001",
        falls=True,
    ),
    "rate_range": _warning(
        "another learning rate begins better",
        "times that the best of the rates tried is away from the run's",
        16,
        "two of the steps of 4 that are tried: short tests favor small rates",
    ),
    "clipped": _warning(
        "nearly every step is clipped", "fraction of the steps", 0.9, "set by us; healthy 0, planted 1"
    ),
    "warmup": _warning(
        "the warm-up is longer than the run",
        "fraction of the budget",
        0.5,
        "on shapes test AP is .442 with the default .1, and .424 with .5; more leaves less to train",
    ),
    "few_epochs": _warning(
        "too few images trained",
        "times that each image is seen, in less than 2000 steps",
        5,
        "set by us; healthy 25 to 62",
        falls=True,
    ),
    "few_steps": _warning(
        "too few steps",
        "steps in the budget",
        150,
        "set by us: on shapes test AP is .442 with the 800 of the default, .351 with 320, .269 with 160, .156 with 80",
        falls=True,
    ),
    "few_positives": _warning(
        "too few positives",
        "fraction of the objects that no prior overlaps enough",
        0.9,
        "healthy up to .76, planted 1",
    ),
    "small_objects": _warning(
        "objects too small", "fraction of the objects with a side below 4 pixels", 0.3, "healthy up to .05"
    ),
    "starved_class": _warning(
        "a starved class",
        "objects of the rarest class in train, where another has 5 times as many",
        15,
        "healthy 47 to 209; mapopt audit notes classes below 20",
        falls=True,
    ),
    "strong_augmentation": _warning(
        "augmentation too strong",
        "strength",
        0.8,
        "on shapes test AP is .442 with the default .3, .388 with .8 and .365 with 1",
    ),
    "lost_objects": _warning(
        "augmentation leaves objects behind",
        "fraction of the objects of training samples",
        0.5,
        "set by us; healthy up to .09, .21 with strength 1, planted .55 to .65",
    ),
    "unread": _warning("settings that nothing reads", "knobs", 1, COUNTED),
    "other_images": _warning(
        "val images unlike train images",
        "standard deviations of the train images between the means",
        2,
        "set by us; healthy up to .23, planted 2.3",
    ),
    "dark_images": _warning(
        "images nearly black",
        "mean of 255",
        12,
        "16 bits of which 12 are used: a sixteenth; healthy 92 to 183",
        falls=True,
    ),
    "stopped_early": _warning("stopped early", "fraction of the budget", 0.5, "set by us", falls=True),
    "exploded": _warning(
        "boxes that explode",
        "fraction of the best-scored boxes with 4 times the area of the largest object",
        0.2,
        "healthy 0, planted 1",
        level=1,
    ),
    "overfitting": _warning(
        "overfitting", "AP on train less AP on val", 0.25, "healthy up to .11, planted .99", level=1
    ),
    "underfitting": _warning(
        "underfitting",
        "AP on train after the whole budget",
        0.05,
        "healthy from .07 on, planted .003",
        falls=True,
        level=1,
    ),
    "collapsed": _warning("AP collapsed", "last val AP over the best", 0.5, "healthy .99 to 1", falls=True, level=1),
    "loose_boxes": _warning(
        "boxes are loose",
        "AP75 over AP50",
        0.1,
        "healthy .46 to .63; .05 where boxes are of another size",
        falls=True,
        level=1,
    ),
    "stalled": _warning(
        "AP stalls while the loss falls",
        "fraction by which the loss fell over the last third, if the best AP did not rise",
        0.15,
        "healthy 0 to .02, planted .6",
        level=2,
    ),
    "cause": _note("what most of AP50 is lost to", "AP50 gained without it", 0.02, "below, no cause stands out"),
    "metric": _note("COCO's AP is not mAP50", "AP50 over AP", 1.5, "healthy 1.7 to 2.1", falls=False),
    "small_val": _note("a small val set", "objects in val", 50, "set by us", falls=True),
    "unused_class": _note("classes without objects", "classes", 1, COUNTED),
}
"""Every kind of finding; of equal evidence the earlier is listed first."""
