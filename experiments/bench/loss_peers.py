"""Ranking losses that others package, called as ours are: LibAUC's on scores, pytorch-metric-learning's on embeddings.

Both are asked for with ``--peers`` and come with ``pip install "mapopt[peers]"``; one that is installed but cannot be
imported is reported, and the others are measured.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mapopt.errors import ConfigError
from mapopt.experiments.bench.cost import fastest
from mapopt.experiments.bench.growth import Contender
from mapopt.losses import FastAPLoss, SmoothAPLoss

PACKAGES = {"libauc": "LibAUC", "pytorch_metric_learning": "pytorch-metric-learning"}
"""What is imported, and what it is called."""

NOTE = "LibAUC's APLoss returns what has the right gradient; its value stands for nothing, so no correlation is due"

_CLASSES = (8, 16)  # embeddings: so many classes of as many each; with other numbers their Smooth-AP groups wrongly
_DIMENSIONS = 32


@dataclass(frozen=True, kw_only=True)
class Peers:
    """The packages that can be used.

    Attributes:
        modules: imported, by name.
        notes: why others cannot be used.
    """

    modules: dict[str, Any]
    notes: list[str]


@dataclass(frozen=True, kw_only=True)
class OnEmbeddings:
    """A loss of pytorch-metric-learning and ours on the same batch of embeddings.

    Attributes:
        name: the loss.
        batch: number of embeddings; each is a query, the others are its list.
        theirs: seconds forward and backward.
        ours: the same.
        loss_difference: between the two.
        cosine: between the gradients of the embeddings; 1 where they agree.
    """

    name: str
    batch: int
    theirs: float
    ours: float
    loss_difference: float
    cosine: float


def find_peers() -> Peers:
    """Imports the packages.

    Raises:
        ConfigError: one is not installed.
    """
    missing = [name for module, name in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise ConfigError(
            f"--peers compares with {' and '.join(PACKAGES.values())}, but {' and '.join(missing)} "
            f'{"is" if len(missing) == 1 else "are"} not installed: pip install "mapopt[peers]"'
        )
    modules, notes = {}, []
    for module, name in PACKAGES.items():
        try:
            modules[module] = importlib.import_module(f"{module}.losses")
        except Exception as error:  # whatever their dependencies make of this machine
            notes.append(f"{name} is installed but cannot be imported ({type(error).__name__}: {error}): left out")
    return Peers(modules=modules, notes=notes)


def on_scores(peers: Peers) -> list[Contender]:
    """Returns the losses that take a list of scores; all make the matrix of all pairs."""
    if "libauc" not in peers.modules:
        return []
    return [
        Contender(name=f"LibAUC {name}", value=partial(value, peers.modules["libauc"]), by_pairs=True, needs=_matrix)
        for name, value in (("APLoss", _libauc_ap), ("pAUC_CVaR_Loss", _libauc_pauc))
    ]


def by_list(contender: Contender) -> Callable[[Tensor, Tensor], Tensor]:
    """Returns a loss of one list as a loss per list, ``[lists]``."""
    return lambda scores, labels: torch.stack([contender.value(*lists) for lists in zip(scores, labels, strict=True)])


def on_embeddings(peers: Peers, *, repeats: int, device: torch.device, seed: int) -> list[OnEmbeddings]:
    """Compares FastAP and Smooth-AP on random embeddings of classes of equal size."""
    if "pytorch_metric_learning" not in peers.modules:
        return []
    theirs = peers.modules["pytorch_metric_learning"]
    rows = []
    for number in _CLASSES:
        generator = torch.Generator().manual_seed(seed)
        classes = torch.arange(number).repeat_interleave(number)
        centers = torch.randn(number, _DIMENSIONS, generator=generator)
        embeddings = (centers[classes] + 2 * torch.randn(number**2, _DIMENSIONS, generator=generator)).to(device)
        classes = classes.to(device)
        for name, peer, ours in (
            ("FastAP", theirs.FastAPLoss(), _fast_ap),
            ("Smooth-AP", theirs.SmoothAPLoss(), _smooth_ap),
        ):
            works = {"theirs": partial(_both_ways, peer, embeddings, classes)}
            works["ours"] = partial(_both_ways, ours, embeddings, classes)
            values = {who: work() for who, work in works.items()}
            seconds = fastest(works, repeats=repeats, device=device)
            difference = float((values["theirs"][0] - values["ours"][0]).abs())
            first, second = (values[who][1].flatten().double() for who in ("theirs", "ours"))
            cosine = float(torch.nn.functional.cosine_similarity(first, second, dim=0))
            rows.append(OnEmbeddings(name=name, batch=number**2, loss_difference=difference, cosine=cosine, **seconds))
    return rows


def _libauc_ap(losses: Any, scores: Tensor, labels: Tensor) -> Tensor:
    """SOAP's loss. A list is the whole data here, so its moving averages over batches have nothing to average."""
    scores = scores.float()  # the only type that it takes
    loss = losses.APLoss(data_len=len(scores), gamma=1.0, device=scores.device)
    return loss(scores, (labels > 0).to(scores.dtype), torch.arange(len(scores), device=scores.device))


def _libauc_pauc(losses: Any, scores: Tensor, labels: Tensor) -> Tensor:
    positives, scores = int((labels > 0).sum()), scores.float()
    loss = losses.pAUC_CVaR_Loss(data_len=len(scores), pos_len=positives, device=scores.device)
    return loss(scores, (labels > 0).to(scores.dtype), torch.arange(len(scores), device=scores.device))


def _matrix(scores: Tensor, labels: Tensor) -> int:
    """Bytes of the matrices that LibAUC's losses and autograd hold at once, about six."""
    return 6 * int((labels > 0).sum()) * scores.numel() * scores.element_size()


def _fast_ap(embeddings: Tensor, classes: Tensor) -> Tensor:
    similarity, same = _similarity(embeddings), classes[:, None] == classes
    others = ~torch.eye(len(classes), dtype=torch.bool, device=classes.device)
    return FastAPLoss(sigmoid=False)((1 + similarity) / 2, same.to(similarity.dtype), others)


def _smooth_ap(embeddings: Tensor, classes: Tensor) -> Tensor:
    similarity, same = _similarity(embeddings), classes[:, None] == classes
    return SmoothAPLoss(sigmoid=False)(similarity, same.to(similarity.dtype))


def _similarity(embeddings: Tensor) -> Tensor:
    unit = normalize(embeddings, dim=-1)
    return unit @ unit.T


def _both_ways(loss: Callable[[Tensor, Tensor], Tensor], embeddings: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    leaf = embeddings.clone().requires_grad_()
    value = loss(leaf, classes)
    value.backward()
    assert leaf.grad is not None
    return value.detach(), leaf.grad
