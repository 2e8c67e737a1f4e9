"""The verbs, the same in Python and on the command line."""

from __future__ import annotations

from medgraft.api.adapt import adapt, repeat
from medgraft.api.evaluate import evaluate
from medgraft.api.evidence import load_evidence
from medgraft.api.predict import predict
from medgraft.data.checks import check
from medgraft.data.cohort import Cohort
from medgraft.data.manifest import read_manifest
from medgraft.data.samples import load_samples
from medgraft.data.splits import split_by_patient
from medgraft.data.task import Task
from medgraft.engine.run import Limit, Run
from medgraft.engine.schedule import Schedule
from medgraft.evaluation.compare import compare
from medgraft.evidence import Evidence
from medgraft.models.model import Model
from medgraft.models.sources import open_source
from medgraft.models.storage import load_model
from medgraft.reports import report

__all__ = [
    "Cohort",
    "Evidence",
    "Limit",
    "Model",
    "Run",
    "Schedule",
    "Task",
    "adapt",
    "check",
    "compare",
    "evaluate",
    "load_evidence",
    "load_model",
    "load_samples",
    "open_source",
    "predict",
    "read_manifest",
    "repeat",
    "report",
    "split_by_patient",
]
