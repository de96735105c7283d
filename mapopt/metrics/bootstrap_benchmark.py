"""How long a bootstrap takes: a runnable measurement, best of several.

    python -m mapopt.metrics.bootstrap_benchmark --images 512 --resamples 1000

Scenes are those of `mapopt.metrics.benchmark`, random with COCO's statistics. Times are the process's own.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from mapopt.metrics.benchmark import random_set
from mapopt.metrics.bootstrap import bootstrap
from mapopt.metrics.engines import Backend


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints one line for every size."""
    parser = argparse.ArgumentParser(description="Measures AP's bootstrap over images: seconds.")
    parser.add_argument("--images", type=int, nargs="+", default=[512], help="sizes of the random sets")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--categories", type=int, default=80)
    parser.add_argument("--repeats", type=int, default=3, help="the best of so many is reported")
    chosen = parser.parse_args(arguments)
    for images in chosen.images:
        seconds = min(
            measure_bootstrap(images, chosen.resamples, categories=chosen.categories) for _ in range(chosen.repeats)
        )
        print(f"{images} images, {chosen.categories} categories, {chosen.resamples} resamples: {seconds:.2f} s")


def measure_bootstrap(
    images: int = 512, resamples: int = 1000, *, categories: int = 80, backend: Backend = "numba"
) -> float:
    """Returns the seconds of one bootstrap with matching and intervals, without compiling.

    Args:
        images: Size of the random set.
        resamples: How often its images are drawn.
        categories: Number of categories.
        backend: As in `mapopt.metrics.bootstrap`.
    """
    bootstrap(*random_set(2, 1), resamples=1, backend=backend)  # compiles or loads what is compiled
    truth, detections = random_set(images, categories)
    begin = time.process_time()
    bootstrap(truth, detections, resamples=resamples, backend=backend)
    return time.process_time() - begin


if __name__ == "__main__":
    main()
