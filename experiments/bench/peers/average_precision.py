"""Every package of others that computes COCO's twelve numbers, behind the same two steps.

``convert`` makes of arrays what the evaluator takes, in the way that its interface takes fastest; ``evaluate`` makes
of that the twelve numbers. Nothing is written to files. Packages are imported in the steps, for most are not needed.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapopt.experiments.bench.peers.sets import BoxSet


@dataclass(frozen=True)
class Peer:
    """An evaluator.

    Attributes:
        name: What it is called in the table.
        package: What pip installs.
        modules: What it imports; all must be there.
        convert: From arrays in memory to what it takes.
        evaluate: From that to ``[12]`` numbers, NaN where it does not measure one.
        evaluations: How many evaluations one call makes.
        whole: Whether it does what the others do: one evaluation with all twelve numbers.
    """

    name: str
    package: str
    modules: tuple[str, ...]
    convert: Callable[[BoxSet], Any]
    evaluate: Callable[[Any], NDArray[np.float64]]
    evaluations: int = 1
    whole: bool = True

    @property
    def installed(self) -> bool:
        """Whether its modules can be found."""
        return all(find_spec(module) is not None for module in self.modules)

    @property
    def remedy(self) -> str:
        """What brings it in."""
        return "pip install numba" if self.package == "mapopt" else "pip install 'mapopt[peers]'"

    @property
    def version(self) -> str:
        """What pip says is installed."""
        return metadata.version(self.package)


def _pycocotools_convert(boxes: BoxSet) -> Any:
    from pycocotools.coco import COCO

    with _silent():
        truth, results = COCO(), COCO()
        truth.dataset = _dataset(boxes)
        results.dataset = {**truth.dataset, "annotations": _results(boxes)}
        truth.createIndex()
        results.createIndex()
    return truth, results


def _pycocotools_evaluate(pair: Any) -> NDArray[np.float64]:
    from pycocotools.cocoeval import COCOeval

    return _coco_style(COCOeval(*pair, "bbox"))


def _faster_coco_eval_convert(boxes: BoxSet) -> Any:
    from faster_coco_eval import COCO

    truth, results = COCO(_dataset(boxes)), COCO()
    results.dataset = {**truth.dataset, "annotations": _results(boxes)}  # loadRes does the same and adds polygons
    results.createIndex()
    return truth, results


def _faster_coco_eval_evaluate(pair: Any) -> NDArray[np.float64]:
    from faster_coco_eval import COCOeval_faster

    return _coco_style(COCOeval_faster(*pair, "bbox", extra_calc=False))


def _hotcoco_convert(boxes: BoxSet) -> Any:
    from hotcoco import COCO

    corners = _xywh(boxes.truth_boxes)
    truth = COCO.from_arrays(
        [{"id": image, "width": 640, "height": 640} for image in boxes.images.tolist()],
        _categories(boxes),
        boxes.truth_image_ids,
        boxes.truth_labels,
        corners,
        area=corners[:, 2] * corners[:, 3],
        iscrowd=boxes.truth_crowd.astype(np.int64),
    )
    return truth, truth.load_res(_matrix(boxes))


def _hotcoco_evaluate(pair: Any) -> NDArray[np.float64]:
    from hotcoco import COCOeval

    truth, results = pair
    return _coco_style(COCOeval(truth, results, "bbox"))


def _ultrafast_convert(boxes: BoxSet) -> Any:
    from ultrafast_pycocotools import COCO

    with _silent():
        truth = COCO(_dataset(boxes), verbose=False)
        return truth, truth.loadRes(_matrix(boxes))


def _ultrafast_evaluate(pair: Any) -> NDArray[np.float64]:
    from ultrafast_pycocotools import COCOeval

    return _coco_style(COCOeval(*pair, "bbox"))


def _vernier_convert(boxes: BoxSet) -> Any:
    from vernier.instance import CocoDataset

    corners = _xywh(boxes.truth_boxes)
    size = np.full(len(boxes.images), 640)
    truth = CocoDataset.from_arrays(
        {"id": boxes.images, "width": size, "height": size},
        {
            "id": np.arange(1, len(corners) + 1),
            "image_id": boxes.truth_image_ids,
            "category_id": boxes.truth_labels,
            "bbox": corners,
            "area": corners[:, 2] * corners[:, 3],
            "iscrowd": boxes.truth_crowd,
        },
        _categories(boxes),
    )
    return truth, _matrix(boxes)


def _vernier_evaluate(pair: Any) -> NDArray[np.float64]:
    from vernier.instance import Bbox, Evaluator

    return np.array(Evaluator(iou=Bbox(), parity_mode="strict").evaluate(*pair, num_threads=1).stats)


def _torchmetrics_convert(boxes: BoxSet) -> Any:
    import torch

    def split(column: NDArray, image_ids: NDArray[np.int64]) -> list[Any]:
        counts = np.bincount(np.searchsorted(boxes.images, image_ids), minlength=len(boxes.images))
        return list(torch.from_numpy(column).split(counts.tolist()))

    results = [
        {"boxes": box, "scores": score, "labels": label}
        for box, score, label in zip(
            split(boxes.boxes, boxes.image_ids),
            split(boxes.scores, boxes.image_ids),
            split(boxes.labels, boxes.image_ids),
            strict=True,
        )
    ]
    truth = [
        {"boxes": box, "labels": label, "iscrowd": crowd}
        for box, label, crowd in zip(
            split(boxes.truth_boxes, boxes.truth_image_ids),
            split(boxes.truth_labels, boxes.truth_image_ids),
            split(boxes.truth_crowd.astype(np.int64), boxes.truth_image_ids),
            strict=True,
        )
    ]
    return results, truth


def _torchmetrics_evaluate(pair: Any) -> NDArray[np.float64]:
    """Runs it on faster-coco-eval, the faster of the two that it can work with."""
    from torchmetrics.detection import MeanAveragePrecision

    metric = MeanAveragePrecision(backend="faster_coco_eval")
    metric.warn_on_many_detections = False
    with _silent():
        metric.update(*pair)
        values = metric.compute()
    precisions = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large")
    recalls = ("mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large")
    return np.array([float(values[name]) for name in precisions + recalls])


PYCOCOTOOLS = Peer("pycocotools", "pycocotools", ("pycocotools",), _pycocotools_convert, _pycocotools_evaluate)
"""What the others are compared with: its numbers are AP by definition."""

PEERS: dict[str, Peer] = {
    peer.package: peer
    for peer in (
        PYCOCOTOOLS,
        Peer(
            "faster-coco-eval",
            "faster-coco-eval",
            ("faster_coco_eval",),
            _faster_coco_eval_convert,
            _faster_coco_eval_evaluate,
        ),
        Peer("hotcoco", "hotcoco", ("hotcoco",), _hotcoco_convert, _hotcoco_evaluate),
        Peer(
            "ultrafast-pycocotools",
            "ultrafast-pycocotools",
            ("ultrafast_pycocotools",),
            _ultrafast_convert,
            _ultrafast_evaluate,
        ),
        Peer("vernier", "vernier", ("vernier", "pyarrow"), _vernier_convert, _vernier_evaluate),
        Peer(
            "torchmetrics",
            "torchmetrics",
            ("torchmetrics", "faster_coco_eval"),
            _torchmetrics_convert,
            _torchmetrics_evaluate,
        ),
    )
}
"""The packages that others offer, by the name that pip installs."""


def _coco_style(evaluation: Any) -> NDArray[np.float64]:
    """Runs an evaluator that copies pycocotools' interface."""
    with _silent():
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return np.array(evaluation.stats, np.float64)[:12]


