"""The verbs at the top: what they return, that they do what the commands do, and that they print only when asked."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

import mapopt
from mapopt.cli import main
from mapopt.data import ImageSet, ShapesConfig, Splits, make_shapes_splits
from mapopt.detectors import Detector, DetectorRequest, build_detector
from mapopt.errors import CheckpointError, ConfigError, DataError, StoreError
from mapopt.losses import APLoss
from mapopt.metrics import Detections, GroundTruth
from mapopt.training import Budget, Checkpoint, Decision, Knobs, Recipe, Round, TaskInfo, TrainedRun

SCENES = {"size": 32, "object_size": [8.0, 16.0]}
TINY: dict[str, Any] = {
    "scenes": SCENES,
    "scene_counts": (16, 8, 8),
    "device": "cpu",
    "recipe": {"batch_size": 8},
    "images": 64,
    "rounds": 4,
}
FLAGS = [
    *("--scenes.size", "32", "--scenes.object-size", "8", "16", "--scene-counts", "16", "8", "8", "--device", "cpu"),
    *("--recipe.batch-size", "8", "--images", "64", "--rounds", "4"),
]
"""The same as flags."""


@pytest.fixture(scope="module")
def splits() -> Splits:
    return make_shapes_splits(ShapesConfig(size=32, object_size=(8.0, 16.0)), seed=0, train=16, val=8, test=8)


@pytest.fixture(scope="module")
def run() -> TrainedRun:
    return mapopt.train(**TINY)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that the command wrote."""
    folder = tmp_path_factory.mktemp("runs") / "command"
    assert main(["train", *FLAGS, "--figures", "False", "--out", str(folder)]) == 0
    return folder


def same_weights(first: Checkpoint, second: Checkpoint) -> bool:
    ours, theirs = first.snapshot.tensors, second.snapshot.tensors
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def plain(history: Sequence[Round]) -> list[tuple[int, Knobs, float]]:
    return [(played.images, played.knobs, played.val.ap) for played in history]


def test_a_run_in_memory_has_its_rounds_its_scores_and_its_detector(run: TrainedRun) -> None:
    assert (run.status, run.reason, run.folder, run.was_finished) == ("finished", "", None, False)
    assert [played.images for played in run.history] == [16, 32, 48, 64]
    assert run.val == run.history[run.selected].val
    assert run.val.ap == max(played.val.ap for played in run.history)
    assert run.test is not None
    assert run.summary["test"]["ap"] == run.test.ap
    assert run.detector.categories == ("disc", "box", "triangle")
    assert run.detector.evaluate().ap == run.test.ap, "measured again on the same images, to the bit"
    assert run.detector.evaluate(split="val").ap == run.val.ap


def test_the_command_and_the_function_make_the_same_run(run: TrainedRun, folder: Path) -> None:
    assert run.checkpoint is not None
    assert same_weights(run.checkpoint, Checkpoint.load(folder / "best.pt"))
    assert plain(run.history) == plain(Checkpoint.load(folder / "last.pt").history)
    stored = json.loads((folder / "result.json").read_text())
    assert {**run.summary, "seconds": 0, "processor_seconds": 0} == {**stored, "seconds": 0, "processor_seconds": 0}


def test_nothing_is_printed_unless_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    mapopt.train(**TINY)
    assert capsys.readouterr() == ("", "")
    mapopt.train(**TINY, progress=True)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("shapes: 16 train, 8 val, 8 test images at 32 x 32; tiny on cpu")
    assert printed[1].startswith("objects in train / val / test: disc ")
    assert printed[2].startswith("this takes about ")
    assert len(printed) == 9


