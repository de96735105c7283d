"""Devices by name: checked before torch is imported, and chosen once it is."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mapopt.bounds import THREADS, check_whole
from mapopt.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    import torch


def check_device(name: str, *, threads: int | None = None) -> None:
    """Checks what can be known without torch.

    Whether there is a GPU cannot: files of devices and CUDA_VISIBLE_DEVICES prove nothing, and the driver is looked for
    in more places than this process knows. What can be is that torch was built without any GPU in mind.

    Raises:
        ConfigError: no machine has such a device or so many threads, or this torch can use no GPU.
    """
    if threads is not None:
        check_whole("threads", threads, 1, THREADS)
    kind, _, index = name.partition(":")
    if name not in ("auto", "cpu", "cuda") and (kind != "cuda" or not index.isdecimal()):
        raise ConfigError(unknown_name("device", name, ["auto", "cpu", "cuda", "cuda:0"]))
    if kind == "cuda" and _is_built_for_cpus():
        raise ConfigError(
            f"device is '{name}', but the torch that is installed here is built for CPUs alone: use --device cpu, or "
            "install a torch with CUDA"
        )


def _is_built_for_cpus() -> bool:
    """Says whether torch's own file on how it was built names neither CUDA nor ROCm; False where nothing is said."""
    try:
        spec = importlib.util.find_spec("torch")  # finds it, and imports nothing
        text = (Path(spec.origin).parent / "version.py").read_text() if spec and spec.origin else ""
    except (OSError, ValueError):
        return False
    said = dict(re.findall(r"^(cuda|hip)\b[^=\n]*=\s*(\S+)", text, re.MULTILINE))
    return set(said) == {"cuda", "hip"} and set(said.values()) == {"None"}


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
