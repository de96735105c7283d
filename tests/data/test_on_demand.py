"""Images that are decoded when they are needed have the bits, the fingerprint and the faults of those in memory."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mapopt.cli import main
from mapopt.data import ImageSet, Splits, load_splits
from mapopt.data.on_demand import PixelsOnDemand
from mapopt.errors import DataError

SIZE = (48, 64)


WriteSet = Callable[..., Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, write_set: WriteSet) -> Path:
    return write_set(tmp_path_factory.mktemp("red") / "set")


def read(folder: Path, workers: int | None) -> Splits:
    if workers is None:
        return load_splits(folder, size=SIZE)
    return load_splits(folder, size=SIZE, workers=workers, on_demand=True)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_asked_for_has_the_bits_of_the_tensor(folder: Path, workers: int) -> None:
    kept, lazy = read(folder, None).train, read(folder, workers).train
    pixels = lazy.pixels
    assert isinstance(pixels, PixelsOnDemand)
    assert isinstance(kept.pixels, torch.Tensor)
    assert (pixels.shape, pixels.dtype, len(pixels)) == (kept.pixels.shape, torch.uint8, len(kept.pixels))
    pixels.expect([5, 1, 7])
    index = torch.tensor([5, 0, 5, 1])
    assert torch.equal(pixels.index_select(0, index), kept.pixels.index_select(0, index))
    for key in (3, -1, slice(1, 6, 2), [4, 2], (2, slice(None), slice(0, 5), slice(1, 3)), np.array([1, 1])):
        assert torch.equal(pixels[key], kept.pixels[key])
    few = np.array([6, 2])
    assert torch.equal(lazy.select(few).pixels[:], kept.select(few).pixels[:])


@pytest.mark.parametrize("workers", [0, 2])
def test_fingerprints_and_identities_are_those_in_memory(folder: Path, workers: int) -> None:
    kept, lazy = read(folder, None), read(folder, workers)
    for (_, ours), (_, theirs) in zip(lazy.named(), kept.named(), strict=True):
        assert ours.fingerprint == theirs.fingerprint
        assert ours.identities(by_path=False) == theirs.identities(by_path=False)
        assert ours.select([0, 2]).fingerprint == theirs.select([0, 2]).fingerprint


def test_an_image_in_two_sets_is_refused(tmp_path: Path, write_set: WriteSet) -> None:
    folder = write_set(tmp_path / "set")
    (folder / "images" / "val1.png").write_bytes((folder / "images" / "train2.png").read_bytes())
    with pytest.raises(DataError, match=r"image 'val1\.png' of the val set has the same pixels as 'train2\.png'"):
        read(folder, 2)


def test_damage_is_said_at_the_start_and_when_it_comes_later(tmp_path: Path, write_set: WriteSet) -> None:
    folder = write_set(tmp_path / "set")
    lazy = read(folder, 2).train
    (folder / "images" / "train3.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"train3\.png"):
        lazy.pixels.index_select(0, torch.tensor([1, 3]))
    for workers in (0, 2):
        with pytest.raises(DataError, match=r"train3\.png"):
            read(folder, workers)


def test_no_pixel_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mapopt.data.memory.free_memory", lambda: 10_000)
    with pytest.raises(DataError, match="or --workers 2, which decodes images whenever they are needed"):
        read(folder, None)
    images = read(folder, 0).train
    assert isinstance(images, ImageSet)
    assert images.pixels.nbytes == 0


def trained(folder: Path, out: Path, *words: str) -> dict[str, bytes]:
    command = ["train", "--data", str(folder), "--size", *map(str, SIZE), "--images", "48", "--rounds", "3"]
    assert main([*command, "--out", str(out), *words]) == 0
    tensors = torch.load(out / "last.pt", weights_only=True)["tensors"]
    return {name: value.numpy().tobytes() for name, value in tensors.items()}


def test_runs_have_the_same_bits_however_images_are_decoded(folder: Path, tmp_path: Path) -> None:
    kept = trained(folder, tmp_path / "kept")
    assert trained(folder, tmp_path / "threads", "--workers", "2") == kept
    half = tmp_path / "half"
    trained(folder, half, "--images", "32", "--rounds", "2", "--controller", "constant", "--workers", "0")
    longer = trained(folder, half, "--controller", "constant", "--workers", "2", "--resume")
    assert longer == trained(folder, tmp_path / "whole", "--controller", "constant")
    assert "workers" not in torch.load(half / "last.pt", weights_only=True)["settings"]


def test_workers_are_a_whole_number_and_about_folders(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--data", str(folder), "--workers", "-1"]) == 2
    assert "workers is -1: expected a whole number from 0 to 256" in capsys.readouterr().err
    assert main(["train", "--workers", "2"]) == 2
    assert "--workers is given, but it says nothing about --data shapes" in capsys.readouterr().err


def test_a_copy_has_threads_of_its_own(folder: Path) -> None:
    kept, lazy = read(folder, None).train, read(folder, 2).train
    assert isinstance(lazy.pixels, PixelsOnDemand)
    lazy.pixels.expect([0, 1])
    for other in (pickle.loads(pickle.dumps(lazy)), copy.deepcopy(lazy)):
        other.pixels.expect([1, 2])
        assert torch.equal(other.pixels[:], kept.pixels[:])
