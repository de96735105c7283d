"""The kinds of input: a good original of each, how to spoil it, and the public reader that gets it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from fuzz_mutations import ANY, REFUSE, SAME, STRANGE, replaced, spoil_bytes, spoil_text, strange_value, write_strange
from PIL import Image

from mapopt.agents import Agent
from mapopt.cli import main
from mapopt.data import Annotations, load_splits, read_coco, read_voc, read_yolo, write_coco, write_voc, write_yolo
from mapopt.errors import MapoptError
from mapopt.experiments.comparison.config import load_experiment
from mapopt.experiments.comparison.store import Store
from mapopt.experiments.comparison.stored_run import Cost, StoredRun
from mapopt.training import Scores
from mapopt.training.checkpoint import Checkpoint

Spoil = Callable[[random.Random, Path], tuple[str, str]]
TINY = [
    *("--scenes.size", "32", "--scenes.object-size", "8", "16", "--scene-counts", "8", "8", "8", "--device", "cpu"),
    *("--recipe.batch-size", "4", "--images", "8", "--rounds", "2"),
]


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes:
        make: writes a good one into a folder.
        spoil: changes the copy of a good one; returns what it did and whether a reader must refuse the result.
        read: hands it to the public reader; returns what was read, to be compared.
    """

    make: Callable[[Path], None]
    spoil: Spoil
    read: Callable[[Path], Any]


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