def test_the_number_of_threads_is_left_as_it_was() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        mapopt.train(**TINY, threads=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_folder_holds_what_the_commands_folder_holds(tmp_path: Path, folder: Path) -> None:
    run = mapopt.train(out=tmp_path / "run", **TINY)
    assert run.folder == tmp_path / "run"
    assert {path.name for path in run.folder.iterdir()} == {path.name for path in folder.iterdir()}
    assert same_weights(Checkpoint.load(run.folder / "best.pt"), Checkpoint.load(folder / "best.pt"))
    assert run.detector.checkpoint.settings["data"] == "shapes"
    config = ["--config", str(run.folder / "config.yaml"), "--out", str(tmp_path / "again")]
    assert main(["train", *config, "--figures", "False"]) == 0, "its settings are flags written down"
    assert same_weights(Checkpoint.load(tmp_path / "again" / "last.pt"), Checkpoint.load(folder / "last.pt"))


def test_a_finished_run_is_read_and_not_trained_again(folder: Path) -> None:
    run = mapopt.train(out=folder, resume=True, **TINY)
    assert run.was_finished
    assert len(run.history) == 4
    stored = json.loads((folder / "result.json").read_text())
    assert run.test is not None
    assert (run.val.ap, run.test.ap, run.summary) == (stored["val"]["ap"], stored["test"]["ap"], stored)
    with pytest.raises(StoreError, match="is not empty"):
        mapopt.train(out=folder, **TINY)
    with pytest.raises(StoreError, match=r"was begun with images 64, not 128\."):
        mapopt.train(out=folder, resume=True, **{**TINY, "images": 128})


def test_a_folder_without_a_result_is_no_finished_run(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"holds no finished run \(no result.json\)\. Train it, or resume it\."):
        TrainedRun.read(tmp_path, device=torch.device("cpu"))


def test_images_in_memory_train_like_those_that_are_named(tmp_path: Path, run: TrainedRun, splits: Splits) -> None:
    options = {name: value for name, value in TINY.items() if not name.startswith("scene")}
    ours = mapopt.train(splits, **options, out=tmp_path / "memory")
    assert run.checkpoint is not None
    assert same_weights(Checkpoint.load(tmp_path / "memory" / "best.pt"), run.checkpoint)
    assert run.test is not None
    assert ours.test is not None
    assert ours.test.ap == run.test.ap == ours.detector.evaluate(splits).ap == ours.detector.evaluate(splits.test).ap
    again = mapopt.train(splits, **options, out=tmp_path / "memory", resume=True)
    assert again.was_finished
    assert again.test is not None
    assert again.test.ap == run.test.ap
    with pytest.raises(CheckpointError, match=r"best\.pt: does not say what data it was trained with: give --data"):
        ours.detector.evaluate()
    others = make_shapes_splits(ShapesConfig(size=32, object_size=(8.0, 16.0)), seed=5, train=16, val=8, test=8)
    (tmp_path / "memory" / "result.json").unlink()
    with pytest.raises(DataError, match="data in memory: the images or annotations are not those that"):
        mapopt.train(others, **options, out=tmp_path / "memory", resume=True)


class Pictures(Dataset):
    """A data set as in torchvision's tutorial: labels from 1, where 0 is background."""

    def __init__(self, images: ImageSet) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, dict[str, Any]]:
        notes = self.images.annotations
        mine = notes.images == index
        target = {"boxes": torch.from_numpy(notes.boxes[mine]), "labels": torch.from_numpy(notes.labels[mine]) + 1}
        return self.images.pixels[index], target


def test_data_sets_of_torch_train_and_are_evaluated_like_the_images_in_them(run: TrainedRun, splits: Splits) -> None:
    options = {name: value for name, value in TINY.items() if not name.startswith("scene")}
    data = tuple(Pictures(images) for _, images in splits.named())
    names = splits.train.annotations.category_names
    ours = mapopt.train(data, **options, size=(32, 32), categories=names)
    assert run.test is not None
    assert ours.test is not None
    assert ours.detector.categories == names
    assert ours.test.ap == run.test.ap == ours.detector.evaluate(data).ap == ours.detector.evaluate(data[2]).ap
    with pytest.raises(ConfigError, match=r"categories are given, but shapes has its own: leave them out"):
        mapopt.train(**TINY, categories=names)


def test_a_folder_of_images_is_named_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{tmp_path / 'none'}: no such file or folder"):
        mapopt.train(tmp_path / "none")


@dataclass(frozen=True)
class Ramp:
    """Raises the learning rate every round."""

    start: float = 0.01

    def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        return Decision(knobs=task.knobs.replace(lr=self.start * (1 + len(history))))


