"""What the info of a step holds: everything a log wants, and at the end of an episode the test split's scores.

Values are numbers, arrays and one level of dictionaries, which is what Gymnasium's vector environments can stack.
Infos of equal episodes are equal, so the seconds, which never are, come with the last one only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mapopt.envs.detector_training.rewards import RewardParts
from mapopt.metrics import Report
from mapopt.training.history import Round


def round_info(played: Round, parts: RewardParts) -> dict[str, Any]:
    """Returns the info of a round.

    Args:
        played: the round.
        parts: what it was paid.
    """
    interval, val = played.interval, played.val
    info: dict[str, Any] = {
        "round": played.index + 1,
        "images": played.images,
        "evaluated": played.evaluated,
        "steps": interval.steps,
        "diverged": interval.diverged,
        "val_ap": val.ap,
        "val_ap50": val.ap50,
        "val_ap75": val.ap75,
        "val_ar100": val.ar100,
        "val_ap_per_category": np.array(val.per_category),
        "class_loss": interval.class_loss,
        "box_loss": interval.box_loss,
        "gradient_norm": interval.gradient_norm,
        "gradient_norm_max": interval.gradient_norm_max,
        "gradient_ratio": interval.gradient_ratio,
        "weight_norm": interval.weight_norm,
        "clipped": interval.clipped,
        "update_ratio": interval.update_ratio,
        "knobs": played.knobs.as_dict(),
        "reward_parts": {"value": parts.value, "cost": parts.cost},
    }
    if parts.reference is not None:
        info["reward_parts"]["reference"] = parts.reference
    for name in ("calibration_error", "f1", "best_f1", "lrp", "optimal_lrp"):
        if getattr(val, name) >= 0:
            info[f"val_{name}"] = getattr(val, name)
    return info


def end_info(last: Round, report: Report | None) -> dict[str, Any]:
    """Returns what the info of an episode's last round holds besides.

    Args:
        last: the last round.
        report: of the test split; None for a diverged run, which counts as AP 0.
    """
    return {
        "test_ap": 0.0 if report is None else float(report.ap),
        "test_ap50": 0.0 if report is None else float(report.ap50),
        "test_ap75": 0.0 if report is None else float(report.ap75),
        "seconds": last.seconds,
    }
