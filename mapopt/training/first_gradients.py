"""Which of a detector's losses reach its weights: the boxes must not train alone because the class loss is detached.

It is looked at in the first interval of an engine only, and there as a rule in the first step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from mapopt.collectives import ALONE, Processes
from mapopt.detectors.interface import Detector
from mapopt.errors import ConfigError

_TERMS = ("class", "box")


class FirstGradients:
    """Looks at the gradient of each term of the losses until it has seen one that is not 0.

    Args:
        processes: that share the steps; what one of them sees, all know.
    """

    def __init__(self, processes: Processes = ALONE) -> None:
        self._processes = processes
        self._done = False
        self._heard: set[str] = set()
        self._silent: set[str] = set()

    def look(self, detector: Detector, losses: Mapping[str, Tensor]) -> None:
        """Looks at a step's losses, before their sum is taken back; leaves no gradient behind."""
        anywhere = self._processes.anywhere
        for name in () if self._done else _TERMS:
            value = losses[name]
            if name in self._heard or not anywhere(bool(value.detach().any())):
                continue  # a loss of 0 has nothing to say
            heard = False
            if anywhere(value.requires_grad):
                if self._processes.several:
                    # Where batch norms exchange numbers, every process has to go back through all of them.
                    value = value + 0.0 * sum(losses.values())
                    value.sum().backward(retain_graph=True)
                    heard = bool(detector.gradient().any())
                else:
                    heard = _sends_gradient(value, detector)
                detector.clear_gradient()
            (self._heard if anywhere(heard) else self._silent).add(name)
        self._done = self._done or self._heard == set(_TERMS)

    def check(self, task: str, loss: str) -> None:
        """Ends the looking, after the first interval.

        Raises:
            ConfigError: a loss that was not 0 sent no gradient to any weight, while the other one did.
        """
        self._done = True
        for name in sorted(self._silent - self._heard):
            if self._heard:
                what = f"the class loss ('{loss}')" if name == "class" else "the box loss"
                raise ConfigError(
                    f"{task}: {what} was not 0 in the first round, but sent no gradient to any weight, so that only "
                    f"the {min(self._heard)} loss trained: compute it from what the detector predicts, without "
                    ".detach(), .item(), rounding or numpy on the way"
                )


class _Heard(Exception):
    """A gradient that is not 0 has come to a weight."""


def _sends_gradient(value: Tensor, detector: Detector) -> bool:
    """Says whether a loss sends a gradient to any weight.

    It goes back to the first weight that gets some and no further: a whole pass that keeps its graph would need more
    memory than any step after it.
    """
    memory = detector.weights.untyped_storage().data_ptr()
    own = [leaf for leaf in _leaves(value) if leaf.untyped_storage().data_ptr() == memory]
    hooks = [leaf.register_hook(_listen) for leaf in own]
    try:
        value.sum().backward(retain_graph=True)
    except _Heard:
        return True
    finally:
        for hook in hooks:
            hook.remove()
    return bool(detector.gradient().any())


def _listen(gradient: Tensor) -> None:
    if bool(gradient.any()):
        raise _Heard


def _leaves(value: Tensor) -> Iterator[Tensor]:
    """Yields the tensors that a value was computed from and that gradients are kept for."""
    waiting, seen = [value.grad_fn], {value.grad_fn}
    while waiting:
        node = waiting.pop()
        if node is None:
            continue
        if hasattr(node, "variable"):
            yield node.variable
        following = {before for before, _ in node.next_functions} - seen
        seen |= following
        waiting += following
