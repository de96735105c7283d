"""The `mapopt` command: what it lists, how it ends, and that asking it for help is quick."""

import importlib.util
import inspect
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from mapopt import __version__, cli
from mapopt.cli import COMMANDS, SUMMARIES, find_command, main
from mapopt.commands.command import Command
from mapopt.errors import DataError
from mapopt.fields import leaves


@dataclass(frozen=True, kw_only=True)
class Sample(Command):
    """Ends as the flag says."""

    how: str = "well"

    def run(self) -> int | None:
        """Ends."""
        if self.how == "badly":
            raise DataError("there is nothing to see: look elsewhere")
        if self.how == "interrupted":
            raise KeyboardInterrupt
        if self.how == "terminated":
            os.kill(os.getpid(), signal.SIGTERM)
        if self.how == "without memory":
            raise MemoryError("Unable to allocate 8.00 EiB for an array")
        if self.how == "without a GPU's memory":
            raise RuntimeError("CUDA out of memory. Tried to allocate 9 GiB.\nSee the documentation")
        if self.how == "with a bug":
            raise ValueError("ours")
        return 1 if self.how == "diverged" else None

    def kept(self) -> str:
        """Says what is left."""
        return "A sample is left; --resume goes on."


@pytest.fixture
def sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "sample", f"{__name__}:Sample")
    monkeypatch.setattr(cli, "find_command", lambda name: Sample if name == "sample" else find_command(name))


@pytest.mark.usefixtures("sample")
@pytest.mark.parametrize(
    ("how", "status", "said"),
    [
        ("well", 0, ""),
        ("diverged", 1, ""),
        ("badly", 2, "mapopt sample: error: there is nothing to see: look elsewhere\n"),
        ("interrupted", 130, "\nmapopt sample: interrupted. A sample is left; --resume goes on.\n"),
        ("terminated", 143, "\nmapopt sample: interrupted. A sample is left; --resume goes on.\n"),
        (
            "without memory",
            2,
            "mapopt sample: error: the memory does not suffice (Unable to allocate 8.00 EiB for an array): use "
            "fewer or smaller images, lanes or workers\n",
        ),
        (
            "without a GPU's memory",
            2,
            "mapopt sample: error: the memory does not suffice (CUDA out of memory. Tried to allocate 9 GiB.): use "
            "fewer or smaller images, lanes or workers\n",
        ),
    ],
)
def test_each_end_has_its_status_and_its_line(
    capsys: pytest.CaptureFixture[str], how: str, status: int, said: str
) -> None:
    assert main(["sample", "--how", how]) == status
    assert capsys.readouterr().err == said


@pytest.mark.usefixtures("sample")
def test_a_bug_of_ours_is_not_hidden() -> None:
    with pytest.raises(ValueError, match="ours"):
        main(["sample", "--how", "with a bug"])


@pytest.mark.usefixtures("sample")
def test_settings_are_printed_instead_of_running(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", "--how", "badly", "--print-config"]) == 0
    assert capsys.readouterr().out == "seed: 0\ndevice: auto\nhow: badly\n"


@pytest.mark.usefixtures("sample")
def test_help_of_a_command_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", "--help"]) == 0
    assert "usage: mapopt sample" in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_every_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    text = capsys.readouterr().out
    for name, summary in SUMMARIES.items():
        assert f"  {name} " in text
        assert summary in " ".join(text.split())
    assert "  completion SHELL " in text


@pytest.mark.parametrize(("columns", "expected"), [(60, 60), (100, 100), (200, 120)])
def test_the_list_is_as_wide_as_the_terminal(
    columns: int, expected: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main([]) == 0
    assert expected - 10 < max(map(len, capsys.readouterr().out.splitlines())) <= expected


@pytest.mark.parametrize("words", [["sample"], ["sample", "--seed", "3"]])
@pytest.mark.usefixtures("sample")
def test_help_with_a_command_is_the_commands_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", *words]) == 0
    text = capsys.readouterr().out
    assert main([*words, "--help"]) == 0
    assert capsys.readouterr().out == text != ""


def test_help_with_a_family_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "bench"]) == 0
    text = capsys.readouterr().out
    assert "usage: mapopt bench COMMAND" in text
    assert "  bench losses " in text
    assert "  train " not in text


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mapopt {__version__}\n"


