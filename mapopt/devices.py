"""Devices by name: checked before torch is imported, and chosen once it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mapopt.bounds import THREADS, check_whole
from mapopt.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    import torch


def check_device(name: str, *, threads: int | None = None) -> None:
    """Raises ConfigError for a device or a number of threads that no machine has; imports no torch."""
    if threads is not None:
        check_whole("threads", threads, 1, THREADS)
    kind, _, index = name.partition(":")
    if name not in ("auto", "cpu", "cuda") and (kind != "cuda" or not index.isdecimal()):
        raise ConfigError(unknown_name("device", name, ["auto", "cpu", "cuda", "cuda:0"]))


def choose_device(name: str, *, threads: int | None = None) -> torch.device:
    """Returns the device of a name.

    Args:
        name: cpu, cuda, cuda:N, or auto, which takes a GPU if there is one.
        threads: how many threads of the CPU torch may use from now on; None leaves that as it is.

    Raises:
        ConfigError: there is no such device, or not on this machine, or no thread is left to work.
    """
    check_device(name, threads=threads)
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    index = name.partition(":")[2]
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError(f"device is '{name}', but torch finds no GPU here: use --device cpu, or auto")
    count = torch.cuda.device_count()
    if index and int(index) >= count:
        raise ConfigError(f"device is '{name}', but there are {count} GPUs: expected cuda:0 to cuda:{count - 1}")
    return torch.device(name)
