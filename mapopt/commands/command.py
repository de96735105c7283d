"""What every command has: its common flags, and what to say when it is interrupted.

A command's fields are read from flags or from a file, so checks of one field against another belong in `run`, which
makes them all before it writes anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from mapopt.fields import NOT_A_SETTING


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

    def processes_to_start(self) -> int:
        """Returns in how many processes that work together it is to be run; 1 is this one."""
        return 1

    def kept(self) -> str:
        """Says what an interrupted command leaves behind, and how to go on."""
        return "Nothing was kept."
