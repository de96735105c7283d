"""Every evaluator gets the same boxes and gives the same twelve numbers, ours in all its ways."""

from __future__ import annotations

import pickle
import time
from functools import partial
from operator import attrgetter

import numpy as np
import pytest
from numpy.typing import NDArray

from mapopt.experiments.bench.peers.average_precision import PEERS, PYCOCOTOOLS, Peer
from mapopt.experiments.bench.peers.ours import our_bootstrap, our_lanes, ours
from mapopt.experiments.bench.peers.sets import BoxSet, SetSize, make_set
from mapopt.experiments.bench.peers.workers import PeerError, Worker, run_in_turn

TINY = SetSize(images=12, categories=4, objects=6, detections=20)
TOLERANCE = {"torchmetrics": 5e-3}
"""It takes recall levels in float32, so that some are missed by a hit."""


@pytest.fixture(scope="module")
def boxes() -> BoxSet:
    return make_set(TINY, seed=2)


@pytest.fixture(scope="module")
def expected(boxes: BoxSet) -> NDArray[np.float64]:
    return PYCOCOTOOLS.evaluate(PYCOCOTOOLS.convert(boxes))


def test_the_boxes_are_a_test_at_all(expected: NDArray[np.float64], boxes: BoxSet) -> None:
    assert 0.1 < expected[0] < 0.9
    assert boxes.truth_crowd.any()


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_gives_pycocotools_numbers(name: str, boxes: BoxSet, expected: NDArray[np.float64]) -> None:
    peer = PEERS[name]
    if not peer.installed:
        pytest.skip(f"{name} is not installed")
    numbers = peer.evaluate(peer.convert(boxes))
    assert numbers.shape == (12,)
    np.testing.assert_allclose(numbers, expected, rtol=0, atol=TOLERANCE.get(name, 1e-12))
    assert peer.version


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("make", [ours, partial(our_lanes, lanes=3)])
def test_ours_gives_pycocotools_bits(make, backend: str, boxes: BoxSet, expected: NDArray[np.float64]) -> None:
    peer = make(backend)
    if not peer.installed:
        pytest.skip(f"{backend} is not installed")
    assert np.array_equal(peer.evaluate(peer.convert(boxes)), expected)


@pytest.mark.parametrize("make", [partial(ours, mode="reward"), partial(our_lanes, lanes=3, mode="reward")])
def test_a_reward_is_a_part_of_the_numbers(make, boxes: BoxSet, expected: NDArray[np.float64]) -> None:
    peer = make("numpy")
    numbers = peer.evaluate(peer.convert(boxes))
    assert np.flatnonzero(~np.isnan(numbers)).tolist() == [0, 1, 2, 8]
    assert np.array_equal(numbers[[0, 1, 2, 8]], expected[[0, 1, 2, 8]])
    assert not peer.whole


def test_a_bootstrap_begins_at_the_numbers(boxes: BoxSet, expected: NDArray[np.float64]) -> None:
    peer = our_bootstrap("numpy", 5)
    assert np.array_equal(peer.evaluate(peer.convert(boxes))[:3], expected[:3])
    assert (peer.evaluations, peer.whole) == (5, False)


def test_a_package_that_is_not_there_is_known_to_be_missing() -> None:
    peer = Peer("nobody", "nobody", ("mapopt", "nobody_at_all"), len, len)
    assert not peer.installed
    assert peer.remedy == "pip install 'mapopt[peers]'"
    assert ours("numba").remedy == "pip install numba"


def test_every_evaluator_can_be_sent_to_a_process() -> None:
    for peer in [*PEERS.values(), ours("numpy"), our_lanes("numba", 2), our_bootstrap("numba", 2)]:
        assert pickle.loads(pickle.dumps(peer)).name == peer.name


def test_a_turn_lasts_as_long_as_asked_and_keeps_its_fastest_run(boxes: BoxSet) -> None:
    calls = []

    def work(converted: BoxSet) -> NDArray[np.float64]:
        calls.append(1)
        end = time.process_time() + (0.04 if len(calls) == 1 else 0.002)
        while time.process_time() < end:
            pass
        return np.zeros(12)

    peer = Peer("fake", "mapopt", (), lambda given: given, work)
    assert run_in_turn(peer, boxes, 0.06).total < 0.02
    assert len(calls) > 2
    calls.clear()
    assert run_in_turn(peer, boxes, 0).total > 0.03
    assert len(calls) == 1


def test_the_memory_of_a_turn_is_what_the_run_held_at_its_peak() -> None:
    # In a process of its own, as in a benchmark: this one may have 50 MB lying about that need not be asked for.
    repeat = partial(np.resize, new_shape=50_000_000 // 8)
    worker = Worker(Peer("fake", "mapopt", (), attrgetter("truth_boxes"), repeat), TINY)
    try:
        # Linux counts a process's pages roughly, and takes some away while others need memory: a busy machine spoils
        # single turns, and none of a quiet one.
        turns = [worker.run(0).memory for _ in range(8)]
    finally:
        worker.close()
    if np.isnan(turns[0]):
        pytest.skip("this system does not say how much memory a process held")
    assert min(abs(memory - 55e6) for memory in turns) < 15e6


def test_a_worker_gives_the_numbers_of_its_own_process_and_reports_what_fails() -> None:
    worker = Worker(ours("numpy"), TINY, 2)
    try:
        peer = ours("numpy")
        assert np.array_equal(worker.run(0).stats, peer.evaluate(peer.convert(make_set(TINY, seed=2))))
        worker._process.kill()
        worker._process.join()
        with pytest.raises(PeerError, match="its process died with exit code -9"):
            worker.run(0)
    finally:
        worker.close()


def test_what_a_package_raises_is_one_line() -> None:
    worker = Worker(Peer("fake", "mapopt", (), len, len), TINY)
    try:
        with pytest.raises(PeerError, match=r"^TypeError: object of type 'BoxSet' has no len\(\)$"):
            worker.run(0)
    finally:
        worker.close()
