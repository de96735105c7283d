"""Trains one detector from its settings to its test, in a folder that a killed run is resumed from, or in memory.

The whole state is in the checkpoints, so a resumed run ends with the weights of the unbroken one, bit for bit on the
CPU. Whatever can be wrong with settings and images is found before the first file is written.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mapopt.collectives import Processes
from mapopt.data.settings import DataSettings
from mapopt.data.splits import Splits
from mapopt.detectors.registry import DETECTORS
from mapopt.errors import CheckpointError, ConfigError, DataError, TimeUp
from mapopt.files import write_json
from mapopt.metrics import STATS
from mapopt.settings import to_mapping
from mapopt.training.checkpoint import CheckpointFolder
from mapopt.training.controllers.base import Controller, check_knobs
from mapopt.training.deadline import Deadline
from mapopt.training.distributed import check_controller, check_images, device_of, joined
from mapopt.training.expected import expected_run_seconds
from mapopt.training.explainer import Explainer
from mapopt.training.first_words import introduction
from mapopt.training.fleet import Trainer
from mapopt.training.going_on import best_so_far, how_far
from mapopt.training.history import Round
from mapopt.training.length import settle_length
from mapopt.training.loop import Observer, RunResult, run
from mapopt.training.record import ProgressPrinter, Recorder
from mapopt.training.round_log import RoundLog
from mapopt.training.run_files import LAST, RESULT, checkpoint_path, output_of, stage
from mapopt.training.run_folder import FINGERPRINTS, STARTED_FROM, RunFolder, comparable
from mapopt.training.settings import TrainSettings
from mapopt.training.shown import Shown
from mapopt.training.start import content_hash, start_from
from mapopt.training.task import Task
from mapopt.training.trained_run import TrainedRun

RESULT_VERSION = 1
"""Of ``result.json``."""

IN_MEMORY = "data in memory"
"""What messages call images that no path leads to."""


def train_detector(
    settings: TrainSettings,
    *,
    splits: Splits | None = None,
    controller: Controller | None = None,
    out: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    shown: Shown | None = None,
) -> TrainedRun:
    """Trains a detector, selects its weights by val AP and tests them once.

    Args:
        settings: what decides the run.
        splits: images in memory, in place of those that the settings name.
        controller: an object, in place of the one that the settings name.
        out: folder for settings, rounds, checkpoints and the result; None keeps the run in memory.
        resume: go on with the run in the folder; begins it if there is none yet.
        overwrite: replace the run in the folder.
        shown: what people see of it; nothing by default.

    Raises:
        ConfigError: settings contradict each other, or name what there is not.
        DataError: the images cannot be used, or are not those that the run was begun with.
        StoreError: the folder is in use, or holds another run.
        TimeUp: the time limit came first; the run can be resumed.
    """
    if out is None and (resume or overwrite):
        raise ConfigError("resume and overwrite are about a folder, and none is given: give out, or leave them out")
    if out is None and settings.time_limit is not None:
        raise ConfigError("time_limit is given, but no folder to resume the run from: give out, or leave it out")
    begun, finished = (False, False) if out is None else stage(out, resume=resume)
    settings.check_run(
        in_memory=splits is not None, own_controller=controller is not None, resumed=begun, finished=finished
    )
    device = device_of(settings.device, threads=settings.threads)
    with ExitStack() as stack:
        with joined(device) as processes:
            shown = (shown or Shown()).of(processes)
            if out is not None and processes.first:
                stack.enter_context(output_of(out).writing(resume=resume, overwrite=overwrite))
            folder = None if out is None else _Folder(out, resume=resume, overwrite=overwrite)
            run, data = _train(settings, splits, controller, folder, device=device, processes=processes, shown=shown)
        if shown.at_end is not None:
            shown.at_end(run, data)
        return run


@dataclass(frozen=True)
class _Folder:
    """Where a run is kept, and what becomes of what is there."""

    path: Path
    resume: bool
    overwrite: bool


def _train(
    settings: TrainSettings,
    splits: Splits | None,
    controller: Controller | None,
    kept: _Folder | None,
    *,
    device: torch.device,
    processes: Processes,
    shown: Shown,
) -> tuple[TrainedRun, Splits | None]:
    """Trains in a folder that nobody else writes to, or in memory; returns the images, too, where they are at hand.

    Of several processes the first has the folder; what is there it hands to the others.
    """
    out, resume = (None, False) if kept is None else (kept.path, kept.resume)
    deadline = None if settings.time_limit is None else Deadline(settings.time_limit, processes)
    loaded, about_length = splits, ""
    if settings.epochs is not None or settings.hours is not None:
        loaded = splits if splits is not None else settings.load(settings.size)
        last = out / LAST if out is not None and resume and (out / LAST).is_file() else None
        settings, about_length = settle_length(settings, loaded, device=device, resumed=last, processes=processes)
    if settings.recipe.augmentation.transform:
        from mapopt.data.augmentation.transforms import make_transform  # which imports torchvision

        make_transform(settings.recipe.augmentation)  # so that what is wrong with it is said before images are read
    config = _config(settings, device, splits)
    # The text is the user's own, so it may be imported; a checkpoint's would not be.
    own_detector = None if settings.recipe.detector in DETECTORS else settings.recipe.detector
    started = _started_from(settings, needed=out is None or not stage(out, resume=resume)[0])
    folder = None
    if kept is not None and processes.first:
        folder = RunFolder(
            folder=kept.path, config=config, resume=resume, overwrite=kept.overwrite, started_from=started
        )
    if out is not None and processes.agree(folder is not None and folder.finished):
        images, note = (None, "") if folder is None else _look_again(folder, settings, splits, loaded)
        read = TrainedRun.read(out, device=device, splits=splits, own_detector=own_detector)
        return dataclasses.replace(read, note=note), images
    name = settings.data if splits is None else IN_MEMORY
    data = loaded if loaded is not None else settings.load(settings.size)
    fingerprints = _fingerprints(data)
    check_images(fingerprints, processes)
    if folder is not None:
        folder.check_images(fingerprints, name)
    task = Task(name=Path(name).resolve().name, splits=data, recipe=settings.recipe, knobs=settings.knobs)
    trainer = Trainer(task, settings.seed, device=device, processes=processes)
    trainer.fleet.deadline = deadline
    if controller is None:
        controller = settings.make_controller()
    check_knobs(controller, task.ranges)
    check_controller(controller, processes)
    states = CheckpointFolder(
        folder=out or Path(),
        recipe=settings.recipe,
        categories=data.train.annotations.category_names,
        size=data.train.size,
        settings={
            **comparable(config),
            FINGERPRINTS: fingerprints,
            **({STARTED_FROM: started} if started else {}),
        },
    )
    history: tuple[Round, ...] = ()
    if folder is not None and folder.last is not None:
        folder.check_decisions(controller, task.info, settings.budget)
    last_state = processes.agree(folder.last if folder is not None else None)
    if last_state is not None:
        history = last_state.history
        trainer.restore(last_state.snapshot)
    elif settings.start_from is not None:
        start_from(trainer, checkpoint_path(settings.start_from), detector=own_detector)
    # A run that is resumed goes on with what it measured.
    looks = shown.val_loss or any(played.val.class_loss >= 0 for played in history)
    trainer.fleet.measures = ("components", "loss") if looks else ("components",)
    if folder is not None:
        folder.begin()
        if folder.is_last_behind:
            states.save("last", trainer.snapshot(), history)
    if shown.progress:
        print(introduction(name, task, device))
        if about_length:
            print(about_length)
        if resume:
            going_on = f"going on after round {len(history)} of {settings.rounds}"
            print(going_on if history else "nothing to resume: beginning")
    if settings.start_from is not None and not history and processes.agree(shown.progress):
        began = trainer.evaluate("val").ap
        if shown.progress:
            print(f"starts from {settings.start_from} at a val AP of {began:.4f}")
    try:
        result = _play(trainer, controller, settings, states, folder, history, shown=shown)
    except TimeUp:
        raise TimeUp(how_far(states, settings)) from None
    summary = _summarize(result, task, settings.seed, device)
    if folder is not None:
        write_json(folder.folder / RESULT, summary)
    run = TrainedRun(
        history=result.history,
        status=result.status,
        reason=result.reason,
        selected=result.selected,
        val=result.val,
        summary=summary,
        folder=out,
        device=device,
        own_detector=own_detector,
        # The loop has put the selected weights back.
        checkpoint=None
        if out
        else states.checkpoint(trainer.fleet.for_detection(0), result.history[: result.selected + 1]),
        report=result.test,
        splits=splits,
    )
    return run, data


def _started_from(settings: TrainSettings, *, needed: bool) -> str:
    """Returns what is in the file that a run starts from; empty without one, or if it is gone and no longer needed."""
    if settings.start_from is None:
        return ""
    try:
        return content_hash(checkpoint_path(settings.start_from))
    except CheckpointError:
        if needed:
            raise
        return ""


def _look_again(
    folder: RunFolder, settings: TrainSettings, splits: Splits | None, loaded: Splits | None
) -> tuple[Splits | None, str]:
    """Holds a finished run to its images; returns them, or why that cannot be done.

    Raises:
        DataError: they are others, which would be measured as if they were the run's.
    """
    name = settings.data if splits is None else IN_MEMORY
    try:
        data = loaded if loaded is not None else settings.load(settings.size)
    except (DataError, OSError) as error:
        return None, f"its images could not be looked at again: {error}"
    folder.check_images(_fingerprints(data), name)
    return data, ""


def _fingerprints(splits: Splits) -> dict[str, str]:
    return {split: images.fingerprint for split, images in splits.named()}


def _config(settings: TrainSettings, device: torch.device, splits: Splits | None) -> dict[str, Any]:
    """Returns the settings as they are stored, with what was left open decided."""
    if splits is None:
        return to_mapping(settings.settle(device.type))
    about_images = {field.name for field in dataclasses.fields(DataSettings)}
    settled = dataclasses.replace(settings.settle(device.type), size=splits.train.size)
    stored = to_mapping(settled)
    return {name: value for name, value in stored.items() if name not in about_images}


def _play(
    trainer: Trainer,
    controller: Controller,
    settings: TrainSettings,
    states: CheckpointFolder,
    folder: RunFolder | None,
    history: Sequence[Round],
    *,
    shown: Shown,
) -> RunResult:
    """Plays the rounds that are left, and tests."""
    with ExitStack() as stack:
        observers: list[Observer] = []
        if folder is not None:
            recorder = Recorder(folder.folder, history=history, categories=states.categories)
            recorder.write()
            observers.append(recorder)
            if shown.log != "none":
                sent = RoundLog(
                    shown.log,
                    folder.folder,
                    history=history,
                    categories=states.categories,
                    config=folder.config,
                )
                observers.append(stack.enter_context(sent))
        if shown.progress:
            task = trainer.task
            expected = expected_run_seconds(
                task.recipe.detector, task.splits.train.size, images=1, device=settings.device
            )
            printer = stack.enter_context(ProgressPrinter(settings.budget, history=history, expected=expected))
            observers += [printer, Explainer(trainer, controller, settings.budget, states, history, printer)]
            trainer.fleet.on_step = printer.step

        def observe(lane: int, played: Round) -> None:
            for observer in observers:
                observer(lane, played)

        best = best_so_far(trainer, states, folder, history) if folder is not None and history else None
        return run(
            trainer,
            controller,
            settings.budget,
            observer=observe,
            checkpoints=None if folder is None else states,
            history=history,
            best=trainer.fleet.processes.agree(best),
        )


def _summarize(result: RunResult, task: Task, seed: int, device: torch.device) -> dict[str, Any]:
    last, test = result.history[-1], result.test
    summary: dict[str, Any] = {
        "version": RESULT_VERSION,
        "status": result.status,
        "reason": result.reason,
        "selected": result.selected,
        "rounds": len(result.history),
        "images": last.images,
        "evaluated": last.evaluated + (len(task.splits.test) if test else 0),
        "seconds": round(last.seconds, 3),
        "processor_seconds": None if last.processor_seconds is None else round(last.processor_seconds, 3),
        "seed": seed,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "categories": list(task.splits.train.annotations.category_names),
        "val": to_mapping(result.val),
        "test": None,
        "gap": None,
    }
    if test is not None:
        summary["test"] = dict(zip(STATS, test.stats.tolist(), strict=True))
        summary["test"]["per_category"] = list(test.per_category.values())
        summary["gap"] = result.val.ap - test.ap
    return summary
