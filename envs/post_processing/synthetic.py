"""Candidates drawn from seeded noise around drawn objects: no detector, no training, no files.

They have what makes post-processing hard (duplicates, neighbours that look like duplicates, false alarms whose scores
mix with those of hits, classes on scales of their own), but no detector ever made them: what an agent learns here
shows on `DetectorCandidates`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mapopt.envs.numbering import MAX_INSTANCES, InstanceSplit, check_count, check_number, check_split
from mapopt.envs.post_processing.candidates import CandidateInstance
from mapopt.errors import ConfigError
from mapopt.metrics import GroundTruth
from mapopt.metrics.overlaps import pair_iou
from mapopt.postprocessing.candidates import CandidateSet

SIDE = 128.0
"""Pixels of an image's side."""

_FIRST_SEED: dict[InstanceSplit, int] = {"train": 3 * MAX_INSTANCES, "eval": 4 * MAX_INSTANCES}


@dataclass(frozen=True, kw_only=True)
class SyntheticCandidates:
    """Synthetic instances: each number draws its own `CandidateParameters`, then val and test images with them.

    Raises:
        ConfigError: `split`, `count`, `classes` or a number of images is out of its range.

    >>> family = SyntheticCandidates()
    >>> family.instance(3).description[:38]
    'synthetic-train-3: 3 classes, per obje'
    """

    split: InstanceSplit = "train"
    """Whether the instances are for training an agent or for evaluating it; they have no seed in common."""
    count: int = 64
    """How many instances there are."""
    classes: int = 3
    """Categories."""
    images: tuple[int, int] = (64, 64)
    """Val and test images of an instance."""

    def __post_init__(self) -> None:
        check_split(self.split)
        check_count(self.count)
        object.__setattr__(self, "images", tuple(self.images))
        if min(self.classes, *self.images) < 1:
            raise ConfigError(f"{self.classes} classes and {self.images} images: expected 1 or more of each")

    def instance(self, number: int) -> CandidateInstance:
        """Returns the instance of a number in ``[0, count)``."""
        check_number(number, self.count)
        return _instance(self, number)


@dataclass(frozen=True, kw_only=True)
class CandidateParameters:
    """What an instance draws once; some of it per class."""

    duplicates: float
    """Mean number of further boxes around an object that is found."""
    jitter: float
    """Noise of a box's corners: the standard deviation, relative to the object's sides."""
    crowding: float
    """Fraction of the objects that stand beside another of their class and overlap it."""
    false_alarms: float
    """Mean number per image and class."""
    sharpness: float
    """How much a score, in logits, says about how well the box fits."""
    noise: float
    """Noise of a score: the standard deviation, in logits."""
    gap: float
    """How far false alarms score below boxes that fit perfectly, in logits."""
    detected: NDArray[np.float64]
    """``[k]`` fraction of the objects that have any box."""
    offset: NDArray[np.float64]
    """``[k]`` logit of a perfect box: classes are not calibrated alike."""
    frequency: NDArray[np.float64]
    """``[k]`` fraction of the objects that is of the class."""

    @classmethod
    def draw(cls, generator: np.random.Generator, classes: int) -> CandidateParameters:
        """Draws the parameters of an instance."""
        weight = np.exp(generator.normal(0.0, 0.7, classes))
        return cls(
            duplicates=float(generator.uniform(1.0, 6.0)),
            jitter=float(generator.uniform(0.04, 0.14)),
            crowding=float(generator.uniform(0.0, 0.6)),
            false_alarms=float(generator.uniform(1.0, 6.0)),
            sharpness=float(generator.uniform(1.0, 6.0)),
            noise=float(generator.uniform(0.3, 1.2)),
            gap=float(generator.uniform(1.5, 5.0)),
            detected=generator.uniform(0.6, 1.0, classes),
            offset=generator.normal(0.5, 1.2, classes),
            frequency=weight / weight.sum(),
        )


