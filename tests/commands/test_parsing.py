"""From words on the command line to a command: files first, flags over them, and a single line for what is wrong."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest

from mapopt.commands.command import Command
from mapopt.commands.parsing import parse
from mapopt.commands.train import Train
from mapopt.errors import ConfigError
from mapopt.fields import NOT_A_SETTING
from mapopt.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Inner:
    batch_size: int = 16
    rate: Annotated[float, "a range"] = 0.1
    scope: Literal["class", "image"] | None = None
    balance: bool | None = None
    autocast: bool = True
    weights: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigError(f"batch_size is {self.batch_size}: expected 1 or more")


@dataclass(frozen=True, kw_only=True)
class Sample(Command):
    """Does nothing, and says it does."""

    checkpoint: Path
    """What to read."""
    images: tuple[Path, ...] = ()
    size: tuple[int, int] | None = None
    inner: Inner = field(default_factory=Inner)
    resume: bool = field(default=False, metadata=NOT_A_SETTING)
    settings_of_loss: dict[str, int | float | bool | str] = field(default_factory=dict)


def read(*words: str) -> Sample:
    return parse(Sample, words, prog="mapopt sample")


def write(folder: Path, text: str) -> str:
    (folder / "c.yaml").write_text(text)
    return str(folder / "c.yaml")


def test_flags_are_read() -> None:
    words = ["--checkpoint", "a.pt", "--images", "b", "c", "--size", "3", "4", "--inner.batch-size=8", "--resume"]
    command = read(
        *words, "--inner.autocast", "False", "--inner.scope", "class", "--inner.balance", "False", "--inner.rate", "-1"
    )
    inner = Inner(batch_size=8, autocast=False, scope="class", balance=False, rate=-1.0)
    assert command == Sample(
        checkpoint=Path("a.pt"), images=(Path("b"), Path("c")), size=(3, 4), inner=inner, resume=True
    )


@dataclass(frozen=True, kw_only=True)
class Kind:
    name: str = "plain"
    size: int = 1


@dataclass(frozen=True, kw_only=True)
class Named(Command):
    my_kind: Kind = field(default_factory=Kind)
    inner: Inner = field(default_factory=Inner)


def test_a_section_with_a_name_is_chosen_by_it() -> None:
    for words in (["--my-kind", "other"], ["--my-kind=other"], ["--my_kind", "other"], ["--my-kind.name", "other"]):
        command = parse(Named, [*words, "--my-kind.size", "2"], prog="mapopt named")
        assert command.my_kind == Kind(name="other", size=2)
    with pytest.raises(ConfigError, match="unknown flag '--inner'"):
        parse(Named, ["--inner", "other"], prog="mapopt named")


def test_hyphens_and_underscores_are_the_same() -> None:
    assert read("--checkpoint", "a", "--inner.batch_size", "8").inner.batch_size == 8


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--resume"], True),
        (["--resume", "True"], True),
        (["--resume=True"], True),
        (["--resume", "False"], False),
        (["--resume", "--seed", "1"], True),
        (["--seed", "1", "--resume"], True),
        (["--resume", "--resume", "False"], False),
    ],
)
def test_a_switch_is_on_by_its_name_alone_and_off_by_false(words: list[str], expected: bool) -> None:
    assert read("--checkpoint", "a", *words).resume is expected


def test_a_flag_turns_off_what_a_file_turns_on(tmp_path: Path) -> None:
    path = write(tmp_path, "checkpoint: a\ninner: {autocast: false, balance: true}\n")
    assert read("--config", path).inner == Inner(autocast=False, balance=True)
    assert read("--config", path, "--inner.autocast", "--inner.balance", "False").inner == Inner(balance=False)


def test_names_with_values_are_read_by_their_types() -> None:
    words = ["--settings-of-loss", "delta", "0.5", "bins", "10", "tie_aware", "True", "gradient", "exact", "x", "-1e-3"]
    command = read("--checkpoint", "a", *words, "--inner.weights", "correlation", "1", "--seed", "2")
    expected = {"delta": 0.5, "bins": 10, "tie_aware": True, "gradient": "exact", "x": -0.001}
    assert command.settings_of_loss == expected
    assert [type(value) for value in command.settings_of_loss.values()] == [float, int, bool, str, float]
    assert (command.inner.weights, command.seed) == ({"correlation": 1.0}, 2)


def test_names_with_values_take_the_place_of_the_files(tmp_path: Path) -> None:
    path = write(tmp_path, "checkpoint: a\nsettings_of_loss: {delta: 0.5, bins: 3}\ninner: {weights: {x: 2}}\n")
    command = read("--config", path)
    assert (command.settings_of_loss, command.inner.weights) == ({"delta": 0.5, "bins": 3}, {"x": 2.0})
    assert read("--config", path, "--settings-of-loss", "margin", "1").settings_of_loss == {"margin": 1}
    assert read("--config", path, "--inner.weights", "--seed", "1").inner.weights == {}
    assert read("--config", path, "--inner.weights", "y", "1").settings_of_loss == {"delta": 0.5, "bins": 3}


def test_no_word_at_all_is_all_defaults() -> None:
    assert parse(Named, [], prog="mapopt named") == Named()


def test_the_last_of_a_flag_counts() -> None:
    assert read("--checkpoint", "a", "--seed", "1", "--seed", "2").seed == 2


def test_a_file_is_flags_written_down_and_flags_win(tmp_path: Path) -> None:
    path = write(tmp_path, "checkpoint: a.pt\nseed: 3\nsize: [5, 6]\ninner:\n  batch-size: 4\n  rate: 1e-2\n")
    command = read("--config", path)
    assert (command.checkpoint, command.seed, command.size) == (Path("a.pt"), 3, (5, 6))
    assert command.inner == Inner(batch_size=4, rate=0.01)
    for words in (["--inner.rate", "0.5", "--config", path], ["--config", path, "--inner.rate=0.5"]):
        assert read(*words).inner == Inner(batch_size=4, rate=0.5), "wherever the file stands"
    assert read("--config", path, "--size", "None").size is None


def test_a_command_may_read_its_file_itself(tmp_path: Path) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Experiment(Command):
        config_holds_flags = False

    command = parse(Experiment, ["--config", "a name", "--seed", "2"], prog="mapopt sample")
    assert (command.config, command.seed) == (Path("a name"), 2)


def test_what_a_file_leaves_out_may_come_from_flags(tmp_path: Path) -> None:
    path = write(tmp_path, "seed: 3\n")
    assert read("--config", path, "--checkpoint", "b").checkpoint == Path("b")
    with pytest.raises(ConfigError, match=r"^--checkpoint is missing: give it\. Expected a path\.$"):
        read("--config", path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--checkpoint is missing: give it. Expected a path."),
        (["--chekpoint", "a"], "unknown flag '--chekpoint': did you mean '--checkpoint'? `mapopt sample --help` lists"),
        (["--checkpoint", "a", "--rate", "1"], "unknown flag '--rate': did you mean '--inner.rate'?"),
        (["--checkpoint", "a", "--inner.bach-size", "1"], "unknown flag '--inner.bach-size': did you mean '--inner.b"),
        (["--checkpoint", "a", "--zzzzzz"], "unknown flag '--zzzzzz'. `mapopt sample --help` lists them."),
        (["a"], "'a' was given without a flag before it: `mapopt sample --help` lists the flags."),
        (["--checkpoint", "a", "b"], "--checkpoint is 'a b': expected a path"),
        (["--checkpoint", "a", "--resume", "yes"], "--resume is 'yes': expected no value, or False"),
        (["--checkpoint", "a", "--no-resume"], "unknown flag '--no-resume': did you mean '--resume False'?"),
        (["--checkpoint", "a", "--inner.no-autocast"], "unknown flag '--inner.no-autocast': did you mean '--inner.aut"),
        (["--checkpoint", "a", "--seed", "x"], "--seed is 'x': expected a whole number"),
        (["--checkpoint", "a", "--seed"], "--seed is '': expected a whole number"),
        (["--checkpoint", "a", "--seed", "1.5"], "--seed is '1.5': expected a whole number"),
        (["--checkpoint", "a", "--size", "3"], "--size is '3': expected 2 values: a whole number, a whole number, or"),
        (["--checkpoint", "a", "--size", "3", "4", "5"], "--size is '3 4 5': expected 2 values: a whole number, a"),
        (["--checkpoint", "a", "--inner.scope", "up"], "--inner.scope is 'up': expected class or image, or None"),
        (["--checkpoint", "a", "--inner.balance", "3"], "--inner.balance is '3': expected True or False, or None"),
        (["--checkpoint", "a", "--inner.batch-size", "0"], "batch_size is 0: expected 1 or more"),
        (["--checkpoint", "a", "--inner.weights", "x"], "--inner.weights is 'x': expected names with values, such as"),
        (["--checkpoint", "a", "--inner.weights", "x", "y"], "--inner.weights x is 'y': expected a number"),
        (["--checkpoint", "a", "--config"], "--config is '': expected one path of a YAML file"),
        (["--config", "a", "--config", "b"], "--config is given twice: give one file, and the rest as flags"),
        (["--config", "none.yaml"], "none.yaml: no such file; expected a YAML file with settings."),
    ],
)
def test_what_is_wrong_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        read(*words)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeed: 3\n", "unknown key 'seeed': did you mean 'seed'?"),
        ("inner: {bach_size: 3}\n", "unknown key in inner 'bach_size': did you mean 'batch_size'?"),
        ("resume: true\n", "unknown key 'resume'"),
        ("config: x\n", "unknown key 'config'"),
        ("inner: {batch_size: 0}\n", "inner: batch_size is 0: expected 1 or more"),
        ("seed: x\n", "seed is 'x': expected a whole number."),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_path(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read("--config", path, "--checkpoint", "a")
    assert str(caught.value).startswith(f"{path}: {message}")


def test_another_detector_brings_its_own_optimizer(tmp_path: Path) -> None:
    def recipe(*words: str) -> Recipe:
        return parse(Train, words, prog="mapopt train").recipe

    assert recipe().optimizer == "muon"
    given = recipe("--recipe.detector", "resnet18")
    assert given == Recipe(detector="resnet18") != dataclasses.replace(Recipe(), detector="resnet18")
    assert recipe("--recipe.detector", "resnet18", "--recipe.optimizer", "nadamw").optimizer == "nadamw"
    (tmp_path / "own.yaml").write_text("recipe: {optimizer: sgd, clip: 5.0}")
    given = recipe("--config", str(tmp_path / "own.yaml"), "--recipe.detector", "resnet18")
    assert (given.optimizer, given.clip) == ("sgd", 5.0)
