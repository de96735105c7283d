"""What detectors contradict, as findings with a proposal and a price, beside what was found without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from mapopt.data.auditing.audit import Audit
from mapopt.data.auditing.boxes import as_boxes
from mapopt.data.auditing.findings import BY_MODEL, Finding, Price, Proposal, TrainedPrice, ranked
from mapopt.evaluation.label_audit.appearance import Appearance
from mapopt.evaluation.label_audit.pool import Pool
from mapopt.evaluation.label_audit.prices import Pricing
from mapopt.evaluation.label_audit.settings import Demand
from mapopt.evaluation.label_audit.suspects import Suspect, Suspects, find_suspects
from mapopt.metrics import Detections
from mapopt.metrics.overlaps import pair_iou


def contradicted(
    audit: Audit,
    pool: Pool,
    detections: Detections,
    demand: Demand,
    *,
    kinds: Sequence[str] = (),
    device: torch.device | str = "cpu",
    looks: Appearance | None = None,
) -> Audit:
    """Returns an audit with what detections contradict, each with what is seen instead and what AP it costs.

    Args:
        audit: of the data set, made without detectors.
        pool: its images and labels, see `pool_of`.
        detections: of the pool's images, by detectors that did not learn from them; images and labels are positions in
            the pool. With detectors that did, what is overlooked or wrong in training seems right.
        demand: what is wanted.
        kinds: look for these alone; by default for all that detectors can find.
        device: where lanes train, if prices by training are wanted.
        looks: what the pictures in boxes look like, where that is known.
    """
    result = find_suspects(pool.annotations, detections, seed=demand.seed, confidence=demand.confidence, looks=looks)
    wanted = set(kinds) or set(BY_MODEL)
    twice = {
        (finding.part, finding.objects[0])
        for finding in audit.findings
        if finding.kind in ("duplicate", "near_duplicate")
    }
    suspects = [each for each in result.all if each.kind in wanted and not _known(each, pool, twice)]
    gains, prices = _prices(pool, detections, result, suspects, demand)
    findings = [
        _finding(audit, pool, detections, suspect, gains.get(number)) for number, suspect in enumerate(suspects)
    ]
    trained: tuple[TrainedPrice, ...] = ()
    if demand.training_seeds:
        from mapopt.evaluation.label_audit.training_price import price_by_training

        trained = price_by_training(
            pool, detections, suspects, demand.training, seeds=demand.training_seeds, device=device
        )
    return replace(audit, findings=ranked([*audit.findings, *findings]), prices=prices, trained_prices=trained)


def _known(suspect: Suspect, pool: Pool, twice: set[tuple[str, int]]) -> bool:
    """Says whether a second label of an object was found without detectors already."""
    if suspect.kind != "labeled_twice":
        return False
    part = pool.parts[pool.part[suspect.image]]
    return any((part, int(pool.row[label])) in twice for label in (suspect.label, suspect.other))


def _prices(
    pool: Pool, detections: Detections, result: Suspects, suspects: Sequence[Suspect], demand: Demand
) -> tuple[dict[int, float], tuple[Price, ...]]:
    """Returns what single suspects cost, by their position, and what the kinds cost, set by set."""
    gains: dict[int, float] = {}
    prices = []
    for part, name in enumerate(pool.parts) if demand.prices else ():
        of_part = [number for number, each in enumerate(suspects) if pool.part[each.image] == part]
        if not of_part:
            continue
        pricing = Pricing(pool.annotations, detections, pool.part == part, result.fits)
        for kind in BY_MODEL:
            of_kind = [number for number in of_part if suspects[number].kind == kind]
            if of_kind:
                some = of_kind[: demand.prices]
                gains |= zip(some, pricing.each([suspects[number] for number in some]), strict=True)
                prices.append(pricing.together(kind, name, [suspects[number] for number in of_kind]))
        prices.append(pricing.together("all", name, [suspects[number] for number in of_part]))
    return gains, tuple(prices)


def _finding(audit: Audit, pool: Pool, detections: Detections, suspect: Suspect, price: float | None) -> Finding:
    raw = audit.sets[pool.part[suspect.image]]
    notes, image = pool.annotations, int(pool.image[suspect.image])
    seen = suspect.detection
    boxes = [] if suspect.label < 0 else [notes.boxes[suspect.label]]
    boxes += [] if suspect.other < 0 else [notes.boxes[suspect.other]]
    boxes += [] if seen < 0 else [detections.boxes[seen]]
    own = "" if suspect.label < 0 else notes.category_names[notes.labels[suspect.label]]
    category = own if seen < 0 else notes.category_names[detections.labels[seen]]
    if suspect.category >= 0:
        category = notes.category_names[suspect.category]
    score = "" if seen < 0 else f"score {detections.scores[seen]:.2f}"
    corners = None if seen < 0 else as_boxes(detections.boxes[[seen]])[0]
    label = None if category not in raw.category_names else raw.category_names.index(category)
    if suspect.kind == "overlooked":
        said = f"a {category} is seen here ({score}) and has no label"
        proposal = Proposal("add", box=corners, label=label, category=category)
    elif suspect.kind == "spurious":
        said, proposal = f"no object is seen where this {own} is labeled", Proposal("remove")
    elif suspect.kind == "swapped_class":
        said = f"labeled {own}, seen as {category} ({score})" if score else f"labeled {own}, looks like {category}"
        proposal = Proposal("change", label=label, category=category)
    elif suspect.kind == "badly_placed":
        overlap = pair_iou(notes.boxes[[suspect.label]], detections.boxes[[seen]])[0]
        said = f"this {own} is seen beside its box ({score}, IoU {overlap:.2f})"
        proposal = Proposal("change", box=corners)
    else:
        overlap = pair_iou(notes.boxes[[suspect.label]], notes.boxes[[suspect.other]])[0]
        said = f"{own} lies on another {own} (IoU {overlap:.2f}), and one is seen"
        proposal = Proposal("remove")
    objects = [int(pool.row[each]) for each in (suspect.label, suspect.other) if each >= 0]
    return Finding(
        suspect.kind,
        raw.part,
        raw.places[objects[0]] if objects else raw.file_names[image],
        said,
        figure=suspect.confidence,
        image=raw.file_names[image],
        boxes=as_boxes(np.array(boxes)),
        objects=tuple(objects),
        proposal=proposal,
        price=price,
    )
