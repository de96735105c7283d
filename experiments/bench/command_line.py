"""How long a command takes to print its help and to refuse a mistyped flag: processor time of a process of its own."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from mapopt.commands.registry import COMMANDS
from mapopt.errors import MapoptError
from mapopt.evaluation.text_tables import new_table, print_table
from mapopt.experiments.bench.expected import command_line_seconds
from mapopt.experiments.bench.settings import CommandLineSettings
from mapopt.waiting import Waiting

MISTYPED = "--sed"
"""A flag that no command has; every command has --seed."""


@dataclass(frozen=True, kw_only=True)
class AnswerCost:
    """What the answers of one command cost, in seconds of a processor."""

    command: str
    help: float
    mistyped: float


def bench_command_line(settings: CommandLineSettings) -> tuple[AnswerCost, ...]:
    """Times the answers of commands, and prints them.

    Args:
        settings: which commands.

    Raises:
        MapoptError: a command ends otherwise than it should.
    """
    names, costs = list(settings.commands or COMMANDS), []
    expected = command_line_seconds(settings) * len(names)
    with Waiting("bench cli", total=len(names), unit="commands", expected=expected, stream=sys.stderr) as work:
        for name in names:
            costs.append(
                AnswerCost(
                    command=name,
                    help=_fastest([*name.split(), "--help"], settings.repeats, status=0),
                    mistyped=_fastest([*name.split(), MISTYPED, "1"], settings.repeats, status=2),
                )
            )
            work.advance(len(costs), said=False)
    print_table(_table(costs), Console(width=None if sys.stdout.isatty() else 150))
    return tuple(costs)


def processor_seconds(words: Sequence[str], *, status: int) -> float:
    """Returns the time that `mapopt` with these words takes from its start to its end, on all processors together.

    Raises:
        MapoptError: it ends with another status.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "mapopt", *words], capture_output=True, text=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != status:
        raise MapoptError(
            f"`mapopt {' '.join(words)}` ended with status {done.returncode}, not {status}: "
            f"{(done.stderr.strip().splitlines() or ['it printed nothing'])[-1]}"
        )
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


def _fastest(words: Sequence[str], repeats: int, *, status: int) -> float:
    return min(processor_seconds(words, status=status) for _ in range(repeats))


def _table(costs: Sequence[AnswerCost]) -> Table:
    table = new_table("processor seconds of an answer", caption="fastest of several processes")
    table.add_column("command")
    table.add_column("--help", justify="right")
    table.add_column("a mistyped flag", justify="right")
    for cost in costs:
        table.add_row(cost.command, f"{cost.help:.2f}", f"{cost.mistyped:.2f}")
    return table
