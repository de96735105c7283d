"""The `mapopt` command: finds the command that was asked for, reads its flags, runs it, and turns errors into a line.

Commands are named as text and imported when they are asked for, so that help is quick and this file, at the bottom of
the package, may name commands that live above it.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mapopt import __version__
from mapopt.errors import ConfigError, MapoptError, unknown_name

if TYPE_CHECKING:
    from mapopt.commands.command import Command

COMMANDS: dict[str, str] = {
    "train": "mapopt.commands.train:Train",
    "evaluate": "mapopt.commands.evaluate:Evaluate",
    "predict": "mapopt.commands.predict:Predict",
    "train-agent": "mapopt.agents.commands.train_agent:TrainAgent",
    "watch": "mapopt.agents.commands.watch:Watch",
    "compare": "mapopt.experiments.commands.compare:Compare",
    "plot": "mapopt.experiments.commands.compare:Plot",
    "bench losses": "mapopt.experiments.commands.bench:BenchLosses",
    "bench ap": "mapopt.experiments.commands.bench:BenchAP",
    "bench fleet": "mapopt.experiments.commands.bench:BenchFleet",
    "bench env": "mapopt.experiments.commands.bench:BenchEnv",
}
"""Where each command is; the first of two words names a family."""

SUMMARIES: dict[str, str] = {
    "train": "Train a detector, selected by its AP on the val split and tested once at the end.",
    "evaluate": "Measure a trained detector, or a file of results, as COCO does, and say why it is not better.",
    "predict": "Find objects in images, and draw them.",
    "train-agent": "Train an agent with PPO on detector training; it is stored as weights and JSON, and resumable.",
    "watch": "Play an episode of an agent, print a line per round, and write it as a film (GIF or MP4).",
    "compare": (
        "Train every method on every task with every seed at equal budget, test once, and report with intervals."
    ),
    "plot": "Draw a comparison's table, summary.json and figures again from its store, without training.",
    "bench losses": "Measure what ranking losses cost and how well they stand for AP.",
    "bench ap": "Measure time and memory of AP beside pycocotools and the packages that others offer for it.",
    "bench fleet": "Measure training many lanes as one network, and where the time of a round goes.",
    "bench env": "Measure environment steps a second by lanes and image size, and where the time of a step goes.",
}
"""What each command does, for the list of all; written here because reading it there would import everything."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line.

    Args:
        argv: the words after ``mapopt``; by default those that the program was called with.

    Returns:
        The exit status: 0 done, 1 a run that diverged or a reader that left, 2 an error of the user's, 130 interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["help"] and len(arguments) > 1:
        arguments = [*arguments[1:], "--help"]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if arguments[0] == "--version":
        print(f"mapopt {__version__}")
        return 0
    name, rest = arguments[0], arguments[1:]
    family = any(known.startswith(f"{name} ") for known in COMMANDS)
    if family and (not rest or rest[0] in ("-h", "--help", "help")):
        print(overview(name))
        return 0
    prog, command = f"mapopt {name}" if family or name == "completion" else "mapopt", None
    try:
        if name == "completion":
            return _print_completion(rest)
        if family:
            name, rest = f"{name} {rest[0]}", rest[1:]
        cls = find_command(name)
        prog = f"mapopt {name}"
        from mapopt.commands.parsing import parse
        from mapopt.settings import to_yaml

        command = parse(cls, rest, prog=prog)
        if command.print_config:
            print(to_yaml(command.settings()), end="", flush=True)
            return 0
        status = command.run() or 0
        # What is still to be written fails here, where it is expected, and not while Python exits.
        sys.stdout.flush()
        return status
    except MapoptError as error:
        print(f"{prog}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\n{prog}: interrupted. {command.kept() if command else 'Nothing was kept.'}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output, such as `head`, has had enough; what Python would flush at exit has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0


def overview(family: str = "") -> str:
    """Returns the list of the commands at the terminal's width: all of them, or those of a family."""
    rows = {name: text for name, text in SUMMARIES.items() if name.startswith(f"{family} " if family else "")}
    if not family:
        rows |= _WITHOUT_FLAGS
    word = f"{family} COMMAND" if family else "COMMAND"
    about = "Optimize detection mAP directly: ranking surrogates, reinforcement learning, and a baseline."
    more = (
        f"`mapopt {word} --help` lists a command's flags. Every command has --out, --seed, --device, --config "
        "FILE.yaml (flags written down) and --print-config (which prints such a file)."
    )
    columns, first = min(shutil.get_terminal_size().columns, 120), max(map(len, rows)) + 4
    lines = [
        textwrap.fill(f"  {name:{first - 2}}{text}", columns, subsequent_indent=" " * first)
        for name, text in rows.items()
    ]
    paragraphs = [f"usage: mapopt {word} [--flag value ...]"]
    paragraphs += [] if family else [textwrap.fill(about, columns)]
    paragraphs += ["\n".join(["commands:", *lines]), textwrap.fill(more, columns)]
    return "\n\n".join(paragraphs)


_WITHOUT_FLAGS = {
    "help COMMAND": "Say what a command does, and list its flags.",
    "completion SHELL": "Print a script that completes commands and flags, for bash or zsh.",
}
"""Words that may stand for a command in the list of all."""


def _print_completion(words: Sequence[str]) -> int:
    """Prints the script of a shell; Tab then needs no Python."""
    from mapopt.commands.completion import SHELLS, completion_script

    if "--help" in words or "-h" in words:
        print(f"usage: mapopt completion {'|'.join(SHELLS)}\n\nFor this shell: source <(mapopt completion bash)")
        return 0
    if len(words) != 1:
        raise ConfigError(f"completion of '{' '.join(words)}': expected one shell, {' or '.join(SHELLS)}")
    print(completion_script(words[0], {name: find_command(name) for name in COMMANDS}), end="", flush=True)
    return 0


def find_command(name: str) -> type[Command]:
    """Imports a command.

    Raises:
        ConfigError: there is none of this name.
    """
    if name not in COMMANDS:
        first, _, second = name.rpartition(" ")
        # What could have been said in its place: the others of the family, or the first words of all.
        known = {other.removeprefix(f"{first} ").partition(" ")[0] for other in COMMANDS if other.startswith(first)}
        raise ConfigError(unknown_name("command", second, known))
    module, _, attribute = COMMANDS[name].partition(":")
    command: type[Command] = getattr(importlib.import_module(module), attribute)
    return command
