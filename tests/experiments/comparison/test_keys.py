"""Keys of runs: what they were when the shipped experiments were run, and what of the user's own they depend on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mapopt.data import Augmentation
from mapopt.errors import ConfigError
from mapopt.experiments.comparison import keys
from mapopt.experiments.comparison.config import MethodConfig, load_experiment
from mapopt.experiments.comparison.controllers import ControllerConfig
from mapopt.experiments.comparison.jobs import Job, make_job
from mapopt.training import Recipe

KEYS: dict[str, dict[str, dict[str, str]]] = {
    "default": {
        "shapes": {
            "baseline": "938e1874275cbfe5",
            "rank_sort": "76a7faeed0d6da28",
            "ap": "6fde831bafbf4909",
            "mean_ap": "cc2962f7ef7a9256",
            "constant": "1abd46eb06d81301",
            "plateau": "238004ea2e9d9f2b",
            "adamw": "1d269d5d1746a484",
            "sgd": "70984fe34518919d",
            "agent": "c39abaeba5f04636",
            "replay": "99f9680dc6fb3bfd",
        },
    },
    "losses_sgd": {
        "balanced": {
            "ap": "bde5406ef9dbf3c0",
            "ap_exact": "d263ae3de360ee73",
            "alrp": "d3f8cc70b4111c4a",
            "alrp_exact": "65c6c35db6ec1937",
            "rank_sort": "117bfc69aea20226",
            "rank_sort_exact": "d03cdddd60149f6c",
            "bucketed_rank_sort": "d6332fbebb1109f7",
            "smooth_ap": "18f3605fe89c557f",
            "fast_ap": "9a2e5264fa3cecbe",
            "quantized_ap": "f5e76254fa7760fa",
            "tie_aware_ap": "a639271e8a63e4f5",
            "blackbox_ap": "f3dea89a7268c1ca",
            "ape": "9f4b8c91b0b950fa",
            "parameterized_ap": "1db236fc23ce81b9",
            "listnet": "85d9f24b394543b2",
            "listmle": "765412d008a25b04",
            "approx_ndcg": "df656f97e3ad7445",
            "lambda_ap": "887eec667f736f46",
            "plackett_luce_ap": "d4f6bb1102bbcca0",
            "focal": "f09bf02b6ac89ed2",
            "focal_weighted": "dda42d6f7199a589",
            "focal_sampled": "a6e2acd79b7fd62e",
            "focal_correlation": "3ff10fe8a7e576c1",
            "bce": "420128c8d66f9260",
            "quality_focal": "c8271a7f641f078f",
            "quality_focal_weighted": "6fd641a82e8a7952",
            "varifocal": "793ac58dbbebd1cc",
        },
        "imbalanced": {
            "ap": "daf381fae0dcb726",
            "ap_exact": "893339cfe233c726",
            "alrp": "ab4d5203b890525a",
            "alrp_exact": "deae7d27d2ed1102",
            "rank_sort": "101cdeefe6c820d5",
            "rank_sort_exact": "9ea0b2d7e46d2861",
            "bucketed_rank_sort": "6708f46329a144a2",
            "smooth_ap": "0362ca1b5b531f1f",
            "fast_ap": "fbfb7a3986329407",
            "quantized_ap": "e7e3874d90368d5e",
            "tie_aware_ap": "428335ba5f08fab1",
            "blackbox_ap": "f9a6850f7c48cf29",
            "ape": "025a1ae51e37b284",
            "parameterized_ap": "7cedec9286201091",
            "listnet": "cbd18faab5383978",
            "listmle": "23c8faf2ccdb0531",
            "approx_ndcg": "c852abd24796780f",
            "lambda_ap": "5882c314e6154df1",
            "plackett_luce_ap": "cb56f45edc3bdeb6",
            "focal": "80d60c241a037e83",
            "focal_weighted": "f1e0642cbbbae6c7",
            "focal_sampled": "b90673509367cf20",
            "focal_correlation": "b2222fb0677bde90",
            "bce": "bfd2bc145e99f50e",
            "quality_focal": "bcf4787088fa1577",
            "quality_focal_weighted": "ab2c4ef2d8e948bc",
            "varifocal": "239cce57fe2239af",
        },
    },
    "ranking": {
        "imbalanced": {
            "rank_sort_class": "101cdeefe6c820d5",
            "rank_sort_image": "f93100e96a72924f",
            "rank_sort_batch": "c70e5fb8ca00d654",
            "ap_class": "daf381fae0dcb726",
            "ap_image": "dad3b048a1514f9f",
            "ap_batch": "be3af9936615c7e0",
            "rank_sort_hard": "243bc5e4ab7a3009",
            "ap_soft": "b77a2c6e5335b6ad",
            "batch2": "cfbe07674d9f3580",
            "batch2_memory": "35c312ddd75cd6b6",
            "batch4": "83cd5afd3a3888f8",
            "batch4_memory": "448b48a6aae75d3a",
            "batch16_memory": "69b026ddab1ed728",
        },
    },
}
"""Experiment -> task -> method -> key, computed by the version that stored the first runs; no folder of images."""


FORMER_AGENTS = {
    ("default", "shapes", "agent"): "a3dc1eb856183cf0",
    ("default", "shapes", "replay"): "987075cd763325e4",
}
"""Of agents the keys held the weights alone at that time; what they hold now is in `KEYS`."""


def jobs_of(name: str) -> dict[tuple[str, str, str], Job]:
    """Returns the jobs of a shipped experiment on shapes in place of folders."""
    experiment = load_experiment(name)
    tasks = {task: replace(config, data=None) for task, config in experiment.tasks.items()}
    experiment = replace(experiment, tasks=tasks)
    methods = [(task, method) for task in experiment.tasks for method in experiment.methods]
    return {(name, task, method): make_job(experiment, task, method) for task, method in methods}


@pytest.mark.parametrize("name", KEYS)
def test_the_keys_of_the_shipped_experiments_are_those_of_their_first_runs(name: str) -> None:
    jobs = jobs_of(name)
    expected = {(name, task, method): key for task, keys in KEYS[name].items() for method, key in keys.items()}
    assert {place: job.keys.asked for place, job in jobs.items()} == expected
    assert {place: job.keys.former for place, job in jobs.items()} == {
        **expected,
        **{place: key for place, key in FORMER_AGENTS.items() if place[0] == name},
    }


@pytest.mark.parametrize(
    ("recipe", "hashed"),
    [
        # By default earlier versions balanced values, where the loss is an error rate; that they did is hashed as then.
        ({"loss": "ap", "balance": "values"}, None),
        ({"loss": "ap"}, False),
        ({"loss": "ap", "balance": "gradients"}, "gradients"),
        ({"loss": "listnet"}, None),
        ({"loss": "listnet", "balance": "values"}, True),
        ({}, None),
        ({"balance": "values"}, True),
        ({"loss": "torchvision"}, None),
        ({"loss": "mapopt.losses:RankSortLoss", "balance": None}, None),
        ({"loss": "mapopt.losses:RankSortLoss"}, False),
    ],
)
def test_a_balance_is_hashed_by_what_it_was_called_when_runs_were_first_stored(
    recipe: dict[str, Any], hashed: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    content: dict[str, Any] = {}

    def keep(given: dict[str, Any]) -> str:
        content.update(given)
        return ""

    monkeypatch.setattr(keys, "_hash", keep)
    experiment = load_experiment("default").with_methods({"one": MethodConfig(recipe=Recipe(**recipe))}, "one")
    make_job(experiment, "shapes", "one")
    assert content["recipe"]["balance"] == hashed
    assert type(content["recipe"]["balance"]) is type(hashed)
    assert "balance_ratio" not in content["recipe"]


def key_of(recipe: Recipe) -> str:
    """Returns the key of what is asked for by a method with a recipe."""
    experiment = load_experiment("default").with_methods({"one": MethodConfig(recipe=recipe)}, "one")
    task = experiment.tasks["shapes"]
    experiment = replace(experiment, tasks={"shapes": replace(task, scenes=replace(task.scenes, size=64))})
    return make_job(experiment, "shapes", "one").keys.asked


def test_a_file_of_weights_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    def asked(name: str) -> str:
        return key_of(Recipe(detector="resnet18", weights=str(tmp_path / name)))

    for name, content in (("a.pth", b"1"), ("b.pth", b"1"), ("c.pth", b"2")):
        (tmp_path / name).write_bytes(content)
    before = asked("a.pth")
    assert asked("b.pth") == before
    assert asked("c.pth") != before
    (tmp_path / "a.pth").write_bytes(b"3")
    assert asked("a.pth") != before
    with pytest.raises(ConfigError, match=r"gone\.pth': no such file"):
        asked("gone.pth")


@pytest.mark.parametrize(("detector", "others"), [("tiny", False), ("nano", False), ("ssdlite", True)])
def test_averaged_statistics_make_other_runs_of_those_with_batch_norms(
    detector: str, others: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(detector=detector, loss="focal", ema=0.9)
    now, plain = key_of(recipe), key_of(replace(recipe, ema=0.0))
    monkeypatch.setattr(keys, "_WITHOUT_STATISTICS", (detector,))
    assert (key_of(recipe) != now) is others
    assert key_of(replace(recipe, ema=0.0)) == plain


@pytest.mark.parametrize(("detector", "others"), [("tiny", False), ("nano", True), ("fcos_small", True)])
def test_a_change_of_large_detectors_makes_other_runs_of_them_alone(
    detector: str, others: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = key_of(Recipe(detector=detector, loss="focal"))
    monkeypatch.setattr(keys, "_LARGE", keys._LARGE + 1)
    assert (key_of(Recipe(detector=detector, loss="focal")) != now) is others


def test_kinds_of_augmentation_and_where_it_ends_are_a_part_of_the_key() -> None:
    methods = {
        "plain": MethodConfig(),
        "mosaic": MethodConfig(recipe=Recipe(augmentation=Augmentation(mosaic=0.5))),
        "more": MethodConfig(recipe=Recipe(augmentation=Augmentation(mosaic=0.6))),
        "ends": MethodConfig(controller=ControllerConfig(augment_until=0.8)),
    }
    experiment = load_experiment("default").with_methods(methods, "plain")
    asked = {name: make_job(experiment, "shapes", name).keys.asked for name in methods}
    assert len(set(asked.values())) == 4
