"""The running average of the weights is the formula it is documented by, step by step."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mapopt.training import Task, Trainer


@pytest.mark.parametrize("ema", [0.2, 0.9])
def test_the_average_follows_a_decay_that_warms_up_to_its_limit(make_task: Callable[..., Task], ema: float) -> None:
    trainer = Trainer(make_task(ema=ema))
    engine = trainer.fleet._engines[0]
    average = engine.detector.weights.detach()[0].clone()
    for step in range(4):
        trainer.train(4)
        decay = min(ema, (1 + step) / (10 + step))
        average = average * decay + engine.detector.weights.detach()[0] * (1 - decay)
        torch.testing.assert_close(engine.average[0], average, rtol=1e-6, atol=1e-7)
