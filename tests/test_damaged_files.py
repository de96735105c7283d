"""Bits that flip and fields that change in files with weights: refused in one line, or the content is the same."""

from __future__ import annotations

import dataclasses
import io
import json
import random
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO

from mapopt.agents.agent import Agent
from mapopt.agents.learning.progress import Progress
from mapopt.agents.learning.restoring import restore, state_of
from mapopt.agents.learning.state import STATE, TrainingState, read_state, write_state
from mapopt.errors import AgentError, CheckpointError, MapoptError
from mapopt.files import sealed
from mapopt.training.budget import Budget
from mapopt.training.checkpoint import Checkpoint
from mapopt.training.controllers.fixed import Constant
from mapopt.training.fleet import Trainer
from mapopt.training.loop import run
from mapopt.training.task import Task

PROGRESS = Progress(0, 4, 0.5, 0.25, 0, (0.1, -0.1), 0.0, 1.5)
SETTINGS: dict[str, Any] = {
    "family": {"name": "own"},
    "iterations": 1,
    "action": "relative",
    "step_size": None,
    "seconds_limit": None,
}


@dataclass(frozen=True)
class Kind:
    """A kind of file: where it is, and what is read of it, as it compares."""

    files: tuple[Path, ...]
    read: Callable[[], Any]


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory, small_splits: Any) -> dict[str, Kind]:
    """One small file of each kind."""
    folder = tmp_path_factory.mktemp("damaged")
    task = Task(name="small", splits=small_splits)
    trainer = Trainer(task)
    played = run(trainer, Constant(), Budget(images=16, rounds=1)).history
    checkpoint = Checkpoint(
        snapshot=trainer.snapshot(),
        recipe=task.recipe,
        categories=("disc", "box"),
        size=(48, 48),
        history=tuple(played),
        settings={"seed": 0, "fingerprints": {"train": "ab"}},
    )
    checkpoint.save(folder / "last.pt")
    Agent.load("ppo-shapes").save(folder / "agent")
    model = PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8, n_epochs=1, device="cpu").learn(8)
    write_training(folder, model, PROGRESS)

    def read_agent() -> Any:
        agent = Agent.load(folder / "agent")
        return agent.fingerprint, agent.training

    def read_training() -> Any:
        state = read_state(folder / STATE, SETTINGS)
        restore(model, state.learner, str(folder / STATE))
        return plain(dataclasses.asdict(state))

    return {
        "checkpoint": Kind(
            (folder / "last.pt",), lambda: plain(dataclasses.asdict(Checkpoint.load(folder / "last.pt")))
        ),
        "agent": Kind((folder / "agent.json", folder / "agent.safetensors"), read_agent),
        "training": Kind((folder / STATE,), read_training),
    }


def plain(value: Any) -> Any:
    """Returns what can be compared by ==, with the bits of tensors."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.numpy().tobytes()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def refused_or_same(kind: Kind, expected: Any, what: str) -> bool:
    """Returns whether a file was refused; fails where it was read as something else, or the refusal is no line."""
    said = refusal(kind)
    assert said or kind.read() == expected, f"{what}: other content was read"
    assert "\n" not in said, f"{what}: {said}"
    assert len(said) < 500, f"{what}: {said}"
    return bool(said)


def refusal(kind: Kind) -> str:
    """Returns why a file is not read; empty where it is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            kind.read()
    except MapoptError as error:
        return str(error)
    return ""


def flips(kind: Kind, count: int, seed: int) -> Iterator[tuple[Path, bytes, str]]:
    """Yields files with one bit flipped: half of them anywhere, half where no numbers are."""
    choose = random.Random(seed)
    for number in range(count):
        path = choose.choice(kind.files)
        content = bytearray(path.read_bytes())
        described = content.find(b"data.pkl") if path.suffix == ".pt" else 0
        place = choose.randrange(len(content)) if number % 2 else (described + choose.randrange(4000)) % len(content)
        content[place] ^= 1 << choose.randrange(8)
        yield path, bytes(content), f"{path.name}, byte {place}"


@pytest.mark.parametrize("name", ["checkpoint", "agent", "training"])
@pytest.mark.parametrize("count", [40, pytest.param(170, marks=pytest.mark.slow)])
def test_a_flipped_bit_is_refused_or_changes_nothing(name: str, count: int, kinds: dict[str, Kind]) -> None:
    kind = kinds[name]
    expected, refused = kind.read(), 0
    for path, content, what in flips(kind, count, seed=count):
        whole = path.read_bytes()
        path.write_bytes(content)
        try:
            refused += refused_or_same(kind, expected, what)
        finally:
            path.write_bytes(whole)
    assert refused > count // 2


