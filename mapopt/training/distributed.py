"""The processes of a run: how they find each other, and how all of them end where one does.

torchrun, or ``mapopt train --processes``, says in the environment which process this is and of how many. Without that
there is one, and nothing of torch's process groups is imported.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from mapopt.devices import choose_device
from mapopt.errors import ConfigError, DataError, MapoptError, ProcessLost, TimeUp
from mapopt.processes import announced

if TYPE_CHECKING:
    import torch

    from mapopt.collectives import Processes
    from mapopt.training.controllers.base import Controller

_WAIT = timedelta(hours=1)
"""How long processes wait for each other: the first one alone writes files, and says why an AP is near 0."""

_FAILED = "mapopt failed"


def check_processes(device: str, batch_size: int, count: int = 0) -> None:
    """Finds what is wrong with settings for several processes before torch is imported.

    Args:
        device: by name.
        batch_size: of the recipe.
        count: how many processes; by default as many as have been started.

    Raises:
        ConfigError: the processes cannot share a step, or would share a GPU.
    """
    count = count or announced()[1]
    if count == 1:
        return
    if batch_size % count:
        from mapopt.training.steps import check_shared  # which needs torch, and says it

        check_shared([batch_size], batch_size, count)
    if device.startswith("cuda:"):
        raise ConfigError(
            f"device is '{device}' with {count} processes, each of which takes a GPU of its own: expected cuda or cpu"
        )


def check_controller(controller: Controller, processes: Processes) -> None:
    """Raises ConfigError for a controller that tries lanes, where several processes share one."""
    inner = getattr(controller, "controller", controller)
    if processes.several and callable(getattr(inner, "plan", None)):
        raise ConfigError(
            f"{type(inner).__name__} tries what it decides on lanes of its own, which {processes.count} processes do "
            "not share: expected another controller, or a single process"
        )


def check_images(fingerprints: Mapping[str, str], processes: Processes) -> None:
    """Raises DataError unless all processes have the same images."""
    every = processes.each(dict(fingerprints))
    for index, own in enumerate(every):
        if own != every[0]:
            raise DataError(
                f"process {index} of {processes.count} has other images than the first: give all of them the same "
                "--data"
            )


def device_of(name: str, *, threads: int | None = None) -> torch.device:
    """Returns the device of this process; of several each has the GPU of its number on its machine.

    Raises:
        ConfigError: there is no such device.
    """
    device, count = choose_device(name, threads=threads), announced()[1]
    if count > 1 and device.type == "cuda":
        import torch

        device = choose_device(f"cuda:{os.environ.get('LOCAL_RANK', announced()[0])}", threads=threads)
        torch.cuda.set_device(device)
    return device


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """Joins this process with those that were started with it; a single one stays alone.

    Where one of them fails, the others do, too, and the first one says why.

    Raises:
        ConfigError: they do not find each other.
        ProcessLost: another one has ended.
    """
    from mapopt.collectives import ALONE, Processes

    index, count = announced()
    if count == 1:
        yield ALONE
        return
    from torch import distributed

    if distributed.is_initialized():
        yield Processes(distributed.get_rank(), distributed.get_world_size())
        return
    store = _meet(device)
    try:
        yield Processes(index, count)
    except ProcessLost as lost:
        raise (ProcessLost(_reason(store, count)) if index == 0 else lost) from None
    except Exception as error:
        if index and not isinstance(error, TimeUp):
            kind = "" if isinstance(error, MapoptError) else f"{type(error).__name__}: "
            with suppress(RuntimeError):
                store.set(_FAILED, f"process {index} of {count}: {kind}{error}")
        raise
    finally:
        distributed.destroy_process_group()


def _meet(device: torch.device) -> Any:
    """Lets the processes find each other; returns the store that they share."""
    from torch import distributed
    from torch.distributed.rendezvous import rendezvous

    try:
        store, index, count = next(rendezvous("env://", timeout=_WAIT))
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(backend, store=store, rank=index, world_size=count, timeout=_WAIT)
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise ConfigError(
            f"{announced()[1]} processes did not find each other at {where} ({' '.join(str(error).split())[:160]}): "
            "start all of them, by torchrun or --processes"
        ) from None
    return store


def _reason(store: Any, count: int) -> str:
    """Returns why another process has ended, if it has said so."""
    with suppress(RuntimeError):
        store.wait([_FAILED], timedelta(seconds=2))
        return str(store.get(_FAILED).decode())
    return f"one of the {count} processes has ended without a word: what it said last stands above"
