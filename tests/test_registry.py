"""Names, objects and texts stand for parts, and every mistake is one line."""

from __future__ import annotations

import re
import subprocess
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import pytest

from mapopt.errors import ConfigError, unknown_name
from mapopt.registry import Choice, Registry, load, text_of


@dataclass(frozen=True)
class Ball:
    size: int = 1


def make_cube(edge: float) -> tuple[str, float]:
    return "cube", edge


SOLIDS: Registry = Registry(
    "solid",
    {"ball": Ball, "cube": make_cube},
    check=lambda part: "" if callable(part) or isinstance(part, Ball) else "is not callable",
)


def test_a_name_an_object_and_a_text_find_the_same_part() -> None:
    text = text_of(Ball)
    assert SOLIDS.find("ball") is SOLIDS.find(Ball) is Ball
    assert Registry("path", {"p": "pathlib:Path"})["p"] is load("pathlib:Path") is Path
    assert text.endswith(":Ball")


def test_settings_make_an_instance() -> None:
    assert SOLIDS.make("ball", {"size": 3}) == Ball(3)
    assert SOLIDS.make(Ball(4)) == Ball(4)
    assert SOLIDS.make(Choice(name="cube", settings={"edge": 2.0})) == ("cube", 2.0)


def test_a_choice_makes_an_equal_part_again() -> None:
    for given in ("ball", Ball, Ball(5), Choice(name="ball", settings={"size": 2})):
        choice = SOLIDS.choice(given)
        assert choice.name == "ball"
        assert SOLIDS.make(choice) == (given if isinstance(given, Ball) else Ball(**choice.settings))


class Spiral:
    """Keeps what it was made of, and what it is told later."""

    def __init__(self, turns: int = 3, *, name: str = "") -> None:
        self.turns, self.name = turns, name

    def __call__(self) -> int:
        return self.turns


def test_an_object_that_keeps_its_arguments_can_be_made_again_until_more_happens_to_it() -> None:
    spiral = Spiral(5)
    choice = SOLIDS.choice(spiral)
    assert (choice.name, choice.settings) == (text_of(Spiral), {"turns": 5})
    for attribute, value in (("color", "red"), ("turns", [5])):
        setattr(spiral, attribute, value)
        with pytest.raises(ConfigError, match="solid of type Spiral cannot be made again in another process"):
            SOLIDS.choice(spiral)
        spiral = Spiral(5)


def test_modules_beside_the_working_directory_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "solids_of_mine.py").write_text("class Cone:\n    pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != ""])
    assert SOLIDS.find("solids_of_mine:Cone").__name__ == "Cone"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("bal", "unknown solid 'bal': did you mean 'ball'"),
        ("no_such_module_here:Ball", "there is no module 'no_such_module_here'"),
        ("pathlib:Pth", "unknown attribute 'Pth': did you mean 'Path'"),
        ("pathlib:", "unknown solid 'pathlib:'"),
        ("sys:maxsize", "solid sys:maxsize is not callable"),
        (7, "solid of type int is not callable"),
    ],
)
def test_what_cannot_be_found_is_one_line(given: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        SOLIDS.find(given)
    assert "\n" not in str(caught.value)


def test_of_many_attributes_the_nearest_are_listed() -> None:
    with pytest.raises(ConfigError) as refused:
        SOLIDS.find("pathlib:PurePth")
    said = str(refused.value)
    assert "did you mean 'PurePath'? Known: PurePath, " in said
    assert re.search(r" and \d+ more$", said)
    assert said.partition("Known: ")[2].count(",") == 5
    assert unknown_name("x", "b", ["a", "b2"], limit=6) == "unknown x 'b': did you mean 'b2'? Known: a, b2"


def test_a_module_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "failing_solids.py").write_text("raise RuntimeError('first\\nsecond')\n")
    (tmp_path / "needy_solids.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"importing its module failed \(RuntimeError: first\)"):
        load("failing_solids:Ball", "solid")
    with pytest.raises(ConfigError, match="needs 'a_package_that_is_not_there', which is not installed"):
        load("needy_solids:Ball", "solid")


@pytest.mark.parametrize(
    ("given", "settings", "message"),
    [
        ("ball", {"sise": 2}, "unknown setting of solid 'ball' 'sise': did you mean 'size'"),
        ("cube", {}, "solid 'cube' needs 'edge'"),
        (Ball(2), {"size": 3}, "is finished, but settings were given"),
    ],
)
def test_wrong_settings_are_named(given: object, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SOLIDS.make(given, settings)


def test_what_another_process_cannot_import_is_refused() -> None:
    class Hidden:
        pass

    for part, message in ((lambda: None, "define it at the top of a module"), (Hidden, "define it at the top")):
        with pytest.raises(ConfigError, match=message):
            SOLIDS.choice(part)
    with pytest.raises(ConfigError, match="solid of type object is not callable"):
        SOLIDS.choice(object())


def test_a_part_of_the_script_that_runs_is_found_without_running_it_again(tmp_path: Path) -> None:
    script = tmp_path / "script_of_mine.py"
    script.write_text(
        "from mapopt.registry import load, text_of\n"
        "class Mine:\n    pass\n"
        "print(text_of(Mine), load(text_of(Mine)) is Mine)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout == "script_of_mine:Mine True\n"


@pytest.mark.parametrize("name", ["my-script.py", "-"])
def test_parts_of_a_script_that_no_module_can_be_called_like_are_found_in_its_process(
    name: str, tmp_path: Path
) -> None:
    text = (
        "from mapopt.registry import load, text_of\n"
        "class Mine:\n    pass\n"
        "print(text_of(Mine), load(text_of(Mine)) is Mine)\n"
    )
    (tmp_path / "my-script.py").write_text(text)
    done = subprocess.run(
        [sys.executable, name], input=text, capture_output=True, text=True, check=True, timeout=100, cwd=tmp_path
    )
    assert done.stdout == "__main__:Mine True\n"


def test_what_a_notebook_defines_is_found_in_its_process_only(monkeypatch: pytest.MonkeyPatch) -> None:
    main = types.ModuleType("__main__")
    exec("class Drawn:\n    pass\n", vars(main))
    monkeypatch.setitem(sys.modules, "__main__", main)
    text = text_of(main.Drawn, "solid")
    assert text == "__main__:Drawn"
    assert load(text, "solid") is main.Drawn
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
    with pytest.raises(ConfigError, match="which a worker process cannot import: put it in a module"):
        load(text, "solid")
