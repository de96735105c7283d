"""`mapopt completion`: what bash offers after a word, without Python being started."""

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest

from mapopt.cli import COMMANDS, find_command, main
from mapopt.commands.command import Command
from mapopt.commands.completion import SHELLS, completion_script
from mapopt.errors import ConfigError

Offer = Callable[..., list[str]]


@dataclass(frozen=True, kw_only=True)
class Inner:
    loss: str = "focal"
    scope: Literal["class", "image"] | None = None
    autocast: bool = True


@dataclass(frozen=True, kw_only=True)
class First(Command):
    shape: Annotated[Literal["cosine", "steps"], "annotated"] = "cosine"
    parts: tuple[Literal["time", "mass"], ...] = ()
    inner: Inner = field(default_factory=Inner)
    out: Path = Path("runs")
    resume: bool = False


SCRIPT = completion_script("bash", {"first": First, "bench one-thing": Command, "bench other": Command})


@pytest.fixture(scope="module")
def offer(tmp_path_factory: pytest.TempPathFactory) -> Offer:
    """Returns what bash offers for the last of some words, in a folder that holds notes.txt."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    folder = tmp_path_factory.mktemp("folder")
    (folder / "notes.txt").touch()
    (folder / "completion.bash").write_text(SCRIPT)

    def ask(*words: str) -> list[str]:
        quoted = " ".join(f"'{word}'" for word in words)
        code = f"source ./completion.bash; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _mapopt; "
        code += 'printf "%s\\n" "${COMPREPLY[@]}"'
        done = subprocess.run([bash, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120)
        assert done.stderr == ""
        return done.stdout.split()

    return ask


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fi"], ["first"]),
        (["bench", ""], ["one-thing", "other"]),
        (["bench", "other", "--se"], ["--seed"]),
        (["bench", "other", "--inner"], []),
        (["help", "b"], ["bench"]),
        (["help", "bench", "ot"], ["other"]),
        (["completion", ""], ["bash", "zsh"]),
        (["first", "--inner."], ["--inner.loss", "--inner.scope", "--inner.autocast"]),
        (["first", "--shape", ""], ["cosine", "steps"]),
        (["first", "--shape", "=", "s"], ["steps"]),
        (["first", "--parts", "time", "m"], ["mass"]),
        (["first", "--inner.scope", ""], ["class", "image", "None"]),
        (["first", "--inner.autocast", "F"], ["False"]),
        (["first", "--inner.loss", "rank"], ["rank_sort"]),
        (["first", "--out", "no"], ["notes.txt"]),
        (["first", "--out", "runs", "--res"], ["--resume"]),
        (["first", "--seed", "3", "--print"], ["--print-config"]),
    ],
)
def test_a_word_is_completed(offer: Offer, words: list[str], expected: list[str]) -> None:
    assert offer("mapopt", *words) == expected


def test_the_first_word_is_a_command(offer: Offer) -> None:
    assert offer("mapopt", "") == ["first", "bench", "help", "completion", "--help", "--version"]


def test_after_a_switch_any_flag_may_follow(offer: Offer) -> None:
    offered = offer("mapopt", "first", "--resume", "")
    assert offered[:2] == ["True", "False"]
    assert "--seed" in offered


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_reads_the_script_of_all_commands(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert text == completion_script(shell, {name: find_command(name) for name in COMMANDS})
    assert '"train:--recipe.loss") words="' in text
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run([shell, "-n"], input=text, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_script_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["completion", "--help"], ["help", "completion"]):
        assert main(words) == 0
        assert "source <(mapopt completion bash)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fish"], "unknown shell 'fish'. Known: bash, zsh"),
        ([], "completion of '': expected one shell, bash or zsh"),
        (["bash", "zsh"], "completion of 'bash zsh': expected one shell, bash or zsh"),
    ],
)
def test_another_shell_is_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", *words]) == 2
    assert capsys.readouterr().err == f"mapopt completion: error: {message}\n"
    with pytest.raises(ConfigError, match="unknown shell 'sh'"):
        completion_script("sh", {})
