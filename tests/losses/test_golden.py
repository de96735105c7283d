"""The published implementations' own numbers: loss, components and gradient, in float64 and in float32."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mapopt import losses
from mapopt.losses import ListLoss

FOLDER = Path(__file__).parents[1] / "golden" / "losses"
SHARED = Path(__file__).parents[2].parent / "shared" / "golden" / "losses"
SMALL = (0, 1, 2, 3, 7, 8, 10)
LARGE = (5,)  # too large to carry

# Prefix of the files, the loss that reproduces them, its components' names there, whether the labels of the positives
# are IoUs, and whether the original ignores what is to be ignored.
MATCHED = [
    ("aploss", losses.APLoss(), {"rank": "loss"}, False, True),
    ("alrp", losses.ALRPLoss(), {"classification": "loss_cls", "localization": "loss_reg"}, True, True),
    ("rs", losses.RankSortLoss(), {"rank": "loss_rank", "sort": "loss_sort"}, True, True),
    ("smoothap", losses.SmoothAPLoss(), {"rank": "loss"}, False, False),
    ("fastap", losses.FastAPLoss(), {"rank": "loss"}, False, False),
    ("qap", losses.QuantizedAPLoss(), {"rank": "loss"}, False, False),
    ("tap", losses.QuantizedAPLoss(tie_aware=True), {"rank": "loss"}, False, False),
]
# Case 1 is all ties: which of the originals' values and subgradients comes out depends on the order of the input.
ORDER_DEPENDENT = {("alrp", "localization"), ("fastap", "gradient"), ("qap", "gradient"), ("tap", "gradient")}


def load(prefix: str, case: int) -> dict[str, np.ndarray]:
    path = (SHARED if case in LARGE else FOLDER) / f"{prefix}_case{case}.npz"
    if not path.exists():
        pytest.skip(f"{path.name} is not in ../shared/golden/losses")
    with np.load(path) as file:
        return dict(file)


def problem(golden: dict[str, np.ndarray], dtype: torch.dtype, *, soft: bool) -> tuple[Tensor, Tensor]:
    labels = np.where(golden["targets"] == 1, golden["ious"] if soft else 1.0, golden["targets"])
    return torch.tensor(golden["logits"], dtype=dtype, requires_grad=True), torch.tensor(labels, requires_grad=True)


@pytest.mark.parametrize("case", SMALL + LARGE)
@pytest.mark.parametrize(("dtype", "before", "tolerance"), [(torch.float64, "", 1e-9), (torch.float32, "f32_", 1e-5)])
@pytest.mark.parametrize(("prefix", "loss", "names", "soft", "ignores"), MATCHED, ids=[row[0] for row in MATCHED])
def test_value_components_and_gradient_are_the_originals(
    prefix: str,
    loss: ListLoss,
    names: dict[str, str],
    soft: bool,
    ignores: bool,
    dtype: torch.dtype,
    before: str,
    tolerance: float,
    case: int,
) -> None:
    golden = load(prefix, case)
    scores, labels = problem(golden, dtype, soft=soft)
    parts = loss.components(scores, labels if ignores else labels.clamp(min=0))
    sum(parts.values()).backward()
    if case == 3:  # no positive: the originals fail, or give NaN or 1
        assert all(value.item() == 0 for value in parts.values())
        assert not scores.grad.any()
        return
    for ours, theirs in names.items():
        assert parts[ours].dtype == dtype
        if case != 1 or (prefix, ours) not in ORDER_DEPENDENT:
            assert parts[ours].item() == pytest.approx(golden[(before or "out_") + theirs].item(), abs=tolerance)
    if case != 1 or (prefix, "gradient") not in ORDER_DEPENDENT:
        np.testing.assert_allclose(scores.grad.numpy(), golden[before + "grad_logits"], rtol=0, atol=tolerance)
    if prefix == "alrp" and case != 1:  # the localisation error is (1 - label) / 0.5
        by_error = -0.5 * labels.grad.numpy()[golden["targets"] == 1]
        np.testing.assert_allclose(by_error, golden[before + "grad_loc"], rtol=0, atol=tolerance)


def test_among_ties_the_localization_part_lies_between_the_best_and_the_worst_order() -> None:
    golden = load("alrp", 1)
    scores, labels = problem(golden, torch.float64, soft=True)
    ours = losses.ALRPLoss().components(scores, labels)["localization"].item()
    rank = golden["out_rank"]
    error, positive = (1 - golden["ious"][golden["targets"] == 1]) / 0.5, golden["logits"][golden["targets"] == 1]
    bounds = []
    for sign in (-1, 1):
        order = np.lexsort((sign * error, -positive))  # best first; among ties the small errors first, then the large
        bounds.append((error[order].cumsum() / rank[order]).mean())
    assert bounds[1] < ours < bounds[0]
    assert bounds[1] <= golden["out_loss_reg"] <= bounds[0]


@pytest.mark.parametrize("case", [0, 2, 7, 8, 10])
def test_bucketed_rank_and_sort_is_the_originals_approximation(case: int) -> None:
    golden = load("brs", case)
    scores, labels = problem(golden, torch.float64, soft=True)
    parts = losses.BucketedRankSortLoss().components(scores, labels)
    sum(parts.values()).backward()
    # The original's float64 runs contain float32 casts.
    assert parts["rank"].item() == pytest.approx(golden["out_loss_rank"].item(), abs=1e-7)
    assert parts["sort"].item() == pytest.approx(golden["out_loss_sort"].item(), abs=1e-9)
    np.testing.assert_allclose(scores.grad.numpy(), golden["grad_logits"], rtol=0, atol=1e-7)
    true = losses.RankSortLoss().components(scores, labels)
    assert true["rank"].item() == pytest.approx(golden["ref_loss_rank"].item(), abs=1e-9)
    assert 1e-5 < abs(true["rank"].item() - parts["rank"].item()) < 1e-2, "an approximation, close but not equal"
    assert true["sort"].item() == pytest.approx(parts["sort"].item(), abs=1e-12)


@pytest.mark.parametrize("case", [0, 1, 2, 7, 8])
def test_adaptive_pairwise_error_is_the_original_where_that_does_not_saturate(case: int) -> None:
    golden = load("ape", case)
    scores, labels = problem(golden, torch.float64, soft=True)
    value = losses.APELoss()(scores, labels)
    value.backward()
    assert value.item() == pytest.approx(golden["out_loss"].item(), abs=1e-9)
    np.testing.assert_allclose(scores.grad.numpy(), golden["grad_logits"], rtol=0, atol=1e-9)


def test_adaptive_pairwise_error_in_single_precision_does_not_lose_the_worst_pairs() -> None:
    golden = load("ape", 10)
    single, labels = problem(golden, torch.float32, soft=True)
    double, _ = problem(golden, torch.float64, soft=True)
    for scores in (single, double):
        losses.APELoss()(scores, labels).backward()
    np.testing.assert_allclose(single.grad.numpy(), double.grad.numpy(), rtol=0, atol=1e-6)
    # The original's float32 gradient is wrong by a large part of itself in the same place.
    assert np.abs(golden["f32_grad_logits"] - double.grad.numpy()).max() > 0.02


def similarities(golden: dict[str, np.ndarray]) -> tuple[Tensor, Tensor, Tensor]:
    embeddings = torch.tensor(golden["embeddings"], requires_grad=True)
    classes = torch.tensor(golden["labels"])
    return embeddings, embeddings @ embeddings.T, (classes[:, None] == classes[None, :]).double()


@pytest.mark.parametrize("case", range(4))
def test_smooth_ap_of_embeddings_has_the_originals_value_and_gradient(case: int) -> None:
    golden = load("smoothap_emb", case)
    embeddings, cosine, same = similarities(golden)
    temperature = float(str(golden["meta"]).split("tau=")[1].split()[0])
    value = losses.SmoothAPLoss(temperature, sigmoid=False)(cosine, same)
    value.backward()
    assert value.item() == pytest.approx(golden["out_loss"].item(), abs=1e-9)
    np.testing.assert_allclose(embeddings.grad.numpy(), golden["ref_grad_embeddings"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("case", range(3))
def test_fast_ap_of_embeddings_has_the_true_gradient(case: int) -> None:
    golden = load("fastap_emb", case)
    embeddings, cosine, same = similarities(golden)
    others = ~torch.eye(len(same), dtype=torch.bool)
    value = losses.FastAPLoss(10, sigmoid=False)((1 + cosine) / 2, same, others)
    value.backward()
    assert value.item() == pytest.approx(golden["out_loss"].item(), abs=1e-9)
    np.testing.assert_allclose(embeddings.grad.numpy(), golden["ref_grad_embeddings"], rtol=0, atol=1e-9)
    if case < 2:  # the original's own backward is n / 2 times that; case 2 has duplicates, at the end of the last bin
        ours = embeddings.grad.numpy() * len(same) / 2
        np.testing.assert_allclose(golden["grad_embeddings"], ours, rtol=0, atol=1e-9)
