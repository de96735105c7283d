"""What one evaluator costs on one set: a row of the tables of `mapopt bench ap`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one evaluator costs on one set; no numbers where it could not be measured, and why.

    Attributes:
        set: Name of the set.
        evaluator: What the table calls it.
        version: Of its package.
        ours: Whether it is this package's.
        whole: Whether it measures the twelve numbers, one evaluation a call; only such are compared with each other.
        convert: Processor seconds from arrays in memory to what it takes.
        evaluate: Processor seconds from that to the numbers.
        memory: Bytes at the peak of the first run beyond what its process held before.
        difference: The largest of what its numbers differ from pycocotools'.
        problem: Why there are no numbers.
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