def test_a_command_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("mapopt: error: unknown command 'trian': did you mean 'train'? Known: audit, bench, ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_keeps_the_contract(name: str) -> None:
    if importlib.util.find_spec(COMMANDS[name].partition(":")[0]) is None:
        pytest.skip(f"{COMMANDS[name]} is not there yet")
    cls = find_command(name)
    assert issubclass(cls, Command)
    assert (inspect.getdoc(cls) or "").splitlines()[0] == SUMMARIES[name], "the list and the help say the same"
    flags = {path[0] for path, _ in leaves(cls)}
    assert {"out", "seed", "device", "config", "print_config"} <= flags


def test_every_command_has_a_summary() -> None:
    assert SUMMARIES.keys() == COMMANDS.keys()


def run(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, timeout=100)


HEAVY = ("torch", "torchvision", "scipy", "numba", "matplotlib", "gymnasium", "stable_baselines3", "pandas")
"""Packages of which some take seconds to import."""


def heavy_after(*lines: list[str]) -> list[str]:
    """Returns what command lines have imported of the packages that take long."""
    code = (
        f"import sys; from mapopt.cli import main; [main(words) for words in {list(lines)}]; "
        f"print('imported', *[name for name in {HEAVY} if name in sys.modules])"
    )
    done = run("-c", code)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()[1:]


def test_the_list_and_a_wrong_command_import_little() -> None:
    assert heavy_after(["--help"], ["trian"], ["help", "bench"], ["bench", "lossess"]) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_help_and_errors_of_a_command_import_little(name: str) -> None:
    words = name.split()
    imported = heavy_after([*words, "--help"], [*words, "--sed", "1"], [*words, "--seed", "x"])
    # Whatever names a family of instances imports `mapopt.envs`, which registers with gymnasium: a sixth of a second.
    assert imported in ([], ["gymnasium"])
    assert not imported or COMMANDS[name].startswith("mapopt.agents.")


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--images", "3"],
        ["train", "--recipe.loss", "focl"],
        ["train", "--recipe.detector", "tinny"],
        ["train", "--controller", "shedule"],
        ["train", "--data", "nowhere"],
        ["train", "--device", "tpu"],
        ["train", "--resume", "--overwrite", "--out", "nowhere"],
        ["evaluate", "--checkpoint", "nowhere.pt"],
        ["evaluate", "--iou", "3"],
        ["predict", "--checkpoint", "nowhere.pt", "--images", "nowhere"],
        ["predict", "--checkpoint", "nowhere.pt", "--images", "nowhere", "--score", "2"],
    ],
    ids=" ".join,
)
def test_what_is_wrong_with_a_value_is_said_before_anything_long_is_imported(words: list[str]) -> None:
    assert heavy_after(words) == []


@pytest.mark.slow
def test_errors_of_the_installed_command_have_no_traceback() -> None:
    done = run("-m", "mapopt", "train", "--rezume")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "mapopt train: error: unknown flag '--rezume': did you mean '--resume'? `mapopt train --help` lists them.\n"
    )


@pytest.mark.slow
@pytest.mark.skipif(not Path("/bin/sh").exists(), reason="needs a shell")
def test_a_reader_that_leaves_is_no_error() -> None:
    script = f"{sys.executable} -m mapopt train --print-config | head -1"
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, timeout=100)
    assert (done.stdout, done.stderr) == ("seed: 0\n", "")


@pytest.mark.parametrize("command", [["train"], ["train-agent"], ["watch", "ppo-shapes"], ["bench", "fleet"]])
def test_a_negative_seed_is_an_error_of_one_line(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--seed", "-1"]) == 2
    assert "error: seed is -1: expected a whole number from 0 to" in capsys.readouterr().err


def test_a_knob_of_an_own_part_is_pointed_to_its_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--knobs.sharpness", "0.5"]) == 2
    expected = "the knob 'sharpness' of a part of your own is set by --knobs.own sharpness VALUE."
    assert f"unknown flag '--knobs.sharpness': {expected}" in capsys.readouterr().err
    assert main(["train", "--knobs.lrr", "0.5"]) == 2
    assert "did you mean '--knobs.lr'?" in capsys.readouterr().err
