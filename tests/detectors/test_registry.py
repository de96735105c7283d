import pytest
import torch

from mapopt.detectors.objective import Objective
from mapopt.detectors.registry import DETECTORS, build_detector, supports_lanes
from mapopt.detectors.torchvision import TorchvisionDetector
from mapopt.detectors.torchvision_models import MODELS
from mapopt.errors import ConfigError
from mapopt.losses import LOSSES


def test_every_model_of_the_zoo_is_a_detector_and_the_dense_ones_are_ours():
    assert [kind.settings["name"] for kind in DETECTORS.values() if "name" in kind.settings] == list(MODELS)
    ours = [name for name, kind in DETECTORS.items() if "name" not in kind.settings]
    assert ours == ["tiny", "nano", "resnet18", "resnet50"]


def test_only_the_tiny_detector_trains_lanes_at_once():
    assert [name for name in DETECTORS if supports_lanes(name)] == ["tiny"]
    assert build_detector("tiny", Objective(), classes=2, size=(48, 48), lanes=3).lanes == 3
    with pytest.raises(ConfigError, match=r"'resnet18' with 4 lanes: expected one; train the lanes in turn.*'tiny'"):
        build_detector("resnet18", Objective(), classes=2, size=(64, 64), lanes=4)
    with pytest.raises(ConfigError, match="'tiny' with 0 lanes: expected at least one"):
        build_detector("tiny", Objective(), classes=2, size=(48, 48), lanes=0)


@pytest.mark.parametrize("name", ["tiny", "nano", "resnet18", "resnet50", "ssdlite"])
def test_what_was_asked_for_is_what_is_built(name, scene, knob_table):
    detector = build_detector(name, Objective(loss="ap", scope="image", balance="values"), classes=3, size=(64, 64))
    detector.initialize(0, 0)
    assert isinstance(detector, TorchvisionDetector) == (name in MODELS)
    assert (type(detector.loss.ranking), detector.loss.scope, detector.loss.balance) == (
        LOSSES["ap"],
        "image",
        "values",
    )
    assert detector.classes == 3
    assert detector.decay.shape == detector.weights.shape[1:]
    images, _ = scene()
    boxes = detector.detect(images, knob_table(score_threshold=0.0, detections=4.0))
    assert boxes.images.bincount().tolist() == [4, 4]
    assert boxes.labels.max() < 3


@pytest.mark.parametrize(
    ("name", "size", "near"),
    [
        ("tiny", (50, 64), "multiples of 8, such as 48x64 or 56x64"),
        ("ssd", (256, 320), "a height and a width of at least 288 that are multiples of 32, such as 288x320"),
        ("tiny", (4, 4), "such as 8x8$"),
        ("nano", (48, 64), "multiples of 32, such as 32x64 or 64x64"),
        ("resnet18", (64, 100), "multiples of 32, such as 64x96 or 64x128"),
        ("fcos", (0, 320), "such as 32x320$"),
    ],
)
def test_a_size_that_does_not_fit_is_answered_with_the_nearest_that_do(name, size, near):
    with pytest.raises(ConfigError, match=near):
        build_detector(name, Objective(), classes=3, size=size)


def test_unknown_names_are_answered_with_the_nearest_known_one():
    with pytest.raises(ConfigError, match="unknown detector 'retinanett': did you mean 'retinanet'"):
        build_detector("retinanett", Objective(), classes=3, size=(64, 64))
    with pytest.raises(ConfigError, match=r"unknown detector 'yolo'.*own\. Of ours, 'nano' is the small single-stage"):
        supports_lanes("yolo")
    with pytest.raises(ConfigError, match=r"unknown detector 'tiny2'.* or module:attribute for your own$"):
        supports_lanes("tiny2")
    with pytest.raises(ConfigError, match="unknown loss 'focla': did you mean 'focal'"):
        build_detector("tiny", Objective(loss="focla"), classes=3, size=(64, 64))


def test_what_a_detector_does_not_have_is_refused():
    with pytest.raises(ConfigError, match="0 classes was asked for: expected at least one"):
        build_detector("tiny", Objective(), classes=0, size=(64, 64))
    with pytest.raises(ConfigError, match=r"loss 'torchvision' with detector 'tiny'.*a loss of mapopt.losses"):
        build_detector("tiny", Objective(loss="torchvision"), classes=3, size=(64, 64))
    for name in ("tiny", "nano"):
        with pytest.raises(ConfigError, match=rf"weights 'DEFAULT' for detector '{name}'.*leave `weights` out"):
            build_detector(name, Objective(), classes=3, size=(64, 64), weights="DEFAULT")


@pytest.mark.parametrize("detector", ["tiny", "nano", "resnet18"])
def test_a_loss_whose_sigmoid_saturates_starts_where_it_has_a_gradient(detector):
    def start(loss):
        built = build_detector(detector, Objective(loss=loss), classes=2, size=(64, 64))
        built.initialize(0, 0)
        with torch.no_grad():
            return built.outputs(torch.zeros(1, 1, 3, 64, 64))[0].sigmoid().mean().item()

    assert start("smooth_ap") == pytest.approx(0.5, abs=0.1)
    assert start("fast_ap") == pytest.approx(0.5, abs=0.1)
    assert start("focal") == pytest.approx(0.01, abs=0.01)
    assert start("rank_sort") == pytest.approx(0.01, abs=0.01)
