"""What every command has: its common flags, a device, and what to say when it is interrupted.

A command's fields are read from flags or from a file, so checks of one field against another belong in `run`, which
makes them all before it writes anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from mapopt.errors import ConfigError, unknown_name
from mapopt.settings import NOT_A_SETTING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Command:
    """The flags that every command has; a subclass adds its own, `out` among them."""

    seed: int = 0
    """Every random choice of the command follows from it."""
    device: str = "auto"
    """cpu, cuda, cuda:N, or auto, which takes a GPU if there is one."""
    config: Path | None = field(default=None, metadata=NOT_A_SETTING)
    """YAML file with flags written down, nested where flags have points; flags given beside it win."""
    print_config: bool = field(default=False, metadata=NOT_A_SETTING)
    """Print the settings as such a file, and do nothing else."""

    config_holds_flags: ClassVar[bool] = True
    """Whether ``--config`` is a file of flags; a command whose ``--config`` is something else reads it itself."""

    positional: ClassVar[str] = ""
    """The flag that a first word without a flag is the value of; empty where there is none."""

    examples: ClassVar[tuple[str, ...]] = ()
    """Command lines that the help ends with."""

    def settings(self) -> object:
        """Returns what ``--print-config`` prints: the flags, or what a command reads from elsewhere."""
        return self

    def run(self) -> int | None:
        """Does the work; returns the exit status, None being 0."""
        raise NotImplementedError

    def kept(self) -> str:
        """Says what an interrupted command leaves behind, and how to go on."""
        return "Nothing was kept."


def check_device(name: str, *, threads: int | None = None) -> None:
    """Raises ConfigError for a device or a number of threads that no machine has; imports no torch."""
    if threads is not None and threads < 1:
        raise ConfigError(f"threads is {threads}: expected 1 or more")
    kind, _, index = name.partition(":")
    if name not in ("auto", "cpu", "cuda") and (kind != "cuda" or not index.isdecimal()):
        raise ConfigError(unknown_name("device", name, ["auto", "cpu", "cuda", "cuda:0"]))


def choose_device(name: str, *, threads: int | None = None) -> torch.device:
    """Returns the device that a flag names.

    Args:
        name: the flag's value.
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
