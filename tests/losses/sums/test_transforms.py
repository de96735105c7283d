import socket

import pytest
import torch
from torch import distributed, multiprocessing

from mapopt.errors import ConfigError, DataError
from mapopt.losses import LOSSES, APLoss, RankSortLoss, ScoreMemory, gather_lists, split_by_iou

RANKING = [name for name, kind in LOSSES.items() if not kind.pointwise and name != "correlation"]


def lists(seed: int, *shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(shape, generator=generator, dtype=torch.float64)
    quality = torch.rand(shape, generator=generator, dtype=torch.float64)
    labels = torch.where(torch.rand(shape, generator=generator) < 0.2, quality, 0.0)
    labels[..., 0] = 0.9
    return scores, labels


def test_a_memory_of_one_step_ranks_as_the_two_batches_together():
    (old, old_labels), (new, new_labels) = lists(0, 3, 20), lists(1, 3, 20)
    memory = ScoreMemory(20, (3,)).double()
    memory(old, old_labels)
    scores, labels, where = memory(new, new_labels)
    together = APLoss()(torch.cat([new, old], -1), torch.cat([new_labels, old_labels], -1))
    assert torch.equal(APLoss()(scores, labels, where), together)


def test_a_remembered_entry_has_no_gradient_and_a_new_one_that_of_a_batch_of_this_size():
    (old, old_labels), (new, new_labels) = lists(0, 2, 30), lists(1, 2, 10)
    memory = ScoreMemory(30, (2,)).double()
    old.requires_grad_()
    memory(old, old_labels)
    new.requires_grad_()
    APLoss()(*memory(new, new_labels)).backward()
    whole = torch.cat([new.detach(), old.detach()], -1).requires_grad_()
    APLoss()(whole, torch.cat([new_labels, old_labels], -1)).backward()
    assert old.grad is None
    # Ten of forty entries move, so they move four times as far.
    torch.testing.assert_close(new.grad, 4 * whole.grad[:, :10])


def test_a_memory_keeps_the_newest_entries_and_ignores_what_it_has_not_seen():
    memory = ScoreMemory(4).double()
    for first in (1.0, 2.0, 3.0):
        scores, _, where = memory(torch.tensor([first, first + 0.5]), torch.tensor([1.0, 0.0]))
    assert scores.tolist() == [3.0, 3.5, 2.0, 2.5, 1.0, 1.5]
    assert where.all()
    assert memory.scores.tolist() == [3.0, 3.5, 2.0, 2.5]
    fresh = ScoreMemory(4)(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 0.0]))
    assert fresh[2].tolist() == [True, True, False, False, False, False]


def test_a_memory_shorter_than_a_batch_keeps_a_part_of_it():
    memory = ScoreMemory(2)
    memory(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 0.0, 0.0]))
    assert memory.scores.tolist() == [1.0, 2.0]


def test_a_memory_gives_a_class_without_positives_in_the_batch_rivals():
    memory, loss = ScoreMemory(4), APLoss()
    loss(*memory(torch.tensor([-1.0, -2.0]), torch.tensor([1.0, 0.0])))
    scores = torch.tensor([3.0, 2.0], requires_grad=True)
    loss(*memory(scores, torch.zeros(2))).backward()
    assert (scores.grad > 0).all()


def test_a_memory_is_saved_with_a_module_and_refuses_other_lists():
    memory = ScoreMemory(3, (2,))
    memory(torch.ones(2, 2), torch.ones(2, 2))
    other = ScoreMemory(3, (2,))
    other.load_state_dict(memory.state_dict())
    assert torch.equal(other.scores, memory.scores)
    with pytest.raises(DataError, match="the same leading dimensions at every step"):
        memory(torch.ones(3, 2), torch.ones(3, 2))
    with pytest.raises(ConfigError, match="a memory of 0 scores"):
        ScoreMemory(0)


def test_half_precision_is_remembered_and_given_back_in_its_own_type():
    memory = ScoreMemory(4)
    assert memory(torch.ones(2, dtype=torch.bfloat16), torch.ones(2))[0].dtype == torch.bfloat16


@pytest.mark.parametrize("name", RANKING)
def test_a_list_per_iou_threshold_gives_the_mean_over_the_thresholds_that_have_positives(name):
    scores, labels = lists(2, 3, 40)
    loss = LOSSES[name]()
    thresholds = (0.0, 0.3, 0.6)
    split = loss(*split_by_iou(scores, labels, thresholds=thresholds))
    each = [
        torch.stack(list(loss.components(row[None], ((label > 0) & (label >= bound)).double()[None]).values())).sum()
        for row, label in zip(scores, labels, strict=True)
        for bound in thresholds
        if ((label > 0) & (label >= bound)).any()
    ]
    torch.testing.assert_close(split, torch.stack(each).mean())


def test_ignored_entries_stay_ignored_at_every_threshold():
    scores, labels = torch.randn(6), torch.tensor([0.9, 0.0, -1.0, 0.4, 0.0, 0.7])
    where = torch.tensor([True, True, True, True, False, True])
    split_scores, split_labels, split_where = split_by_iou(scores, labels, where, thresholds=(0.0, 0.5))
    assert split_scores.shape == (2, 6)
    assert split_labels.tolist() == [[1.0, 0.0, -1.0, 1.0, 0.0, 1.0], [1.0, 0.0, -1.0, 0.0, 0.0, 1.0]]
    assert torch.equal(split_where, where.expand(2, 6))


@pytest.mark.parametrize("thresholds", [(), (-0.1,), (0.5, 1.0)])
def test_thresholds_outside_zero_to_one_are_refused(thresholds):
    with pytest.raises(ConfigError, match=r"expected at least one, each in \[0, 1\)"):
        split_by_iou(torch.zeros(2), torch.zeros(2), thresholds=thresholds)


def test_without_a_process_group_gathering_changes_nothing():
    scores, labels = lists(0, 2, 5)
    gathered = gather_lists(scores, labels)
    assert gathered[0] is scores
    assert gathered[1] is labels
    assert gathered[2].all()


def _process(rank: int, port: int, sizes: list[int], results) -> None:
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=len(sizes))
    scores, labels = lists(rank, 2, sizes[rank])
    scores.requires_grad_()
    where = torch.ones_like(scores, dtype=torch.bool)
    where[:, -1] = False
    value = RankSortLoss()(*gather_lists(scores, labels, where))
    value.backward()
    results.put((rank, value.item(), scores.grad.tolist()))
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_rank_as_one_with_both_batches():
    sizes = [12, 9]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=_process, args=(rank, port, sizes, results)) for rank in range(2)]
    for process in processes:
        process.start()
    by_rank = {rank: (value, gradient) for rank, value, gradient in (results.get(timeout=120) for _ in sizes)}
    for process in processes:
        process.join(timeout=60)
    both = [lists(rank, 2, size) for rank, size in enumerate(sizes)]
    scores = torch.cat([part[0] for part in both], -1).requires_grad_()
    labels = torch.cat([part[1] for part in both], -1)
    where = torch.ones_like(scores, dtype=torch.bool)
    where[:, [sizes[0] - 1, -1]] = False
    expected = RankSortLoss()(scores, labels, where)
    expected.backward()
    parts = scores.grad.split(sizes, -1)
    for rank in range(2):
        assert by_rank[rank][0] == pytest.approx(expected.item(), abs=1e-12)
        # Averaging over the two processes halves it again.
        torch.testing.assert_close(torch.tensor(by_rank[rank][1], dtype=torch.float64), 2 * parts[rank])
