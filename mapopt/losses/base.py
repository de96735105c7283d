"""What every loss of the family has in common: one signature, lists as leading dimensions, and the edge cases.

A member only says what its components are on a flat batch of lists; this class flattens, widens half precision, gives 0
for lists without a positive, lets a NaN score through to the value, and averages. Parameters are plain attributes that
are read at every call, so a knob can turn them while a detector trains.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from mapopt.errors import ConfigError
from mapopt.losses.sums.compiler import not_traced, torch_func_explained
from mapopt.losses.sums.domain import as_fact
from mapopt.losses.sums.lists import Lists, accumulation_type, as_lists
from mapopt.losses.sums.one_pass import OnePass


class KnobRange(Protocol):
    """The closed interval of a knob, as `mapopt.training.Range` has it."""

    @property
    def low(self) -> float:
        """The smallest value."""

    @property
    def high(self) -> float:
        """The largest value."""

    @property
    def log(self) -> bool:
        """Whether its natural scale is logarithmic."""


class ListLoss(nn.Module, ABC):
    """A differentiable surrogate of 1 - AP on lists of scores.

    A loss of your own is a subclass with one method, `evaluate`; or any function, see `as_list_loss`.

    Attributes:
        pointwise: every score is taken by itself; what is called a list only sets the normalization.
        soft_labels: the values of the labels matter (a positive's IoU), not only which are above 0.
        error_rate: the value is a fraction of something that went wrong, at most about 1, as 1 - AP is: earlier
            versions scaled a detector's box loss to it.
        default_class_weight: the weight of the loss beside a box loss of weight 1 from which a detector starts, where
            nothing else is asked for.
        saturates: the scores go through a sigmoid first, so that there is no gradient far from 0.
        reads: what else the loss wants to know of every entry, by name; see `forward`. A detector knows ``"classes"``,
            the position of its class; ``"frequencies"``, the fraction of the objects to train on that are of its class;
            ``"objects"``, a number for the object that it answers for, in every list its own, or -1.
        remembers: names of the buffers in which the loss keeps what it has seen, see `prepare`. Zeros are the state in
            which it has seen nothing.
        knobs: name -> range (`mapopt.training.Range`) of attributes that may change while a detector trains, as ours
            do. The attribute's value is the default. A trainer sets it at every step; read it with `per_list`.

    A parameter (for example ``delta``) is a number, or a tensor that broadcasts to the leading dimensions of the
    scores, with or without a last dimension of 1: lanes of a fleet can have different values.

    Example:
        >>> import torch
        >>> from mapopt.losses import APLoss
        >>> scores = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -3.0]], requires_grad=True)
        >>> labels = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
        >>> APLoss().lists(scores, labels)["rank"].detach()
        tensor([0.0000, 0.5000])
        >>> APLoss()(scores, labels).item()
        0.25
    """

    pointwise: bool = False
    soft_labels: bool = False
    error_rate: bool = True
    default_class_weight: float = 1.0
    saturates: bool = False
    reads: tuple[str, ...] = ()
    remembers: tuple[str, ...] = ()
    knobs: Mapping[str, KnobRange] = {}

    @not_traced
    def forward(
        self,
        scores: Tensor,
        labels: Tensor,
        where: Tensor | None = None,
        *,
        facts: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Returns the sum of the components, a scalar.

        A score of NaN gives NaN, and so does an infinite one, except that a negative at -inf is one that was masked: it
        counts as the lowest. `torch.compile` leaves a loss out of what it traces, so value and gradient are the same;
        with ``fullgraph=True`` it says so and stops. Under `torch.func` and `torch.vmap` a ConfigError says what to do.

        Args:
            scores: logits ``[..., n]``, a tensor, an array or lists of numbers; leading dimensions are independent
                lists.
            labels: ``[..., n]``, 0 for negatives, a value in (0, 1] for positives; labels below 0 are ignored.
            where: bool ``[..., n]``, False for entries to ignore.
            facts: what else is known of every entry, by the names that the loss `reads`, each ``[..., n]`` or
                broadcastable to it. What is not given counts as unknown, which the loss describes.

        Raises:
            DataError: shapes or types do not fit, or labels are outside their domain.
        """
        task = None if facts else self.in_one_pass()
        value = None if task is None else task.value(scores, labels, where)
        if value is not None:
            return value
        # An own loss that knows of no facts may write its components without them.
        known = {} if facts is None else {"facts": facts}
        return torch.stack(list(self.components(scores, labels, where, **known).values())).sum()

    @not_traced
    def components(
        self,
        scores: Tensor,
        labels: Tensor,
        where: Tensor | None = None,
        *,
        facts: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Returns each component as a scalar: its mean over the lists that contain a positive.

        Without any positive each is 0, with zero gradient. Arguments as in `forward`.
        """
        lists = _lists_of(scores, labels, where, facts)
        number = (lists.count > 0).sum().clamp(min=1)
        return {name: value.sum() / number for name, value in self._values(lists).items()}

    @not_traced
    def lists(
        self,
        scores: Tensor,
        labels: Tensor,
        where: Tensor | None = None,
        *,
        facts: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Returns each component for every list by itself, ``[...]``; a list without a positive gives 0.

        Arguments as in `forward`.
        """
        task = None if facts else self.in_one_pass()
        values = None if task is None else task.lists(scores, labels, where)
        if values is not None:
            return values
        lists = _lists_of(scores, labels, where, facts)
        return {name: value.reshape(lists.leading) for name, value in self._values(lists).items()}

    def _values(self, lists: Lists) -> dict[str, Tensor]:
        """Returns what the member computes of the lists, each in the type that its own scores ask for."""
        (first, counts), *rest = lists.parts()
        values = self._finished(first)
        for part in rest:
            others = self._finished(part[0])
            assert counts is not None
            values = {name: torch.where(counts, value, others[name]) for name, value in values.items()}
        return values

    def _finished(self, lists: Lists) -> dict[str, Tensor]:
        """Finishes what the member computed: no positive, no loss; and NaN stays NaN."""
        ranked = lists.count > 0
        with torch_func_explained(lists.scores, type(self).__name__):
            values = self.evaluate(lists)
        if not isinstance(values, Mapping) or not values:
            raise ConfigError(
                f"{type(self).__name__}.evaluate returned {type(values).__name__}; expected its components by name, "
                "such as {'rank': value} with one value per list"
            )
        finished = {}
        for name, value in values.items():
            if not isinstance(value, Tensor) or value.shape != ranked.shape:
                given = f"shape {list(value.shape)}" if isinstance(value, Tensor) else f"type {type(value).__name__}"
                raise ConfigError(
                    f"{type(self).__name__}.evaluate returned '{name}' of {given}; expected a tensor with one value "
                    f"per list, {list(ranked.shape)}"
                )
            value = (value if lists.all_ranked else torch.where(ranked, value, 0.0)).to(lists.type)
            finished[name] = value.masked_fill(lists.bad, torch.nan) if lists.has_bad else value
        return finished

    @abstractmethod
    def evaluate(self, lists: Lists) -> dict[str, Tensor]:
        """Computes the components, each a value per list: the one method that a loss of your own writes.

        What it says of a list without a positive is not used: the family gives 0 there.

        Args:
            lists: scores and labels ``[lists, n]``, which of them are positives and negatives, and their numbers. What
                is ignored is neither: multiply with these masks, or fill with -inf, before anything is summed. What
                else is known of the entries is in ``lists.facts``, by name and ``[lists, n]``.

        Returns:
            name -> ``[lists]``, in the order in which they are to be reported. The value of the loss is their sum.

        Example:
            >>> class HingeLoss(ListLoss):
            ...     error_rate = False
            ...
            ...     def __init__(self, margin=1.0):
            ...         super().__init__()
            ...         self.margin = margin
            ...
            ...     def evaluate(self, lists):
            ...         best = lists.scores.masked_fill(~lists.negative, -torch.inf).amax(-1, keepdim=True)
            ...         errors = (best - lists.scores + self.per_list("margin", lists)).clamp(min=0)
            ...         return {"rank": (errors * lists.positive).sum(-1) / lists.count.clamp(min=1)}
            >>> HingeLoss(margin=2.0)(torch.tensor([1.0, 0.0, -3.0]), torch.tensor([1.0, 0.0, 0.0]))
            tensor(1.)
        """

    def in_one_pass(self) -> OnePass | None:
        """Returns how the loss is computed in one compiled pass, with the same bits; None where it is not."""
        return None

    def start_weight(self) -> float:
        """Returns the class weight that a detector starts from where nothing else is asked for.

        An exact gradient shrinks with the error, as a pointwise loss's does, and starts from 1.
        """
        return 1.0 if getattr(self, "gradient", None) == "exact" else float(self.default_class_weight)

    def prepare(self, *, lanes: int, classes: int, device: torch.device | str = "cpu") -> None:
        """Makes room for what the loss `remembers`, for lists of so many lanes and classes, and forgets everything.

        Each buffer is then ``[lanes, ...]``, is changed at every call with scores that require a gradient while the
        loss is in training mode, and is a part of ``state_dict()``. Most losses remember nothing.
        """

    def remembered(self) -> dict[str, Tensor]:
        """Returns the buffers that the loss `remembers`, by name; none before `prepare`."""
        kept = {name: getattr(self, name) for name in self.remembers}
        return {name: value for name, value in kept.items() if value is not None}

    def set_knobs(self, values: Mapping[str, Tensor], *, dimensions: int) -> None:
        """Sets the attributes that are knobs, so that they fit lists whose first dimension is the lanes'.

        Args:
            values: name -> ``[lanes]``; names that are no knobs of this loss are left alone.
            dimensions: of the scores that follow, at least 2, such as 3 for ``[lanes, lists, n]``.
        """
        for name in self.knobs:
            if name in values:
                setattr(self, name, values[name].reshape(-1, *[1] * (dimensions - 1)))

    def per_list(
        self, name: str, lists: Lists, *, above: float | None = None, within: tuple[float, float] | None = None
    ) -> float | Tensor:
        """Returns an attribute as a number, or as a column ``[lists, 1]`` in the type that sums are accumulated in.

        Args:
            name: of the attribute.
            lists: whose leading dimensions a tensor has to fit.
            above: what the numbers have to be larger than.
            within: the smallest and the largest number.

        Raises:
            ConfigError: the tensor does not fit, or a number is out of range.
        """
        value = getattr(self, name)
        if not isinstance(value, Tensor):
            if above is not None and not value > above:
                raise ConfigError(f"{type(self).__name__} got {name}={value}; expected a number above {above:g}")
            if within is not None and not within[0] <= value <= within[1]:
                raise ConfigError(
                    f"{type(self).__name__} got {name}={value}; expected a number from {within[0]:g} to {within[1]:g}"
                )
            return float(value)
        if value.dim() > len(lists.leading) and value.shape[-1] == 1:
            value = value.squeeze(-1)
        try:
            value = value.expand(lists.leading)
        except RuntimeError:
            raise ConfigError(
                f"{type(self).__name__} got {name} of shape {list(getattr(self, name).shape)}; expected a number or "
                f"a tensor that broadcasts to the leading dimensions {list(lists.leading)} of the scores"
            ) from None
        if above is not None and not bool((value > above).all()):
            raise ConfigError(f"{type(self).__name__} got {name} with {value.min():g}; expected values above {above:g}")
        if within is not None and not bool(((value >= within[0]) & (value <= within[1])).all()):
            raise ConfigError(
                f"{type(self).__name__} got {name} from {value.min():g} to {value.max():g}; expected values from "
                f"{within[0]:g} to {within[1]:g}"
            )
        return value.reshape(-1, 1).to(lists.scores.device, accumulation_type(lists.scores.device))

    def word(self, name: str, words: tuple[str, ...]) -> str:
        """Returns an attribute that is one of a few words.

        Raises:
            ConfigError: it is another word.
        """
        value = getattr(self, name)
        if value not in words:
            known = " or ".join(repr(word) for word in words)
            raise ConfigError(f"{type(self).__name__} got {name}={value!r}; expected {known}")
        return value

    def extra_repr(self) -> str:
        """Shows the parameters, as ``APLoss(delta=1.0, ...)``."""
        public = {name: value for name, value in vars(self).items() if not name.startswith("_") and name != "training"}
        return ", ".join(f"{name}={value}" for name, value in public.items())


def _lists_of(scores: Tensor, labels: Tensor, where: Tensor | None, facts: Mapping[str, Tensor] | None) -> Lists:
    """Returns the lists; empty ones get an entry that is ignored, so that no member has to think of them."""
    scores, labels, where = as_lists(scores, labels, where)
    if scores.dim() and scores.shape[-1] == 0 and scores.shape == labels.shape:
        padded = {
            name: nn.functional.pad(as_fact(name, value, scores), (0, 1)) for name, value in (facts or {}).items()
        }
        return Lists(nn.functional.pad(scores, (0, 1)), nn.functional.pad(labels, (0, 1), value=-1.0), facts=padded)
    return Lists(scores, labels, where, facts=facts)
