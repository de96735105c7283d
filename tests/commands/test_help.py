"""Help: every flag with its default, at the width of the terminal, in bold on one, and with examples that work."""

import io
import re
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
import tyro

from mapopt.cli import COMMANDS, find_command, main
from mapopt.commands.command import Command
from mapopt.commands.help import sections
from mapopt.commands.parsing import parse
from mapopt.fields import NOT_A_SETTING
from mapopt.settings import from_mapping
from mapopt.training.controllers.registry import CONTROLLERS


@dataclass(frozen=True, kw_only=True)
class Inner:
    batch_size: int = 16
    autocast: bool = True
    balance: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Sample(Command):
    """Does nothing, and says that it does.

    A second paragraph says at some length what it does, so that it has to be wrapped into several lines wherever the
    terminal is not wider than the line of code that it stands in.
    """

    examples: ClassVar[tuple[str, ...]] = ("mapopt sample --checkpoint a.pt", "mapopt sample --resume")

    checkpoint: Path
    """What to read."""
    inner: Inner = field(default_factory=Inner)
    resume: bool = field(default=False, metadata=NOT_A_SETTING)
    """Goes on."""


def print_help(cls: type[Command], *words: str) -> None:
    with pytest.raises(SystemExit) as end:
        parse(cls, ["--help", *words], prog="mapopt sample")
    assert end.value.code == 0


def test_every_flag_is_there_with_its_default_from_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text("seed: 77\n")
    print_help(Sample, "--config", str(tmp_path / "c.yaml"))
    text = capsys.readouterr().out
    for part in ("Does nothing, and says that it does.", "What to read.", "77"):
        assert part in text
    for flag in ("--device", "--config", "--print-config", "--inner.batch-size", "--resume"):
        assert flag in text


def test_a_switch_has_no_twin_and_shows_values_where_it_may_be_turned_off(capsys: pytest.CaptureFixture[str]) -> None:
    print_help(Sample)
    text = capsys.readouterr().out
    assert "--no-" not in text
    assert not re.search(r"--resume (True|\{)", text)
    assert "--inner.autocast True|False" in text
    assert "--inner.balance True|False|None" in text


@dataclass(frozen=True, kw_only=True)
class Values(Command):
    """Has flags of every kind."""

    number: float = 0.5
    """A number.

    Reference: a paper that a terminal has no need of.
    """
    pair: tuple[int, int] = (3, 4)
    some: tuple[Literal["a", "b"], ...] = ("a",)
    several: tuple[Path, ...] = ()
    table: dict[str, float] = field(default_factory=lambda: {"x": 1.0, "y": 2.0})
    named: Annotated[str | None, tyro.conf.arg(metavar="FILE|NAME")] = None
    said: int = field(default=1, metadata={"help": "What the field itself says."})


def test_a_flag_shows_what_may_follow_it_and_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    print_help(Values)
    text = " ".join(capsys.readouterr().out.split())
    assert "--number FLOAT A number. (default: 0.5) --pair INT INT (default: 3 4)" in text
    assert "--some a|b ... (default: a) --several PATH ... --table NAME VALUE ... (default: x 1.0 y 2.0)" in text
    assert "--named FILE|NAME --said INT What the field itself says. (default: 1)" in text


def test_what_has_to_be_given_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    print_help(Sample)
    assert "--checkpoint PATH What to read. (required)" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("columns", [50, 80, 100, 140, 200])
def test_help_is_as_wide_as_the_terminal_and_no_wider_than_reads_well(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    print_help(Sample)
    widest = max(map(len, capsys.readouterr().out.splitlines()))
    assert min(columns, 120) - 15 < widest <= min(columns, 120)


def test_examples_end_the_help_and_a_command_without_any_says_nothing_of_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_help(Sample)
    assert capsys.readouterr().out.endswith(
        "\n\nexamples:\n  mapopt sample --checkpoint a.pt\n  mapopt sample --resume\n"
    )
    print_help(Command)
    assert "examples" not in capsys.readouterr().out


class Terminal(io.StringIO):
    """Says of itself that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_bold_flags_unless_it_wants_none(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = []
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for plain in (False, True):
        if plain:
            monkeypatch.setenv("NO_COLOR", "1")
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        print_help(Sample)
        texts.append(terminal.getvalue())
    assert "\x1b[" in texts[0]
    assert "\x1b[" not in texts[1]
    assert re.sub(r"\x1b\[[0-9;]*m", "", texts[0]) == texts[1], "they are the only difference"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples_that_parse_and_fit_a_terminal(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = find_command(name).examples
    assert len(examples) >= 2
    for line in examples:
        assert line.startswith(f"mapopt {name} ")
        assert len(line) <= 100
        status = main([*shlex.split(line)[1:], "--print-config"])
        assert status == 0, f"{line}\n{capsys.readouterr().err}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_of_every_command_is_explained(name: str) -> None:
    command = from_mapping(find_command(name), {}, name, missing=tyro.MISSING)
    silent = [flag for _, flags in sections(command) for flag, text in flags if not text.partition("(default")[0]]
    assert not silent


def test_the_help_of_train_names_every_controller(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    said = printed[printed.index("What decides the knobs of every round") : printed.index("--controller-settings")]
    assert not [name for name in CONTROLLERS if name not in said]