def _annotations(first: int) -> Annotations:
    boxes = np.array([[4.0, 4, 20, 16], [10, 6, 28, 22], [2, 2, 9, 9], [12, 8, 30, 20]])
    return Annotations(
        image_ids=first + np.arange(2),
        file_names=(f"{first}.png", f"{first + 1}.png"),
        widths=np.full(2, 32),
        heights=np.full(2, 24),
        category_ids=np.array([1, 2]),
        category_names=("cat", "dog"),
        boxes=boxes,
        labels=np.array([0, 1, 0, 1]),
        images=np.array([0, 0, 1, 1]),
        crowd=np.zeros(4, bool),
        area=(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
        ids=first + np.arange(4),
    )


def _pictures(folder: Path, first: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in (first, first + 1):
        pixels = np.random.default_rng(number).integers(0, 255, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def _make_coco(folder: Path) -> None:
    for split, first in (("train", 1), ("val", 11)):
        _pictures(folder / split, first)
        write_coco(_annotations(first), folder / split / "_annotations.coco.json")


def _spoil_json(name: str, wrong: Callable[[random.Random, Any], tuple[str, Any]] | None = None) -> Spoil:
    """Spoils a JSON file: as text, at some place, or in a way that is documented as wrong."""

    def spoil(rng: random.Random, folder: Path) -> tuple[str, str]:
        path = folder / name
        way = rng.choice(["text", "strange", "strange", "wrong", "wrong"] if wrong else ["text", "strange", "strange"])
        if way == "text":
            return spoil_text(rng, path)
        what, value = (wrong if way == "wrong" and wrong else strange_value)(rng, json.loads(path.read_text()))
        write_strange(path, value)
        return what, REFUSE if way == "wrong" else ANY

    return spoil


def _wrong_coco(rng: random.Random, data: Any) -> tuple[str, Any]:
    section, key, value = rng.choice(
        [
            *[
                ("annotations", "bbox", box)
                for box in ([1, 2, 3], "1 2 3 4", [1, 2, "x", 4], [1, 2, -3, 4], [1, 2, 0, 4])
            ],
            *[
                ("annotations", "bbox", box)
                for box in ([float("nan"), 2, 3, 4], [1, 2, float("inf"), 4], [500, 2, 3, 4])
            ],
            *[("annotations", "category_id", other) for other in (99, "cat", None, 1.5)],
            *[("annotations", "image_id", other) for other in (99, [1], None)],
            *[("images", "width", size) for size in (0, -32, "wide")],
            *[("images", "file_name", name) for name in (None, 7, [])],
            *[("categories", "name", name) for name in (None, 7)],
        ]
    )
    data[section][rng.randrange(len(data[section]))][key] = value
    return f"{section}.{key} = {value!r}", data


def _make_voc(folder: Path) -> None:
    _pictures(folder / "JPEGImages", 1)
    write_voc(_annotations(1), folder, "train")


def _spoil_voc(rng: random.Random, folder: Path) -> tuple[str, str]:
    sheet = rng.choice(sorted((folder / "Annotations").glob("*.xml")))
    way = rng.choice(["text", "list", "wrong", "wrong", "bomb", "tag"])
    if way == "text":
        return spoil_text(rng, sheet)
    if way == "list":
        return "list", spoil_text(rng, folder / "ImageSets" / "Main" / "train.txt")[1].replace(REFUSE, ANY)
    text = sheet.read_text()
    if way == "bomb":
        entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
        sheet.write_text(f'<!DOCTYPE x [<!ENTITY e0 "aaaaaaaaaa">{entities}]>' + text.replace("cat", "&e11;"))
        return "entities in entities", REFUSE
    if way == "tag":
        tag = rng.choice(["name", "bndbox", "object", "size", "filename", "annotation", "xmin"])
        sheet.write_text(text.replace(f"<{tag}>", f"<{tag}x>", 1).replace(f"</{tag}>", f"</{tag}x>", 1))
        return f"no {tag}", REFUSE if tag in ("xmin", "name", "bndbox") else ANY
    number = rng.choice(["nan", "inf", "left", "", "-500", "9e99", "1e400"])
    start = text.index("<xmin>")
    sheet.write_text(text[:start] + f"<xmin>{number}</xmin>" + text[text.index("</xmin>") + 7 :])
    return f"xmin {number}", REFUSE


def _make_yolo(folder: Path) -> None:
    for split, first in (("train", 1), ("val", 11)):
        _pictures(folder / "images" / split, first)
        write_yolo(_annotations(first), folder, split)


def _spoil_labels(rng: random.Random, folder: Path) -> tuple[str, str]:
    path = rng.choice(sorted((folder / "labels" / "train").glob("*.txt")))
    if rng.random() < 0.25:
        what, verdict = spoil_text(rng, path)
        # No file and an empty one are an image without objects.
        return what, ANY if what in ("missing", "empty", "blank", "device") else verdict
    row = rng.choice(
        [
            *["0 .5 .5 .2", "0 .5 .5", "0", "cat .5 .5 .2 .2", "7 .5 .5 .2 .2", "-1 .5 .5 .2 .2", "0.5 .5 .5 .2 .2"],
            *[
                "0 nan .5 .2 .2",
                "0 .5 inf .2 .2",
                "0 .5 .5 0 .2",
                "0 .5 .5 -.2 .2",
                "0 1.5 .5 .2 .2",
                "0 .5 .5 1e400 1",
            ],
            *[
                "0 .5 .5 .2 .2 .9 x",
                "0,.5,.5,.2,.2",
                "0 16 12 8 8",
                "0 .5 .5 .2 .2x",
                "1e30 .5 .5 .2 .2",
                "nan 0 0 1 1",
            ],
        ]
    )
    path.write_text(rng.choice(["", path.read_text()]) + row + "\n")
    return f"row '{row}'", REFUSE


def _bomb() -> str:
    lines = ["a: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"b{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    return "\n".join(lines) + "\n"


def _spoil_yaml(name: str, wrong: dict[str, Any], *, unknown: bool) -> Spoil:
    """Spoils a YAML file: as text, at some place, with a bomb of aliases, or by a wrong value of a key."""

    def spoil(rng: random.Random, folder: Path) -> tuple[str, str]:
        path = folder / name
        data = yaml.safe_load(path.read_text())
        way = rng.choice(["text", "strange", "strange", "bomb", "wrong", "wrong", "unknown", "syntax"])
        if way == "text":
            what, verdict = spoil_text(rng, path)
            return what, ANY if what in ("empty", "blank", "device") else verdict
        if way == "bomb":
            path.write_text(_bomb() + path.read_text())
            return "aliases of aliases", REFUSE if unknown else ANY
        if way == "syntax":
            path.write_text(
                path.read_text() + rng.choice(["a: [", "\t- b", "x: *nothing", "!!python/name:os.x", "a: b: c"])
            )
            return "syntax", REFUSE
        if way == "unknown":
            path.write_text(path.read_text() + "no_such_key: 1\n")
            return "unknown key", REFUSE if unknown else ANY
        if way == "strange":
            what, data = strange_value(rng, data)
        else:
            key, value = rng.choice([(key, value) for key, values in wrong.items() for value in values])
            what = f"{key} = {value!r}"
            data = replaced(data, tuple(key.split(".")), lambda container, last: container.__setitem__(last, value))
        path.write_text(yaml.safe_dump(data))
        return what, REFUSE if way == "wrong" else ANY

    return spoil


def _spoil_image(rng: random.Random, folder: Path) -> tuple[str, str]:
    path = rng.choice(sorted(folder.glob("*/*.png")))
    if rng.random() < 0.2:  # a header that says 2 thousand million pixels
        content = bytearray(path.read_bytes())
        content[16:24] = (60_000).to_bytes(4, "big") * 2
        path.write_bytes(bytes(content))
        return "60000 x 60000", REFUSE
    what, verdict = spoil_bytes(rng, path)
    return what, REFUSE if verdict == REFUSE else ANY


def _read_images(folder: Path) -> None:
    load_splits(folder, size=(24, 32))


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
        wrong = name != "watch" or words[0].startswith("--")  # its agent needs no flag
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
    write_coco(_annotations(1), folder / "truth.json")
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


def _evaluate(folder: Path) -> str:
    return command(
        "evaluate", "--truth", folder / "truth.json", "--results", folder / "results.json", "--resamples", "0"
    )


def _make_agent(folder: Path) -> None:
    Agent.load("ppo-shapes").save(folder / "agent")


def _spoil_agent(rng: random.Random, folder: Path) -> tuple[str, str]:
    if rng.random() < 0.5:
        return spoil_bytes(rng, folder / "agent.safetensors")
    what, verdict = _spoil_json("agent.json")(rng, folder)
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
    what, verdict = _spoil_json(name)(rng, folder)
    return what, SAME if verdict == ANY else verdict


def _coco(folder: Path) -> Annotations:
    return read_coco(folder / "train" / "_annotations.coco.json")


def _labels(folder: Path) -> Annotations:
    return read_yolo(folder / "data.yaml", "train")


def _make_config(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(command("train", "--print-config"))


def _make_experiment(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(SMALL)


def _read_config(folder: Path) -> str:
    return command("train", "--config", folder / "config.yaml", "--print-config")


DATA_YAML = {"names": (3, None, "cat", [], [None], [["cat"]]), "train": ("no/such", 7, None)}
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
    "coco": Kind(_make_coco, _spoil_json("train/_annotations.coco.json", _wrong_coco), _coco),
    "voc": Kind(_make_voc, _spoil_voc, lambda folder: read_voc(folder, "train")),
    "yolo": Kind(_make_yolo, _spoil_labels, _labels),
    "data.yaml": Kind(_make_yolo, _spoil_yaml("data.yaml", DATA_YAML, unknown=False), _labels),
    "images": Kind(_make_coco, _spoil_image, _read_images),
    "flags": Kind(lambda folder: folder.mkdir(parents=True, exist_ok=True), _spoil_flags, _read_flags),
    "config": Kind(_make_config, _spoil_yaml("config.yaml", CONFIG, unknown=True), _read_config),
    "experiment": Kind(
        _make_experiment,
        _spoil_yaml("config.yaml", EXPERIMENT, unknown=True),
        lambda folder: load_experiment(folder / "config.yaml"),
    ),
    "results": Kind(_make_results, _spoil_json("results.json", _wrong_results), _evaluate),
    "truth": Kind(_make_results, _spoil_json("truth.json"), _evaluate),
    "agent": Kind(_make_agent, _spoil_agent, lambda folder: Agent.load(folder / "agent").fingerprint),
    "checkpoint": Kind(_make_checkpoint, _spoil_checkpoint, _read_checkpoint),
    "store": Kind(_make_store, _spoil_store, lambda folder: Store(folder).runs("demo")),
}