OTHERS = (None, -1, 10**30, 1e308, float("nan"), "", "os:system", "x" * 10_000, [], [[[]]], {}, {"a": 1}, True)
"""What a field may be replaced by."""


def altered(content: Any, choose: random.Random) -> Any:
    """Returns content with one value somewhere replaced, left out, or put under another key."""
    if isinstance(content, dict) and content and choose.random() < 0.9:
        key = choose.choice(list(content))
        action = choose.random()
        if action < 0.1:
            return {name: value for name, value in content.items() if name != key}
        if action < 0.2:
            return {f"{name}s" if name == key else name: value for name, value in content.items()}
        return {**content, key: altered(content[key], choose)}
    if isinstance(content, list) and content and choose.random() < 0.8:
        place = choose.randrange(len(content))
        return [*content[:place], altered(content[place], choose), *content[place + 1 :]]
    if isinstance(content, torch.Tensor):
        return choose.choice([content.double(), content.flatten()[:1], content[None], content + 1, None])
    return choose.choice(OTHERS)


def rewrite(path: Path, choose: random.Random) -> str:
    """Alters a field of a file, and writes it again as it was written, but for the checksum, which stays."""
    if path.suffix == ".json":
        path.write_text(json.dumps(altered(json.loads(path.read_text()), choose)))
    elif path.suffix == ".pt":
        torch.save(altered(torch.load(path, weights_only=True), choose), path)
    else:
        content = path.read_bytes()
        path.write_bytes(content.replace(b"F32", choose.choice([b"I32", b"U32", b"F16"]), 1))
    return path.name


@pytest.mark.parametrize("name", ["checkpoint", "agent", "training"])
@pytest.mark.parametrize("count", [20, pytest.param(70, marks=pytest.mark.slow)])
def test_an_altered_field_is_refused_or_changes_nothing(name: str, count: int, kinds: dict[str, Kind]) -> None:
    kind, choose = kinds[name], random.Random(count)
    expected, refused = kind.read(), 0
    for number in range(count):
        path = choose.choice(kind.files)
        whole = path.read_bytes()
        try:
            what = rewrite(path, choose)
            refused += refused_or_same(kind, expected, f"{what}, change {number}")
        finally:
            path.write_bytes(whole)
    assert refused > 0.8 * count


@pytest.mark.parametrize("name", ["checkpoint", "agent"])
def test_an_altered_field_of_an_earlier_version_is_one_line(name: str, kinds: dict[str, Kind]) -> None:
    """Without a checksum another number may be taken; what no file can hold is still refused, and never executed."""
    path, choose = kinds[name].files[0], random.Random(0)
    whole = path.read_bytes()
    for _ in range(40):
        try:
            content = json.loads(whole) if path.suffix == ".json" else torch.load(path, weights_only=True)
            content = altered(
                {**{key: value for key, value in content.items() if key != "checksum"}, "version": 1}, choose
            )
            path.write_text(json.dumps(content)) if path.suffix == ".json" else torch.save(content, path)
            said = refusal(kinds[name])
            assert "\n" not in said
            assert len(said) < 500, said
        finally:
            path.write_bytes(whole)


@pytest.mark.parametrize("version", [0, 3, 99, "2", 2.0, True, None, [2]])
def test_no_other_version_is_accepted(version: Any, kinds: dict[str, Kind]) -> None:
    path = kinds["checkpoint"].files[0]
    whole = path.read_bytes()
    from mapopt.weights import _plain

    content = {**torch.load(path, weights_only=True), "version": version}
    content["checksum"] = sealed(_plain(content))["checksum"]
    torch.save(content, path)
    try:
        with pytest.raises(
            CheckpointError, match=r"last\.pt: is of version .*; expected a checkpoint .* in version 2\."
        ):
            Checkpoint.load(path)
    finally:
        path.write_bytes(whole)
    described = kinds["agent"].files[0]
    whole = described.read_bytes()
    described.write_text(json.dumps(sealed({**json.loads(whole), "version": version})))
    try:
        with pytest.raises(AgentError, match="is of version"):
            Agent.load(described)
    finally:
        described.write_bytes(whole)


def test_an_agent_of_the_first_version_is_read_though_it_has_no_checksum() -> None:
    path = Path(__file__).parent / "agents" / "first" / "agent.json"
    assert "checksum" not in json.loads(path.read_text())
    assert Agent.load(path).layers


