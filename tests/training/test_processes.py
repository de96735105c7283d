"""Several processes that share every step train what one process trains, and end together."""

from __future__ import annotations

import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mapopt.collectives import ALONE, Processes
from mapopt.data import ShapesConfig, make_shapes_splits
from mapopt.errors import ConfigError, DataError, MapoptError
from mapopt.processes import announced
from mapopt.training import Fleet, Knobs, Recipe, Task, Trainer, make_controller
from mapopt.training.distributed import check_controller, check_images, check_processes

SCRIPT = Path(__file__).with_name("shared_steps.py")
MODULE = runpy.run_path(str(SCRIPT), run_name="shared_steps")

FAST = ["tiny", "tiny, part of a batch, memory", "tiny, balance"]
SLOW = [name for name in MODULE["CASES"] if name not in FAST]


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def play_together(names: list[str], folder: Path, *, count: int = 2) -> dict[str, list[dict[str, Any]]]:
    """Plays cases in several processes; returns what came of each of them in every process."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(count)}
    workers = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder), *names],
            env={**os.environ, "OMP_NUM_THREADS": "1", **shared, "RANK": str(index)},
            stderr=subprocess.PIPE,
        )
        for index in range(count)
    ]
    said = [worker.communicate(timeout=1800)[1].decode() for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * count, said
    return {
        name: [torch.load(folder / f"{name} {index}.pt", weights_only=False) for index in range(count)]
        for name in names
    }


@pytest.fixture(autouse=True)
def _own_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets cases name detectors of the script's."""
    monkeypatch.syspath_prepend(SCRIPT.parent)


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    return play_together(FAST, tmp_path_factory.mktemp("fast"))


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    return play_together(SLOW, tmp_path_factory.mktemp("slow"))


def check_alike(alone: dict[str, Any], together: list[dict[str, Any]]) -> None:
    first, second = together
    for name, tensor in alone["tensors"].items():
        assert torch.equal(first["tensors"][name], second["tensors"][name]), f"{name} differs between processes"
        if name.startswith(("weights", "buffer.")):
            torch.testing.assert_close(first["tensors"][name], tensor, rtol=1e-4, atol=1e-5, msg=name)
    assert (first["tensors"]["weights"] - alone["tensors"]["weights"]).abs().max() < 1e-5
    assert first["first"] == second["first"] == alone["first"], "the same weights have the same AP"
    for report in ("interval", "scores"):
        for name, value in alone[report].items():
            numbers = {name: value} if isinstance(value, int | float) else value if isinstance(value, dict) else {}
            others = {name: first[report][name]} if isinstance(value, int | float) else first[report][name]
            for key, number in numbers.items():
                assert others[key] == pytest.approx(number, rel=1e-3, abs=1e-4), f"{report}: {name} {key}"
    assert first["scores"] == second["scores"]
    assert first["images"].tolist() == sorted(first["images"].tolist())


@pytest.mark.parametrize("name", FAST)
def test_two_processes_train_what_one_does(name: str, fast: dict[str, list[dict[str, Any]]]) -> None:
    check_alike(MODULE["play"](MODULE["CASES"][name]), fast[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_two_processes_train_what_one_does_with_every_loss(name: str, slow: dict[str, list[dict[str, Any]]]) -> None:
    check_alike(MODULE["play"](MODULE["CASES"][name]), slow[name])


def test_a_single_process_returns_what_it_is_given() -> None:
    tensor, table = torch.ones(3, 2), {"class": torch.ones(1)}
    for same in (ALONE.average(tensor), ALONE.join(tensor), ALONE.join_rows(tensor), ALONE.total(tensor)):
        assert same is tensor
    assert ALONE.averages(table)[0] is table
    assert ALONE.join_lists([tensor])[0] is tensor
    assert (ALONE.agree(3), ALONE.each(3), ALONE.anywhere(False)) == (3, [3], False)
    assert ALONE.spent(1.0, 2.0) == (1.0, 2.0)
    assert ALONE.part(range(7)) == range(7)


@pytest.mark.parametrize(("length", "count"), [(7, 3), (2, 4), (0, 2), (6, 2)])
def test_the_parts_of_all_processes_are_the_whole(length: int, count: int) -> None:
    parts = [item for index in range(count) for item in Processes(index, count).part(range(length))]
    assert parts == list(range(length))


def small_task(**fields: Any) -> Task:
    splits = make_shapes_splits(ShapesConfig(size=32), seed=0, train=8, val=4, test=4)
    return Task(name="small", splits=splits, recipe=Recipe(**{"batch_size": 8, **fields}))


def test_lanes_are_not_shared_among_processes() -> None:
    with pytest.raises(ConfigError, match="2 lanes with 2 processes: expected one lane, whose steps they share, or"):
        Fleet(small_task(), [0, 1], processes=Processes(0, 2))


def test_every_process_needs_as_many_images_of_a_step() -> None:
    with pytest.raises(
        ConfigError, match="batch_size is 8 with 3 processes: expected a multiple of them, such as 6 or 9"
    ):
        Trainer(small_task(), processes=Processes(0, 3))
    trainer = Trainer(small_task(), processes=Processes(0, 8))
    trainer.set_knobs(Knobs(batch_fraction=0.5))
    with pytest.raises(ConfigError, match="batch_size is 8 and steps have 4 images with 8 processes: expected a multi"):
        trainer.train(8)


def test_settings_are_held_to_the_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    check_processes("cuda:1", 7)
    with pytest.raises(ConfigError, match="batch_size is 7 with 2 processes"):
        check_processes("cpu", 7, 2)
    with pytest.raises(ConfigError, match="device is 'cuda:1' with 2 processes, each of which takes a GPU of its own"):
        check_processes("cuda:1", 8, 2)


def test_the_environment_says_which_process_this_is() -> None:
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    assert announced({"RANK": "3", "WORLD_SIZE": "4"}) == (0, 1), "nobody could be found"
    for index, count in (("4", "4"), ("-1", "4"), ("x", "4")):
        with pytest.raises(
            ConfigError, match=f"RANK is '{index}' and WORLD_SIZE '4' in the environment: expected whole"
        ):
            announced({"RANK": index, "WORLD_SIZE": count, **where})


def test_a_controller_that_tries_lanes_wants_a_single_process() -> None:
    controller = make_controller("best_of_n", {}, patience=2)
    check_controller(controller, ALONE)
    with pytest.raises(
        ConfigError, match="BestOfN tries what it decides on lanes of its own, which 2 processes do not"
    ):
        check_controller(controller, Processes(0, 2))
    check_controller(make_controller("constant", {}), Processes(0, 2))


def test_all_processes_need_the_same_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Processes, "each", lambda self, value: [value, {"train": "other"}])
    with pytest.raises(
        DataError, match="process 1 of 2 has other images than the first: give all of them the same --d"
    ):
        check_images({"train": "one"}, Processes(0, 2))


def test_a_process_that_finds_nobody_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from mapopt.training import distributed

    variables = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(distributed, "_WAIT", distributed.timedelta(seconds=1))
    with (
        pytest.raises(MapoptError, match=r"2 processes did not find each other at 127\.0\.0\.1:"),
        distributed.joined(torch.device("cpu")),
    ):
        raise AssertionError
