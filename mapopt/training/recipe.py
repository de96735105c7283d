"""What stays the same while a detector trains."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

from mapopt.bounds import check_whole
from mapopt.data.augmentation.settings import NONE, Augmentation
from mapopt.detectors.objective import Objective
from mapopt.detectors.registry import (
    DETECTORS,
    check_detector_settings,
    default_optimizer,
    default_rates,
    default_soft_nms_sigma,
    trains_lanes,
)
from mapopt.detectors.request import HalfPrecision
from mapopt.errors import ConfigError, unknown_name
from mapopt.fields import LEFT_OUT_AT_DEFAULT, LEFT_OUT_WHEN_EMPTY, formerly
from mapopt.former_names import AUTOCASTS
from mapopt.losses.table import LOSS_TABLE, start_weight
from mapopt.registry import is_text, load
from mapopt.settings import check_values
from mapopt.training.knobs import BY_RECIPE, Knobs, Range, ranges
from mapopt.training.one_network import check_one_network
from mapopt.training.optimizers.registry import OPTIMIZERS, averages_already, default_lr, default_weight_decay
from mapopt.training.optimizers.table import OPTIMIZER_TABLE
from mapopt.training.own_knobs import OwnKnob, own_knobs

if TYPE_CHECKING:
    from mapopt.detectors.interface import KnobTable

BATCH_SIZE = 2**20
"""Images a step at the most."""

MAX_FACTOR = 100.0
"""Of a layer's learning rate."""

STATED_FOR = 16
"""Images a step that a learning rate is meant for where it is scaled with them."""

DEFAULT_OPTIMIZER = "default"
"""Stands for the optimizer of the recipe's detector."""

REPEAT_THRESHOLD = 0.3
"""Fraction of the images from which a class is not repeated. LVIS has .001, with 1203 classes."""

Autocast = Literal["auto", "none", "bfloat16", "float16"]

_PARTS = ("loss", "box_loss", "blend_with", "assignment", "detector", "optimizer")


