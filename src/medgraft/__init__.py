"""medgraft grafts a pre-trained model onto a new medical-imaging site and proves whether it took.

Importing it is quick: a verb brings what it needs when it is first used.

>>> import medgraft as mg
>>> cohort = mg.load_samples("nuclei")
>>> cohort.kind
'classify'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medgraft import methods as methods
    from medgraft.api import (
        Cohort,
        Evidence,
        Limit,
        Model,
        Run,
        Schedule,
        Task,
        adapt,
        check,
        compare,
        evaluate,
        load_evidence,
        load_model,
        load_samples,
        open_source,
        predict,
        read_manifest,
        repeat,
        report,
        split_by_patient,
    )

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
    "methods",
    "open_source",
    "predict",
    "read_manifest",
    "repeat",
    "report",
    "split_by_patient",
]


def __getattr__(name: str) -> object:
    if name == "methods":
        return importlib.import_module("medgraft.methods")
    if name in __all__:
        return getattr(importlib.import_module("medgraft.api"), name)
    raise AttributeError(f"module 'medgraft' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
