"""The audit of a data set with detectors: `mapopt audit --model` and `--folds` from Python."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from mapopt.data.auditing.audit import Audit, audit
from mapopt.data.layouts import Layout
from mapopt.devices import choose_device
from mapopt.evaluation.label_audit.detecting import alike, detect_with_folds, detect_with_model
from mapopt.evaluation.label_audit.findings import contradicted
from mapopt.evaluation.label_audit.looking import appearance_of
from mapopt.evaluation.label_audit.pool import pool_of
from mapopt.evaluation.label_audit.settings import Demand, FoldSettings
from mapopt.evaluation.label_audit.training_price import check_sets
from mapopt.wording import speaks_python


@speaks_python
def audit_labels(
    data: str | Path,
    by: str | Path | FoldSettings,
    *,
    demand: Demand | None = None,
    layout: Layout = "auto",
    workers: int = 0,
    device: str = "auto",
    threads: int = 1,
    detector: str | None = None,
) -> Audit:
    """Finds what is wrong with a data set, with what detectors contradict: `mapopt audit` with a model, from Python.

    Args:
        data: a folder of COCO, Pascal VOC or YOLO, a YOLO ``data.yaml``, or a COCO ``.json``.
        by: who looks: a checkpoint or the folder of a run; or how lanes are trained at hand, each of which looks at
            images that it did not see.
        demand: which kinds are wanted, from which confidence on, and how many findings get a price.
        layout: what `data` is; ``"auto"`` finds out.
        workers: threads that decode images; 0 decodes in this one. The result is the same.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:N"``, or ``"auto"``.
        threads: of the CPU.
        detector: what a checkpoint's detector is, if it is none of ours, as ``module:attribute``.

    Raises:
        DataError: nothing is recognized, no image can be looked at, or the images cannot be divided into folds.
        ConfigError: there is no such kind, or the folds make no sense.
        CheckpointError: there is no such model, or it has other categories.
    """
    demand = demand or Demand()
    wanted = demand.wanted()
    if isinstance(by, FoldSettings):
        by.check()
    # Whatever is asked for, images that cannot be looked at have to be known.
    result = audit(data, layout=layout, workers=workers)
    pool = pool_of(result)
    if demand.training_seeds:
        check_sets(pool)
    chosen = choose_device(device, threads=threads)
    if isinstance(by, FoldSettings):
        detections, notes = detect_with_folds(result, pool, by, device=chosen)
    else:
        detections, notes = detect_with_model(pool, Path(by), device=chosen, detector=detector)
    looks = appearance_of(pool.annotations, detections, alike=alike(result, pool), seed=demand.seed)
    assessed = contradicted(result, pool, detections, demand, kinds=wanted, device=chosen, looks=looks)
    findings = [finding for finding in assessed.findings if not demand.kinds or finding.kind in demand.kinds]
    return dataclasses.replace(assessed, findings=findings, notes=notes)