def _instance(family: SyntheticCandidates, number: int) -> CandidateInstance:
    generator = np.random.default_rng(_FIRST_SEED[family.split] + number)
    parameters = CandidateParameters.draw(generator, family.classes)
    val, test = (_draw_set(parameters, images, generator) for images in family.images)
    return CandidateInstance(
        val=val,
        test=test,
        description=(
            f"synthetic-{family.split}-{number}: {family.classes} classes, per object {parameters.duplicates:.1f} "
            f"duplicates with jitter {parameters.jitter:.2f}, crowding {parameters.crowding:.2f}, "
            f"{parameters.false_alarms:.1f} false alarms per image and class, {len(val.scores)} candidates on "
            f"{family.images[0]} val images; no detector made them"
        ),
    )


def _draw_set(parameters: CandidateParameters, images: int, generator: np.random.Generator) -> CandidateSet:
    """Draws objects, boxes around them and false alarms."""
    classes = len(parameters.offset)
    where = np.repeat(np.arange(images), generator.integers(1, 7, images))
    what = generator.choice(classes, len(where), p=parameters.frequency)
    what[:classes] = np.arange(classes)[: len(what)]  # every class has an object
    objects = _random_boxes(len(where), generator)
    _crowd(objects, where, what, parameters, generator)

    detected = generator.uniform(size=len(where)) < parameters.detected[what]
    owner = np.repeat(np.arange(len(where)), detected * (1 + generator.poisson(parameters.duplicates, len(where))))
    sides = np.tile(objects[owner, 2:] - objects[owner, :2], 2)
    near = _inside(objects[owner] + generator.normal(0, parameters.jitter, (len(owner), 4)) * sides)
    fit = pair_iou(near, objects[owner])
    logit = parameters.offset[what[owner]] + parameters.sharpness * (fit - 1)

    alarms = generator.poisson(parameters.false_alarms, (images, classes))
    alarm_image = np.repeat(np.repeat(np.arange(images), classes), alarms.ravel())
    alarm_class = np.repeat(np.tile(np.arange(classes), images), alarms.ravel())
    boxes = np.concatenate([near, _random_boxes(len(alarm_image), generator)]).astype(np.float32)
    place, label = np.append(where[owner], alarm_image), np.append(what[owner], alarm_class)
    logit = np.append(logit, parameters.offset[alarm_class] - parameters.gap) + generator.normal(
        0, parameters.noise, len(label)
    )
    scores = (1 / (1 + np.exp(-logit))).astype(np.float32)
    order = np.lexsort((-scores, label, place))
    return CandidateSet(
        boxes=boxes[order],
        placed=boxes[order].astype(np.float64),
        scores=scores[order],
        labels=label[order],
        images=place[order],
        truth=GroundTruth(objects, what, where, images=np.arange(images), categories=np.arange(classes)),
    )


def _random_boxes(count: int, generator: np.random.Generator) -> NDArray[np.float64]:
    sides = np.exp(generator.uniform(np.log(14.0), np.log(56.0), (count, 2)))
    corner = generator.uniform(0, 1, (count, 2)) * (SIDE - sides)
    return np.concatenate([corner, corner + sides], axis=1)


def _crowd(
    objects: NDArray[np.float64],
    where: NDArray[np.int64],
    what: NDArray[np.int64],
    parameters: CandidateParameters,
    generator: np.random.Generator,
) -> None:
    """Moves some objects beside the one before them, and makes them of its class."""
    beside = generator.uniform(size=len(where)) < parameters.crowding
    shift = generator.uniform(0.2, 0.6, (len(where), 2)) * generator.choice([-1, 1], (len(where), 2))
    for i in range(len(what) - 1, len(parameters.offset) - 1, -1):
        if beside[i] and where[i] == where[i - 1]:
            sides = objects[i - 1, 2:] - objects[i - 1, :2]
            # Along one axis by a part of the side, along the other hardly: overlaps of about .2 to .6.
            moved = objects[i - 1] + np.tile(shift[i] * sides * np.roll([1.0, 0.15], i % 2), 2)
            objects[i : i + 1], what[i] = _inside(moved[None]), what[i - 1]


def _inside(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sorts corners that were swapped, and cuts boxes at the image's edges, leaving a pixel at least."""
    low, high = np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])
    low = np.clip(low, 0, SIDE - 1)
    return np.concatenate([low, np.clip(high, low + 1, SIDE)], axis=1)
