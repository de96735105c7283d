"""The `mapopt` command: finds the command that was asked for, reads its flags, runs it, and turns errors into a line.

What takes time to import is imported when it is needed, so that help and errors are quick.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from mapopt import __version__
from mapopt.bounds import check_seed
from mapopt.commands.command import Command
from mapopt.commands.registry import COMMANDS, SUMMARIES, find_command
from mapopt.errors import ConfigError, MapoptError, out_of_memory
from mapopt.paths import shown_path
from mapopt.processes import Interrupted, signals_interrupt, speaks
from mapopt.waiting import Waiting
from mapopt.wording import at_a_terminal


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line.

    Args:
        argv: the words after ``mapopt``; by default those that the program was called with.

    Returns:
        The exit status: 0 done, 1 a run that diverged or a reader that left, 2 an error of the user's, 130 interrupted
        by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of files need not be UTF-8, and printing one is no reason to fail.
        sys.stdout.reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if argv is None else argv)
    call = _Call("mapopt")
    return _guarded(call, lambda: _main(words, call))


def run_command(command: Command, prog: str) -> int:
    """Runs a command in one of several processes; returns its exit status."""
    return _guarded(_Call(prog, command), lambda: _run(command, prog))


@dataclass
class _Call:
    """What is called, for messages."""

    prog: str
    command: Command | None = None


def _main(arguments: list[str], call: _Call) -> int:
    if arguments[:1] == ["help"] and len(arguments) > 1:
        arguments = [*arguments[1:], "--help"]
    name, rest = arguments[0] if arguments else "help", arguments[1:]
    family = any(known.startswith(f"{name} ") for known in COMMANDS)
    call.prog = f"mapopt {name}" if family or name == "completion" else "mapopt"
    if name in ("-h", "--help", "help"):
        return _say(overview())
    if name == "--version":
        return _say(f"mapopt {__version__}")
    if family and (not rest or rest[0] in ("-h", "--help", "help")):
        return _say(overview(name))
    if name == "completion":
        return _print_completion(rest)
    if family:
        name, rest = f"{name} {rest[0]}", rest[1:]
    cls = find_command(name)
    call.prog = f"mapopt {name}"
    from mapopt.commands.parsing import parse
    from mapopt.settings import to_yaml

    call.command = command = parse(cls, rest, prog=call.prog)
    if command.print_config:
        print(to_yaml(command.settings()), end="", flush=True)
        return 0
    if (count := command.processes_to_start()) > 1:
        from mapopt.training.launching import launch

        return launch(count, partial(run_command, command, call.prog))
    return _run(command, call.prog)


def _run(command: Command, prog: str) -> int:
    check_seed(command.seed)
    # A command whose output is piped shows that it works; what it has to say itself goes before.
    quiet = sys.stdout.isatty() or not speaks()
    with at_a_terminal(), Waiting(prog, stream=sys.stderr, announce=False, quiet=quiet):
        status = command.run() or 0
    # What is still to be written fails here, where it is expected, and not while Python exits.
    sys.stdout.flush()
    return status


def _guarded(call: _Call, work: Callable[[], int]) -> int:
    """Does a piece of work, and turns what can go wrong into a line; returns the exit status."""
    with signals_interrupt():
        try:
            return _in_a_line(call, work)
        finally:
            _end_output()


def _in_a_line(call: _Call, work: Callable[[], int]) -> int:
    try:
        return work()
    except MapoptError as error:
        return _complain(call.prog, str(error))
    except KeyboardInterrupt as end:
        kept = call.command.kept() if call.command else "Nothing was kept."
        # A terminal that was closed takes no line.
        with suppress(OSError):
            if speaks():
                print(f"\n{call.prog}: interrupted. {kept}", file=sys.stderr)
        return end.status if isinstance(end, Interrupted) else 130
    except BrokenPipeError:
        # Whoever read our output, such as `head`, has had enough.
        return 1
    except OSError as error:
        return _complain(call.prog, _failed(error))
    except (MemoryError, RuntimeError) as error:
        said = out_of_memory(error)
        if not said:
            raise
        return _complain(call.prog, said)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0


def _say(text: str) -> int:
    """Prints what was asked for; returns the exit status."""
    print(text, flush=True)
    return 0


def _complain(prog: str, error: str) -> int:
    """Prints an error as one line; returns the exit status."""
    # Where the line cannot be written either, the status says it.
    with suppress(OSError):
        if speaks():
            print(f"{prog}: error: {' '.join(error.split())}", file=sys.stderr)
    return 2


def _failed(error: OSError) -> str:
    """Says what the operating system refused."""
    reason = error.strerror or type(error).__name__
    advice = "Make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Check it"
    if error.filename is None:
        return f"the output cannot be written ({reason}). {advice}, or send it elsewhere."
    return f"{shown_path(os.fsdecode(error.filename))}: cannot be used ({reason}). {advice}, or give another path."


def _end_output() -> None:
    """Writes what is still to be written, or drops it: what Python would flush at exit has nowhere to go."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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


if __name__ == "__main__":
    sys.exit(main())
