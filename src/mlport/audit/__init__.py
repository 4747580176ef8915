"""Audit before training and after: what is wrong with the data, where a model errs, and which remedy helps beyond noise.

`dataset` looks at a labelled table, `evaluate` at labels and predictions, `advice` tries remedies by cross-validation,
`agreement` compares annotators, `fairness` compares groups. What cannot be computed has no value and a reason.
Everything public is loaded when first named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlport.lazily import exports

if TYPE_CHECKING:
    from mlport.audit.advising import Advice as Advice
    from mlport.audit.advising import advice as advice
    from mlport.audit.annotators import Agreement as Agreement
    from mlport.audit.annotators import agreement as agreement
    from mlport.audit.datasets import DatasetAudit as DatasetAudit
    from mlport.audit.datasets import dataset as dataset
    from mlport.audit.evaluation import Evaluation as Evaluation
    from mlport.audit.evaluation import evaluate as evaluate
    from mlport.audit.groups import Fairness as Fairness
    from mlport.audit.groups import fairness as fairness
    from mlport.audit.records import Finding as Finding
    from mlport.audit.records import Measure as Measure

_HOMES = {
    "advising": ("Advice", "advice"),
    "annotators": ("Agreement", "agreement"),
    "datasets": ("DatasetAudit", "dataset"),
    "evaluation": ("Evaluation", "evaluate"),
    "groups": ("Fairness", "fairness"),
    "records": ("Finding", "Measure"),
}
__all__, __getattr__, __dir__ = exports(__name__, _HOMES)