def test_the_weights_of_another_agent_are_refused(tmp_path: Path) -> None:
    agent = Agent.load("ppo-shapes")
    agent.save(tmp_path / "a")
    other = dataclasses.replace(agent, layers=tuple((weight, bias + 1) for weight, bias in agent.layers))
    other.save(tmp_path / "b")
    (tmp_path / "a.safetensors").write_bytes((tmp_path / "b.safetensors").read_bytes())
    with pytest.raises(AgentError, match=r"a\.safetensors: is damaged, or not the file that the description was"):
        Agent.load(tmp_path / "a")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_and_biases_that_are_not_finite_are_refused(value: float, tmp_path: Path) -> None:
    agent = Agent.load("ppo-shapes")
    weight, bias = agent.layers[0]
    layers = ((weight, np.full_like(bias, value)), *agent.layers[1:])
    dataclasses.replace(agent, layers=layers).save(tmp_path / "a")
    with pytest.raises(AgentError, match=r"'0\.bias' of the weights is not finite"):
        Agent.load(tmp_path / "a")


def repacked(path: Path, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> None:
    """Writes an archive again with other records."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(buffer, "w", compression) as after:
        for name in before.namelist():
            after.writestr(name, change(name, before.read(name)))
    path.write_bytes(buffer.getvalue())


@pytest.mark.parametrize(
    ("change", "compression", "message"),
    [
        (lambda _, content: content, zipfile.ZIP_DEFLATED, "a record is compressed or encrypted"),
        (lambda name, content: content[:-4] if "data/0" in name else content, 0, "more or fewer numbers than it says"),
        (
            lambda name, content: (
                content.replace(b"ctorch\nFloatStorage", b"cos\nsystem") if "pkl" in name else content
            ),
            0,
            r"it names 'os\.system', which is no tensor",
        ),
        (lambda name, content: b"big" if "byteorder" in name else content, 0, "another order of bytes"),
        (
            lambda name, content: b"\x80\x02r\xff\xff\xff\x7f." if "pkl" in name else content,
            0,
            "number that is too high",
        ),
        (lambda name, content: b"\x80\x02]q\x00h\x00a." if "pkl" in name else content, 0, "it holds no mapping"),
        (
            lambda name, content: b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s." if "pkl" in name else content,
            0,
            "too many values, or values too deep in each other",
        ),
    ],
    ids=["compressed", "short", "named", "order", "memo", "list", "endless"],
)
def test_what_an_archive_may_not_hold_is_refused_before_it_is_read(
    change: Callable[[str, bytes], bytes], compression: int, message: str, kinds: dict[str, Kind], tmp_path: Path
) -> None:
    path = tmp_path / "last.pt"
    path.write_bytes(kinds["checkpoint"].files[0].read_bytes())
    repacked(path, change, compression)
    with pytest.raises(CheckpointError, match=message) as caught:
        Checkpoint.load(path)
    assert str(caught.value).startswith(f"{path}: cannot be read as a checkpoint")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"nonsense", b"\x80\x02}."])
def test_what_is_no_archive_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"last\.pt: cannot be read as a checkpoint .*; it is damaged, or "):
        Checkpoint.load(tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match="is a folder; expected a checkpoint"):
        Checkpoint.load(tmp_path)
    with pytest.raises(CheckpointError, match="is a device; expected a checkpoint"):
        Checkpoint.load(Path("/dev/zero"))


def write_training(folder: Path, model: PPO, *log: Progress) -> None:
    write_state(folder, TrainingState(learner=state_of(model), log=log, planned=1), SETTINGS)


def test_a_state_that_fits_no_policy_is_refused(kinds: dict[str, Kind], tmp_path: Path) -> None:
    other = PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8, policy_kwargs={"net_arch": [4]}, device="cpu")
    write_training(tmp_path, other)
    model = PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8, device="cpu")
    with pytest.raises(AgentError, match=r"training\.pt: policy: '.*' is .*, expected float32"):
        restore(model, read_state(tmp_path / STATE, SETTINGS).learner, str(tmp_path / STATE))
    with pytest.raises(AgentError, match="is of a training with other settings"):
        read_state(tmp_path / STATE, {**SETTINGS, "family": {"name": "another"}})
    slower = PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8, learning_rate=1e-9, device="cpu")
    write_training(tmp_path, slower)
    with pytest.raises(AgentError, match=r"policy\.optimizer has other settings than this training's"):
        restore(model, read_state(tmp_path / STATE, SETTINGS).learner, str(tmp_path / STATE))
