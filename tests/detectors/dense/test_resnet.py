import pytest
import torch
from torchvision.models import ResNet18_Weights, resnet18

from mapopt.detectors.dense.detector import DenseDetector
from mapopt.detectors.dense.geometry import make_priors
from mapopt.detectors.dense.losses import DenseLoss
from mapopt.detectors.dense.module_network import location_rows
from mapopt.detectors.dense.resnet import ResNetNetwork
from mapopt.detectors.interface import normalize
from mapopt.detectors.objective import Objective
from mapopt.errors import ConfigError


@pytest.fixture(scope="module")
def network():
    return ResNetNetwork(3)


def test_every_prior_of_every_location_has_logits_and_deltas(network):
    logits, deltas, maps = network.forward(network.draw(0)[None], torch.zeros(1, 2, 3, 64, 96))
    assert maps == [size for size in [(8, 12), (4, 6), (2, 3), (1, 2)] for _ in range(2)]
    assert len(network.strides) == len(network.prior_sizes) == len(maps)
    assert logits.shape == (1, 2, sum(height * width for height, width in maps), 3)
    assert deltas.shape == (*logits.shape[:-1], 4)


def test_numbers_are_laid_out_prior_after_prior_and_row_after_row():
    prior, channel, y, x = torch.meshgrid(*(torch.arange(size) for size in (2, 3, 4, 5)), indexing="ij")
    maps = (1000 * prior + 100 * channel + 10 * y + x).flatten(0, 1)[None]
    rows = location_rows(maps, 2)
    assert rows.shape == (1, 2 * 4 * 5, 3)
    # As the locations of two levels of 4 x 5: see `make_priors`.
    centers = make_priors([(4, 5), (4, 5)], (1, 1), (1.0, 1.0)).centers - 0.5
    expected = 10 * centers[:, 1] + centers[:, 0] + torch.tensor([0.0, 1000.0]).repeat_interleave(20)
    for index in range(3):
        assert torch.equal(rows[0, :, index].float(), expected + 100 * index)


def test_a_fresh_network_calls_everything_background(network, scene):
    images, _ = scene()
    logits, deltas, _ = network.forward(network.draw(0)[None], images)
    assert 0.003 < logits.sigmoid().mean() < 0.03
    assert deltas.abs().mean() < 0.5


def test_weights_are_a_function_of_the_seed_and_touch_no_global_stream(network):
    state = torch.random.get_rng_state()
    assert torch.equal(network.draw(1), network.draw(1))
    assert not torch.equal(network.draw(1), network.draw(2))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_an_image_does_not_depend_on_its_batch(network, scene):
    images, _ = scene(batch=3)
    weights = network.draw(0)[None]
    together = network.forward(weights, images)[0]
    assert torch.allclose(network.forward(weights, images[:, 1:2])[0], together[:, 1:2], atol=1e-4)


def test_every_part_of_the_network_learns_and_the_loss_falls(network, scene, knob_table):
    images, targets = scene()
    detector = DenseDetector(network, DenseLoss(Objective()), lanes=1, size=(64, 64))
    detector.initialize(0, 0)
    optimizer = torch.optim.Adam([detector.weights], lr=1e-3)
    values = []
    for _ in range(3):
        detector.clear_gradient()
        total = sum(detector.losses(images, targets, knob_table()).values()).sum()
        total.backward()
        if not values:
            parts = network._row.split(detector.gradient()[0])
            assert all(part.abs().sum() > 0 for part in parts.values())
        optimizer.step()
        values.append(total.item())
    assert values[-1] < values[0]


def test_norms_and_biases_do_not_decay(network):
    mask, weights = network.decay_mask(), network.draw(0)
    assert len(mask) == len(weights) == network.parameters
    # A fresh norm's scales are 1 and its shifts 0; so are fresh biases, but for the prior of the class head.
    assert set(weights[mask == 0].unique().tolist()) <= {0.0, 1.0, weights[mask == 0].min().item()}


@pytest.fixture
def pretrained(tmp_path, monkeypatch):
    """A network on a body that stands in for the downloaded one, and that body."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    body = resnet18()
    body(torch.rand(4, 3, 64, 64))
    url = ResNet18_Weights.DEFAULT.url
    torch.save(body.state_dict(), tmp_path / "hub" / "checkpoints" / url.rsplit("/", 1)[-1])
    return ResNetNetwork(3, weights="DEFAULT"), body.eval()


def test_pretrained_weights_are_the_bodys_and_the_rest_is_drawn(pretrained, scene):
    network, body = pretrained
    first, second = (network._row.split(network.draw(seed)) for seed in (0, 1))
    name = "backbone.body.layer3.1.conv2.weight"
    assert torch.equal(first[name], body.get_parameter("layer3.1.conv2.weight"))
    for part, same in (("backbone.body", True), ("backbone.fpn", False), ("class_tower", False)):
        parts = [name for name, value in first.items() if name.startswith(part) and value.dim() > 1]
        assert parts
        assert all(torch.equal(first[name], second[name]) == same for name in parts)
    # Norms are frozen: they are constants of the body and nothing that is trained.
    assert not any(name.startswith("backbone.body") and "bn" in name for name in first)


def test_a_pretrained_body_computes_what_torchvisions_does(pretrained, scene):
    network, body = pretrained
    images, _ = scene()
    with torch.no_grad():
        features = network._module.backbone.body(normalize(images[0]))
        maps = body.maxpool(body.relu(body.bn1(body.conv1(normalize(images[0])))))
        for level in range(1, 5):
            maps = getattr(body, f"layer{level}")(maps)
    assert torch.allclose(features["4"], maps, atol=1e-4)


def test_unknown_weights_are_named(network):
    with pytest.raises(ConfigError, match="unknown weights of resnet18 'COCO_V1'"):
        ResNetNetwork(3, weights="COCO_V1")