@dataclass(frozen=True, kw_only=True)
class Recipe(Objective):
    """What does not change while a detector trains."""

    detector: str = "tiny"
    """tiny, nano, resnet18, resnet50; torchvision's retinanet, fcos, faster_rcnn, ssd, ssdlite, or the first three on a
    smaller body: retinanet_resnet18, fcos_resnet18, faster_rcnn_resnet18, faster_rcnn_mobilenet, or yet smaller:
    retinanet_small, fcos_small; or module:attribute for one of your own."""
    detector_settings: dict[str, int | float | bool | str] = field(default_factory=dict, metadata=LEFT_OUT_WHEN_EMPTY)
    """What a detector is built with, where it differs from its defaults: anchor_scale, a factor of the anchors' sides,
    of torchvision's detectors that have anchors; dropout, the probability with which a channel of a map that the heads
    read is left out, of all but tiny; of a detector of your own what its builder takes."""
    class_balance: Literal["none", "weights", "sampling", "repeat-factor"] = "none"
    """How rare classes are helped: weights by inverse frequency, of a pointwise loss's terms or of a ranking loss's
    lists; sampling, images drawn so that every class comes equally often; or repeat-factor, images of rare classes
    repeated in every epoch."""
    class_balance_power: float = field(default=1.0, metadata=LEFT_OUT_AT_DEFAULT)
    """Of weights: the power of the inverse frequencies; 1 gives every class the same weight in all."""
    class_weights: dict[str, float] = field(default_factory=dict, metadata=LEFT_OUT_WHEN_EMPTY)
    """Factors of classes by name, such as {Platelets: 2}; the others have 1. With class_balance weights they multiply
    its own. Like those they weigh a pointwise loss's terms or a ranking loss's lists."""
    repeat_threshold: float = field(default=REPEAT_THRESHOLD, metadata=LEFT_OUT_AT_DEFAULT)
    """Of repeat-factor: a class that a smaller fraction f of the images hold is repeated sqrt(threshold / f) times."""
    optimizer: str = DEFAULT_OPTIMIZER
    """default, which is muon for tiny and nano, adamw for the others here, and sgd for one of your own. Or sgd, adamw,
    nadamw or muon; prodigy or dog, which find their learning rate (--knobs.lr is a factor of it); schedule_free_adamw,
    for --controller constant; or module:attribute for one of your own or of torch's, such as torch.optim:RAdam."""
    optimizer_settings: dict[str, int | float | bool | str] = field(default_factory=dict, metadata=LEFT_OUT_WHEN_EMPTY)
    """Parameters of the optimizer that differ from its defaults, beside the knobs."""
    batch_size: int = 16
    """Images a step."""
    accumulate: int = field(default=1, metadata=LEFT_OUT_AT_DEFAULT)
    """Compute a step's images in so many pieces, one after the other, and average their gradients: a batch that would
    not fit into memory. Of detectors that train one set of weights at a time, so not of tiny."""
    scale_lr: bool = field(default=False, metadata=LEFT_OUT_AT_DEFAULT)
    """Take the learning rate as that of 16 images a step, and multiply it by batch_size / 16."""
    frozen: str = field(default="", metadata=LEFT_OUT_AT_DEFAULT)
    """A regular expression: layers whose names begin with a match keep their first weights, such as
    "backbone.body.(conv1|layer1)" of torchvision's detectors."""
    layer_lr: dict[str, float] = field(default_factory=dict, metadata=LEFT_OUT_WHEN_EMPTY)
    """Factors of the learning rate of some layers, such as {backbone: 0.1}: regular expression and factor; of those
    that match the beginning of a layer's name the first counts."""
    clip: float = 10.0
    """Largest gradient norm."""
    step_ratio_scope: Literal["lane", "layer"] = field(default="lane", metadata=LEFT_OUT_AT_DEFAULT)
    """What the knob step_ratio is the relative length of, where it is above 0: of the step of all weights, or of the
    step of every layer by itself, where norms and biases are one layer together."""
    ema: float = 0.0
    """Decay per step of the averaged weights that are evaluated; 0 evaluates the weights themselves, or the average
    that an optimizer (dog, schedule_free_adamw) keeps by itself."""
    weights: str | None = None
    """Pretrained weights, for detectors that have them: torchvision's name, or a file of a state dictionary, such as
    body.pth, of the same detector, of other categories perhaps, or of a classifier with its body."""
    autocast: Autocast = field(default="auto", metadata=formerly(AUTOCASTS))
    """Run the network in half precision, by torch's autocast: auto, in bfloat16 where the device is a GPU; none; or
    bfloat16 or float16 on any device. In float16 the loss is scaled as torch.amp.GradScaler does, each lane by
    itself."""
    multi_scale: float = field(default=0.0, metadata=LEFT_OUT_AT_DEFAULT)
    """Let the size of a step's images vary by up to this fraction either way, in whole multiples of what the detector
    asks for: .5 is from half to one and a half. Of detectors that train one set of weights at a time, so not of
    tiny."""
    augmentation: Augmentation = field(default=NONE, metadata=LEFT_OUT_AT_DEFAULT)
    """Kinds of augmentation with numbers of their own. What is left open follows --knobs.augment, the one strength of
    flip, scale, brightness, contrast, saturation and noise; the others are off. --knobs.augment-kinds is a factor of
    the probabilities of all that is given here."""

    def __post_init__(self) -> None:
        if not isinstance(self.optimizer, str):
            choice = OPTIMIZERS.choice(self.optimizer, self.optimizer_settings)
            object.__setattr__(self, "optimizer", choice.name)
            object.__setattr__(self, "optimizer_settings", choice.settings)
        if not isinstance(self.detector, str):
            choice = DETECTORS.choice(self.detector, self.detector_settings)
            object.__setattr__(self, "detector", choice.name)
            object.__setattr__(self, "detector_settings", choice.settings)
        if self.optimizer == DEFAULT_OPTIMIZER:
            object.__setattr__(self, "optimizer", default_optimizer(self.detector))
        super().__post_init__()
        check_whole("batch_size", self.batch_size, 1, BATCH_SIZE)
        check_whole("accumulate", self.accumulate, 1, BATCH_SIZE)
        if self.batch_size % self.accumulate:
            raise ConfigError(
                f"accumulate is {self.accumulate} with batch_size {self.batch_size}, the images of a whole step: "
                "expected a divisor of it"
            )
        check_one_network(self, lanes=trains_lanes(self.detector))
        for pattern, factor in self.layer_lr.items():
            if not 0 <= factor <= MAX_FACTOR:
                raise ConfigError(f"layer_lr has {factor} for '{pattern}': expected a factor from 0 to {MAX_FACTOR:g}")
        if not 0 <= self.multi_scale <= 0.75:
            raise ConfigError(f"multi_scale is {self.multi_scale}: expected 0 (one size) to 0.75, such as 0.5")
        if not self.clip > 0:
            raise ConfigError(f"clip is {self.clip}: expected a positive gradient norm")
        if not 0 <= self.ema < 1:
            raise ConfigError(f"ema is {self.ema}: expected 0 (no average) or a decay below 1, such as 0.99")
        if isinstance(self.autocast, bool):
            object.__setattr__(self, "autocast", AUTOCASTS[self.autocast])
        if self.autocast not in get_args(Autocast):
            raise ConfigError(unknown_name("autocast", str(self.autocast), get_args(Autocast)))
        if self.step_ratio_scope not in ("lane", "layer"):
            raise ConfigError(f"step_ratio_scope is {self.step_ratio_scope!r}: expected lane or layer")
        self._check_class_balance()
        check_detector_settings(self.detector, self.detector_settings)
        OPTIMIZERS.check_name(self.optimizer)
        if self.ema and self.optimizer in OPTIMIZER_TABLE and OPTIMIZER_TABLE[self.optimizer].averages:
            raise ConfigError(averages_already(self.optimizer, self.ema))

    def _check_class_balance(self) -> None:
        given = "class_weights is given" if self.class_weights else ""
        if self.class_balance == "weights":
            given = "class_balance is 'weights'"
        if given and self.is_detectors_own:
            raise ConfigError(f"{given} with a detector's own losses: name a loss, such as focal")
        ranking = self.loss in LOSS_TABLE and not LOSS_TABLE[self.loss].pointwise
        if given and ranking and self.scope not in (None, "class"):
            raise ConfigError(
                f"{given} with loss '{self.loss}' and scope '{self.scope}', whose lists have no class: expected scope "
                "'class', or a pointwise loss, such as focal"
            )
        for name, factor in self.class_weights.items():
            if not 0 <= factor <= MAX_FACTOR:
                raise ConfigError(
                    f"class_weights has {factor} for '{name}': expected a factor from 0 to {MAX_FACTOR:g}"
                )
        for name, of, default in (
            ("class_balance_power", "weights", 1.0),
            ("repeat_threshold", "repeat-factor", REPEAT_THRESHOLD),
        ):
            value = getattr(self, name)
            if self.class_balance != of and value != default:
                raise ConfigError(
                    f"{name} is {value} with class_balance '{self.class_balance}', which has no use for it: set "
                    f"class_balance to '{of}', or leave it out"
                )
        if not 0 <= self.class_balance_power <= 4:
            raise ConfigError(f"class_balance_power is {self.class_balance_power}: expected a number from 0 to 4")
        if not 0 < self.repeat_threshold <= 1:
            raise ConfigError(f"repeat_threshold is {self.repeat_threshold}: expected a fraction above 0, up to 1")

    def reopened(self) -> Recipe:
        """Returns a copy for which another detector can be chosen: an optimizer that is this one's is left to it.

        >>> dataclasses.replace(Recipe().reopened(), detector="resnet18").optimizer
        'adamw'
        """
        copied = copy.copy(self)
        if self.optimizer == default_optimizer(self.detector):
            object.__setattr__(copied, "optimizer", DEFAULT_OPTIMIZER)
        return copied

    def autocast_on(self, device: str) -> HalfPrecision:
        """Returns in which type of 16 bits a network runs on a kind of device.

        >>> Recipe().autocast_on("cuda"), Recipe().autocast_on("cpu"), Recipe(autocast="float16").autocast_on("cpu")
        ('bfloat16', 'none', 'float16')
        """
        if self.autocast == "auto":
            return "bfloat16" if device == "cuda" else "none"
        return self.autocast

    def scaled(self, knobs: KnobTable) -> KnobTable:
        """Returns the knobs of a step as an optimizer is to read them."""
        return {**knobs, "lr": knobs["lr"] * (self.batch_size / STATED_FOR)} if self.scale_lr else knobs

    @classmethod
    def of(cls, **fields: Any) -> Recipe:
        """Returns a recipe of parts that are given as names, as ``module:attribute``, or as they are.

        Args:
            fields: of the recipe. ``loss`` may be a loss, its class or a function, ``optimizer`` a class, and so on; it
                is kept as the name and the settings that it can be made again of, here and in worker processes.

        Raises:
            ConfigError: a field is unknown, or a part cannot be made again.

        >>> from mapopt.losses import APLoss
        >>> Recipe.of(loss=APLoss(delta=0.5), batch_size=8).loss_settings
        {'delta': 0.5}
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in fields:
            if name not in known:
                raise ConfigError(unknown_name("field of a recipe", name, known))
        given = fields.get("augmentation")
        if isinstance(given, Mapping):
            fields = {**fields, "augmentation": Augmentation.of(given)}
        objects = {name: fields[name] for name in _PARTS if not isinstance(fields.get(name, ""), str)}
        plain = {name: value for name, value in fields.items() if name not in objects}
        return cls(**objects, **check_values(cls, plain, "recipe"))

    @cached_property
    def own_knobs(self) -> dict[str, OwnKnob]:
        """The knobs that an own loss, detector or optimizer declares; imports these, and nothing for parts of ours."""
        return own_knobs(self._own_parts())

    @cached_property
    def class_weight(self) -> float:
        """The weight of the class loss that a task starts from where its knobs leave it open.

        It is the loss's own beside a box loss that is not balanced, else 1. Of a loss of one's own it imports the loss.
        """
        if self.is_detectors_own or self.balance != "none":
            return 1.0
        known = start_weight(self.loss, self.loss_settings)
        if known is not None:
            return known
        from mapopt.losses import make_loss  # here, because a recipe of our parts is read without torch

        weight, bounds = make_loss(self.loss, self.loss_settings).start_weight(), ranges()["class_weight"]
        if not bounds.low <= weight <= bounds.high:
            raise ConfigError(
                f"loss '{self.loss}' has a default_class_weight of {weight:g}: expected {bounds.low:g} to "
                f"{bounds.high:g}"
            )
        return weight

    @cached_property
    def lr(self) -> float:
        """The learning rate that a task starts from where its knobs leave it open: its detector's, or its optimizer's.

        Of an optimizer of one's own it imports the optimizer.
        """
        known = default_rates(self.detector, self.optimizer)[0]
        if known is not None:
            return known
        return self._inside("lr", default_lr(self.optimizer, otherwise=Knobs().get("lr")))

    @cached_property
    def weight_decay(self) -> float:
        """The weight decay that a task starts from where its knobs leave it open; as `lr`."""
        known = default_rates(self.detector, self.optimizer)[1]
        if known is not None:
            return known
        otherwise = Knobs().get("weight_decay")
        return self._inside("weight_decay", default_weight_decay(self.optimizer, otherwise=otherwise))

    @property
    def soft_nms_sigma(self) -> float:
        """The width of Soft-NMS that a task starts from where its knobs leave it open: its detector's."""
        return default_soft_nms_sigma(self.detector)

    def _inside(self, knob: str, value: float) -> float:
        bounds = ranges()[knob]
        if not bounds.low <= value <= bounds.high:
            raise ConfigError(
                f"optimizer '{self.optimizer}' has a default_{knob} of {value:g}: expected {bounds.low:g} to "
                f"{bounds.high:g}"
            )
        return value

    def settle(self, knobs: Knobs) -> Knobs:
        """Returns knobs with what they leave open: learning rate, weight decay, class weight and Soft-NMS; the
        assignment is left to the controller.

        Own knobs are a task's to fill in.
        """
        return knobs.settled_by({name: getattr(self, name) for name in BY_RECIPE if getattr(knobs, name) is None})

    def _own_parts(self) -> Iterator[tuple[str, Any, dict[str, Any]]]:
        """Yields the parts that are not ours: what messages call each, the part, and what it will be made with."""
        losses = [(self.loss, self.loss_settings), (self.blend_with, self.blend_settings)]
        for name, settings in (*losses, *((name, {}) for name in self.auxiliary)):
            if is_text(name):
                from mapopt.losses import make_loss  # here, because a recipe of our parts is read without torch

                loss = make_loss(name, settings)
                if any(parameter.requires_grad for parameter in loss.parameters()):
                    raise ConfigError(
                        f"loss '{name}' has parameters of its own, which nothing would train: declare them as "
                        "knobs, or freeze them by requires_grad_(False)"
                    )
                yield f"loss '{name}'", loss, {}
        if is_text(self.detector):
            yield f"detector '{self.detector}'", load(self.detector, "detector"), self.detector_settings
        if is_text(self.optimizer):
            yield f"optimizer '{self.optimizer}'", load(self.optimizer, "optimizer"), self.optimizer_settings

    def ranges(self) -> dict[str, Range]:
        """Returns name -> range of every knob: ours, then those of own parts."""
        return ranges() | self.own_ranges()

    def own_ranges(self) -> dict[str, Range]:
        """Returns name -> range of the knobs that own parts declare."""
        return {name: knob.range for name, knob in self.own_knobs.items()}
