"""Label scores of cleanlab for labels and detections in a file: run by a Python in which cleanlab is installed.

It imports nothing of this package: ``python cleanlab_scores.py IN.npz OUT.npz``.
"""

from __future__ import annotations

import importlib.metadata
import sys
from typing import Any

import numpy as np


def main(given: str, out: str) -> None:
    """Reads columns of labels and detections, and writes a score for each, and for each image."""
    from cleanlab.object_detection import rank  # type: ignore[import-not-found]

    with np.load(given) as file:
        columns = {name: file[name] for name in file.files}
    images, classes = int(columns["images"]), int(columns["classes"])
    labels, predictions, rows, kept = [], [], [], []
    for image in range(images):
        own = np.flatnonzero(columns["label_images"] == image)
        labels.append(
            {"bboxes": columns["label_boxes"][own], "labels": columns["labels"][own], "image_name": str(image)}
        )
        rows.append(own)
        of_class, of_image = [], []
        here = np.flatnonzero(columns["image_ids"] == image)
        for category in range(classes):
            seen = here[columns["classes_seen"][here] == category]
            of_class.append(np.concatenate([columns["boxes"][seen], columns["scores"][seen, None]], axis=1))
            of_image.append(seen)
        prediction: Any = np.empty(classes, dtype=object)
        prediction[:] = of_class
        predictions.append(prediction)
        kept.append(np.concatenate(of_image))
    answers: dict[str, Any] = {"image": np.asarray(rank.get_label_quality_scores(labels, predictions, verbose=False))}
    for name, compute, where, count in (
        ("overlooked", rank.compute_overlooked_box_scores, kept, len(columns["scores"])),
        ("badly_placed", rank.compute_badloc_box_scores, rows, len(columns["labels"])),
        ("swapped_class", rank.compute_swap_box_scores, rows, len(columns["labels"])),
    ):
        scores = np.full(count, np.nan)
        for places, values in zip(where, compute(labels=labels, predictions=predictions), strict=True):
            scores[places] = values
        answers[name] = scores
    answers["version"] = np.array(importlib.metadata.version("cleanlab"))
    np.savez(out, **answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
