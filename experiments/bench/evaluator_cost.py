"""What an evaluator costs on a set: a row of the tables of `mapopt bench ap`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EvaluatorCost:
    """What an evaluator costs on a set; no numbers where it could not be measured, and why.

    Attributes:
        set: name of the set.
        evaluator: what the table calls it.
        version: of its package.
        ours: whether it is this package's.
        whole: whether it measures the twelve numbers, one evaluation a call; only such are compared with each other.
        convert: processor seconds from arrays in memory to what it takes.
        evaluate: processor seconds from that to the numbers.
        memory: bytes at the peak of the first run beyond what its process held before.
        difference: the largest of what its numbers differ from pycocotools'.
        problem: why there are no numbers.
    """

    set: str
    evaluator: str
    version: str = ""
    ours: bool = False
    whole: bool = True
    convert: float | None = None
    evaluate: float | None = None
    memory: float | None = None
    difference: float | None = None
    problem: str = ""

    @property
    def total(self) -> float | None:
        """Processor seconds from arrays in memory to the numbers."""
        return None if self.convert is None or self.evaluate is None else self.convert + self.evaluate
