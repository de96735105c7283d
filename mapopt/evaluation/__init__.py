"""A detector's results from all sides: measured, put into tables, printed and stored."""

from typing import TYPE_CHECKING

from mapopt.lazy import attach

if TYPE_CHECKING:
    from mapopt.evaluation.document import as_document as as_document
    from mapopt.evaluation.findings import Comparison as Comparison
    from mapopt.evaluation.findings import Findings as Findings
    from mapopt.evaluation.findings import Questions as Questions
    from mapopt.evaluation.findings import compare as compare
    from mapopt.evaluation.findings import measure as measure
    from mapopt.evaluation.ground_truth import AnnotatedSet as AnnotatedSet
    from mapopt.evaluation.ground_truth import read_ground_truth as read_ground_truth
    from mapopt.evaluation.inputs import NamedGroundTruth as NamedGroundTruth
    from mapopt.evaluation.inputs import Predictions as Predictions
    from mapopt.evaluation.inputs import Unknown as Unknown
    from mapopt.evaluation.inputs import named_ground_truth as named_ground_truth
    from mapopt.evaluation.inputs import only_images_with_results as only_images_with_results
    from mapopt.evaluation.inputs import read_predictions as read_predictions
    from mapopt.evaluation.inputs import regardless_of_category as regardless_of_category
    from mapopt.evaluation.label_audit.audit import audit_labels as audit_labels
    from mapopt.evaluation.label_audit.settings import Demand as Demand
    from mapopt.evaluation.label_audit.settings import FoldSettings as FoldSettings
    from mapopt.evaluation.numbers import duration as duration
    from mapopt.evaluation.numbers import short as short
    from mapopt.evaluation.printed import describe as describe
    from mapopt.evaluation.tables import CategoryRow as CategoryRow
    from mapopt.evaluation.tables import CauseRow as CauseRow
    from mapopt.evaluation.tables import DifferenceRow as DifferenceRow
    from mapopt.evaluation.tables import category_rows as category_rows
    from mapopt.evaluation.tables import cause_rows as cause_rows
    from mapopt.evaluation.tables import difference_rows as difference_rows
    from mapopt.evaluation.worst import WorstImage as WorstImage
else:
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "as_document": "mapopt.evaluation.document",
            "Comparison": "mapopt.evaluation.findings",
            "Findings": "mapopt.evaluation.findings",
            "Questions": "mapopt.evaluation.findings",
            "compare": "mapopt.evaluation.findings",
            "measure": "mapopt.evaluation.findings",
            "AnnotatedSet": "mapopt.evaluation.ground_truth",
            "read_ground_truth": "mapopt.evaluation.ground_truth",
            "NamedGroundTruth": "mapopt.evaluation.inputs",
            "Predictions": "mapopt.evaluation.inputs",
            "Unknown": "mapopt.evaluation.inputs",
            "named_ground_truth": "mapopt.evaluation.inputs",
            "only_images_with_results": "mapopt.evaluation.inputs",
            "read_predictions": "mapopt.evaluation.inputs",
            "regardless_of_category": "mapopt.evaluation.inputs",
            "audit_labels": "mapopt.evaluation.label_audit.audit",
            "Demand": "mapopt.evaluation.label_audit.settings",
            "FoldSettings": "mapopt.evaluation.label_audit.settings",
            "duration": "mapopt.evaluation.numbers",
            "short": "mapopt.evaluation.numbers",
            "describe": "mapopt.evaluation.printed",
            "CategoryRow": "mapopt.evaluation.tables",
            "CauseRow": "mapopt.evaluation.tables",
            "DifferenceRow": "mapopt.evaluation.tables",
            "category_rows": "mapopt.evaluation.tables",
            "cause_rows": "mapopt.evaluation.tables",
            "difference_rows": "mapopt.evaluation.tables",
            "WorstImage": "mapopt.evaluation.worst",
        },
    )
