"""One matching pass written down, so that AP on other mixtures of the same images costs a count and no matching.

Matching never looks beyond an image, so an image that occurs twice is matched twice in the same way. A resample is
therefore one whole number per image, how often it occurs, and only the counting is done again: with bits that
`mapopt.metrics.evaluate` gives for the images copied in full.

What a copy's id is decides ties. Here the copies of an image lie next to each other in the order of the images, as
they do with ids such as ``image * 1000 + copy``: among equal scores of a class all of an image's detections come
before those of its second copy, and those before the next image's.
"""

from __future__ import annotations

import dataclasses
import importlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mapopt.errors import ConfigError
from mapopt.metrics import accumulation, engines
from mapopt.metrics.boxes import Detections, GroundTruth
from mapopt.metrics.layout import Layout, lay_out
from mapopt.metrics.matching import Matches
from mapopt.metrics.settings import RECALLS, Settings

Counter = Callable[["Ledger", NDArray[np.int64]], NDArray[np.float64]]
"""Takes a ledger and ``[images]`` copies to ``[k, t, 101]`` precisions."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Ledger:
    """What every detection did, with COCO's settings: all areas, and by default 100 detections per image and category.

    Detections are in the order in which they are counted: by class, then falling score, then image, then as given.

    Attributes:
        settings: What is measured.
        layout: The detections, matched.
        images: Number of images that are evaluated.
        categories: ``[k]`` category ids.
        image: ``[d]`` index of a detection's image.
        truth_image: ``[g]`` index of a ground truth's image.
        ignored: ``[g]`` ground truths that do not count.
        pairs: The matches, sorted by detection; bits are IoU thresholds.
    """

    settings: Settings
    layout: Layout
    images: int
    categories: NDArray[np.int64]
    image: NDArray[np.int64]
    truth_image: NDArray[np.int64]
    ignored: NDArray[np.bool_]
    pairs: Matches

    @classmethod
    def of(
        cls, truth: GroundTruth, detections: Detections, *, backend: engines.Backend = "auto", limit: int = 100
    ) -> Ledger:
        """Matches detections once, at COCO's thresholds.

        Raises:
            ConfigError: If the backend does not exist, or is pycocotools.
            DataError: If a detection lies in an image that the ground truth does not list.
        """
        if backend == "pycocotools":
            raise ConfigError("backend 'pycocotools' gives no matches to count again: use 'auto', 'numpy' or 'numba'")
        engines.check_backend(backend)
        settings = Settings.of(mode="reward", max_detections=limit)
        layout = lay_out([truth], [detections], limit=settings.max_detections[-1])
        ignored, (pairs,) = engines.match_all(layout, settings, engines.engine_for(backend))
        order = np.argsort(pairs.detection, kind="stable")
        return cls(
            settings=settings,
            layout=layout,
            images=len(truth.images),
            categories=truth.categories,
            image=np.searchsorted(truth.images, detections.image_ids[layout.source]),
            truth_image=np.searchsorted(truth.images, truth.image_ids[truth.index.source]),
            ignored=ignored[0],
            pairs=Matches(pairs.detection[order], pairs.truth[order], pairs.tracks[order]),
        )

    @property
    def columns(self) -> tuple[int, int]:
        """The places of the IoU thresholds .5 and .75."""
        thresholds = self.settings.iou_thresholds.tolist()
        return thresholds.index(0.5), thresholds.index(0.75)

    @cached_property
    def tie_starts(self) -> NDArray[np.int64]:
        """``[b + 1]`` where runs of detections of one class, score and image start; nearly all have one member."""
        layout, image = self.layout, self.image
        new = np.append(True, image[1:] != image[:-1])[: len(image)]
        new[1:] |= (layout.classes[1:] != layout.classes[:-1]) | (layout.scores[1:] != layout.scores[:-1])
        return np.append(np.flatnonzero(new), len(image))

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """``[d]`` detections that count against when they match nothing."""
        return ~self.settings.outside(self.layout.box_area)[0]

    @cached_property
    def matched(self) -> NDArray[np.uint64]:
        """``[d]`` the thresholds at which a detection took any ground truth."""
        words = np.zeros(len(self.image), np.uint64)
        np.bitwise_or.at(words, self.pairs.detection, self.pairs.tracks)
        return words

    @cached_property
    def correct(self) -> NDArray[np.uint64]:
        """``[d]`` the thresholds at which it took one that counts: a true positive."""
        regular = ~self.ignored[self.pairs.truth]
        words = np.zeros(len(self.image), np.uint64)
        np.bitwise_or.at(words, self.pairs.detection[regular], self.pairs.tracks[regular])
        return words


def precisions(
    ledger: Ledger, copies: Iterable[NDArray[np.int64]], *, total: int, backend: engines.Backend = "auto"
) -> Iterator[NDArray[np.float64]]:
    """Yields ``[k, t, 101]`` for every resample: the best precision at that recall or more, -1 where undefined.

    "auto" works in numpy until compiled kernels pay, see `mapopt.metrics.engines`.

    Args:
        ledger: The matches.
        copies: For every resample ``[images]``, how often an image occurs in it.
        total: How many resamples there will be.
        backend: "auto", "numpy" or "numba"; the bits are the same.
    """
    count, spent = _counter(backend), 0.0
    for done, drawn in enumerate(copies, start=1):
        begin = time.thread_time()
        yield count(ledger, drawn)
        spent += time.thread_time() - begin
        if count is expand_and_count and backend == "auto" and spent / done * total > engines.PATIENCE:
            count = _counter("numba")


def expand_and_count(ledger: Ledger, copies: NDArray[np.int64]) -> NDArray[np.float64]:
    """Copies the images in full and counts as `evaluate` does: the definition, in numpy."""
    layout, starts = ledger.layout, ledger.tie_starts
    # A run of equal scores is copied as a whole: its copies are those of other images.
    sizes = np.diff(starts)
    lengths = sizes * copies[ledger.image[starts[:-1]]]
    run = np.repeat(np.arange(len(sizes)), lengths)
    step = np.arange(len(run)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    detection = starts[run] + step % sizes[run]

    # Every copy of a ground truth stands for the others: they are ignored or not alike.
    truth = np.repeat(np.arange(len(ledger.truth_image)), copies[ledger.truth_image])
    a_copy = np.searchsorted(truth, np.arange(len(ledger.truth_image)))

    first = np.searchsorted(ledger.pairs.detection, np.arange(len(ledger.image) + 1))
    each = np.diff(first)[detection]
    pair = np.arange(each.sum()) + np.repeat(first[detection] - (np.cumsum(each) - each), each)
    curves = accumulation.accumulate(
        dataclasses.replace(
            layout,
            truth_class=layout.truth_class[truth],
            box_area=layout.box_area[detection],
            scores=layout.scores[detection],
            classes=layout.classes[detection],
            rank=layout.rank[detection],
        ),
        ledger.settings,
        ledger.ignored[None, truth],
        [
            Matches(
                np.repeat(np.arange(len(detection)), each), a_copy[ledger.pairs.truth[pair]], ledger.pairs.tracks[pair]
            )
        ],
    )
    return np.ascontiguousarray(curves.precision[0, 0].transpose(1, 0, 2))


def empty_precisions(ledger: Ledger) -> NDArray[np.float64]:
    """Returns room for the precisions of one resample."""
    return np.empty((len(ledger.categories), len(ledger.settings.iou_thresholds), len(RECALLS)))


def _counter(backend: engines.Backend) -> Counter:
    """Returns the code that works best for this process by now."""
    if engines.engine_for(backend) is engines.NUMPY:
        return expand_and_count
    counter: Counter = importlib.import_module("mapopt.metrics.analysis.resampling_kernels").weigh_and_count
    return counter
