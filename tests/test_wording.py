"""Messages speak of flags at a terminal and of arguments in Python."""

from __future__ import annotations

from pathlib import Path

import pytest

import mapopt
from mapopt.cli import main
from mapopt.errors import ConfigError, MapoptError
from mapopt.wording import at_a_terminal, in_python, speaks_python


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Choose another --out.", "Choose another out."),
        ("give --data-limit 12, or leave --bits out", "give data_limit=12, or leave bits out"),
        ("use --device cpu, or auto", "use device='cpu', or auto"),
        (
            "leave out every wrong box: --invalid drop (invalid='drop' in Python).",
            "leave out every wrong box: invalid='drop'.",
        ),
        ("--split 0.7 0.15 0.15 for train (split=(0.7, 0.15, 0.15) in Python)", "split=(0.7, 0.15, 0.15) for train"),
        ("ids: mapopt predict --truth FILE.", "ids: mapopt predict --truth FILE."),
        ("such as `mapopt train --print-config` prints", "such as `mapopt train --print-config` prints"),
        ("give --recipe.detector tiny", "give recipe.detector tiny"),
        ("--redo trains it again", "redo=True trains it again"),
        ("a dash -- and 3 -- 4", "a dash -- and 3 -- 4"),
    ],
)
def test_flags_become_arguments_and_commands_stay(message: str, expected: str) -> None:
    assert in_python(message) == expected
    assert in_python(expected) == expected, "once is enough"


def test_a_function_speaks_python_unless_a_command_called_it() -> None:
    @speaks_python
    def refuse(number: int) -> int:
        """Refuses."""
        if number:
            raise ConfigError("give --data-limit 3")
        return number

    assert refuse(0) == 0
    assert refuse.__doc__ == "Refuses."
    with pytest.raises(ConfigError, match=r"^give data_limit=3$"):
        refuse(1)
    with at_a_terminal(), pytest.raises(ConfigError, match=r"^give --data-limit 3$"):
        refuse(1)


def test_the_verbs_speak_python_and_the_commands_flags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").write_text("x")
    for call in (
        lambda: mapopt.train(images=64, rounds=2, out=tmp_path, device="cpu"),
        lambda: mapopt.compare("default", tasks=("shapes",), out=tmp_path, accept_stored=True, redo=True, device="cpu"),
    ):
        with pytest.raises(MapoptError) as refused:
            call()
        assert "--" not in str(refused.value), refused.value
        assert "=True" in str(refused.value)
    assert main(["train", "--images", "64", "--rounds", "2", "--out", str(tmp_path), "--device", "cpu"]) == 2
    assert main(["compare", "--accept-stored", "--redo", "--out", str(tmp_path), "--device", "cpu"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0].endswith("Give --resume to go on with the run in it, --overwrite to replace it, or another --out.")
    assert "--accept-stored counts what other code made and --redo" in said[1]


def test_layouts_and_none_are_values_in_python() -> None:
    assert in_python("give --layout coco, or --images none.") == "give layout='coco', or images='none'."