class Counting:
    """A controller with a state of its own, which no text can say."""

    def __init__(self) -> None:
        self.calls = 0

    def decide(self, history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
        self.calls += 1
        return Decision(knobs=task.knobs)


def constant(history: Sequence[Round], task: TaskInfo, budget: Budget) -> Decision:
    return Decision(knobs=task.knobs)


def test_parts_are_taken_as_names_and_as_objects(tmp_path: Path) -> None:
    by_name = mapopt.train(**TINY, loss="ap", loss_settings={"delta": 0.5}, optimizer="adamw", knobs={"lr": 0.01})
    by_object = mapopt.train(**TINY, loss=APLoss(delta=0.5), optimizer="adamw", knobs=Knobs(lr=0.01))
    assert by_name.checkpoint is not None
    assert by_object.checkpoint is not None
    assert same_weights(by_name.checkpoint, by_object.checkpoint)
    options = {**TINY, "recipe": Recipe(batch_size=8, loss="bce")}
    assert mapopt.train(**options).detector.checkpoint.recipe == Recipe(batch_size=8, loss="bce")
    assert mapopt.train(**options, loss="ap").detector.checkpoint.recipe == Recipe(batch_size=8, loss="ap")


def test_controllers_are_taken_as_names_objects_classes_and_functions(tmp_path: Path) -> None:
    rates = [played.knobs.lr for played in mapopt.train(**TINY, controller=Ramp(0.02), out=tmp_path).history]
    assert rates == pytest.approx([0.02, 0.04, 0.06, 0.08])
    assert (
        f"controller: {__name__}:Ramp\ncontroller_settings:\n  start: 0.02\n" in (tmp_path / "config.yaml").read_text()
    )
    for controller, settings in ((Ramp, {"start": 0.02}), (f"{__name__}:Ramp", {"start": 0.02})):
        run = mapopt.train(**TINY, controller=controller, controller_settings=settings)
        assert [played.knobs.lr for played in run.history] == rates
    assert {played.knobs.lr for played in mapopt.train(**TINY, controller=constant).history} == {0.08}
    counting = Counting()
    mapopt.train(**TINY, controller=counting)
    assert counting.calls >= 4
    stopped = mapopt.train(**{**TINY, "rounds": 8}, controller=constant, patience=1, knobs={"lr": 1e-5})
    assert stopped.status == "stopped"
    steps = mapopt.train(**TINY, schedule={"shape": "steps", "warmup": 0.0, "milestones": [0.5]})
    assert [played.knobs.lr for played in steps.history] == pytest.approx([0.08, 0.08, 0.008, 0.008])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": 64}, "unknown setting of train 'image': did you mean 'images'?"),
        ({"knobs": {"lrr": 1}}, "unknown knob 'lrr': did you mean 'lr'?"),
        ({"recipe": {"bach_size": 1}}, "unknown field of a recipe 'bach_size': did you mean 'batch_size'?"),
        ({"loss": "focl"}, "unknown loss 'focl': did you mean 'focal'?"),
        ({"controller": "shedule"}, "unknown controller 'shedule': did you mean 'schedule'?"),
        ({"controller": 3}, "controller"),
        ({"scenes": {"sise": 3}}, "scenes: unknown key 'sise': did you mean 'size'?"),
        ({"images": 100}, "images is 100: expected 20 rounds of whole steps of 16, such as 320"),
        ({"resume": True}, "resume and overwrite are about a folder, and none is given: give out, or leave them out"),
        ({"device": "tpu"}, "unknown device 'tpu': did you mean 'cpu'?"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_wrong_is_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        mapopt.train(**options)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_evaluate_is_the_metrics_own() -> None:
    truth = GroundTruth([[0, 0, 10, 10]], labels=[1], image_ids=[1])
    detections = Detections([[0, 0, 10, 9]], scores=[0.8], labels=[1], image_ids=[1])
    assert mapopt.evaluate(truth, detections).ap50 == pytest.approx(1)


def test_the_top_offers_verbs_and_sub_packages_and_imports_them_when_they_are_asked_for() -> None:
    code = (
        "import sys, mapopt; assert not {'torch', 'numpy', 'gymnasium', 'mapopt.losses'} & sys.modules.keys(); "
        "assert mapopt.losses.LOSSES and mapopt.training.Knobs and mapopt.metrics.Report; "
        "assert 'torch' not in sys.modules; assert mapopt.envs.DETECTOR_TRAINING and mapopt.agents and "
        "mapopt.experiments; assert callable(mapopt.compare) and callable(mapopt.train); assert 'load' in dir(mapopt)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    with pytest.raises(AttributeError, match="module 'mapopt' has no attribute 'trian'"):
        mapopt.trian  # noqa: B018


def own_detector(request: DetectorRequest, *, bias: float = 0.0) -> Detector:
    """Builds our smallest detector as if it were somebody's own."""
    return build_detector("tiny", request.objective, classes=request.classes, size=request.size, lanes=request.lanes)


own_detector.size_multiple = 8  # type: ignore[attr-defined]


def test_an_own_detector_is_trained_and_loaded_by_what_the_user_says(tmp_path: Path) -> None:
    text = f"{__name__}:own_detector"
    run = mapopt.train(out=tmp_path / "run", **TINY, detector=own_detector, detector_settings={"bias": 0.1})
    recipe = run.detector.checkpoint.recipe
    assert (recipe.detector, recipe.detector_settings) == (text, {"bias": 0.1})
    assert run.test is not None
    for given in (text, own_detector):
        assert mapopt.load(tmp_path / "run", detector=given, device="cpu").evaluate().ap == run.test.ap
    with pytest.raises(CheckpointError, match="which is none of ours and is not imported because a file says so"):
        mapopt.load(tmp_path / "run", device="cpu")
    again = mapopt.train(out=tmp_path / "run", **TINY, detector=text, detector_settings={"bias": 0.1}, resume=True)
    assert again.was_finished
    assert again.test is not None
    assert again.test.ap == run.test.ap
    command = ["evaluate", "--checkpoint", str(tmp_path / "run"), "--device", "cpu", "--resamples", "0"]
    assert main([*command, "--detector", text]) == 0
    assert main(command) == 2