def _xywh(corners: NDArray) -> NDArray[np.float64]:
    """Returns corner, width and height in float64, contiguous."""
    boxes = np.array(corners, np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    return boxes


def _matrix(boxes: BoxSet) -> NDArray[np.float64]:
    """Returns detections as the ``[d, 7]`` matrix that pycocotools' loadRes knows."""
    matrix = np.empty((len(boxes.scores), 7))
    matrix[:, 0] = boxes.image_ids
    matrix[:, 1:5] = boxes.boxes
    matrix[:, 3:5] -= matrix[:, 1:3]
    matrix[:, 5] = boxes.scores
    matrix[:, 6] = boxes.labels
    return matrix


def _categories(boxes: BoxSet) -> list[Any]:
    return [{"id": category, "name": str(category)} for category in boxes.categories.tolist()]


def _dataset(boxes: BoxSet) -> dict[str, Any]:
    """Returns the ground truth as COCO's annotation files have it; ids start at 1, for 0 means unmatched."""
    corners = _xywh(boxes.truth_boxes)
    columns = zip(
        boxes.truth_image_ids.tolist(),
        boxes.truth_labels.tolist(),
        corners.tolist(),
        (corners[:, 2] * corners[:, 3]).tolist(),
        boxes.truth_crowd.astype(int).tolist(),
        strict=True,
    )
    return {
        "images": [{"id": image, "width": 640, "height": 640} for image in boxes.images.tolist()],
        "categories": _categories(boxes),
        "annotations": [
            {"id": row, "image_id": image, "category_id": label, "bbox": box, "area": area, "iscrowd": crowd}
            for row, (image, label, box, area, crowd) in enumerate(columns, start=1)
        ],
    }


def _results(boxes: BoxSet) -> list[dict[str, Any]]:
    """Returns the detections as pycocotools keeps them."""
    corners = _xywh(boxes.boxes)
    columns = zip(
        boxes.image_ids.tolist(),
        boxes.labels.tolist(),
        corners.tolist(),
        (corners[:, 2] * corners[:, 3]).tolist(),
        boxes.scores.astype(np.float64).tolist(),
        strict=True,
    )
    return [
        {"id": row, "image_id": image, "category_id": label, "bbox": box, "area": area, "score": score, "iscrowd": 0}
        for row, (image, label, box, area, score) in enumerate(columns, start=1)
    ]


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keeps what a package prints to itself."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
