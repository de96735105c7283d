import re
from argparse import Namespace
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import ResNet18_Weights, ResNet50_Weights, _api, resnet18, resnet50
from torchvision.ops import FrozenBatchNorm2d

from mapopt.detectors.dense.resnet import ResNetNetwork
from mapopt.detectors.pretrained import choose_weights, fetch_weights, freeze_batch_norms, read_state
from mapopt.detectors.torchvision_models import MODELS, build_model
from mapopt.errors import ConfigError


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of downloaded weights."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_names_are_looked_up_in_one_family_after_the_other():
    assert choose_weights("x", "IMAGENET1K_V2", [ResNet18_Weights, ResNet50_Weights]) is ResNet50_Weights.IMAGENET1K_V2
    assert choose_weights("x", "DEFAULT", [ResNet18_Weights, ResNet50_Weights]) is ResNet18_Weights.DEFAULT


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(
        ConfigError, match=r"weights of resnet18 'DEFUALT': did you mean 'DEFAULT'.*leave `weights` out"
    ):
        choose_weights("resnet18", "DEFUALT", [ResNet18_Weights])


def test_a_cached_file_is_read_through_torchvision(cache):
    state = resnet18().state_dict()
    torch.save(state, cache / ResNet18_Weights.DEFAULT.url.rsplit("/", 1)[-1])
    loaded = fetch_weights("resnet18", ResNet18_Weights.DEFAULT)
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_a_failed_download_says_so_and_what_to_do(cache, monkeypatch):
    def refuse(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setattr(_api, "load_state_dict_from_url", refuse)
    with pytest.raises(
        ConfigError, match=r"download of the weights IMAGENET1K_V1 of resnet18 failed.*no route to host"
    ):
        fetch_weights("resnet18", ResNet18_Weights.DEFAULT)
    with pytest.raises(ConfigError, match=f"put the file at {cache}.*or leave `weights` out to train from scratch"):
        fetch_weights("resnet18", ResNet18_Weights.DEFAULT)


class Evil:
    """A pickle that runs something when it is read."""

    def __reduce__(self):
        return (print, ("the file was executed",))


@pytest.mark.parametrize("content", ["garbage", "empty", "evil"])
def test_a_damaged_or_hostile_file_is_refused_and_not_executed(content, cache, capsys):
    file = cache / ResNet18_Weights.DEFAULT.url.rsplit("/", 1)[-1]
    if content == "evil":
        torch.save({"conv1.weight": Evil()}, file)
    else:
        file.write_bytes(b"<html>" * 100 if content == "garbage" else b"")
    with pytest.raises(ConfigError, match=r"file of the weights IMAGENET1K_V1 of resnet18 is damaged.*delete"):
        fetch_weights("resnet18", ResNet18_Weights.DEFAULT)
    assert "executed" not in capsys.readouterr().out


def test_a_frozen_norm_computes_what_the_norm_computed_and_has_nothing_to_train():
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4, eps=1e-3), nn.ReLU()))
    module(torch.rand(8, 3, 5, 5))
    with torch.no_grad():
        module[1][0].weight.copy_(torch.rand(4))
        module[1][0].bias.copy_(torch.rand(4))
    images = torch.rand(2, 3, 5, 5)
    expected = module.eval()(images)
    freeze_batch_norms(module)
    assert torch.allclose(module.train()(images), expected, atol=1e-6)
    assert isinstance(module[1][0], FrozenBatchNorm2d)
    assert [name for name, _ in module.named_parameters()] == ["0.weight", "0.bias"]


WAYS = ["plain", "script", "parallel", "compiled", "lightning", "safetensors"]


def stored(state: dict[str, torch.Tensor], folder: Path, way: str = "plain") -> str:
    """Writes a state as people have it; returns the file."""
    path = folder / f"weights.{'safetensors' if way == 'safetensors' else 'pth'}"
    if way == "safetensors":
        save_file({name: value.contiguous() for name, value in state.items()}, path)
    elif way == "script":  # as torchvision's training scripts do
        torch.save({"model": state, "optimizer": {"state": {}}, "args": Namespace(lr=0.1), "epoch": 3}, path)
    else:
        prefix = {"parallel": "module.", "compiled": "module._orig_mod.", "lightning": "model."}.get(way, "")
        wrapped = {prefix + name: value for name, value in state.items()}
        torch.save({"state_dict": wrapped} if way == "lightning" else wrapped, path)
    return str(path)


