"""The kinds of input: a good original of each, how to spoil it, and the public reader that gets it."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from fuzz_data import DATA_KINDS, Kind, annotations, spoil_json, spoil_yaml
from fuzz_mutations import ANY, REFUSE, SAME, STRANGE, spoil_bytes, write_strange

from mapopt.agents import Agent
from mapopt.cli import main
from mapopt.commands import parsing
from mapopt.commands.parsing import parse
from mapopt.data import write_coco
from mapopt.errors import MapoptError
from mapopt.experiments.comparison.config import load_experiment
from mapopt.experiments.comparison.store import Store
from mapopt.experiments.comparison.stored_run import Cost, StoredRun
from mapopt.training import Scores
from mapopt.training.checkpoint import Checkpoint

TINY = [
    *("--figures", "False"),
    *("--scenes.size", "32", "--scenes.object-size", "8", "16", "--scene-counts", "8", "8", "8", "--device", "cpu"),
    *("--recipe.batch-size", "4", "--images", "8", "--rounds", "2"),
]


def command(*words: object) -> str:
    """Runs the command line in this process; a refusal is raised again, so that all kinds look alike."""
    import contextlib
    import io

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(word) for word in words])
    said = err.getvalue()
    if status == 2:
        raise MapoptError(said.rstrip("\n"))
    if status != 0:
        raise AssertionError(f"exit status {status}: {said[-300:]}")
    return out.getvalue()


COMMANDS = ["train", "evaluate", "predict", "compare", "plot", "train-agent", "watch"]


def _spoil_flags(rng: random.Random, folder: Path) -> tuple[str, str]:
    name, wrong = rng.choice(COMMANDS), True
    if rng.random() < 0.5:
        words = rng.choice(
            [
                *(["--sed", "3"], ["--seed", "three"], ["--seed", "1.5"], ["--seed"], ["seed=3"], ["--seed", "1", "2"]),
                *(["--device"], ["--no-such.flag", "1"], ["--config", "/no/such.yaml"], ["--print-config", "perhaps"]),
                *(["--", "--seed"], ["---seed", "1"], ["--=3"], ["--seed=three"], ["-x"], ["\x00"], ["ü" * 3000]),
                *(["--config", "a", "--config", "b"], ["--config", "/"], ["--seed", "9" * 5000], ["--seed", "NaN"]),
            ]
        )
        wrong = name not in ("watch", "plot") or words[0].startswith("--")  # their agent or run needs no flag
    else:
        flags = [
            "--seed",
            "--device",
            "--out",
            "--threads",
            "--data",
            "--images",
            "--rounds",
            "--knobs.lr",
            "--recipe.loss",
        ]
        words = [rng.choice(flags), *[str(rng.choice(STRANGE)) for _ in range(rng.randrange(3))]]
        wrong = False
    (folder / "words.json").write_text(json.dumps([name, *words]))
    return f"{name} {' '.join(words)[:60]}", REFUSE if wrong else ANY


def _read_flags(folder: Path) -> None:
    words = json.loads((folder / "words.json").read_text())
    command(words[0], *words[1:], "--print-config")


def _make_results(folder: Path) -> None:
    write_coco(annotations(1), folder / "truth.json")
    boxes = [{"image_id": 1 + n % 2, "category_id": 1 + n % 2, "bbox": [4, 4, 9, 9], "score": n / 9} for n in range(8)]
    write_strange(folder / "results.json", boxes)


def _wrong_results(rng: random.Random, data: Any) -> tuple[str, Any]:
    key, value = rng.choice(
        [
            *[("bbox", box) for box in ([1, 2, 3], "1 2 3 4", [1, 2, "x", 4], [float("nan"), 2, 3, 4], None, {})],
            *[("score", score) for score in ("high", None, float("nan"), [])],
            *[("image_id", other) for other in (99, None)],
            *[("category_id", other) for other in (99, None)],
        ]
    )
    if rng.random() < 0.15:
        return "a mapping", {"results": data}
    data[rng.randrange(len(data))][key] = value
    return f"{key} = {value!r}", data


@cache
def _parse_once(cls: type[Any], words: tuple[str, ...], prog: str) -> Any:
    """Returns the command that flags are; they are spoilt in a kind of their own."""
    return parse(cls, words, prog=prog)


def _evaluate(folder: Path) -> str:
    with patch.object(parsing, "parse", lambda cls, words, *, prog: _parse_once(cls, tuple(words), prog)):
        return command(
            "evaluate", "--truth", folder / "truth.json", "--results", folder / "results.json", "--resamples", "0"
        )


def _make_agent(folder: Path) -> None:
    Agent.load("ppo-shapes").save(folder / "agent")


def _spoil_agent(rng: random.Random, folder: Path) -> tuple[str, str]:
    if rng.random() < 0.5:
        return spoil_bytes(rng, folder / "agent.safetensors")
    what, verdict = spoil_json("agent.json")(rng, folder)
    return what, SAME if verdict == ANY else verdict


def _spoil_checkpoint(rng: random.Random, folder: Path) -> tuple[str, str]:
    return spoil_bytes(rng, folder / "best.pt")


def _read_checkpoint(folder: Path) -> Any:
    loaded = Checkpoint.load(folder / "best.pt")
    tensors = {name: value.numpy().tobytes() for name, value in _tensors(loaded.snapshot.tensors)}
    plain = (loaded.recipe, loaded.snapshot.knobs, loaded.categories, loaded.size, loaded.history, loaded.settings)
    return tensors, repr(plain)


def _tensors(value: Any, path: str = "") -> list[tuple[str, Any]]:
    if hasattr(value, "numpy"):
        return [(path, value)]
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    return [pair for key, member in members for pair in _tensors(member, f"{path}.{key}")]


def _make_checkpoint(folder: Path) -> None:
    command("train", *TINY, "--out", folder)


def _make_store(folder: Path) -> None:
    scores = {"ap": 0.3, "ap50": 0.5, "ap75": 0.3, "per_category": (0.2, 0.4)}
    known = Scores.failed(2).__dict__
    score = Scores(**{**known, **{name: value for name, value in scores.items() if name in known}})
    for seed in range(3):
        Store(folder).write(
            StoredRun(
                key="abc", experiment="demo", task="shapes", method="baseline", label="baseline", seed=seed,
                status="finished", reason="", selected=0, device="cpu", val=score, test=score, stats=(0.3,) * 12,
                images=64, evaluated=16, seconds=1.5, search=Cost(), training=Cost(), categories=("cat", "dog"),
            ),
            (),
        )  # fmt: skip


def _spoil_store(rng: random.Random, folder: Path) -> tuple[str, str]:
    name = f"demo/shapes/baseline/{rng.randrange(3)}/run.json"
    what, verdict = spoil_json(name)(rng, folder)
    return what, SAME if verdict == ANY else verdict


def _make_config(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(command("train", "--print-config"))


def _make_experiment(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(SMALL)


def _read_config(folder: Path) -> str:
    return command("train", "--config", folder / "config.yaml", "--print-config")


CONFIG = {
    "seed": ("three", 1.5, [1], None),
    "rounds": ("many", [], 0.5),
    "knobs.lr": ("fast", [0.1], {"a": 1}),
    "recipe": ("best", [1], 7),
    "recipe.loss": (["focal"], "no_such_loss"),
}

SMALL = """
name: small
budget: {images: 32, rounds: 2}
tasks: {shapes: {images: [16, 8, 8], scenes: {imbalance: 5.0}}}
methods:
  baseline: {label: baseline, recipe: {batch_size: 4, loss: focal}, knobs: {lr: 0.1, augment: 0.5}}
  constant: {recipe: {batch_size: 4}, controller: {kind: constant}, search: {of: baseline}}
