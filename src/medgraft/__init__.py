"""medgraft grafts a pre-trained model onto a new medical-imaging site and proves whether it took.

Importing it is quick: a verb brings what it needs when it is first used.

>>> import medgraft as mg
>>> mg.Task(target=mg.load_samples("nuclei")).kind
'classify'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medgraft import methods
    from medgraft.api.adaptation import adapt, repeat
    from medgraft.api.evaluation import evaluate
    from medgraft.api.evidence import load_evidence
    from medgraft.api.feature_drift import follow_features
    from medgraft.api.prediction import predict
    from medgraft.api.ranking import rank
    from medgraft.api.skin_tone import measure_skin_tone
    from medgraft.api.stains import compare_stains
    from medgraft.benchmarks.benchmark import benchmark
    from medgraft.data.checks import check
    from medgraft.data.cohort import Cohort
    from medgraft.data.manifest import read_manifest
    from medgraft.data.samples import load_samples
    from medgraft.data.splits import split_by_patient
    from medgraft.data.task import Task
    from medgraft.engine.run import Limit, Run
    from medgraft.engine.schedule import Schedule
    from medgraft.engine.watch import Watched
    from medgraft.evaluation.bias import BiasAudit
    from medgraft.evaluation.compare import compare
    from medgraft.evaluation.compare_audits import compare_audits
    from medgraft.evidence import Evidence
    from medgraft.models.model import Model
    from medgraft.models.sources import open_source
    from medgraft.models.storage import load_model
    from medgraft.phantoms import load_phantom
    from medgraft.reports import model_card, report, write_numbers

_HOMES = {
    "BiasAudit": "evaluation.bias",
    "Cohort": "data.cohort",
    "Evidence": "evidence",
    "Limit": "engine.run",
    "Model": "models.model",
    "Run": "engine.run",
    "Schedule": "engine.schedule",
    "Task": "data.task",
    "Watched": "engine.watch",
    "adapt": "api.adaptation",
    "benchmark": "benchmarks.benchmark",
    "check": "data.checks",
    "compare": "evaluation.compare",
    "compare_audits": "evaluation.compare_audits",
    "compare_stains": "api.stains",
    "evaluate": "api.evaluation",
    "follow_features": "api.feature_drift",
    "load_evidence": "api.evidence",
    "load_model": "models.storage",
    "load_phantom": "phantoms",
    "load_samples": "data.samples",
    "measure_skin_tone": "api.skin_tone",
    "model_card": "reports",
    "open_source": "models.sources",
    "predict": "api.prediction",
    "rank": "api.ranking",
    "read_manifest": "data.manifest",
    "repeat": "api.adaptation",
    "report": "reports",
    "split_by_patient": "data.splits",
    "write_numbers": "reports",
}
"""Where each name lives; imported at first use."""

__all__ = [
    "BiasAudit",
    "Cohort",
    "Evidence",
    "Limit",
    "Model",
    "Run",
    "Schedule",
    "Task",
    "Watched",
    "adapt",
    "benchmark",
    "check",
    "compare",
    "compare_audits",
    "compare_stains",
    "evaluate",
    "follow_features",
    "load_evidence",
    "load_model",
    "load_phantom",
    "load_samples",
    "measure_skin_tone",
    "methods",
    "model_card",
    "open_source",
    "predict",
    "pretraining",
    "rank",
    "read_manifest",
    "repeat",
    "report",
    "split_by_patient",
    "write_numbers",
]


def __getattr__(name: str) -> object:
    if name in ("methods", "pretraining"):
        return importlib.import_module(f"medgraft.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(f"medgraft.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'medgraft' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
