"""Compiled kernels are loaded when they are needed, and done without where they cannot be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mapopt import compiling
from mapopt.compiling import load_kernels, why_missing

KERNELS = (
    "mapopt.data.augmentation.kernels",
    "mapopt.detectors.dense.assign_kernels",
    "mapopt.detectors.dense.lane_kernels",
    "mapopt.detectors.dense.tile_kernels",
    "mapopt.postprocessing.suppression_kernels",
    "mapopt.losses.sums.kernels",
    "mapopt.training.optimizers.step_kernels",
)


@pytest.fixture(autouse=True)
def nothing_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "_missing", {})


@pytest.mark.parametrize("module", KERNELS)
def test_kernels_are_the_module_of_that_name(module: str) -> None:
    pytest.importorskip("numba")
    assert load_kernels(module) is sys.modules[module]
    assert why_missing(module) == ""


def test_what_cannot_be_loaded_is_tried_once_and_the_reason_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = tmp_path / "tried"
    code = f"with open({str(tried)!r}, 'a') as file:\n    file.write('x')\nraise ImportError('no such numpy')\n"
    (tmp_path / "kernels_of_a_test.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    assert load_kernels("kernels_of_a_test") is None
    assert load_kernels("kernels_of_a_test") is None
    assert tried.read_text() == "x"
    assert why_missing("kernels_of_a_test") == "no such numpy"


def test_without_numba_every_kernel_is_missing_and_results_still_come() -> None:
    code = (
        f"KERNELS = {KERNELS}"
        + """
import sys
sys.modules["numba"] = None
import torch
from mapopt.compiling import load_kernels
from mapopt.data.augmentation.always import augment_images, draw
from mapopt.postprocessing import Boxes, suppress
images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
assert augment_images(images, draw(0, 0, 2, 0.5)).shape == images.shape
boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]])
none = torch.zeros(2, dtype=torch.int64)
half = torch.tensor([0.5])
candidates = Boxes(boxes, torch.tensor([0.9, 0.8]), none, none, none)
reported = suppress(candidates, 0 * half, half, soft_nms_sigma=half, detections=200 * half, side=10)
print(reported.scores.tolist()[1] < 0.5)
print([load_kernels(name) for name in KERNELS])
"""
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.split("\n")[:2] == ["True", str([None] * len(KERNELS))]


def test_importing_the_code_that_loads_kernels_does_not_import_numba() -> None:
    modules = "mapopt.compiling, mapopt.data.augmentation.always, mapopt.postprocessing.suppression"
    code = f"import sys, {modules}; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.strip() == "False"


PAIR = """
from mapopt.compiling import compiled
from lower_kernels import addend
@compiled
def total(numbers):
    return numbers.sum() + addend()
"""
LOWER = """
from mapopt.compiling import compiled
@compiled
def addend():
    return {}
"""


def total(folder: Path, numbers: str) -> float:
    """Computes it in a process of its own."""
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); import numpy as np, pair; print(pair.total({numbers}))"
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def test_machine_code_is_of_the_signature_and_the_sources_of_today(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numba")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "pair.py").write_text(PAIR)
    (tmp_path / "lower_kernels.py").write_text(LOWER.format(1))
    whole, strided = "np.arange(4.0)", "np.arange(8.0)[::2]"
    assert (total(tmp_path, whole), total(tmp_path, strided)) == (7, 13)
    kept = sorted((tmp_path / "cache").rglob("pair.total*.nbc"))
    assert len(kept) == 2
    assert not list((tmp_path / "cache").rglob("*.nbi"))

    # As after a race of two processes: the one's code where the other's is to be; a flipped bit; a cut file.
    first, second = (path.read_bytes() for path in kept)
    kept[0].write_bytes(first[:-1] + bytes([first[-1] ^ 1]))
    kept[1].write_bytes(second[:40])
    assert (total(tmp_path, whole), total(tmp_path, strided)) == (7, 13)

    # numba alone would go on with the former one, which it has compiled into the function that calls it.
    (tmp_path / "lower_kernels.py").write_text(LOWER.format(2))
    assert (total(tmp_path, whole), total(tmp_path, strided)) == (8, 14)


def test_a_full_disk_costs_time_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "lower_kernels.py").write_text(LOWER.format(1))
    full = "import errno, numba.core.caching as c\ndef full(*_): raise OSError(errno.ENOSPC, 'full')\n"
    full += "c.IndexDataCacheFile._open_for_write = full\n"
    (tmp_path / "pair.py").write_text(full + PAIR)
    assert total(tmp_path, "np.arange(4.0)") == 7
    assert not list((tmp_path / "cache").rglob("*.nbc"))
