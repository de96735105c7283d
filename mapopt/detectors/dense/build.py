"""Builds the dense detectors of ours: which network, and where its class logits start."""

from __future__ import annotations

from mapopt.detectors.dense.detector import DenseDetector, Network
from mapopt.detectors.dense.losses import DenseLoss
from mapopt.detectors.dense.nano import NanoNetwork
from mapopt.detectors.dense.resnet import Depth, ResNetNetwork
from mapopt.detectors.dense.tiny import TinyNetwork
from mapopt.detectors.objective import NO_REWARD, OWN_LOSS
from mapopt.detectors.request import DetectorRequest
from mapopt.detectors.reward.term import RewardTerm
from mapopt.errors import ConfigError


def build_tiny(request: DetectorRequest) -> DenseDetector:
    """Builds many lanes of the tiny network.

    Raises:
        ConfigError: it cannot do what is asked.
    """
    loss = _loss("tiny", request)
    _check_no_weights("tiny", request)
    return _detector(TinyNetwork(request.classes, bias=_start(loss)), loss, request)


def build_resnet(request: DetectorRequest, *, depth: Depth, dropout: float = 0.0) -> DenseDetector:
    """Builds a ResNet with a feature pyramid.

    Args:
        request: what it is built for.
        depth: layers of the body.
        dropout: probability with which a channel of a map that the heads read is left out.

    Raises:
        ConfigError: it cannot do what is asked.
    """
    loss = _loss(f"resnet{depth}", request)
    network = ResNetNetwork(
        request.classes,
        request.weights,
        depth=depth,
        fetch=request.fetch,
        bias=_start(loss),
        dropout=dropout,
    )
    return _detector(network, loss, request)


def build_nano(request: DetectorRequest, *, dropout: float = 0.0) -> DenseDetector:
    """Builds the small single-stage detector.

    Args:
        request: what it is built for.
        dropout: probability with which a channel of a map that the heads read is left out.

    Raises:
        ConfigError: it cannot do what is asked.
    """
    loss = _loss("nano", request)
    _check_no_weights("nano", request)
    return _detector(NanoNetwork(request.classes, bias=_start(loss), dropout=dropout), loss, request)


def _check_no_weights(name: str, request: DetectorRequest) -> None:
    if request.weights is not None:
        raise ConfigError(
            f"weights '{request.weights}' for detector '{name}', which has no pretrained ones: leave `weights` out"
        )


def _loss(name: str, request: DetectorRequest) -> DenseLoss:
    objective = request.objective
    for what, given, such in (
        ("loss", objective.loss, "focal"),
        ("box_loss", objective.box_loss, "giou"),
        ("blend_with", objective.blend_with, "focal"),
    ):
        if given == OWN_LOSS:
            raise ConfigError(
                f"{what} '{OWN_LOSS}' with detector '{name}': expected a loss of mapopt.losses, such as {such}"
            )
    return DenseLoss(objective)


def _start(loss: DenseLoss) -> float | None:
    # A background prior helps losses on probabilities; where a sigmoid saturates, a ranking would get no gradient.
    return 0.0 if loss.ranking.saturates else None


def _detector(network: Network, loss: DenseLoss, request: DetectorRequest) -> DenseDetector:
    objective = request.objective
    return DenseDetector(
        network,
        loss,
        reward=None if objective.reward == NO_REWARD else RewardTerm(objective.reward, objective.reward_samples),
        lanes=request.lanes,
        size=request.size,
        device=request.device,
        autocast=request.autocast,
    )
