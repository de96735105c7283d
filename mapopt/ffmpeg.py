"""Runs ffmpeg, which reads and writes videos, with pipes to it and from it.

The program is that of the package imageio-ffmpeg. Its own functions for frames say nothing of a video that breaks off
and of an encoder that fails at its end, so only the program is taken from it.
"""

from __future__ import annotations

import importlib
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from tempfile import TemporaryFile
from typing import IO, cast


def find_ffmpeg() -> str:
    """Returns the path of the program; empty where the extra `video` is not installed."""
    try:
        return str(importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        return ""


class Running:
    """The program while it runs.

    Attributes:
        input: the pipe that it reads.
        output: the pipe that it writes.
    """

    def __init__(self, process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
        self._process, self._said = process, said
        self.input, self.output = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)

    def finish(self) -> int:
        """Ends its input, waits for its end, and returns its exit status."""
        with suppress(OSError):
            self.input.close()
        return self._process.wait()

    def complaint(self) -> str:
        """Returns the first error that it has printed so far, without the part of ffmpeg that says it; or nothing."""
        self._said.seek(0)
        line = self._said.readline(1000).decode(errors="replace").strip()
        return re.sub(r"^(\[[^\]]*\] *)+", "", line)


@contextmanager
def running(arguments: Sequence[str]) -> Iterator[Running]:
    """Runs the program in the meantime; however the block is left, the program has ended then.

    Args:
        arguments: its own, without those that concern what it prints.
    """
    with TemporaryFile() as said:
        process = subprocess.Popen(
            [find_ffmpeg(), "-hide_banner", "-nostdin", "-v", "error", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            # A group of its own: Ctrl-C is for Python alone, which then ends the program.
            process_group=0,
        )
        try:
            yield Running(process, said)
        finally:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                # What was not written yet is of no use to a program that has ended.
                with suppress(OSError):
                    cast(IO[bytes], pipe).close()
            process.wait()
