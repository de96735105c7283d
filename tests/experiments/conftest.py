"""Small made-up runs with the shape of real ones."""

from __future__ import annotations

import numpy as np
import pytest

from mapopt.experiments.comparison.stored_run import Cost, StoredRun
from mapopt.training.history import Interval, Round, Scores
from mapopt.training.knobs import Knobs


def _scores(ap: float) -> Scores:
    return Scores(
        ap=ap,
        ap50=min(1.0, 1.8 * ap),
        ap75=0.9 * ap,
        ar100=min(1.0, 1.2 * ap),
        per_category=(min(1.0, 1.1 * ap), 0.9 * ap, -1.0),
    )


def _round(index: int, ap: float, lr: float, start: float | None, *, diverged: bool) -> Round:
    return Round(
        index=index,
        knobs=Knobs(lr=lr),
        ramp_from=None if start is None else Knobs(lr=start),
        interval=Interval(
            images=100,
            steps=10,
            seconds=1.0,
            class_loss=float("nan") if diverged else 0.5,
            box_loss=0.4,
            gradient_norm=1.0,
            gradient_norm_max=2.0,
            clipped=0.0,
            update_ratio=0.001,
            diverged=diverged,
        ),
        val=_scores(0.0 if diverged else ap),
        images=100 * (index + 1),
        evaluated=20 * (index + 1),
        seconds=2.5 * (index + 1),
    )


def _drawn(seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        "pixels": np.full((2, 3, 8, 12), 120, dtype=np.uint8),
        "boxes": np.array([[1.0, 1, 5, 6], [2, 2, 9, 7], [-3, 0, 30, 30]]),
        "scores": np.array([0.9, 0.1, generator.uniform(0.3, 1)]),
        "labels": np.array([0, 1, 1]),
        "images": np.array([0, 0, 1]),
        "truth_boxes": np.array([[1.0, 1, 5, 5]]),
        "truth_labels": np.array([0]),
        "truth_images": np.array([0]),
    }


class Maker:
    """Makes runs, their rounds and their pictures."""

    def run(self, method: str = "baseline", seed: int = 0, ap: float = 0.3, **changes: object) -> StoredRun:
        diverged = changes.get("status") == "diverged"
        values: dict[str, object] = {
            "key": "abc",
            "experiment": "demo",
            "task": "shapes",
            "method": method,
            "label": method.replace("_", " "),
            "seed": seed,
            "status": "finished",
            "reason": "",
            "selected": 1,
            "device": "cpu",
            "val": Scores.failed(3) if diverged else _scores(ap + 0.02),
            "test": Scores.failed(3) if diverged else _scores(ap),
            "stats": (ap,) * 12,
            "images": 400,
            "evaluated": 130,
            "seconds": 10.0,
            "search": Cost(images=4800, seconds=120.0, runs=12),
            "training": Cost(),
            "categories": ("red", "green", "blue"),
        }
        return StoredRun(**{**values, **changes})  # type: ignore[arg-type]

    def rounds(self, count: int = 4, ap: float = 0.3, lr: float = 0.1, *, diverged: bool = False) -> list[Round]:
        """The rate falls by half over every round, on a ramp."""
        return [
            _round(
                index,
                ap * (index + 1) / count,
                lr / 2 ** (index + 1),
                lr / 2**index,
                diverged=diverged and index == count - 1,
            )
            for index in range(count)
        ]

    def drawn(self, seed: int = 0) -> dict[str, np.ndarray]:
        return _drawn(seed)


@pytest.fixture(scope="session")
def make() -> Maker:
    return Maker()
