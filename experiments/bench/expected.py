"""About how many seconds the parts of a benchmark take on one core, said before any of them is done.

The rates are processor seconds of single runs on a busy machine (AMD EPYC, two cores), as `mapopt bench losses --parts
mass --members ap rank_sort focal listnet` or `mapopt bench ap --sets small --repeats 1` gave them. They order the parts
and say whether it is a minute or an hour; what is left is corrected by the parts that are done.
"""

from __future__ import annotations

from collections.abc import Sequence

from mapopt.experiments.bench.settings import (
    SETTINGS,
    CommandLineSettings,
    EnvironmentSettings,
    EvaluatorSettings,
    FleetSettings,
    HeadroomSettings,
    LearnersSettings,
    LossSettings,
    TrainingSettings,
)

_PER_LANE = 0.5
"""Of a round of 40 steps and an evaluation at 48 pixels, for each lane."""

_SETS = {
    "small": (30.0, 4.0),
    "medium": (35.0, 5.0),
    "coco": (120.0, 40.0),
    "crowded": (30.0, 6.0),
    "few": (90.0, 250.0),
}
"""Of a set's first turn of every evaluator, their processes' start included, and of a further one."""


def losses_seconds(settings: LossSettings) -> dict[str, float]:
    """Returns the seconds of each part of `mapopt bench losses`, in the order in which they come."""
    members = len(settings.members)
    points = (members + 3) * len(settings.sizes) * len(settings.positives)
    seconds = {
        "time": 0.6 * points * min(1.0, settings.repeats / 10 + 0.2),
        "fidelity": 0.04 * members * settings.lists,
        "descent": 0.003 * members * settings.seeds * settings.steps,
        "mass": 2.5 * members,
    }
    return {part: seconds[part] for part in seconds if part in settings.parts}


def evaluators_seconds(settings: EvaluatorSettings) -> dict[str, float]:
    """Returns the seconds of each set of `mapopt bench ap`."""
    part = 1.0 if settings.peers else 0.6
    return {name: part * (_SETS[name][0] + _SETS[name][1] * settings.repeats) for name in dict.fromkeys(settings.sets)}


def fleet_seconds(settings: FleetSettings) -> dict[str, float]:
    """Returns the seconds of each part of `mapopt bench fleet`."""
    lanes, step = sum(max(2, number) for number in settings.lanes), _PER_LANE / 40
    seconds = {"steps": lanes * (2 + settings.repeats * settings.steps) * step}
    # All lanes and half as many, and so on; of a halving beside all of its lanes; a lane alone and two.
    seconds["idle"] = (2 * max(settings.lanes) + 3 * SETTINGS + 3) * (1 + settings.repeats) * settings.steps * step
    seconds["rounds"] = lanes * (1 + settings.repeats) * _PER_LANE
    seconds["arithmetic"] = lanes * 20 * settings.repeats * step + settings.repeats * len(settings.lanes)
    if settings.numbers:
        seconds["updates"] = 4e-7 * settings.numbers * (1 + settings.repeats)
    return seconds


def environments_seconds(settings: EnvironmentSettings) -> dict[str, float]:
    """Returns the seconds of each part of `mapopt bench env`."""
    turns = 1 + settings.repeats
    lanes = sum(max(2, number) for number in settings.lanes)
    seconds = {f"{size} px": lanes * turns * _PER_LANE * (size / 48) ** 2 + 5.0 for size in settings.sizes}
    if settings.workers:
        seconds["processes"] = 15.0 + max(settings.lanes) * turns * _PER_LANE
    if settings.steps:
        seconds["post-processing"] = 10.0 + 0.012 * settings.steps * settings.repeats
    return seconds


def training_seconds(settings: TrainingSettings) -> dict[str, float]:
    """Returns the seconds of each detector of `mapopt bench training`."""
    images = settings.steps * settings.batch_size * (1 + settings.repeats)
    return dict.fromkeys(dict.fromkeys(settings.detectors), 2.0 + 0.2 * images * (settings.size / 128) ** 2)


def headroom_seconds(settings: HeadroomSettings) -> dict[str, float]:
    """Returns the seconds of each family of `mapopt bench headroom`."""
    runs = settings.instances * settings.candidates
    image = _PER_LANE / 40 / 16 * (settings.size / 48) ** 2
    return dict.fromkeys(settings.families, runs * settings.images * image)


def learners_seconds(settings: LearnersSettings, learners: Sequence[str]) -> dict[str, float]:
    """Returns the seconds of each part of `mapopt bench learners`: the rivals, then every learner."""
    run = 4e-4 * settings.images  # of 32 pixels, in steps of 4
    evaluation = settings.instances * run
    # An iteration in five is followed by an evaluation on held-out instances, and updates take about as long again.
    training = 1.5 * settings.iterations * settings.lanes * run
    return {"rivals": 2 * evaluation, **dict.fromkeys(learners, settings.trainings * (training + evaluation))}


def command_line_seconds(settings: CommandLineSettings) -> float:
    """Returns the seconds that the answers of one command take."""
    return 2 * 0.6 * settings.repeats