seeds: 3
lanes: 2
"""
EXPERIMENT = {
    "methods": (3, "baseline", [], {"a": 1}),
    "tasks": (3, [], "shapes"),
    "seeds": ("many", 0, -1, 1.5, []),
    "name": ("../up", "a/b", "", 7, None),
}

KINDS: dict[str, Kind] = {
    **DATA_KINDS,
    "flags": Kind(lambda folder: folder.mkdir(parents=True, exist_ok=True), _spoil_flags, _read_flags),
    "config": Kind(_make_config, spoil_yaml("config.yaml", CONFIG, unknown=True), _read_config),
    "experiment": Kind(
        _make_experiment,
        spoil_yaml("config.yaml", EXPERIMENT, unknown=True),
        lambda folder: load_experiment(folder / "config.yaml"),
    ),
    "results": Kind(_make_results, spoil_json("results.json", _wrong_results), _evaluate),
    "truth": Kind(_make_results, spoil_json("truth.json"), _evaluate),
    "agent": Kind(_make_agent, _spoil_agent, lambda folder: Agent.load(folder / "agent").fingerprint),
    "checkpoint": Kind(_make_checkpoint, _spoil_checkpoint, _read_checkpoint),
    "store": Kind(_make_store, _spoil_store, lambda folder: Store(folder).runs("demo")),
}