@pytest.mark.parametrize("way", WAYS)
def test_a_file_holds_a_state_in_many_ways(tmp_path: Path, way: str) -> None:
    state = {"a.weight": torch.rand(2, 3), "a.bias": torch.rand(2)}
    read = read_state(stored(state, tmp_path, way))
    assert read.keys() == state.keys()
    assert all(torch.equal(read[name], state[name]) for name in state)


@pytest.mark.parametrize("classes", [2, 5])
def test_a_detector_s_own_file_is_loaded_but_for_other_categories(tmp_path: Path, classes: int) -> None:
    source = build_model("retinanet_resnet18", 2, weights=None).state_dict()
    path = stored(source, tmp_path)
    with pytest.raises(
        ConfigError, match=r"of another network than the detector: they lack backbone\.body\.bn1\.running_mean and have"
    ):
        build_model("fcos_small", classes, weights=path)
    torch.manual_seed(3)
    source = build_model("ssdlite", 2, weights=None).state_dict()
    state = build_model("ssdlite", classes, weights=stored(source, tmp_path)).state_dict()
    other = [name for name, value in state.items() if not torch.equal(value, source[name])]
    assert all(re.match(MODELS["ssdlite"].class_layers, name) for name in other)
    assert bool(other) == (classes != 2)


def test_a_classifier_s_file_is_loaded_into_the_body(tmp_path: Path) -> None:
    classifier = resnet18()
    state, path = classifier.state_dict(), stored(classifier.state_dict(), tmp_path)
    for body in (build_model("fcos_small", 3, weights=path).backbone.body, ResNetNetwork(3, path).module.backbone.body):
        assert all(torch.equal(value, state[name]) for name, value in body.state_dict().items())
    larger = stored(resnet50().state_dict(), tmp_path)
    assert ResNetNetwork(3, larger, depth=50).parameters > 24e6
    with pytest.raises(
        ConfigError, match=r"have layer1\.0\.conv1\.weight of shape \[64, 64, 1, 1\], where the detector"
    ):
        ResNetNetwork(3, larger)
    del state["layer1.0.conv1.weight"]
    with pytest.raises(ConfigError, match=r"than the detector's body: they lack layer1\.0\.conv1\.weight"):
        ResNetNetwork(3, stored(state, tmp_path))
    with pytest.raises(ConfigError, match="another network than the detector: they lack"):
        build_model("ssdlite", 3, weights=path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"cannot be read"),
        (b"no weights", r"cannot be read"),
        ({"epoch": 3}, "hold no tensors by name: expected a state dictionary"),
        ([torch.ones(1)], "hold no tensors by name"),
        (
            nn.Linear(2, 2),
            r"hold torch\.nn\.modules\.linear\.Linear beside tensors, and code .* is not executed: .* torch\.save\(",
        ),
        ({"model": {}, "best": np.float64(0.3)}, r"hold numpy\..*scalar beside tensors"),
        ({"a": torch.ones(2), "b": torch.tensor([1.0, torch.nan])}, "have numbers in b that are not finite"),
        ({"format": "mapopt checkpoint", "tensors": {}}, "are a checkpoint of mapopt: give it as --start-from"),
    ],
)
def test_what_is_no_state_is_refused(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "weights.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ConfigError, match=message):
        read_state(str(path))


@pytest.mark.parametrize("name", ["gone.pth", "gone.ckpt", "gone.th", "./gone", "folder/gone"])
def test_what_has_an_ending_or_a_folder_is_a_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for build in (
        lambda: read_state(name),
        lambda: ResNetNetwork(3, name),
        lambda: build_model("ssdlite", 3, weights=name),
    ):
        with pytest.raises(ConfigError, match="no such file; expected a state dictionary"):
            build()
    with pytest.raises(ConfigError, match=r"is a folder; .* A run of mapopt is given as --start-from"):
        read_state(str(tmp_path))
